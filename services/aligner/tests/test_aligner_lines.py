"""Words to lines, lines to the screen."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singscript_aligner.lines import Grouper, LineRules, Screen, join
from singscript_aligner.words import AlignedWord, Timing

RULES = LineRules()


def word(text: str, start_s: float, end_s: float) -> AlignedWord:
    return AlignedWord(text, start_s, end_s, None, Timing.ACOUSTIC)


def said(text: str, word_s: float = 0.3, from_s: float = 0.0) -> list[AlignedWord]:
    return [word(t, from_s + i * word_s, from_s + (i + 0.9) * word_s) for i, t in enumerate(text.split())]


def grouped(words: list[AlignedWord]) -> list[list[AlignedWord]]:
    grouper = Grouper(RULES)
    groups = [group for one in words for group in grouper.push(one)]
    return groups + list(grouper.flush())


def texts(groups: list[list[AlignedWord]]) -> list[str]:
    return [join([one.text for one in group]) for group in groups]


@st.composite
def timed_words(draw: st.DrawFn) -> list[AlignedWord]:
    at, words = 0.0, list[AlignedWord]()
    for text in draw(st.lists(st.text("abc,.?漢字", min_size=1, max_size=60), max_size=40)):
        start = at + draw(st.sampled_from([0.0, 0.05, 0.5, 3.0]))
        at = start + draw(st.sampled_from([0.0, 0.2, 1.0, 9.0]))
        words.append(word(text, start, at))
    return words


@given(timed_words())
def test_no_word_is_lost_or_moved_and_lines_keep_the_rules(words: list[AlignedWord]) -> None:
    groups = grouped(words)
    assert [one for group in groups for one in group] == words
    for group in groups:
        if len(group) > 1:
            assert len(texts([group])[0]) <= RULES.max_chars
            assert group[-1].end_s - group[0].start_s <= RULES.max_duration_s
            assert all(b.start_s - a.end_s < RULES.pause_s for a, b in pairwise(group))


def test_sentences_pauses_and_commas_end_lines() -> None:
    assert texts(grouped(said("We go home. You stay here!"))) == ["We go home.", "You stay here!"]
    assert texts(grouped(said("we go") + said("you stay", from_s=2.0))) == ["we go", "you stay"]
    long = "When the morning comes over the hill, I will count to twenty five"
    assert texts(grouped(said(long, 0.2))) == [long[: long.index(",") + 1], long[long.index(",") + 2 :]]


def test_lines_come_out_before_the_end() -> None:
    grouper = Grouper(RULES)
    emitted = [group for one in said("la " * 100, 0.2) for group in grouper.push(one)]
    assert sum(map(len, emitted)) > 60


def test_scripts_without_spaces_are_joined_without() -> None:
    assert join(["漢", "字"]) == "漢字"
    assert join(["we", "go", "漢"]) == "we go 漢"
    assert join([]) == ""


@given(timed_words())
def test_lines_on_the_screen_do_not_overlap(words: list[AlignedWord]) -> None:
    screen = Screen(RULES)
    lines = [line for group in grouped(words) for line in screen.push(group)]
    end_s = words[-1].end_s + 0.3 if words else 0.0
    lines += screen.finish(end_s)
    assert [one for line in lines for one in line.words] == words
    for line in lines:
        assert line.words[0].start_s == line.start_s <= line.end_s <= end_s
        assert line.end_s >= line.words[-1].end_s
    assert all(a.end_s <= b.start_s for a, b in pairwise(lines))


@pytest.mark.parametrize(("next_s", "end_s"), [(10.0, 1.0), (0.5, 0.42), (0.3, 0.3)])
def test_a_short_line_stays_where_there_is_room(next_s: float, end_s: float) -> None:
    screen = Screen(RULES)
    assert not list(screen.push([word("Hi", 0.0, 0.3)]))
    (line,) = screen.push([word("you", next_s, next_s + 1.0)])
    assert line.end_s == pytest.approx(end_s)


def test_lines_of_the_user_keep_their_text() -> None:
    screen = Screen(RULES)
    list(screen.push([word("Oh,", 0.0, 0.3), word("you", 0.3, 0.5)], "Oh,  you"))
    (line,) = screen.finish(60.0)
    assert line.text == "Oh,  you"
