"""What is listened to: the vocals or the mix. Stems can lose lines, mixes can have words invented for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from singscript_transcriber.engines import Heard

Listen = Literal["auto", "vocals", "mix"]
Sound = Literal["vocals", "mix"]

# So much voice is heard both ways before the better one is settled on.
_COMPARED_S = 20.0
# A lead of less than this share is a tie.
_TIE = 0.05


class Listening:
    """Which sound of one stream is heard; `auto` hears both at first and keeps to what its engine is surer of.

    How sure: the seconds of its words, each counted by its confidence. A word that is missed counts as nothing, and one
    that is invented is said with little confidence.
    """

    def __init__(self, wanted: Listen) -> None:
        self._settled: Sound | None = None if wanted == "auto" else wanted
        self._compared_s = 0.0
        self._sure_s: dict[Sound, float] = {"vocals": 0.0, "mix": 0.0}

    @property
    def settled(self) -> Sound | None:
        """None while both are heard."""
        return self._settled

    def sounds(self, has_mix: bool) -> tuple[Sound, ...]:
        """What to hear of a window."""
        if not has_mix:
            return ("vocals",)
        return (self._settled,) if self._settled else ("vocals", "mix")

    def choose(self, heard: Mapping[Sound, Heard], voice_s: float) -> Sound:
        """What to keep of a window that has been heard in these ways; counts it."""
        if len(heard) == 1:
            return next(iter(heard))
        for sound, one in heard.items():
            self._sure_s[sound] += _sure_s(one)
        self._compared_s += voice_s
        better: Sound = "mix" if self._sure_s["mix"] > (1.0 + _TIE) * self._sure_s["vocals"] else "vocals"
        if self._compared_s >= _COMPARED_S:
            self._settled = self._settled or better
        return self._settled or better


def _sure_s(heard: Heard) -> float:
    """Seconds of words, each counted by its confidence."""
    total_s = 0.0
    for utterance in heard.utterances:
        sure = 0.0 if utterance.log_probability is None else min(1.0, math.exp(utterance.log_probability))
        for word in utterance.words:
            total_s += (word.end_s - word.start_s) * (sure if word.confidence is None else word.confidence)
        if not utterance.words:
            total_s += (utterance.end_s - utterance.start_s) * sure
    return total_s
