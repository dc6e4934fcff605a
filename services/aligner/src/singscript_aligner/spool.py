"""The sound of one stream, kept in an unnamed temporary file: an hour takes 115 MB of disk and no memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ

_BLOCK_SAMPLES = 10 * SAMPLE_RATE_HZ


class Spool:
    """16 kHz mono, 16 bits; a context manager. The file has no name: nothing is left behind on any way out."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="singscript-aligner-")  # noqa: SIM115  (closed in __exit__)
        self.samples = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def duration_s(self) -> float:
        return self.samples / SAMPLE_RATE_HZ

    def append(self, block: NDArray[np.float32]) -> None:
        """Adds samples of shape (n,), full scale at ±1."""
        pcm = np.clip(np.rint(block * 32767.0), -32768, 32767).astype("<i2")
        self._file.seek(2 * self.samples)
        self._file.write(pcm.tobytes())
        self.samples += len(block)

    def read(self, start_s: float, end_s: float) -> NDArray[np.float32]:
        """The samples between two moments, cut to what is there."""
        start = min(max(0, round(start_s * SAMPLE_RATE_HZ)), self.samples)
        end = min(max(start, round(end_s * SAMPLE_RATE_HZ)), self.samples)
        return self._samples(start, end)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All samples, ten seconds at a time."""
        for start in range(0, self.samples, _BLOCK_SAMPLES):
            yield self._samples(start, min(start + _BLOCK_SAMPLES, self.samples))

    def _samples(self, start: int, end: int) -> NDArray[np.float32]:
        self._file.seek(2 * start)
        return np.frombuffer(self._file.read(2 * (end - start)), "<i2").astype(np.float32) / 32767.0
