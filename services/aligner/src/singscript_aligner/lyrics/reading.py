"""Known lyrics as the user wrote them, to the lines that are sung, in the order in which they are sung."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from singscript_aligner.lyrics import marks
from singscript_aligner.lyrics.sites import cleaned
from singscript_aligner.lyrics.timed import Row, timed_rows
from singscript_aligner.text.words import split_words
from singscript_core.errors import InvalidInput

_MAX_WORDS = 20_000
_LINE_END = re.compile(r"\r\n?|\n")


class TooManyWords(InvalidInput):
    """More words than a song or a speech of hours has; metadata: limit_words."""

    reason = "TOO_MANY_WORDS"


@dataclass(frozen=True, slots=True)
class LyricLine:
    """A line that is sung.

    Attributes:
        text: as written, without marks such as "(x2)" and without times; a mark of who sings stays.
        words: those of `text` that may be sung.
        number: of its line in the text that was given, from 0, empty lines counted; a repeated line has it again.
        start_s, end_s: where the lyrics have times.
        ad_libs: indices of words that may well not be sung, or by another voice: those in parentheses.
        section: of the song, from 0: empty lines and headings begin a new one.
    """

    text: str
    words: tuple[str, ...]
    number: int = 0
    start_s: float | None = None
    end_s: float | None = None
    ad_libs: frozenset[int] = frozenset()
    section: int = 0


def read_lyrics(text: str, language: str = "") -> list[LyricLine]:
    """The lines that are sung; none for a text without words. Linear in the length of the text and of what comes out.

    Plain text, LRC, SRT or WebVTT. What is marked to come again does: "x2" after a line, alone on a line, or in a
    heading; a heading without lines stands for those that it had before. Where lines have times, only a line can be
    marked so: the times say when the rest comes.

    Raises:
        TooManyWords, InvalidLyrics.
    """
    lines = [" ".join(line.split()) for line in _LINE_END.split(text.lstrip("\ufeff"))]
    rows = timed_rows(lines)
    timed = rows is not None
    if rows is None:
        rows = [Row(number, line) for number, line in enumerate(cleaned(lines))]
    known = marks.speakers(row.text for row in rows)
    song = _Song(repeats=not timed)
    for row in rows:
        written, times = marks.repeated(row.text)
        found = marks.heading(written) if written else None
        if not any(c.isalnum() for c in row.text):
            song.blank()
        elif not written:
            song.again(times)
        elif found:
            # A mark after words on the heading's line is theirs.
            song.heading(found[0], 1 if found[1] else times)
            if found[1]:
                song.sung(_read(replace(row, text=found[1]), known, language), times)
        else:
            song.sung(_read(replace(row, text=written), known, language), times)
    return song.finished()


def _read(row: Row, speakers: frozenset[str], language: str) -> LyricLine:
    text = marks.without_brackets(row.text)
    words = split_words(text[marks.speaker_end(text, speakers) :], language)
    return LyricLine(text, tuple(words), row.number, row.start_s, row.end_s, marks.ad_libs(words))


class _Song:
    """Takes line by line what is written; gives what is sung."""

    def __init__(self, *, repeats: bool) -> None:
        self._repeats = repeats
        self._lines: list[LyricLine] = []
        self._words = 0  # of all lines, also of those in the open section
        self._sections = 0
        self._parts: dict[str, tuple[list[LyricLine], bool]] = {}  # lines; empty line before them?
        self._last: list[LyricLine] = []
        self._begin("", 1, headed=False)

    def _begin(self, name: str, times: int, *, headed: bool) -> None:
        self._open: list[LyricLine] = []
        self._name, self._times, self._headed, self._spaced = name, times, headed, False

    def heading(self, name: str, times: int) -> None:
        """What follows is this part of the song, so many times."""
        self._close()
        self._begin(name, times if self._repeats else 1, headed=True)

    def blank(self) -> None:
        """Ends a section; after a heading only where the heading stands for lines that it had before."""
        lines, spaced = self._parts.get(self._name, ([], False))
        if self._open or (lines and not spaced):
            self._close()
        else:
            self._spaced = True

    def again(self, times: int) -> None:
        """The section before comes so many times."""
        if not self._repeats:
            return
        if self._open:
            self._count(self._open, times - 1)
            self._open = self._open * times
        elif self._headed:
            self._times = min(self._times * times, marks.MOST_TIMES)
        else:
            self._count(self._last, times - 1)
            self._add(self._last, times - 1)

    def sung(self, line: LyricLine, times: int) -> None:
        """The line comes so many times; only the first time has its start, only the last one its end."""
        if not any(c.isalnum() for word in line.words for c in word):
            return
        self._count([line], times)
        if times == 1:
            self._open.append(line)
        else:
            inner = replace(line, start_s=None, end_s=None)
            self._open += [replace(line, end_s=None), *[inner] * (times - 2), replace(line, start_s=None)]

    def finished(self) -> list[LyricLine]:
        """All lines."""
        self._close()
        return self._lines

    def _close(self) -> None:
        lines = self._open
        if lines:
            self._count(lines, self._times - 1)
            if self._name and self._repeats:
                self._parts[self._name] = lines, self._spaced
        else:
            lines, _ = self._parts.get(self._name, ([], False))
            self._count(lines, self._times)
        if lines:
            self._add(lines, self._times)
            self._last = lines
        self._begin("", 1, headed=False)

    def _add(self, lines: Sequence[LyricLine], times: int) -> None:
        for _ in range(times):
            self._lines += [replace(line, section=self._sections) for line in lines]
            self._sections += 1

    def _count(self, lines: Sequence[LyricLine], times: int) -> None:
        self._words += times * sum(len(line.words) for line in lines)
        if self._words > _MAX_WORDS:
            raise TooManyWords(
                f"The lyrics have more than {_MAX_WORDS} words, counted as often as they are marked to come. "
                "Send fewer, or correct marks such as x20.",
                metadata={"limit_words": str(_MAX_WORDS)},
            )
