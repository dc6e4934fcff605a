"""Where somebody may be singing: loud enough stretches, by energy alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FRAME_S = 0.02
# Below this a sound counts as silence, in an absolute sense: -60 dBFS.
SILENCE = 1e-3
# A frame counts as voiced when it is no more than this below the loud ones.
_RANGE_DB = 30.0
_JOIN_S = 0.3
_LEAST_S = 0.1


def levels(blocks: Iterable[NDArray[np.float32]], sample_rate_hz: int) -> NDArray[np.float32]:
    """Root mean square of each frame of `FRAME_S`, shape (frames,); blocks of shape (n,), whole frames but the last."""
    size = round(FRAME_S * sample_rate_hz)
    found: list[NDArray[np.float32]] = []
    for block in blocks:
        frames = np.pad(block, (0, -len(block) % size)).reshape(-1, size)
        found.append(np.sqrt(np.mean(frames**2, axis=1)))
    return np.concatenate(found) if found else np.empty(0, np.float32)


def voiced_spans(level: NDArray[np.float32]) -> list[tuple[float, float]]:
    """(start_s, end_s) of the loud stretches, in order; pauses of less than 0.3 s are bridged. Empty for silence."""
    if not len(level):
        return []
    threshold = max(SILENCE, float(np.quantile(level, 0.95)) * 10 ** (-_RANGE_DB / 20))
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (level >= threshold).astype(np.int8), [0]))))
    spans: list[tuple[float, float]] = []
    for start, end in edges.reshape(-1, 2) * FRAME_S:
        if spans and start - spans[-1][1] < _JOIN_S:
            spans[-1] = (spans[-1][0], float(end))
        else:
            spans.append((float(start), float(end)))
    return [span for span in spans if span[1] - span[0] >= _LEAST_S]


def spread(
    weights: list[int], spans: list[tuple[float, float]], start_s: float, end_s: float
) -> list[tuple[float, float]]:
    """Places things of given `weights` one after another on the voiced time between two moments.

    Where there is no voiced time, the whole stretch is used. Results are in order and within [start_s, end_s].
    """
    inside = [(max(a, start_s), min(b, end_s)) for a, b in spans if min(b, end_s) > max(a, start_s)] or [
        (start_s, end_s)
    ]
    lengths = np.array([b - a for a, b in inside])
    ends = np.cumsum(lengths)
    share = np.concatenate(([0.0], np.cumsum(weights))) / max(1, sum(weights)) * ends[-1]

    def at(position: float, side: str) -> float:
        i = min(int(np.searchsorted(ends, position, side="right" if side == "start" else "left")), len(inside) - 1)
        return float(min(max(inside[i][0] + position - (ends[i] - lengths[i]), inside[i][0]), inside[i][1]))

    return [(at(a, "start"), at(b, "end")) for a, b in pairwise(share)]
