"""What the engines with Whisper networks have alike: what they can hear, when they try again, and what they give."""

from __future__ import annotations

import math
from collections.abc import Iterable

from singscript_transcriber.engines import Wish
from singscript_transcriber.languages import LANGUAGES
from singscript_transcriber.segments import Utterance, Word

MAX_WINDOW_S = 30.0
# A shorter window holds no word, and is too short for the networks' arithmetic.
LEAST_WINDOW_S = 0.1

# Whisper's own way of decoding (Radford et al., 2022, 4.5): a beam of five, and while the text repeats itself or is
# unlikely, five samples at each temperature in turn. What is still so is given as it is, for the guards to judge.
BEAMS = 5
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MAX_COMPRESSION_RATIO = 2.4
MIN_LOG_PROBABILITY = -1.0

# Networks of this kind were trained on transcripts alone: asked for a translation they write the words that are sung.
_NO_TRANSLATION = ("turbo", "distil-")


def refusal(wish: Wish, model: str) -> str:
    """Why a model of this name cannot do what is wished; empty when it can."""
    if wish.language and wish.language not in LANGUAGES:
        return f'it does not know the language "{wish.language}".'
    if model.endswith(".en"):
        if wish.language not in ("", "en"):
            return f"the model {model} knows only English."
        if wish.task == "translate":
            return f"the model {model} cannot translate; choose one whose name does not end in .en."
    if wish.task == "translate" and any(kind in model for kind in _NO_TRANSLATION):
        return f"the model {model} cannot translate; choose another one, as small or large-v3."
    return ""


def prompt(wish: Wish) -> str:
    """What comes before the text: the last 223 tokens of it count, so the prompt is last; may be empty."""
    return " ".join(part for part in (", ".join(wish.hot_words), wish.prompt.strip()) if part)


def word(text: str, start_s: float, end_s: float, probability: float, length_s: float) -> Word:
    """A word of a window that is `length_s` long."""
    sure = None if math.isnan(probability) else min(1.0, max(0.0, float(probability)))
    return Word(text.strip(), _inside(start_s, length_s), _inside(end_s, length_s), sure)


def utterance(
    text: str,
    words: Iterable[Word],
    start_s: float,
    end_s: float,
    log_probability: float,
    no_speech: float,
    length_s: float,
) -> Utterance:
    """From `start_s` to `end_s` where there are no words."""
    said = tuple(word for word in words if word.text)
    start_s, end_s = (said[0].start_s, said[-1].end_s) if said else (start_s, end_s)
    return Utterance(
        _inside(start_s, length_s),
        _inside(end_s, length_s),
        text.strip(),
        said,
        float(log_probability),
        float(no_speech),
    )


def _inside(time_s: float, length_s: float) -> float:
    return float(min(max(time_s, 0.0), length_s))
