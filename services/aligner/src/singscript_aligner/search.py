"""Engines in order of preference: which of them searches a stretch of sound, and what is said about it."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ, Engine, Times
from singscript_core.events import EngineChosen, Warned

log = logging.getLogger(__name__)

# Confidence of a word that may be there at all, and of one that is well placed (or was heard by an engine that does not
# say how surely).
HEARD, SURE = 0.15, 0.5
# Fewer words found than this, and the next engine may do better.
_FOUND_SHARE = 0.5

Search = Generator[float | EngineChosen | Warned, None, Times | None]


class Engines:
    """Says once which engine works, and once why one was passed over.

    Args:
        engines: best first; also such as cannot be used here.
        language: ISO 639-1; empty for that of the words.

    Attributes:
        searched: whether any engine was able to search.
    """

    def __init__(self, engines: Sequence[Engine], language: str) -> None:
        self._engines = engines
        self._language = language
        self._problems: dict[str, str] = {}
        self._announced: set[str] = set()
        self._passed_over: set[str] = set()
        self.searched = False

    def align(self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str) -> Search:
        """The answer of the first engine that finds half of the words, or of the one that finds most.

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
        best: tuple[int, Engine, Times] | None = None
        for engine in self._engines:
            problem = self._problem(engine, len(samples), language)
            if not problem:
                try:
                    times = yield from engine.align(samples, lines, language)
                except (RuntimeError, ValueError, MemoryError):
                    # What the libraries raise; another engine may still serve.
                    log.exception("engine %s failed on a window", engine.name)
                    times, problem = None, "It failed on a part of the sound; the log of the aligner has the details."
                else:
                    self.searched = True
                found = count(times or [])
                if times and found and (best is None or found > best[0]):
                    best = found, engine, times
                if found >= _FOUND_SHARE * sum(map(len, lines)):
                    break
            if problem and engine.name not in self._passed_over:
                self._passed_over.add(engine.name)
                yield Warned("ENGINE_FALLBACK", f"The aligner engine {engine.name} was passed over. {problem}")
        if best is None:
            return None
        _, engine, times = best
        if engine.name not in self._announced:
            self._announced.add(engine.name)
            yield EngineChosen(engine.name, engine.model, engine.device)
        return times

    def _problem(self, engine: Engine, samples: int, language: str) -> str:
        if engine.name not in self._problems:
            self._problems[engine.name] = engine.problem()
        if problem := self._problems[engine.name]:
            return problem
        if not engine.speaks(language):
            return f"It does not know the language {language!r}."
        if samples > engine.max_window_s * SAMPLE_RATE_HZ:
            return f"It takes {engine.max_window_s:g} s at a time, and no sure place to cut was found."
        return ""


def count(times: Times) -> int:
    """How many words were found, be it faintly."""
    return sum(time is not None and time.confidence >= HEARD for line in times for time in line)
