"""Finding in what was heard where known lyrics may be."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from singscript_aligner.lyrics.reading import LyricLine
from singscript_aligner.words import HeardWord

_SURE_RUN = 3
_SURE_LETTERS = 10
_SURE_WORD = 7
_NEAR_WORDS = 4


@dataclass(frozen=True, slots=True)
class Window:
    """Lines `first_line` up to `end_line` (not included) lie between `start_s` and `end_s` of the sound."""

    first_line: int
    end_line: int
    start_s: float
    end_s: float


def anchors(words: Sequence[str], heard: Sequence[HeardWord]) -> dict[int, int]:
    """Which of the known `words` is surely which of the `heard`: index to index, both rising.

    Runs of three equal words count, shorter ones when they are long or the word occurs once on both sides.
    """
    known, said = [_plain(word) for word in words], [_plain(word.text) for word in heard]
    known_count, said_count = Counter(known), Counter(said)
    found: dict[int, int] = {}
    for i, j, size in SequenceMatcher(None, known, said, autojunk=False).get_matching_blocks():
        run = known[i : i + size]
        once = any(len(word) >= _SURE_WORD and known_count[word] == said_count[word] == 1 for word in run)
        if size >= _SURE_RUN or (size > 1 and sum(map(len, run)) >= _SURE_LETTERS) or once:
            found |= {i + k: j + k for k in range(size) if known[i + k]}
    return found


def windows(
    lines: Sequence[LyricLine],
    heard: Sequence[HeardWord],
    found: dict[int, int],
    start_s: float,
    end_s: float,
    least_s: float,
) -> list[Window]:
    """Cuts lyrics and sound where anchors on both sides of a line's start leave little doubt.

    Args:
        found: from `anchors`, over the words of all lines in a row.
        start_s, end_s: where the voice begins and ends.
        least_s: no window is cut shorter than this.
    """
    pieces: list[Window] = []
    first, from_s, at = 0, start_s, 0
    indices = sorted(found)
    for number, line in enumerate(lines):
        position = bisect_left(indices, at)
        at += len(line.words)
        if not 0 < position < len(indices):
            continue
        before, after = indices[position - 1], indices[position]
        left_s, right_s = heard[found[before]].end_s, heard[found[after]].start_s
        if after - before > _NEAR_WORDS:
            continue
        if left_s - from_s >= least_s and left_s <= right_s:
            pieces.append(Window(first, number, from_s, right_s))
            first, from_s = number, left_s
    pieces.append(Window(first, len(lines), from_s, max(end_s, from_s)))
    return pieces


def _plain(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if c.isalnum())
