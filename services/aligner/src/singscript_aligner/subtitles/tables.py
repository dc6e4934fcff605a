"""Tables and plain text: TSV as Whisper writes it, Audacity's labels, one line a line.

What stands in one cell has one row, and tabs in it are spaces.
"""

from __future__ import annotations

from singscript_aligner.subtitles.cues import MS, cues, one_row, rows
from singscript_aligner.subtitles.sheet import Sheet

_US = 1_000_000  # ticks a second


def tsv(sheet: Sheet) -> str:
    """start, end, text of each line, in milliseconds."""
    return rows(["start\tend\ttext", *(f"{cue.start}\t{cue.end}\t{one_row(cue.text)}" for cue in cues(sheet, MS))])


def audacity(sheet: Sheet) -> str:
    """A label track: start, end and text of each word that has a time, in seconds; a line without any is one label."""
    notes = [note for cue in cues(sheet, _US) for note in cue.sung]
    return rows(f"{_seconds(note.start)}\t{_seconds(note.end)}\t{note.text}" for note in notes)


def plain(sheet: Sheet) -> str:
    """The rows of each line."""
    return rows(cue.text for cue in cues(sheet, MS))


def _seconds(us: int) -> str:
    return f"{us // _US}.{us % _US:06}"
