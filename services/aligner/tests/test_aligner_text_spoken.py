"""From how words are written to how they are said, and on to sounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pocketsphinx import Config, Decoder

from singscript_aligner.engines.letters import _RULES, phones
from singscript_aligner.engines.sphinx import _PHONES
from singscript_aligner.text.languages import LANGUAGES, NUMBERS
from singscript_aligner.text.spoken import spoken


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
        ("$25.50", "twenty five dollars fifty"),
        ("007", "zero zero seven"),
        ("-1999", "minus one thousand nine hundred and ninety nine"),
        ("mp3", "mp three"),
        ("#5", "number five"),
        ("€", "euros"),
        ("12345678901", "one two three four five six seven eight nine zero one"),
        ("٢٥", "twenty five"),
        ("Mr.", "mister"),
        ("(vs.", "versus"),
        ("No.", "no"),
        ("XIV", "xiv"),
        ("Bjørn", "bjorn"),
        ("—", ""),
        ("♪", ""),
        ("愛", ""),
    ],
)
def test_spoken_in_english(written: str, said: str) -> None:
    assert spoken(written, "en") == said.split()
    assert spoken(written, "en-US") == said.split()


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("de", "1.234,5", "eintausendzweihundertvierunddreißig komma fünf"),
        ("de", "25€,", "fünfundzwanzig euro"),
        ("de", "1,50€", "ein euro fünfzig"),
        ("de", "90er", "neunziger"),
        ("de", "1ten", "ersten"),
        ("de", "(z.B.", "zum beispiel"),
        ("de", "usw.,", "und so weiter"),
        ("de", "10:30", "zehn uhr dreißig"),
        ("de", "8.30", "acht dreißig"),
        ("de", "1999", "neunzehnhundertneunundneunzig"),
        ("de", "½", "eins zwei"),
        ("de", "Über", "über"),
        ("de", "U\u0308ber", "über"),
        ("ja", "２５", "二十五"),
        ("fr", "L’amour", "l'amour"),
        ("fr", "2ème", "deuxième"),
        ("fr", "1er", "premier"),
        ("fr", "1\u202f234", "mille deux cent trente quatre"),
        ("fr", "50%", "cinquante pour cent"),
        ("fr", "Mme", "madame"),
        ("es", "¿Ud.?", "usted"),
        ("es", "2ª", "segunda"),
        ("it", "1º", "primo"),
        ("it", "po'", "po'"),
        ("pt-BR", "2.500", "dois mil e quinhentos"),
        ("nl", "21ste", "eenentwintigste"),
        ("sv", "1:a", "första"),
        ("nb", "25", "tjuefem"),
        ("pl", "3,5", "trzy przecinek pięć"),
        ("cs", "-5", "minus pět"),
        ("ru", "Ёлка", "ёлка"),
        ("ru", "100₽", "сто рублей"),
        ("tr", "%50", "yüzde elli"),
        ("ja", "¥500", "五百 円"),
        ("ja", "愛", "愛"),
        ("ko", "25", "이십오"),
        ("th", "๒๕", "ยี่สิบห้า"),
        ("hi", "नमस्ते", "नमस्ते"),
        ("zh", "2024", "2024"),
        ("am", "25", "25"),
        ("", "25", "25"),
        ("ja", "…", ""),
    ],
)
def test_spoken_in_other_languages(language: str, written: str, said: str) -> None:
    assert spoken(written, language) == said.split()


@settings(deadline=None)
@given(
    st.text("0123456789.,:-$€%°stndé'erªº ", max_size=14),
    st.sampled_from([*sorted(NUMBERS | set(LANGUAGES)), "zh", ""]),
)
def test_any_number_is_said_in_any_language(text: str, language: str) -> None:
    said = spoken(text, language)
    assert all(said)
    assert bool(said) or not any(c.isalnum() for c in text)
    if language in NUMBERS:
        assert not any(c.isdigit() for word in said for c in word)


@settings(deadline=None)
@given(st.text(max_size=20), st.sampled_from(["de", "ja", "ru", "zh", ""]))
def test_no_letter_is_lost_outside_of_english(text: str, language: str) -> None:
    assert bool(spoken(text, language)) >= any(c.isalpha() for c in text)


@given(st.text(max_size=30))
def test_any_text_is_spoken_in_letters(text: str) -> None:
    for word in spoken(text, "en"):
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
