"""What several tests of the aligner share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
