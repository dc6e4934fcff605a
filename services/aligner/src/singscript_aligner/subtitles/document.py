"""JSON, as lyrics.schema.json beside this module describes it: all that is known of lines and words."""

from __future__ import annotations

import json
from typing import Any

from singscript_aligner.subtitles.sheet import Sheet
from singscript_aligner.words import Line

_VERSION = 1


def write(sheet: Sheet) -> str:
    """Lines in order of time, their text exactly as it is; times in seconds, to the millisecond."""
    document = {
        "version": _VERSION,
        "language": sheet.language,
        "title": sheet.title,
        "artist": sheet.artist,
        "duration_s": _rounded(sheet.length_s),
        "lines": [line_members(line) for line in sorted(sheet.lines, key=lambda line: line.start_s)],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def line_members(line: Line) -> dict[str, Any]:
    """A line as it stands in lyrics.json and in words.json."""
    words = [
        {
            "text": word.text,
            "start_s": _rounded(word.start_s),
            "end_s": _rounded(word.end_s),
            "confidence": None if word.confidence is None else _rounded(word.confidence),
            "timing": word.timing.value,
        }
        for word in line.words
    ]
    return {
        "text": line.text,
        "start_s": _rounded(line.start_s),
        "end_s": _rounded(line.end_s),
        "lyrics_line": line.lyrics_line,
        "words": words,
    }


def _rounded(value: float) -> float:
    return round(value, 3)
