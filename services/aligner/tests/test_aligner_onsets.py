"""Words on the voice: sounds whose onsets are known, by script and from recordings, and what holds for all."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
import pytest
from aligner_testing import RATE_HZ, Speech
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from singscript_aligner.onsets import FRAME_S, LEAST_S, Span, silent, snapped

Samples = NDArray[np.float32]

# Level is taken over three frames: an edge is exact to two.
HOP_S = 2 * FRAME_S
# From the end of one burst to the start of the next are 0.3 to 0.8 s.
BURSTS = [(0.5, 0.9), (1.4, 1.7), (2.0, 2.6), (3.4, 3.9)]


def bursts(
    spans: Sequence[Span], length_s: float, gain: float = 0.3, noise: float = 1e-5, tone_hz: float = 0
) -> Samples:
    """Noise, or a tone, on each of the spans; everywhere a little noise."""
    rng = np.random.default_rng(0)
    count = round(length_s * RATE_HZ)
    sound = 1e-5 * rng.standard_normal(count)
    body = np.sin(2 * np.pi * tone_hz * np.arange(count) / RATE_HZ) if tone_hz else rng.uniform(-1, 1, count)
    for start_s, end_s in spans:
        part = slice(round(start_s * RATE_HZ), round(end_s * RATE_HZ))
        sound[part] += gain * body[part]
    return sound.astype(np.float32)


def assert_near(found: Sequence[Span], wanted: Sequence[Span]) -> None:
    np.testing.assert_allclose(found, wanted, atol=HOP_S)


@pytest.mark.parametrize("tone_hz", [0, 90, 440])
@pytest.mark.parametrize("early_s", [0.0, 0.05, 0.2, 0.29])
@pytest.mark.parametrize("late_s", [0.0, 0.1, 0.29])
def test_an_early_start_moves_on_to_the_voice_and_a_late_end_back(tone_hz: float, early_s: float, late_s: float):
    after_s = [*(start_s - early_s for start_s, _ in BURSTS[1:]), 9.0]
    words = [(a - early_s, min(b + late_s, until_s)) for (a, b), until_s in zip(BURSTS, after_s, strict=True)]
    assert_near(snapped(words, bursts(BURSTS, 4.5, tone_hz=tone_hz)), BURSTS)


def test_a_start_shortly_after_a_pause_moves_back_to_its_end():
    assert_near(snapped([(a + 0.06, b) for a, b in BURSTS], bursts(BURSTS, 4.5)), BURSTS)


def test_a_start_far_inside_the_voice_stays():
    words = [(0.5, 0.7), (0.7, 0.9), (1.55, 1.7)]
    assert_near(snapped(words, bursts(BURSTS, 4.5)), words)


def test_a_start_in_the_tail_of_the_last_phrase_moves_over_the_pause():
    words = [(0.5, 0.85), (0.85, 1.7)]
    assert_near(snapped(words, bursts(BURSTS, 4.5)), [(0.5, 0.85), (1.4, 1.7)])


def test_the_closure_before_a_consonant_is_no_pause():
    words = [(0.5, 1.0), (1.05, 1.5)]
    assert_near(snapped(words, bursts([(0.5, 1.0), (1.1, 1.5)], 2.0)), words)


def test_a_click_in_a_pause_is_no_voice():
    sound = bursts(BURSTS, 4.5)
    sound[round(1.1 * RATE_HZ) : round(1.11 * RATE_HZ)] = 0.5
    assert_near(snapped([(0.5, 0.9), (1.0, 1.7)], sound), BURSTS[:2])


def test_a_whisper_after_a_shout_is_a_voice():
    sound = bursts(BURSTS[:2], 4.5) + bursts(BURSTS[2:], 4.5, gain=0.02)
    assert_near(snapped([(a - 0.2, b + 0.1) for a, b in BURSTS], sound), BURSTS)


def test_words_lost_in_the_silence_before_a_phrase_share_its_voice():
    found = snapped([(0.0, 1.0), (1.0, 1.0), (1.0, 5.6)], bursts([(5.0, 6.0)], 7.0))
    assert_near(found, [(5.0, 5.2), (5.2, 5.4), (5.4, 5.6)])


def test_a_word_alone_in_silence_stays_and_can_be_told():
    sound = bursts([(2.0, 3.0)], 4.0)
    words = snapped([(0.5, 1.0), (1.9, 3.0)], sound)
    assert_near(words, [(0.5, 0.5 + LEAST_S), (2.0, 3.0)])
    assert silent(words, sound) == [True, False]


@pytest.mark.parametrize("below_db", [0.0, 6.0, 12.0])
def test_a_steady_band_moves_nothing(below_db: float):
    sound = bursts(BURSTS, 4.5) + bursts([(0.0, 4.5)], 4.5, gain=0.3 * 10 ** (-below_db / 20))
    words = [(a - 0.1, b + 0.1) for a, b in BURSTS]
    assert_near(snapped(words, sound), words)


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(5, np.float32), np.zeros(RATE_HZ, np.float32)])
def test_silence_has_no_voice(samples: Samples):
    length_s = len(samples) / RATE_HZ
    for start_s, end_s in snapped([(0.2, 0.5), (0.5, 0.5)], samples):
        assert 0.0 <= start_s <= end_s <= length_s
    assert silent([(0.2, 0.5)], samples) == [True]


def test_speech_that_was_timed_as_whisper_does(speech: Speech):
    """Each phrase begins up to 0.3 s early, and its last word lasts up to the next phrase."""
    rng = np.random.default_rng(4)
    truth = [word for line in speech.lines for word in line]
    firsts = {line[0] for line in speech.lines}
    early_s = [a - rng.uniform(0.05, 0.3) * ((text, a, b) in firsts) for text, a, b in truth]
    times = list(zip(early_s, [*early_s[1:], truth[-1][2] + 0.5], strict=True))
    found = snapped(times, speech.samples)
    errors_s = [abs(now - a) for (now, _), (_, a, _) in zip(found, truth, strict=True)]
    assert median(errors_s) <= 0.001
    assert max(errors_s) < 0.06
    for line in speech.lines:
        end_s = found[truth.index(line[-1])][1]
        assert end_s <= line[-1][2] + HOP_S


@st.composite
def sounds(draw: st.DrawFn) -> tuple[Samples, list[Span], list[Span]]:
    """Bursts with pauses that are longer than any closure, where they are, and words in order anywhere."""
    at_s, spans = 0.0, list[Span]()
    for pause_s, length_s in draw(st.lists(st.tuples(st.floats(0.2, 1.0), st.floats(0.1, 0.8)), max_size=5)):
        spans.append((at_s + pause_s, at_s + pause_s + length_s))
        at_s = spans[-1][1]
    sound = bursts(spans, at_s + 0.5)
    bounds = draw(st.lists(st.floats(-0.5, at_s + 1.0), max_size=24))
    bounds.sort()
    words = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=False)]
    return sound, spans, words


@given(sounds())
def test_every_word_comes_out_in_order_inside_the_sound(made: tuple[Samples, list[Span], list[Span]]):
    sound, _, words = made
    found = snapped(words, sound)
    assert len(found) == len(words)
    flat = [moment for span in found for moment in span]
    assert flat == sorted(flat)
    assert all(0.0 <= moment <= len(sound) / RATE_HZ for moment in flat)
    if len(words) * LEAST_S <= len(sound) / RATE_HZ:
        assert all(end_s - start_s >= LEAST_S - 1e-9 for start_s, end_s in found)


@given(sounds())
def test_a_word_with_a_voice_neither_starts_nor_ends_in_silence(made: tuple[Samples, list[Span], list[Span]]):
    sound, spans, words = made
    for (start_s, end_s), is_silent in zip(snapped(words, sound), silent(snapped(words, sound), sound), strict=True):
        inside = [(a, b) for a, b in spans if a + HOP_S < end_s - HOP_S and start_s + HOP_S < b - HOP_S]
        if not is_silent and inside and end_s - start_s > LEAST_S + 1e-6:
            assert inside[0][0] - HOP_S <= start_s
            assert end_s <= inside[-1][1] + HOP_S


@given(sounds())
def test_what_is_on_the_voice_stays_there(made: tuple[Samples, list[Span], list[Span]]):
    sound, _, words = made
    once = snapped(words, sound)
    np.testing.assert_allclose(snapped(once, sound), once, atol=FRAME_S)
