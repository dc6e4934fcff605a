"""How loud a sound is, found out as its blocks pass by."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph
from numpy.typing import NDArray

# Below this ITU-R BS.1770 hears nothing; FFmpeg says it for silence and for what is shorter than a block of 400 ms.
_SILENCE_LUFS = -70.0


class LevelMeter:
    """Measures blocks of one sound, with FFmpeg's `ebur128`; constant memory, and the blocks stay as they are.

    Args:
        sample_rate_hz, channels: what the blocks have. A mono sound counts as one channel.
    """

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        self.peak = 0.0
        self._sample_rate_hz = sample_rate_hz
        self._layout = f"{channels}c"
        self._samples = 0
        self._loudness_lufs = _SILENCE_LUFS
        self._graph = Graph()
        # Else it starts one thread for each core, which find nothing to do.
        self._graph.threads = 1
        source = self._graph.add_abuffer(
            sample_rate=sample_rate_hz, format="flt", layout=self._layout, time_base=Fraction(1, sample_rate_hz)
        )
        meter = self._graph.add("ebur128", "metadata=1")
        self._graph.link_nodes(source, meter, self._graph.add("abuffersink"))
        self._graph.configure()

    def hear(self, block: NDArray[np.float32]) -> None:
        """Measures a block of shape (n, channels); what is no number counts as silence."""
        if not len(block):
            return
        heard = np.nan_to_num(block)
        self.peak = max(self.peak, float(np.abs(heard).max()))
        frame = AudioFrame.from_ndarray(heard.reshape(1, -1), format="flt", layout=self._layout)
        frame.sample_rate = self._sample_rate_hz
        frame.pts = self._samples
        frame.time_base = Fraction(1, self._sample_rate_hz)
        self._samples += len(block)
        self._graph.push(frame)
        self._drain()

    @property
    def peak_dbfs(self) -> float | None:
        """The highest sample so far, in dB of full scale; None for silence."""
        return 20 * math.log10(self.peak) if self.peak else None

    @property
    def loudness_lufs(self) -> float | None:
        """The integrated loudness so far (ITU-R BS.1770-4); None for silence and for what is shorter than 400 ms."""
        return self._loudness_lufs if self._loudness_lufs > _SILENCE_LUFS else None

    def _drain(self) -> None:
        """Takes out what went through: nothing may pile up. Each 100 ms say how loud the sound is so far."""
        while True:
            try:
                metadata = self._graph.pull().metadata
            except BlockingIOError:
                return
            if "lavfi.r128.I" in metadata:
                self._loudness_lufs = float(metadata["lavfi.r128.I"])
