"""Text to words and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singscript_aligner.text.words import join_words, pieces, plain, split_words

MIXED = st.text("ab'’-,.!?\"()«“”$7é愛が々っーン「」、。カﾗｰฉันรักเธๆຂ້ອຍខ្ញុំမင်းབོད་ 사랑 \n♪", max_size=40)
# No punctuation: where it may stand, depends on the script.
SPACED = st.lists(st.text("abcéñßяЖ한국'7", min_size=1, max_size=8), max_size=8)
UNSPACED = st.lists(st.text("愛我がかっーカンッฉรกມ", min_size=1, max_size=8), max_size=8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Oh, don't  stop - now!", "Oh,|don't|stop|-|now!"),
        ("愛 love 愛", "愛|love|愛"),
        ("愛love愛", "愛|love|愛"),
        ("don’t愛you're", "don’t|愛|you're"),
        ("きっと、明日は", "きっ|と、|明|日|は"),
        ("「ずっと」が好き…！", "「ずっ|と」|が|好|き…！"),
        ("ラーメンを3.5杯", "ラー|メ|ン|を|3.5|杯"),
        ("2024年¥500だ", "2024|年|¥500|だ"),
        ("ﾗｰﾒﾝ ﾊﾞｶ", "ﾗｰ|ﾒ|ﾝ|ﾊﾞ|ｶ"),
        ("“我爱你”，他说——“你呢？”", "“我|爱|你”，|他|说——|“你|呢？”"),
        ("爱，love，爱", "爱，|love，|爱"),
        ("（笑）", "（笑）"),
        ("𠮷野家", "𠮷|野|家"),
        ("ฉันรักเธอมากกว่าใคร", "ฉัน|รัก|เธอ|มาก|กว่า|ใคร"),
        ("เด็กๆกำลังเล่น", "เด็กๆ|กำลัง|เล่น"),
        ("ငါမင်းကိုချစ်တယ်", "ငါ|မင်း|ကို|ချစ်|တယ်"),
        ("བོད་སྐད་ཡིན།", "བོད་|སྐད་|ཡིན།"),
        ("ខ្ញុំស្រ", "ខ្ញុំ|ស្រ"),
        ("ເຈົ້າ", "ເຈົ້າ"),
        ("사랑해요 그대", "사랑해요|그대"),
        (" \t\n", ""),
    ],
)
def test_split_words(text: str, words: str) -> None:
    assert split_words(text) == ([*words.split("|")] if words else [])


def test_korean_has_spaces_between_words_written_in_han() -> None:
    assert split_words("美國에서 왔다", "ko-KR") == ["美國에서", "왔다"]
    assert split_words("美國", "zh") == ["美", "國"]


@given(MIXED)
def test_no_letter_is_lost_or_moved(text: str) -> None:
    words = split_words(text)
    assert "".join(words) == "".join(text.split())
    assert all(words)


@given(SPACED)
def test_text_with_single_spaces_is_joined_as_it_was(tokens: list[str]) -> None:
    text = " ".join(tokens)
    assert join_words(split_words(text)) == text


@given(UNSPACED)
def test_text_without_spaces_is_joined_as_it_was(tokens: list[str]) -> None:
    text = "、".join(tokens)
    assert join_words(split_words(text)) == text


@pytest.mark.parametrize(
    "text", ["愛 love 愛", "“我爱你”，他说——“你呢？”", "爱 love，爱", "사랑 그대", "Oh, “love” — yes", ""]
)
def test_mixed_text_is_joined_as_it_was(text: str) -> None:
    assert join_words(split_words(text)) == text


@pytest.mark.parametrize(
    ("one", "other"),
    [("Don’t", "don't"), ("Ünïté,", "unite"), ("Straße", "STRASSE"), ("ёлка", "Елка"), ("ﬁn", "fin"), ("ﾗｰ", "ラー"),
     ("（笑）", "笑"), ("مُحَمَّد", "محمد"), ("İstanbul", "istanbul")],
)  # fmt: skip
def test_plain_words_are_equal(one: str, other: str) -> None:
    assert plain(one) == plain(other) != ""


@pytest.mark.parametrize(("one", "other"), [("が", "か"), ("कि", "का"), ("ที่", "ทา"), ("시", "사")])
def test_what_sounds_differently_stays_different(one: str, other: str) -> None:
    assert plain(one) != plain(other)


@given(st.text(max_size=20))
def test_plain_is_stable(word: str) -> None:
    assert plain(plain(word)) == plain(word)


def test_pieces_are_whole_words_with_what_stands_between() -> None:
    found = pieces("Oh (maybe) a  day,\nmy love!", ["a", "day,", "love!"])
    assert found == [("Oh (maybe) ", "a"), ("  ", "day,"), ("\nmy ", "love!")]
    assert pieces("愛love愛", ["愛", "love", "愛"]) == [("", "愛"), ("", "love"), ("", "愛")]
    assert pieces("well-known", ["known"]) == [("well-", "known")]
    assert pieces("my love", ["my", "dear", "love"]) == [("", "my"), (" ", "dear"), (" ", "love")]


@given(MIXED, st.data())
def test_pieces_of_any_words_of_a_text_give_it_back(text: str, data: st.DataObject) -> None:
    words = split_words(text)
    sung = [word for word in words if data.draw(st.booleans())]
    found = pieces(text, sung)
    assert [word for _, word in found] == sung
    assert text.startswith("".join(before + word for before, word in found))
