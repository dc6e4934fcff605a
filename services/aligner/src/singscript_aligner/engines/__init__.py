"""Engines that find given words in a sound. They know nothing of gRPC or of the contracts.

Each implements `Engine` in a module of its own; `singscript_aligner.choice` lists them by name.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class WordTime:
    """Where a word lies in the window that was searched, in seconds from the window's start.

    `confidence` is 0 to 1: how well the sound there fits the word.
    """

    start_s: float
    end_s: float
    confidence: float


# What an engine answers: for each word of each line, its time, or None where it has no place in the sound.
Times = list[list[WordTime | None]]


class Engine(Protocol):
    """Finds words whose order is known.

    Attributes:
        name: as in the settings.
        model: which weights it uses; empty where there is no choice.
        device: "cpu" or "cuda".
        max_window_s: a longer window is not given to this engine.
    """

    name: str
    max_window_s: float

    @property
    def model(self) -> str: ...

    @property
    def device(self) -> str: ...

    def problem(self) -> str:
        """Why this engine cannot be used here and what to do about it; empty when it can. Quick, never downloads."""
        ...

    def speaks(self, language: str) -> bool:
        """Whether words of this language (ISO 639-1) can be aligned."""
        ...

    def align(
        self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str
    ) -> Generator[float, None, Times | None]:
        """Aligns the words of `lines`, in order, to a window of sound.

        Args:
            samples: shape (n,), 16 kHz mono, full scale at ±1.
            lines: the words as they are written, with their punctuation. A line may be left out by the singer.
            language: ISO 639-1.

        Yields:
            Seconds of the window that are done, now and then: where the caller may stop.

        Returns:
            Times in order without overlap, shaped as `lines`; None when no alignment was found.
        """
        ...
