"""Which language is sung: decided by many windows together, and for a window alone where that is clearly in another."""

from __future__ import annotations

from collections.abc import Mapping

# A window on its own must be this sure to leave the language of its stream.
SURE = 0.8


def choose(languages: Mapping[str, float], expected: str) -> str:
    """The language to hear a window in.

    Args:
        languages: how likely each is by the window alone; not empty.
        expected: that of the stream so far; empty while nothing is known.
    """
    likeliest = max(languages, key=lambda language: languages[language])
    return likeliest if not expected or languages[likeliest] >= SURE else expected


class Vote:
    """The language of a stream: the mean of what its windows say, by their length."""

    def __init__(self) -> None:
        self.heard_s = 0.0
        self._weights_s: dict[str, float] = {}

    def add(self, languages: Mapping[str, float], voice_s: float) -> None:
        """Counts a window that holds `voice_s` seconds of voice."""
        self.heard_s += voice_s
        for language, probability in languages.items():
            self._weights_s[language] = self._weights_s.get(language, 0.0) + probability * voice_s

    @property
    def winner(self) -> str:
        """Empty while there were no votes."""
        return max(self._weights_s, key=lambda language: self._weights_s[language], default="")
