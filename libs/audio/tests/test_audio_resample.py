from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import Block, tone

from singscript_audio.mix import default_layout, mix_matrix, mixed
from singscript_audio.resample import Resampler

RATES_HZ = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000]
RATES = st.sampled_from(RATES_HZ)


def converted(pieces: list[Block], in_hz: int, out_hz: int, out_channels: int) -> Block:
    resampler = Resampler(in_hz, pieces[0].shape[1], out_hz, out_channels)
    return np.concatenate([*(resampler.push(piece) for piece in pieces), resampler.flush()])


@st.composite
def chunked_noise(draw: st.DrawFn) -> list[Block]:
    sizes = draw(st.lists(st.integers(0, 3000), min_size=1, max_size=8))
    channels = draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return [rng.uniform(-1, 1, (size, channels)).astype(np.float32) for size in sizes]


@given(pieces=chunked_noise(), in_hz=RATES, out_hz=RATES, out_channels=st.integers(1, 2))
def test_any_chunking_gives_the_same_sound(pieces: list[Block], in_hz: int, out_hz: int, out_channels: int) -> None:
    chunked = converted(pieces, in_hz, out_hz, out_channels)
    whole = converted([np.concatenate(pieces)], in_hz, out_hz, out_channels)
    assert chunked.shape == whole.shape
    assert chunked.dtype == np.float32
    np.testing.assert_allclose(chunked, whole, atol=1e-6, rtol=0)


@given(samples=st.integers(0, 5000), in_hz=st.integers(2000, 200_000), out_hz=RATES)
def test_the_length_is_the_same_time_at_the_other_rate(samples: int, in_hz: int, out_hz: int) -> None:
    out = converted([np.ones((samples, 1), np.float32)], in_hz, out_hz, 1)
    assert out.shape == (round(samples * out_hz / in_hz), 1)


def test_an_hour_does_not_drift() -> None:
    """A click near the end of an hour comes out where it went in, to the sample."""
    in_hz, out_hz, click_s = 44100, 16000, 3599
    resampler = Resampler(in_hz, 1, out_hz, 1)
    second = np.zeros((in_hz, 1), np.float32)
    samples_before = sum(len(resampler.push(second)) for _ in range(click_s))
    second[0] = 1.0
    rest = np.concatenate([resampler.push(second), resampler.flush()])
    assert samples_before + int(np.abs(rest).argmax()) == click_s * out_hz
    assert samples_before + len(rest) == 3600 * out_hz


@pytest.mark.parametrize("in_hz", RATES_HZ)
@pytest.mark.parametrize("out_hz", [16000, 44100])
def test_a_tone_stays_the_same_tone(in_hz: int, out_hz: int) -> None:
    out = converted([tone(0.4, in_hz, 440, 1000)], in_hz, out_hz, 2)
    expected = tone(0.4, out_hz, 440, 1000)
    edge = out_hz // 50
    np.testing.assert_allclose(out[edge:-edge], expected[edge:-edge], atol=2e-4)


def test_what_the_lower_rate_cannot_hold_is_filtered_out() -> None:
    out = converted([tone(0.5, 44100, 12_000)], 44100, 16000, 1)
    assert np.abs(out[400:-400]).max() < 1e-3


@given(st.integers(1, 16))
def test_mono_is_the_mean_of_all_channels(channels: int) -> None:
    block = np.random.default_rng(channels).uniform(-1, 1, (50, channels)).astype(np.float32)
    out = converted([block], 44100, 44100, 1)
    np.testing.assert_allclose(out[:, 0], block.mean(axis=1), atol=1e-6)


def test_many_channels_are_resampled_as_they_are() -> None:
    tones_hz = [200.0 + 50 * n for n in range(10)]
    out = converted([tone(0.2, 48000, *tones_hz)], 48000, 44100, 10)
    np.testing.assert_allclose(out[900:-900], tone(0.2, 44100, *tones_hz)[900:-900], atol=2e-4)


def test_mono_becomes_two_equal_channels() -> None:
    block = tone(0.1, 8000, 440)
    out = converted([block], 8000, 44100, 2)
    np.testing.assert_array_equal(out[:, 0], out[:, 1])
    assert out.shape == (4410, 2)


@given(st.integers(3, 24))
def test_full_scale_stays_full_scale_in_stereo(channels: int) -> None:
    for sign in (1, -1):
        out = mixed(np.full((4, channels), sign, np.float32), mix_matrix(default_layout(channels), 2))
        assert np.abs(out).max() <= 1 + 1e-6


def test_surround_keeps_left_left_and_the_centre_in_the_middle() -> None:
    left, right = mix_matrix(["FL", "FR", "FC", "LFE", "SL", "SR"], 2).T
    assert left[0] > 0
    assert right[0] == 0
    assert right[1] == left[0]
    assert left[2] == right[2] == pytest.approx(left[0] / 2**0.5)
    assert left[3] == right[3] == 0
    assert left[4] > 0
    assert right[4] == 0


def test_speakers_that_are_not_known_go_to_both_sides() -> None:
    matrix = mix_matrix(["ACN0", "ACN1", "ACN2"], 2)
    np.testing.assert_allclose(matrix, 1 / 3)
    np.testing.assert_allclose(mix_matrix(["LFE", "LFE2", "LFE"], 2), 1 / 3)


def test_a_mix_that_makes_no_sense_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="cannot mix"):
        Resampler(44100, 2, 44100, 6)
