"""The service as a process that is killed after a part and asked again. R20."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2 as pb
from singscript.transcriber.v1 import transcriber_pb2_grpc
from transcriber_calls import ask, heard, inline, warnings
from transcriber_sound import RATE

from singscript_audio.decode import decode
from singscript_core.errors import StageError
from singscript_serving.calls import responses
from singscript_serving.channel import dial

SUPPORT = Path(__file__).parents[3] / "tests" / "support"
LINES = ("english", "german", "english")
WAIT_S = 60.0


@asynccontextmanager
async def process(storage: Path, models: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The service, running, and its address."""
    environment = {
        **os.environ,
        "SINGSCRIPT_LISTEN": "127.0.0.1:0",
        "SINGSCRIPT_STORAGE_DIR": str(storage),
        "SINGSCRIPT_MODELS_DIR": str(models),
        "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD": "false",
        "SINGSCRIPT_TRANSCRIBER_ENGINES": "faster-whisper",
        "SINGSCRIPT_WHISPER_MODEL": "nano-whisper",
        "SINGSCRIPT_TRANSCRIBER_PART_S": "5",
    }
    command = (sys.executable, "-m", "singscript_transcriber")
    log = storage.parent / f"{len(list(storage.parent.glob('*.log')))}.log"
    with log.open("wb") as file:
        started = await asyncio.create_subprocess_exec(*command, env=environment, stderr=file)
    try:
        async with asyncio.timeout(WAIT_S):
            while not (found := re.search(r'"address": "([^"]+)"', log.read_text("utf-8"))):  # noqa: ASYNC110  (a file)
                await asyncio.sleep(0.05)
        yield started, found[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def first_part(address: str, server: asyncio.subprocess.Process, requests: list[pb.TranscribeRequest]) -> str:
    """The key of the first part; the service is killed once it is announced, while sound still comes."""

    async def sent() -> AsyncGenerator[pb.TranscribeRequest]:
        for request in requests[: 3 * len(requests) // 4]:
            yield request
        await asyncio.Event().wait()

    key = ""
    async with dial(address) as channel:
        call = transcriber_pb2_grpc.TranscriberServiceStub(channel).Transcribe(sent(), timeout=WAIT_S)
        with pytest.raises(StageError):
            async for answer in responses(call, "transcriber"):
                if answer.event.HasField("part") and not key:
                    key = answer.event.part.key
                    server.kill()
    return key


def parts(answers: list[pb.TranscribeResponse]) -> list[media_pb2.Part]:
    return [answer.event.part for answer in answers if answer.event.HasField("part")]


def engines(answers: list[pb.TranscribeResponse]) -> list[media_pb2.EngineChosen]:
    return [answer.event.engine for answer in answers if answer.event.HasField("engine")]


def logs_in(folder: Path) -> str:
    return " ".join(file.read_text("utf-8") for file in folder.glob("*.log"))


async def test_killed_after_a_part_and_asked_again(tmp_path: Path):
    storage, models, none = tmp_path / "storage", tmp_path / "models", tmp_path / "none"
    for folder in (storage, models, none):
        folder.mkdir()
    shutil.copy(SUPPORT / "models" / "nano-whisper.pt", models)
    pause = np.zeros((3 * RATE, 1), np.float32)
    lines = [
        np.concatenate(list(decode(SUPPORT / "spoken" / f"{name}.flac", sample_rate_hz=RATE, channels=1)))
        for name in LINES
    ]
    sound = np.concatenate([piece for line in lines for piece in (line, pause)])
    async with process(storage, models) as (server, address):
        whole = await ask(address, *inline(sound))
        key = await first_part(address, server, inline(sound, keep_parts=True))
        assert await server.wait() != 0
    first = media_pb2.StoredObject(key=key)
    async with process(storage, models) as (_, address):
        resumed = await ask(address, *inline(sound, keep_parts=True, parts=[first]))
    assert heard(whole)
    assert [segment.SerializeToString() for segment in heard(resumed)] == [
        segment.SerializeToString() for segment in heard(whole)
    ]
    assert (warnings(resumed), engines(resumed)) == (warnings(whole), engines(whole))
    [from_] = [getattr(a.event.resumed, "from") for a in resumed if a.event.HasField("resumed")]
    assert from_.seconds > 5
    own = parts(resumed)
    assert [part.number for part in own] == list(range(1, len(own) + 1)) and own
    # With all parts no weights are needed: here there are none.
    keys = [first, *(media_pb2.StoredObject(key=part.key) for part in own)]
    async with process(storage, none) as (_, address):
        again = await ask(address, *inline(sound, keep_parts=True, parts=keys))
    assert (heard(again), warnings(again), engines(again)) == (heard(whole), warnings(whole), engines(whole))
    assert parts(again) == []
    logs = logs_in(tmp_path)
    assert "part stored" in logs and "a stream has ended" in logs
    assert not any(segment.text.strip() in logs for segment in heard(whole))
