"""Words in their order on the time line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from singscript_aligner.timeline import in_order
from singscript_aligner.words import AlignedWord, Timing

times = st.floats(-5.0, 20.0, allow_nan=False)


def words(spans: Sequence[tuple[float, float]]) -> list[AlignedWord]:
    return [AlignedWord(str(i), a, b, 0.5, Timing.ACOUSTIC) for i, (a, b) in enumerate(spans)]


def spans(placed: Sequence[AlignedWord]) -> list[tuple[float, float]]:
    return [(word.start_s, word.end_s) for word in placed]


@given(st.lists(st.tuples(times, times), min_size=1, max_size=12), st.floats(0.0, 5.0), st.floats(0.0, 10.0))
def test_whatever_the_times_words_stand_in_order_with_room_for_each(
    given_spans: list[tuple[float, float]], after_s: float, length_s: float
) -> None:
    until_s = after_s + length_s
    placed = in_order(words(given_spans), after_s, until_s)
    if not placed:
        assert 1000 * length_s < len(given_spans) + 1
        return
    assert [word.text for word in placed] == [str(i) for i in range(len(given_spans))]
    assert all(after_s - 1e-6 <= word.start_s < word.end_s <= until_s + 1e-6 for word in placed)
    assert all(a.end_s <= b.start_s for a, b in pairwise(placed))
    assert in_order(placed, after_s, until_s) == placed


def test_times_in_order_are_kept() -> None:
    given_spans = [(0.5, 1.0), (1.0, 1.2), (3.0, 3.04)]
    assert spans(in_order(words(given_spans), 0.0, 4.0)) == given_spans


def test_a_word_ends_where_the_next_one_starts() -> None:
    assert spans(in_order(words([(1.0, 3.0), (2.0, 2.5)]), 0.0, 4.0)) == [(1.0, 2.0), (2.0, 2.5)]


def test_what_reaches_over_the_end_is_moved_back() -> None:
    assert spans(in_order(words([(1.0, 1.5), (9.0, 9.5)]), 0.0, 2.0)) == [(1.0, 1.5), (1.98, 2.0)]


def test_without_a_millisecond_for_each_there_is_no_place() -> None:
    assert in_order(words([(0.0, 1.0)] * 5), 1.0, 1.004) == []
    assert in_order([], 0.0, 1.0) == []
