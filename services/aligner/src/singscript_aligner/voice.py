"""Where somebody may be singing: loud enough stretches, by energy alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FRAME_S = 0.02
# Below this a sound counts as silence, in an absolute sense: -60 dBFS.
SILENCE = 1e-3
# What is "loud" is looked for this far around each frame: a whisper after a shout has its own measure.
_LOUD_REACH_S = 2.0
# The noise floor is looked for further off: within four seconds a singer may well not breathe.
_FLOOR_REACH_S = 6.0
_STEP_S = 0.5
_LOUD, _FLOOR = 95, 5
# A frame counts as voiced when it is no more than this below the loud ones. Measured on speech and singing, clean and
# separated: at 30 what a separator lets through counts as a voice, at 24 words lose their ends.
_RANGE_DB = 27.0
# And when it is so far above the noise floor; what a separator lets through goes up and down by about as much.
_ABOVE_FLOOR_DB = 10.0
# Less than this between floor and loud, and the pauses are filled: a band plays there, or one note is held. A band
# 12 dB below a voice leaves about 20 dB, the small separator of the tests 30 to 40.
_LEAST_CONTRAST_DB = 25.0
_JOIN_S = 0.3
_LEAST_S = 0.1


def levels(blocks: Iterable[NDArray[np.float32]], sample_rate_hz: int, frame_s: float = FRAME_S) -> NDArray[np.float32]:
    """Root mean square of each frame of `frame_s`, shape (frames,); blocks of shape (n,), whole frames but the last."""
    size = round(frame_s * sample_rate_hz)
    found: list[NDArray[np.float32]] = []
    for block in blocks:
        frames = np.pad(block, (0, -len(block) % size)).reshape(-1, size)
        found.append(np.sqrt(np.mean(frames**2, axis=1)))
    return np.concatenate(found) if found else np.empty(0, np.float32)


def voiced(level: NDArray[np.float32], frame_s: float = FRAME_S) -> NDArray[np.bool_]:
    """Which frames may hold a voice, shape (frames,), by thresholds that follow the loud and the quiet around them.

    Where quiet and loud are too near each other to tell a pause, all that is not much fainter than the rest counts.
    """
    if not len(level):
        return np.zeros(0, bool)
    level_db = 20.0 * np.log10(np.maximum(level, 1e-6))
    silence_db = 20.0 * np.log10(SILENCE)
    # Nothing that is so far below the whole is anybody: a separator leaves such traces where nobody sings.
    faintest_db = max(silence_db, float(np.percentile(level_db, _LOUD)) - _RANGE_DB)
    loud_db = np.maximum(_around(level_db, _LOUD, _LOUD_REACH_S, frame_s), faintest_db)
    floor_db = _around(level_db, _FLOOR, _FLOOR_REACH_S, frame_s)
    threshold_db = np.maximum(np.maximum(loud_db - _RANGE_DB, floor_db + _ABOVE_FLOOR_DB), silence_db)
    is_flat = loud_db - floor_db < _LEAST_CONTRAST_DB
    return level_db >= np.where(is_flat, faintest_db, threshold_db)


def runs(is_voiced: NDArray[np.bool_], frame_s: float, join_s: float, least_s: float) -> list[tuple[float, float]]:
    """(start_s, end_s) of runs of voiced frames, in order; gaps below `join_s` are bridged, then short runs dropped."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_voiced.astype(np.int8), [0]))))
    spans: list[tuple[float, float]] = []
    for start, end in edges.reshape(-1, 2) * frame_s:
        if spans and start - spans[-1][1] < join_s:
            spans[-1] = (spans[-1][0], float(end))
        else:
            spans.append((float(start), float(end)))
    return [span for span in spans if span[1] - span[0] >= least_s]


def voiced_spans(level: NDArray[np.float32]) -> list[tuple[float, float]]:
    """(start_s, end_s) of the loud stretches, in order; pauses of less than 0.3 s are bridged. Empty for silence."""
    return runs(voiced(level), FRAME_S, _JOIN_S, _LEAST_S)


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


def _around(level_db: NDArray[np.floating], percent: int, reach_s: float, frame_s: float) -> NDArray[np.floating]:
    """A percentile of the frames within `reach_s` of each frame, found twice a second and drawn straight between."""
    reach, step, every = round(reach_s / frame_s), round(_STEP_S / frame_s), max(1, round(FRAME_S / frame_s))
    centres = np.arange(0, len(level_db), step)
    found = [np.percentile(level_db[max(0, at - reach) : at + reach + 1 : every], percent) for at in centres]
    return np.interp(np.arange(len(level_db)), centres, found)
