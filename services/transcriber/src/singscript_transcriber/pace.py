"""How fast text can be sung: its units of sound, the least time that they take, and where they run in a circle."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# A line that repeats is sung at most this fast. Songs have about 10 letters a second, quick speech 15; sixteenths at
# 120 beats a minute are 8 syllables, of 2 letters each in "na na na". Rap records are faster (7.5 words of about 4
# letters a second), in lines that do not repeat; so is Whisper in a loop, with its 224 tokens in at most 30 s.
_LETTERS_PER_S = 20.0
_SYLLABLES_PER_S = 10.0
# From so many times in a row on, a line repeats.
_LEAST_TIMES = 3

_APOSTROPHES = re.compile("['’ʼ`´]")
# Written without spaces, one sign a syllable (Korean has spaces; its signs are syllables all the same): kana, Chinese
# signs, Hangul. Small kana and the long vowel sign are no syllables of their own.
_SYLLABLE = re.compile("[ぁ-ゖァ-ヺ㐀-鿿豈-﫿가-힣𠀀-𯨟]")
_SMALL_KANA = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ")
# Written without spaces, several signs a syllable: Thai, Lao, Burmese, Khmer.
_UNSPACED = re.compile("[฀-໿က-႟ក-៿]")


@dataclass(frozen=True, slots=True)
class Loop:
    """Units `start` to `end` (exclusive) say the same `period` units at least three times."""

    start: int
    end: int
    period: int

    def holds_from(self, unit: int) -> bool:
        """Whether it is still one when it is cut off before `unit`."""
        return self.end - max(self.start, unit) >= _LEAST_TIMES * self.period


def units(text: str) -> list[str]:
    """Words in lower case without punctuation; single signs where a script has no spaces, and of Hangul."""
    letters: list[str] = []
    for sign in unicodedata.normalize("NFKC", _APOSTROPHES.sub("", text)).casefold():
        if _SYLLABLE.match(sign) or _UNSPACED.match(sign):
            letters += f" {sign} "
        else:
            letters.append(sign if unicodedata.category(sign)[0] in "LMN" else " ")
    return "".join(letters).split()


@lru_cache(maxsize=4096)
def least_s(unit: str) -> float:
    """The least time in seconds that somebody takes to sing a unit of a line that repeats."""
    if unit in _SMALL_KANA:
        return 0.0
    letters_s = sum(unicodedata.category(sign)[0] in "LN" for sign in unit) / _LETTERS_PER_S
    return letters_s if _UNSPACED.match(unit) else max(letters_s, 1.0 / _SYLLABLES_PER_S)


def loops(said: Sequence[str]) -> Iterator[Loop]:
    """Stretches of units that repeat the same ones at least three times in a row, each as long as it goes.

    What also repeats in multiples of its period, may come again with those.
    """
    numbers = np.unique(np.array(said, str), return_inverse=True)[1]
    for period in range(1, len(said) // _LEAST_TIMES + 1):
        same = np.concatenate([[False], numbers[period:] == numbers[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start >= (_LEAST_TIMES - 1) * period:
                yield Loop(int(start), int(end) + period, period)
                if end - start + period == len(said):
                    return
