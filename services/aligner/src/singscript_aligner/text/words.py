"""Text to words and words to text, for scripts with spaces between words and for those without.

Chinese and Japanese are cut into graphemes; Thai into words, by BudouX' model; Lao, Khmer, Burmese and Tibetan into
what is written as one letter group. What cannot be said alone stays with its neighbour: small kana, long vowel marks
and closing punctuation with what precedes, opening brackets and signs of money with what follows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import budoux
import regex

_UNSPACED_LETTERS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_UNSPACED = regex.compile(rf"[{_UNSPACED_LETTERS}ー～ｰ]")
# Korean puts spaces between words, also where they are written in Han.
_UNSPACED_IN_KOREAN = regex.compile(rf"[{_UNSPACED_LETTERS}ー～ｰ--\p{{Han}}]", regex.V1)
# Full-width punctuation brings its own space.
_TOUCHES = regex.compile(rf"[{_UNSPACED_LETTERS}\u3000-\u303f\u30fb\u30fc\uff00-\uffef]")
_SKIPPED_AT_EDGES = regex.compile(r"[^\P{P}\x00-\x7f]+")

_OPENS = regex.compile(r"[\p{Ps}\p{Pi}\p{Sc}]+")
# Small kana and long vowels; vowels and repetition marks that Thai and Lao write after the consonant; Burmese and
# Tibetan consonants that end a syllable; all other punctuation, marks and signs.
_STICKS = regex.compile(
    r"[ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ\u31f0-\u31ff\uff67-\uff70ー～〜]"
    r"|[\u0e2f\u0e30\u0e32\u0e33\u0e45\u0e46\u0eb0\u0eb2\u0eb3\u0ebd\u0ec6\u0eaf]"
    r"|[\u1000-\u1021]\u1037?\u103a"
    r"|[\p{P}\p{S}\p{M}\u200b-\u200d\u2060\ufe0f]"
)
# Thai and Lao vowels that are written before the consonant; signs that stack the next consonant below.
_WAITS = regex.compile(r"[\u0e40-\u0e44\u0ec0-\u0ec4\u1039\u17d2]$")
_THAI = regex.compile(r"\p{Thai}")
_TIBETAN = regex.compile(r"\p{Tibetan}")
_TIBETAN_END = regex.compile(r"[\u0f0b-\u0f0f]$")

_ACCENTS = regex.compile(r"[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]")
_SILENT = regex.compile(r"[^\p{L}\p{N}\p{M}]")


def split_words(text: str, language: str = "") -> list[str]:
    """The words of `text`: cut at spaces, and inside of scripts that have none.

    Args:
        language: code such as "ja"; it matters for Korean alone.
    """
    unspaced = _UNSPACED_IN_KOREAN if language.lower().startswith("ko") else _UNSPACED
    return [word for token in text.split() for word in _within(token, unspaced)]


def join_words(words: Sequence[str]) -> str:
    """Words as running text: spaces between them where their script has any."""
    return "".join(f" {word}" if i and parted(words[i - 1], word) else word for i, word in enumerate(words))


def parted(one: str, other: str) -> bool:
    """Whether a space belongs between two words."""
    return bool(one and other) and not (_touches(one, -1) and _touches(other, 0))


def plain(word: str) -> str:
    """For comparing: letters and digits alone, without case, accents and compatibility forms. "Don’t" → "dont"."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word).casefold())
    return unicodedata.normalize("NFC", _SILENT.sub("", _ACCENTS.sub("", folded)))


def pieces(text: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """Each of `words` with what stands in `text` between it and the word before.

    Words are found in order, whole ones first: a word of the text that is not among them becomes a part of what stands
    between. A word that is not in the text counts as if it stood there after a space.
    """
    found: list[tuple[str, str]] = []
    at = 0
    for word in words:
        start = _find(text, word, at)
        if start < 0:
            found.append((" " if found else "", word))
        else:
            found.append((text[at:start], word))
            at = start + len(word)
    return found


def _within(token: str, unspaced: regex.Pattern[str]) -> list[str]:
    """The words of a `token` that has no spaces."""
    if not unspaced.search(token):
        return [token]
    words: list[str] = []
    opening, may_go_on = "", False
    for part in _parts(token):
        if _OPENS.fullmatch(part) or _WAITS.search(part):
            opening += part
        elif words and not opening and _STICKS.match(part):
            words[-1] += part
            # "3.5" and "don’t" go on after their mark; after a full-width one begins a new word.
            may_go_on = may_go_on and (part.isascii() or part == "’")
        else:
            goes_on = not unspaced.search(part)
            open_syllable = words and _TIBETAN.match(part) and not _TIBETAN_END.search(words[-1])
            if not opening and (open_syllable or (goes_on and may_go_on)):
                words[-1] += part
            else:
                words.append(opening + part)
            opening, may_go_on = "", goes_on
    if words:
        words[-1] += opening
    return words or [token]


def _parts(token: str) -> list[str]:
    """Graphemes; of Thai, words."""
    parts: list[str] = []
    for run in regex.findall(r"\p{Thai}+|\P{Thai}+", token):
        parts += _thai().parse(run) if _THAI.match(run) else regex.findall(r"\X", run)
    return parts


@cache
def _thai() -> budoux.Parser:
    return budoux.load_default_thai_parser()


def _touches(text: str, edge: int) -> bool:
    """Whether no space belongs at an edge (0 or -1) of `text`; “ and — are as their neighbour is."""
    if _TOUCHES.match(text[edge]):
        return True
    bare = _SKIPPED_AT_EDGES.sub("", text[:8] if edge == 0 else text[-8:])
    return bool(bare) and _TOUCHES.match(bare[edge]) is not None


def _find(text: str, word: str, at: int) -> int:
    """Where `word` stands in `text` from `at` on: as a whole word, or else inside of another; -1 for nowhere."""
    first = start = text.find(word, at)
    while start >= 0:
        end = start + len(word)
        if _ends(text[start - 1 : start], word[:1]) and _ends(text[end : end + 1], word[-1:]):
            return start
        start = text.find(word, start + 1)
    return first


def _ends(outside: str, inside: str) -> bool:
    return not outside or outside.isspace() or bool(_TOUCHES.match(outside) or _TOUCHES.match(inside))
