"""Lines in a sound of any length, by an engine that hears half a minute at a time.

Each window is searched for the lines that are due. What is not sung there, or not sung at all, is known by how unlikely
its words are; it is left out and the rest is searched again, as every word is judged by those before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ, Times, WordTime
from singscript_aligner.voice import levels, voiced_spans

WINDOW_S = 30.0
_WINDOW_SAMPLES = round(WINDOW_S * SAMPLE_RATE_HZ)
# The mean likelihood of a part's words. With nano-whisper on speech, singing and a mix, right parts had 0.6 or more,
# 99 of 100 wrong ones less than 0.1, the others up to 0.2; right words after wrong or missing ones lose 0.2 to 0.6.
_SUNG = 0.3
# Where nothing that follows is likelier than this, nothing that follows is sung.
_HOPELESS = 0.1
# A part that may be sung is so when what follows is by so much likelier with it than without it.
_NEEDED = 0.1
# Nobody sings faster.
_LEAST_WORD_S = 0.05
# A part that ends this near to the end of its window may go on behind it.
_MARGIN_S = 1.0
_LEAD_S = 0.5
_PAUSE_S = 2.0  # between phrases
# Windows begin at least this far apart, so that three at most hear the same moment.
_LEAST_STEP_S = 10.0
# More words than are sung in a window. Where none of them is found a verse may be missing, so those after them are
# searched, of which more than one part must be found.
_AHEAD_WORDS = 100
_MOST_AHEAD = 3
# Longer lines, as of prose, are searched in parts.
_PART_WORDS = 12
# The first words of a part, one of which takes in what comes before it: a pause, or words that were not given. Such a
# word is as many times as long as the usual one, within these bounds, and ends in the right place.
_FIRST_WORDS = 3
_LONG = 2.5
_LEAST_LONG_S, _MOST_LONG_S = 0.9, 1.5

Words = Sequence[str]
Row = list[WordTime | None]
# The times of words in one window, None for a word without a sound; None in all for more text than the engine takes.
Fit = Callable[[Words], Row | None]


@dataclass(frozen=True, slots=True)
class _Part:
    """Words of a line, or of a piece of one."""

    line: int
    first_word: int
    words: Words


def search(
    samples: NDArray[np.float32], lines: Sequence[Words], listen: Callable[[NDArray[np.float32]], Fit]
) -> Generator[float, None, Times | None]:
    """Finds lines in a sound, as `Engine.align` does, one window at a time; no moment is heard more than three times.

    Args:
        samples: shape (n,), 16 kHz mono.
        listen: hears a window of up to 30 s. The confidence of its word times is how likely the word is there, after
            the words that were given before it.
    """
    parts = _parts(lines)
    times: Times = [[None] * len(line) for line in lines]
    start, due, done_s = 0, 0, 0.0
    while due < len(parts) and start < len(samples):
        from_s = start / SAMPLE_RATE_HZ
        yield from_s
        window = samples[start : start + _WINDOW_SAMPLES]
        voiced = voiced_spans(levels([window], SAMPLE_RATE_HZ))
        silent_s = voiced[0][0] - _LEAD_S if voiced else WINDOW_S
        if silent_s > _LEAD_S:  # what comes after a long silence is heard less well
            start += round(silent_s * SAMPLE_RATE_HZ)
            continue
        is_last = start + len(window) == len(samples)
        found = _found(listen(window), parts, due)
        step_s = WINDOW_S / 2 if found else _next_phrase_s(voiced)
        for i, row in found:
            placed = [time for time in row if time]
            part_start_s, part_end_s = placed[0].start_s, placed[-1].end_s
            if not is_last and part_end_s > WINDOW_S - _MARGIN_S and part_start_s >= _LEAST_STEP_S:
                step_s = max(done_s - from_s, part_start_s - _LEAD_S)
                break
            for at, time in enumerate(row, parts[i].first_word):
                if time:
                    start_s = max(done_s, from_s + time.start_s)
                    done_s = max(start_s, from_s + time.end_s)
                    times[parts[i].line][at] = replace(time, start_s=start_s, end_s=done_s)
            due = i + 1
            step_s = max(step_s, part_end_s)
        start = len(samples) if is_last else start + round(max(step_s, _LEAST_STEP_S) * SAMPLE_RATE_HZ)
    return times if any(time for line in times for time in line) else None


def _next_phrase_s(voiced: Sequence[tuple[float, float]]) -> float:
    """Where the next window begins after one in which nothing was found: half of it further, or at a phrase before."""
    starts_s = (after[0] - _LEAD_S for before, after in pairwise(voiced) if after[0] - before[1] >= _PAUSE_S)
    return next((at_s for at_s in starts_s if _LEAST_STEP_S <= at_s < WINDOW_S / 2), WINDOW_S / 2)


def _found(fit: Fit, parts: Sequence[_Part], due: int) -> list[tuple[int, Row]]:
    """Numbers of the parts, from `due` on, that are sung in a window, and the times of their words there."""
    first = due
    for _ in range(_MOST_AHEAD):
        ahead = _ahead(parts[first:], _AHEAD_WORDS)
        found = [(first + i, row) for i, row in _sung(fit, ahead)]
        if len(found) >= (1 if first == due else 2):
            return found
        first += len(ahead)
    return []


def _parts(lines: Sequence[Words]) -> list[_Part]:
    parts: list[_Part] = []
    for number, line in enumerate(lines):
        count = math.ceil(len(line) / _PART_WORDS)
        cuts = [len(line) * i // count for i in range(count + 1)] if count else []
        parts += (_Part(number, a, line[a:b]) for a, b in pairwise(cuts))
    return parts


def _ahead(parts: Sequence[_Part], most_words: int) -> list[_Part]:
    """The next parts, of at least `most_words` together where there are as many."""
    ahead: list[_Part] = []
    for part in parts:
        if most_words <= 0:
            break
        ahead.append(part)
        most_words -= len(part.words)
    return ahead


def _sung(fit: Fit, parts: Sequence[_Part]) -> list[tuple[int, Row]]:
    """Which of the parts are sung in a window, in order, and when their words are."""
    left = list(range(len(parts)))
    judged = 0  # of those that are left, as many are known to be sung
    doubted: tuple[int, float] | None = None  # the part left out last, and how likely the next one was after it
    while left:
        flat = fit([word for i in left for word in parts[i].words])
        if flat is None:
            left.pop()
            continue
        rows: list[Row] = []
        for i in left:
            rows.append(flat[: len(parts[i].words)])
            flat = flat[len(parts[i].words) :]
        likely = [_likely(row) for row in rows]
        if doubted and judged < len(left) and doubted[1] >= max(_SUNG, likely[judged] + _NEEDED):
            left.insert(judged, doubted[0])
            judged, doubted = judged + 1, None
            continue
        judged = next((at for at in range(judged, len(left)) if likely[at] < _SUNG), len(left))
        if judged == len(left):
            return [(i, _placed(row, mean)) for i, row, mean in zip(left, rows, likely, strict=True) if any(row)]
        if max(likely[judged:]) < _HOPELESS:
            del left[judged:]
            doubted = None
            continue
        may_be = likely[judged] >= _HOPELESS and judged + 1 < len(left)
        after = likely[judged + 1] if may_be else 0.0
        doubted = left.pop(judged), after
    return []


def _likely(row: Row) -> float:
    """The mean over words that have a sound; 1 for a part that has none, 0 for one that is too fast."""
    placed = [time for time in row if time]
    if not placed:
        return 1.0
    is_too_fast = placed[-1].end_s - placed[0].start_s < _LEAST_WORD_S * len(placed)
    return 0.0 if is_too_fast else float(np.mean([time.confidence for time in placed]))


def _placed(row: Row, likely: float) -> Row:
    """Without what the first words have taken in before them, and a word that is unlikely placed by those beside it."""
    times = [time for time in row if time]
    usual_s = median(time.end_s - time.start_s for time in times)
    longest_s = min(max(_LONG * usual_s, _LEAST_LONG_S), _MOST_LONG_S)
    long = [i for i, time in enumerate(times[:_FIRST_WORDS]) if time.end_s - time.start_s > longest_s]
    if long:
        next_s = times[long[-1]].end_s
        for i in range(long[-1], -1, -1):
            start_s = max(times[i].start_s, next_s - usual_s)
            times[i], next_s = replace(times[i], start_s=start_s, end_s=next_s), start_s
    given = iter(times)
    return [time and replace(one := next(given), confidence=(one.confidence + likely) / 2) for time in row]
