"""Sheets of lyrics for the tests of subtitle files: texts that formats like to break on, times that are known."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from singscript_aligner.subtitles import Format, Options, Sheet, render
from singscript_aligner.words import AlignedWord, Line, Timing

WORD_JOINER = "\u2060"
UNTIMED = settings(deadline=None, max_examples=50)
# Marks of one format or another, and what is hard to draw.
NASTY = [
    "{\\an8}up", "{b}", "\\N", "C:\\New", "\\h", "<i>", "</i>", "<", "< b", "a<b>c", "<c.red>",
    "&amp;", "&", "-->", "--", "[00:12.00]", "<00:01.00>", "[ti:x]", "[chorus]", "#TITLE:", "E", ":",
    "-", "*", "NOTE", "STYLE", "WEBVTT", "1", "Dialogue:", "]]>", "<!--", "“quoted”", "don’t",
    '"said"', "25", "a,b", "a;b", "'", "🎵", "👩‍👩‍👧", "שלום", "مرحبا", "é", "e\u0301", "\u202bx\u202c",
]  # fmt: skip
_PLAIN = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=8)
_WORDS = st.sampled_from(NASTY) | st.sampled_from(["one", "two", "wonderful", "Hello,", "world!"]) | _PLAIN
_UNSPACED = st.lists(st.sampled_from("你好世界かなカ"), min_size=1, max_size=8)


def aligned(text: str, start_s: float, end_s: float, confidence: float | None = None) -> AlignedWord:
    return AlignedWord(text, start_s, end_s, confidence, Timing.ACOUSTIC)


def line(text: str, start_s: float, end_s: float, *words: tuple[str, float, float]) -> Line:
    return Line(text, start_s, end_s, tuple(aligned(*word) for word in words))


@st.composite
def sheets(draw: st.DrawFn, longest_gap_ms: int = 20_000) -> Sheet:
    """Up to 6 lines in order, each word of 30 ms or more, in whole milliseconds; some words are not sung."""
    at_ms, lines = 0, list[Line]()
    for _ in range(draw(st.integers(0, 6))):
        start_ms = at_ms = at_ms + draw(st.integers(0, longest_gap_ms))
        spaced = draw(st.booleans())
        texts = draw(st.lists(_WORDS, min_size=1, max_size=6) if spaced else _UNSPACED)
        text, words = "", list[AlignedWord]()
        for one in texts:
            text += (
                (draw(st.sampled_from(["", " ", "\n", "\n\n", "  "] if not spaced else [" ", "\n", " \n\n", "  "])))
                if text
                else ""
            )
            text += one
            if draw(st.integers(0, 4)):
                begin_ms = at_ms + draw(st.sampled_from([0, 0, 10, 333, 2004, 9999]))
                at_ms = begin_ms + draw(st.integers(30, 1500))
                words.append(aligned(one, begin_ms / 1000, at_ms / 1000, draw(st.none() | st.floats(0, 1))))
        at_ms = max(at_ms + draw(st.integers(0, 1000)), start_ms + 30)
        lines.append(Line(text, start_ms / 1000, at_ms / 1000, tuple(words), draw(st.none() | st.integers(0, 99))))
    title, artist = (
        draw(st.sampled_from(["", "A [title] & more", "Τίτλος"])),
        draw(st.sampled_from(["", "Someone <x>"])),
    )
    return Sheet(lines, draw(st.sampled_from(["", "en", "ja", "he"])), title, artist, at_ms / 1000)


@st.composite
def crooked_sheets(draw: st.DrawFn) -> Sheet:
    """Lines and words as no aligner should give them: out of order, over each other, without length, empty."""
    times = st.integers(0, 3000).map(lambda ms: ms / 1000) | st.sampled_from([0.0, 1.0, 1.001])
    lines = list[Line]()
    for _ in range(draw(st.integers(0, 6))):
        texts = draw(st.lists(_WORDS | st.sampled_from(["", " ", "\x00", "a\x0bb", "a\tb", "x\u2028y"]), max_size=5))
        text = draw(st.sampled_from([" ".join(texts), "", "another text", "\n\n"]))
        words = tuple(aligned(one, draw(times), draw(times)) for one in texts)
        lines.append(Line(text, draw(times), draw(times), words))
    return Sheet(lines, draw(st.sampled_from(["", "en"])))


def text_of(sheet: Sheet, wanted: Format, options: Options | None = None) -> str:
    return render(sheet, wanted, options or Options()).content.decode()


def rows(text: str) -> list[str]:
    """The rows of a text that show something, without the spaces at their ends."""
    return [row.strip() for row in text.split("\n") if row.strip()]


def sung(sheet: Sheet) -> list[tuple[str, float, float]]:
    """What word formats hold: the words that have a time, or the line where none has."""
    found = list[tuple[str, float, float]]()
    for one in sheet.lines:
        whole = (" ".join(rows(one.text)), one.start_s, one.end_s)
        found += [(word.text, word.start_s, word.end_s) for word in one.words] or [whole]
    return found
