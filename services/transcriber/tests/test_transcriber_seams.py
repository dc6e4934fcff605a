"""Words of windows that overlap: each comes once, whatever the engine makes of the cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from singscript_transcriber.seams import Seams
from singscript_transcriber.segments import Utterance, Word
from singscript_transcriber.vad import FRAME_SAMPLES, SAMPLE_RATE_HZ
from singscript_transcriber.windows import Window

LENGTH_S = 60.0


def window(start_s: float, end_s: float, *, begins_s: float = 0.0, ends_s: float | None = None) -> Window:
    samples = round((end_s - start_s) * SAMPLE_RATE_HZ)
    voice = np.ones(-(-samples // FRAME_SAMPLES), np.float32)
    own_s = end_s - start_s if ends_s is None else ends_s
    return Window(round(start_s * SAMPLE_RATE_HZ), begins_s, own_s, np.zeros(samples, np.float32), None, voice)


def sung(rng: np.random.Generator) -> list[tuple[str, float, float]]:
    """Words of a minute without a pause; some come twice in a row."""
    words: list[tuple[str, float, float]] = []
    at_s = 0.0
    while at_s < LENGTH_S - 1.0:
        length_s = float(rng.uniform(0.15, 0.9))
        words.append((str(rng.choice(["la", "the", "river", "morning", "I"])), at_s, at_s + length_s))
        at_s += length_s
    return words


@given(seed=st.integers(0, 2**32 - 1), seam_s=st.floats(20.0, 29.0))
def test_each_word_comes_once(seed: int, seam_s: float) -> None:
    """Both windows hear the words that are whole in them, at times a little off, and shreds of those that are not."""
    rng = np.random.default_rng(seed)
    words = sung(rng)
    first = window(0.0, seam_s + 1.0, ends_s=seam_s)
    second = window(seam_s - 1.0, LENGTH_S, begins_s=1.0)
    seams = Seams()
    told: list[str] = []
    for one in (first, second):
        end_s = one.start_s + one.length_s
        heard = [(text, a, b) for text, a, b in words if b > one.start_s and a < end_s]
        off = [
            Word(
                text if a >= one.start_s and b <= end_s else "shred",
                max(a + rng.uniform(-0.03, 0.03) - one.start_s, 0.0),
                min(b + rng.uniform(-0.03, 0.03), end_s) - one.start_s,
            )
            for text, a, b in heard
        ]
        utterance = Utterance(0.0, one.length_s, " ".join(word.text for word in off), tuple(off))
        for own in seams.own([utterance], one):
            assert own.text == " ".join(word.text for word in own.words)
            told += [word.text for word in own.words]
    assert told == [text for text, _, _ in words]


def test_windows_that_do_not_overlap_keep_all() -> None:
    seams = Seams()
    one = Utterance(0.0, 2.0, "one two", (Word("one", 0.0, 1.0), Word("two", 1.0, 2.0)))
    assert seams.own([one], window(0.0, 2.0)) == [one]
    assert seams.own([one], window(2.0, 4.0)) == [one]


def test_an_utterance_keeps_how_it_is_written() -> None:
    words = tuple(Word(text, start_s, start_s + 0.4) for text, start_s in [("Oh", 0.2), ("dear,", 0.8), ("no!", 1.6)])
    [own] = Seams().own([Utterance(0.2, 2.0, "Oh dear, no!", words)], window(0.0, 2.5, ends_s=1.5))
    assert (own.text, own.words, own.end_s) == ("Oh dear,", words[:2], words[1].end_s)
    joined = tuple(Word(text, start_s, start_s + 0.4) for text, start_s in [("花", 0.2), ("が", 0.8), ("咲く", 1.6)])
    [own] = Seams().own([Utterance(0.2, 2.0, "花が咲く", joined)], window(0.0, 2.5, ends_s=1.5))
    assert own.text == "花が"


def test_what_has_no_word_times_stays() -> None:
    one = Utterance(0.0, 30.0, "one two")
    assert Seams().own([one], window(0.0, 31.0, ends_s=30.0)) == [one]


def test_where_the_window_before_heard_nothing_nothing_is_dropped() -> None:
    seams = Seams()
    assert seams.own([], window(0.0, 31.0, ends_s=30.0)) == []
    one = Utterance(0.1, 0.5, "one", (Word("one", 0.1, 0.5),))
    assert seams.own([one], window(29.0, 40.0, begins_s=1.0)) == [one]
