"""Words to the lines that stand on a screen, by the usual rules of broadcast subtitles.

A line has one row, or two where speech runs on. Where it ends is decided over a stretch of words at once: every line
costs something, a second row less than a line, and ending where a voice breathes or a clause ends is rewarded. So sung
phrases, with a breath after each, stand alone in a row, and a long sentence fills two.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from statistics import median

from singscript_aligner.text.languages import LANGUAGES
from singscript_aligner.text.phrases import inside_phrases
from singscript_aligner.text.words import join_words, parted
from singscript_aligner.words import AlignedWord, Line

SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]」』]*$")
CLAUSE_END = re.compile(r"[,;:—–、，；：][\"'”’)\]」』]*$")
_CAPITAL = re.compile(r"[\"'“‘(\[¿¡]*(?!I\b)[^\W\d_]")
_ABBREVIATIONS = {name for language in LANGUAGES.values() for name in language.abbreviations}

# What lines cost, and what it is worth to end one at a place: the whole decides.
_LINE_COST = 1.0
_ROW_COST = 0.5  # a second row instead of a second line
_ROW_SHARE = 0.3  # how much the place between two rows matters, against that between two lines
_SHORT_COST = 1.5  # a line of no length at all; half a row is long enough
_BREATH_WORTH = 0.5  # a pause that is long for where it stands
_MARKED_BREATH_WORTH = 0.3  # a shorter one, where a comma or a capital letter says that it is one
_BREATH_RATIO = 3.0  # so many times the pause between the words around it
_LEAST_BREATH_S = 0.12
_LEAST_MARKED_BREATH_S = 0.05
_CLAUSE_WORTH = 0.5
_SENTENCE_WORTH = 1.0
_CAPITAL_WORTH = 0.5  # after a breath: names have none before them
_LONE_COST = 0.4  # one word is torn off its clause
_PHRASE_COST = 4.0  # a phrase of Chinese or Japanese is cut in two
_NO_PLACE = ("Mn", "Me", "Cf")
_GAPS = 24  # pauses that tell how this voice goes on between words


@dataclass(frozen=True, slots=True)
class LineRules:
    """When a line ends, and how long it stays.

    Attributes:
        max_chars: in a row; letters of Chinese, Japanese and Korean count two.
        lines_on_screen: rows that may stand one above the other.
        max_duration_s: a line that takes longer is broken.
        min_duration_s: a line stays at least this long, where the next one leaves room.
        reading_speed: characters a second; a line stays long enough to be read so, where there is room.
        pause_s: a pause of this length ends a line.
        gap_s: left free before the next line when a line stays longer than its words; two frames of 25 a second.
    """

    max_chars: int = 42
    lines_on_screen: int = 2
    max_duration_s: float = 7.0
    min_duration_s: float = 5 / 6
    reading_speed: float = 17.0
    pause_s: float = 0.7
    gap_s: float = 0.08


class Grouper:
    """Cuts a stream of words into lines; holds back what the next words may still change."""

    def __init__(self, rules: LineRules) -> None:
        self._rules = rules
        self._waiting: list[AlignedWord] = []
        self._gaps_s: deque[float] = deque(maxlen=_GAPS)

    def push(self, word: AlignedWord) -> Iterator[list[AlignedWord]]:
        """Takes the next word; yields the lines that are now final."""
        if self._waiting:
            if self._ends_before(word):
                yield from self.flush()
            else:
                self._gaps_s.append(_gap_s(self._waiting[-1], word))
        self._waiting.append(word)
        stretch = self._stretch()
        if len(self._waiting) > 1 and stretch.much_more_than_a_line():
            at = stretch.cut()[0]
            yield self._waiting[:at]
            self._waiting = self._waiting[at:]

    def flush(self) -> Iterator[list[AlignedWord]]:
        """Yields what is held back."""
        stretch, words, self._waiting = self._stretch(), self._waiting, []
        start = 0
        for end in stretch.cut():
            yield words[start:end]
            start = end

    def _stretch(self) -> _Stretch:
        return _Stretch(self._waiting, self._rules, median(self._gaps_s) if self._gaps_s else 0.0)

    def _ends_before(self, word: AlignedWord) -> bool:
        last = self._waiting[-1]
        if _gap_s(last, word) >= self._rules.pause_s:
            return True
        return _worth_of_end(last.text) == _SENTENCE_WORTH and not word.text[:1].islower()


class _Stretch:
    """Words without a long pause between them, and the ways to cut them."""

    def __init__(self, words: Sequence[AlignedWord], rules: LineRules, usual_gap_s: float) -> None:
        self._words = words
        self._rules = rules
        self._breath_s = _BREATH_RATIO * usual_gap_s
        self._starts, self._ends = list[int](), list[int]()  # of each word in the text of all, in widths
        for i, word in enumerate(words):
            space = 1 if i and parted(words[i - 1].text, word.text) else 0
            self._starts.append(self._ends[-1] + space if i else 0)
            self._ends.append(self._starts[-1] + width(word.text))

    def much_more_than_a_line(self) -> bool:
        rules = self._rules
        return (
            self._width(0, len(self._words)) > 2 * rules.lines_on_screen * rules.max_chars
            or self._words[-1].end_s - self._words[0].start_s > 2 * rules.max_duration_s
        )

    def cut(self) -> list[int]:
        """Where each line ends, at the least cost of all."""
        count = len(self._words)
        costs, before = [0.0] + [math.inf] * count, [0] * (count + 1)
        for end in range(1, count + 1):
            for start in range(end - 1, -1, -1):
                if (cost := self._cost(start, end)) == math.inf:
                    break
                if costs[start] + cost < costs[end]:
                    costs[end], before[end] = costs[start] + cost, start
        ends = [count] if count else []
        while ends and (start := before[ends[0]]):
            ends.insert(0, start)
        return ends

    def rows(self) -> list[int]:
        """Where the rows end, if all words are one line."""
        count = len(self._words)
        _, rows = self._breaks(0, count, self._rules.lines_on_screen) or (0.0, [count])
        return rows

    def _cost(self, start: int, end: int) -> float:
        long = self._words[end - 1].end_s - self._words[start].start_s > self._rules.max_duration_s
        breaks = self._breaks(start, end, self._rules.lines_on_screen)
        if breaks is None or (long and end - start > 1):
            return math.inf
        cost, rows = breaks
        short = max(0.0, 1.0 - 2 * self._width(start, end) / self._rules.max_chars)
        return (
            _LINE_COST
            + _ROW_COST * (len(rows) - 1)
            + _ROW_SHARE * cost
            + _SHORT_COST * short
            - (self._worths[end] if end < len(self._words) else 0.0)
        )

    def _breaks(self, start: int, end: int, rows: int) -> tuple[float, list[int]] | None:
        """Cost and ends of the best rows, as few as can be and `rows` at most; a single word is never broken."""
        if end - start == 1 or self._width(start, end) <= self._rules.max_chars:
            return 0.0, [end]
        if rows == 1 or self._width(start, end) > rows * (self._rules.max_chars + 1):
            return None
        best: tuple[float, list[int]] | None = None
        for at in range(start + 1, end):
            top = self._width(start, at)
            if top > self._rules.max_chars:
                break
            if below := self._breaks(at, end, rows - 1):
                bottom = self._width(at, below[1][0])
                balance = (1.1 if top > bottom else 1.0) * abs(top - bottom) / (top + bottom)
                cost = below[0] + balance - self._worths[at]
                if best is None or cost < best[0]:
                    best = cost, [at, *below[1]]
        return best

    @cached_property
    def _worths(self) -> list[float]:
        """What it is worth to end a line or a row before each word."""
        words, torn = self._words, inside_phrases([word.text for word in self._words])
        ends = [_worth_of_end(word.text) for word in words]
        worths = [0.0] * len(words)
        for at in range(1, len(words)):
            gap_s = _gap_s(words[at - 1], words[at])
            worth = ends[at - 1] + min(1.0, gap_s / self._rules.pause_s)
            capital = _starts_with_capital(words[at].text)
            if gap_s >= max(_LEAST_BREATH_S, self._breath_s):
                worth += _BREATH_WORTH
            elif gap_s >= max(_LEAST_MARKED_BREATH_S, self._breath_s) and (ends[at - 1] or capital):
                worth += _MARKED_BREATH_WORTH
            if gap_s >= max(_LEAST_MARKED_BREATH_S, self._breath_s) and capital:
                worth += _CAPITAL_WORTH
            if at in torn:
                worth -= _PHRASE_COST
            elif not ends[at - 1] and (ends[at] or (at > 1 and ends[at - 2])):
                worth -= _LONE_COST
            worths[at] = worth
        return worths

    def _width(self, start: int, end: int) -> int:
        return self._ends[end - 1] - self._starts[start]


class Screen:
    """Gives each line its time on the screen; holds one line back, to see when the next one starts."""

    def __init__(self, rules: LineRules) -> None:
        self._rules = rules
        self._waiting: Line | None = None

    def push(
        self, words: Sequence[AlignedWord], text: str | None = None, lyrics_line: int | None = None
    ) -> Iterator[Line]:
        """Takes the next line; yields the one before.

        Args:
            words: of the line, one or more.
            text: where it is known how the line is written; it is shown as it is.
            lyrics_line: its number in the lyrics, where they were given.
        """
        text = self._text(words) if text is None else text
        line = Line(text, words[0].start_s, words[-1].end_s, tuple(words), lyrics_line)
        if self._waiting:
            yield self._timed(self._waiting, line.start_s - self._rules.gap_s, line.start_s)
        self._waiting = line

    def finish(self, duration_s: float) -> Iterator[Line]:
        """Yields the last line; `duration_s` is the length of the sound."""
        if self._waiting:
            yield self._timed(self._waiting, duration_s, duration_s)
        self._waiting = None

    def _text(self, words: Sequence[AlignedWord]) -> str:
        start, rows = 0, list[str]()
        for end in _Stretch(words, self._rules, 0.0).rows():
            rows.append(join_words([word.text for word in words[start:end]]))
            start = end
        return "\n".join(rows)

    def _timed(self, line: Line, free_until_s: float, end_s: float) -> Line:
        stay_s = max(self._rules.min_duration_s, width(line.text) / self._rules.reading_speed)
        wanted_s = min(line.start_s + stay_s, free_until_s)
        return replace(line, end_s=min(max(line.end_s, wanted_s), max(end_s, line.start_s)))


def _worth_of_end(word: str) -> float:
    if SENTENCE_END.search(word) and word.lower() not in _ABBREVIATIONS:
        return _SENTENCE_WORTH
    return _CLAUSE_WORTH if CLAUSE_END.search(word) else 0.0


def _starts_with_capital(word: str) -> bool:
    first = _CAPITAL.match(word)
    return first is not None and first[0][-1].isupper()


@lru_cache(maxsize=4096)
def width(text: str) -> int:
    """How many places `text` takes in a row: wide letters take two, marks above and below others none."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else unicodedata.category(c) not in _NO_PLACE for c in text)


def _gap_s(last: AlignedWord, word: AlignedWord) -> float:
    return max(0.0, word.start_s - last.end_s)
