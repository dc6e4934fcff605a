"""Words to the lines that stand on a screen, by the usual rules of broadcast subtitles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from singscript_aligner.words import AlignedWord, Line

_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")
_CLAUSE_END = re.compile(r"[,;:—–、，；：][\"'”’)\]]*$")
# Chinese, Japanese, Thai, Lao, Burmese and Khmer put no space between words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uff00-\uff9f]")


@dataclass(frozen=True, slots=True)
class LineRules:
    """When a line ends, and how long it stays.

    Attributes:
        max_chars: a longer line is broken.
        max_duration_s: so is one that takes longer.
        min_duration_s: a line stays at least this long, where the next one leaves room.
        reading_speed: characters a second; a line stays long enough to be read so, where there is room.
        pause_s: a pause of this length ends a line.
        gap_s: left free before the next line when a line stays longer than its words.
    """

    max_chars: int = 42
    max_duration_s: float = 7.0
    min_duration_s: float = 1.0
    reading_speed: float = 17.0
    pause_s: float = 0.7
    gap_s: float = 0.08


def join(texts: Sequence[str]) -> str:
    """Words as running text."""
    text = ""
    for word in texts:
        touches = not text or not word or (_UNSPACED.match(text[-1]) and _UNSPACED.match(word[0]))
        text += word if touches else f" {word}"
    return text


class Grouper:
    """Cuts a stream of words into lines; holds back what the next words may still change."""

    def __init__(self, rules: LineRules) -> None:
        self._rules = rules
        self._waiting: list[AlignedWord] = []

    def push(self, word: AlignedWord) -> Iterator[list[AlignedWord]]:
        """Takes the next word; yields the lines that are now final."""
        if self._waiting and self._ends_before(word):
            yield from self.flush()
        self._waiting.append(word)
        while (
            _chars(self._waiting) > 2 * self._rules.max_chars
            or _length_s(self._waiting) > 2 * self._rules.max_duration_s
        ):
            if len(self._waiting) == 1:
                break
            at = self._break(self._waiting)
            yield self._waiting[:at]
            self._waiting = self._waiting[at:]

    def flush(self) -> Iterator[list[AlignedWord]]:
        """Yields what is held back."""
        words, self._waiting = self._waiting, []
        while words:
            at = len(words) if self._fits(words) else self._break(words)
            yield words[:at]
            words = words[at:]

    def _ends_before(self, word: AlignedWord) -> bool:
        last = self._waiting[-1]
        return word.start_s - last.end_s >= self._rules.pause_s or _SENTENCE_END.search(last.text) is not None

    def _fits(self, words: list[AlignedWord]) -> bool:
        return _chars(words) <= self._rules.max_chars and _length_s(words) <= self._rules.max_duration_s

    def _break(self, words: list[AlignedWord]) -> int:
        """How many of `words` (two or more) make the next line: the fullest stretch that ends well."""

        def score(at: int) -> float:
            head, tail = words[:at], words[at:]
            balance = abs(_chars(head) - _chars(tail)) / _chars(words) if self._fits(tail) else 0.0
            pause_s = words[at].start_s - words[at - 1].end_s
            clause = 1.0 if _CLAUSE_END.search(words[at - 1].text) else 0.0
            return clause + 3.0 * min(pause_s, 0.5) + _chars(head) / self._rules.max_chars - balance

        fitting = [at for at in range(1, len(words)) if self._fits(words[:at])]
        return max(fitting, key=score, default=1)


class Screen:
    """Gives each line its time on the screen; holds one line back, to see when the next one starts."""

    def __init__(self, rules: LineRules) -> None:
        self._rules = rules
        self._waiting: Line | None = None

    def push(self, words: Sequence[AlignedWord], text: str | None = None) -> Iterator[Line]:
        """Takes the words of the next line (one or more), and its text where that is more than the words joined."""
        line = Line(
            text if text is not None else join([word.text for word in words]),
            words[0].start_s,
            words[-1].end_s,
            tuple(words),
        )
        if self._waiting:
            yield self._timed(self._waiting, line.start_s - self._rules.gap_s, line.start_s)
        self._waiting = line

    def finish(self, duration_s: float) -> Iterator[Line]:
        """Yields the last line; `duration_s` is the length of the sound."""
        if self._waiting:
            yield self._timed(self._waiting, duration_s, duration_s)
        self._waiting = None

    def _timed(self, line: Line, free_until_s: float, end_s: float) -> Line:
        stay_s = max(self._rules.min_duration_s, len(line.text) / self._rules.reading_speed)
        wanted_s = min(line.start_s + stay_s, free_until_s)
        return replace(line, end_s=min(max(line.end_s, wanted_s), max(end_s, line.start_s)))


def _chars(words: Sequence[AlignedWord]) -> int:
    return len(join([word.text for word in words]))


def _length_s(words: Sequence[AlignedWord]) -> float:
    return words[-1].end_s - words[0].start_s if words else 0.0
