"""Words in their order on the time line: none before, in or over another, none without length, none outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from singscript_aligner.words import AlignedWord

# A word takes at least this long, where there is room.
_LEAST_MS = 20


def in_order(words: Sequence[AlignedWord], after_s: float, until_s: float) -> list[AlignedWord]:
    """The same words within [after_s, until_s], in the order given, to the millisecond.

    Times that are in order are kept. Otherwise a word ends where the next one starts, one that starts too early is
    moved behind the one before it, and what would reach over the end is moved back. Empty where there is less than a
    millisecond for each word.
    """
    low_ms, high_ms = _rounded_up(after_s), int(1000 * until_s + 1e-6)
    if not words or high_ms - low_ms < len(words):
        return []
    least_ms = min(_LEAST_MS, (high_ms - low_ms) // len(words))
    spans: list[tuple[int, int]] = []
    free_ms = low_ms
    for i, word in enumerate(words):
        start_ms = min(max(round(1000 * word.start_s), free_ms), high_ms)
        end_s = min([word.end_s, until_s, *(after.start_s for after in words[i + 1 : i + 2])])
        free_ms = max(round(1000 * end_s), start_ms + least_ms)
        spans.append((start_ms, free_ms))
    placed: list[AlignedWord] = []
    next_ms = high_ms
    for word, (start_ms, end_ms) in zip(reversed(words), reversed(spans), strict=True):
        end_ms = min(end_ms, next_ms)
        next_ms = min(start_ms, end_ms - least_ms)
        placed.append(replace(word, start_s=next_ms / 1000, end_s=end_ms / 1000))
    return placed[::-1]


def _rounded_up(time_s: float) -> int:
    return -int(-(1000 * time_s - 1e-6) // 1)
