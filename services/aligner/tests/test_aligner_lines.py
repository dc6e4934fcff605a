"""Words to lines, lines to the screen."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singscript_aligner.lines import Grouper, LineRules, Screen, width
from singscript_aligner.text.phrases import inside_phrases
from singscript_aligner.words import AlignedWord, Line, Timing

ROOT = Path(__file__).parents[3]
RULES = LineRules()
PROSE = (
    "The committee met on Tuesday, as it always does, and after a long discussion that went on well into the evening "
    "it was decided that nothing would be decided. Mr. Smith, who had come from New York for the purpose, was not "
    "amused. And so he went home. There was nobody in the station when he arrived!"
)


def word(text: str, start_s: float, end_s: float) -> AlignedWord:
    return AlignedWord(text, start_s, end_s, None, Timing.ACOUSTIC)


def said(text: str, word_s: float = 0.3, from_s: float = 0.0) -> list[AlignedWord]:
    return [word(t, from_s + i * word_s, from_s + (i + 0.9) * word_s) for i, t in enumerate(text.split())]


def sung(*phrases: str, pause_s: float) -> list[AlignedWord]:
    words, at = list[AlignedWord](), 0.0
    for phrase in phrases:
        words += said(phrase, from_s=at)
        at = words[-1].end_s + pause_s
    return words


def grouped(words: list[AlignedWord], rules: LineRules = RULES) -> list[list[AlignedWord]]:
    grouper = Grouper(rules)
    groups = [group for one in words for group in grouper.push(one)]
    return groups + list(grouper.flush())


def shown(words: list[AlignedWord], rules: LineRules = RULES) -> list[Line]:
    screen = Screen(rules)
    lines = [line for group in grouped(words, rules) for line in screen.push(group)]
    return lines + list(screen.finish(words[-1].end_s + 0.3 if words else 0.0))


def texts(words: list[AlignedWord], rules: LineRules = RULES) -> list[str]:
    return [line.text for line in shown(words, rules)]


@st.composite
def timed_words(draw: st.DrawFn) -> list[AlignedWord]:
    at, words = 0.0, list[AlignedWord]()
    for text in draw(st.lists(st.text("abcD,.?漢字ー”", min_size=1, max_size=60), max_size=40)):
        start = at + draw(st.sampled_from([0.0, 0.05, 0.5, 3.0]))
        at = start + draw(st.sampled_from([0.0, 0.2, 1.0, 9.0]))
        words.append(word(text, start, at))
    return words


@settings(deadline=None)
@given(timed_words(), st.sampled_from([1, 2, 3]))
def test_no_word_is_lost_or_moved_and_lines_keep_the_rules(words: list[AlignedWord], rows: int) -> None:
    rules = LineRules(lines_on_screen=rows)
    lines = shown(words, rules)
    assert [one for line in lines for one in line.words] == words
    singles = {one.text for one in words}
    for line in lines:
        parts = line.text.split("\n")
        assert "".join(line.text.split()) == "".join(one.text for one in line.words)
        assert len(parts) <= rows
        assert all(width(part) <= rules.max_chars or part in singles for part in parts)
        if len(line.words) > 1:
            assert line.words[-1].end_s - line.words[0].start_s <= rules.max_duration_s
            assert all(b.start_s - a.end_s < rules.pause_s for a, b in pairwise(line.words))


@settings(deadline=None)
@given(timed_words())
def test_lines_on_the_screen_do_not_overlap(words: list[AlignedWord]) -> None:
    lines = shown(words)
    for line in lines:
        assert line.words[0].start_s == line.start_s <= line.end_s <= words[-1].end_s + 0.3
        assert line.end_s >= line.words[-1].end_s
    assert all(a.end_s <= b.start_s for a, b in pairwise(lines))


def test_sentences_and_pauses_end_lines() -> None:
    assert texts(said("We go home. You stay here!")) == ["We go home.", "You stay here!"]
    assert texts(said("we go") + said("you stay", from_s=2.0)) == ["we go", "you stay"]


def test_an_abbreviation_and_an_ellipsis_end_no_sentence() -> None:
    assert texts(said("I met Mr. Smith and… nobody else")) == ["I met Mr. Smith and… nobody else"]


def test_prose_fills_two_rows_and_breaks_after_commas() -> None:
    long = "When the morning comes over the hill, I will count to twenty five"
    assert texts(said(long, 0.2)) == [long.replace(", ", ",\n")]
    lines = texts(said(PROSE, 0.25))
    assert sum("\n" in line for line in lines) >= 3
    assert "And so he went home." in lines
    assert not any(len(line) < 15 for line in lines)


def test_one_row_where_no_more_may_stand() -> None:
    assert not any("\n" in text for text in texts(said(PROSE, 0.25), LineRules(lines_on_screen=1)))


def test_equal_rows_have_the_longer_one_below() -> None:
    (text,) = texts(said("aaaa " * 9, 0.2))
    top, bottom = text.split("\n")
    assert len(top) < len(bottom)


@pytest.mark.parametrize("phrases", [
    ("the day is done the rain is slow", "and there is nowhere else to go", "i left my troubles at the door"),
    ("The day is done, the rain is slow,", "and there is nowhere else to go,", "and nobody is at the door,"),
    ("Walking by the river in the morning", "Holding on to everything we know", "Nothing ever changes"),
])  # fmt: skip
def test_a_sung_phrase_is_one_row(phrases: tuple[str, ...]) -> None:
    assert texts(sung(*phrases, pause_s=0.4)) == list(phrases)


@pytest.mark.parametrize(("marks", "least"), [("all", 10), ("capitals", 8), ("none", 4)])
def test_the_lines_of_the_demo_are_found_again(marks: str, least: int) -> None:
    lines = json.loads((ROOT / "demo" / "truth.json").read_text())["lines"]
    written, words = list[str](), list[AlignedWord]()
    for line in lines:
        text = line["text"]
        text = text if marks == "all" else text.replace(",", "").replace(".", "")
        written.append(text.lower() if marks == "none" else text)
        words += [
            word(one, timed["start_s"], timed["end_s"])
            for one, timed in zip(written[-1].split(), line["words"], strict=True)
        ]
    got = texts(words)
    assert sum(text in written for text in got) >= least
    # Two lines with less than 0.1 s between them may become the two rows of one.
    assert all(row in written for text in got for row in text.split("\n"))


def test_lines_come_out_before_the_end_and_little_is_held_back() -> None:
    grouper = Grouper(RULES)
    held = 0
    for one in said("la " * 500, 0.2):
        held += 1 - sum(map(len, grouper.push(one)))
        assert held < 80


def test_wide_letters_take_two_places_and_phrases_stay_whole() -> None:
    song = "きっと明日は晴れるから君と一緒に歩いて行こう遠い空の向こうまで夢を追いかけて"
    words = [word(letter, 0.15 * i, 0.15 * (i + 1)) for i, letter in enumerate(song)]
    rows = [row for text in texts(words) for row in text.split("\n")]
    assert "".join(rows) == song
    assert all(len(row) <= 21 for row in rows)
    starts = {sum(map(len, rows[:i])) for i in range(1, len(rows))}
    assert starts and not starts & inside_phrases(list(song))
    assert width("愛") == 2 and width("น้ำ") == 2 and width("e\u0301") == 1


def test_a_word_longer_than_a_row_stays_whole() -> None:
    rows = [row for text in texts(said(f"oh {'a' * 60} oh")) for row in text.split("\n")]
    assert rows == ["oh", "a" * 60, "oh"]


@pytest.mark.parametrize(("next_s", "end_s"), [(10.0, 5 / 6), (0.5, 0.42), (0.3, 0.3)])
def test_a_short_line_stays_where_there_is_room(next_s: float, end_s: float) -> None:
    screen = Screen(RULES)
    assert not list(screen.push([word("Hi", 0.0, 0.3)]))
    (line,) = screen.push([word("you", next_s, next_s + 1.0)])
    assert line.end_s == pytest.approx(end_s)


def test_fast_speech_stays_until_it_can_be_read() -> None:
    (line,) = shown(said("I will count to twenty five and stand still", 0.1))[:1]
    screen = Screen(RULES)
    list(screen.push(line.words))
    (alone,) = screen.finish(60.0)
    assert alone.end_s == pytest.approx(len(line.text) / RULES.reading_speed)


def test_lines_of_the_user_keep_their_text_and_number() -> None:
    screen = Screen(RULES)
    text = "Oh,  you " + "and you " * 20
    list(screen.push([word("Oh,", 0.0, 0.3), word("you", 0.3, 0.5)], text, 7))
    (line,) = screen.finish(60.0)
    assert (line.text, line.lyrics_line) == (text, 7)
