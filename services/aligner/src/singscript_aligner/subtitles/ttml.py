"""TTML2 in the text profile of IMSC 1.1 (https://www.w3.org/TR/ttml-imsc1.1/).

A `<p>` is a line and a `<span>` a word. A span with a time of its own would stand on the screen while it is sung and at
no other moment; so the whole line is shown, and a `<set>` in each span colours its word while it is sung. Times of a
`<set>` count from the start of its line, as the standard has it.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from singscript_aligner.subtitles.cues import MS, Cue, clock, cues, one_row
from singscript_aligner.subtitles.sheet import Sheet

_SUNG = "#ffc400"


def write(sheet: Sheet) -> str:
    """Text comes back as it was written; a new row is a `<br/>`."""
    lines = "".join(f"   {_line(cue)}\n" for cue in cues(sheet, MS))
    title = f"  <metadata><ttm:title>{escape(one_row(sheet.title))}</ttm:title></metadata>\n" if sheet.title else ""
    body = f' <body region="words">\n  <div>\n{lines}  </div>\n </body>\n' if lines else " <body/>\n"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata"'
        ' xmlns:ttp="http://www.w3.org/ns/ttml#parameter" xmlns:tts="http://www.w3.org/ns/ttml#styling"'
        ' ttp:contentProfiles="http://www.w3.org/ns/ttml/profile/imsc1.1/text"'
        f' ttp:timeBase="media" xml:lang={quoteattr(one_row(sheet.language))} xml:space="preserve">\n'
        f" <head>\n{title}  <layout>\n"
        '   <region xml:id="words" tts:origin="10% 10%" tts:extent="80% 80%" tts:displayAlign="after"'
        ' tts:textAlign="center"/>\n'
        "  </layout>\n </head>\n"
        f"{body}</tt>\n"
    )


def _line(cue: Cue) -> str:
    text = ""
    for note in cue.notes:
        start, end = clock(note.start - cue.start, MS), clock(note.end - cue.start, MS)
        colour = f'<set begin="{start}" end="{end}" tts:color="{_SUNG}"/>'
        text += f"{_written(note.before)}<span>{colour}{_written(note.text)}</span>"
    text += _written(cue.rest)
    return f'<p begin="{clock(cue.start, MS)}" end="{clock(cue.end, MS)}">{text}</p>'


def _written(text: str) -> str:
    return escape(text).replace("\n", "<br/>")
