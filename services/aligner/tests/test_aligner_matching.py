"""Known lyrics against what was heard: anchors, lines that are sung again, windows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from singscript_aligner.lyrics.reading import LyricLine
from singscript_aligner.matching import matched, windows
from singscript_aligner.words import HeardWord

VERSE = ("In the early morning I walk alone", "counting every window in the sleeping town")
CHORUS = ("Carry me over the silver water", "carry me home before the rain")
BRIDGE = ("Nobody told the lanterns to stay",)


def lyrics(*texts: str, starts_s: Sequence[float] | None = None) -> list[LyricLine]:
    return [
        LyricLine(text, tuple(text.split()), number, start_s=starts_s[number] if starts_s else None)
        for number, text in enumerate(texts)
    ]


def heard(*texts: str, pause_s: float = 0.0) -> list[HeardWord]:
    """A word every half second; `pause_s` more after each line."""
    words: list[HeardWord] = []
    at_s = 0.0
    for text in texts:
        for word in text.lower().split():
            words.append(HeardWord(word, at_s, at_s + 0.4))
            at_s += 0.5
        at_s += pause_s
    return words


def texts(lines: Sequence[LyricLine]) -> list[str]:
    return [line.text for line in lines]


def test_equal_words_are_anchors_in_order() -> None:
    lines = lyrics(*VERSE)
    said = heard("in the early mourning I walk alone", "um", VERSE[1])
    sung, found = matched(lines, said)
    assert sung == lines
    known = [word.lower() for line in lines for word in line.words]
    assert all(known[a] == said[b].text.lower() for a, b in found.items())
    assert 3 not in found, "misheard"
    assert len(found) == 13
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(sorted(found.items())))


def test_scattered_small_words_are_no_anchors() -> None:
    _, found = matched(lyrics(*CHORUS), heard("the cat and the dog me over there"))
    assert found == {}


def test_a_chorus_written_once_and_sung_three_times_comes_three_times() -> None:
    lines = lyrics(*VERSE, *CHORUS, *BRIDGE)
    sung, found = matched(lines, heard(*VERSE, *CHORUS, *CHORUS, *BRIDGE, *CHORUS))
    assert texts(sung) == [*VERSE, *CHORUS, *CHORUS, *BRIDGE, *CHORUS]
    assert [line.number for line in sung] == [0, 1, 2, 3, 2, 3, 4, 2, 3]
    assert len(found) == sum(len(line.words) for line in sung)


def test_a_line_is_found_again_though_a_word_of_it_was_misheard() -> None:
    sung, _ = matched(lyrics(*VERSE, *CHORUS), heard(*VERSE, *CHORUS, "carrie me over the silver water", "la la la"))
    assert texts(sung) == [*VERSE, *CHORUS, CHORUS[0]]


def test_lines_that_are_not_sung_and_words_that_are_not_written_change_nothing() -> None:
    lines = lyrics(*VERSE, *BRIDGE, *CHORUS)
    sung, found = matched(lines, heard("hello everybody how are you tonight", *VERSE, *CHORUS, "thank you goodnight"))
    assert sung == lines
    assert len(found) == sum(map(len, (line.words for line in lines))) - len(BRIDGE[0].split())


def test_what_is_written_here_is_not_also_put_in() -> None:
    # The second chorus is misheard: it has no anchors, but it is the line that is expected there.
    lines = lyrics(*VERSE, *CHORUS, *BRIDGE, *CHORUS)
    sung, _ = matched(lines, heard(*VERSE, *CHORUS, *BRIDGE, "carrie me hover the silver waters", CHORUS[1]))
    assert texts(sung) == texts(lines)


def test_the_same_line_four_times_is_not_multiplied() -> None:
    lines = lyrics(*(CHORUS[0],) * 4)
    sung, _ = matched(lines, heard(*(CHORUS[0],) * 4))
    assert sung == lines


@given(
    st.lists(st.sampled_from([*VERSE, *CHORUS, *BRIDGE, "oh", "漢 字"]), max_size=8),
    st.lists(st.sampled_from([*VERSE, *CHORUS, *BRIDGE, "oh", "thank you all", "—"]), max_size=8),
)
def test_no_line_is_lost_and_anchors_rise(written: list[str], said: list[str]) -> None:
    lines, words = lyrics(*written), heard(*said)
    sung, found = matched(lines, words)
    rest = iter(texts(sung))
    assert all(text in rest for text in written), "in their order"
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(sorted(found.items())))
    pieces = windows(sung, words, found, 0.0, 60.0, 5.0)
    assert [piece.first_line for piece in pieces] == [0, *(piece.end_line for piece in pieces[:-1])]
    assert pieces[-1].end_line == len(sung)
    assert all(0.0 <= piece.start_s <= piece.end_s for piece in pieces)


def test_windows_are_cut_where_lines_start_between_anchors() -> None:
    lines = lyrics(*VERSE, *CHORUS)
    said = heard(*VERSE, *CHORUS, pause_s=4.0)
    sung, found = matched(lines, said)
    pieces = windows(sung, said, found, 0.0, 40.0, 3.0)
    assert [(piece.first_line, piece.end_line) for piece in pieces] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    # A window ends where the next line was heard, and begins where the line before ended.
    assert (pieces[1].start_s, pieces[0].end_s) == (said[6].end_s, said[7].start_s)


def test_times_that_came_with_the_lyrics_cut_windows_only_where_they_are_trusted() -> None:
    lines = lyrics(*VERSE, *CHORUS, starts_s=[10.0, 20.0, 30.0, 40.0])
    assert len(windows(lines, [], {}, 9.0, 45.0, 5.0)) == 1
    pieces = windows(lines, [], {}, 9.0, 45.0, 5.0, trusting=True)
    assert [(piece.first_line, piece.end_line) for piece in pieces] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert (pieces[1].start_s, pieces[1].end_s) == (18.5, 31.5)


def test_they_are_moved_to_what_was_heard_or_not_believed() -> None:
    lines = lyrics(*VERSE, *CHORUS, starts_s=[110.0, 120.0, 130.0, 140.0])
    said = [HeardWord(w.text, w.start_s + 10.0, w.end_s + 10.0) for w in heard(VERSE[0], pause_s=20.0)]
    sung, found = matched(lines, said)
    pieces = windows(sung, said, found, 9.0, 45.0, 5.0)
    assert [piece.start_s for piece in pieces[1:]] == [18.5, 28.5, 38.5]
    # Times that do not fit each other: another cut of the song.
    said = heard(*VERSE, *CHORUS, pause_s=1.0)
    sung, found = matched(lines, [w for w in said if w.text not in VERSE[1].split()[:3]])
    assert len(windows(sung, said, {}, 0.0, 30.0, 50.0)) == 1
