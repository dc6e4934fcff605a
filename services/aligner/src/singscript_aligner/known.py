"""Known lines with the times of their words: what an engine found, and what becomes of the words it did not find.

A word between two that were found has to be somewhere there, if there is voice enough for it. Otherwise it is not sung:
it keeps its place in the text of the line, but gets no time.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from statistics import median

from singscript_aligner.engines import Times, WordTime
from singscript_aligner.lyrics.reading import LyricLine
from singscript_aligner.search import HEARD, SURE
from singscript_aligner.text.words import join_words
from singscript_aligner.voice import spread
from singscript_aligner.words import AlignedWord, HeardWord, Timing, Unsung

Span = tuple[float, float]

# The fastest that is sung, and what a letter takes in slow singing.
_LEAST_WORD_S = 0.06
_LEAST_LETTER_S = 0.025
_LETTER_S = 0.15
# A held vowel, or a word that was not found, is no longer than this.
_FOREIGN_S = 1.0
# So much voice without a word is worth another look; fewer words of a line are found there by chance.
_GAP_S = 1.5
_LEAST_WORDS = 3


@dataclass(frozen=True, slots=True)
class KnownLine:
    """A line of the lyrics at one place in the sound; without `words` it is not sung there.

    Attributes:
        words: in order, those that have a time.
        unsung: the others, those next to each other together.
        missing: how many of these should be there: not ad libs, and not what has no sound.
    """

    text: str
    number: int
    words: tuple[AlignedWord, ...]
    unsung: tuple[Unsung, ...]
    missing: int


def completed(
    lines: Sequence[LyricLine],
    times: Times,
    guides: Mapping[int, HeardWord],
    spans: Sequence[Span],
    *,
    spread_all: bool,
) -> list[KnownLine]:
    """All lines; a word that an engine did not find stands where it was heard, or between its neighbours, or nowhere.

    Args:
        times: shaped as the words of `lines`, in seconds from the start of the sound.
        guides: for some words, counted over all lines in a row, the heard ones that are surely the same.
        spans: where there is voice.
        spread_all: lines without any time are spread over the voice between their neighbours.
    """
    times = [_in_one_place(row, spans) for row in times]
    guides = _in_their_place(guides, [time for row in times for time in row])
    placed = _placed(lines, times, guides)
    starts = [next((word.start_s for word in words if word), None) for words in placed]
    known: list[KnownLine] = []
    end_s = spans[0][0]
    for i, (line, words) in enumerate(zip(lines, placed, strict=True)):
        next_s = next((start for start in starts[i + 1 :] if start is not None), spans[-1][1])
        if starts[i] is not None:
            words = _filled(line, words, spans, end_s, max(end_s, next_s))
        elif spread_all:
            start_s, stop_s = _share(lines, starts, i, end_s, max(end_s, next_s))
            words = _spread(line.words, spans, start_s, stop_s)
        end_s = max([end_s, *(word.end_s for word in words if word)])
        known.append(_known(line, words))
    return known


def without_moved(known: Sequence[KnownLine], lyrics: Sequence[LyricLine]) -> list[KnownLine]:
    """The lines but for those that are not sung where they are written, and sung elsewhere instead.

    Args:
        lyrics: the lines as they are written, none of them sung again.
    """
    copies = Counter((line.number, line.text) for line in known) - Counter((line.number, line.text) for line in lyrics)
    sung = {(line.number, line.text) for line in known if line.words}
    kept: list[KnownLine] = []
    for line in known:
        name = line.number, line.text
        if not line.words and name in sung and copies[name]:
            copies[name] -= 1
        else:
            kept.append(line)
    return kept


def _placed(
    lines: Sequence[LyricLine], times: Times, guides: Mapping[int, HeardWord]
) -> list[list[AlignedWord | None]]:
    """The words that were found, and those that were heard."""
    placed: list[list[AlignedWord | None]] = []
    at = 0
    for line, row in zip(lines, times, strict=True):
        words: list[AlignedWord | None] = []
        for place, (text, time) in enumerate(zip(line.words, row, strict=True)):
            guide = guides.get(at)
            if time and (time.confidence >= HEARD or not (guide or _squeezed(line, place, time))):
                words.append(AlignedWord(text, time.start_s, time.end_s, time.confidence, Timing.ACOUSTIC))
            elif guide:
                confidence = SURE if guide.confidence is None else guide.confidence
                words.append(AlignedWord(text, guide.start_s, guide.end_s, confidence, Timing.ANCHORED))
            else:
                words.append(None)
            at += 1
        placed.append(words)
    return placed


def _squeezed(line: LyricLine, at: int, time: WordTime) -> bool:
    """Whether a word that hardly fits has a place only because every word of its line had to have one."""
    return at in line.ad_libs or time.end_s - time.start_s < _least_s(line.words[at])


def _least_s(word: str) -> float:
    """What a word takes at least, however fast it is said."""
    return max(_LEAST_WORD_S, _LEAST_LETTER_S * sum(map(str.isalnum, word)))


def _over_a_pause(time: WordTime, spans: Sequence[Span]) -> bool:
    """Whether a word has more voice than any word, and a pause in it."""
    first = bisect_right(spans, time.start_s, key=lambda span: span[1])
    last = bisect_left(spans, time.end_s, lo=first, key=lambda span: span[0])
    return last - first > 1 and _voice_s(spans, time.start_s, time.end_s) > _FOREIGN_S


def _in_one_place(row: Sequence[WordTime | None], spans: Sequence[Span]) -> list[WordTime | None]:
    """The times of a line, without those on the far side of a stretch of voice that is none of its words.

    There another line is sung that begins or ends alike. A word that goes on over a pause and for long is no word of
    the line either: it takes up what is not given.
    """
    parts: list[list[int]] = [[]]
    before: tuple[int, WordTime] | None = None
    for i, time in enumerate(row):
        if time is None:
            continue
        endless = _over_a_pause(time, spans)
        if endless or (before and _voice_s(spans, before[1].end_s, time.start_s) > _FOREIGN_S * (i - before[0])):
            parts.append([])
        if not endless:
            parts[-1].append(i)
        before = i, time
    kept = max(parts, key=len)
    return [time if i in kept else None for i, time in enumerate(row)]


def _in_their_place(guides: Mapping[int, HeardWord], times: Sequence[WordTime | None]) -> dict[int, HeardWord]:
    """The guides that lie between what was found before and after their words.

    Where a line is written twice and sung once, what was heard may be taken for the one and found as the other.
    """
    sure = [time if time and time.confidence >= HEARD else None for time in times]
    ends_s = list(accumulate((time.end_s if time else 0.0 for time in sure), max))
    starts_s = list(accumulate((time.start_s if time else math.inf for time in reversed(sure)), min))[::-1]
    return {
        at: guide for at, guide in guides.items() if ends_s[at] <= (guide.start_s + guide.end_s) / 2 <= starts_s[at]
    }


def gaps(lines: Sequence[Sequence[AlignedWord]], spans: Sequence[Span]) -> list[Span]:
    """Stretches between words, or before or after all of them, with voice enough for a line."""
    words = [word for line in lines for word in line]
    found: list[Span] = []
    for (_, a_s), (b_s, _) in pairwise([(0.0, 0.0), *((w.start_s, w.end_s) for w in words), (math.inf, math.inf)]):
        voice = [(max(start, a_s), min(end, b_s)) for start, end in spans if start < b_s and end > a_s]
        if sum(end - start for start, end in voice) >= _GAP_S:
            found.append((voice[0][0], voice[-1][1]))
    return found


def again(known: Sequence[KnownLine], lyrics: Sequence[LyricLine], times: Times, gap: Span) -> list[KnownLine]:
    """The lines in order of time, with those that were found in a gap between them.

    Args:
        lyrics, times: the lines as they are written, and where in the gap they were found.
    """
    more: list[KnownLine] = []
    for line, row in zip(lyrics, times, strict=True):
        words = [
            AlignedWord(text, time.start_s, time.end_s, time.confidence, Timing.ACOUSTIC)
            if time and gap[0] <= (time.start_s + time.end_s) / 2 < gap[1]
            else None
            for text, time in zip(line.words, row, strict=True)
        ]
        sung = [word.confidence or 0.0 for word in words if word]
        if len(sung) >= _LEAST_WORDS and median(sung) >= SURE:
            more.append(_known(line, words))
    if not more:
        return list(known)
    at = next((i for i, line in enumerate(known) if line.words and line.words[0].start_s >= gap[1]), len(known))
    return [*known[:at], *more, *known[at:]]


def _filled(
    line: LyricLine, words: Sequence[AlignedWord | None], spans: Sequence[Span], after_s: float, until_s: float
) -> list[AlignedWord | None]:
    """The words of a line, with those between neighbours that leave them room."""
    filled: list[AlignedWord | None] = []
    for timed, indices in groupby(range(len(words)), key=lambda i: words[i] is not None):
        run = list(indices)
        if timed:
            filled += [words[i] for i in run]
            continue
        texts = [line.words[i] for i in run]
        reach_s = _LETTER_S * max(2 * len(texts), sum(map(len, texts)))
        before, after = (words[i] if 0 <= i < len(words) else None for i in (run[0] - 1, run[-1] + 1))
        # At the ends of a line they are near the rest of it.
        start_s = before.end_s if before else max(after_s, (after.start_s if after else until_s) - reach_s)
        end_s = after.start_s if after else min(until_s, start_s + reach_s)
        room_s = _voice_s(spans, start_s, end_s)
        least_s = sum(_least_s(text) for text in texts if any(map(str.isalnum, text)))
        optional = all(i in line.ad_libs for i in run)
        # A dash or a note at an end of the line would begin it before the voice does.
        between = least_s > 0 or (before and after)
        enough = between and room_s >= least_s and not optional
        filled += _spread(texts, spans, start_s, end_s) if enough else [None] * len(texts)
    return filled


def _spread(texts: Sequence[str], spans: Sequence[Span], start_s: float, end_s: float) -> list[AlignedWord | None]:
    times = spread([len(text) for text in texts], list(spans), start_s, max(start_s, end_s))
    return [AlignedWord(text, a, b, 0.0, Timing.INTERPOLATED) for text, (a, b) in zip(texts, times, strict=True)]


def _voice_s(spans: Sequence[Span], start_s: float, end_s: float) -> float:
    """How much voice there is between two moments."""
    first = bisect_right(spans, start_s, key=lambda span: span[1])
    last = bisect_left(spans, end_s, lo=first, key=lambda span: span[0])
    return sum(min(b, end_s) - max(a, start_s) for a, b in spans[first:last])


def _share(lines: Sequence[LyricLine], starts: Sequence[float | None], i: int, after_s: float, until_s: float) -> Span:
    """Where line `i` lies when it shares the time with the lines after it that have none; its own times come first."""
    own_s = lines[i].start_s
    if own_s is not None and after_s <= own_s < until_s:
        next_s = next((line.start_s for line in lines[i + 1 :] if line.start_s is not None), until_s)
        end_s = lines[i].end_s
        return own_s, max(own_s, min(until_s, next_s, math.inf if end_s is None else end_s))
    run = [lines[i]]
    for line, start in zip(lines[i + 1 :], starts[i + 1 :], strict=True):
        if start is not None or line.start_s is not None:
            until_s = min(until_s, max(after_s, until_s if line.start_s is None else line.start_s))
            break
        run.append(line)
    letters = [sum(map(len, line.words)) for line in run]
    return after_s, after_s + (until_s - after_s) * letters[0] / max(1, sum(letters))


def _known(line: LyricLine, words: Sequence[AlignedWord | None]) -> KnownLine:
    timed = tuple(word for word in words if word)
    return KnownLine(line.text, line.number, timed, tuple(_unsung(line, words)), _missing(line, words))


def _unsung(line: LyricLine, words: Sequence[AlignedWord | None]) -> Iterator[Unsung]:
    for timed, indices in groupby(range(len(words)), key=lambda i: words[i] is not None):
        text = join_words([line.words[i] for i in indices])
        if not timed and any(map(str.isalnum, text)):
            yield Unsung(line.number, text)


def _missing(line: LyricLine, words: Sequence[AlignedWord | None]) -> int:
    return sum(
        word is None and i not in line.ad_libs and any(map(str.isalnum, line.words[i])) for i, word in enumerate(words)
    )
