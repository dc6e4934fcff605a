"""Transcription beside openai-whisper and plain faster-whisper, on the same file and weights: time and memory.

    .venv/bin/python bench/transcription.py [--minutes 5] [--streams 1 4 16] [--stream-minutes 2] [--model base]

The network has the size of a released model and random weights, but for what makes it say the same words in each
window: as many tokens as a window of speech has, whatever the sound. Speed does not depend on the weights, and this way
all decode the same number of tokens, none of them twice. All search for words with a beam of 5 and give word times.
Each run is a process of its own; times are of the work alone, after the model is loaded and has heard one window (which
compiles what openai-whisper compiles).

`whisper.transcribe` is what the command `whisper` calls; the command itself needs an ffmpeg program to read its input.
Ours is the whole stage: voice detection, windows, engine and guards. It hears only where there is voice, which would
flatter it here, so the input is the demo's lines without the pauses between them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from rich.console import Console
from rich.table import Table

DEMO = Path(__file__).parent.parent / "demo"
RATE_HZ = 16_000
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"n_state": 384, "n_head": 6, "n_layer": 4},
    "base": {"n_state": 512, "n_head": 8, "n_layer": 6},
    "small": {"n_state": 768, "n_head": 12, "n_layer": 12},
}
# 100 tokens with the two times.
SAID = (
    " Once upon a time there lived an old woman near the forest, and every morning she walked down to the river with"
    " two grey buckets. People from the village used to laugh at her because one bucket had a crack, so half of its"
    " water was lost before she came home again. But along that side of the path, year after year, flowers grew where"
    " nothing had ever grown before, yellow and red and blue, and children picked them for their mothers on Sunday."
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one process measured; `words` and `voice_s` in all streams together."""

    took_s: float
    peak_bytes: int
    words: int
    voice_s: float = 0.0


def write_model(path: Path, size: str) -> None:
    """A checkpoint as openai-whisper has it, which says SAID from 0 to 29 s of any window."""
    import torch
    from whisper.model import ModelDimensions, Whisper
    from whisper.tokenizer import get_tokenizer

    own = SIZES[size]
    dims = ModelDimensions(
        n_mels=80,
        n_audio_ctx=1500,
        n_audio_state=own["n_state"],
        n_audio_head=own["n_head"],
        n_audio_layer=own["n_layer"],
        n_vocab=51865,
        n_text_ctx=448,
        n_text_state=own["n_state"],
        n_text_head=own["n_head"],
        n_text_layer=own["n_layer"],
    )
    torch.manual_seed(0)
    model = Whisper(dims)
    tokens = get_tokenizer(multilingual=True, language="en", task="transcribe")
    first = tokens.timestamp_begin
    said = [tokens.to_language_token("en"), tokens.transcribe, first, *tokens.encode(SAID), first + round(29.0 / 0.02)]
    programme = said + [tokens.eot] * (dims.n_text_ctx - len(said))
    with torch.no_grad():
        embedding = model.decoder.token_embedding.weight.normal_()
        # Each position calls for the next token, and no layer of the decoder adds anything to that.
        model.decoder.positional_embedding.copy_(10 * embedding[programme])
        for name, weights in model.decoder.named_parameters():
            if name.endswith(("out.weight", "out.bias", "mlp.2.weight", "mlp.2.bias")):
                weights.zero_()
    torch.save({"dims": vars(dims), "model_state_dict": model.state_dict()}, path)


def voice(length_s: float) -> np.ndarray:
    """The demo's lines again and again, float32 (n,)."""
    from singscript_audio.decode import decode

    sung = np.concatenate(list(decode(DEMO / "demo.vocals.flac", sample_rate_hz=RATE_HZ, channels=1)))[:, 0]
    times_s = [(line["start_s"], line["end_s"]) for line in json.loads((DEMO / "truth.json").read_text())["lines"]]
    lines = [sung[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)] for start_s, end_s in times_s]
    return np.resize(np.concatenate(lines), round(length_s * RATE_HZ))


def openai_whisper(folder: Path, length_s: float) -> Run:
    import whisper

    model = whisper.load_model(str(folder / "bench.pt"), device="cpu")
    options: dict[str, Any] = {"language": "en", "beam_size": 5, "word_timestamps": True, "fp16": False}
    whisper.transcribe(model, voice(30.0), **options)
    sound = voice(length_s)
    started_s = time.monotonic()
    found: dict[str, Any] = whisper.transcribe(model, sound, condition_on_previous_text=False, **options)
    took_s = time.monotonic() - started_s
    return Run(took_s, _peak_bytes(), sum(len(segment["words"]) for segment in found["segments"]), length_s)


def plain_faster_whisper(folder: Path, length_s: float) -> Run:
    from faster_whisper import WhisperModel

    [converted] = folder.glob("faster-whisper-bench-*")
    model = WhisperModel(str(converted), device="cpu", compute_type="int8")
    options: dict[str, Any] = {"language": "en", "beam_size": 5, "word_timestamps": True}
    list(model.transcribe(voice(30.0), **options)[0])
    sound = voice(length_s)
    started_s = time.monotonic()
    found = list(model.transcribe(sound, condition_on_previous_text=False, **options)[0])
    took_s = time.monotonic() - started_s
    return Run(took_s, _peak_bytes(), sum(len(segment.words or ()) for segment in found), length_s)


def ours(folder: Path, length_s: float, streams: int) -> Run:
    """The stage as the service runs it, in this process; all streams hear the same."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from singscript_core.stopping import Stop
    from singscript_models.reach import Reach
    from singscript_models.whisper.weights import Place
    from singscript_transcriber.chain import EngineChain
    from singscript_transcriber.engines import Wish
    from singscript_transcriber.engines.faster_whisper import FasterWhisperEngine
    from singscript_transcriber.recogniser import Wanted
    from singscript_transcriber.segments import Dropped, Segment
    from singscript_transcriber.transcribe import transcribe
    from singscript_transcriber.windows import Block, Windower

    engine = FasterWhisperEngine(Place(folder, False, Reach()), "bench", 0.0)
    chain = EngineChain([engine], [engine.name])
    wanted = Wanted(wish=Wish("en"))

    def blocks(sound: np.ndarray) -> Iterator[Block]:
        for start in range(0, len(sound), RATE_HZ):
            yield Block(sound[start : start + RATE_HZ])

    counts: list[int] = []

    def one(sound: np.ndarray) -> None:
        items = list(transcribe(blocks(sound), chain=chain, wanted=wanted, stop=Stop()))
        # Random weights put the words anywhere: what is not believed was computed like the rest.
        kept = sum(len(item.words) for item in items if isinstance(item, Segment))
        counts.append(kept + sum(len(item.text.split()) for item in items if isinstance(item, Dropped)))

    one(voice(30.0))
    counts.clear()
    sound = voice(length_s)
    started_s = time.monotonic()
    threads = [threading.Thread(target=one, args=(sound,)) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - started_s
    windower = Windower(lambda _: engine.max_window_s)
    windows = [*windower.push(Block(sound)), *windower.flush()]
    chain.close()
    return Run(took_s, _peak_bytes(), sum(counts), streams * sum(window.voice_s for window in windows))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(*arguments: object) -> Run:
    """Runs this script as `--child` in a process of its own."""
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def child(kind: str, folder: str, length_s: str, streams: str) -> Run:
    if kind == "openai-whisper":
        return openai_whisper(Path(folder), float(length_s))
    if kind == "faster-whisper":
        return plain_faster_whisper(Path(folder), float(length_s))
    return ours(Path(folder), float(length_s), int(streams))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        run = child(*sys.argv[2:])
        print(json.dumps({name: getattr(run, name) for name in Run.__slots__}))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--stream-minutes", type=float, default=2.0)
    parser.add_argument("--model", choices=SIZES, default="base")
    arguments = parser.parse_args()
    console = Console(width=120)
    console.print(machine(), f"Whisper {arguments.model}, random weights", highlight=False)
    table = Table(
        "what",
        "sound",
        "voice",
        "words",
        "s per s of sound",
        "to whisper",
        "to faster-whisper",
        "peak memory",
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_model(folder / "bench.pt", arguments.model)
        measured("ours", folder, 30.0, 1)  # converts the weights, once
        length_s = arguments.minutes * 60
        peers: dict[str, float] = {}
        rows = [(name, length_s, 1) for name in ("openai-whisper", "faster-whisper")]
        rows += [
            ("ours", length_s if count == 1 else arguments.stream_minutes * 60, count) for count in arguments.streams
        ]
        for name, sound_s, count in rows:
            run = measured(name, folder, sound_s, count)
            pace = run.took_s / (sound_s * count)
            peers.setdefault(name, pace)
            table.add_row(
                name,
                f"{count} x {sound_s / 60:g} min",
                f"{run.voice_s / (sound_s * count):.0%}",
                f"{run.words}",
                f"{pace:.3f}",
                f"{pace / peers['openai-whisper']:.2f}",
                f"{pace / peers['faster-whisper']:.2f}" if "faster-whisper" in peers else "",
                f"{run.peak_bytes / 2**20:.0f} MiB",
            )
    console.print(table)


if __name__ == "__main__":
    main()
