from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import Block, tone

from singscript_audio.levels import LevelMeter

RATES_HZ = [8000, 11025, 22050, 44100, 48000, 96000, 192_000]


def meter(block: Block, sample_rate_hz: int, chunk_samples: int = 10_000) -> LevelMeter:
    meter = LevelMeter(sample_rate_hz, block.shape[1])
    for start in range(0, len(block), chunk_samples):
        meter.hear(block[start : start + chunk_samples])
    return meter


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
@pytest.mark.parametrize(
    ("levels_dbfs", "loudness_lufs"),
    # What BS.1770 says of a sine of 997 Hz, and the first two signals of EBU Tech 3341.
    [((0.0,), -3.01), ((0.0, None), -3.01), ((-23.0, -23.0), -23.0), ((-33.0, -33.0), -33.0)],
)
def test_tones_are_as_loud_as_the_standard_says(
    sample_rate_hz: int, levels_dbfs: tuple[float | None, ...], loudness_lufs: float
) -> None:
    sine = tone(5, sample_rate_hz, 997, level=1.0)
    block = np.concatenate([sine * (0 if dbfs is None else 10 ** (dbfs / 20)) for dbfs in levels_dbfs], axis=1)
    heard = meter(block.astype(np.float32), sample_rate_hz)
    assert heard.loudness_lufs == pytest.approx(loudness_lufs, abs=0.05)
    assert heard.peak_dbfs == pytest.approx(levels_dbfs[0], abs=0.01)


def test_what_is_much_quieter_than_the_rest_does_not_count() -> None:
    """Signal 3 of EBU Tech 3341: the gate leaves out what is 10 LU below."""
    parts = [(10, -36.0), (60, -23.0), (10, -36.0)]
    block = np.concatenate([tone(s, 48000, 1000, 1000, level=10 ** (dbfs / 20)) for s, dbfs in parts])
    assert meter(block, 48000).loudness_lufs == pytest.approx(-23.0, abs=0.1)


@settings(max_examples=20)
@given(chunk_samples=st.integers(50, 50_000), seed=st.integers(0, 9))
def test_any_chunking_gives_the_same_levels(chunk_samples: int, seed: int) -> None:
    block = np.random.default_rng(seed).normal(0, 0.2, (50_000, 2)).astype(np.float32)
    chunked, whole = meter(block, 44100, chunk_samples), meter(block, 44100, len(block))
    assert chunked.loudness_lufs == whole.loudness_lufs
    assert chunked.peak == whole.peak == np.abs(block).max()


def test_silence_has_no_level_and_what_is_too_short_no_loudness() -> None:
    silent = meter(np.zeros((44100, 2), np.float32), 44100)
    assert (silent.loudness_lufs, silent.peak_dbfs, silent.peak) == (None, None, 0.0)
    assert LevelMeter(44100, 2).loudness_lufs is None
    for samples, heard in ((17_639, False), (17_640, True)):
        short = meter(tone(1, 44100, 440, level=0.5)[:samples], 44100)
        assert (short.loudness_lufs is not None) == heard
        assert short.peak_dbfs == pytest.approx(-6.02, abs=0.01)


def test_what_does_not_fit_is_above_full_scale_and_what_is_no_number_is_silent() -> None:
    block = tone(1, 44100, 440, level=2.0)
    block[100] = np.nan
    heard = meter(block, 44100)
    assert heard.peak_dbfs == pytest.approx(6.02, abs=0.01)
    assert heard.loudness_lufs is not None
    assert heard.loudness_lufs > 0
