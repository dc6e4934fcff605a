"""WebVTT, with the times of words inside of the lines (https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

from singscript_aligner.subtitles.cues import MS, Cue, clock, cues
from singscript_aligner.subtitles.sheet import Sheet


def write(sheet: Sheet) -> str:
    """A cue for each line. A word that is not sung stands in it without a time.

    The standard wants inline times between the start and the end of their cue, so a word that starts with its cue has
    none. Text comes back as it was written: &, < and > are escaped.
    """
    return "WEBVTT\n\n" + "".join(
        f"{clock(cue.start, MS)} --> {clock(cue.end, MS)}\n{_text(cue)}\n\n" for cue in cues(sheet, MS)
    )


def _text(cue: Cue) -> str:
    text = ""
    for note in cue.notes:
        time = f"<{clock(note.start, MS)}>" if note.start > cue.start else ""
        text += _escaped(note.before) + time + _escaped(note.text)
    return text + _escaped(cue.rest)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
