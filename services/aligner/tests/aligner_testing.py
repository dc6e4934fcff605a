"""What several tests of the aligner share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from singscript.aligner.v1.aligner_pb2 import AlignRequest
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_aligner.choice import EngineChoice
from singscript_aligner.service import aligner
from singscript_aligner.settings import AlignerSettings
from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_serving.events import duration
from singscript_serving.server import Service
from singscript_storage import ObjectStore

DATA = Path(__file__).parent / "data"
RATE_HZ = 16_000


@dataclass(frozen=True)
class Speech:
    """Sound of shape (n,) at 16 kHz; for each line its text and (word, start_s, end_s) for each word in it."""

    samples: NDArray[np.float32]
    texts: list[str]
    lines: list[list[tuple[str, float, float]]]

    @property
    def words(self) -> list[tuple[str, float, float]]:
        return [word for line in self.lines for word in line]

    def part(self, first: int, end: int) -> Speech:
        """Lines `first` up to `end` (not included) and the sound up to shortly after the last of them."""
        from_s = max(0.0, self.lines[first][0][1] - 0.4)
        end_s = self.lines[end - 1][-1][2] + 0.3
        samples = self.samples[round(from_s * RATE_HZ) : round(end_s * RATE_HZ)]
        lines = [[(text, a - from_s, b - from_s) for text, a, b in line] for line in self.lines[first:end]]
        return Speech(samples, self.texts[first:end], lines)


def service_of(store: ObjectStore | None = None, **settings: Any) -> tuple[Service, AlignerSettings]:
    """A service with the engine sphinx alone, and its settings, untouched by the environment."""
    made = AlignerSettings(aligner_engines=("sphinx",), drain_s=0.2, **settings)
    choice = EngineChoice(made.aligner_engines, Path("no-such-folder"), made.whisper_model, 0.0)
    return aligner(made, choice, store), made


def chunks(samples: NDArray[np.float32], trailer: bool = True) -> Iterator[AlignRequest]:
    """Mono sound as it goes inline, after the config."""
    writer = ChunkWriter(1)
    for block in np.array_split(samples, max(1, len(samples) // RATE_HZ)):
        yield from (AlignRequest(chunk=chunk) for chunk in writer.chunks(block.reshape(-1, 1)))
    if trailer:
        yield AlignRequest(trailer=writer.trailer())


def segments(speech: Speech, *, words: bool = True) -> list[transcriber_pb2.Segment]:
    """What a perfect transcriber hears, its word times 0.1 s late."""
    return [
        transcriber_pb2.Segment(
            index=i,
            start=duration(line[0][1]),
            end=duration(line[-1][2]),
            text=text,
            words=[
                transcriber_pb2.Word(text=t, start=duration(a + 0.1), end=duration(b + 0.1), confidence=0.5)
                for t, a, b in (line if words else [])
            ],
            language="en",
            engine="perfect",
            model="ear",
            confidence=0.75,
        )
        for i, (text, line) in enumerate(zip(speech.texts, speech.lines, strict=True))
    ]


INLINE = media_pb2.InlineAudio(format=audio_format(RATE_HZ, 1))
