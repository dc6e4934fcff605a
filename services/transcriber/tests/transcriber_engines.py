"""An engine that stands in at the edge where the compute begins, so that a test says what is heard and what fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from singscript_core.events import Progress, Warned
from singscript_transcriber.engines import Heard, Window, Wish
from singscript_transcriber.segments import Utterance, Word


def says(text: str = "la", confidence: float = 0.9, language: str = "en", **languages: float) -> Heard:
    """`text` in the first second of a window."""
    words = tuple(Word(word, 0.3, 0.9, confidence) for word in text.split())
    return Heard((Utterance(0.3, 0.9, text, words, -0.1, 0.0),), language, languages)


def hears_la(window: Window) -> Heard:
    return says()


@dataclass
class Scripted:
    """An engine, its own listener. `hears` decides what is heard, or raises.

    Attributes:
        trouble: what its check finds.
        windows: what it was given, in the order in which it began.
        most: how many calls were under way at once, at most.
    """

    name: str
    hears: Callable[[Window], Heard] = hears_la
    trouble: str = ""
    max_window_s: float = 30.0
    warnings: tuple[Warned, ...] = ()
    parallel: int = 1
    batch: int = 1
    device: str = "cpu"
    has_times: bool = True
    checks: int = 0
    windows: list[Window] = field(default_factory=list)
    most: int = 0
    under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def model(self, wanted: str) -> str:
        return wanted or "default"

    def refusal(self, wish: Wish, model: str) -> str:
        return "it does not know it." if wish.language == "xx" else ""

    def problem(self, model: str) -> str:
        self.checks += 1
        return self.trouble

    def ready(self, model: str) -> Generator[Progress, None, Scripted]:
        return self
        yield

    def times_words(self, wish: Wish) -> bool:
        return self.has_times

    def estimate(self, windows: Sequence[Window]) -> list[Heard]:
        with self.lock:
            self.windows += windows
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            return [self.hears(window) for window in windows]
        finally:
            with self.lock:
                self.under_way -= 1

    def close(self) -> None:
        pass


def in_turn(*outcomes: Heard | Exception) -> Callable[[Window], Heard]:
    """Each window gets the next of these; the last one from then on."""
    left = list(outcomes)

    def hears(window: Window) -> Heard:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return hears
