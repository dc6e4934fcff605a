"""Lines that no screen holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from singscript_aligner.lines import width
from singscript_aligner.lyrics.paragraphs import cut
from singscript_aligner.lyrics.reading import LyricLine, read_lyrics

TALK = (
    "I walked down to the river. It was early, and nobody else was there but an old man with a net over his shoulder. "
    "He said nothing. We stood and looked at the water until the sun came over the hill, and then he left."
)


def test_a_paragraph_is_cut_where_its_sentences_end() -> None:
    parts = cut(read_lyrics(TALK), 42, 2)
    assert [part.text for part in parts] == [
        "I walked down to the river.",
        "It was early, and nobody else was there\nbut an old man with a net over his",
        "shoulder. He said nothing.",
        "We stood and looked at the water until\nthe sun came over the hill,",
        "and then he left.",
    ]
    assert " ".join(part.text.replace("\n", " ") for part in parts) == TALK
    assert {part.number for part in parts} == {0}


def test_what_the_screen_holds_is_left_as_it_is() -> None:
    lines = read_lyrics("Carry me over the silver water, carry me home before the rain\nwe go")
    assert cut(lines, 42, 2) == lines


def test_times_and_ad_libs_stay_with_their_words() -> None:
    words = ("one", "two,", "(ooh)", "three", "four")
    line = LyricLine(" ".join(words), words, 3, start_s=1.0, end_s=9.0, ad_libs=frozenset([2]))
    parts = cut([line], 8, 1)
    assert [part.text for part in parts] == ["one two,", "(ooh)", "three", "four"]
    assert [part.ad_libs for part in parts] == [frozenset(), {0}, frozenset(), frozenset()]
    assert [(part.start_s, part.end_s) for part in parts] == [(1.0, None), (None, None), (None, None), (None, 9.0)]
    assert {part.number for part in parts} == {3}


some_words = st.sampled_from(["we", "go,", "home.", "extraordinarily", "漢字", "(ooh)"])


@given(st.lists(some_words, min_size=1, max_size=60), st.integers(5, 42), st.integers(1, 3))
def test_no_word_is_lost_and_no_row_is_too_long(words: list[str], row_chars: int, rows: int) -> None:
    lines = read_lyrics(" ".join(words))
    parts = cut(lines, row_chars, rows)
    assert [word for part in parts for word in part.words] == [word for line in lines for word in line.words]
    for part in parts if len(parts) > 1 else []:
        assert len(part.text.split("\n")) <= rows
        assert all(width(row) <= row_chars or len(read_lyrics(row)[0].words) == 1 for row in part.text.split("\n"))
