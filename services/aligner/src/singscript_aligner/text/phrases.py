"""Where Chinese and Japanese may go into the next row: between phrases, as BudouX' models cut them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate

import budoux
import regex

from singscript_aligner.text.words import parted

_HAN_OR_KANA = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")


def inside_phrases(words: Sequence[str]) -> set[int]:
    """The indices of those words that go on with the phrase of the word before."""
    text = "".join(words)
    if not _HAN_OR_KANA.search(text):
        return set()
    parser = _japanese() if _KANA.search(text) else _chinese()
    starts = {0, *accumulate(map(len, parser.parse(text)))}
    places = accumulate((len(word) for word in words), initial=0)
    return {
        i
        for i, place in enumerate(places)
        if 0 < i < len(words) and place not in starts and not parted(words[i - 1], words[i])
    }


@cache
def _japanese() -> budoux.Parser:
    return budoux.load_default_japanese_parser()


@cache
def _chinese() -> budoux.Parser:
    return budoux.load_default_simplified_chinese_parser()
