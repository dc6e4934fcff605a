"""Where somebody may be singing, on sounds whose loud stretches are known by script."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from aligner_testing import RATE_HZ, Speech
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from singscript_aligner.voice import FRAME_S, levels, runs, spread, voiced, voiced_spans

Samples = NDArray[np.float32]
Part = tuple[float, float]


def sound(*parts: Part) -> Samples:
    """Noise: (length_s, level_db) one after another, 0 dB for an amplitude of 0.5."""
    rng = np.random.default_rng(0)
    pieces = [0.5 * 10 ** (db / 20) * rng.uniform(-1, 1, round(length_s * RATE_HZ)) for length_s, db in parts]
    return np.concatenate(pieces).astype(np.float32)


def spans(samples: Samples) -> list[tuple[float, float]]:
    return voiced_spans(levels([samples], RATE_HZ))


def assert_near(found: list[tuple[float, float]], wanted: list[tuple[float, float]]) -> None:
    np.testing.assert_allclose(found, wanted, atol=FRAME_S + 1e-6)


def test_levels_are_those_of_the_frames_however_the_sound_is_cut():
    samples = sound((0.5, 0.0), (0.51, -20.0))
    whole = levels([samples], RATE_HZ)
    frame = round(FRAME_S * RATE_HZ)
    assert len(whole) == 51
    assert whole[3] == pytest.approx(np.sqrt(np.mean(samples[3 * frame : 4 * frame] ** 2)))
    cuts = [samples[:frame], samples[frame : 20 * frame], samples[20 * frame :]]
    np.testing.assert_array_equal(levels(cuts, RATE_HZ), whole)


def test_finer_frames_are_as_many_more():
    assert len(levels([sound((1.0, 0.0))], RATE_HZ, 0.005)) == 200


@pytest.mark.parametrize("noise_db", [-200.0, -70.0, -45.0, -35.0])
def test_a_voice_is_told_from_the_noise_below_it(noise_db: float):
    found = spans(sound((1.0, noise_db), (2.0, 0.0), (1.0, noise_db), (1.5, -6.0), (1.0, noise_db)))
    assert_near(found, [(1.0, 3.0), (4.0, 5.5)])


def test_short_pauses_are_bridged_and_blips_are_left_out():
    assert_near(
        spans(sound((0.5, 0.0), (0.2, -90.0), (0.5, 0.0), (0.5, -90.0), (0.06, 0.0), (0.5, -90.0))), [(0.0, 1.2)]
    )


def test_a_whisper_after_a_shout_is_a_voice():
    found = spans(sound((0.5, -90.0), (8.0, 0.0), (1.0, -90.0), (8.0, -24.0), (0.5, -90.0)))
    assert_near(found, [(0.5, 8.5), (9.5, 17.5)])


def test_what_a_separator_leaves_in_an_intro_is_no_voice():
    assert_near(spans(sound((20.0, -40.0), (5.0, 0.0), (1.0, -40.0), (5.0, 0.0))), [(20.0, 25.0), (26.0, 31.0)])


def test_pauses_that_a_band_fills_count_as_voice():
    assert_near(spans(sound((1.0, -12.0), (2.0, 0.0), (1.0, -12.0), (2.0, 0.0))), [(0.0, 6.0)])


@pytest.mark.parametrize("level_db", [-100.0, -70.0])
def test_silence_has_no_voice(level_db: float):
    assert spans(sound((5.0, level_db))) == []
    assert voiced_spans(np.empty(0, np.float32)) == []


def test_the_lines_of_speech_are_within_the_spans(speech: Speech):
    found = spans(speech.samples)
    for line in speech.lines:
        middle_s = (line[0][1] + line[-1][2]) / 2
        [(start_s, end_s)] = [span for span in found if span[0] <= middle_s < span[1]]
        assert start_s == pytest.approx(line[0][1], abs=0.1)
        assert end_s == pytest.approx(line[-1][2], abs=0.2)


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([0.0, 0.05, 0.1]), st.sampled_from([0.0, 0.05]))
def test_runs_hold_every_voiced_frame_that_is_no_blip(frames: list[bool], join_s: float, least_s: float):
    found = runs(np.array(frames, bool), FRAME_S, join_s, least_s)
    assert all(b - a >= least_s for a, b in found)
    assert all(after - end_s >= join_s for (_, end_s), (after, _) in pairwise(found))
    if not least_s:
        for i in np.flatnonzero(frames):
            assert any(a - 1e-9 <= i * FRAME_S < b for a, b in found)


@given(st.lists(st.floats(0.0, 1.0, width=32), max_size=400))
def test_the_loudest_frame_is_voiced_unless_it_is_silence(level: list[float]):
    found = voiced(np.array(level, np.float32))
    assert len(found) == len(level)
    if level and max(level) > 0.01:
        assert found[int(np.argmax(level))]
    assert not found[np.array(level, np.float32) < 0.0009].any()


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=9),
    st.lists(st.floats(0.0, 10.0), max_size=8),
    st.floats(0.0, 10.0),
    st.floats(0.0, 5.0),
)
def test_what_is_spread_is_in_order_and_inside(
    weights: list[int], bounds: list[float], start_s: float, length_s: float
):
    bounds.sort()
    voice = list(zip(bounds[::2], bounds[1::2], strict=False))
    placed = spread(weights, voice, start_s, start_s + length_s)
    assert len(placed) == len(weights)
    flat = [moment for span in placed for moment in span]
    assert all(a <= b + 1e-9 for a, b in pairwise(flat))
    assert all(start_s - 1e-9 <= moment <= start_s + length_s + 1e-9 for moment in flat)
