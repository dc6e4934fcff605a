"""Sounds and sound files, made at test time with the encoders of FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]


def tone(duration_s: float, sample_rate_hz: int, *frequencies_hz: float, level: float = 0.5) -> Block:
    """A sine a channel, of shape (samples, channels)."""
    t = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    return np.stack([level * np.sin(2 * np.pi * f * t) for f in frequencies_hz], axis=1).astype(np.float32)


def encode_file(
    path: Path,
    block: Block,
    *,
    codec: str,
    container: str,
    sample_rate_hz: int = 44100,
    layout: str | None = None,
    bit_rate: int = 192_000,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Writes `block`, of shape (samples, channels), with any encoder and muxer of FFmpeg."""
    layout = layout or f"{block.shape[1]}c"
    with av.open(path, "w", format=container) as output:
        output.metadata.update(metadata or {})
        stream = output.add_stream(codec, rate=sample_rate_hz)
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.layout = layout
        stream.codec_context.bit_rate = bit_rate
        packed = np.ascontiguousarray(block, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = sample_rate_hz
        frame.pts = 0
        frame.time_base = Fraction(1, sample_rate_hz)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path
