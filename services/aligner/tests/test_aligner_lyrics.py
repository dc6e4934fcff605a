"""Reading lyrics: plain text with the marks that people write, LRC, SRT and WebVTT."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singscript_aligner.lyrics.reading import LyricLine, TooManyWords, read_lyrics
from singscript_aligner.lyrics.timed import InvalidLyrics


def texts(text: str) -> list[str]:
    return [line.text for line in read_lyrics(text)]


def times(text: str) -> list[tuple[str, float | None, float | None]]:
    return [(line.text, line.start_s, line.end_s) for line in read_lyrics(text)]


def test_empty_lines_and_headings_are_not_sung() -> None:
    text = "\ufeff[Verse 1]\r\nHello,  my\tfriend\n\nChorus:\nVerse 2\n(ooh) we go\nBreak\n---\n[Outro]"
    lines = read_lyrics(text)
    assert lines == [
        LyricLine("Hello, my friend", ("Hello,", "my", "friend"), 1),
        LyricLine("(ooh) we go", ("(ooh)", "we", "go"), 5, ad_libs=frozenset({0}), section=1),
        LyricLine("Break", ("Break",), 6, section=1),
    ]
    assert read_lyrics(" \n[Intro]\n") == read_lyrics("") == []


@pytest.mark.parametrize(
    "heading",
    [
        "[Refrain]", "[Strophe 1]", "[Couplet 2]", "[Estribillo]", "[Ritornello]", "[サビ]", "[Chorus: Anna & Ben]",
        "[Verse 1] [Anna]", "(Verse 2)", "(Guitar solo)", "(Bridge - softly)", "Chorus", "CHORUS:", "Refrain",
        "Pre-Chorus", "Strophe 2", "Couplet 1 :", "Припев:", "Verse 3", "[Chorus]:", "(Repeat Chorus)",
        "**Verse 2**", "## [Chorus]", "* chorus *",
    ],
)  # fmt: skip
def test_headings(heading: str) -> None:
    assert texts(f"{heading}\nwe go") == ["we go"]


@pytest.mark.parametrize(
    "line",
    [
        "Break", "Hook me up", "(break it down)", "(solo tú)", "(Bridge over water)", "Verse after verse", "Outro",
        "Build it with a 2 x 4", "x marks the spot", "I drive an X5", "2 x 4", "ten 2x strong", "Embed this", "vers",
        "You might also like me", "I said: hello", "At 12:30 I woke", "Listen: the rain", "(repeat after me)", "x0",
        "going 100x", "once (twice)", "see [ the open bracket", ":( oh no", "1:30 --> the end", "<3 you",
    ],
)  # fmt: skip
def test_traps_stay_as_they_are(line: str) -> None:
    (read,) = read_lyrics(line)
    assert (read.text, read.words) == (line, tuple(line.split()))


@pytest.mark.parametrize(
    ("mark", "count"),
    [
        ("x2", 2), ("(x2)", 2), ("x 2", 2), ("2x", 2), ("(2x)", 2), ("[x3]", 3), ("×2", 2), ("(×4)", 4), ("(X2)", 2),
        ("(repeat)", 2), ("(bis)", 2), ("(repeat 2x)", 2), ("(Repeat x3)", 3), ("(3 times)", 3), ("(2 fois)", 2),
        ("(x1)", 1), ("(x99)", 20), ("x2.", 2),
    ],
)  # fmt: skip
def test_marks_of_repeats(mark: str, count: int) -> None:
    assert texts(f"one\nla la, {mark}\ntwo") == ["one", *["la la,"] * count, "two"]
    assert texts(f"one\n\nla\nlo\n{mark}\n\ntwo") == ["one", *["la", "lo"] * count, "two"]
    assert texts(f"[Chorus] {mark}\nla\nlo\n\ntwo") == [*["la", "lo"] * count, "two"]
    assert texts(f"[Chorus {mark}]\nla\nlo\n\ntwo") == [*["la", "lo"] * count, "two"]


def test_a_repeat_keeps_the_number_and_begins_a_section() -> None:
    lines = read_lyrics("one\n\nla\nlo\n(x2)\n\n[Chorus x2]\noh (x2)")
    assert [(line.text, line.number, line.section) for line in lines] == [
        ("one", 0, 0), ("la", 2, 1), ("lo", 3, 1), ("la", 2, 1), ("lo", 3, 1),
        ("oh", 7, 2), ("oh", 7, 2), ("oh", 7, 3), ("oh", 7, 3),
    ]  # fmt: skip


def test_a_mark_after_an_empty_line_or_a_heading() -> None:
    assert texts("a\nb\n\nx2\n\nc") == ["a", "b", "a", "b", "c"]
    assert texts("[Chorus]\n(x2)\na\n\nb") == ["a", "a", "b"]
    assert texts("a\n**x2**") == ["a", "a"]
    assert texts("(la la x2)") == ["(la la)", "(la la)"]
    assert texts("x2\na") == ["a"]


def test_a_heading_without_lines_stands_for_those_before() -> None:
    text = "[Verse 1]\nv\n\n[Chorus]\nc1\nc2\n\n[Verse 2]\nw\n\n[Chorus]\n\n[Bridge]\nb\n\n[Chorus x2]"
    assert texts(text) == ["v", "c1", "c2", "w", "c1", "c2", "b", "c1", "c2", "c1", "c2"]
    assert texts("Refrain:\nla\n\nv\n\nRefrain\n\nw") == ["la", "v", "la", "w"]
    assert texts("[Chorus]\nla\n\nv\n\n(Repeat Chorus)\n\nw") == ["la", "v", "la", "w"]
    assert [line.number for line in read_lyrics("[Chorus]\nla\n\n[Chorus]")] == [1, 1]


def test_a_heading_that_stands_for_nothing() -> None:
    assert texts("[Chorus 1]\nla\n\n[Chorus 2]\n\nv") == ["la", "v"]
    assert texts("[Chorus]\n\n[Verse]\nv") == ["v"]
    assert texts("[laughs]\nla\n[laughs]\n\n[Solo]\noh\n\n[Solo]") == ["la", "oh"]
    # An empty line after every heading is the writer's style.
    assert texts("[Chorus]\n\nla\n\n[Verse]\n\nv\n\n[Chorus]\n\nla") == ["la", "v", "la"]
    assert texts("[Chorus]\n\nla\n\n[Verse]\n\nv\n\n[Chorus]\n") == ["la", "v", "la"]


def test_a_heading_before_words_of_its_line() -> None:
    assert texts("[Chorus] la la\n\nChorus: lo lo\n\nv\n\n[Chorus]") == ["la la", "lo lo", "v", "lo lo"]


def test_ad_libs() -> None:
    def found(line: str) -> list[str]:
        (read,) = read_lyrics(line)
        assert read.text == line
        return [read.words[i] for i in sorted(read.ad_libs)]

    assert found("We go (yeah, yeah) on (hey!)") == ["(yeah,", "yeah)", "(hey!)"]
    assert found("(oh oh oh)") == ["(oh", "oh", "oh)"]
    assert found("dream(s) and (o)kay") == []
    assert found("we (never close it") == []
    assert found("((deep) down) up") == ["((deep)", "down)"]
    assert found("ラ（ラ）ラ") == ["（ラ）"]


def test_square_brackets_in_a_line_are_no_words() -> None:
    (line,) = read_lyrics("We [laughs] go [?] on")
    assert (line.text, line.words) == ("We go on", ("We", "go", "on"))


def test_who_sings_is_shown_and_not_sung() -> None:
    lines = read_lyrics("Anna: we go\nBen: you stay\nAnna: we run\nBen: you hide\nBoth: oh\nM: la\nMom said: no\nALL:")
    assert [(line.text, line.words) for line in lines] == [
        ("Anna: we go", ("we", "go")), ("Ben: you stay", ("you", "stay")), ("Anna: we run", ("we", "run")),
        ("Ben: you hide", ("you", "hide")), ("Both: oh", ("oh",)), ("M: la", ("la",)),
        ("Mom said: no", ("Mom", "said:", "no")),
    ]  # fmt: skip
    # The same line again is a chorus, not a second line of somebody's.
    assert read_lyrics("Listen: rain\nListen: rain")[0].words == ("Listen:", "rain")
    assert read_lyrics("and I say: ho\nand I say: hey")[0].words == ("and", "I", "say:", "ho")
    assert read_lyrics("女：ラ")[0].words == ("ラ",)


def test_what_lyric_sites_leave() -> None:
    text = (
        "3 ContributorsTranslationsSong Lyrics[Verse 1]\nwe go\nYou might also like[Chorus]\nwe stay\n"
        "See Band LiveGet tickets as low as $51\nYou might also like\nto the end12Embed"
    )
    assert texts(text) == ["we go", "we stay", "to the end"]
    assert texts("5 Contributors\nwe go\n3.4KEmbed\n") == ["we go"]
    assert texts("we goEmbed") == ["we go"]


def test_lrc() -> None:
    text = "[ar:Anna]\n[ti:Song]\n[00:10.50]we go\n[00:12:25] on\n[00:14.125]\n\n[01:02]you stay\n"
    assert times(text) == [("we go", 10.5, None), ("on", 12.25, 14.125), ("you stay", 62.0, None)]
    assert [(line.number, line.section) for line in read_lyrics(text)] == [(2, 0), (3, 0), (6, 1)]


def test_lrc_lines_with_several_times_come_in_order() -> None:
    text = "[00:01.00]v\n[00:12.00][01:15.00]la la\n[01:00.00]w\n"
    assert times(text) == [("v", 1.0, None), ("la la", 12.0, None), ("w", 60.0, None), ("la la", 75.0, None)]


@pytest.mark.parametrize(("offset", "start_s"), [("+500", 9.5), ("-500", 10.5), ("250", 9.75), ("99999", 0.0)])
def test_lrc_offset(offset: str, start_s: float) -> None:
    assert times(f"[offset:{offset}]\n[00:10.00]we go") == [("we go", start_s, None)]


def test_enhanced_lrc() -> None:
    text = "[00:10.00]<00:10.00>We <00:10.50>go <00:11.00>\n[00:12.00]<00:12.00>syl<00:12.20>la<00:12.40>bles"
    assert times(text) == [("We go", 10.0, 11.0), ("syllables", 12.0, None)]
    assert times("<00:10.00>We <00:10.50>go") == [("We go", 10.0, None)]


def test_lrc_without_marks_of_repeats() -> None:
    text = "[00:01.00][Chorus]\n[00:02.00]la (x3)\n[00:09.00]\n[00:10.00][Chorus]\n[00:11.00]x2"
    assert times(text) == [("la", 2.0, None), ("la", None, None), ("la", None, 9.0)]


def test_a_time_in_plain_text_makes_no_lrc() -> None:
    assert times("we go\n[2:30] solo\nyou stay\nwe run") == [
        ("we go", None, None), ("solo", None, None), ("you stay", None, None), ("we run", None, None),
    ]  # fmt: skip


SRT = """1
00:00:01,000 --> 00:00:03,000
<i>we go</i>
{\\an8}on & on

2
0:00:05.5 --> 00:00:06,000 X1:1
99

3
00:00:07,000 --> 00:00:08,000
[music]
"""


def test_srt() -> None:
    assert times(SRT) == [("we go", 1.0, 1.0 + 10 / 12), ("on & on", 1.0 + 10 / 12, 3.0), ("99", 5.5, 6.0)]
    assert [line.number for line in read_lyrics(SRT)] == [2, 3, 7]
    assert times(SRT.replace("\n", "\r\n")) == times(SRT)


def test_webvtt() -> None:
    text = (
        "WEBVTT - a file\n\nSTYLE\n::cue { color: red }\n\nNOTE not sung\n\nname\n00:01.000 --> 00:02.000 align:start\n"
        "<v Anna>we <00:01.500><c.big>go</c>\n\nNOTE\nmore\n\n01:00:00.000 --> 01:00:01.000\nyou &amp; me\n"
    )
    assert times(text) == [("we go", 1.0, 2.0), ("you & me", 3600.0, 3601.0)]


@pytest.mark.parametrize("text", ["1\n00:00 --> 00:01\nwe go", "WEBVTT\n\nwe go", "1\n00:00:01;5 --> 0\na"])
def test_broken_beyond_use(text: str) -> None:
    with pytest.raises(InvalidLyrics) as caught:
        read_lyrics(text)
    assert caught.value.reason == "INVALID_LYRICS"


@pytest.mark.parametrize(
    "text", ["la x20\n" + "x20\n" * 50, "la\n\n" + "x20\n\n" * 5000, "[Chorus x20]\nla x20\n\n" * 200, "a " * 20_001]
)
def test_repeats_do_not_blow_up(text: str) -> None:
    with pytest.raises(TooManyWords) as caught:
        read_lyrics(text)
    assert caught.value.metadata == {"limit_words": "20000"}


@pytest.mark.parametrize(
    "part",
    ["(", "[", "[a", "<a", "{\\a", "a:", "(x", " x2", "-->", "1-->", "[00:01]", "<00:01>", "1:", "(a) ", "Embed"],
)
def test_long_lines_are_read(part: str) -> None:
    """Anything worse than linear would run into the time limit of the tests."""
    with suppress(TooManyWords):
        read_lyrics((part * 200_000)[:200_000])


WORD = st.text(alphabet="abcdefghijklmnopqrstuvwyzäéñ'’-,.!?", min_size=1, max_size=8).filter(
    lambda word: any(c.isalpha() for c in word)
)
LINE = st.lists(WORD, min_size=2, max_size=6).map(" ".join)


@given(st.lists(st.one_of(LINE, st.just("")), max_size=12))
def test_no_word_of_a_plain_text_is_lost(lines: list[str]) -> None:
    read = read_lyrics("\n".join(lines))
    assert [word for line in read for word in line.words] == [word for line in lines for word in line.split()]
    assert [lines[line.number] for line in read] == [line.text for line in read]


PARTS = st.sampled_from(
    ["[Chorus]", "Chorus", "(x2)", "x3", "[x9]", "\n", "\n\n", " ", "la", "(oh", "oh)", "Anna:", "[00:01.00]", "[1:2]",
     "<00:01>", "[offset:5]", "00:00:01,000 --> 00:00:02,000", "-->", "WEBVTT", "1", "12Embed", "3 Contributors",
     "ラ", "："]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PARTS, max_size=30).map("".join), st.lists(PARTS, max_size=30).map("\n".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        lines = read_lyrics(text)
    except (InvalidLyrics, TooManyWords):
        return
    for line in lines:
        assert line.words and line.ad_libs <= set(range(len(line.words)))
        at = 0
        for word in line.words:
            at = line.text.index(word, at) + len(word)
    assert [line.section for line in lines] == sorted(line.section for line in lines)


@given(st.lists(st.tuples(st.integers(0, 5999), LINE), min_size=1, max_size=10))
def test_times_of_a_sorted_lrc_rise(lines: list[tuple[int, str]]) -> None:
    lines.sort(key=lambda line: line[0])
    text = "\n".join(f"[{at // 6000:02}:{at // 100 % 60:02}.{at % 100:02}]{line}" for at, line in lines)
    read = read_lyrics(text)
    assert [(line.text, line.start_s) for line in read] == [(line, pytest.approx(at / 100)) for at, line in lines]


def test_no_space_is_left_before_a_stop_where_a_bracket_was() -> None:
    (line,) = read_lyrics("by the river [laughs]. Go [x] on!")
    assert (line.text, line.words) == ("by the river. Go on!", ("by", "the", "river.", "Go", "on!"))
