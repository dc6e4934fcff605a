"""The band: drums, bass and chords made of noise and sines, in stereo.

No sound has a voice's shape: noises are short, tones have fixed pitches and few harmonics. A detector of voices must
stay quiet here.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from score import BEAT_S, CHORD_NOTES, CHORDS, DURATION_S, TOTAL_BEATS, pitch_hz

FloatArray = NDArray[np.float64]

SEED = 20_240
SAMPLE_RATE_HZ = 44_100

_HALF_PI = np.pi / 2.0

_BASS = tuple(harmonic**-1.8 for harmonic in range(1, 9))
_PIANO = (1.0, 0.35, 0.08)


def play() -> FloatArray:
    """The whole band, float64 (n, 2), at no particular level."""
    stage = Stage(round(DURATION_S * SAMPLE_RATE_HZ))
    rng = np.random.default_rng(SEED)
    _play_drums(stage, rng)
    _play_bass(stage)
    _play_chords(stage)
    return stage.sound


class Stage:
    """An empty stereo track, `sound` (n, 2), that sounds are added to."""

    def __init__(self, length_samples: int) -> None:
        self.sound: FloatArray = np.zeros((length_samples, 2))

    def add(self, sound: FloatArray, at_s: float, gain: float, pan: float = 0.0) -> None:
        """Add mono `sound` (n,) from `at_s` on; `pan` is -1 (left) to 1 (right), equally loud everywhere."""
        start = round(at_s * SAMPLE_RATE_HZ)
        angle = (pan + 1.0) / 2.0 * _HALF_PI
        target = self.sound[start : start + len(sound)]
        target += gain * sound[: len(target), None] * np.array([np.cos(angle), np.sin(angle)])


def _times_s(duration_s: float) -> FloatArray:
    return np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _band_limited_noise(rng: np.random.Generator, duration_s: float, low_hz: float, high_hz: float) -> FloatArray:
    """White noise (n,) of RMS 1 with soft edges an octave wide around `low_hz` and `high_hz`."""
    count = round(duration_s * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE_HZ), 1.0))
    rise = np.clip(octaves - np.log2(low_hz) + 0.5, 0.0, 1.0)
    fall = np.clip(np.log2(high_hz) - octaves + 0.5, 0.0, 1.0)
    noise = np.fft.irfft(spectrum * rise * fall, count)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)), dtype=np.float64)


def _kick() -> FloatArray:
    """A sine that falls from 140 to 48 Hz."""
    times_s = _times_s(0.32)
    phase = 2.0 * np.pi * (48.0 * times_s + 92.0 * 0.03 * (1.0 - np.exp(-times_s / 0.03)))
    return np.sin(phase) * np.exp(-times_s / 0.09) * np.clip(times_s / 0.002, 0.0, 1.0)


def _snare(rng: np.random.Generator) -> FloatArray:
    """A burst of noise over a short tone."""
    times_s = _times_s(0.18)
    noise = _band_limited_noise(rng, 0.18, 1500.0, 7000.0) * np.exp(-times_s / 0.04)
    return 0.5 * noise + 0.5 * np.sin(2.0 * np.pi * 190.0 * times_s) * np.exp(-times_s / 0.03)


def _hat(rng: np.random.Generator, decay_s: float) -> FloatArray:
    """A short hiss."""
    times_s = _times_s(6.0 * decay_s)
    return _band_limited_noise(rng, 6.0 * decay_s, 7000.0, 13000.0) * np.exp(-times_s / decay_s)


def _play_drums(stage: Stage, rng: np.random.Generator) -> None:
    """Kick on one and three, snare on two and four, hats in eighths; a fill leads from the break into the verse."""
    for beat in range(TOTAL_BEATS - 4):
        at_s = beat * BEAT_S
        if beat % 2 == 0:
            stage.add(_kick(), at_s, 0.95)
        else:
            stage.add(_snare(rng), at_s, 0.42, 0.1)
        stage.add(_hat(rng, 0.016), at_s, 0.10, -0.4)
        stage.add(_hat(rng, 0.035 if beat % 4 == 3 else 0.016), at_s + BEAT_S / 2.0, 0.13, 0.4)
    for step in (0, 1, 2, 3):
        stage.add(_snare(rng), 33.0 * BEAT_S + step * BEAT_S / 4.0, 0.2 + 0.05 * step, 0.3 - 0.2 * step)
    stage.add(_kick(), (TOTAL_BEATS - 4) * BEAT_S, 0.95)
    stage.add(_hat(rng, 0.25), (TOTAL_BEATS - 4) * BEAT_S, 0.14, 0.3)


def _spans() -> Iterator[tuple[int, int, str]]:
    """(first beat, beat after the last, chord) of each chord."""
    ends = [*(beat for beat, _ in CHORDS[1:]), TOTAL_BEATS]
    for (start, chord), end in zip(CHORDS, ends, strict=True):
        yield start, end, chord


def _tone(frequency_hz: float, duration_s: float, decay_s: float, harmonic_gains: Sequence[float]) -> FloatArray:
    """A plucked or struck string (n,): the higher a harmonic, the sooner gone."""
    times_s = _times_s(duration_s)
    sound = np.zeros(len(times_s))
    for harmonic, gain in enumerate(harmonic_gains, start=1):
        decay = np.exp(-times_s * harmonic**0.7 / decay_s)
        sound += gain * decay * np.sin(2.0 * np.pi * harmonic * frequency_hz * times_s)
    edge_s = 0.006
    return sound * np.clip(np.minimum(times_s, duration_s - times_s) / edge_s, 0.0, 1.0)


def _play_bass(stage: Stage) -> None:
    """The root in dotted rhythm; the fifth leads on."""
    for start, end, chord in _spans():
        root_hz = pitch_hz(CHORD_NOTES[chord][0])
        if start == TOTAL_BEATS - 4:
            stage.add(_tone(root_hz, 3.6 * BEAT_S, 1.2, _BASS), start * BEAT_S, 0.5)
            continue
        for beat in range(start, end, 2):
            for offset_beats, length_beats, ratio in ((0.0, 1.3, 1.0), (1.5, 0.45, 1.5)):
                tone = _tone(root_hz * ratio, length_beats * BEAT_S, 0.6, _BASS)
                stage.add(tone, (beat + offset_beats) * BEAT_S, 0.5)


def _play_chords(stage: Stage) -> None:
    """An electric piano: struck on every second beat, each note at its own place from left to right."""
    for start, end, chord in _spans():
        step_beats = 4 if start == TOTAL_BEATS - 4 else 2
        for beat in range(start, end, step_beats):
            for note, pan in zip(CHORD_NOTES[chord][1], (-0.7, 0.0, 0.7), strict=True):
                length_s = 0.95 * step_beats * BEAT_S
                for detune, side in ((0.9985, -0.2), (1.0015, 0.2)):
                    tone = _tone(
                        pitch_hz(note) * detune,
                        length_s,
                        0.9,
                        _PIANO,
                    )
                    stage.add(tone, beat * BEAT_S, 0.1, pan + side)
