"""Lines that no screen holds, such as a talk written a paragraph a line, cut where their sentences end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from singscript_aligner.lines import CLAUSE_END, SENTENCE_END, width
from singscript_aligner.lyrics.reading import LyricLine
from singscript_aligner.text.words import pieces


def cut(lines: Sequence[LyricLine], row_chars: int, rows: int) -> list[LyricLine]:
    """The same words in lines of up to `rows` rows of `row_chars` wide; what fits on the screen stays as it is.

    Parts of a line have its number. A line is cut after the last sentence that fits, else after the last comma, else
    after the last word; the text of a part has "\\n" between its rows. Only the first part keeps the line's start, and
    the last its end.
    """
    return [part for line in lines for part in _parts(line, row_chars, rows)]


def _parts(line: LyricLine, row_chars: int, rows: int) -> Iterator[LyricLine]:
    if width(line.text) <= rows * row_chars or len(line.words) < 2:
        yield line
        return
    written = ["".join(piece) for piece in pieces(line.text, line.words)]
    written[-1] += line.text[sum(map(len, written)) :]
    start = 0
    while start < len(written):
        end = _end(written, start, _rows(written, start, len(written), row_chars, rows)[-1])
        bounds = [start, *_rows(written, start, end, row_chars, rows)]
        yield replace(
            line,
            text="\n".join("".join(written[a:b]).strip() for a, b in pairwise(bounds)),
            words=line.words[start:end],
            ad_libs=frozenset(i - start for i in line.ad_libs if start <= i < end),
            start_s=line.start_s if start == 0 else None,
            end_s=line.end_s if end == len(written) else None,
        )
        start = end


def _rows(written: Sequence[str], start: int, end: int, row_chars: int, rows: int) -> list[int]:
    """Where the rows end that begin at `start`, each as full as can be; a word that is wider has one of its own."""
    ends: list[int] = []
    while start < end and len(ends) < rows:
        taken = width(written[start])
        start += 1
        while start < end and taken + width(written[start].rstrip()) <= row_chars:
            taken += width(written[start])
            start += 1
        ends.append(start)
    return ends


def _end(written: Sequence[str], start: int, end: int) -> int:
    """Where a part that may go up to `end` reads best."""
    if end == len(written):
        return end
    for ending, least in ((SENTENCE_END, 3), (CLAUSE_END, (end - start) // 3)):
        # A part of a word or two is no better than a cut in a sentence.
        for at in range(end, start + max(1, least) - 1, -1):
            if ending.search(written[at - 1].rstrip()):
                return at
    return end
