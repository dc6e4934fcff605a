"""From items to lines, with scripted engines: what holds whatever the engines and the words are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from aligner_testing import RATE_HZ, Speech
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from singscript_aligner.align import Item, Out, align_heard, align_lyrics
from singscript_aligner.engines import Times, WordTime
from singscript_aligner.engines.sphinx import SphinxEngine
from singscript_aligner.lines import LineRules
from singscript_aligner.lyrics.reading import LyricLine, read_lyrics
from singscript_aligner.search import Engines
from singscript_aligner.spool import Spool
from singscript_aligner.words import AlignedWord, HeardSegment, HeardWord, Line, Timing, Unlisted, Unsung
from singscript_core.events import EngineChosen, Progress, Warned

RULES = LineRules()
Span = tuple[float, float]


class Scripted:
    """Answers with the spans it was given, one after another; for a word without one, with None."""

    model = "m"
    device = "cpu"

    def __init__(
        self,
        spans: Sequence[Span | None] = (),
        *,
        name: str = "scripted",
        problem: str = "",
        language: str = "en",
        max_window_s: float = math.inf,
        error: Exception | None = None,
    ) -> None:
        self.name, self._problem, self._language, self.max_window_s = name, problem, language, max_window_s
        self._spans, self._error = list(spans), error
        self.windows: list[int] = []

    def problem(self) -> str:
        return self._problem

    def speaks(self, language: str) -> bool:
        return language == self._language

    def align(
        self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str
    ) -> Generator[float, None, Times | None]:
        self.windows.append(len(samples))
        yield 0.1
        if self._error:
            raise self._error
        spans = iter(self._spans)
        return [[(span := next(spans, None)) and WordTime(*span, 0.9) for _ in line] for line in lines]


def noise(duration_s: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.3, 0.3, round(duration_s * RATE_HZ)).astype(np.float32)


def blocks(samples: NDArray[np.float32]) -> Iterator[Item]:
    yield from np.array_split(samples, max(1, len(samples) // RATE_HZ))


def heard(items: Sequence[Item], *engines: Scripted | SphinxEngine) -> list[Out]:
    with Spool() as spool:
        return list(align_heard(iter(items), spool, Engines(engines, ""), RULES))


def sung(items: Sequence[Item], lyrics: list[LyricLine], *engines: Scripted | SphinxEngine) -> list[Out]:
    with Spool() as spool:
        return list(align_lyrics(iter(items), lyrics, spool, Engines(engines, ""), RULES))


def words_of(out: Sequence[Out]) -> list[AlignedWord]:
    return [word for line in out if isinstance(line, Line) for word in line.words]


def warnings_of(out: Sequence[Out]) -> list[str]:
    return [one.reason for one in out if isinstance(one, Warned)]


def check_order(words: Sequence[AlignedWord], duration_s: float) -> None:
    assert all(0 <= w.start_s < w.end_s <= duration_s for w in words)
    assert all(w.confidence is not None and 0 <= w.confidence <= 1 for w in words)
    assert all(a.end_s <= b.start_s for a, b in pairwise(words))


times = st.floats(-5.0, 40.0, allow_nan=False)
spans = st.one_of(st.none(), st.tuples(times, times))


@st.composite
def segments(draw: st.DrawFn) -> HeardSegment:
    texts = draw(st.lists(st.sampled_from(["we", "go", "on,", "Zürich", "25", "—", "漢"]), max_size=6))
    start, end = draw(times), draw(times)
    if draw(st.booleans()):
        return HeardSegment(" ".join(texts), start, end)
    words = tuple(HeardWord(text, draw(times), draw(times), draw(st.sampled_from([None, 0.5]))) for text in texts)
    return HeardSegment(" ".join(texts), start, end, words)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(segments(), max_size=5), st.lists(spans, max_size=8), st.sampled_from([0.0, 0.01, 20.0]), st.booleans())
def test_whatever_was_heard_comes_out_once_in_order_inside_the_sound(
    given_segments: list[HeardSegment], found: list[Span | None], duration_s: float, audio_first: bool
) -> None:
    sound = list(blocks(noise(duration_s)))
    items: list[Item] = [*sound, *given_segments] if audio_first else [*given_segments, *sound]
    out = heard(items, Scripted(found))
    words = words_of(out)
    homeless = [text for one in out if isinstance(one, Unlisted) for text in one.text.split()]
    came_in = [text for s in given_segments for text in s.text.split()]
    assert Counter([*(w.text for w in words), *homeless]) == Counter(came_in)
    rest = iter(came_in)
    assert all(w.text in rest for w in words), "in their order"
    assert words == [] or duration_s > 0
    check_order(words, duration_s)
    lines = [one for one in out if isinstance(one, Line)]
    assert all(a.end_s <= b.start_s for a, b in pairwise(lines))
    assert all(line.end_s <= duration_s for line in lines)


@settings(deadline=None)
@given(st.lists(spans, max_size=12), st.lists(segments(), max_size=3))
def test_every_word_of_the_lyrics_comes_out_once(found: list[Span | None], given_segments: list[HeardSegment]) -> None:
    lyrics = read_lyrics("We go on,\n25 — Zürich\nwe go")
    out = sung([*given_segments, *blocks(noise(10.0))], lyrics, Scripted(found))
    lines = [line for line in out if isinstance(line, Line)]
    assert {line.text for line in lines} <= {line.text for line in lyrics}
    for line in lines:
        rest = iter(line.text.split())
        assert all(word.text in rest for word in line.words), "in their order"
    unsung = [text for one in out if isinstance(one, Unsung) for text in one.text.split()]
    came_out = Counter([*(word.text for word in words_of(out)), *unsung])
    written = Counter(text for line in lyrics for text in line.words)
    # A line may come again where it was heard again.
    assert all(came_out[text] >= n for text, n in written.items()) and came_out.keys() == written.keys()
    check_order(words_of(out), 10.0)


SEGMENT = HeardSegment("we go", 1.0, 2.0, (HeardWord("we", 1.0, 1.4, 0.7), HeardWord("go", 1.4, 2.0)), "en")


def test_times_that_agree_are_refined_and_others_kept() -> None:
    near = heard([noise(3.0), SEGMENT], Scripted([(0.3, 0.5), (0.5, 1.1)]))  # the window starts 0.2 s early
    assert words_of(near) == [
        AlignedWord("we", 1.1, 1.3, 0.7, Timing.ACOUSTIC),
        AlignedWord("go", 1.3, 1.9, 0.9, Timing.ACOUSTIC),
    ]
    far = HeardSegment("we go", 1.0, 9.0, (HeardWord("we", 1.0, 1.4), HeardWord("go", 8.0, 9.0)), "en")
    kept = words_of(heard([noise(10.0), far], Scripted([(5.0, 5.5), (5.5, 6.0)])))
    assert [(w.start_s, w.end_s, w.timing) for w in kept] == [(1.0, 1.4, Timing.ANCHORED), (8.0, 9.0, Timing.ANCHORED)]


def test_without_word_times_words_are_found_or_spread() -> None:
    segment = HeardSegment("we go", 1.0, 2.0, (), "en")
    found = words_of(heard([noise(3.0), segment], Scripted([(0.3, 0.5), (0.5, 1.1)])))
    assert [(w.start_s, w.timing) for w in found] == [(1.1, Timing.ACOUSTIC), (1.3, Timing.ACOUSTIC)]
    out = heard([noise(3.0), segment])
    assert [(w.start_s, w.end_s, w.timing) for w in words_of(out)] == [
        (1.0, 1.5, Timing.INTERPOLATED),
        (1.5, 2.0, Timing.INTERPOLATED),
    ]
    assert warnings_of(out) == ["ALIGNMENT_WEAK"]


def test_lines_come_out_while_sound_still_arrives() -> None:
    def endless() -> Iterator[Item]:
        for i in range(1000):
            yield noise(3.0)
            start = 3.0 * i
            yield HeardSegment("we go.", start, start + 1.0, (HeardWord("we go.", start, start + 1.0),), "en")

    with Spool() as spool:
        out = align_heard(endless(), spool, Engines([], ""), RULES)
        first = next(one for one in out if isinstance(one, Line))
        assert first.text == "we go."
        assert spool.duration_s < 15.0


def test_nothing_heard_gives_nothing() -> None:
    assert [one for one in heard([noise(2.0)], Scripted()) if not isinstance(one, Progress)] == []
    assert heard([]) == []


def test_the_first_engine_that_can_serves_and_others_are_announced() -> None:
    broken = Scripted(name="broken", problem="It has no weights.")
    foreign = Scripted(name="foreign", language="fr")
    small = Scripted(name="small", max_window_s=0.5)
    failing = Scripted(name="failing", error=RuntimeError("inside"))
    good = Scripted([(0.3, 0.5), (0.5, 1.1)], name="good")
    unused = Scripted([(0.0, 0.1)], name="unused")
    later = HeardSegment("we go", 4.0, 5.0, (HeardWord("we", 4.0, 4.4), HeardWord("go", 4.4, 5.0)), "en")
    out = heard([noise(6.0), SEGMENT, later], broken, foreign, small, failing, good, unused)
    assert [one.engine for one in out if isinstance(one, EngineChosen)] == ["good"]
    messages = [one.message for one in out if isinstance(one, Warned) and one.reason == "ENGINE_FALLBACK"]
    assert [message.split()[3] for message in messages] == ["broken", "small", "failing"]
    assert "It has no weights." in messages[0]
    assert not unused.windows and not broken.windows and not foreign.windows and not small.windows


def test_that_nobody_speaks_the_language_is_said() -> None:
    foreign = Scripted(name="foreign", language="fr")
    (warning,) = (one for one in heard([noise(3.0), SEGMENT], foreign) if isinstance(one, Warned))
    assert "foreign was passed over. It does not know the language 'en'" in warning.message


def test_lines_that_one_engine_leaves_out_come_from_the_next() -> None:
    first = Scripted([(1.0, 1.5), (1.5, 2.0), None, None, (4.0, 4.2), (4.2, 4.4)], name="first")
    second = Scripted([None, None, (2.5, 3.0), (3.0, 3.5), None, None], name="second")
    third = Scripted([None, None, (0.5, 0.7), (0.7, 0.9), None, None], name="third")
    lyrics = read_lyrics("we go\nyou stay\nthey sing")
    out = sung([noise(5.0)], lyrics, first, third, second)
    assert [w.start_s for w in words_of(out)] == [1.0, 1.5, 2.5, 3.0, 4.0, 4.2]
    assert [one.engine for one in out if isinstance(one, EngineChosen)] == ["first", "second"]


def test_the_language_of_the_request_wins() -> None:
    english, french = Scripted([(0.3, 0.5)], name="english"), Scripted([(0.3, 0.5)], name="french", language="fr")
    with Spool() as spool:
        list(align_heard(iter([noise(3.0), SEGMENT]), spool, Engines([english, french], "fr"), RULES))
    assert not english.windows and french.windows


LYRICS = read_lyrics("we go\nyou stay")


def test_silence_gives_no_lines() -> None:
    engine = Scripted([(0.0, 1.0)] * 4)
    out = sung([np.zeros(5 * RATE_HZ, np.float32)], LYRICS, engine)
    assert [one for one in out if not isinstance(one, Warned)] == [Unsung(0, "we go"), Unsung(1, "you stay")]
    assert warnings_of(out) == ["LYRICS_PARTLY_FOUND"] and not engine.windows
    assert warnings_of(sung([], LYRICS, engine)) == ["LYRICS_PARTLY_FOUND"]


def test_a_line_that_is_not_found_is_left_out_and_reported() -> None:
    out = sung([noise(5.0)], LYRICS, Scripted([(1.0, 1.5), (1.5, 2.0), None, None]))
    assert [line.text for line in out if isinstance(line, Line)] == ["we go"]
    assert [one for one in out if isinstance(one, Unsung)] == [Unsung(1, "you stay")]
    (warning,) = (one for one in out if isinstance(one, Warned))
    assert warning.reason == "LYRICS_PARTLY_FOUND" and warning.message.startswith("2 of 4 words")


def test_a_word_that_is_not_found_lies_between_its_neighbours() -> None:
    out = sung([noise(5.0)], read_lyrics("we go on"), Scripted([(1.0, 1.5), None, (3.0, 3.5)]))
    assert [(w.start_s, w.end_s, w.timing) for w in words_of(out)] == [
        (1.0, 1.5, Timing.ACOUSTIC),
        (1.5, 3.0, Timing.INTERPOLATED),
        (3.0, 3.5, Timing.ACOUSTIC),
    ]


def test_without_an_engine_lyrics_are_spread_over_the_voice() -> None:
    sound = np.concatenate([np.zeros(RATE_HZ), noise(2.0), np.zeros(4 * RATE_HZ), noise(2.0)]).astype(np.float32)
    out = sung([sound], read_lyrics("aaaa bbbb\ncccc dddd"))
    words = words_of(out)
    assert [round(w.start_s, 1) for w in words] == [1.0, 2.0, 7.0, 8.0]
    assert {w.timing for w in words} == {Timing.INTERPOLATED} and {w.confidence for w in words} == {0.0}
    assert warnings_of(out) == ["ALIGNMENT_WEAK"]


def test_without_an_engine_what_was_heard_anchors_the_lyrics() -> None:
    words = tuple(HeardWord(t, 2.0 + i, 2.5 + i) for i, t in enumerate(["when", "morning", "comes"]))
    out = sung([noise(9.0), HeardSegment("", 2.0, 5.0, words, "xx")], read_lyrics("When morning comes,\nwe go"))
    found = words_of(out)
    assert [(w.start_s, w.timing) for w in found[:3]] == [(2.0 + i, Timing.ANCHORED) for i in range(3)]
    assert all(w.timing is Timing.INTERPOLATED and w.start_s >= 4.5 for w in found[3:])


def test_what_was_heard_cuts_the_search_into_windows() -> None:
    texts = [f"alpha{i} beta{i} gamma{i} delta{i}" for i in range(6)]
    segs = [
        HeardSegment("", 10.0 * i, 10.0 * i + 4, tuple(HeardWord(t, 10.0 * i + k, 10.0 * i + k + 1) for k, t in enumerate(text.split())), "en")  # noqa: E501  (one segment a line)
        for i, text in enumerate(texts)
    ]  # fmt: skip
    engine = Scripted([(1.0, 1.2)] * 24)
    out = sung([*blocks(noise(60.0)), *segs], read_lyrics("\n".join(texts)), engine)
    assert len(engine.windows) == 3 and max(engine.windows) < 32 * RATE_HZ
    assert len(words_of(out)) == 24


def test_wrong_anchors_are_given_up_for_a_search_of_the_whole() -> None:
    texts = [f"alpha{i} beta{i} gamma{i} delta{i}" for i in range(6)]
    words = tuple(HeardWord(t, 4.0 * i, 4.0 * i + 1) for i, t in enumerate(" ".join(texts).split()))

    class OnlyWhole(Scripted):
        def align(
            self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str
        ) -> Generator[float, None, Times | None]:
            self._spans = [(i, i + 0.5) for i in range(24)] if len(lines) == 6 else []
            return super().align(samples, lines, language)

    engine = OnlyWhole()
    out = sung([*blocks(noise(100.0)), HeardSegment("", 0.0, 96.0, words, "en")], read_lyrics("\n".join(texts)), engine)
    assert len(engine.windows) > 2
    assert {w.timing for w in words_of(out)} == {Timing.ACOUSTIC}


def test_progress_moves_through_the_sound() -> None:
    out = sung([noise(5.0)], LYRICS, Scripted([(1.0, 1.5)] * 4))
    done_s = [one.done_s for one in out if isinstance(one, Progress)]
    assert done_s[0] == 0.1 and done_s == sorted(done_s) and done_s[-1] <= 5.0


@pytest.mark.parametrize("with_lyrics", [True, False])
def test_real_speech_with_a_rough_transcript(speech: Speech, with_lyrics: bool) -> None:
    part = speech.part(0, 2)
    rng = np.random.default_rng(2)
    rough = [
        HeardSegment(
            text,
            line[0][1],
            line[-1][2],
            tuple(HeardWord(t, a + rng.uniform(-0.2, 0.2), b + rng.uniform(-0.2, 0.2), 0.5) for t, a, b in line),
            "en",
        )
        for text, line in zip(part.texts, part.lines, strict=True)
    ]
    items = [*blocks(part.samples), *rough]
    engine = SphinxEngine()
    out = sung(items, read_lyrics("\n".join(part.texts)), engine) if with_lyrics else heard(items, engine)
    words = words_of(out)
    assert [w.text for w in words] == [t for t, _, _ in part.words]
    errors = [abs(w.start_s - a) for w, (_, a, _) in zip(words, part.words, strict=True)]
    assert np.median(errors) < 0.03
    assert warnings_of(out) == []
    check_order(words, len(part.samples) / RATE_HZ)
