"""How much of the input was read, and digests of it at regular places: they tell whether another input is the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from singscript_separator.engines import Block

# Places do not depend on the blocks in which a sound comes, so the same work makes the same marks each time.
GRID_SAMPLES = 65_536


@dataclass(frozen=True, slots=True)
class Mark:
    """The beginning of a sound, or all of it.

    Attributes:
        samples: how long it is.
        sha256: of its samples, as little-endian floats.
        ended: whether the sound is no longer.
    """

    samples: int
    sha256: str
    ended: bool


class Heard:
    """Takes note of a sound, block by block."""

    def __init__(self) -> None:
        self._samples = 0
        self._digest = hashlib.sha256()
        self._grid: list[str] = []  # digests at each place behind the start; 64 bytes for a second and a half
        self._ended = False

    def add(self, block: Block) -> None:
        """Takes a block of shape (n, channels)."""
        while len(block):
            piece = block[: GRID_SAMPLES - self._samples % GRID_SAMPLES]
            block = block[len(piece) :]
            self._digest.update(piece.astype("<f4").tobytes())
            self._samples += len(piece)
            if not self._samples % GRID_SAMPLES:
                self._grid.append(self._digest.hexdigest())

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True

    def mark(self, samples: int) -> Mark | None:
        """The first place behind so many samples; the end, where that comes before; None while it is not reached."""
        place = max(1, -(-samples // GRID_SAMPLES))
        if place <= len(self._grid):
            return Mark(place * GRID_SAMPLES, self._grid[place - 1], ended=False)
        return Mark(self._samples, self._digest.hexdigest(), ended=True) if self._ended else None
