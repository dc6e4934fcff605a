from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singscript_transcriber.language import SURE, Vote, choose

LANGUAGES = st.dictionaries(st.sampled_from(["en", "de", "fr", "cy"]), st.floats(0.0, 1.0), min_size=1)


@pytest.mark.parametrize(
    ("languages", "expected", "chosen"),
    [
        ({"en": 0.6, "de": 0.3}, "", "en"),
        ({"en": 0.6, "de": 0.3}, "de", "de"),
        ({"en": 0.6, "de": 0.3}, "fr", "fr"),
        ({"en": SURE, "de": 0.1}, "de", "en"),
    ],
)
def test_a_window_leaves_the_language_of_its_stream_only_when_it_is_sure(
    languages: dict[str, float], expected: str, chosen: str
) -> None:
    assert choose(languages, expected) == chosen


def test_longer_windows_count_for_more() -> None:
    vote = Vote()
    assert vote.winner == ""
    vote.add({"cy": 0.9, "en": 0.1}, voice_s=1.0)
    assert vote.winner == "cy"
    vote.add({"en": 0.6, "cy": 0.4}, voice_s=8.0)
    assert vote.winner == "en"
    assert vote.heard_s == 9.0


@given(st.lists(st.tuples(LANGUAGES, st.floats(0.1, 30.0)), min_size=1))
def test_the_order_of_windows_does_not_matter(windows: list[tuple[dict[str, float], float]]) -> None:
    forth, back = Vote(), Vote()
    for languages, voice_s in windows:
        forth.add(languages, voice_s)
    for languages, voice_s in reversed(windows):
        back.add(languages, voice_s)
    totals = {name: sum(one.get(name, 0.0) * long_s for one, long_s in windows) for name in ("en", "de", "fr", "cy")}
    assert totals[forth.winner] == pytest.approx(totals[back.winner])
    assert totals[forth.winner] == pytest.approx(max(totals.values()))
