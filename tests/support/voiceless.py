"""Sounds without a voice, by script: what a transcriber must hear no words in. numpy alone.

Each is float32 (n,), mono at SAMPLE_RATE_HZ, with the peak PEAK (silence has none); the same seed gives the same sound.
Music without a voice is in `mixtures.py`: its `play` gives a band.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
PEAK = 0.5


def silence(length_s: float, seed: int = 0) -> Sound:
    """Digital silence, whatever the seed."""
    return np.zeros(round(length_s * SAMPLE_RATE_HZ), np.float32)


def white_noise(length_s: float, seed: int = 0) -> Sound:
    return _at_peak(np.random.default_rng(seed).standard_normal(round(length_s * SAMPLE_RATE_HZ)))


def pink_noise(length_s: float, seed: int = 0) -> Sound:
    """Noise with as much power in each octave: rain, a crowd far away, a bad tape."""
    noise = np.random.default_rng(seed).standard_normal(round(length_s * SAMPLE_RATE_HZ))
    spectrum = np.fft.rfft(noise)
    return _at_peak(np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(noise)))


def hum(length_s: float, seed: int = 0) -> Sound:
    """Mains at 50 or 60 Hz with its harmonics, over a little hiss."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    base_hz = float(rng.choice([50.0, 60.0]))
    tones = sum(rng.uniform(0.2, 1.0) / k * np.sin(2.0 * np.pi * base_hz * k * times_s) for k in range(1, 13))
    return _at_peak(tones + 0.01 * rng.standard_normal(len(times_s)))


def clicks(length_s: float, seed: int = 0) -> Sound:
    """A scratched record: single clicks, about five a second, over a little hiss."""
    rng = np.random.default_rng(seed)
    count = round(length_s * SAMPLE_RATE_HZ)
    hits = np.where(rng.random(count) < 5.0 / SAMPLE_RATE_HZ, rng.uniform(-1.0, 1.0, count), 0.0)
    return _at_peak(_filtered(hits, np.array([1.0, -0.8, 0.5, -0.2])) + 0.002 * rng.standard_normal(count))


def applause(length_s: float, seed: int = 0) -> Sound:
    """Sixty people clap three to five times a second each, in a hall; it swells and fades."""
    rng = np.random.default_rng(seed)
    count = round(length_s * SAMPLE_RATE_HZ)
    out = np.zeros(count)
    clap_s = np.arange(round(0.03 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    for _ in range(60):
        gaps_s = rng.normal(1.0 / rng.uniform(3.0, 5.0), 0.02, round(length_s * 6) + 1).clip(0.1)
        at = np.round((np.cumsum(gaps_s) - rng.uniform(0.0, 0.3)) * SAMPLE_RATE_HZ).astype(int)
        hits = np.zeros(count)
        hits[at[(at >= 0) & (at < count)]] = rng.uniform(0.2, 1.0)
        ring = np.sin(2.0 * np.pi * rng.uniform(700.0, 2800.0) * clap_s) + 0.7 * rng.standard_normal(len(clap_s))
        out += _filtered(hits, ring * np.exp(-clap_s / rng.uniform(0.002, 0.006)))
    hall_s = np.arange(round(0.6 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    hall = 0.05 * rng.standard_normal(len(hall_s)) * np.exp(-hall_s / 0.15)
    hall[0] = 1.0
    times_s = np.arange(count) / SAMPLE_RATE_HZ
    return _at_peak(_filtered(out, hall) * np.clip(np.minimum(times_s / 1.5, times_s[::-1] / 2.0), 0.0, 1.0))


WITHOUT_VOICE: dict[str, Callable[[float, int], Sound]] = {
    "silence": silence,
    "white noise": white_noise,
    "pink noise": pink_noise,
    "hum": hum,
    "clicks": clicks,
    "applause": applause,
}
"""All of them by name: `WITHOUT_VOICE[name](length_s, seed)`."""


def _filtered(sound: NDArray[np.float64], response: NDArray[np.float64]) -> NDArray[np.float64]:
    """`sound` through a filter with this impulse response, as long as before."""
    size = 1 << (len(sound) + len(response) - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: len(sound)]


def _at_peak(sound: NDArray[np.float64]) -> Sound:
    return (sound * (PEAK / np.abs(sound).max())).astype(np.float32)
