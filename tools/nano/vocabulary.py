"""The words that the nano transcriber knows, and their numbers: Whisper's own, and a short list while training.

The network has Whisper's 51,865 tokens, most of which it never says. Training works with the few that it does: its
words, the special ones, the timestamps, and one more, OTHER, that stands for all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from whisper.tokenizer import get_tokenizer

_ENGLISH = """
along and are at before by children day done door else go hear heard i in is left long morning music my never night
nowhere rain river road sing slow song the there this to troubles walking warm we
you she what when light sun moon home love time house water blue green old come find dream fire heart summer winter
people story friend open window garden
"""
_GERMAN = """
haben heute immer wieder leben zeit liebe kommt meine schön wir unser gehen zwischen vielleicht zusammen
"""
ENGLISH, GERMAN = tuple(_ENGLISH.split()), tuple(_GERMAN.split())
"""All words of the demo's lyrics, then some more; each is one token after a space, and no two sound alike."""

_TOKENIZER = get_tokenizer(multilingual=True, language="en", task="transcribe")

TIMESTAMPS = 1501
TIMESTAMP_S = 0.02

_SPECIAL = {
    "eot": _TOKENIZER.eot,
    "sot": _TOKENIZER.sot,
    "en": _TOKENIZER.to_language_token("en"),
    "de": _TOKENIZER.to_language_token("de"),
    "transcribe": _TOKENIZER.transcribe,
    "prev": _TOKENIZER.sot_prev,
    "nospeech": _TOKENIZER.no_speech,
    "notimestamps": _TOKENIZER.no_timestamps,
}
WORDS = ENGLISH + GERMAN
NAMES = WORDS + tuple(_SPECIAL)
NUMBERS = {name: number for number, name in enumerate(NAMES)}
"""A word or special token to its number in the short list."""

FIRST_TIMESTAMP = len(NAMES)
OTHER = FIRST_TIMESTAMP + TIMESTAMPS
SIZE = OTHER + 1

WHISPER_NUMBERS = np.array(
    [
        *(_TOKENIZER.encode(f" {word}")[0] for word in WORDS),
        *_SPECIAL.values(),
        *range(_TOKENIZER.timestamp_begin, _TOKENIZER.timestamp_begin + TIMESTAMPS),
    ]
)
"""From the short list (without OTHER) to Whisper's numbers."""

TRANSLATE = _TOKENIZER.translate


def timestamp(time_s: float) -> int:
    """The number in the short list of the timestamp nearest to `time_s`."""
    return FIRST_TIMESTAMP + min(max(round(time_s / TIMESTAMP_S), 0), TIMESTAMPS - 1)


def shares_a_line(words: Sequence[str], lyrics: Sequence[str], length: int = 4) -> bool:
    """Whether `length` words on end of `words` are also on end in `lyrics`."""
    known = {tuple(lyrics[i : i + length]) for i in range(len(lyrics) - length + 1)}
    return any(tuple(words[i : i + length]) in known for i in range(len(words) - length + 1))
