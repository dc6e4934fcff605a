"""Words to syllables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singscript_aligner.text.syllables import syllables


@pytest.mark.parametrize(
    ("language", "cut"),
    [
        ("en", "beau|ti|ful,"),
        ("en", "(a|way)"),
        ("en", '"Hel|lo!'),
        ("en", "O|VER"),
        ("en", "used"),
        ("en", "your"),
        ("en", "rhythm"),
        ("en", "could|n't"),
        ("en", "don’t"),
        ("en", "weren’t"),
        ("en", "well-|known"),
        ("en-US", "ba|by"),
        ("en", "25"),
        ("en", "—"),
        ("en", ""),
        ("de", "a|ber"),
        ("de", "Stra|ßen|bahn,"),
        ("fr", "l’amour"),
        ("fr", "«tou|jours»"),
        ("it", "per|ché"),
        ("pt-BR", "co|ra|ção"),
        ("ru", "лю|бовь"),
        ("cs", "srd|ce"),
        ("sr", "ср|це"),
        ("mr", "न|म|स्कार"),
        ("ja", "愛"),
        ("", "hello"),
        ("xx", "hello"),
    ],
)
def test_syllables(language: str, cut: str) -> None:
    assert syllables(cut.replace("|", ""), language) == cut.split("|")


@settings(deadline=None)  # the first use of a language reads its dictionary
@given(
    st.text("abeilnoprstuyAÉßİ'’-.,\"(25愛 нойr", max_size=25),
    st.sampled_from(["en", "de", "fr", "cs", "hu", "nl", "zh"]),
)
def test_syllables_are_the_word(word: str, language: str) -> None:
    found = syllables(word, language)
    assert "".join(found) == word
    assert all(found) or found == [""]


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_text_has_syllables(word: str) -> None:
    assert "".join(syllables(word, "en")) == word
