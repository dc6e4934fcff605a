"""FLAC, written as the blocks come."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

_SAMPLE_FORMATS = {16: "s16", 24: "s32"}


class FlacWriter:
    """Writes a FLAC file; a context manager.

    The header (length, checksum) is completed by `close`; until then, and after an error, the file is not
    whole.

    Args:
        path: the file, created or replaced.
        sample_rate_hz, channels: what the blocks have; FLAC takes up to 8 channels.
        bits: 16 or 24.

    Raises:
        OSError: from any method, when the file cannot be written.
    """

    def __init__(self, path: Path, *, sample_rate_hz: int, channels: int, bits: Literal[16, 24] = 24) -> None:
        self.samples = 0
        self._channels = channels
        self._bits = bits
        self._sample_rate_hz = sample_rate_hz
        self._layout = f"{channels}c"
        self._file = path.open("wb")
        try:
            self._container = av.open(self._file, "w", format="flac")
            stream = self._container.add_stream("flac", rate=sample_rate_hz)
            assert isinstance(stream, AudioStream)
            self._stream = stream
            self._stream.codec_context.layout = self._layout
            self._stream.codec_context.format = _SAMPLE_FORMATS[bits]
        except BaseException:
            self._file.close()
            raise

    def write(self, block: NDArray[np.float32]) -> None:
        """Adds a block of shape (n, channels). What is beyond full scale is clipped."""
        if block.ndim != 2 or block.shape[1] != self._channels:
            raise ValueError(f"expected (n, {self._channels}), got {block.shape}")
        if not len(block):
            return
        full_scale = 2 ** (self._bits - 1)
        scaled = np.rint(block * np.float32(full_scale))
        clipped = np.clip(scaled, -full_scale, full_scale - 1).astype(np.int32)
        # 24-bit samples travel in the upper bits of 32.
        packed = clipped << 8 if self._bits == 24 else clipped.astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            packed.reshape(1, -1), format=_SAMPLE_FORMATS[self._bits], layout=self._layout
        )
        frame.sample_rate = self._sample_rate_hz
        frame.pts = self.samples
        frame.time_base = Fraction(1, self._sample_rate_hz)
        self._container.mux(self._stream.encode(frame))
        self.samples += len(block)

    def close(self) -> None:
        """Completes the file. More calls do nothing."""
        if self._file.closed:
            return
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
