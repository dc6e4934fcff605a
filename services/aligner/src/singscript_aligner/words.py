"""What goes in and what comes out, as plain values. Times are seconds from the start of the sound."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Timing(Enum):
    """How a word got its time; the value is what words.json says."""

    ACOUSTIC = "acoustic"  # found in the sound
    ANCHORED = "anchored"  # taken from the word that was heard there
    INTERPOLATED = "interpolated"  # spread between its neighbours
    CORRECTED = "corrected"  # set by a person


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word as a transcriber gave it; `confidence` is None when it has none."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class HeardSegment:
    """A run of words as a transcriber gave it; without `words` only `text` and the bounds are known."""

    text: str
    start_s: float
    end_s: float
    words: tuple[HeardWord, ...] = ()
    language: str = ""


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """A word, as it is written, on its moment."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None
    timing: Timing


@dataclass(frozen=True, slots=True)
class Line:
    """What stands on the screen from `start_s` to `end_s`; never before its first word or over the next line.

    Attributes:
        text: may hold words without a time, which are not sung, and "\n" between what stands one above the other.
        words: those that have a time, in the order of `text`.
        lyrics_line: its number in the lyrics, from 0, where they were given; the same again where it is sung again.
    """

    text: str
    start_s: float
    end_s: float
    words: tuple[AlignedWord, ...]
    lyrics_line: int | None = None


@dataclass(frozen=True, slots=True)
class Unsung:
    """Words of line `lyrics_line` of the lyrics, side by side, that were not found in the sound."""

    lyrics_line: int
    text: str


@dataclass(frozen=True, slots=True)
class Unlisted:
    """What was heard and has no place in the lines."""

    text: str
    start_s: float
    end_s: float
