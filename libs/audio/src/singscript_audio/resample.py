"""Changing the sample rate and the number of channels of a stream, with libswresample.

Same results for any chunking, and no drift: the n-th sample out stands for the time n / out_hz, and the whole
is round(samples_in * out_hz / in_hz) samples long.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from singscript_audio.mix import default_layout, layout_name, mix_matrix, mixed

_FILTER_TAPS = 64


class Resampler:
    """Takes blocks at one rate and channel count, gives blocks at another.

    Args:
        in_hz, in_channels: what `push` takes.
        out_hz, out_channels: what comes out; for the channels that can be had, see `mix_matrix`.
        layout: speaker names of the input channels, when more is known than their number.
    """

    def __init__(
        self,
        in_hz: int,
        in_channels: int,
        out_hz: int,
        out_channels: int,
        *,
        layout: Sequence[str] | None = None,
    ) -> None:
        self._in_hz, self._out_hz = in_hz, out_hz
        self._matrix = mix_matrix(layout or default_layout(in_channels), out_channels)
        # Mixing down before and copying up after resampling leaves the fewest channels to resample.
        self._mix_first = out_channels < in_channels
        self._channels = min(in_channels, out_channels)
        self._in_samples = 0
        self._out_samples = 0
        self._swr = AudioResampler(
            format="flt",
            layout=layout_name(self._channels),
            rate=out_hz,
            options={"filter_size": _FILTER_TAPS},  # pyright: ignore[reportArgumentType]  (numbers serve, too)
        )

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Converts a block of shape (n, in_channels). The output trails behind a little and may be empty."""
        self._in_samples += len(block)
        return self._unmixed(self._resampled(self._mixed(block)))

    def flush(self) -> NDArray[np.float32]:
        """Gives what is left; all outputs together then have exactly the promised length. Call it once."""
        total = round(self._in_samples * self._out_hz / self._in_hz)
        left = total - self._out_samples
        tail = np.zeros((2 * _FILTER_TAPS * ceil(max(1.0, self._in_hz / self._out_hz)), self._channels), np.float32)
        return self._unmixed(self._resampled(tail)[:left])

    def _mixed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        return mixed(block, self._matrix) if self._mix_first else block

    def _unmixed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        return block if self._mix_first else mixed(block, self._matrix)

    def _resampled(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._in_hz == self._out_hz or not len(block):
            self._out_samples += len(block)
            return block
        frame = _to_frame(block, self._in_hz)
        pieces = [out.to_ndarray().reshape(-1, self._channels) for out in self._swr.resample(frame)]
        out = np.concatenate(pieces) if pieces else np.empty((0, self._channels), np.float32)
        self._out_samples += len(out)
        return out.astype(np.float32, copy=False)


def _to_frame(block: NDArray[np.float32], sample_rate_hz: int) -> AudioFrame:
    """A block as a packed frame: PyAV cannot read planar ones of 8 channels and more."""
    packed = np.ascontiguousarray(block, dtype=np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout_name(block.shape[1]))
    frame.sample_rate = sample_rate_hz
    return frame
