"""Known lines whose words were found in part."""

from __future__ import annotations

from collections.abc import Sequence

from singscript_aligner.engines import Times, WordTime
from singscript_aligner.known import KnownLine, again, completed, gaps, without_moved
from singscript_aligner.lyrics.reading import LyricLine
from singscript_aligner.words import AlignedWord, HeardWord, Timing, Unsung

SPANS = [(1.0, 9.0)]


def line(text: str, number: int = 0, ad_libs: Sequence[int] = ()) -> LyricLine:
    return LyricLine(text, tuple(text.split()), number, ad_libs=frozenset(ad_libs))


def found(*rows: Sequence[tuple[float, float] | None]) -> Times:
    return [[span and WordTime(*span, 0.9) for span in row] for row in rows]


def complete(lines: Sequence[LyricLine], times: Times, guides: dict[int, HeardWord] | None = None) -> list[KnownLine]:
    return completed(lines, times, guides or {}, SPANS, spread_all=False)


def starts(known: KnownLine) -> list[tuple[str, float, Timing]]:
    return [(word.text, round(word.start_s, 2), word.timing) for word in known.words]


def test_a_word_between_two_has_the_room_between_them() -> None:
    (known,) = complete([line("we go on")], found([(2.0, 2.5), None, (4.0, 4.5)]))
    assert starts(known) == [
        ("we", 2.0, Timing.ACOUSTIC),
        ("go", 2.5, Timing.INTERPOLATED),
        ("on", 4.0, Timing.ACOUSTIC),
    ]
    assert known.unsung == () and known.missing == 0


def test_a_word_without_room_is_not_sung() -> None:
    (known,) = complete([line("we really go")], found([(2.0, 2.5), None, (2.51, 3.0)]))
    assert [word.text for word in known.words] == ["we", "go"]
    assert known.text == "we really go" and known.unsung == (Unsung(0, "really"),) and known.missing == 1


def test_words_at_the_ends_of_a_line_stay_near_it() -> None:
    (known,) = complete([line("oh we go yeah")], found([None, (6.0, 6.2), (6.2, 6.5), None]))
    assert known.words[0].start_s >= 5.4 and known.words[-1].end_s <= 7.2


def test_words_beyond_another_line_are_not_those_of_this_one() -> None:
    lines, times = [line("my love is far off")], found([(1.2, 1.4), (1.4, 1.6), (5.6, 5.9), (5.9, 6.5), (6.5, 7.0)])
    (known,) = complete(lines, times, {0: HeardWord("my", 5.1, 5.3, 0.8), 1: HeardWord("love", 5.3, 5.6, 0.8)})
    assert [round(word.start_s, 2) for word in known.words] == [5.1, 5.3, 5.6, 5.9, 6.5]
    # A pause, or a vowel that is held, is no other line.
    (known,) = completed(lines, times, {}, [(1.0, 1.7), (5.0, 7.0)], spread_all=False)
    assert known.words[0].start_s == 1.2


def test_in_silence_there_is_no_room() -> None:
    (known,) = complete([line("we go yeah")], found([(8.0, 8.5), (8.5, 9.0), None]))
    assert known.unsung == (Unsung(0, "yeah"),)


def test_ad_libs_and_signs_are_not_missed() -> None:
    known = complete([line("we (ooh) — go", ad_libs=[1])], found([(2.0, 2.5), None, None, (2.51, 3.0)]))[0]
    assert known.unsung == (Unsung(0, "(ooh) —"),) and known.missing == 0


def test_what_was_heard_stands_in_for_what_was_not_found() -> None:
    guides = {1: HeardWord("go", 3.0, 3.4, 0.8)}
    (known,) = complete([line("we go")], found([(2.0, 2.5), None]), guides)
    assert known.words[1] == AlignedWord("go", 3.0, 3.4, 0.8, Timing.ANCHORED)


def test_what_was_heard_once_is_not_sung_twice() -> None:
    lines, times = [line("we go", 0), line("we go", 1)], found([None, None], [(3.0, 3.4), (3.4, 4.0)])
    known = complete(lines, times, {0: HeardWord("we", 3.0, 3.4, 0.8), 1: HeardWord("go", 3.4, 4.0, 0.8)})
    assert known[0].words == () and known[0].missing == 2
    assert [word.timing for word in known[1].words] == [Timing.ACOUSTIC, Timing.ACOUSTIC]


def test_a_sign_does_not_begin_or_end_a_line() -> None:
    (known,) = complete([line("— we go ♪")], found([None, (2.0, 2.4), (2.4, 3.0), None]))
    assert [word.text for word in known.words] == ["we", "go"]
    assert known.text == "— we go ♪" and known.unsung == () and known.missing == 0


def test_a_line_without_any_time_is_left_out() -> None:
    known = complete([line("we go"), line("you stay", 1)], found([(2.0, 2.5), (2.5, 3.0)], [None, None]))
    assert known[1].words == () and known[1].unsung == (Unsung(1, "you stay"),) and known[1].missing == 2


def test_gaps_are_stretches_of_voice_without_words() -> None:
    word = AlignedWord("we", 4.0, 4.5, 0.9, Timing.ACOUSTIC)
    assert gaps([[word]], [(0.0, 3.0), (3.5, 5.0), (6.0, 6.5)]) == [(0.0, 4.0)]
    assert gaps([], [(0.0, 1.0), (5.0, 5.4)]) == []


def test_a_line_found_in_a_gap_stands_there_and_counts_as_moved_where_it_was_written() -> None:
    lyrics = [line("carry me over water", 0), line("we go", 1)]
    known = complete(lyrics, found([None] * 4, [(2.0, 2.2), (2.2, 2.4)]))
    more = found([(5.0, 5.2), (5.2, 5.5), (5.5, 6.0), (6.0, 6.5)], [None, None])
    sung = again(known, lyrics, more, (4.0, 8.0))
    assert [(one.number, bool(one.words)) for one in sung] == [(0, False), (1, True), (0, True)]
    kept = without_moved(sung, lyrics)
    assert [one.number for one in kept] == [1, 0] and not any(one.unsung for one in kept)


def test_what_a_line_in_a_gap_lacks_is_reported() -> None:
    (sung,) = again([], [line("oh carry me over")], found([None, (5.0, 5.2), (5.2, 5.5), (5.5, 6.0)]), (4.0, 8.0))
    assert sung.unsung == (Unsung(0, "oh"),) and sung.missing == 1


def test_a_word_that_begins_just_before_a_gap_belongs_to_it() -> None:
    (sung,) = again([], [line("carry me over")], found([(3.9, 5.2), (5.2, 5.5), (5.5, 6.0)]), (4.0, 8.0))
    assert [word.text for word in sung.words] == ["carry", "me", "over"]


def test_a_few_words_in_a_gap_may_be_chance() -> None:
    lyrics = [line("we go", 0)]
    assert again([], lyrics, found([(5.0, 5.2), (5.2, 5.5)]), (4.0, 8.0)) == []


def test_a_guide_that_lies_behind_the_next_line_is_none() -> None:
    lines = [line("we go now", 0), line("we go now", 1)]
    guides = {0: HeardWord("we", 2.0, 2.2), 1: HeardWord("go", 2.2, 2.4), 2: HeardWord("now", 2.4, 2.8)}
    first, second = complete(lines, found([None] * 3, [(2.0, 2.2), (2.2, 2.4), (2.4, 2.8)]), guides)
    assert first.words == () and first.unsung == (Unsung(0, "we go now"),)
    assert [word.start_s for word in second.words] == [2.0, 2.2, 2.4]


def test_a_word_that_was_only_squeezed_in_is_not_sung() -> None:
    times: Times = [
        [WordTime(2.0, 2.5, 0.9), WordTime(2.5, 2.6, 0.01), WordTime(2.6, 2.65, 0.02), WordTime(2.65, 3, 1)]
    ]
    (known,) = complete([line("we (yeah) really go", ad_libs=[1])], times)
    assert [word.text for word in known.words] == ["we", "go"]
    assert known.missing == 1, "an ad lib is not missed"
    (known,) = complete(
        [line("we (yeah) really go", ad_libs=[1])], [[*times[0][:1], WordTime(2.5, 2.9, 0.8), None, None]]
    )
    assert [word.text for word in known.words][:2] == ["we", "(yeah)"]


def test_without_an_engine_lines_stand_at_the_times_that_came_with_them() -> None:
    lines = [
        LyricLine("we go", ("we", "go"), 0, start_s=3.0),
        LyricLine("you stay", ("you", "stay"), 1, start_s=5.0, end_s=6.0),
    ]
    known = completed(lines, found([None] * 2, [None] * 2), {}, SPANS, spread_all=True)
    assert [(one.words[0].start_s, one.words[-1].end_s) for one in known] == [(3.0, 5.0), (5.0, 6.0)]


def test_a_word_that_goes_on_over_a_pause_takes_up_what_is_not_given() -> None:
    spans = [(0.3, 2.2), (3.3, 4.2), (5.3, 7.5)]
    times = found([(0.3, 0.6), (0.6, 2.0), (2.0, 5.6), (5.6, 5.9), (5.9, 6.4), (6.4, 6.6), (6.6, 7.0)])
    (known,) = completed([line("ask not what your country can do")], times, {}, spans, spread_all=False)
    assert [word.text for word in known.words if word.timing is Timing.ACOUSTIC] == ["your", "country", "can", "do"]
    assert all(word.start_s >= 3.3 for word in known.words)
