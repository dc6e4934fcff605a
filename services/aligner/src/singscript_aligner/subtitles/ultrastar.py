"""UltraStar .txt, for karaoke games (https://usdx.eu/format/).

A beat of the file is a quarter of the beat that BPM counts: with 1500 of those a minute it lasts 10 ms.
"""

from __future__ import annotations

import re

from singscript_aligner.subtitles.cues import CS, Cue, cues, one_row, rows
from singscript_aligner.subtitles.sheet import Sheet

_BPM = 15 * CS
_SPACE = re.compile(r"\s")


def write(sheet: Sheet, *, syllables: bool) -> str:
    """A note for each word or syllable that has a time; a line without any is one note.

    Pitches are 0, for none are known; the name of the sound is for the user to set. A space after a note's text ends a
    word. Words that are not sung have no note, so they are left out.
    """
    shown = cues(sheet, CS, divided=syllables)
    gap = shown[0].sung[0].start if shown else 0
    head = {
        "TITLE": one_row(sheet.title) or "Unknown",
        "ARTIST": one_row(sheet.artist) or "Unknown",
        "MP3": "audio.mp3",
        "BPM": _BPM,
        "GAP": 10 * gap,
    }
    body: list[str] = []
    for i, cue in enumerate(shown):
        if i:
            body.append(f"- {shown[i - 1].sung[-1].end - gap}")
        body += _notes(cue, gap)
    return rows([*(f"#{tag}:{value}" for tag, value in head.items()), *body, "E"])


def _notes(cue: Cue, gap: int) -> list[str]:
    spaces = [" " if _SPACE.search(note.before) else "" for note in cue.sung[1:]]
    return [
        f": {note.start - gap} {note.end - note.start} 0 {note.text}{space}"
        for note, space in zip(cue.sung, [*spaces, ""], strict=True)
    ]
