"""From writing to sounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pocketsphinx import Config, Decoder

from singscript_aligner.engines.letters import _RULES, phones
from singscript_aligner.engines.sphinx import _PHONES
from singscript_aligner.engines.spoken import spoken


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Hello,", "hello"),
        ("don’t", "don't"),
        ("'cause", "'cause"),
        ("well-known", "well known"),
        ("café", "cafe"),
        ("25", "twenty five"),
        ("$25,", "twenty five dollars"),
        ("$1", "one dollar"),
        ("2,500", "two thousand five hundred"),
        ("3.5", "three point five"),
        ("1999", "nineteen ninety nine"),
        ("90s", "nineties"),
        ("21st", "twenty first"),
        ("50%", "fifty percent"),
        ("10:30", "ten thirty"),
        ("9:05", "nine oh five"),
        ("-5", "minus five"),
        ("10-20", "ten twenty"),
        ("R&B", "r and b"),
        ("—", ""),
        ("♪", ""),
    ],
)
def test_spoken(written: str, said: str) -> None:
    assert spoken(written) == said.split()


@given(st.text(max_size=30))
def test_any_text_is_spoken_in_letters(text: str) -> None:
    for word in spoken(text):
        assert word and set(word) <= set("abcdefghijklmnopqrstuvwxyz'")


@given(st.text("abcdefghijklmnopqrstuvwxyz'", min_size=1, max_size=20))
def test_any_word_has_phones_that_the_model_knows(word: str) -> None:
    said = phones(word).split()
    assert said and set(said) <= set(_PHONES.split())


def test_the_rules_cover_every_letter() -> None:
    assert set("abcdefghijklmnopqrstuvwxyz") <= set(_RULES)


@pytest.mark.parametrize(
    ("word", "near"), [("nation", "N EY SH AH N"), ("light", "L AY T"), ("making", "M EY K IH NG")]
)
def test_rules_against_the_dictionary(word: str, near: str) -> None:
    decoder = Decoder(Config(lm=None, loglevel="FATAL"))
    assert decoder.lookup_word(word) == near
    vowels = {"AH": "V", "AE": "V", "EY": "V", "AY": "V", "IH": "V"}
    assert [vowels.get(p, p) for p in phones(word).split()] == [vowels.get(p, p) for p in near.split()]
