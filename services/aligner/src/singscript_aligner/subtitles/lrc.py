"""LRC, with the times of lines, and its enhanced form, with those of words.

A line has one row: several are joined by spaces. Where a text has what looks like a time of this format, a word joiner
that nobody sees keeps readers from taking it for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from singscript_aligner.subtitles.cues import CS, Cue, cues, one_row, parted, rows
from singscript_aligner.subtitles.sheet import Sheet

_PAUSE_S = 4.0  # after a line, so long: the line goes from the screen
_TIME = re.compile(r"[\[<](?=\s*\d+:)")


def write(sheet: Sheet) -> str:
    """[mm:ss.xx] before each line; alone, where a long pause begins and after the last line."""
    return _file(sheet, cues(sheet, CS), lambda cue: _written(cue.text))


def write_enhanced(sheet: Sheet, *, syllables: bool) -> str:
    """The same, with <mm:ss.xx> before each word or syllable that has a time and after the last of a line."""
    return _file(sheet, cues(sheet, CS, divided=syllables), _with_words)


def _file(sheet: Sheet, shown: list[Cue], text: Callable[[Cue], str]) -> str:
    head = [f"[{tag}:{_value(value)}]" for tag, value in (("ti", sheet.title), ("ar", sheet.artist)) if _value(value)]
    if sheet.length_s:
        minutes, seconds = divmod(round(sheet.length_s), 60)
        head.append(f"[length:{minutes:02}:{seconds:02}]")
    body: list[str] = []
    for i, cue in enumerate(shown):
        body.append(f"[{_clock(cue.start)}]{text(cue)}")
        if i + 1 == len(shown) or shown[i + 1].start - cue.end >= _PAUSE_S * CS:
            body.append(f"[{_clock(cue.end)}]")
    return rows(head + body)


def _with_words(cue: Cue) -> str:
    text = "".join(f"{_written(note.before)}<{_clock(note.start)}>{_written(note.text)}" for note in cue.notes)
    end = f"<{_clock(cue.notes[-1].end)}>" if cue.notes else ""
    return text + end + _written(cue.rest)


def _value(text: str) -> str:
    """Of a tag in the head; it ends at the first bracket."""
    return one_row(text).replace("[", "(").replace("]", ")")


def _written(text: str) -> str:
    return parted(text.replace("\n", " "), _TIME)


def _clock(ticks: int) -> str:
    """mm:ss.xx; minutes have no end, the format knows no hours."""
    return f"{ticks // 6000:02}:{ticks // CS % 60:02}.{ticks % CS:02}"
