"""Random phrases of the small vocabulary, spoken and sung by synthesisers that tell when each word sounds.

Espeak-ng's library reports its words' times while it speaks; flite's knows its phones, and the singer of `tools/demo`
where it moved them to. So no time is estimated from the sound. All sound is mono at SAMPLE_RATE_HZ.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from mixtures import FloatArray, resampled, rms
from numpy.typing import NDArray
from vocabulary import ENGLISH, GERMAN, shares_a_line

SAMPLE_RATE_HZ = 16_000
LEVEL = 0.1
"""RMS of each clip."""

NORMAL_RATE = 150
"""Words a minute."""

SUNG = "sung:rms"
VOICES = (
    *("flite:rms", "flite:slt", "flite:kal16"),
    *(
        "en-us",
        "en-gb-scotland",
        "en-us+f2",
        "en-us+f3",
        "en-us+linda",
        "en-us+Annie",
        "en-us+m1",
        "en-us+m3",
        "en-us+m7",
    ),
    *("de", "de+f2", "de+m3"),
)
"""Flite's, else espeak-ng's, where the first two letters are the language; SUNG is flite's `rms` put on tunes."""

VERSES = "verses:rms"
"""SUNG too, but in verses: short words between long ones, on short notes; the demo's lines are like that."""

_LONGEST = 8
_SHORT = (
    *("and", "are", "at", "by", "i", "in", "is", "my", "the", "there", "this", "to"),
    *("we", "you", "she", "what", "when"),
)
_LONG = tuple(word for word in ENGLISH if word not in _SHORT)
_RATIOS = (0.85, 1.18)
_RATES = (130, 175)
_PITCHES = (40, 61)
_NOTES = ("G2", "A2", "Bb2", "C3", "D3", "Eb3", "F3", "G3")
_VERSE_RHYTHMS = ((1, 3), (1, 3), (2, 2))
RHYTHMS = ((1, 3), (3, 1), (2, 2), (2, 2, 4), (1, 3, 2, 2), (2, 3, 3))
"""Sixteenths from one syllable to the next, over and over."""

_DEMO = Path(__file__).parents[1] / "demo"
_LYRICS = Path(__file__).parents[2] / "demo" / "lyrics.txt"


class SynthesisError(Exception):
    """A synthesiser is missing; the message says how to get it."""


@dataclass(frozen=True)
class Word:
    """A word and the seconds between which it sounds."""

    text: str
    start_s: float
    end_s: float

    def later(self, by_s: float) -> Word:
        """The same word `by_s` later."""
        return Word(self.text, self.start_s + by_s, self.end_s + by_s)


@dataclass(frozen=True)
class Clip:
    """One phrase: `sound` (n,) with an RMS of LEVEL, its words, and its language ("en", "de")."""

    sound: NDArray[np.floating]
    words: list[Word]
    language: str


def clips(voice: str, seed: int, count: int) -> Iterator[Clip]:
    """`count` random phrases in `voice`; no four words on end are on end in the demo's lyrics."""
    language = "de" if voice.startswith("de") else "en"
    lyrics = _LYRICS.read_text("utf-8").lower().replace(",", "").replace(".", "").split()
    made = 0
    for attempt in range(20 * count):
        if made == count:
            return
        rng = np.random.default_rng((seed, attempt, *voice.encode()))
        words = _verse(rng) if voice == VERSES else _text(rng, ENGLISH if language == "en" else GERMAN)
        if shares_a_line(words, lyrics):
            continue
        if voice in (SUNG, VERSES):
            clip = sung(rng, words, RHYTHMS if voice == SUNG else _VERSE_RHYTHMS)
        elif voice.startswith("flite:"):
            clip = _resampled(rng, said(voice, words))
        else:
            rate, pitch = int(rng.integers(*_RATES)), int(rng.integers(40, 61))
            clip = _resampled(rng, said(voice, words, rate, pitch))
        if clip is not None:
            made += 1
            yield clip


def _text(rng: np.random.Generator, known: Sequence[str]) -> list[str]:
    """One to eight words, no word twice on end."""
    words: list[str] = []
    length = int(rng.integers(1, _LONGEST + 1))
    while len(words) < length:
        word = str(rng.choice(known))
        if not words or word != words[-1]:
            words.append(word)
    return words


def _verse(rng: np.random.Generator) -> list[str]:
    """Five to eight words, short and long ones in turn, now and then two short ones on end."""
    words: list[str] = []
    is_short = True
    length = int(rng.integers(5, _LONGEST + 1))
    while len(words) < length:
        word = str(rng.choice(_SHORT if is_short else _LONG))
        if not words or word != words[-1]:
            words.append(word)
            is_short = not is_short or rng.random() < 0.25
    return words


def _resampled(rng: np.random.Generator, clip: Clip | None) -> Clip | None:
    """Slower and deeper or quicker and higher."""
    if clip is None:
        return None
    ratio = round(rng.uniform(*_RATIOS), 2)
    words = [Word(word.text, word.start_s * ratio, word.end_s * ratio) for word in clip.words]
    return Clip(resampled(clip.sound.astype(np.float64), 100, round(100 * ratio)), words, clip.language)


def _clip(sound: FloatArray, words: list[Word], language: str) -> Clip:
    """Without the silence around it, at LEVEL; the last word ends where the sound does, if not before."""
    first = max(round((words[0].start_s - 0.02) * SAMPLE_RATE_HZ), 0)
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    last = min(max(int(loud[-1]) + 1, first + 1), len(sound))
    end_s = last / SAMPLE_RATE_HZ
    kept = sound[first:last]
    words = [Word(word.text, word.start_s, min(word.end_s, end_s)).later(-first / SAMPLE_RATE_HZ) for word in words]
    return Clip(kept * (LEVEL / rms(kept)), words, language)


def sung(
    rng: np.random.Generator, words: list[str], rhythms: Sequence[tuple[int, ...]], singer: str = "rms"
) -> Clip | None:
    """A voice of flite with a random tune and one of `rhythms`, a little faster or slower; None if it cannot."""
    voice, score, errors = _demo_module("voice"), _demo_module("score"), _demo_module("errors")
    flite = _flite(singer)
    syllables = sum(phone.is_vowel for phone in flite.say(" ".join(words)).phones)
    if syllables < 2:
        return None
    rhythm = rhythms[int(rng.integers(len(rhythms)))]
    steps = np.cumsum([0, *(rhythm[i % len(rhythm)] for i in range(syllables - 1))])
    places = np.clip(int(rng.integers(2, 6)) + np.cumsum(rng.integers(-2, 3, syllables)), 0, len(_NOTES) - 1)
    tune = score.Phrase(
        tuple(map(int, steps)), tuple(_NOTES[i] for i in places), float(steps[-1] + rng.uniform(1.5, 3))
    )
    try:
        piece = voice.sing(score.SungLine(" ".join(words), tune, 4), flite)
    except errors.DemoError:
        return None
    starts_s = piece.start_samples / SAMPLE_RATE_HZ
    timed = [Word(word.text, word.start_s, word.end_s).later(-starts_s) for word in piece.words]
    ratio = round(rng.uniform(0.92, 1.09), 2)
    timed = [Word(word.text, word.start_s * ratio, word.end_s * ratio) for word in timed]
    return _clip(resampled(piece.samples, 100, round(100 * ratio)), timed, "en")


def said(voice: str, words: list[str], words_per_minute: int = NORMAL_RATE, pitch: int = 50) -> Clip | None:
    """`words`, which may have punctuation, as `voice` says them; `pitch` (0 to 100) is heeded by espeak-ng alone.

    None if the synthesiser makes other words of it, or draws two into one ("in the").
    """
    if voice.startswith("flite:"):
        return _said_by_flite(voice.removeprefix("flite:"), words, NORMAL_RATE / words_per_minute)
    return _said_by_espeak(voice, words_per_minute, pitch, words)


def _said_by_flite(name: str, words: list[str], stretch: float) -> Clip | None:
    speech = _flite(name).say(" ".join(words), stretch)
    spoken: list[Word] = []
    before_s = 0.0
    for word, phones in groupby(speech.phones, key=lambda phone: phone.word):
        end_s = list(phones)[-1].end_s
        if word >= 0 and len(spoken) < len(words):
            spoken.append(Word(words[len(spoken)], before_s, end_s))
        before_s = end_s
    if len({phone.word for phone in speech.phones} - {-1}) != len(words):
        return None
    return _clip(speech.samples, spoken, "en")


def _said_by_espeak(voice: str, words_per_minute: int, pitch: int, words: list[str]) -> Clip | None:
    sound, rate_hz, said = _espeak().say(voice, words_per_minute, pitch, " ".join(words))
    # Places count characters from 1.
    if [place for place, _ in said] != [1 + sum(len(word) + 1 for word in words[:i]) for i in range(len(words))]:
        return None
    starts_s = [start_s for _, start_s in said]
    ends_s = [*starts_s[1:], len(sound) / rate_hz]
    spoken = [Word(*word) for word in zip(words, starts_s, ends_s, strict=True)]
    return _clip(resampled(sound, rate_hz, SAMPLE_RATE_HZ), spoken, voice[:2])


def _demo_module(name: str) -> Any:
    """A module of tools/demo, where the singer is; any, because its folder is no package."""
    if str(_DEMO) not in sys.path:
        sys.path.append(str(_DEMO))
    return importlib.import_module(name)


@functools.cache
def _flite(name: str) -> Any:
    """One voice of flite, as tools/demo has it."""
    return _demo_module("flite").Flite(name)


class _Event(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng's speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_SYNCHRONOUS, _RATE, _PITCH, _POS_CHARACTER, _UTF8 = 2, 1, 3, 1, 1
_LIST_TERMINATED, _WORD = 0, 1


class _Espeak:
    """espeak-ng's library; one a process, since it keeps its state to itself."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise SynthesisError("espeak-ng is missing: `apt-get install espeak-ng`.") from error
        self._rate_hz = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        self._pcm: list[FloatArray] = []
        self._words: list[tuple[int, float]] = []
        self._callback = _Callback(self._heard)  # kept: the library calls it later
        self._lib.espeak_SetSynthCallback(self._callback)

    def say(
        self, voice: str, words_per_minute: int, pitch: int, text: str
    ) -> tuple[FloatArray, int, list[tuple[int, float]]]:
        """The sound, its rate, and for each word that is said its place in the text and when it begins."""
        self._pcm, self._words = [], []
        if self._lib.espeak_SetVoiceByName(voice.encode()):
            raise SynthesisError(f"espeak-ng has no voice {voice}: `apt-get install espeak-ng-data`.")
        self._lib.espeak_SetParameter(_RATE, words_per_minute, 0)
        self._lib.espeak_SetParameter(_PITCH, pitch, 0)
        said = text.encode()
        self._lib.espeak_Synth(said, len(said) + 1, 0, _POS_CHARACTER, 0, _UTF8, None, None)
        return np.concatenate(self._pcm), self._rate_hz, self._words

    def _heard(self, pcm: Any, count: int, events: Any) -> int:
        if pcm and count:
            self._pcm.append(np.ctypeslib.as_array(pcm, shape=(count,)) / 32768.0)
        index = 0
        while events[index].type != _LIST_TERMINATED:
            # A clause may end with the event of a word that is nowhere in the text.
            if events[index].type == _WORD and events[index].text_position:
                self._words.append((events[index].text_position, events[index].audio_position_ms / 1000.0))
            index += 1
        return 0


@functools.cache
def _espeak() -> _Espeak:
    return _Espeak()
