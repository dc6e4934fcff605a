"""What the nano CTC network is trained on: windows of speech and song, and what is to be told of them.

Two kinds of phrases: those of the nano transcriber (few words, each with its times), and sentences of common English
words at random, of which only the text is known. Sound is mono at SAMPLE_RATE_HZ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pocketsphinx
import speech
import torch
import vocabulary
from mixtures import FloatArray
from numpy.typing import NDArray
from phrases import LEVEL, SAMPLE_RATE_HZ, SUNG, VERSES, Word
from torch import Tensor
from whisper.tokenizer import get_tokenizer
from windows import Material, Track

LETTERS = "'abcdefghijklmnopqrstuvwxyz"
BLANK, GAP = 0, 1
"""What is no letter: nothing new, and the end of a word."""
NUMBERS = {letter: number for number, letter in enumerate(LETTERS, start=2)}
SIZE = len(LETTERS) + 2

HOP_SAMPLES = 320
_ANY = -100
"""The target of a frame of which nothing is known."""

_LYRICS = Path(__file__).parents[2] / "demo" / "lyrics.txt"
_PROCESSES = 2
_PARTS = 2 * len(speech.TRAINED)
_SENTENCES_PER_PART = 30
_MIXES = 0.25
"""How often a song is heard as it was mixed, rather than separated."""


@dataclass(frozen=True)
class Sentence:
    """Sound float16 (n,) and its words, whose times nobody knows."""

    sound: NDArray[np.float16]
    words: list[str]


@dataclass(frozen=True)
class Batch:
    """Of b windows of t frames.

    Attributes:
        sound: (b, n), of mean 0 and variance 1.
        frames: (b, t): the letter at each frame, or what is not learnt.
        letters: (all of them,), one window's after the other's; `lengths` (b,) says how many each has.
    """

    sound: Tensor
    frames: Tensor
    letters: Tensor
    lengths: Tensor


def sentences(folder: Path) -> list[Sentence]:
    """What `folder` holds; what it lacks is made (five minutes on two cores) and kept there."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(_PROCESSES, get_context("spawn")) as pool:
        files = list(pool.map(_make_sentences, [folder] * _PARTS, range(_PARTS)))
    return [sentence for file in files for sentence in _load(file)]


def _make_sentences(folder: Path, part: int) -> Path:
    """Seven of eight as they are spoken, one sung."""
    file = folder / f"sentences-{part}.npz"
    if file.exists():
        return file
    voice = speech.TRAINED[part % len(speech.TRAINED)]
    lyrics = _LYRICS.read_text("utf-8").lower().replace(",", "").replace(".", "").split()
    common = _common_words()
    made: list[Sentence] = []
    for number in range(_SENTENCES_PER_PART):
        rng = np.random.default_rng((5, part, number))
        words = [str(word) for word in rng.choice(common, int(rng.integers(2, 8)))]
        if vocabulary.shares_a_line(words, lyrics):
            continue
        sound = speech.speak(voice, " ".join(words))
        if number % 8 == 7:
            sound = speech.retuned(rng, speech.analysed(sound), is_sung=True)
        made.append(Sentence(sound.astype(np.float16), words))
    ends = np.cumsum([len(sentence.sound) for sentence in made])
    told = json.dumps([sentence.words for sentence in made])
    sound = np.concatenate([sentence.sound for sentence in made])
    np.savez(file.with_suffix(".new.npz"), allow_pickle=False, sound=sound, ends=ends, words=told)
    return file.with_suffix(".new.npz").replace(file)


def _load(file: Path) -> list[Sentence]:
    with np.load(file) as arrays:
        sounds = np.split(arrays["sound"], arrays["ends"][:-1])
        return [Sentence(*pair) for pair in zip(sounds, json.loads(str(arrays["words"])), strict=True)]


def _common_words() -> list[str]:
    """Words that a dictionary of pronunciations has and that are one token for Whisper: some 15 thousand."""
    tokenizer = get_tokenizer(multilingual=False)
    tokens = {tokenizer.decode([number]) for number in range(tokenizer.eot)}
    dictionary = Path(str(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))).read_text("utf-8")
    words = [line.split()[0] for line in dictionary.splitlines()]
    return [
        word for word in words if word.isascii() and word.isalpha() and 2 <= len(word) <= 10 and f" {word}" in tokens
    ]


def batch(
    rng: np.random.Generator,
    material: Material,
    told: Sequence[Sentence],
    length_s: float,
    count: int,
    from_songs: float,
    without_times: float,
    field_samples: int,
) -> Batch:
    """`count` new windows: the share `from_songs` of them out of songs, `without_times` of `told` sentences.

    A window is so much longer than `length_s` that a network which sees `field_samples` at a time gives a frame for
    every hop, the hop in the middle of what it sees.
    """
    t = round(length_s * SAMPLE_RATE_HZ) // HOP_SAMPLES
    margin = (field_samples - HOP_SAMPLES) // 2
    sounds: list[FloatArray] = []
    frames = torch.full((count, t), BLANK)
    letters: list[list[int]] = []
    for index in range(count):
        kind = rng.random()
        if kind < without_times and told:
            sound, words = _of_sentences(rng, told, t * HOP_SAMPLES)
            frames[index] = _ANY
            letters.append([number for word in words for number in spelt(word)])
        else:
            make = _of_song if kind > 1.0 - from_songs else _of_clips
            sound, timed = make(rng, material, t * HOP_SAMPLES)
            for word in timed:
                _mark(frames[index], word)
            letters.append([number for word in timed for number in spelt(word.text)])
        sound = np.pad(sound, (margin, field_samples - HOP_SAMPLES - margin))
        sounds.append((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7))
    return Batch(
        torch.from_numpy(np.stack(sounds).astype(np.float32)),
        frames,
        torch.tensor([number for one in letters for number in one]),
        torch.tensor([len(one) for one in letters]),
    )


def spelt(word: str) -> list[int]:
    """Its letters' numbers, and the gap behind it."""
    return [*(NUMBERS[letter] for letter in word), GAP]


def _mark(frames: Tensor, word: Word) -> None:
    """Spreads the word's letters over its frames; equal letters are parted, and the last frame is the gap."""
    first = round(word.start_s * SAMPLE_RATE_HZ / HOP_SAMPLES)
    end = min(round(word.end_s * SAMPLE_RATE_HZ / HOP_SAMPLES), len(frames))
    numbers = spelt(word.text)[:-1]
    edges = [first + round(i * (end - 1 - first) / len(numbers)) for i in range(len(numbers) + 1)]
    for i, number in enumerate(numbers):
        frames[edges[i] : edges[i + 1]] = number
        if i and numbers[i - 1] == number and edges[i] > edges[i - 1] + 1:
            frames[edges[i] - 1] = BLANK
    frames[end - 1] = GAP


def _of_clips(rng: np.random.Generator, material: Material, length: int) -> tuple[FloatArray, list[Word]]:
    voices = [voice for voice in material.clips if not voice.startswith("de")]
    odds = np.array([3.0 if voice in (SUNG, VERSES) else 1.5 if voice.startswith("flite") else 1.0 for voice in voices])
    pool = material.clips[str(rng.choice(voices, p=odds / odds.sum()))]
    sound = np.zeros(length)
    words: list[Word] = []
    start = _pause(rng)
    while True:
        clip = pool[int(rng.integers(len(pool)))]
        if start + len(clip.sound) > length:
            return _disturbed(rng, sound), words
        sound[start : start + len(clip.sound)] += clip.sound.astype(np.float64) * 10.0 ** (
            rng.uniform(-4.0, 4.0) / 20.0
        )
        words += [word.later(start / SAMPLE_RATE_HZ) for word in clip.words]
        start += len(clip.sound) + _pause(rng)


def _of_song(rng: np.random.Generator, material: Material, length: int) -> tuple[FloatArray, list[Word]]:
    """A stretch between two phrases of a song, with the phrases that fit."""
    songs: list[Track] = [track for track in material.songs if track.language == "en"]
    track = songs[2 * int(rng.integers(len(songs) // 2)) + (rng.random() < _MIXES)]
    first = int(rng.integers(len(track.segments)))
    before_s = track.segments[first - 1][-1].end_s if first else 0.0
    start = round(rng.uniform(before_s, track.segments[first][0].start_s) * SAMPLE_RATE_HZ)
    end = start
    words: list[Word] = []
    for i, segment in enumerate(track.segments[first:], start=first):
        is_last = i + 1 == len(track.segments)
        next_s = len(track.sound) / SAMPLE_RATE_HZ if is_last else track.segments[i + 1][0].start_s
        if round(segment[-1].end_s * SAMPLE_RATE_HZ) > start + length:
            break
        words += [word.later(-start / SAMPLE_RATE_HZ) for word in segment]
        end = min(round(next_s * SAMPLE_RATE_HZ), start + length)
    sound = np.zeros(length)
    sound[: end - start] = track.sound[start:end]
    return sound, words


def _of_sentences(rng: np.random.Generator, told: Sequence[Sentence], length: int) -> tuple[FloatArray, list[str]]:
    sound = np.zeros(length)
    words: list[str] = []
    start = _pause(rng)
    while True:
        sentence = told[int(rng.integers(len(told)))]
        if start + len(sentence.sound) > length:
            return _disturbed(rng, sound), words
        sound[start : start + len(sentence.sound)] += sentence.sound
        words += sentence.words
        start += len(sentence.sound) + _pause(rng)


def _pause(rng: np.random.Generator) -> int:
    return round(rng.uniform(0.15, 0.5 if rng.random() < 0.6 else 1.5) * SAMPLE_RATE_HZ)


def _disturbed(rng: np.random.Generator, sound: FloatArray) -> FloatArray:
    """Half of the time with noise, 15 to 50 dB below the voice."""
    if rng.random() < 0.5:
        return sound
    return sound + LEVEL * 10.0 ** (rng.uniform(-50.0, -15.0) / 20.0) * rng.standard_normal(len(sound))
