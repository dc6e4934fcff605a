"""The real process is killed in the middle of a sound; the next one goes on from the parts that it had announced."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_audio.decode import decode
from singscript_separator.engines import Block
from singscript_serving.events import seconds

ROOT = Path(__file__).parents[3]
NAME = "nano-htdemucs"
RATE_HZ = 44_100
SEGMENT_S = 3.0  # of that network
PART_S = 4.5  # two strides of it
AHEAD_S = 7.0  # more than two segments, so that stems come back
SOUND_S = 18.0
FRAME_BYTES = 8
WAIT_S = 90.0


@dataclass
class Separator:
    """A process, and what it logs."""

    process: subprocess.Popen[str]
    address: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)
    serving: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line = json.loads(text)
            self.lines.append(line)
            if "address" in line:
                self.address = line["address"]
                self.serving.set()

    def logged(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["message"] == message]


@contextmanager
def separator(folder: Path) -> Iterator[Separator]:
    """Its process with a storage and weights in `folder`; all of its log is there once this is left."""
    settings = {
        "STORAGE_DIR": str(folder / "store"),
        "MODELS_DIR": str(folder / "models"),
        "SEPARATOR_MODEL": NAME,
        "SEPARATOR_BACKEND": "torch",
        "SEPARATOR_PART_S": str(PART_S),
        "DRAIN_S": "0",
    }
    own = {f"SINGSCRIPT_{name}": value for name, value in settings.items()} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "singscript_separator"]
    with subprocess.Popen(command, env=os.environ | own, stderr=subprocess.PIPE, text=True) as process:
        started = Separator(process)
        reading = threading.Thread(target=started.read)
        reading.start()
        try:
            assert started.serving.wait(WAIT_S)
            yield started
        finally:
            process.kill()
            process.wait()
            reading.join()


@dataclass
class Attempt:
    """What a client was told."""

    parts: list[media_pb2.Part] = field(default_factory=list)
    resumed_s: list[float] = field(default_factory=list)
    artifacts: dict[str, media_pb2.Artifact] = field(default_factory=dict)
    vocals: bytes = b""


def ask(serving: Separator, sound: Block, given: Sequence[str] = (), kill_after_parts: int | None = None) -> Attempt:
    """Separates; `kill_after_parts`: kills the process once so many are announced."""
    attempt, came = Attempt(), threading.Condition()

    def wanted(samples: int) -> bool:
        # Without a pace all of it could be computed before this client has read of the first part.
        return kill_after_parts is None or samples - len(attempt.vocals) / FRAME_BYTES <= AHEAD_S * RATE_HZ

    def requests() -> Iterator[separator_pb2.SeparateRequest]:
        yield separator_pb2.SeparateRequest(
            config=separator_pb2.SeparateConfig(
                inline=media_pb2.InlineAudio(format=audio_format(RATE_HZ, 2)),
                stems=[media_pb2.STEM_VOCALS],
                keep_parts=True,
                parts=[media_pb2.StoredObject(key=key) for key in given],
            )
        )
        writer = ChunkWriter(2)
        for start in range(0, len(sound), RATE_HZ // 4):
            block = sound[start : start + RATE_HZ // 4]
            with came:
                came.wait_for(partial(wanted, start + len(block)), WAIT_S)
            for chunk in writer.chunks(block):
                yield separator_pb2.SeparateRequest(chunk=chunk)
        yield separator_pb2.SeparateRequest(trailer=writer.trailer())

    with grpc.insecure_channel(serving.address) as channel:
        for answer in separator_pb2_grpc.SeparatorServiceStub(channel).Separate(requests(), timeout=WAIT_S):
            if answer.HasField("chunk"):
                with came:
                    attempt.vocals += answer.chunk.pcm
                    came.notify()
            elif answer.event.HasField("part"):
                attempt.parts.append(answer.event.part)
                if len(attempt.parts) == kill_after_parts:
                    serving.process.kill()
                    break
            elif answer.event.HasField("resumed"):
                attempt.resumed_s.append(seconds(getattr(answer.event.resumed, "from")))
            elif answer.event.HasField("artifact"):
                attempt.artifacts[answer.event.artifact.name] = answer.event.artifact
    return attempt


def test_killed_and_gone_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(ROOT / "tests" / "support" / "models" / f"{NAME}.safetensors", tmp_path / "models")
    sound = np.concatenate(list(decode(ROOT / "demo" / "demo.flac", sample_rate_hz=RATE_HZ, channels=2)))
    sound = np.resize(sound, (round(SOUND_S * RATE_HZ), 2))
    with separator(tmp_path) as first:
        killed = ask(first, sound, kill_after_parts=2)
    assert first.process.returncode == -signal.SIGKILL
    assert not first.logged("separated") and len(killed.vocals) < sound.nbytes

    with separator(tmp_path) as second:
        resumed = ask(second, sound, [part.key for part in killed.parts])
        whole = ask(second, sound)
    assert len(whole.parts) > 2
    assert [*killed.parts, *resumed.parts] == whole.parts
    assert resumed.resumed_s == [seconds(killed.parts[-1].end)] and whole.resumed_s == []
    assert resumed.artifacts == whole.artifacts and len(whole.artifacts) == 2
    assert resumed.vocals == whole.vocals
    assert whole.vocals.startswith(killed.vocals)

    kept_s = max(line["end_s"] for line in first.logged("part stored"))
    gone_on, uninterrupted = second.logged("separated")
    assert (gone_on["from_s"], uninterrupted["from_s"]) == (resumed.resumed_s[0], 0.0)
    assert uninterrupted["computed_s"] == SOUND_S
    assert gone_on["computed_s"] <= SOUND_S - gone_on["from_s"] + SEGMENT_S
    assert kept_s + gone_on["computed_s"] <= SOUND_S + PART_S + SEGMENT_S
