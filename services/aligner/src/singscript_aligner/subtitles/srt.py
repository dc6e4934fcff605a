"""SubRip: a cue a line, or a cue a word.

The format has no way to write its own marks as text. So braces become parentheses, for players hide what stands in
braces; and where a text has "-->", "<i>" or "\\N", a word joiner that nobody sees keeps players from reading a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from singscript_aligner.subtitles.cues import MS, clock, cues, parted
from singscript_aligner.subtitles.sheet import Sheet

_MARK = re.compile(r"<(?=\s*/?\s*[A-Za-z])|-->|\\(?=[Nnh])")
_PARENTHESES = str.maketrans("{}", "()")


def by_line(sheet: Sheet) -> str:
    """A cue for each line, as it is written."""
    return _file((cue.start, cue.end, cue.text) for cue in cues(sheet, MS))


def by_word(sheet: Sheet) -> str:
    """A cue for each word that has a time; a line without any is one cue."""
    return _file((note.start, note.end, note.text) for cue in cues(sheet, MS) for note in cue.sung)


def _file(timed: Iterable[tuple[int, int, str]]) -> str:
    return "".join(
        f"{i}\n{clock(start, MS, ',')} --> {clock(end, MS, ',')}\n{_written(text)}\n\n"
        for i, (start, end, text) in enumerate(timed, 1)
    )


def _written(text: str) -> str:
    return parted(text.translate(_PARENTHESES), _MARK)
