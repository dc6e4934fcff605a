"""Word times put on the voice: no word starts in silence that has a voice, none lasts longer than its voice does.

Only pauses move anything. Within a voice the rise of energy and spectral flux (Bello et al., "A tutorial on onset
detection in music signals", 2005) were tried: syllables rise as words do, and a reach of 30 ms did not help, of 50 to
80 ms made the times of PocketSphinx and Whisper worse. Where a band fills the pauses there is nothing to go by, and
times stay.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ
from singscript_aligner.voice import SILENCE, levels, runs, spread, voiced

Span = tuple[float, float]

FRAME_S = 0.005
"""How exact starts and ends are."""
LEAST_S = 0.03
"""What every word lasts at least, where there is room."""

# A period of a low voice is longer than a frame; over three of them its level is even.
_SMOOTH_FRAMES = 3
# The closure before a "t" takes up to 0.1 s and belongs to the word.
_CLOSURE_S = 0.12
# An "l" or a "w" rises for this long before it is loud enough to count.
_RISE_FRAMES = 8
# Shorter sounds between pauses are lips, clicks, and drums that a separator let through.
_CLICK_S = 0.08
# So much voice on the far side of a pause belongs to the neighbour; also the furthest that a start moves back.
_STRAY_S = 0.08
# Only Whisper leaves words in silence so long; in a shorter one a word has likely not been sung.
_FAR_S = 0.3
_TOUCH_S = 0.02


def snapped(times: Sequence[Span], samples: NDArray[np.float32]) -> list[Span]:
    """The same words on the voice: as many, in the same order, without overlap, inside the sound.

    A start in silence moves on to where the voice begins within the word; a start shortly after a pause moves back to
    its end; an end in silence moves back to where the voice ended. Words in silence stay where they are, with
    `LEAST_S`: `silent` tells which. But where they touch one whose start was lost in the same silence, they share its
    voice evenly: Whisper counts the silence before a phrase to the words after it.

    Args:
        times: (start_s, end_s) from the start of `samples`, starts in order.
        samples: shape (n,), 16 kHz mono.
    """
    length_s = len(samples) / SAMPLE_RATE_HZ
    voice = _voice(samples)
    inside = [(min(max(a, 0.0), length_s), min(max(b, 0.0), length_s)) for a, b in times]
    given = _regained([(a, max(a, min(b, after_s))) for (a, b), after_s in _with_next(inside, length_s)], voice)

    found: list[float] = []
    for start_s, end_s in given:
        if own := _own((start_s, end_s), voice):
            voice_s = own[0][0]
            is_near = start_s - voice_s <= _STRAY_S and (not found or found[-1] < voice_s - LEAST_S)
            start_s = voice_s if start_s < voice_s or is_near else start_s
        found.append(start_s)
    moved = [(start_s, end_s) for start_s, (_, end_s) in zip(_apart(found, length_s), given, strict=True)]

    ended: list[Span] = []
    for (start_s, end_s), after_s in _with_next(moved, length_s):
        own = _own((start_s, min(max(end_s, start_s + LEAST_S), after_s)), voice)
        end_s = min(end_s, own[-1][1]) if own else start_s
        ended.append((start_s, min(max(end_s, start_s + LEAST_S), after_s)))
    return ended


def silent(times: Sequence[Span], samples: NDArray[np.float32]) -> list[bool]:
    """Which words, as (start_s, end_s), have no voice at all; `samples` as for `snapped`."""
    voice = _voice(samples)
    return [not _own(word, voice) for word in times]


def _voice(samples: NDArray[np.float32]) -> list[Span]:
    """Where somebody may be singing, in order, to `FRAME_S`; each stretch from the foot of its rise on."""
    level = levels([samples], SAMPLE_RATE_HZ, FRAME_S)
    if len(level) < _SMOOTH_FRAMES:
        return []
    even = np.sqrt(np.convolve(level**2, np.full(_SMOOTH_FRAMES, 1.0 / _SMOOTH_FRAMES), "same")).astype(np.float32)
    length_s = len(samples) / SAMPLE_RATE_HZ
    found: list[Span] = []
    for start_s, end_s in runs(voiced(even, FRAME_S), FRAME_S, _CLOSURE_S, _CLICK_S):
        first = round(start_s / FRAME_S)
        foot = first
        while foot and first - foot < _RISE_FRAMES and SILENCE < even[foot - 1] < even[foot]:
            foot -= 1
        found.append((foot * FRAME_S, min(end_s, length_s)))
    return found


def _with_next(words: Sequence[Span], length_s: float) -> Iterator[tuple[Span, float]]:
    """Each word and the moment at which the next one starts, or the sound ends."""
    for i, word in enumerate(words):
        yield word, words[i + 1][0] if i + 1 < len(words) else length_s


def _own(word: Span, voice: Sequence[Span]) -> Sequence[Span]:
    """The stretches of `voice` that a word lies on, without what reaches in from its neighbours over a pause."""
    first = bisect_right(voice, word[0], key=lambda span: span[1])
    end = bisect_left(voice, word[1], key=lambda span: span[0])
    shared_s = [min(b, word[1]) - max(a, word[0]) for a, b in voice[first:end]]
    # What was cut off by a bound of the word is the neighbour's, where it is short and there is more beyond the pause.
    while len(shared_s) > 1 and voice[first][0] < word[0] and shared_s[0] <= min(_STRAY_S, max(shared_s[1:])):
        first, shared_s = first + 1, shared_s[1:]
    while len(shared_s) > 1 and voice[end - 1][1] > word[1] and shared_s[-1] <= min(_STRAY_S, max(shared_s[:-1])):
        end, shared_s = end - 1, shared_s[:-1]
    return voice[first:end]


def _regained(words: Sequence[Span], voice: Sequence[Span]) -> list[Span]:
    """The words; those that lie, one touching the next, in the silence in which one with a voice starts, share it."""
    regained = list(words)
    for i, word in enumerate(words):
        own = _own(word, voice)
        if not own or own[0][0] - word[0] < _FAR_S:
            continue
        first = i
        while first and words[first][0] - words[first - 1][1] <= _TOUCH_S and _is_lost(words[first - 1], voice):
            first -= 1
        if first < i:
            regained[first : i + 1] = spread([1] * (i + 1 - first), list(own), *word)
    return regained


def _is_lost(word: Span, voice: Sequence[Span]) -> bool:
    """Whether it has no voice, or starts in what may be the end of its neighbour's."""
    own = _own(word, voice)
    return not own or own[0][0] < word[0] >= own[-1][1] - _STRAY_S


def _apart(starts_s: Sequence[float], length_s: float) -> list[float]:
    """The starts, in order, and each `LEAST_S` before the next; less where all of them together have no room."""
    least_s = min(LEAST_S, length_s / max(1, len(starts_s)))
    forward: list[float] = []
    for start_s in starts_s:
        forward.append(max(start_s, forward[-1] + least_s) if forward else start_s)
    backward: list[float] = []
    for start_s in reversed(forward):
        backward.append(min(start_s, (backward[-1] if backward else length_s) - least_s))
    return [max(0.0, start_s) for start_s in reversed(backward)]
