from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcriber_sound import RATE, Sound, Speech

from singscript_transcriber.vad import FRAME_SAMPLES, VoiceDetector
from singscript_transcriber.windows import Block, Window, Windower


def windows(
    samples: np.ndarray, max_window_s: float = 30.0, cuts: Sequence[int] = (), mix: np.ndarray | None = None
) -> list[Window]:
    windower = Windower(lambda _: max_window_s)
    found: list[Window] = []
    for piece in np.split(np.arange(len(samples)), sorted(cuts)):
        found += windower.push(
            Block(samples[piece].astype(np.float32), None if mix is None else mix[piece].astype(np.float32))
        )
    return found + list(windower.flush())


def covered(found: list[Window], length: int) -> np.ndarray:
    is_in = np.zeros(length, bool)
    for window in found:
        is_in[window.start_sample : window.start_sample + len(window.vocals)] = True
    return is_in


def said(speech: Speech, first: int, last: int) -> Sound:
    """From one word to another, both with."""
    return speech.samples[round(speech.words[first][1] * RATE) : round(speech.words[last][2] * RATE)]


def test_speech_is_found_where_it_is(speech: Speech):
    first, last = windows(speech.samples)
    spans = [(speech.words[0][1], speech.words[19][2]), (speech.words[20][1], speech.words[-1][2])]
    for window, (start_s, end_s) in zip((first, last), spans, strict=True):
        # The window has a margin of 0.3 s around the voice that was found.
        assert window.start_s + 0.3 == pytest.approx(start_s, abs=0.2)
        assert window.start_s + window.length_s - 0.3 == pytest.approx(end_s, abs=0.2)
        assert window.start_s <= start_s - 0.1
        assert window.start_s + window.length_s >= end_s
        assert 0.8 * (end_s - start_s) < window.voice_s < window.length_s


def test_windows_hold_the_very_samples_and_their_voice(speech: Speech):
    mix = 0.5 * speech.samples
    detector = VoiceDetector()
    voice = np.array([*detector.push(speech.samples), *detector.flush()], np.float32)
    for window in windows(speech.samples, 4.0, mix=mix):
        piece = slice(window.start_sample, window.start_sample + len(window.vocals))
        assert np.array_equal(window.vocals, speech.samples[piece])
        assert window.mix is not None
        assert np.array_equal(window.mix, mix[piece])
        first = window.start_sample // FRAME_SAMPLES
        assert window.start_sample == first * FRAME_SAMPLES
        assert len(window.voice) == -(-len(window.vocals) // FRAME_SAMPLES)
        assert np.array_equal(window.voice, voice[first : first + len(window.voice)])
    assert all(window.mix is None for window in windows(speech.samples))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_blocks_of_any_size_give_the_same_windows(speech: Speech, data: st.DataObject):
    cuts = data.draw(st.lists(st.integers(0, len(speech.samples)), max_size=40))
    mix = np.roll(speech.samples, 100) if data.draw(st.booleans()) else None
    expected = windows(speech.samples, 4.0, mix=mix)
    for one, other in zip(expected, windows(speech.samples, 4.0, cuts, mix), strict=True):
        assert one.start_sample == other.start_sample
        assert np.array_equal(one.vocals, other.vocals)
        assert np.array_equal(one.voice, other.voice)
        assert (one.mix is None and other.mix is None) or np.array_equal(one.mix, other.mix)  # pyright: ignore[reportArgumentType]  (neither is None)


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
    heard = covered(windows(speech.samples + ratio * band), len(speech.samples))
    for word, start_s, end_s in speech.words:
        assert heard[round(start_s * RATE) : round(end_s * RATE)].all(), word


def test_what_a_separator_lets_through_is_no_voice(speech: Speech, music: Sound):
    """Speech that is in the vocals as it is, and once more 30 dB below a band that it is in."""
    quiet = 10 ** (-30 / 20) * speech.samples
    vocals = np.concatenate([speech.samples, quiet])
    band = np.concatenate([np.zeros(len(quiet)), music[: len(quiet)]])
    assert len(windows(quiet)) == 2
    assert len(windows(vocals)) == 4
    found = windows(vocals, mix=vocals + band)
    assert [window.start_sample for window in found] == [window.start_sample for window in windows(speech.samples)]


def test_a_voice_well_below_its_band_is_no_bleed(speech: Speech, music: Sound):
    band = music[: len(speech.samples)]
    band = band * np.sqrt(np.mean(speech.samples**2) / np.mean(band**2)) * 10 ** (6 / 20)
    heard = covered(windows(speech.samples, mix=speech.samples + band), len(speech.samples))
    for word, start_s, end_s in speech.words:
        assert heard[round(start_s * RATE) : round(end_s * RATE)].all(), word


def test_voice_below_60_db_is_silence(speech: Speech):
    peak = np.abs(speech.samples).max()
    assert len(windows(speech.samples * (10 ** (-50 / 20) / peak))) == 2
    assert windows(speech.samples * (10 ** (-61 / 20) / peak)) == []


def test_the_peak_is_that_of_the_whole_sound(speech: Speech):
    windower = Windower(lambda _: 30.0)
    list(windower.push(Block(np.zeros(FRAME_SAMPLES, np.float32), np.full(FRAME_SAMPLES, -0.5, np.float32))))
    assert windower.peak == 0.5


@pytest.mark.parametrize("max_window_s", [3.0, 5.0, 12.0])
def test_of_endless_voice_nothing_is_lost(speech: Speech, max_window_s: float):
    endless = np.tile(speech.samples[round(1.1 * RATE) : round(7.9 * RATE)], 4)
    found = windows(endless, max_window_s)
    assert len(found) > 1
    end_s = 0.0
    for window in found:
        # What two windows share is outside of what is each one's own.
        assert window.start_s + window.begins_s == pytest.approx(max(end_s, window.start_s))
        end_s = window.start_s + window.ends_s
        assert 0.0 <= window.begins_s < window.ends_s <= window.length_s + FRAME_SAMPLES / RATE
        assert window.length_s <= max_window_s
    # Between two windows nothing is left out but pauses.
    assert covered(found, len(endless)).mean() > 0.95


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_voice_with_short_pauses_is_cut_in_them(speech: Speech, data: st.DataObject):
    """Too short for the detector: it hears one region without an end."""
    # Phrases of up to two seconds, so that every window of 8 s has pauses.
    phrases = [(0, 3), (4, 6), (7, 11), (12, 14), (15, 19), (20, 23), (24, 27)]
    pause = np.zeros(round(0.12 * RATE), np.float32)
    order = data.draw(st.lists(st.sampled_from(phrases), min_size=10, max_size=14))
    pieces, pauses, length = [], [], 0
    for first, last in order:
        # Faded in and out, so that joining makes no clicks.
        phrase = said(speech, first, last).copy()
        phrase[:80] *= np.linspace(0.0, 1.0, 80)
        phrase[-80:] *= np.linspace(1.0, 0.0, 80)
        pieces += [phrase, pause]
        length += len(phrase)
        pauses.append((length, length + len(pause)))
        length += len(pause)
    found = windows(np.concatenate(pieces), 8.0)
    assert len(found) > 1
    for one, following in pairwise(found):
        end = one.start_sample + round(one.ends_s * RATE)
        assert one.start_sample < end == following.start_sample + round(following.begins_s * RATE)
        # Words themselves begin and end quietly: one frame to either side.
        assert any(start - FRAME_SAMPLES <= end <= stop + FRAME_SAMPLES for start, stop in pauses), end / RATE


def test_the_limit_may_change_while_a_window_is_open(speech: Speech):
    endless = np.tile(speech.samples[round(1.1 * RATE) : round(7.9 * RATE)], 4)
    windower = Windower(lambda place_s: 30.0 if place_s < 13.0 else 5.0)
    assert list(windower.push(Block(endless[: 12 * RATE]))) == []
    found = [*windower.push(Block(endless[12 * RATE :])), *windower.flush()]
    assert max(window.length_s for window in found) <= 5.0
    assert covered(found, len(endless)).mean() > 0.95
    starts = [window.start_sample for window in found]
    assert starts == sorted(starts)


def test_of_a_long_file_the_first_window_comes_within_31_s(speech: Speech):
    endless = np.tile(speech.samples[round(1.1 * RATE) : round(7.9 * RATE)], 6)
    windower = Windower(lambda _: 30.0)
    for block in np.split(endless[: 40 * RATE], 80):
        if list(windower.push(Block(block))):
            break
    assert windower.received_s <= 31.0


def test_what_is_settled_has_been_given_out(speech: Speech):
    windower = Windower(lambda _: 4.0)
    given_s = 0.0
    for block in np.array_split(speech.samples, 50):
        for window in windower.push(Block(block)):
            assert window.start_s + window.begins_s >= given_s
            given_s = window.start_s + window.ends_s
        assert given_s <= windower.settled_s <= windower.received_s
    list(windower.flush())
    assert windower.settled_s == windower.received_s == len(speech.samples) / RATE


def test_memory_is_bounded(speech: Speech):
    windower = Windower(lambda _: 5.0)
    held = 0
    for _ in range(20):
        for block in np.split(speech.samples, 20):
            list(windower.push(Block(block, block)))
            assert windower._mix is not None
            held = max(held, len(windower._vocals), len(windower._mix), FRAME_SAMPLES * len(windower._voice))
    assert held < 7 * RATE
