"""Write tests/support/spoken/lines: sentences and verses with the time of each word, to measure alignment against.

    PYTHONPATH=tests/support python tools/nano/lines.py

`slow`, `normal` and `fast` are one text at three rates, `verses` a song of two verses with a chorus after each. What
begins with `held_out` is for reporting alone: nothing is tuned on it, and its text is nowhere else. `held_out_spoken`
has voices that nano-whisper knows but that the others do not have, `held_out_voices` two that no network here was
trained on, with words of their own, `held_out_sung` another tune of the known singer and a singer that is new.

The synthesisers tell when each word sounds: no time is estimated from the sound. A word begins where its first phone
does: that of a plosive after a pause begins with silence, before it bursts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import phrases
from mixtures import HELD_OUT_SEED, FloatArray
from phrases import NORMAL_RATE, RHYTHMS, SAMPLE_RATE_HZ, Clip, Word

from singscript_audio.flac import FlacWriter

FOLDER = Path(__file__).parents[2] / "tests" / "support" / "spoken" / "lines"

_TEXT = (
    ("flite:rms", "In the morning, when the sun is warm,"),
    ("flite:rms", "my friend is walking to the river."),
    ("en-us", "She left an old house before winter;"),
    ("en-us", "children come home. What is this light?"),
    ("flite:slt", "There is time to find the long road,"),
    ("flite:slt", "and we never heard this story, my love."),
    ("en-us+f2", "People hear music by open windows."),
    ("en-us+f2", "My green garden, your blue water, and old fire:"),
    ("en-us+m3", "I dream when rain sings along my door."),
    ("en-us+m3", "You go nowhere, slow friend, at night."),
)
_VERSES = (
    "The winter night is long and slow,",
    "my heart is walking to the fire.",
    "I find my friend along the road,",
    "and she is love and light and home.",
    "",
    "Come sing this song to the moon and the sun,",
    "come home, come home, the water is green.",
    "",
    "The old blue house is left in rain,",
    "by day, by night, the window is warm.",
    "You never hear the people dream,",
    "when time is done, I go before.",
    "",
    "Come sing this song to the moon and the sun,",
    "come home, come home, the water is green.",
)
_HELD_OUT_SPOKEN = (
    ("flite:kal16", "This garden is green before the rain."),
    ("flite:kal16", "Go to the window, friend, and find the moon."),
    ("en-us+Annie", "We dream when winter night comes slow;"),
    ("en-us+Annie", "my story, children, my heart, my home."),
    ("en-gb-scotland", "Are you walking home by blue water?"),
    ("en-gb-scotland", "People love music; she left this open door."),
    ("flite:kal16", "There is nowhere else to love the summer."),
    ("en-us+Annie", "You are my troubles, old river!"),
)
_HELD_OUT_VOICES = (
    ("flite:awb", "Seven grey horses waited near the bridge,"),
    ("flite:awb", "and nobody knew which way the wind would turn."),
    ("en-us+f4", "Yesterday my brother bought fresh bread,"),
    ("en-us+f4", "three apples, and strong coffee with milk."),
    ("flite:awb", "Please put another chair beside the table."),
    ("en-us+f4", "Every small village has its own market."),
)
_HELD_OUT_SUNG = (
    ("rms", "I hear the water in the night,"),
    ("rms", "the road is old, the moon is green."),
    ("slt", "My love is never far from home,"),
    ("slt", "and every star is shining down."),
    ("rms", "She left this summer by the door,"),
    ("slt", "we find a garden in the rain."),
)
_SLOW, _FAST = 95, 260
_PAUSE_S, _CLAUSE_S, _STANZA_S = 0.6, 0.25, 1.5
_EDGE_S = 0.5
_TUNES = 50
"""So many random tunes are tried until one fits a line."""


@dataclass(frozen=True)
class Part:
    """A line, or an empty one: `text`, and what says its `words` in voice `voice`."""

    voice: str
    text: str


def main() -> int:
    """Write all files; the exit status."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    spoken = [Part(*part) for part in _TEXT]
    try:
        for name, rate in (("slow", _SLOW), ("normal", NORMAL_RATE), ("fast", _FAST)):
            _write(name, spoken, lambda part, rate=rate: _said(part, rate))
        _write("verses", [Part("rms", text) for text in _VERSES], _sung)
        for name, parts in (("held_out_spoken", _HELD_OUT_SPOKEN), ("held_out_voices", _HELD_OUT_VOICES)):
            _write(name, [Part(*part) for part in parts], lambda part: _said(part, NORMAL_RATE))
        _write("held_out_sung", [Part(*part) for part in _HELD_OUT_SUNG], _sung)
    except phrases.SynthesisError as error:
        print(f"lines: {error}", file=sys.stderr)
        return 1
    return 0


def _said(part: Part, words_per_minute: int) -> Clip:
    """A spoken line with a pause after each punctuation mark, the shorter the faster it is spoken."""
    clips: list[Clip] = []
    for clause in _clauses(part.text.split()):
        clip = phrases.said(part.voice, [_bare(word) for word in clause], words_per_minute)
        if clip is None:
            raise phrases.SynthesisError(f"{part.voice} makes other words of {clause}: change the text.")
        clips.append(clip)
    return _joined(clips, _CLAUSE_S * NORMAL_RATE / words_per_minute)


def _sung(part: Part) -> Clip:
    """A line sung without a break, the same each time it comes."""
    words = [_bare(word) for word in part.text.split()]
    for attempt in range(_TUNES):
        rng = np.random.default_rng((HELD_OUT_SEED, attempt, *part.text.encode()))
        clip = phrases.sung(rng, words, RHYTHMS, part.voice)
        if clip is not None:
            return clip
    raise phrases.SynthesisError(f"{part.voice} cannot sing {part.text!r}: change the text.")


def _clauses(words: Sequence[str]) -> Iterator[list[str]]:
    clause: list[str] = []
    for word in words:
        clause.append(word)
        if not word[-1].isalpha():
            yield clause
            clause = []
    if clause:
        yield clause


def _bare(word: str) -> str:
    return "".join(c for c in word if c.isalpha()).lower()


def _joined(clips: Sequence[Clip], pause_s: float) -> Clip:
    sound: list[FloatArray] = []
    words: list[Word] = []
    at_s = 0.0
    for clip in clips:
        if sound:
            sound.append(np.zeros(round(pause_s * SAMPLE_RATE_HZ)))
            at_s += pause_s
        words += [word.later(at_s) for word in clip.words]
        sound.append(np.asarray(clip.sound, np.float64))
        at_s += len(clip.sound) / SAMPLE_RATE_HZ
    return Clip(np.concatenate(sound), words, clips[0].language)


def _write(name: str, parts: Sequence[Part], voiced: Callable[[Part], Clip]) -> None:
    """The sound in the upper 12 of 16 bits, peak 0.9 (72 dB are plenty and half the size), and its truth."""
    sound = [np.zeros(round(_EDGE_S * SAMPLE_RATE_HZ))]
    told: list[dict[str, Any]] = []
    at_s = _EDGE_S
    for part in parts:
        if not part.text:
            sound.append(np.zeros(round(_STANZA_S * SAMPLE_RATE_HZ)))
            at_s += _STANZA_S
            continue
        clip = voiced(part)
        words = [
            {"text": text, "start_s": round(at_s + word.start_s, 3), "end_s": round(at_s + word.end_s, 3)}
            for text, word in zip(part.text.split(), clip.words, strict=True)
        ]
        told.append({"text": part.text, "words": words})
        sound += [np.asarray(clip.sound, np.float64), np.zeros(round(_PAUSE_S * SAMPLE_RATE_HZ))]
        at_s += len(clip.sound) / SAMPLE_RATE_HZ + _PAUSE_S
    samples = np.concatenate(sound)
    pcm = np.rint(samples * (0.9 * 2047.0 / np.abs(samples).max())) / 2048.0
    with FlacWriter(FOLDER / f"{name}.flac", sample_rate_hz=SAMPLE_RATE_HZ, channels=1, bits=16) as writer:
        writer.write(pcm.astype(np.float32)[:, None])
    truth = {"language": "en", "duration_s": round(len(samples) / SAMPLE_RATE_HZ, 3), "lines": told}
    (FOLDER / f"{name}.json").write_text(json.dumps(truth, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
