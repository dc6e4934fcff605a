"""Engines in order of preference: which of them searches a stretch of sound, and what is said about it."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ, Engine, Times
from singscript_core.errors import EngineUnavailable
from singscript_core.events import EngineChosen, Warned

log = logging.getLogger(__name__)

# Confidence of a word that may be there at all, and of one that is well placed (or was heard by an engine that does not
# say how surely).
HEARD, SURE = 0.15, 0.5
# Fewer words found than this, and the next engine may do better.
_FOUND_SHARE = 0.8

Search = Generator[float | EngineChosen | Warned, None, Times | None]


class Engines:
    """Says once which engine works, and once why one was passed over.

    Args:
        engines: best first; also such as cannot be used here.
        language: ISO 639-1; empty for that of the words.

    Attributes:
        searched: whether any engine was able to search.
        failed: whether one that could be used failed on a part of the sound.
    """

    def __init__(self, engines: Sequence[Engine], language: str) -> None:
        self._engines = engines
        self._language = language
        self._problems: dict[str, str] = {}
        self._announced: set[str] = set()
        self._passed_over: set[str] = set()
        self.searched = False
        self.failed = False

    def usable(self) -> list[tuple[str, str]]:
        """Name and model of each engine that can be used here, best first."""
        return [(engine.name, engine.model) for engine in self._engines if not self._problem(engine)]

    def align(self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str) -> Search:
        """What the engines find: the next one is asked where the ones before did not find nearly all words.

        Of the answers the one with the most words counts, with lines of the others that fit into what it leaves out.

        Args:
            samples: shape (n,), 16 kHz mono.
            lines: words as they are written.
            language: of the words, as far as is known; empty counts as English.

        Yields:
            Seconds done; once for each engine that it was chosen, or why it was passed over.

        Returns:
            As the engine's `align`; None when none finds any word.
        """
        language = self._language or language or "en"
        answers: list[tuple[int, Engine, Times]] = []
        speaking = [engine for engine in self._engines if self._problem(engine) or engine.speaks(language)]
        if not speaking:
            yield from self._pass_over(self._engines, f"It does not know the language {language!r}.")
        for engine in speaking:
            times: Times | None = None
            problem = self._problem(engine)
            if not problem and len(samples) > engine.max_window_s * SAMPLE_RATE_HZ:
                problem = f"It takes {engine.max_window_s:g} s at a time, and no sure place to cut was found."
            if not problem:
                try:
                    times = yield from engine.align(samples, lines, language)
                except (EngineUnavailable, RuntimeError, ValueError, MemoryError):
                    # What the engines and their libraries raise; another engine may still serve.
                    log.exception("engine %s failed on a window", engine.name)
                    self.failed = True
                    problem = "It failed on a part of the sound; the log of the aligner has the details."
                else:
                    self.searched = True
            if problem:
                yield from self._pass_over([engine], problem)
            if times and (found := count(times)):
                answers.append((found, engine, times))
                if found >= _FOUND_SHARE * sum(map(len, lines)):
                    break
        # Stable: of equal answers that of the engine that is preferred.
        answers.sort(key=lambda answer: -answer[0])
        merged: Times | None = None
        for _, engine, times in answers:
            before = merged
            merged = times if merged is None else _with_lines_of(merged, times)
            if merged != before and engine.name not in self._announced:
                self._announced.add(engine.name)
                yield EngineChosen(engine.name, engine.model, engine.device)
        return merged

    def _problem(self, engine: Engine) -> str:
        if engine.name not in self._problems:
            self._problems[engine.name] = engine.problem()
        return self._problems[engine.name]

    def _pass_over(self, engines: Sequence[Engine], problem: str) -> Iterator[Warned]:
        for engine in engines:
            if engine.name not in self._passed_over:
                self._passed_over.add(engine.name)
                yield Warned("ENGINE_FALLBACK", f"The aligner engine {engine.name} was passed over. {problem}")


def _with_lines_of(times: Times, others: Times) -> Times:
    """`times`, and for lines that have none those of `others`, where they lie between the lines around them."""
    merged = list(times)
    for i, row in enumerate(others):
        if any(merged[i]) or not any(row):
            continue
        before_s = max((time.end_s for line in merged[:i] for time in line if time), default=0.0)
        after_s = min((time.start_s for line in merged[i + 1 :] for time in line if time), default=math.inf)
        if all(before_s <= time.start_s <= time.end_s <= after_s for time in row if time):
            merged[i] = row
    return merged


def count(times: Times) -> int:
    """How many words were found, be it faintly."""
    return sum(time is not None and time.confidence >= HEARD for line in times for time in line)
