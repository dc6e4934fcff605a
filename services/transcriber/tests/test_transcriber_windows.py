from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcriber_sound import RATE, Sound, Speech

from singscript_transcriber.windows import Window, Windower


def windows(samples: np.ndarray, max_window_s: float = 30.0, cuts: list[int] | None = None) -> list[Window]:
    windower = Windower(max_window_s)
    found: list[Window] = []
    for block in np.split(samples.astype(np.float32), sorted(cuts or [])):
        found += windower.push(block)
    return found + list(windower.flush())


def test_speech_is_found_where_it_is(speech: Speech):
    first, last = windows(speech.samples)
    said = [(speech.words[0][1], speech.words[19][2]), (speech.words[20][1], speech.words[-1][2])]
    for window, (start_s, end_s) in zip((first, last), said, strict=True):
        # The window has a margin of 0.3 s around the voice that was found.
        assert window.start_s + 0.3 == pytest.approx(start_s, abs=0.2)
        assert window.start_s + len(window.samples) / RATE - 0.3 == pytest.approx(end_s, abs=0.2)


def test_windows_hold_the_very_samples(speech: Speech):
    for window in windows(speech.samples):
        same = speech.samples[window.start_sample : window.start_sample + len(window.samples)]
        assert np.array_equal(window.samples, same)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_blocks_of_any_size_give_the_same_windows(speech: Speech, data: st.DataObject):
    cuts = data.draw(st.lists(st.integers(0, len(speech.samples)), max_size=40))
    for expected, window in zip(windows(speech.samples, 4.0), windows(speech.samples, 4.0, cuts), strict=True):
        assert window.start_sample == expected.start_sample
        assert np.array_equal(window.samples, expected.samples)


def test_no_voice_no_windows(music: Sound):
    rng = np.random.default_rng(0)
    t = np.arange(5 * RATE) / RATE
    for sound in (np.zeros(5 * RATE), rng.standard_normal(5 * RATE) * 0.1, np.sin(880 * np.pi * t) * 0.5, music):
        assert windows(sound) == []
    assert windows(np.zeros(0)) == []
    assert windows(np.zeros(100)) == []


def test_voice_over_a_band_is_found(speech: Speech, music: Sound):
    band = music[: len(speech.samples)]
    ratio = np.sqrt(np.mean(speech.samples**2) / np.mean(band**2)) * 10 ** (-10 / 20)
    covered = np.zeros(len(speech.samples), bool)
    for window in windows(speech.samples + ratio * band):
        covered[window.start_sample : window.start_sample + len(window.samples)] = True
    for word, start_s, end_s in speech.words:
        assert covered[round(start_s * RATE) : round(end_s * RATE)].all(), word


@pytest.mark.parametrize("max_window_s", [3.0, 5.0, 12.0])
def test_endless_voice_is_cut_between_words(speech: Speech, max_window_s: float):
    sentence = speech.samples[round(1.1 * RATE) : round(7.9 * RATE)]
    endless = np.tile(sentence, 4)
    found = windows(endless, max_window_s)
    assert len(found) > 1
    end = 0
    for window in found:
        assert window.start_sample >= end
        end = window.start_sample + len(window.samples)
        assert len(window.samples) <= max_window_s * RATE
    # Between two windows nothing is left out but pauses.
    heard = sum(len(window.samples) for window in found) / len(endless)
    assert heard > 0.95


def test_memory_is_bounded(speech: Speech):
    windower = Windower(5.0)
    held = 0
    for _ in range(20):
        for block in np.split(speech.samples, 20):
            list(windower.push(block))
            held = max(held, len(windower._audio))
    assert held < 7 * RATE
