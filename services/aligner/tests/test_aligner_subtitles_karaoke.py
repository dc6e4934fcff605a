"""ASS, LRC and UltraStar: when the fill of each word begins, as readers of these formats count it."""

from __future__ import annotations

import re
from itertools import pairwise

import pylrc
import pysubs2
import pytest
from aligner_sheets import UNTIMED, WORD_JOINER, crooked_sheets, line, rows, sheets, sung, text_of
from hypothesis import given
from hypothesis import strategies as st

from singscript_aligner.subtitles import Format, Options, Sheet

_HUNDREDTH_S = 0.01
_ROUNDED_S = 0.005 + 1e-9
_KARAOKE_TAG = re.compile(r"\{\\(kf|k)(\d+)\}([^{]*)")
_DOTS = "• • •\n"
OPTIONS = st.builds(Options, sweep=st.booleans(), lead_in=st.booleans(), syllables=st.booleans())

DIVIDED = Sheet([line("Wonderful you", 1.0, 3.0, ("Wonderful", 1.0, 1.9), ("you", 2.5, 3.0))], "en")


def one_row(text: str) -> str:
    return " ".join(rows(text))


def as_written(text: str) -> str:
    return text.replace(WORD_JOINER, "")


def fills(event: pysubs2.SSAEvent) -> list[tuple[float, float, str, str]]:
    """(start_s, end_s, tag, text) of each piece of a line: a tag begins where all before it have ended."""
    assert "".join(tag[0] for tag in _KARAOKE_TAG.finditer(event.text)) == event.text
    found, at = list[tuple[float, float, str, str]](), event.start / 1000
    for tag in _KARAOKE_TAG.finditer(event.text):
        end = at + int(tag[2]) / 100
        found.append((at, end, tag[1], as_written(tag[3].replace("\\N", "\n"))))
        at = end
    assert at <= event.end / 1000 + 1e-6
    return found


def ass_events(sheet: Sheet, options: Options) -> list[pysubs2.SSAEvent]:
    return list(pysubs2.SSAFile.from_string(text_of(sheet, Format.ASS, options), "ass"))


def in_parentheses(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


@UNTIMED
@given(sheets(), OPTIONS)
def test_ass_fills_each_word_when_it_is_sung(sheet: Sheet, options: Options) -> None:
    events = ass_events(sheet, options)
    assert len(events) == len(sheet.lines)
    for event, x in zip(events, sheet.lines, strict=True):
        pieces = fills(event)
        shown = "".join(text for *_, text in pieces).removeprefix(_DOTS)
        assert rows(shown) == rows(in_parentheses(x.text))
        assert event.end / 1000 == pytest.approx(x.end_s, abs=_ROUNDED_S)
        for word in x.words:
            written = in_parentheses(word.text)
            while not written.startswith(pieces[0][3]) or not pieces[0][3]:
                pieces.pop(0)
            # Never early, but for the rounding to a hundredth.
            assert -_ROUNDED_S <= pieces[0][0] - word.start_s <= _HUNDREDTH_S
            end_s = pieces[0][1]
            while written:
                _, end_s, tag, text = pieces.pop(0)
                assert text and written.startswith(text)
                assert options.sweep or tag == "k"
                written = written.removeprefix(text)
            assert end_s == pytest.approx(word.end_s, abs=_ROUNDED_S)


@UNTIMED
@given(crooked_sheets(), OPTIONS)
def test_ass_of_crooked_lines_has_no_overlap(sheet: Sheet, options: Options) -> None:
    events = ass_events(sheet, options)
    assert all(event.start < event.end and event.plaintext.strip() for event in events)
    assert all(a.end <= b.start for a, b in pairwise(events))
    for event in events:
        fills(event)


def test_ass_waits_through_a_pause_and_keeps_unsung_words_for_the_next() -> None:
    sheet = Sheet([line("Hello (oh) you", 1.0, 8.0, ("Hello", 1.2, 1.5), ("you", 7.0, 7.5))])
    (event,) = ass_events(sheet, Options())
    assert event.text == "{\\k20}{\\kf30}Hello{\\k550}{\\k0} (oh) {\\kf50}you"


def test_ass_never_drifts() -> None:
    words = [(f"w{i}", 0.333 * i, 0.333 * i + 0.111) for i in range(300)]
    sheet = Sheet([line(" ".join(text for text, *_ in words), 0.0, 100.0, *words)])
    (event,) = ass_events(sheet, Options())
    starts = [start_s for start_s, _, tag, _ in fills(event) if tag == "kf"]
    assert starts == pytest.approx([start_s for _, start_s, _ in words], abs=_ROUNDED_S)


def test_ass_counts_the_singer_in_after_a_pause() -> None:
    first, second = line("One", 10.0, 11.0, ("One", 10.0, 11.0)), line("two", 12.0, 13.0, ("two", 12.5, 13.0))
    last = line("three", 30.0, 31.0, ("three", 30.0, 31.0))
    counted, close, again = ass_events(Sheet([first, second, last]), Options(lead_in=True))
    # Each dot fills one second after the one before, the word one second after the last dot.
    assert [(start_s, text) for start_s, _, _, text in fills(counted) if text] == [
        (pytest.approx(7.0), "• "),
        (pytest.approx(8.0), "• "),
        (pytest.approx(9.0), "•\n"),
        (pytest.approx(10.0), "One"),
    ]
    assert counted.start < 7000
    assert (close.start, close.text) == (11_000, "{\\k100}{\\k50}{\\kf50}two")  # not before the line before has gone
    assert again.text.endswith("•\\N{\\kf100}three")
    assert {event.style for event in (counted, close, again)} == {"Karaoke Lead-in"}


def test_ass_says_what_it_looks_like() -> None:
    file = pysubs2.SSAFile.from_string(text_of(Sheet([], title="A\nsong"), Format.ASS), "ass")
    assert list(file) == []
    assert set(file.styles) == {"Karaoke", "Karaoke Lead-in"}
    assert (file.info["PlayResX"], file.info["PlayResY"], file.info["Title"]) == ("1920", "1080", "A song")
    for style in file.styles.values():
        assert style.primarycolor != style.secondarycolor


def test_right_to_left_words_do_not_sweep() -> None:
    (event,) = ass_events(Sheet([line("שלום you", 1.0, 2.0, ("שלום", 1.0, 1.5), ("you", 1.5, 2.0))]), Options())
    assert [(tag, text) for _, _, tag, text in fills(event)] == [("k", "שלום"), ("k", " "), ("kf", "you")]


def test_syllables_share_the_time_of_their_word() -> None:
    (event,) = ass_events(DIVIDED, Options(syllables=True))
    assert [(start_s, text) for start_s, _, tag, text in fills(event) if tag == "kf"] == [
        (pytest.approx(1.0), "Won"),
        (pytest.approx(1.3), "der"),
        (pytest.approx(1.6), "ful"),
        (pytest.approx(2.5), "you"),
    ]
    assert text_of(DIVIDED, Format.LRC_ENHANCED, Options(syllables=True)).splitlines()[1] == (
        "[00:01.00]<00:01.00>Won<00:01.30>der<00:01.60>ful <00:02.50>you<00:03.00>"
    )
    assert [text for _, _, text in ultrastar_notes(text_of(DIVIDED, Format.ULTRASTAR, Options(syllables=True)))] == [
        "Won",
        "der",
        "ful ",
        "you",
    ]


def lrc_lines(text: str) -> list[tuple[float, str]]:
    return [(found.time, as_written(found.text)) for found in pylrc.parse(text)]


@UNTIMED
@given(sheets())
def test_lrc_has_the_lines(sheet: Sheet) -> None:
    found = lrc_lines(text_of(sheet, Format.LRC))
    with_text = [(time_s, written) for time_s, written in found if written]
    assert [written for _, written in with_text] == [one_row(x.text) for x in sheet.lines]
    for (time_s, _), x in zip(with_text, sheet.lines, strict=True):
        assert time_s == pytest.approx(x.start_s, abs=_ROUNDED_S)
    empty = [time_s for time_s, written in found if not written]
    paused = [a.end_s for a, b in pairwise(sheet.lines) if b.start_s - a.end_s >= 4.01]
    for end_s in [*paused, *(x.end_s for x in sheet.lines[-1:])]:
        assert any(time_s == pytest.approx(end_s, abs=_ROUNDED_S) for time_s in empty)


_LINE_TIME = re.compile(r"\[(\d+):(\d\d\.\d\d)\]")
_WORD_TIME = re.compile(r"<(\d+):(\d\d\.\d\d)>")


def enhanced(text: str) -> list[tuple[float, str, list[tuple[float, str]]]]:
    """Start, text before the first word, and (start, text up to the next time) of each line that has text."""
    found: list[tuple[float, str, list[tuple[float, str]]]] = []
    for row in text.splitlines():
        if (time := _LINE_TIME.match(row)) and row[time.end() :]:
            first, *others = _WORD_TIME.split(row[time.end() :])
            timed = [
                (60 * int(minutes) + float(seconds), as_written(text))
                for minutes, seconds, text in zip(*(others[i::3] for i in range(3)), strict=True)
            ]
            found.append((60 * int(time[1]) + float(time[2]), as_written(first), timed))
    return found


@UNTIMED
@given(sheets())
def test_enhanced_lrc_has_the_words(sheet: Sheet) -> None:
    found = enhanced(text_of(sheet, Format.LRC_ENHANCED))
    for (start_s, first, timed), x in zip(found, sheet.lines, strict=True):
        assert start_s == pytest.approx(x.start_s, abs=_ROUNDED_S)
        assert first + "".join(text for _, text in timed) == one_row(x.text)
        ends = [word.end_s for word in x.words[-1:]]
        times = [*(word.start_s for word in x.words), *ends]
        assert [time_s for time_s, _ in timed] == pytest.approx(times, abs=_ROUNDED_S)
        assert all(text.startswith(word.text) for (_, text), word in zip(timed, x.words, strict=False))


@pytest.mark.parametrize("wanted", [Format.LRC, Format.LRC_ENHANCED])
@UNTIMED
@given(sheet=crooked_sheets())
def test_lrc_of_crooked_lines_is_in_order(wanted: Format, sheet: Sheet) -> None:
    found = enhanced(text_of(sheet, wanted))
    times = [time_s for start_s, _, timed in found for time_s in (start_s, *(time_s for time_s, _ in timed))]
    assert times == sorted(times)


def test_lrc_has_a_head_and_no_hours() -> None:
    sheet = Sheet([line("late", 6_001.5, 6_002.0)], title="A [b]\nc", artist="Someone", duration_s=6_010.0)
    assert text_of(sheet, Format.LRC).splitlines() == [
        "[ti:A (b) c]",
        "[ar:Someone]",
        "[length:100:10]",
        "[100:01.50]late",
        "[100:02.00]",
    ]
    assert text_of(Sheet([]), Format.LRC) == text_of(Sheet([]), Format.LRC_ENHANCED) == ""


def ultrastar_notes(text: str) -> list[tuple[float, float, str]]:
    """(start_s, end_s, text) of each note, as the game counts: a beat is a quarter of a beat of BPM."""
    head, notes, last = dict[str, str](), list[tuple[float, float, str]](), 0
    *body, end = text.removesuffix("\n").split("\n")
    assert end == "E"
    for row in body:
        if row.startswith("#"):
            assert not notes
            tag, value = row[1:].split(":", 1)
            head[tag] = value
            continue
        beat_s = 60 / (4 * float(head["BPM"]))
        gap_s = int(head["GAP"]) / 1000
        if row.startswith("- "):
            assert notes and int(row[2:]) >= last
            last = int(row[2:])
            continue
        kind, start, length, pitch, written = row.split(" ", 4)
        assert (kind, pitch) == (":", "0")
        assert int(start) >= last and int(length) > 0
        last = int(start) + int(length)
        notes.append((gap_s + int(start) * beat_s, gap_s + last * beat_s, written))
    assert {"TITLE", "ARTIST", "MP3", "BPM", "GAP"} <= head.keys()
    return notes


@UNTIMED
@given(sheets())
def test_ultrastar_has_the_words(sheet: Sheet) -> None:
    text = text_of(sheet, Format.ULTRASTAR)
    notes, expected = ultrastar_notes(text), sung(sheet)
    assert [written.strip() for _, _, written in notes] == [word for word, _, _ in expected]
    assert [start_s for start_s, _, _ in notes] == pytest.approx(
        [start_s for _, start_s, _ in expected], abs=_ROUNDED_S
    )
    assert [end_s for _, end_s, _ in notes] == pytest.approx([end_s for *_, end_s in expected], abs=_ROUNDED_S)
    assert len(re.findall(r"^- ", text, re.MULTILINE)) == max(0, len(sheet.lines) - 1)


@UNTIMED
@given(crooked_sheets(), st.booleans())
def test_ultrastar_of_crooked_lines_is_in_order(sheet: Sheet, syllables: bool) -> None:
    ultrastar_notes(text_of(sheet, Format.ULTRASTAR, Options(syllables=syllables)))


def test_ultrastar_ends_a_word_with_a_space() -> None:
    words = [("Hi", 1.0, 1.2), ("there", 1.2, 1.4), ("you", 1.4, 1.6)]
    notes = ultrastar_notes(text_of(Sheet([line("Hi there\nyou", 1.0, 2.0, *words)]), Format.ULTRASTAR))
    assert [written for _, _, written in notes] == ["Hi ", "there ", "you"]
    words = [("你", 1.0, 1.2), ("好", 1.2, 1.4)]
    notes = ultrastar_notes(text_of(Sheet([line("你好", 1.0, 2.0, *words)]), Format.ULTRASTAR))
    assert [written for _, _, written in notes] == ["你", "好"]
    assert ultrastar_notes(text_of(Sheet([]), Format.ULTRASTAR)) == []
