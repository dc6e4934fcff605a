"""Known lyrics as the user wrote them, to the lines that are sung."""

from __future__ import annotations

import re
from dataclasses import dataclass

from singscript_aligner.text.words import split_words

# "[Chorus]", "(Verse 2)", "Chorus", "Bridge:": a heading, not sung. "Break" alone may well be sung.
_PART = r"(?:verse|pre-?chorus|chorus)"
_SECTION = rf"(?:{_PART}|intro|post-?chorus|hook|refrain|bridge|interlude|instrumental|solo|break|breakdown|outro|coda)"
_HEADING = re.compile(rf"\[[^\]]*\]|\({_SECTION}\b[^)]*\)|{_SECTION}(?:\s*\d+)?\s*:|{_PART}(?:\s*\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LyricLine:
    """A line as the user wrote it, and its words; empty lines and headings are none.

    Attributes:
        text: without marks such as "(x2)" and without times.
        number: of its line in the text that was given, from 0, empty lines counted.
        start_s, end_s: where the lyrics have times.
        ad_libs: indices of words that may well not be sung, or by another voice: those in (…).
        section: empty lines and headings begin a new one.
    """

    text: str
    words: tuple[str, ...]
    number: int = 0
    start_s: float | None = None
    end_s: float | None = None
    ad_libs: frozenset[int] = frozenset()
    section: int = 0


def read_lyrics(text: str, language: str = "") -> list[LyricLine]:
    """The lines that are sung."""
    lines = (" ".join(line.split()) for line in text.lstrip("\ufeff").splitlines())
    return [
        LyricLine(line, tuple(split_words(line, language)), number)
        for number, line in enumerate(lines)
        if line and not _HEADING.fullmatch(line)
    ]
