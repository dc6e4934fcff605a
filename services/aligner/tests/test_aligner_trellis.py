"""The best path is the one that trying out all paths finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singscript_aligner.engines.trellis import Graph, Prices, best_path, graph

PRICES = Prices(leave_out_first=3.0, leave_out_next=0.5, cut=4.0)
BLANK, GAP, BORDER = 0, 3, 4
"""Columns; 1 and 2 are letters."""


def all_paths(way: Graph, frames: int) -> Iterator[tuple[list[int], float]]:
    """Every path that the rules allow, with what it costs beside its scores."""
    columns, borders = way.columns.tolist(), way.borders.tolist()

    def over(lines: int) -> float:
        return PRICES.leave_out_first + (lines - 1) * PRICES.leave_out_next if lines else 0.0

    def from_here(path: list[int], price: float) -> Iterator[tuple[list[int], float]]:
        at = path[-1]
        if len(path) == frames:
            ends = [PRICES.cut]
            ends += [over(len(borders) - 1 - i) for i, border in enumerate(borders) if at == border]
            ends += [over(len(borders) - 2 - i) for i, border in enumerate(borders[1:]) if at == border - 1]
            if at in borders:
                ends = ends[1:]
            yield path, price + min(ends)
            return
        for to in (at, at + 1, at + 2):
            is_jump = to == at + 2
            if to < len(columns) and not (is_jump and (at % 2 == 0 or columns[to] == columns[at])):
                yield from from_here([*path, to], price)
        if at in borders:
            for lines, border in enumerate(borders[borders.index(at) + 1 :], start=1):
                yield from from_here([*path, border], price + over(lines))

    for start in (0, 1):
        if start < len(columns):
            yield from from_here([start], 0.0)


def worth(scores: np.ndarray, way: Graph, path: Sequence[int]) -> float:
    return float(sum(scores[t, way.columns[state]] for t, state in enumerate(path)))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=2), max_size=3),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_no_other_path_is_better(lines: list[list[int]], frames: int, seed: int) -> None:
    scores = -np.random.default_rng(seed).exponential(2.0, (frames, 5)).astype(np.float32)
    way = graph(lines, [[BLANK, GAP][: len(line) - 1] for line in lines], BORDER)
    path = best_path(scores, way, PRICES)
    tried = list(all_paths(way, frames))
    best = max(worth(scores, way, other) - price for other, price in tried)
    prices = [price for other, price in tried if other == path.tolist()]
    assert prices, "the path breaks the rules"
    assert worth(scores, way, path.tolist()) - min(prices) == pytest.approx(best, abs=1e-4)


def test_equal_letters_are_parted_by_a_blank() -> None:
    sure = np.log(np.eye(5, dtype=np.float32)[[1, 1, 1]] + 0.3)
    way = graph([[1, 1]], [[BLANK]], BORDER)
    assert best_path(sure, way, PRICES).tolist() == [1, 2, 3]


def test_a_line_is_as_short_as_its_letters_allow() -> None:
    sure = np.log(np.eye(5, dtype=np.float32)[[BORDER, 1, 2, BORDER]] + 1e-3)
    way = graph([[1, 2]], [[BLANK]], BORDER)
    assert best_path(sure, way, PRICES).tolist() == [0, 1, 3, 4]


def test_without_lines_there_is_only_the_border() -> None:
    assert best_path(np.zeros((3, 5), np.float32), graph([], [], BORDER), PRICES).tolist() == [0, 0, 0]
