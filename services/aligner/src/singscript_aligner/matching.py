"""Which of the known words were heard where, by their letters alone; the sound itself is searched afterwards.

Words are compared by the alignment of both texts with the fewest edits (Levenshtein, as RapidFuzz has it; its memory
grows with the length, not with the square). Runs of equal words are anchors: between them the known lines can be
searched for in short windows. What was heard and has no partner is looked for among all lines: a chorus that is written
once and sung three times is found there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from statistics import median

from rapidfuzz.distance import Indel, Levenshtein

from singscript_aligner.lyrics.reading import LyricLine
from singscript_aligner.text.words import plain
from singscript_aligner.words import HeardWord

# Equal words are anchors in runs of this length, in shorter ones of so many letters, or alone where so long and unique.
_SURE_RUN = 3
_SURE_LETTERS = 10
_SURE_WORD = 7
# With more words than this between two anchors nobody knows where between them a line begins.
_NEAR_WORDS = 4
# A line was sung again where so much of it was heard; very short lines are everywhere.
_SAME_LINE = 0.7
_LEAST_LETTERS = 8
# Of lines that fit alike the one after the last is taken.
_GOES_ON = 0.1
# Times that came with the lyrics are believed where, once shifted, most lie this close to what was heard.
_TIMES_AGREE_S = 1.5


@dataclass(frozen=True, slots=True)
class Window:
    """Lines `first_line` up to `end_line` (not included) lie between `start_s` and `end_s` of the sound."""

    first_line: int
    end_line: int
    start_s: float
    end_s: float


def matched(lines: Sequence[LyricLine], heard: Sequence[HeardWord]) -> tuple[list[LyricLine], dict[int, int]]:
    """The lines in the order in which they are sung, and which of their words is surely which of the `heard`.

    Lines that were heard once more than they are written are put in where they were heard. No line is taken out.

    Returns:
        The lines, and a mapping from indices of their words, all in a row, to indices of `heard`; both rising.
    """
    said = [plain(word.text) for word in heard]
    found = _anchors(_known(lines), said)
    sung = _with_repeats(lines, found, said)
    return sung, found if len(sung) == len(lines) else _anchors(_known(sung), said)


def windows(
    lines: Sequence[LyricLine],
    heard: Sequence[HeardWord],
    found: dict[int, int],
    start_s: float,
    end_s: float,
    least_s: float,
    *,
    trusting: bool = False,
) -> list[Window]:
    """Cuts lyrics and sound where a line surely starts: between near anchors, or where the lyrics' own times say so.

    Args:
        found: from `matched`, over the words of all lines in a row.
        trusting: times of the lyrics count also where nothing that was heard confirms them.
        start_s, end_s: where the voice begins and ends.
        least_s: no window is cut shorter than this.
    """
    pieces: list[Window] = []
    first, from_s = 0, start_s
    starts_s = _own_starts(lines, heard, found, trusting=trusting)
    indices = sorted(found)
    for number, at in enumerate(_firsts(lines)):
        position = bisect_left(indices, at)
        left_s, right_s = None, None
        if 0 < position < len(indices) and indices[position] - indices[position - 1] <= _NEAR_WORDS:
            left_s, right_s = heard[found[indices[position - 1]]].end_s, heard[found[indices[position]]].start_s
        elif number and (own_s := starts_s[number]) is not None:
            left_s, right_s = own_s - _TIMES_AGREE_S, own_s + _TIMES_AGREE_S
        if left_s is not None and right_s is not None and left_s - from_s >= least_s and left_s <= right_s <= end_s:
            pieces.append(Window(first, number, from_s, right_s))
            first, from_s = number, left_s
    pieces.append(Window(first, len(lines), from_s, max(end_s, from_s)))
    return pieces


def _own_starts(
    lines: Sequence[LyricLine], heard: Sequence[HeardWord], found: dict[int, int], *, trusting: bool
) -> Sequence[float | None]:
    """When each line starts by the times that came with it, moved to fit what was heard; all None if they do not fit.

    A file of times often belongs to another cut of the song: with a pause more at its head, or with another bridge.
    """
    shifts = [
        heard[found[at]].start_s - line.start_s
        for line, at in zip(lines, _firsts(lines), strict=True)
        if line.start_s is not None and at in found
    ]
    shift_s = median(shifts) if shifts else 0.0
    agreeing = sum(abs(one - shift_s) <= _TIMES_AGREE_S for one in shifts)
    if 2 * agreeing < len(shifts) or not (shifts or trusting):
        return [None] * len(lines)
    starts: list[float | None] = [None if line.start_s is None else line.start_s + shift_s for line in lines]
    # A line that is sung again has the time of its first: only rising times can be meant.
    latest_s = -1.0
    for i, start_s in enumerate(starts):
        if start_s is not None and start_s <= latest_s:
            starts[i] = None
        elif start_s is not None:
            latest_s = start_s
    return starts


def _known(lines: Sequence[LyricLine]) -> list[str]:
    return [plain(word) for line in lines for word in line.words]


def _firsts(lines: Sequence[LyricLine]) -> list[int]:
    """For each line the index of its first word among all words in a row."""
    return [0, *accumulate(len(line.words) for line in lines)][:-1]


def _anchors(known: Sequence[str], said: Sequence[str]) -> dict[int, int]:
    """Index to index, both rising, of the words that are surely the same."""
    known_count, said_count = Counter(known), Counter(said)
    found: dict[int, int] = {}
    for i, j, size in Levenshtein.editops(known, said).as_matching_blocks():
        run = known[i : i + size]
        once = any(len(word) >= _SURE_WORD and known_count[word] == said_count[word] == 1 for word in run)
        if size >= _SURE_RUN or (size > 1 and sum(map(len, run)) >= _SURE_LETTERS) or once:
            found |= {i + k: j + k for k in range(size) if known[i + k]}
    return found


def _with_repeats(lines: Sequence[LyricLine], found: dict[int, int], said: Sequence[str]) -> list[LyricLine]:
    """The lines, and between them those that were heard there though they are written elsewhere."""
    book = _Book(lines)
    firsts = _firsts(lines)
    added: dict[int, list[int]] = defaultdict(list)
    words = sum(len(line.words) for line in lines)
    for (word, before), (next_word, after) in pairwise([(-1, -1), *sorted(found.items()), (words, len(said))]):
        # Between the two anchors a line may be put in before each of these; but none into the middle of another.
        low = bisect_right(firsts, word)
        high = bisect_right(firsts, next_word) - 1 if next_word < words else len(lines)
        if high < low:
            continue
        expected = book.numbers(range(low, high))
        for at, number in book.heard_again(said, before + 1, after, low):
            # What is written here anyway has a better claim than a copy.
            if number not in expected:
                late = 2 * (at - before) >= after - before
                added[high if late else low].append(number)
    return [
        line
        for i in range(len(lines) + 1)
        for line in ([replace(lines[j], start_s=None, end_s=None) for j in added[i]] + list(lines[i : i + 1]))
    ]


class _Book:
    """All lines by their words."""

    def __init__(self, lines: Sequence[LyricLine]) -> None:
        self._words = [tuple(word for word in map(plain, line.words) if word) for line in lines]
        self._written: dict[tuple[str, ...], int] = {}
        for i, words in enumerate(self._words):
            if sum(map(len, words)) >= _LEAST_LETTERS and len(words) > 1:
                self._written.setdefault(words, i)
        self._with_word: dict[str, list[int]] = defaultdict(list)
        for words, i in self._written.items():
            for word in set(words):
                self._with_word[word].append(i)

    def numbers(self, which: Iterable[int]) -> set[int]:
        """For some lines where each was written first."""
        return {self._written.get(self._words[i], i) for i in which}

    def heard_again(self, said: Sequence[str], start: int, end: int, following: int) -> Iterator[tuple[int, int]]:
        """(index of the first heard word, index of the line) of lines in said[start:end], in order.

        Args:
            following: the line after the one that was heard last.
        """
        last = following - 1
        at = start
        while at < end:
            best: tuple[float, int, int] | None = None
            for number in self._near(said[at : min(at + 2, end)]):
                words = self._words[number]
                for length in range(max(2, len(words) - 2), min(len(words) + 2, end - at) + 1):
                    fit = Indel.normalized_similarity(words, said[at : at + length])
                    if fit >= _SAME_LINE:
                        ranked = (fit + (_GOES_ON if number == last + 1 else 0.0), number, length)
                        best = max(best, ranked) if best else ranked
            if best:
                _, last, length = best
                yield at, last
                at += length
            else:
                at += 1

    def _near(self, said: Sequence[str]) -> set[int]:
        """Lines that may start with one of these words."""
        return {number for word in said for number in self._with_word.get(word, ()) if word in self._words[number][:2]}
