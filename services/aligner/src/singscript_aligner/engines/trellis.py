"""The best way of known lines of tokens through the scores of a CTC network, frame by frame.

The method is the Viterbi search of CTC forced alignment (Kürzinger et al., "CTC-Segmentation of Large Corpora", 2020;
Pratap et al., "Scaling Speech Technology to 1,000+ Languages", 2023): each token for one frame or more, a blank before
and behind it that may be passed over unless it parts two equal tokens. Here the blank between two lines may also take
up sound that belongs to no line, and lines may be left out, both at a price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# How a state was reached: by as many states as the number says, or over lines.
_JUMP, _LEAVE_OUT = 2, 3
_NEVER = np.float32(-1e30)


@dataclass(frozen=True, slots=True)
class Prices:
    """Natural logarithms, all positive.

    Attributes:
        leave_out_first: for a line that is left out; `leave_out_next` for each one right behind it.
        cut: for sound that ends in the middle of a line.
    """

    leave_out_first: float
    leave_out_next: float
    cut: float


@dataclass(frozen=True, slots=True)
class Graph:
    """The states in order, from a border over a line's tokens, with a blank between any two, to the next border.

    Attributes:
        columns: (s,) which score each state takes. Every other state is a blank or a border, from the first on.
        borders: (l + 1,) the states before, between and behind the l lines.
    """

    columns: NDArray[np.intp]
    borders: NDArray[np.intp]


def graph(lines: Sequence[Sequence[int]], blanks: Sequence[Sequence[int]], border: int) -> Graph:
    """Of lines of tokens, none of them empty.

    Args:
        lines: for each token the column of its scores.
        blanks: for each line the columns of what stands between its tokens, one fewer than these.
        border: the column of what stands between lines.
    """
    columns, borders = [border], [0]
    for tokens, between in zip(lines, blanks, strict=True):
        for token, blank in zip(tokens, [*between, border], strict=True):
            columns += [token, blank]
        borders.append(len(columns) - 1)
    return Graph(np.array(columns, dtype=np.intp), np.array(borders, dtype=np.intp))


def best_path(scores: NDArray[np.float32], way: Graph, prices: Prices) -> NDArray[np.intp]:
    """The state at each frame (t,) of the path whose scores, less its prices, have the greatest sum.

    Time and memory grow with t times s.

    Args:
        scores: (t, c) log-probabilities; t at least 1.
    """
    columns, borders = way.columns, way.borders
    frames, states = len(scores), len(columns)
    jump = np.full(states, _NEVER, dtype=np.float32)
    jump[3::2] = np.where(columns[3::2] != columns[1:-2:2], 0.0, _NEVER)
    lines = np.arange(len(borders))
    # To leave out lines i to j - 1 costs the first price and j - 1 - i times the next one.
    left_out = np.float32(prices.leave_out_next) * lines.astype(np.float32)
    moves = np.zeros((frames, states), dtype=np.int8)
    origins = np.zeros((frames, len(borders)), dtype=np.int32)

    # Two states in front that are never reached, so that every state has two before it.
    best = np.full(states + 2, _NEVER, dtype=np.float32)
    best[2:4] = scores[0, columns[:2]]
    for t in range(1, frames):
        stayed, stepped, jumped = best[2:], best[1:-1], best[:-2] + jump
        chosen = np.maximum(stayed, stepped)
        moves[t] = stepped > stayed
        moves[t, jumped > chosen] = _JUMP
        chosen = np.maximum(chosen, jumped)

        before = stayed[borders] + left_out
        reached = np.maximum.accumulate(before)
        over = reached[:-1] - left_out[:-1] - np.float32(prices.leave_out_first)
        is_better = over > chosen[borders[1:]]
        chosen[borders[1:][is_better]] = over[is_better]
        moves[t, borders[1:][is_better]] = _LEAVE_OUT
        # The border from which each was reached: the latest that is not worse than any before it.
        origins[t, 1:] = np.maximum.accumulate(np.where(before == reached, lines, 0))[:-1]
        best[2:] = chosen + scores[t, columns]

    path = np.empty(frames, dtype=np.intp)
    path[-1] = _last(best[2:], borders, prices)
    line_of = {int(border): line for line, border in enumerate(borders)}
    for t in range(frames - 1, 0, -1):
        state = int(path[t])
        if moves[t, state] == _LEAVE_OUT:
            path[t - 1] = borders[origins[t, line_of[state]]]
        else:
            path[t - 1] = state - int(moves[t, state])
    return path


def _last(best: NDArray[np.float32], borders: NDArray[np.intp], prices: Prices) -> int:
    """Where the path ends: behind all lines, behind some (the others are left out), or within one."""
    ends = best - np.float32(prices.cut)
    behind = np.arange(len(borders) - 1, -1, -1)
    rest = np.where(behind > 0, prices.leave_out_first + (behind - 1) * prices.leave_out_next, 0.0).astype(np.float32)
    ends[borders] = best[borders] - rest
    # The last token of a line is as good an end as the border behind it.
    ends[borders[1:] - 1] = best[borders[1:] - 1] - rest[1:]
    return int(np.argmax(ends))
