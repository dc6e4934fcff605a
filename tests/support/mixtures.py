"""Songs whose parts are known: scripted drums, bass and chords, with a voice laid over them.

For training test models (tools/nano) and for testing with them; needs numpy alone. The same seed gives the same sound.
Sound is float64 (n, 2) at SAMPLE_RATE_HZ where nothing else is said; a voice is mono, (n,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SAMPLE_RATE_HZ = 44_100
SOURCES = ("drums", "bass", "other", "vocals")
"""In Demucs' order."""

HELD_OUT_SEED = 1_000_000
"""Seeds from here on are for tests; no model is trained on them."""

PEAK = 0.9

_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


@dataclass(frozen=True)
class Band:
    """Three tracks of one length, each with an RMS of 1 (or silent)."""

    drums: FloatArray
    bass: FloatArray
    other: FloatArray


def song(seed: int, voice: FloatArray, voice_above_band_db: float) -> NDArray[np.float32]:
    """A whole song around `voice`: its parts (4, n, 2) in the order of SOURCES; the mix is their sum, peak PEAK."""
    rng = np.random.default_rng(seed)
    return mixed(rng, play(rng, len(voice)), in_a_room(rng, voice), voice_above_band_db)


def mixed(
    rng: np.random.Generator, band: Band, vocals: FloatArray, voice_above_band_db: float, spread_db: float = 4.0
) -> NDArray[np.float32]:
    """The parts (4, n, 2) in the order of SOURCES; their sum, the mix, has the peak PEAK.

    The band's tracks are up to `spread_db` from equally loud. Levels are RMS values, the voice's taken while it sounds.
    """
    tracks = np.stack(
        [10.0 ** (rng.uniform(-spread_db, spread_db) / 20.0) * t for t in (band.drums, band.bass, band.other)]
    )
    loudness = np.mean(vocals**2, axis=1)
    sounding = loudness > 1e-4 * loudness.max()
    band_rms = rms(tracks.sum(0))
    if sounding.any() and band_rms:
        vocals = vocals * (10.0 ** (voice_above_band_db / 20.0) * band_rms / rms(vocals[sounding]))
    parts = np.concatenate([tracks, vocals[None]])
    peak = np.abs(parts.sum(0)).max()
    return (parts * (PEAK / peak if peak else 1.0)).astype(np.float32)


def sdr_db(truth: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Signal to distortion: the energy of the truth over that of the error, of all samples and channels at once."""
    wanted = truth.astype(np.float64)
    return float(10.0 * np.log10((wanted**2).sum() / ((wanted - estimate) ** 2).sum()))


def rms(sound: FloatArray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(sound**2)))


def resampled(samples: FloatArray, from_hz: int, to_hz: int) -> FloatArray:
    """Mono sound at another rate, by its spectrum: no delay. What comes is up to a few samples longer (zeros)."""
    step = from_hz // gcd(from_hz, to_hz)
    padded = np.pad(samples, (0, -len(samples) % step))
    count = len(padded) * to_hz // from_hz
    return np.fft.irfft(np.fft.rfft(padded)[: count // 2 + 1], count) * (to_hz / from_hz)


def in_a_room(rng: np.random.Generator, voice: FloatArray) -> FloatArray:
    """Mono to stereo: near the centre, half of the time with some reverberation."""
    left = rng.uniform(0.46, 0.54)
    stereo = voice[:, None] * np.sqrt([left, 1.0 - left])
    if rng.random() < 0.5:
        return stereo
    times_s = _times_s(rng.uniform(0.2, 0.8))
    tail = rng.standard_normal((len(times_s), 2)) * np.exp(-6.9 * times_s / times_s[-1])[:, None]
    tail[: round(rng.uniform(0.005, 0.03) * SAMPLE_RATE_HZ)] = 0.0
    tail *= 10.0 ** (rng.uniform(-26.0, -10.0) / 20.0) / np.sqrt((tail**2).sum(0))
    size = 1 << (len(voice) + len(tail) - 1).bit_length()
    echo = np.fft.irfft(np.fft.rfft(voice, size)[:, None] * np.fft.rfft(tail, size, axis=0), size, axis=0)
    return stereo + echo[: len(voice)]


def play(rng: np.random.Generator, length_samples: int) -> Band:
    """A band of `length_samples` in a random key, tempo and sound."""
    beat_s = 60.0 / rng.uniform(70.0, 150.0)
    beats = int(length_samples / SAMPLE_RATE_HZ / beat_s) + 1
    chords = _chords(rng, beats)
    tracks = [np.zeros((length_samples, 2)) for _ in range(3)]
    _play_drums(rng, tracks[0], beat_s, beats)
    _play_bass(rng, tracks[1], beat_s, chords)
    _play_chords(rng, tracks[2], beat_s, chords)
    return Band(*(track / (rms(track) or 1.0) for track in tracks))


@dataclass(frozen=True)
class _Chord:
    """A triad: when it begins, how long it lasts, and its notes (semitones above C, root first)."""

    beat: int
    length_beats: int
    notes: tuple[int, ...]


def _chords(rng: np.random.Generator, beats: int) -> list[_Chord]:
    key, scale = int(rng.integers(12)), (_MAJOR, _MINOR)[int(rng.integers(2))]
    length_beats = int(rng.choice([2, 4, 4]))
    chords: list[_Chord] = []
    for beat in range(0, beats, length_beats):
        degree = int(rng.choice([0, 0, 3, 4, 5, 1, 2]))
        size = 4 if rng.random() < 0.25 else 3
        notes = tuple(key + scale[(degree + 2 * i) % 7] + 12 * ((degree + 2 * i) // 7) for i in range(size))
        chords.append(_Chord(beat, length_beats, notes))
    return chords


def _add(track: FloatArray, sound: FloatArray, at_s: float, gain: float, pan: float = 0.0) -> None:
    """Add mono `sound` from `at_s` on; `pan` is -1 (left) to 1 (right). What does not fit is left out."""
    start = round(at_s * SAMPLE_RATE_HZ)
    if start >= len(track):
        return
    angle = (pan + 1.0) * np.pi / 4.0
    target = track[start : start + len(sound)]
    target += gain * sound[: len(target), None] * np.array([np.cos(angle), np.sin(angle)])


def _times_s(duration_s: float) -> FloatArray:
    return np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _hiss(rng: np.random.Generator, decay_s: float, low_hz: float, high_hz: float) -> FloatArray:
    """A burst of noise between two frequencies, RMS 1 before its decay."""
    times_s = _times_s(6.0 * decay_s)
    spectrum = np.fft.rfft(rng.standard_normal(len(times_s)))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(times_s), 1.0 / SAMPLE_RATE_HZ), 1.0))
    rise = np.clip(octaves - np.log2(low_hz) + 0.5, 0.0, 1.0)
    fall = np.clip(np.log2(high_hz) - octaves + 0.5, 0.0, 1.0)
    noise = np.fft.irfft(spectrum * rise * fall, len(times_s))
    return noise / rms(noise) * np.exp(-times_s / decay_s)


def _falling(start_hz: float, end_hz: float, fall_s: float, decay_s: float) -> FloatArray:
    """A sine that falls in pitch: kicks and toms."""
    times_s = _times_s(4.0 * decay_s)
    phase = 2.0 * np.pi * (end_hz * times_s + (start_hz - end_hz) * fall_s * (1.0 - np.exp(-times_s / fall_s)))
    return np.sin(phase) * np.exp(-times_s / decay_s) * np.clip(times_s / 0.002, 0.0, 1.0)


def _play_drums(rng: np.random.Generator, track: FloatArray, beat_s: float, beats: int) -> None:
    """Kick mostly on the strong beats, snare on the weak ones, hats in eighths or sixteenths, a tom now and then."""
    end_hz = rng.uniform(42.0, 62.0)
    kick = _falling(end_hz * rng.uniform(1.8, 3.5), end_hz, rng.uniform(0.015, 0.05), rng.uniform(0.05, 0.14))
    tom_hz = rng.uniform(80.0, 160.0)
    tom = _falling(tom_hz * 1.5, tom_hz, 0.05, rng.uniform(0.08, 0.15))
    snare_s, snare_low_hz, snare_high_hz = rng.uniform(0.03, 0.09), rng.uniform(800, 2500), rng.uniform(5e3, 12e3)
    snare_tone = _falling(240.0, rng.uniform(150.0, 220.0), 0.03, 0.035)
    hat_s, hat_low_hz, hat_high_hz = rng.uniform(0.01, 0.03), rng.uniform(5e3, 9e3), rng.uniform(11e3, 18e3)
    kick_gain, snare_gain, hat_gain = rng.uniform(0.6, 1.2), rng.uniform(0.25, 0.6), rng.uniform(0.05, 0.2)
    hat_pan, steps_per_beat = rng.uniform(-0.6, 0.6), int(rng.choice([2, 2, 4]))
    kick_odds = np.where(np.arange(8) % 4 == 0, 0.95, rng.uniform(0.0, 0.4, 8))
    for beat in range(beats):
        for half in range(2):
            at_s = (beat + half / 2.0) * beat_s
            if rng.random() < kick_odds[(2 * beat + half) % 8]:
                _add(track, kick, at_s, kick_gain * rng.uniform(0.8, 1.0))
        if rng.random() < (0.9 if beat % 2 else 0.03):
            _add(track, _hiss(rng, snare_s, snare_low_hz, snare_high_hz), beat * beat_s, snare_gain, 0.1)
            _add(track, snare_tone, beat * beat_s, snare_gain, 0.1)
        if rng.random() < 0.08:
            _add(track, tom, (beat + 0.5) * beat_s, kick_gain * 0.6, rng.uniform(-0.5, 0.5))
        for step in range(steps_per_beat):
            if rng.random() < 0.9:
                decay_s = hat_s * (3.0 if rng.random() < 0.1 else 1.0)
                hit = _hiss(rng, decay_s, hat_low_hz, hat_high_hz)
                _add(track, hit, (beat + step / steps_per_beat) * beat_s, hat_gain * rng.uniform(0.6, 1.0), hat_pan)
    if rng.random() < 0.5:
        crash = _hiss(rng, rng.uniform(0.15, 0.4), rng.uniform(3e3, 6e3), 15e3)
        _add(track, crash, 4 * beat_s * int(rng.integers(max(beats // 4, 1))), 2.0 * hat_gain, -hat_pan)


def _tone(note: float, duration_s: float, gains: Sequence[float], decay_s: float, attack_s: float) -> FloatArray:
    """A note (MIDI number) of some harmonics: the higher a harmonic, the sooner gone."""
    times_s = _times_s(duration_s)
    angle = 2.0 * np.pi * 440.0 * 2.0 ** ((note - 69.0) / 12.0) * times_s
    sound = np.zeros(len(times_s))
    # sin((k + 1) x) = 2 cos(x) sin(k x) - sin((k - 1) x): two sines do for all harmonics.
    twice_cosine, before, now = 2.0 * np.cos(angle), np.zeros(len(times_s)), np.sin(angle)
    fade = np.exp(-times_s / decay_s)
    damping = np.exp(-0.4 * times_s / decay_s)
    for gain in gains:
        sound += gain * fade * now
        before, now = now, twice_cosine * now - before
        fade *= damping
    return sound * np.clip(np.minimum(times_s / attack_s, (duration_s - times_s) / 0.015), 0.0, 1.0)


def _harmonics(rng: np.random.Generator, most: int) -> list[float]:
    """Gains of a random number of harmonics, falling at a random rate, some of them weakened."""
    steepness = rng.uniform(0.6, 2.2)
    return [float(k**-steepness * rng.uniform(0.5, 1.0)) for k in range(1, int(rng.integers(2, most + 1)) + 1)]


def _play_bass(rng: np.random.Generator, track: FloatArray, beat_s: float, chords: list[_Chord]) -> None:
    """Roots in a repeated rhythm, with fifths and octaves; plucked or held."""
    gains, decay_s = _harmonics(rng, 10), float(rng.choice([0.3, 0.6, 1.2, 5.0]))
    lowest = int(rng.integers(28, 34))
    lengths = ((1.0,) * 4, (0.5,) * 8, (2.0, 2.0), (1.5, 0.5, 1.5, 0.5))[int(rng.integers(4))]
    for chord in chords:
        root = lowest + (chord.notes[0] - lowest) % 12
        at_beat = 0.0
        while at_beat < chord.length_beats:
            length_beats = lengths[int(at_beat) % len(lengths)]
            note = root + int(rng.choice([0, 0, 0, 0, 7, 12])) * (at_beat > 0)
            tone = _tone(note, length_beats * beat_s * rng.uniform(0.75, 0.98), gains, decay_s, 0.006)
            _add(track, tone, (chord.beat + at_beat) * beat_s, rng.uniform(0.8, 1.0))
            at_beat += length_beats


def _play_chords(rng: np.random.Generator, track: FloatArray, beat_s: float, chords: list[_Chord]) -> None:
    """Piano, organ or pad: struck, held or picked note by note; each note at its own place from left to right."""
    gains, width = _harmonics(rng, 8), rng.uniform(0.2, 0.9)
    decay_s, attack_s = ((0.9, 0.006), (0.4, 0.004), (9.0, 0.02), (9.0, 0.15))[int(rng.integers(4))]
    lowest, every_beats = int(rng.integers(50, 62)), float(rng.choice([1.0, 2.0, 2.0, 4.0]))
    detune = rng.uniform(0.0, 0.06)
    is_picked = rng.random() < 0.3
    for chord in chords:
        notes = sorted(lowest + (note - lowest) % 12 for note in chord.notes)
        pans = np.linspace(-width, width, len(notes))
        at_beat = 0.0
        while at_beat < chord.length_beats:
            for index, (note, pan) in enumerate(zip(notes, pans, strict=True)):
                late_beats = index * 0.25 * every_beats if is_picked else 0.0
                duration_s = (every_beats - late_beats) * beat_s * 0.95
                for side in (-1.0, 1.0):
                    tone = _tone(note + side * detune, duration_s, gains, decay_s, attack_s)
                    _add(track, tone, (chord.beat + at_beat + late_beats) * beat_s, 0.1, float(pan) * 0.8 + 0.2 * side)
            at_beat += every_beats
