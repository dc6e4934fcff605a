"""The singer: flite speaks each line, a time map moves its syllables onto the beat, WORLD puts it on the tune.

Flite says where each phone of its own speech ends. The time map (piecewise linear, one piece per phone) says where
that moment lands in the song. So the start and end of each word are known by construction and never estimated from the
sound.
"""

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from types import ModuleType

import numpy as np
from errors import DemoError
from flite import Flite, Phone, Speech
from numpy.typing import NDArray
from score import SungLine

FloatArray = NDArray[np.float64]

FLITE_VOICE = "rms"
SAMPLE_RATE_HZ = 16_000
"""Flite's own rate, and that of everything in this module."""

_FRAME_S = 0.001
_FRAME_SAMPLES = round(SAMPLE_RATE_HZ * _FRAME_S)

_STRICTNESS = 0.6
"""1: each syllable is exactly on its step; 0: the rhythm of speech. Stricter was harder to understand."""

_MAX_VOWEL_STRETCH = 2.6
_MAX_CONSONANT_STRETCH = 1.3
_MIN_STRETCH = 0.55

_VIBRATO_HZ = 5.3
_VIBRATO_CENTS = 18.0
_VIBRATO_DELAY_S = 0.18
_VIBRATO_RISE_S = 0.15
_GLIDE_S = 0.05
_EDGE_FADE_S = 0.008
_LINE_RMS = 0.1


@dataclass(frozen=True)
class SungWord:
    """A word and the seconds, from the start of the song, between which it sounds."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class SungPiece:
    """One sung line: mono `samples` (n,) at SAMPLE_RATE_HZ which begin `start_samples` into the song."""

    samples: FloatArray
    start_samples: int
    words: list[SungWord]


@dataclass(frozen=True)
class TimeMap:
    """Where the phones' edges lie in the speech and where in the song; both ascend, in seconds."""

    speech_s: FloatArray
    song_s: FloatArray

    def speech_at(self, song_s: FloatArray) -> FloatArray:
        """The moment of the speech that sounds at each moment of the song."""
        return np.interp(song_s, self.song_s, self.speech_s)


def sing(line: SungLine, flite: Flite) -> SungPiece:
    """Speak `line`, fit it to its rhythm, put it on its tune."""
    pyworld = load_vocoder()
    speech = flite.say(" ".join(line.words))
    phones, first_edge_s = _sung_phones(speech, line)
    onsets_s = sung_onsets_s(phones, first_edge_s, line.onsets_s)
    time_map = fit_to_rhythm(phones, first_edge_s, onsets_s, line.end_s)

    start_frame = round(time_map.song_s[0] / _FRAME_S)
    end_frame = round(time_map.song_s[-1] / _FRAME_S)
    frame_times_s = np.arange(start_frame, end_frame + 1) * _FRAME_S

    f0_hz, spectrum, aperiodicity = _analyse(speech)
    speech_frames = np.clip(np.rint(time_map.speech_at(frame_times_s) / _FRAME_S).astype(int), 0, len(f0_hz) - 1)
    tune_hz = _tune(onsets_s, np.array(line.notes_hz), frame_times_s)
    sung_f0_hz = np.where(f0_hz[speech_frames] > 0.0, tune_hz, 0.0)
    samples = pyworld.synthesize(
        np.ascontiguousarray(sung_f0_hz),
        np.ascontiguousarray(spectrum[speech_frames]),
        np.ascontiguousarray(aperiodicity[speech_frames]),
        SAMPLE_RATE_HZ,
        _FRAME_S * 1000.0,
    )[: (end_frame - start_frame) * _FRAME_SAMPLES]
    samples *= _LINE_RMS / np.sqrt(np.mean(samples**2))
    return SungPiece(_fade_edges(samples), start_frame * _FRAME_SAMPLES, _word_times(line, phones, time_map))


def load_vocoder() -> ModuleType:
    """The module pyworld, or a DemoError that says how to get it."""
    try:
        with warnings.catch_warnings():
            # pyworld reads its own version through pkg_resources, which says on each import that it will go away.
            warnings.filterwarnings("ignore", category=UserWarning, module="pyworld")
            return importlib.import_module("pyworld")
    except ImportError as error:
        raise DemoError(f"The vocoder pyworld is missing ({error}): install it with `pip install pyworld`.") from error


def sung_onsets_s(phones: Sequence[Phone], first_edge_s: float, due_s: Sequence[float]) -> FloatArray:
    """When the singer really begins each vowel: between the beat (`due_s`) and the rhythm in which flite spoke."""
    starts_s = np.array([first_edge_s, *(phone.end_s for phone in phones[:-1])])
    spoken_s = starts_s[[phone.is_vowel for phone in phones]]
    if len(spoken_s) != len(due_s):
        raise DemoError(f"The tune has {len(due_s)} syllables but flite speaks {len(spoken_s)}.")
    due = np.array(due_s)
    spoken_to_fit_s = due[0] + (spoken_s - spoken_s[0]) * (due[-1] - due[0]) / (spoken_s[-1] - spoken_s[0])
    return _STRICTNESS * due + (1.0 - _STRICTNESS) * spoken_to_fit_s


def fit_to_rhythm(phones: Sequence[Phone], first_edge_s: float, onsets_s: FloatArray, end_s: float) -> TimeMap:
    """Stretch phones so that vowel i begins at onsets_s[i] and the last phone ends at `end_s` or sooner.

    Consonants keep about their natural length and the vowel takes the rest, as singers do it. Where a note is longer
    than the vowel can be stretched to, the last syllable simply ends sooner; within a line the consonants help.
    """
    durations_s = np.diff([first_edge_s, *(phone.end_s for phone in phones)])
    vowels = [index for index, phone in enumerate(phones) if phone.is_vowel]
    stretches = np.ones(len(phones))
    for vowel, next_vowel, onset_s, next_onset_s in zip(
        vowels, [*vowels[1:], len(phones)], onsets_s, [*onsets_s[1:], end_s], strict=True
    ):
        is_last = next_vowel == len(phones)
        stretches[vowel:next_vowel] = _share_out(durations_s[vowel:next_vowel], next_onset_s - onset_s, is_last)
    song_durations_s = durations_s * stretches
    song_start_s = onsets_s[0] - song_durations_s[: vowels[0]].sum()
    return TimeMap(
        speech_s=first_edge_s + np.concatenate([[0.0], np.cumsum(durations_s)]),
        song_s=song_start_s + np.concatenate([[0.0], np.cumsum(song_durations_s)]),
    )


def _share_out(durations_s: FloatArray, available_s: float, may_end_sooner: bool) -> FloatArray:
    """Stretch factors for a vowel (first) and the consonants after it, which together get `available_s`."""
    vowel_s, consonants_s = durations_s[0], durations_s[1:].sum()
    vowel_stretch = (available_s - consonants_s) / vowel_s
    if vowel_stretch < _MIN_STRETCH:
        return np.full(len(durations_s), available_s / durations_s.sum())
    if vowel_stretch <= _MAX_VOWEL_STRETCH:
        return np.array([vowel_stretch, *np.ones(len(durations_s) - 1)])
    if may_end_sooner:
        return np.array([_MAX_VOWEL_STRETCH, *np.ones(len(durations_s) - 1)])
    consonant_stretch = (available_s - _MAX_VOWEL_STRETCH * vowel_s) / consonants_s if consonants_s else np.inf
    consonant_stretch = min(consonant_stretch, _MAX_CONSONANT_STRETCH)
    vowel_stretch = (available_s - consonant_stretch * consonants_s) / vowel_s
    return np.array([vowel_stretch, *np.full(len(durations_s) - 1, consonant_stretch)])


def _sung_phones(speech: Speech, line: SungLine) -> tuple[list[Phone], float]:
    """The phones between the leading and the trailing pause, and the second at which the first of them begins."""
    phones = speech.phones
    first = next(index for index, phone in enumerate(phones) if phone.word >= 0)
    last = max(index for index, phone in enumerate(phones) if phone.word >= 0)
    sung = phones[first : last + 1]
    if speech.sample_rate_hz != SAMPLE_RATE_HZ or any(phone.word < 0 for phone in sung):
        raise DemoError(f"This flite speaks {line.text!r} at another rate or with a pause inside; use flite 2.2.")
    if len({phone.word for phone in sung}) != len(line.words):
        raise DemoError(f"Flite did not speak {line.text!r} as {len(line.words)} words.")
    return sung, phones[first - 1].end_s if first else 0.0


def _analyse(speech: Speech) -> tuple[FloatArray, FloatArray, FloatArray]:
    """WORLD's view of the speech, a row each _FRAME_S: pitch (t,), spectral envelope (t, k), aperiodicity (t, k)."""
    pyworld = load_vocoder()
    samples = np.ascontiguousarray(speech.samples)
    f0_hz, times_s = pyworld.harvest(samples, SAMPLE_RATE_HZ, frame_period=_FRAME_S * 1000.0)
    spectrum = pyworld.cheaptrick(samples, f0_hz, times_s, SAMPLE_RATE_HZ)
    aperiodicity = pyworld.d4c(samples, f0_hz, times_s, SAMPLE_RATE_HZ)
    return f0_hz, spectrum, aperiodicity


def _tune(onsets_s: FloatArray, notes_hz: FloatArray, times_s: FloatArray) -> FloatArray:
    """The pitch to sing at each of `times_s`: notes joined by short glides, with a light vibrato that comes late."""
    note = np.clip(np.searchsorted(onsets_s, times_s, side="right") - 1, 0, len(onsets_s) - 1)
    log_hz = np.log2(notes_hz)[note]
    width = round(_GLIDE_S / _FRAME_S)
    window = np.hanning(width + 2)[1:-1]
    glided = np.convolve(np.pad(log_hz, width, mode="edge"), window / window.sum(), mode="same")[width:-width]
    since_onset_s = times_s - onsets_s[note]
    depth = np.clip((since_onset_s - _VIBRATO_DELAY_S) / _VIBRATO_RISE_S, 0.0, 1.0) * _VIBRATO_CENTS / 1200.0
    return 2.0 ** (glided + depth * np.sin(2.0 * np.pi * _VIBRATO_HZ * since_onset_s))


def _fade_edges(samples: FloatArray) -> FloatArray:
    """A copy of `samples` (n,) that begins and ends without a click."""
    ramp = np.linspace(0.0, 1.0, round(_EDGE_FADE_S * SAMPLE_RATE_HZ))
    faded = samples.copy()
    faded[: len(ramp)] *= ramp
    faded[-len(ramp) :] *= ramp[::-1]
    return faded


def _word_times(line: SungLine, phones: Sequence[Phone], time_map: TimeMap) -> list[SungWord]:
    """Each word of the line with the song times of the outer edges of its phones."""
    words: list[SungWord] = []
    edge = 0
    for _, group in groupby(phones, key=lambda phone: phone.word):
        next_edge = edge + len(list(group))
        text = line.words[len(words)]
        words.append(SungWord(text, float(time_map.song_s[edge]), float(time_map.song_s[next_edge])))
        edge = next_edge
    return words


def upsample(samples: FloatArray, rate_hz: int) -> FloatArray:
    """Resample (n,) from SAMPLE_RATE_HZ to a higher `rate_hz` by its spectrum: no delay, nothing shifts."""
    count = len(samples) * rate_hz
    if count % SAMPLE_RATE_HZ:
        raise ValueError("the length must be a whole number of samples at both rates")
    count //= SAMPLE_RATE_HZ
    spectrum = np.fft.rfft(samples)
    return np.fft.irfft(spectrum, count) * (rate_hz / SAMPLE_RATE_HZ)
