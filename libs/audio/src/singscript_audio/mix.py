"""Which channel goes where when their number changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from av.audio.layout import AudioLayout
from numpy.typing import NDArray

_SIDE_WEIGHT = 0.5**0.5
_LOW_FREQUENCY = frozenset({"LFE", "LFE2"})


def layout_name(channels: int) -> str:
    """FFmpeg's name for so many channels: its usual speakers up to 8 of them, speakers that are not known beyond."""
    return f"{channels}c" if channels <= 8 else f"{channels} channels"


def default_layout(channels: int) -> list[str]:
    """Speakers that a stream of so many channels is for when nothing says otherwise: FL, FR, FC..."""
    return [channel.name for channel in AudioLayout(layout_name(channels)).channels]


def mix_matrix(layout: Sequence[str], out_channels: int) -> NDArray[np.float32]:
    """How much of each channel goes into each output channel.

    Mono is the mean of all channels. Mono to many is a copy. More than two to stereo follows ITU-R BS.775 (centre
    and surround at -3 dB, no low-frequency channel), scaled down so that full scale in stays full scale out.

    Args:
        layout: speaker names of the input channels, such as `["FL", "FR"]`.
        out_channels: 1, 2, or as many as come in; a mono input goes to any number.

    Returns:
        Weights of shape (in_channels, out_channels).

    Raises:
        ValueError: for any other number of output channels.
    """
    channels = len(layout)
    if out_channels == channels:
        return np.eye(channels, dtype=np.float32)
    if out_channels == 1:
        return np.full((channels, 1), 1 / channels, dtype=np.float32)
    if channels == 1:
        return np.ones((1, out_channels), dtype=np.float32)
    if out_channels != 2:
        raise ValueError(f"cannot mix {channels} channels into {out_channels}")
    weights = np.array([_stereo_weights(name) for name in layout], dtype=np.float32)
    if not weights.any():
        return np.full((channels, 2), 1 / channels, dtype=np.float32)
    return weights / weights.sum(axis=0).max()


def mixed(block: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """A block of shape (n, in_channels) through a `mix_matrix`, to shape (n, out_channels)."""
    if matrix.shape[0] == matrix.shape[1]:
        return block
    # Not `block @ matrix`: BLAS wakes all its threads for so little, and rounds differently with the block's length.
    return np.einsum("ni,io->no", block, matrix)


def _stereo_weights(name: str) -> tuple[float, float]:
    if name in _LOW_FREQUENCY:
        return 0.0, 0.0
    weight = 1.0 if name in ("FL", "FR") else _SIDE_WEIGHT
    if name.endswith(("L", "LC")):
        return weight, 0.0
    if name.endswith(("R", "RC")):
        return 0.0, weight
    return weight, weight
