"""Sung and spoken lines whose words have known times, and what can be made of them: bands, pauses, wrong lyrics.

The recordings are those of `spoken/lines` (made by `tools/nano/lines.py`) and the demo. A `Piece` is sound and truth
together; each function here takes one and gives another, so that they can be put one after another. The same piece
and numbers give the same sound. Needs numpy and the decoder alone, but for `separated`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mixtures
import numpy as np
from mixtures import HELD_OUT_SEED
from numpy.typing import NDArray

from singscript_audio.decode import decode

SAMPLE_RATE_HZ = 16_000
TUNING = ("slow", "normal", "fast", "verses")
HELD_OUT = ("held_out_spoken", "held_out_voices", "held_out_sung")
"""For reporting: nothing may be tuned on these."""

Sound = NDArray[np.float32]

_SUPPORT = Path(__file__).parent
_LINES = _SUPPORT / "spoken" / "lines"
_DEMO = _SUPPORT.parents[1] / "demo"
_SEPARATOR = _SUPPORT / "models" / "nano-htdemucs.safetensors"
_CUT_PAUSE_S = 0.2
"""Between lines there is at least so much silence: sound is cut there."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it is written, and the seconds between which it sounds."""

    text: str
    start_s: float
    end_s: float

    def later(self, by_s: float) -> Word:
        """The same word `by_s` later."""
        return Word(self.text, self.start_s + by_s, self.end_s + by_s)


@dataclass(frozen=True, slots=True)
class SungLine:
    """What is heard of one line.

    Attributes:
        words: all of them, with their times.
        given: the number of its line in the lyrics, from 0, empty lines and headings counted; None where they lack it.
    """

    words: tuple[Word, ...]
    given: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound with its truth, and the lyrics that an aligner is given.

    Attributes:
        samples: shape (n,), 16 kHz mono.
        lines: in order of time.
        lyrics: text; its lines that nobody sings are those that no `SungLine.given` names.
    """

    name: str
    samples: Sound
    lines: tuple[SungLine, ...]
    lyrics: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ

    @property
    def words(self) -> list[Word]:
        """All words that sound, in order of time."""
        return [word for line in self.lines for word in line.words]

    @property
    def known(self) -> list[Word]:
        """The words that sound and that the lyrics have a line for."""
        return [word for line in self.lines if line.given is not None for word in line.words]


def read(name: str) -> Piece:
    """One of TUNING or HELD_OUT, with its right lyrics."""
    return _piece(name, _LINES / f"{name}.flac", _LINES / f"{name}.json")


def demo(name: str = "demo.vocals") -> Piece:
    """A stem of the demo, or "demo" for its mix."""
    return _piece(name.replace(".", "_"), _DEMO / f"{name}.flac", _DEMO / "truth.json")


def _piece(name: str, sound: Path, truth: Path) -> Piece:
    told = json.loads(truth.read_text("utf-8"))["lines"]
    lines = tuple(
        # The demo's truth has the words without their punctuation.
        SungLine(
            tuple(
                Word(text, word["start_s"], word["end_s"])
                for text, word in zip(line["text"].split(), line["words"], strict=True)
            ),
            number,
        )
        for number, line in enumerate(told)
    )
    samples = np.concatenate(list(decode(sound, sample_rate_hz=SAMPLE_RATE_HZ, channels=1)))[:, 0]
    return Piece(name, samples, lines, "\n".join(line["text"] for line in told))


def with_band(piece: Piece, voice_above_band_db: float, seed: int = HELD_OUT_SEED) -> Piece:
    """With drums, bass and chords; the voice is so many dB above them while it sounds."""
    mix = _song(piece, voice_above_band_db, seed).sum(0)
    return replace(piece, name=f"{piece.name}, band {-voice_above_band_db:+g} dB", samples=_narrow(mix, piece))


def separated(piece: Piece, voice_above_band_db: float, seed: int = HELD_OUT_SEED) -> Piece:
    """As `with_band`, and then without the band again, as far as the small separator can."""
    import torch
    from demucs.apply import apply_model

    from singscript_separator.engines import weights

    name = _SEPARATOR.stem
    model = weights.load_models([name], weights.Recipe((name,)), _SEPARATOR.parent)[name]
    mix = _song(piece, voice_above_band_db, seed).sum(0)
    level = float(mix.std())
    with torch.inference_mode():
        parts = apply_model(model, torch.from_numpy(mix.T / level)[None], shifts=0)[0] * level
    vocals = parts[mixtures.SOURCES.index("vocals")].numpy().T
    return replace(piece, name=f"{piece.name}, out of {-voice_above_band_db:+g} dB", samples=_narrow(vocals, piece))


def _song(piece: Piece, voice_above_band_db: float, seed: int) -> NDArray[np.float32]:
    wide = mixtures.resampled(piece.samples.astype(np.float64), SAMPLE_RATE_HZ, mixtures.SAMPLE_RATE_HZ)
    return mixtures.song(seed, wide, voice_above_band_db)


def _narrow(stereo: NDArray[np.floating], piece: Piece) -> Sound:
    mono = mixtures.resampled(stereo.mean(1, dtype=np.float64), mixtures.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
    return mono[: len(piece.samples)].astype(np.float32)


def with_noise(piece: Piece, voice_above_noise_db: float, seed: int = HELD_OUT_SEED) -> Piece:
    """With white noise."""
    noise = np.random.default_rng(seed).standard_normal(len(piece.samples)).astype(np.float32)
    sounding = piece.samples[np.abs(piece.samples) > 1e-3]
    level = float(np.sqrt(np.mean(sounding**2))) * 10.0 ** (-voice_above_noise_db / 20.0)
    return replace(
        piece, name=f"{piece.name}, noise {-voice_above_noise_db:+g} dB", samples=piece.samples + level * noise
    )


def with_pauses(piece: Piece, pause_s: float = 10.0, every: int = 3) -> Piece:
    """With `pause_s` of silence more after each `every` lines."""
    order = list(range(len(piece.lines)))
    pauses = [pause_s if (i + 1) % every == 0 else 0.0 for i in order]
    return replace(_arranged(piece, order, pauses), name=f"{piece.name}, pauses of {pause_s:g} s", lyrics=piece.lyrics)


def sung_in_order(piece: Piece, order: Sequence[int]) -> Piece:
    """Its lines by number, as often and in the order as `order` has them; the lyrics stay as they are."""
    return replace(_arranged(piece, order, [0.0] * len(order)), name=f"{piece.name}, lines in another order")


def repeated(piece: Piece, times: int, pause_s: float) -> Piece:
    """All of it `times` times with pauses between, sound and lyrics."""
    order = list(range(len(piece.lines))) * times
    pauses = [pause_s if (i + 1) % len(piece.lines) == 0 else 0.0 for i in range(len(order))]
    made = _arranged(piece, order, pauses)
    lines = tuple(replace(line, given=number) for number, line in enumerate(made.lines))
    return Piece(f"{piece.name}, {times} times", made.samples, lines, "\n".join([piece.lyrics] * times))


def with_lyrics(piece: Piece, name: str, lyrics: Sequence[int | str]) -> Piece:
    """With other lyrics: each of their lines is the right line of that number, or a text that nobody sings.

    A line that they lack but have before, with the same words, counts as known: a chorus that is written once.
    """
    right = piece.lyrics.split("\n")

    def given(number: int) -> int | None:
        if number in lyrics:
            return lyrics.index(number)
        before = [at for at, n in enumerate(lyrics) if isinstance(n, int) and n < number and right[n] == right[number]]
        return before[-1] if before else None

    lines = tuple(replace(line, given=line.given if line.given is None else given(line.given)) for line in piece.lines)
    texts = [right[line] if isinstance(line, int) else line for line in lyrics]
    return Piece(f"{piece.name}, {name}", piece.samples, lines, "\n".join(texts))


def chorus_written_once(piece: Piece) -> Piece:
    """Where lines are sung again with the same words, the lyrics have them only the first time."""
    right = piece.lyrics.split("\n")
    once = [number for number, text in enumerate(right) if text not in right[:number]]
    return with_lyrics(piece, "chorus once", once)


def with_wrong_lines(piece: Piece) -> Piece:
    """Each fourth line of the lyrics is another one, which nobody sings."""
    right = piece.lyrics.split("\n")
    lyrics = [_WRONG[i // 4 % len(_WRONG)] if i % 4 == 2 else i for i in range(len(right))]
    return with_lyrics(piece, "wrong lines", lyrics)


def with_missing_lines(piece: Piece) -> Piece:
    """Each fourth line is sung but not written."""
    return with_lyrics(piece, "missing lines", [i for i in range(piece.lyrics.count("\n") + 1) if i % 4 != 1])


def with_added_lines(piece: Piece) -> Piece:
    """After each third line the lyrics have a line more, which nobody sings."""
    lyrics: list[int | str] = []
    for i in range(piece.lyrics.count("\n") + 1):
        lyrics.append(i)
        if i % 3 == 2:
            lyrics.append(_WRONG[i // 3 % len(_WRONG)])
    return with_lyrics(piece, "added lines", lyrics)


_WRONG = (
    "Nobody paints yellow horses any more,",
    "seventeen engines are turning in the hall.",
    "Give me a ticket for the last train south,",
    "because tomorrow never asked me twice.",
)


def _arranged(piece: Piece, order: Sequence[int], pauses_s: Sequence[float]) -> Piece:
    """Lines by number, each with a pause after it; the sound before the first and after the last line stays."""
    cuts_s = _cuts_s(piece)
    sound = [piece.samples[: round(cuts_s[0] * SAMPLE_RATE_HZ)]]
    lines: list[SungLine] = []
    at_samples = len(sound[0])
    for number, pause_s in zip(order, pauses_s, strict=True):
        first, last = (round(cut_s * SAMPLE_RATE_HZ) for cut_s in cuts_s[number : number + 2])
        by_s = (at_samples - first) / SAMPLE_RATE_HZ
        line = piece.lines[number]
        lines.append(replace(line, words=tuple(word.later(by_s) for word in line.words)))
        sound += [piece.samples[first:last], np.zeros(round(pause_s * SAMPLE_RATE_HZ), np.float32)]
        at_samples += last - first + len(sound[-1])
    sound.append(piece.samples[round(cuts_s[-1] * SAMPLE_RATE_HZ) :])
    return replace(piece, samples=np.concatenate(sound), lines=tuple(lines))


def _cuts_s(piece: Piece) -> list[float]:
    """Where a line's sound begins, and where the last one's ends: a moment before its first word."""
    starts_s = [line.words[0].start_s - _CUT_PAUSE_S / 2 for line in piece.lines]
    return [max(0.0, starts_s[0]), *starts_s[1:], min(piece.duration_s, piece.lines[-1].words[-1].end_s + _CUT_PAUSE_S)]
