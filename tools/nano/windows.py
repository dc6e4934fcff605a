"""What the nano transcriber is trained on: phrases put into windows, clean or out of songs, and what to tell of them.

A song is a row of phrases over a band of `mixtures`; it is kept as it is and as the nano separator gives its vocals.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import mixtures
import numpy as np
import phrases
import torch
import vocabulary
from demucs.apply import apply_model
from mixtures import FloatArray
from numpy.typing import NDArray
from phrases import LEVEL, SAMPLE_RATE_HZ, SUNG, VERSES, VOICES, Clip, Word
from torch import Tensor
from torch.nn import functional
from vocabulary import NUMBERS
from whisper.audio import log_mel_spectrogram

from singscript_separator.engines import weights

SEPARATOR = Path(__file__).parents[2] / "tests" / "support" / "models" / "nano-htdemucs.safetensors"

FRAME_S = 0.02
"""Of the encoder; a mel frame is half of that."""
_FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)

_PROCESSES = 2
_SUNG_PARTS, _SUNG_PER_PART = 10, 100
_VERSES_PARTS, _VERSES_PER_PART = 10, 40
_CLIPS_PER_VOICE = 220
_SONGS, _SONG_S = 240, 28.0
_ABOVE_BAND_DB = (5.0, 18.0)
_MIXES = 0.3
"""How often a song is heard as it was mixed, rather than separated."""
_AGAIN = 0.2
"""How often a phrase is one that was heard before in the window."""
_STAMP_S = 0.1
"""Segments' times are told on this grid: what cannot be heard need not be learnt."""
_PLACES = 448
"""Of the decoder."""
_LATEST_START_S = 1.0
"""Whisper allows no first timestamp after it."""


@dataclass(frozen=True)
class Track:
    """Sound float16 (n,), its phrases and their language (None: nobody sings)."""

    sound: NDArray[np.float16]
    segments: list[list[Word]]
    language: str | None


@dataclass(frozen=True)
class Guide:
    """Where rows of a decoder's layer are to look: row i is token `tokens[i]` of sequence `sequences[i]`.

    It should look at the frames from `firsts` to `lasts`, and a little at those on to `tails`.
    """

    sequences: Tensor
    tokens: Tensor
    firsts: Tensor
    lasts: Tensor
    tails: Tensor


@dataclass(frozen=True)
class Batch:
    """Of b windows; each is told twice, with timestamps (the first b sequences) and without.

    Attributes:
        mel: (b, 80, 2 t).
        frames: (b, t): the word that sounds, or the number of words.
        tokens, places, targets: (2 b, n): what is said, at which place, and what follows (-1: not learnt).
        guides: for the first and the last layer of the decoder.
    """

    mel: Tensor
    frames: Tensor
    tokens: Tensor
    places: Tensor
    targets: Tensor
    guides: tuple[Guide, Guide]


class Material:
    """Clips by voice, and tracks: with voice (each separated, then as it was mixed) and without."""

    def __init__(self, clips: dict[str, list[Clip]], tracks: list[Track]) -> None:
        self.clips = clips
        self.songs = [track for track in tracks if track.segments]
        self.bands = [track for track in tracks if not track.segments]

    @classmethod
    def kept(cls, folder: Path) -> Material:
        """What `folder` holds; what it lacks is made (half an hour on two cores) and kept there."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = [(SUNG, part, _SUNG_PER_PART) for part in range(_SUNG_PARTS)]
        parts += [(VERSES, part, _VERSES_PER_PART) for part in range(_VERSES_PARTS)]
        parts += [(voice, 0, _CLIPS_PER_VOICE) for voice in VOICES]
        clips: dict[str, list[Clip]] = {}
        with ProcessPoolExecutor(_PROCESSES, get_context("spawn")) as pool:
            for (voice, _, _), file in zip(parts, pool.map(_make_clips, [folder] * len(parts), parts), strict=True):
                clips.setdefault(voice, []).extend(load_clips(file))
            songs = range(_SONGS)
            files = list(pool.map(_make_song, [folder] * len(songs), songs))
        return cls(clips, [track for file in files for track in load_tracks(file)])


def save(file: Path, tracks: Sequence[Track]) -> None:
    """Sounds in half precision, and their truth."""
    truth = [
        {"language": track.language, "segments": [[list(vars(word).values()) for word in s] for s in track.segments]}
        for track in tracks
    ]
    sound = np.concatenate([track.sound for track in tracks]).astype(np.float16)
    ends = np.cumsum([len(track.sound) for track in tracks])
    np.savez(file.with_suffix(".new.npz"), allow_pickle=False, sound=sound, ends=ends, truth=json.dumps(truth))
    file.with_suffix(".new.npz").replace(file)


def load_tracks(file: Path) -> list[Track]:
    """What `save` wrote."""
    with np.load(file) as arrays:
        sounds = np.split(arrays["sound"], arrays["ends"][:-1])
        truth = json.loads(str(arrays["truth"]))
    return [
        Track(sound, [[Word(*word) for word in segment] for segment in told["segments"]], told["language"])
        for sound, told in zip(sounds, truth, strict=True)
    ]


def load_clips(file: Path) -> list[Clip]:
    """What `save` wrote of tracks with one phrase each."""
    return [Clip(track.sound, track.segments[0], str(track.language)) for track in load_tracks(file)]


def _make_clips(folder: Path, part: tuple[str, int, int]) -> Path:
    voice, seed, count = part
    file = folder / f"clips-{voice.replace(':', '-').replace('+', '-')}-{seed}.npz"
    if not file.exists():
        made = phrases.clips(voice, seed, count)
        save(file, [Track(clip.sound.astype(np.float16), [clip.words], clip.language) for clip in made])
    return file


def _make_song(folder: Path, number: int) -> Path:
    """One song as mix and as separated vocals; every tenth one is a band alone."""
    file = folder / f"song-{number}.npz"
    if not file.exists():
        torch.set_num_threads(1)
        rng = np.random.default_rng((3, number))
        voice = (SUNG, VERSES)[number % 2] if rng.random() < 0.8 else VOICES[number % len(VOICES)]
        parts = sorted(folder.glob(f"clips-{voice.replace(':', '-').replace('+', '-')}-*.npz"))
        clips = load_clips(parts[number % len(parts)])
        save(file, song(rng, clips if number % 10 else [], SEPARATOR))
    return file


def song(rng: np.random.Generator, clips: Sequence[Clip], separator: Path) -> list[Track]:
    """A song of random `clips` (none: the band alone): as the separator gives its vocals, and the mix."""
    voice, segments = _row(rng, _SONG_S, clips)
    wide = mixtures.resampled(voice, SAMPLE_RATE_HZ, mixtures.SAMPLE_RATE_HZ)
    band = mixtures.play(rng, len(wide))
    stems = mixtures.mixed(rng, band, mixtures.in_a_room(rng, wide), rng.uniform(*_ABOVE_BAND_DB))
    mix = stems.sum(0)
    language = clips[0].language if clips else None
    return [
        Track(
            mixtures.resampled(sound.mean(1), mixtures.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ).astype(np.float16),
            segments,
            language,
        )
        for sound in (vocals(separator, mix), mix)
    ]


def vocals(separator: Path, mix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vocals of `mix` (n, 2), as Demucs itself applies the checkpoint."""
    name = separator.stem
    model = weights.load_models([name], weights.Recipe((name,)), separator.parent)[name]
    level = float(mix.std())
    with torch.no_grad():
        estimate = apply_model(model, torch.from_numpy(mix.T / level)[None], shifts=0)[0] * level
    return estimate[mixtures.SOURCES.index("vocals")].numpy().T


def _row(rng: np.random.Generator, length_s: float, clips: Sequence[Clip]) -> tuple[FloatArray, list[list[Word]]]:
    """Phrases in turn with pauses, in about `length_s`; what does not fit is left out."""
    sound = np.zeros(round(length_s * SAMPLE_RATE_HZ))
    segments: list[list[Word]] = []
    sung: list[Clip] = []
    at_s = _pause_s(rng)
    while clips:
        sung.append(_next_clip(rng, clips, sung))
        clip = sung[-1]
        start = round(at_s * SAMPLE_RATE_HZ)
        if start + len(clip.sound) > len(sound):
            break
        sound[start : start + len(clip.sound)] += clip.sound
        segments.append([word.later(start / SAMPLE_RATE_HZ) for word in clip.words])
        at_s += len(clip.sound) / SAMPLE_RATE_HZ + _pause_s(rng)
    return sound, segments


def _next_clip(rng: np.random.Generator, clips: Sequence[Clip], before: Sequence[Clip]) -> Clip:
    """Any of `clips`, or one that was heard `before`: songs repeat their lines."""
    chosen = before if before and rng.random() < _AGAIN else clips
    return chosen[int(rng.integers(len(chosen)))]


def _pause_s(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.15, 0.5) if rng.random() < 0.6 else rng.uniform(0.4, 2.0))


@dataclass(frozen=True)
class _Window:
    """What is heard, mono at its length (the rest of the window is padding), and what is to be told of it.

    Attributes:
        unfinished: the words that the window's end cuts off; they sound but are not to be told.
    """

    sound: FloatArray
    segments: list[list[Word]]
    unfinished: list[Word]
    language: str | None


def batch(rng: np.random.Generator, material: Material, length_s: float, count: int, from_songs: float) -> Batch:
    """`count` new windows of `length_s`, the share `from_songs` of them out of songs."""
    windows = [_window(rng, material, length_s, rng.random() < from_songs) for _ in range(count)]
    t = round(length_s / FRAME_S)
    mel = torch.stack([_heard(rng, window, 2 * t) for window in windows])
    frames = torch.full((count, t), len(vocabulary.WORDS))
    for index, window in enumerate(windows):
        for word in [word for segment in [*window.segments, window.unfinished] for word in segment]:
            frames[index, round(word.start_s / FRAME_S) : round(word.end_s / FRAME_S)] = NUMBERS[word.text]
    return _told(rng, windows, mel, frames)


def _window(rng: np.random.Generator, material: Material, length_s: float, is_from_song: bool) -> _Window:
    if rng.random() < 0.1:
        return _without_voice(rng, material, length_s)
    if is_from_song:
        return _out_of_song(rng, material, length_s)
    language = "de" if rng.random() < 0.15 else "en"
    voices = [voice for voice in material.clips if voice.startswith("de") == (language == "de")]
    odds = np.array([3.0 if voice in (SUNG, VERSES) else 1.5 if voice.startswith("flite") else 1.0 for voice in voices])
    pool: list[Clip] = []
    for voice in rng.choice(voices, 1 if rng.random() < 0.6 else 3, p=odds / odds.sum()):
        pool += material.clips[voice]
    sound = np.zeros(round(length_s * SAMPLE_RATE_HZ))
    segments: list[list[Word]] = []
    heard: list[Clip] = []
    unfinished: list[Word] = []
    is_cut = rng.random() < 0.15
    stop_s = length_s * (1.0 if rng.random() < 0.6 else rng.uniform(0.3, 1.0))
    at_s = _lead_s(rng)
    while at_s < stop_s:
        clip = _next_clip(rng, pool, heard)
        heard.append(clip)
        start = round(at_s * SAMPLE_RATE_HZ)
        is_over = start + len(clip.sound) > len(sound)
        if is_over and not is_cut:
            break
        kept = clip.sound[: len(sound) - start].astype(np.float64)
        sound[start : start + len(kept)] += kept * 10.0 ** (rng.uniform(-4.0, 4.0) / 20.0)
        words = [word.later(start / SAMPLE_RATE_HZ) for word in clip.words]
        if is_over:
            unfinished = words
            break
        segments.append(words)
        at_s = (start + len(kept)) / SAMPLE_RATE_HZ + _pause_s(rng)
    if not unfinished:
        end = round((min(at_s, length_s) if rng.random() < 0.5 else length_s) * SAMPLE_RATE_HZ)
        sound = sound[:end]
    return _Window(_disturbed(rng, sound), segments, unfinished, language if segments or unfinished else None)


def _lead_s(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.0, 0.9) if rng.random() < 0.8 else rng.uniform(0.0, 3.0))


def _out_of_song(rng: np.random.Generator, material: Material, length_s: float) -> _Window:
    track = material.songs[2 * int(rng.integers(len(material.songs) // 2)) + (rng.random() < _MIXES)]
    first = int(rng.integers(len(track.segments)))
    if length_s > 20.0:
        first = 0
    before_s = track.segments[first - 1][-1].end_s if first else 0.0
    start_s = max(before_s, track.segments[first][0].start_s - _lead_s(rng))
    last = first
    while last < len(track.segments) and track.segments[last][-1].end_s < start_s + length_s:
        last += 1
    if rng.random() < 0.3:
        last = int(rng.integers(first, last + 1))
    next_s = track.segments[last][0].start_s if last < len(track.segments) else len(track.sound) / SAMPLE_RATE_HZ
    spoken_s = track.segments[last - 1][-1].end_s if last > first else start_s
    end_s = min(rng.uniform(spoken_s, next_s), start_s + length_s)
    unfinished: list[Word] = []
    if last < len(track.segments) and (rng.random() < 0.15 or last == first):
        end_s = start_s + length_s
        unfinished = [word.later(-start_s) for word in track.segments[last] if word.start_s < end_s]
    start, end = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
    sound = track.sound[start:end].astype(np.float64)
    segments = [[word.later(-start / SAMPLE_RATE_HZ) for word in segment] for segment in track.segments[first:last]]
    return _Window(
        sound * 10.0 ** (rng.uniform(-10.0, 10.0) / 20.0),
        segments,
        unfinished,
        track.language if segments or unfinished else None,
    )


def _without_voice(rng: np.random.Generator, material: Material, length_s: float) -> _Window:
    """Silence, noise, applause, a band alone or what the separator leaves of it."""
    length = round(length_s * (1.0 if rng.random() < 0.7 else rng.uniform(0.1, 1.0)) * SAMPLE_RATE_HZ)
    kind = rng.random()
    if kind < 0.15:
        sound = np.zeros(length)
    elif kind < 0.35:
        sound = 10.0 ** rng.uniform(-4.0, -0.7) * _noise(rng, length)
    elif kind < 0.5:
        claps = np.zeros(length)
        for at in rng.integers(0, length, int(rng.uniform(5.0, 200.0) * length / SAMPLE_RATE_HZ)):
            clap = rng.standard_normal(320) * np.exp(-np.arange(320) / rng.uniform(20.0, 90.0)) * rng.uniform(0.2, 1.0)
            claps[at : at + 320] += clap[: length - at]
        sound = claps * 10.0 ** rng.uniform(-1.7, -0.7)
    else:
        track = material.bands[int(rng.integers(len(material.bands)))].sound
        start = int(rng.integers(max(len(track) - length, 1)))
        sound = track[start : start + length] * 10.0 ** rng.uniform(-1.0, 0.3)
    return _Window(np.asarray(sound, dtype=np.float64), [], [], None)


def _noise(rng: np.random.Generator, length: int) -> FloatArray:
    """White or darker, RMS about 1."""
    noise = rng.standard_normal(length + 8)
    if rng.random() < 0.5:
        noise = np.asarray(np.convolve(noise, np.ones(8) / np.sqrt(8.0), mode="same"), dtype=np.float64)
    return noise[:length]


def _disturbed(rng: np.random.Generator, sound: FloatArray) -> FloatArray:
    """Louder or softer, half of the time with noise, sometimes with a hum."""
    sound = sound * 10.0 ** (rng.uniform(-14.0, 10.0) / 20.0)
    level = LEVEL * 10.0 ** (rng.uniform(-14.0, 10.0) / 20.0)
    if rng.random() < 0.5:
        sound = sound + level * 10.0 ** (rng.uniform(-55.0, -15.0) / 20.0) * _noise(rng, len(sound))
    if rng.random() < 0.15:
        times = np.arange(len(sound)) / SAMPLE_RATE_HZ
        sound = sound + level * 10.0 ** rng.uniform(-2.0, -0.8) * np.sin(2 * np.pi * rng.uniform(50.0, 1500.0) * times)
    return sound


def _heard(rng: np.random.Generator, window: _Window, frames: int) -> Tensor:
    """The log-mel frames (80, frames): of the sound, then zeros, as Whisper has them, or of silence.

    The floor is that of a longer file half of the time, and the sound may have gone through some filter.
    """
    length = frames * _FRAME_SAMPLES // 2
    sound = torch.from_numpy(window.sound[:length].astype(np.float32))
    mel = log_mel_spectrogram(functional.pad(sound, (0, length - len(sound))))
    if rng.random() < 0.5:
        mel = torch.maximum(mel, mel.max() - float(rng.uniform(1.3, 2.0)))
    if rng.random() < 0.5:
        places = torch.linspace(-1.0, 1.0, 80)[:, None]
        tilt = sum(float(rng.normal(0.0, 0.06)) * torch.cos(k * torch.pi * (places + 1.0) / 2.0) for k in range(5))
        mel = mel + tilt
    if rng.random() < 0.7:
        mel[:, len(sound) // (_FRAME_SAMPLES // 2) :] = 0.0
    return mel


def _told(rng: np.random.Generator, windows: list[_Window], mel: Tensor, frames: Tensor) -> Batch:
    """The sequences of all windows, with timestamps and then without, and where they are to look."""
    scripts = [_script(window, with_times) for with_times in (True, False) for window in windows]
    starts = [_start(rng, windows) for _ in scripts]
    longest = max(len(before) + len(script.tokens) for (before, _), script in zip(starts, scripts, strict=True)) - 1
    tokens = torch.full((len(scripts), longest), NUMBERS["eot"])
    places = torch.zeros((len(scripts), longest), dtype=torch.long)
    targets = torch.full((len(scripts), longest), -1)
    looks: tuple[list[tuple[int, ...]], list[tuple[int, ...]]] = ([], [])
    for index, ((before, offset), script) in enumerate(zip(starts, scripts, strict=True)):
        said = [*before, *script.tokens]
        first, count = len(before), len(said) - 1
        tokens[index, :count] = torch.tensor(said[:-1])
        places[index] = offset + torch.arange(longest).clamp(max=_PLACES - 1 - offset)
        targets[index, first:count] = torch.tensor(script.targets)
        for place, look in enumerate(script.looks):
            if look is None:
                continue
            if place < len(script.looks) - 1:
                looks[0].append((index, first + place, *look))
            if place:
                looks[1].append((index, first + place - 1, *look))
    guides = tuple(Guide(*torch.tensor(rows).reshape(-1, 5).T) for rows in looks)
    return Batch(mel, frames, tokens, places, targets, (guides[0], guides[1]))


@dataclass(frozen=True)
class _Script:
    """A sequence from <|startoftranscript|> to <|endoftext|>; what is to follow each token but the last (-1: anything).

    Attributes:
        looks: for each token the frames (first, last, tail) at which it sounds, if it does.
    """

    tokens: list[int]
    targets: list[int]
    looks: list[tuple[int, int, int] | None]


def _script(window: _Window, with_times: bool) -> _Script:
    tokens = [NUMBERS["sot"], NUMBERS[window.language or "en"], NUMBERS["transcribe"]]
    looks: list[tuple[int, int, int] | None] = [None] * 3
    first_targets = [NUMBERS[window.language or "nospeech"], NUMBERS["transcribe"]]
    if not with_times:
        tokens.append(NUMBERS["notimestamps"])
        looks.append(None)

    def stamp(time_s: float) -> None:
        allowed_s = min(time_s, _LATEST_START_S) if len(tokens) == 3 else time_s
        tokens.append(vocabulary.timestamp(round(allowed_s / _STAMP_S) * _STAMP_S))
        frame = round(time_s / FRAME_S)
        looks.append((max(frame - 2, 0), frame + 3, 0))

    end = len(window.sound) / SAMPLE_RATE_HZ
    nexts_s = [*(segment[0].start_s for segment in window.segments), end][1:]
    for segment, next_s in zip(window.segments, nexts_s, strict=bool(window.segments)):
        if with_times:
            stamp(segment[0].start_s)
        for word in segment:
            tokens.append(NUMBERS[word.text])
            first = round(word.start_s / FRAME_S)
            tail = 0 if with_times or word is not segment[-1] else round(next_s / FRAME_S) - 4
            looks.append((first, max(round(word.end_s / FRAME_S), first + 1), tail))
        if with_times:
            stamp(segment[-1].end_s)
    if with_times and window.unfinished:
        stamp(window.unfinished[0].start_s)
    elif with_times and not window.segments:
        tokens.append(vocabulary.timestamp(0.0))
        looks.append(None)
    tokens.append(NUMBERS["eot"])
    last_s = window.segments[-1][-1].end_s if window.segments else None
    looks.append(None if last_s is None else (round(last_s / FRAME_S), round(last_s / FRAME_S) + 15, 0))
    return _Script(tokens, first_targets + tokens[3:] if with_times else [*first_targets, -1, *tokens[4:]], looks)


def _start(rng: np.random.Generator, windows: list[_Window]) -> tuple[list[int], int]:
    """What comes before the sequence, sometimes: a text of before, with its times or without; and the first place.

    Without such a text the places may begin later, so that all of them are learnt.
    """
    if rng.random() > 0.15:
        return [], int(rng.integers(300)) if rng.random() < 0.15 else 0
    script = _script(windows[int(rng.integers(len(windows)))], with_times=rng.random() < 0.6)
    text = [token for token in script.tokens[3:-1] if token != NUMBERS["notimestamps"]][-40:]
    if rng.random() < 0.25:
        text = [token if rng.random() < 0.5 else vocabulary.OTHER for token in text]
    return [NUMBERS["prev"], *text], 0
