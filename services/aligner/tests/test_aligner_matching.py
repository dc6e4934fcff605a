"""Anchoring lyrics in what was heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singscript_aligner.lyrics.reading import read_lyrics
from singscript_aligner.matching import anchors, windows
from singscript_aligner.words import HeardWord


def heard(text: str, from_s: float = 0.0) -> list[HeardWord]:
    """A word a second, half a second long."""
    return [HeardWord(word, from_s + i, from_s + i + 0.5) for i, word in enumerate(text.split())]


def test_runs_of_words_are_anchors() -> None:
    words = ["The", "city", "sleeps", "the", "rain", "is", "slow", "and", "nowhere", "else"]
    said = heard("the city sleeps on rainy slow and knowing else")
    assert anchors(words, said) == {0: 0, 1: 1, 2: 2}
    assert anchors(["Umbrella", "a", "b"], heard("x umbrella y")) == {0: 1}
    assert anchors(["the", "umbrella", "the", "umbrella"], heard("x umbrella y")) == {}
    assert anchors([], []) == {}


@given(st.lists(st.sampled_from(["la", "na", "the", "umbrella", "mountain", "we", "go"]), max_size=30), st.data())
def test_anchors_rise_and_match(words: list[str], data: st.DataObject) -> None:
    said = heard(" ".join(data.draw(st.permutations(words))))
    found = anchors(words, said)
    assert list(found) == sorted(found) and list(found.values()) == sorted(set(found.values()))
    assert all(words[i] == said[j].text for i, j in found.items())


LINES = read_lyrics("one two three four\nfive six seven eight\nnine ten eleven twelve")


def test_windows_are_cut_between_anchored_lines() -> None:
    said = heard("one two three four five six seven eight nine ten eleven twelve", from_s=10.0)
    found = anchors([word for line in LINES for word in line.words], said)
    assert len(found) == 12
    cut = windows(LINES, said, found, 9.0, 30.0, 4.0)
    assert [(w.first_line, w.end_line) for w in cut] == [(0, 1), (1, 2), (2, 3)]
    assert [(w.start_s, w.end_s) for w in cut] == [(9.0, 14.0), (13.5, 18.0), (17.5, 30.0)]
    assert [(w.first_line, w.end_line) for w in windows(LINES, said, found, 9.0, 30.0, 100.0)] == [(0, 3)]


@pytest.mark.parametrize("text", ["", "nothing of this", "one two three"])
def test_without_anchors_there_is_one_window(text: str) -> None:
    said = heard(text)
    found = anchors([word for line in LINES for word in line.words], said)
    assert [(w.first_line, w.end_line) for w in windows(LINES, said, found, 0.0, 60.0, 4.0)] == [(0, 3)]
