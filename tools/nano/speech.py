"""Voices that training needs: flite and espeak-ng speak, the WORLD vocoder makes some of them sing.

Every sound here is mono float64 (n,) at SAMPLE_RATE_HZ.
"""

from __future__ import annotations

import importlib
import subprocess
import tempfile
import warnings
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from mixtures import FloatArray, resampled, rms

SAMPLE_RATE_HZ = 16_000

TRAINED = (
    *("flite:slt", "flite:rms", "flite:kal16"),
    *("en-us", "en-gb", "en-gb-scotland", "en-us+f1", "en-us+f2", "en-us+f3", "en-us+f5", "en-us+linda", "en-us+steph"),
    *("en-us+belinda", "en-us+aunty", "en-us+Annie", "en-us+Alicia", "en-us+m1", "en-us+m3", "en-us+m5", "en-us+m7"),
    *("en-us+adam", "en-us+john", "en-us+robert", "en-us+max", "en-us+Michael", "en-us+Andy", "en-us+klatt"),
)
"""Voices of flite, else of espeak-ng."""

HELD_OUT = ("flite:awb", "en-us+f4")

RECORDED = "flite:rms"
"""A low, recorded voice, the demo's too (with other words and tunes): the last phase dwells on it half of the time."""
OTHERS = tuple(voice for voice in TRAINED if not voice.startswith("flite:"))
"""Who is heard the rest of the time."""

_PARTS_OF_A_SENTENCE = (
    ("the old man", "my brother", "a young girl", "the driver", "our teacher", "nobody", "the king", "everyone", "she"),
    ("found", "carried", "wanted", "remembers", "will follow", "painted", "has forgotten", "should keep", "gave away"),
    ("a silver ring", "the yellow house", "ten white horses", "the open window", "your letter", "this broken chair"),
    (
        "near the mountain",
        "in the garden",
        "under a tree",
        "before summer",
        "after the show",
        "far away",
        "with a smile",
    ),
)
_HELD_OUT_TEXTS = (
    "Five little boats were sailing home beneath a purple sky.",
    "Could you lend me another pencil, please, just for today?",
)

_FRAME_MS = 5.0
_FRAMES_PER_S = 1000.0 / _FRAME_MS
_MAJOR = (0, 2, 4, 5, 7, 9, 11)

_THROATS = (0.9, 1.12)
_WIDE_THROATS = (0.85, 1.2)
_TUNES_ABOVE_SPEECH = (-3.0, 5.0)
_HIGHER_TUNES_ABOVE_SPEECH = (-2.0, 9.0)


class SpeechError(Exception):
    """A program or a package that voices are made with is missing; the message says how to get it."""


@dataclass(frozen=True)
class Analysis:
    """WORLD's view of speech, a row each _FRAME_MS: pitch (t,), spectral envelope (t, k), aperiodicity (t, k)."""

    f0_hz: FloatArray
    spectrum: FloatArray
    aperiodicity: FloatArray


def for_training(seed: int, clips_per_voice: int) -> Iterator[FloatArray]:
    """Clips of a few seconds in all trained voices: a quarter spoken, a quarter retuned, the rest sung."""
    for index, voice in enumerate(TRAINED):
        for clip in range(clips_per_voice):
            rng = np.random.default_rng((seed, index, clip))
            speech = speak(voice, _sentence(rng))
            yield speech if clip % 4 == 0 else retuned(rng, analysed(speech), is_sung=clip % 4 > 1)


def takes(voice: str, seed: tuple[int, ...], count: int) -> list[FloatArray]:
    """A random sentence as it is spoken, then `count` times retuned: first spoken, then sung.

    Every other of those keeps the speaker's own throat.
    """
    rng = np.random.default_rng(seed)
    speech = speak(voice, _sentence(rng))
    analysis = analysed(speech)
    sounds = [speech]
    for take in range(count):
        throats = (1.0, 1.0) if take % 2 else _WIDE_THROATS
        sung = retuned(rng, analysis, is_sung=take > 0, throats=throats, above_speech=_HIGHER_TUNES_ABOVE_SPEECH)
        sounds.append(sung)
    return sounds


def _sentence(rng: np.random.Generator) -> str:
    return " ".join(str(rng.choice(choices)) for choices in _PARTS_OF_A_SENTENCE)


def held_out() -> Iterator[tuple[str, FloatArray]]:
    """Each voice that is kept from training with a text of its own, spoken and sung: name and sound."""
    for index, (voice, text) in enumerate(zip(HELD_OUT, _HELD_OUT_TEXTS, strict=True)):
        speech = speak(voice, text)
        name = voice.replace("flite:", "").replace("en-us+", "espeak-")
        yield f"{name}-spoken", speech
        yield f"{name}-sung", retuned(np.random.default_rng(index), analysed(speech), is_sung=True)


def speak(voice: str, text: str) -> FloatArray:
    """`text` as `voice` says it, without the silence around it, RMS 0.1.

    Raises:
        SpeechError: the synthesiser is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        if voice.startswith("flite:"):
            command = ["flite", "-voice", voice.removeprefix("flite:"), "-t", text, "-o", str(file)]
        else:
            command = ["espeak-ng", "-v", voice, "-s", "150", "-w", str(file), text]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except FileNotFoundError as error:
            raise SpeechError(f"{command[0]} is missing: `apt-get install flite espeak-ng`.") from error
        with wave.open(str(file)) as reader:
            pcm = np.frombuffer(reader.readframes(reader.getnframes()), "<i2")
            samples = resampled(pcm / 32768.0, reader.getframerate(), SAMPLE_RATE_HZ)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1]
    return samples * (0.1 / rms(samples))


def analysed(speech: FloatArray) -> Analysis:
    """What `retuned` needs to know of `speech`.

    Raises:
        SpeechError: the vocoder is not installed.
    """
    pyworld = load_vocoder()
    samples = np.ascontiguousarray(speech)
    f0_hz, times_s = pyworld.harvest(samples, SAMPLE_RATE_HZ, frame_period=_FRAME_MS)
    spectrum = pyworld.cheaptrick(samples, f0_hz, times_s, SAMPLE_RATE_HZ)
    return Analysis(f0_hz, spectrum, pyworld.d4c(samples, f0_hz, times_s, SAMPLE_RATE_HZ))


def retuned(
    rng: np.random.Generator,
    analysis: Analysis,
    *,
    is_sung: bool,
    throats: tuple[float, float] = _THROATS,
    above_speech: tuple[float, float] = _TUNES_ABOVE_SPEECH,
) -> FloatArray:
    """The same words by another throat and pitch; sung ones are stretched and follow a random tune with vibrato.

    The throat's length is within `throats`, the speaker's own being 1; the tune lies within `above_speech`
    semitones of the pitch of the speech.
    """
    f0_hz = analysis.f0_hz
    stretch = rng.uniform(1.2, 2.2) if is_sung else rng.uniform(0.85, 1.2)
    ends = np.cumsum(np.where(f0_hz > 0.0, stretch, 1.0))
    source = np.minimum(np.searchsorted(ends, np.arange(int(ends[-1]))), len(f0_hz) - 1)
    is_voiced = f0_hz[source] > 0.0
    if is_sung:
        pitch_hz = _tune_hz(rng, len(source), float(np.median(f0_hz[f0_hz > 0.0])), above_speech)
    else:
        pitch_hz = f0_hz[source] * rng.uniform(0.8, 1.3)
    bins = np.arange(analysis.spectrum.shape[1])
    throat = np.clip(bins * rng.uniform(*throats), 0, bins[-1]).astype(int)
    sound = load_vocoder().synthesize(
        np.ascontiguousarray(np.where(is_voiced, pitch_hz, 0.0)),
        np.ascontiguousarray(analysis.spectrum[source][:, throat]),
        np.ascontiguousarray(analysis.aperiodicity[source][:, throat]),
        SAMPLE_RATE_HZ,
        _FRAME_MS,
    )
    return sound * (0.1 / rms(sound))


def _tune_hz(rng: np.random.Generator, frames: int, spoken_hz: float, above_speech: tuple[float, float]) -> FloatArray:
    """A random tune around the speaker's own pitch: notes of a major scale joined by glides, with vibrato."""
    key = int(rng.integers(12))
    scale = [note for note in range(33, 84) if (note - key) % 12 in _MAJOR]
    centre = 69.0 + 12.0 * np.log2(spoken_hz / 440.0) + rng.uniform(*above_speech)
    place = int(np.argmin(np.abs(np.array(scale) - centre)))
    lowest, highest = max(place - 4, 0), min(place + 4, len(scale) - 1)
    notes = np.zeros(frames)
    at = 0
    while at < frames:
        length = round(rng.uniform(0.2, 0.9) * _FRAMES_PER_S)
        notes[at : at + length] = scale[place]
        place = int(np.clip(place + rng.integers(-2, 3), lowest, highest))
        at += length
    width = round(rng.uniform(0.04, 0.1) * _FRAMES_PER_S)
    window = np.hanning(width + 2)[1:-1]
    glided = np.convolve(np.pad(notes, width, mode="edge"), window / window.sum(), mode="same")[width:-width]
    vibrato = rng.uniform(0.0, 0.4) * np.sin(2.0 * np.pi * rng.uniform(4.5, 6.5) * np.arange(frames) / _FRAMES_PER_S)
    return np.asarray(440.0 * 2.0 ** ((glided + vibrato - 69.0) / 12.0), dtype=np.float64)


def load_vocoder() -> ModuleType:
    """The module pyworld.

    Raises:
        SpeechError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="pyworld")  # about its own packaging
            return importlib.import_module("pyworld")
    except ImportError as error:
        raise SpeechError("The vocoder pyworld is missing: `pip install pyworld`.") from error
