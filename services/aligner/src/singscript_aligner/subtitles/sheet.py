"""What a subtitle file is made of: lines, whose song it is, and how karaoke shall look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from singscript_aligner.words import Line


class Format(Enum):
    """A kind of file; the value is its name in REST, on the command line and in results."""

    SRT = "srt"
    SRT_WORDS = "srt-words"
    VTT = "vtt"
    ASS = "ass"
    LRC = "lrc"
    LRC_ENHANCED = "lrc-enhanced"
    TTML = "ttml"
    JSON = "json"
    TSV = "tsv"
    AUDACITY = "audacity"
    ULTRASTAR = "ultrastar"
    TXT = "txt"


@dataclass(frozen=True, slots=True)
class Sheet:
    """The words of a song or a talk.

    Attributes:
        lines: in any order; files have them in order of time.
        language: ISO 639-1; empty where it is not known.
        duration_s: of the sound; 0: up to the end of the last line.
    """

    lines: Sequence[Line]
    language: str = ""
    title: str = ""
    artist: str = ""
    duration_s: float = 0.0

    @property
    def length_s(self) -> float:
        """Of the sound, as far as it is known."""
        return self.duration_s or max((line.end_s for line in self.lines), default=0.0)


@dataclass(frozen=True, slots=True)
class Options:
    """How karaoke looks; formats that have none of it ignore it.

    Attributes:
        sweep: ASS: the colour runs through a word while it is sung; else the word changes at once.
        lead_in: ASS: lines appear before they are sung, and after a pause the singer is counted in.
        syllables: ASS, enhanced LRC, UltraStar: words are divided where the language can be hyphenated.
    """

    sweep: bool = True
    lead_in: bool = False
    syllables: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A subtitle file as it is stored."""

    name: str
    content: bytes
    media_type: str
