"""ASS karaoke, for libass and its kin.

A karaoke tag holds the hundredths of a second that its text takes, and the fill of a word begins when all tags before
it have run out. So every pause has a tag of its own, and each length is the difference of two times that were rounded
once: nothing begins early, and nothing drifts.
"""

from __future__ import annotations

import pysubs2
import regex

from singscript_aligner.subtitles.cues import CS, Cue, cues, one_row
from singscript_aligner.subtitles.sheet import Options, Sheet

_PLAIN, _LEAD_IN = "Karaoke", "Karaoke Lead-in"
_LEAD_CS = 2 * CS  # before it is sung a line appears, where the one before leaves room
_PAUSE_CS = 5 * CS  # after so long a pause the singer is counted in
_BEAT_CS = 1 * CS
_DOTS = 3
_EMPTY_DOTS_CS = 50  # dots stand empty before the first one fills
_RIGHT_TO_LEFT = regex.compile(r"[\p{Hebrew}\p{Arabic}\p{Syriac}\p{Thaana}\p{Nko}]")

_SUNG = pysubs2.Color(255, 196, 0)
_UNSUNG = pysubs2.Color(255, 255, 255)
_BLACK = pysubs2.Color(0, 0, 0)
_SHADOW = pysubs2.Color(0, 0, 0, 128)


def write(sheet: Sheet, options: Options) -> str:
    """A dialogue for each line, 1920 by 1080.

    Words that are not sung change their colour with the next word. Braces become parentheses and a backslash gets a
    word joiner that nobody sees, so that no reader takes them for tags. Words that are written from right to left
    change at once, for a sweep begins at the left. With a lead-in, dots stand above a line that follows a pause.
    """
    file = pysubs2.SSAFile()
    file.info |= {"PlayResX": "1920", "PlayResY": "1080", "WrapStyle": "0", "YCbCr Matrix": "None"}
    if title := one_row(sheet.title):
        file.info["Title"] = title
    file.styles = {
        _PLAIN: _style(72, pysubs2.Alignment.BOTTOM_CENTER),
        _LEAD_IN: _style(92, pysubs2.Alignment.MIDDLE_CENTER),
    }
    free = 0
    for cue in cues(sheet, CS, divided=options.syllables):
        start, head = _lead_in(cue.start, free) if options.lead_in else (cue.start, "")
        free = cue.end
        file.append(
            pysubs2.SSAEvent(
                start=10 * start,
                end=10 * cue.end,
                style=_LEAD_IN if options.lead_in else _PLAIN,
                text=head + _karaoke(cue, options.sweep),
            )
        )
    return file.to_string("ass", header_notice="")


def _karaoke(cue: Cue, sweep: bool) -> str:
    text = ""
    at = cue.start
    for note in cue.notes:
        if note.start > at:
            text += f"{{\\k{note.start - at}}}"
        if note.before:
            # In a tag of its own a space takes no part of the sweep.
            text += f"{{\\k0}}{_written(note.before)}"
        tag = "kf" if sweep and not _RIGHT_TO_LEFT.search(note.text) else "k"
        text += f"{{\\{tag}{note.end - note.start}}}{_written(note.text)}"
        at = note.end
    return text + (f"{{\\k0}}{_written(cue.rest)}" if cue.rest else "")


def _lead_in(start: int, free: int) -> tuple[int, str]:
    """When a line appears that is sung from `start` on, and its text until then; the screen is free from `free` on."""
    count_in = _DOTS * _BEAT_CS
    if start - free >= _PAUSE_CS:
        appears = start - count_in - _EMPTY_DOTS_CS
        dots = " ".join(["•"] * _DOTS).replace("•", f"{{\\k{_BEAT_CS}}}•")
        return appears, f"{{\\k{_EMPTY_DOTS_CS}}}{dots}\\N"
    appears = max(free, start - _LEAD_CS)
    return appears, f"{{\\k{start - appears}}}" if start > appears else ""


def _written(text: str) -> str:
    safe = text.replace("{", "(").replace("}", ")").replace("\\", "\\\u2060")
    return safe.replace("\n", "\\N")


def _style(size: int, alignment: pysubs2.Alignment) -> pysubs2.SSAStyle:
    return pysubs2.SSAStyle(
        fontname="Arial",
        fontsize=size,
        bold=True,
        primarycolor=_SUNG,
        secondarycolor=_UNSUNG,
        outlinecolor=_BLACK,
        backcolor=_SHADOW,
        outline=4.0,
        shadow=2.0,
        alignment=alignment,
        marginl=96,
        marginr=96,
        marginv=72,
    )
