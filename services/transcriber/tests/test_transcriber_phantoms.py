"""The list of phantom phrases: what it matches, however it is written, and what it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singscript_transcriber.pace import units
from singscript_transcriber.phantoms import PHRASES, are_all

ALL = [phrase for phrases in PHRASES.values() for phrase in phrases]


def is_phantom(text: str) -> bool:
    return are_all(units(text))


@settings(deadline=None)
@given(st.lists(st.sampled_from(ALL), min_size=1, max_size=5), st.sampled_from([" ", "! ", "... ", "。", "\n"]))
def test_every_phrase_matches_alone_and_among_its_like(phrases: list[str], between: str) -> None:
    text = between.join(phrase.removesuffix(" *") for phrase in phrases)
    assert is_phantom(text)


@pytest.mark.parametrize("text", [
    "Thanks for watching!",
    "Thank you. Bye-bye.",
    "THANKS FOR WATCHING",
    "Don’t forget to like and subscribe!",
    "Subtitles by the Amara.org community",
    "Untertitel im Auftrag des ZDF für funk, 2017",
    "Untertitelung des ZDF, 2020",
    "Sous-titres réalisés par la communauté d'Amara.org",
    "Sous-titrage ST' 501",
    "Sottotitoli e revisione a cura di QTSS",
    "Продолжение следует...",
    "Субтитры сделал DimaTorzok",
    "Редактор субтитров А.Синецкая Корректор А.Егорова",
    "ご視聴ありがとうございました。",
    "시청해주셔서 감사합니다!",
    "다음 영상에서 만나요!",
    "MBC 뉴스 이덕영입니다.",
    "字幕by索兰娅",
    "中文字幕由 Amara.org 社群提供",
    "Altyazı M.K.",
    "Hãy subscribe cho kênh Ghiền Mì Gõ Để không bỏ lỡ những video hấp dẫn",
    "♪ Music ♪",
])  # fmt: skip
def test_what_users_have_reported_matches(text: str) -> None:
    assert is_phantom(text)


@pytest.mark.parametrize("text", [
    "Thank you for the music, the songs I'm singing",
    "You are my sunshine",
    "I'll be watching you",
    "Bye bye Miss American Pie",
    "Vielen Dank für die Blumen",
    "Musik ist Trumpf",
    "ありがとう",
    "So we walked on, and the subtitles by the window said it all",
    "Thanks for watching over me",
])  # fmt: skip
def test_lyrics_that_hold_such_words_do_not(text: str) -> None:
    assert not is_phantom(text)


def test_a_name_may_follow_but_no_verse() -> None:
    assert not is_phantom("Subtitles by " + "someone who sang about the rain and the river and the long way home " * 2)


def test_nothing_is_no_phantom_and_loops_of_open_phrases_end() -> None:
    assert not is_phantom("♪")
    assert is_phantom("Subtitles by Subtitles by " * 200)
    assert not is_phantom("Subtitles by " * 200 + "x " * 20)
