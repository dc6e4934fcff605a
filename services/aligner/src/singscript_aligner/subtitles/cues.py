"""Lines as every format needs them: clean text, times in whole ticks, nothing that overlaps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from singscript_aligner.subtitles.sheet import Sheet
from singscript_aligner.text.syllables import syllables
from singscript_aligner.text.words import pieces
from singscript_aligner.words import AlignedWord, Line

MS = 1000  # ticks a second
CS = 100
# What XML forbids and no font shows; line breaks are gone before.
_UNSHOWN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Shows nothing and joins what stands around it, so that it can part the two characters of a mark.
_WORD_JOINER = "\u2060"


@dataclass(frozen=True, slots=True)
class Note:
    """A word, or a syllable of one, with its time in ticks; `before` is the text up to it from the one before."""

    before: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cue:
    """A line with its time in ticks; its text is each note with what stands before it, then `rest`.

    Of two notes or cues the second starts where the first has ended, or later, and each lasts a tick or more.
    """

    start: int
    end: int
    notes: tuple[Note, ...]
    rest: str

    @property
    def text(self) -> str:
        """One row or several, none of them blank."""
        return "".join(note.before + note.text for note in self.notes) + self.rest

    @property
    def sung(self) -> tuple[Note, ...]:
        """The notes; a line in which no word has a time is one."""
        return self.notes or (Note("", one_row(self.rest), self.start, self.end),)


def cues(sheet: Sheet, ticks_per_s: int, *, divided: bool = False) -> list[Cue]:
    """The lines of a sheet in order of time; those without text are left out.

    A line ends where the next one begins. What is too short for a tick takes one, and what follows begins later.
    Spaces at the ends of rows, blank rows and control characters are gone, tabs are spaces.

    Args:
        divided: notes are syllables, which share the time of their word.
    """
    shown = sorted((line for line in sheet.lines if _has_text(line)), key=lambda line: line.start_s)
    starts = [_ticks(line.start_s, ticks_per_s) for line in shown]
    found: list[Cue] = []
    free = 0
    for i, line in enumerate(shown):
        free = start = max(starts[i], free)
        limit = starts[i + 1] if i + 1 < len(shown) else None
        notes: list[Note] = []
        parts, rest = _parts(line)
        for before, word in parts:
            for text, start_s, end_s in _divided(word, sheet.language) if divided else [_whole(word)]:
                begin, end = _ticks(start_s, ticks_per_s), _ticks(end_s, ticks_per_s)
                if limit is not None:
                    begin, end = min(begin, limit - 1), min(end, limit)
                begin = max(begin, free)
                free = max(end, begin + 1)
                notes.append(Note(before, text, begin, free))
                before = ""
        end = _ticks(line.end_s, ticks_per_s)
        free = max(free, start + 1, end if limit is None else min(end, limit))
        found.append(Cue(start, free, tuple(notes), rest))
    return found


def clean(text: str) -> str:
    """Text without blank rows, control characters and spaces at the ends of rows; rows are parted by "\\n"."""
    rows = (_UNSHOWN.sub("", row.replace("\t", " ")).strip() for row in text.splitlines())
    return "\n".join(row for row in rows if row)


def one_row(text: str) -> str:
    """Clean text of one row, whatever it was."""
    return clean(text).replace("\n", " ")


def parted(text: str, mark: re.Pattern[str]) -> str:
    """`text` with a joiner that nobody sees after the first character of each `mark`: readers take it for text."""
    return mark.sub(lambda found: found[0][0] + _WORD_JOINER + found[0][1:], text)


def clock(ticks: int, ticks_per_s: int, point: str = ".") -> str:
    """00:00:01.250; as many decimals as ticks need, hours without an end."""
    seconds, fraction = divmod(ticks, ticks_per_s)
    hours, rest = divmod(seconds, 3600)
    return f"{hours:02}:{rest // 60:02}:{rest % 60:02}{point}{fraction:0{len(str(ticks_per_s)) - 1}}"


def _has_text(line: Line) -> bool:
    return bool(clean(line.text)) or any(clean(word.text) for word in line.words)


def _ticks(time_s: float, ticks_per_s: int) -> int:
    return max(0, math.floor(time_s * ticks_per_s + 0.5))


def _parts(line: Line) -> tuple[list[tuple[str, AlignedWord]], str]:
    """Each word with what stands before it, and what stands after the last."""
    text = clean(line.text)
    words = [AlignedWord(one_row(w.text), w.start_s, w.end_s, w.confidence, w.timing) for w in line.words]
    words = [word for word in words if word.text]
    found = pieces(text, [word.text for word in words])
    at = 0
    for before, word in found:
        # A word that the text does not have takes nothing from it.
        at += len(before + word) if text.startswith(before + word, at) else 0
    return [(before, word) for (before, _), word in zip(found, words, strict=True)], text[at:]


def _whole(word: AlignedWord) -> tuple[str, float, float]:
    return word.text, word.start_s, word.end_s


def _divided(word: AlignedWord, language: str) -> Iterator[tuple[str, float, float]]:
    """Syllables and their times: each has a vowel, which counts as long as two more letters do."""
    parts = syllables(word.text, language)
    letters = [2 + max(1, sum(map(str.isalpha, part))) for part in parts]
    length_s = max(0.0, word.end_s - word.start_s)
    done = 0
    for part, count in zip(parts, letters, strict=True):
        start_s = word.start_s + length_s * done / sum(letters)
        done += count
        yield part, start_s, word.start_s + length_s * done / sum(letters)


def rows(lines: Iterable[str]) -> str:
    """Lines of a file, each with its end."""
    return "".join(f"{line}\n" for line in lines)
