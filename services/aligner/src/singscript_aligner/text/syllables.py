"""Words to syllables, where a hyphenator has the language.

Pyphen's dictionaries are made for breaking lines, so they leave out cuts that look bad in print; with one letter
allowed before a cut they come near to what is sung.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pyphen
import regex

# The two English dictionaries cut by sound and by origin: of 6800 words of a pronouncing dictionary, both together give
# 89 % as many syllables as they have, the American one alone 85 %, the British one 71 %; the rule below makes it 91 %.
_DICTIONARIES = {"en": ("en_US", "en_GB"), "de": ("de_DE",), "no": ("nb_NO",)}
# "a-way", "o-ver", "e-ven", but not "used".
_ENGLISH_FIRST_VOWEL = regex.compile(r"[aeiou](?=[bcdfghklmnprstvwz](?:[aiouy]|e[a-ce-rt-z]))", regex.IGNORECASE)
_ENGLISH_SINGLE = ("aren't", "weren't")  # as sung; the dictionaries cut them
# A word; an apostrophe inside belongs to it.
_RUN = regex.compile(r"[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*")
# "y" is no vowel before another one ("yes") and none alone; "could-n't" is two.
_VOWEL = regex.compile(r"[aeiouàâäåæèéêëíìîïóòôöøœúùûüýÿąęőűůěıаеёиоуыэюяіїєαεηιουωάέήίόύώ]|\p{L}y|y\p{L}|^n['’]t")
# Czech and its neighbours sing on an r or l between consonants: "srd-ce".
_SUNG_CONSONANT = regex.compile(r"\p{L}[rlрл]")
_SUNG_CONSONANT_LANGUAGES = ("cs", "hr", "sk", "sl", "sr")
_VOWELS_ARE_LETTERS = regex.compile(r"[\p{Latin}\p{Cyrillic}\p{Greek}]")


def syllables(word: str, language: str) -> list[str]:
    """The syllables of a word as it is written, each with the marks beside it; joined they are the word.

    Args:
        language: code such as "pt" or "pt-BR". Where no hyphenator has it, the word is one syllable.
    """
    hyphenators = _hyphenators(language.lower())
    if not hyphenators:
        return [word]
    runs = list(_RUN.finditer(word))
    # What stands between two runs ("well-known") belongs to the first.
    cuts = {run.start() for run in runs[1:]}
    for run in runs:
        cuts |= {run.start() + at for at in _cuts(run[0], language, hyphenators)}
    found = [""]
    for start, end in pairwise([0, *sorted(cuts), len(word)]):
        piece = word[start:end]
        if _sounds(found[-1], language) and _sounds(piece, language):
            found.append(piece)
        else:
            found[-1] += piece
    return found


@cache
def _hyphenators(language: str) -> Sequence[pyphen.Pyphen]:
    name = pyphen.language_fallback(language)
    names = _DICTIONARIES.get(language) or ((name,) if name else ())
    return tuple(pyphen.Pyphen(lang=name, left=1, right=2) for name in names)


def _cuts(letters: str, language: str, hyphenators: Sequence[pyphen.Pyphen]) -> set[int]:
    lower = letters.lower().replace("’", "'")
    if len(lower) != len(letters) or lower in _ENGLISH_SINGLE:
        return set()  # of a letter that becomes two, the places would be wrong
    cuts = {int(at) for hyphenator in hyphenators for at in hyphenator.positions(lower)}
    return cuts | {1} if language.lower().startswith("en") and _ENGLISH_FIRST_VOWEL.match(lower) else cuts


def _sounds(piece: str, language: str) -> bool:
    """Whether a piece can be a syllable: it has a vowel, where the script writes vowels as letters."""
    lower = piece.lower()
    if _VOWEL.search(lower) or (lower and not _VOWELS_ARE_LETTERS.search(lower)):
        return True
    return language.lower().startswith(_SUNG_CONSONANT_LANGUAGES) and _SUNG_CONSONANT.search(lower) is not None
