"""From the cancel of a call to a free slot, for each engine: through the real services, with networks of real size.

    .venv/bin/python bench/cancel.py [--engines torch openvino ...] [--times 5] [--size small]

Weights are random: how long a layer takes does not depend on them, and a Whisper that says nonsense until its 448
tokens are full is the slowest there is. Each call is let run until its network computes, and a little longer, each time
by another amount; then it is cancelled. Two times are taken: until the service says that it computes nothing and serves
nobody, and until the last thread has really stopped computing for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from traceback import walk_stack
from typing import Any

import grpc
import numpy as np
from machine import machine
from rich.console import Console
from rich.table import Table
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc
from singscript.transcriber.v1 import transcriber_pb2, transcriber_pb2_grpc

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_core.settings import ModelSettings
from singscript_serving.server import running
from singscript_storage import FolderStore

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "services" / "transcriber" / "tests")]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads

SPEECH = ROOT / "services" / "transcriber" / "tests" / "data" / "speech.flac"
SEPARATORS = ("torch", "openvino")
TRANSCRIBERS = ("whisper", "faster-whisper", "sphinx", "openai")
ALIGNERS = ("align ctc", "align whisper", "align sphinx")
WAIT_S = 600.0
# What computes, or waits for a computation, by the names of its threads.
AT_WORK = ("engine", "compute", "let go")
# Width and layers of the released models.
SIZES = {"tiny": (384, 4), "base": (512, 6), "small": (768, 12), "medium": (1024, 24)}

Load = Callable[[], Awaitable[tuple[int, int]]]


@asynccontextmanager
async def separator(backend: Any, folder: Path, store: FolderStore) -> AsyncIterator[tuple[Any, Load]]:
    """A call that can be made, and the load of its service: open streams, and what is being computed."""
    from singscript_separator.service import separator as service
    from singscript_separator.settings import SeparatorSettings

    given: dict[str, Any] = {"separator_model": "real", "separator_backend": backend, "drain_s": 0.0}
    settings = SeparatorSettings(**given)
    models = ModelSettings(models_dir=folder, allow_model_download=False)
    async with (
        running(service(settings, models, store), settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = separator_pb2_grpc.SeparatorServiceStub(channel)

        async def load() -> tuple[int, int]:
            found = await stub.GetLoad(separator_pb2.GetLoadRequest(), timeout=10)
            return found.open_streams, found.computing_segments

        config: Any = {"object": {"key": "song"}, "engines": ["demucs"]}
        yield lambda: stub.Separate(iter([separator_pb2.SeparateRequest(config=config)]), timeout=3600), load


@asynccontextmanager
async def transcriber(engine: str, folder: Path, store: FolderStore) -> AsyncIterator[tuple[Any, Load]]:
    import openai_server  # pyright: ignore[reportMissingImports]  (of the transcriber's tests, see ROOT)

    from singscript_transcriber.all_engines import engine_chain
    from singscript_transcriber.service import transcriber as service
    from singscript_transcriber.settings import TranscriberSettings

    with openai_server.serving() as server:
        server.replies = [openai_server.Reply(end="hang")]
        given: dict[str, Any] = {"whisper_model": "real", "models_dir": folder, "drain_s": 0.0}
        given |= {"openai_base_url": server.url, "openai_api_key": openai_server.KEY}
        settings = TranscriberSettings(**given)
        with closing(engine_chain(settings)) as chain:
            async with (
                running(service(settings, chain, store), settings) as address,
                grpc.aio.insecure_channel(address) as channel,
            ):
                stub = transcriber_pb2_grpc.TranscriberServiceStub(channel)

                async def load() -> tuple[int, int]:
                    found = await stub.GetLoad(transcriber_pb2.GetLoadRequest(), timeout=10)
                    return found.open_streams, found.computing_windows

                config: Any = {"object": {"key": "song"}, "engines": [engine]}
                yield (
                    lambda: stub.Transcribe(iter([transcriber_pb2.TranscribeRequest(config=config)]), timeout=3600),
                    load,
                )


@asynccontextmanager
async def aligner(engine: str, folder: Path, store: FolderStore) -> AsyncIterator[tuple[Any, Load]]:
    """Its load is that of the threads: it has no queue."""
    from singscript_aligner.choice import EngineChoice
    from singscript_aligner.service import aligner as service
    from singscript_aligner.settings import AlignerSettings

    given: dict[str, Any] = {"drain_s": 0.0}
    settings = AlignerSettings(**given)
    choice = EngineChoice([engine], folder, "real", 0.0)
    async with (
        running(service(settings, choice, store), settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = aligner_pb2_grpc.AlignerServiceStub(channel)

        async def load() -> tuple[int, int]:
            return at_work("engine"), sum(any("/engines/" in at for at in stack) for stack in _stacks("engine"))

        lyrics = "\n".join(["Ask not what your country can do for you", "Ask what you can do for your country"] * 20)
        config: Any = {"object": {"key": "song"}, "lyrics": lyrics, "language": "en"}
        yield lambda: stub.Align(iter([aligner_pb2.AlignRequest(config=config)]), timeout=3600), load


def at_work(*names: str) -> int:
    """How many threads compute: those of a pool that wait for work are not among them."""
    return sum(not any(at.endswith("scheduler.py _take") for at in stack) for stack in _stacks(*names))


def _stacks(*names: str) -> list[list[str]]:
    """Where the threads of these names are: files and functions."""
    frames = sys._current_frames()
    threads = [frames.get(thread.ident or 0) for thread in threading.enumerate() if thread.name in names]
    return [[f"{at.f_code.co_filename} {at.f_code.co_name}" for at, _ in walk_stack(frame)] for frame in threads]


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await is_so():  # noqa: ASYNC110  (nothing announces it)
            await asyncio.sleep(0.002)


async def times_s(opened: Any, times: int) -> list[tuple[float, float]]:
    """Seconds to a free slot, and to the end of all work, for so many calls."""
    found: list[tuple[float, float]] = []
    async with opened as (call_it, load):
        for number in range(times + 1):
            call = call_it()
            answers = asyncio.create_task(_read(call))
            await until(lambda: _computes(load))
            await asyncio.sleep(0.1 + 0.37 * number)
            if call.done():
                raise SystemExit(f"a call ended before it could be cancelled: {await call.code()}")
            started_s = time.monotonic()
            call.cancel()
            await until(lambda: _is_free(load))
            free_s = time.monotonic() - started_s
            await until(_is_quiet)
            if number:  # the first one also loads the network
                found.append((free_s, time.monotonic() - started_s))
            await asyncio.gather(answers, return_exceptions=True)
    return found


async def _read(call: Any) -> None:
    async for _ in call:
        pass


async def _computes(load: Load) -> bool:
    return (await load())[1] > 0


async def _is_free(load: Load) -> bool:
    return await load() == (0, 0)


async def _is_quiet() -> bool:
    return at_work(*AT_WORK) == 0


def write_song(store: FolderStore, scratch: Path) -> None:
    """Five minutes of speech, over and over."""
    speech = np.concatenate(list(decode(SPEECH, sample_rate_hz=44_100, channels=2)))
    path = scratch / "song.flac"
    with FlacWriter(path, sample_rate_hz=44_100, channels=2) as file:
        for _ in range(300 * 44_100 // len(speech)):
            file.write(speech)
    store.put("song", path, "audio/flac")


def write_models(folder: Path, engines: list[str], size: str) -> None:
    if set(engines) & set(SEPARATORS):
        from separation import write_model

        write_model(folder)
    if set(engines) & {"whisper", "faster-whisper", "align whisper"}:
        import nano_whisper
        import torch
        from whisper.model import ModelDimensions

        width, layers = SIZES[size]
        heads = width // 64
        dimensions = ModelDimensions(80, 1500, width, heads, layers, 51865, 448, width, heads, layers)
        nano_whisper.save_random(folder / "real.pt", dimensions)
        nano_whisper.convert(folder / "real.pt", folder / "faster-whisper-real")
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    if "align ctc" in engines:
        from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

        letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
        config = Wav2Vec2Config(vocab_size=len(letters), pad_token_id=0)
        Wav2Vec2ForCTC(config).save_pretrained(folder / "ctc-en")
        (folder / "ctc-en" / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*SEPARATORS, *TRANSCRIBERS, *ALIGNERS]
    parser.add_argument("--engines", nargs="+", default=every, choices=every)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--size", default="small", choices=SIZES, help="of the Whisper networks")
    given = parser.parse_args()
    table = Table("engine", "to a free slot, median", "longest", "to the end of all work, median", "longest")
    with tempfile.TemporaryDirectory(prefix="singscript-bench-") as scratch:
        folder = Path(scratch) / "models"
        folder.mkdir()
        store = FolderStore(Path(scratch) / "store")
        write_song(store, Path(scratch))
        write_models(folder, given.engines, given.size)
        for engine in given.engines:
            if engine in SEPARATORS:
                opened = separator(engine, folder, store)
            elif engine in TRANSCRIBERS:
                opened = transcriber(engine, folder, store)
            else:
                opened = aligner(engine.removeprefix("align "), folder, store)
            found = np.array(await times_s(opened, given.times))
            row = [f"{one:.2f} s" for column in found.T for one in (np.median(column), column.max())]
            table.add_row(engine, *row)
            print(engine, *row, file=sys.stderr, flush=True)
    Console().print(machine(), table)


if __name__ == "__main__":
    asyncio.run(main())
