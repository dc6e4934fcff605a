"""What an engine is: it takes windows of sound and gives what it hears. To add one, write a class that fits `Engine`.

Engines know no gRPC, no other engine and no stream; they block, and are called from several threads at once. They
believe whatever their model says: what is dropped is decided in `guards.py`, the same for all of them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from singscript_core.events import Progress, Usage, Warned
from singscript_transcriber.segments import Utterance

# float32 of shape (n,), 16 kHz.
Samples = NDArray[np.float32]
Task = Literal["transcribe", "translate"]


@dataclass(frozen=True, slots=True)
class Wish:
    """How windows are to be heard, the same for a whole stream.

    Attributes:
        language: ISO 639-1; empty: to be detected.
        task: "translate" gives English words.
        prompt: what the sound is about, or how its words are written.
        hot_words: names and rare words that may be heard.
    """

    language: str = ""
    task: Task = "transcribe"
    prompt: str = ""
    hot_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """One window as an engine gets it.

    Attributes:
        samples: at most `Engine.max_window_s` long.
        expected: the language of the stream so far; taken unless this window is clearly in another one
            (`language.choose`). Empty while nothing is known, or where the wish names one.
    """

    samples: Samples
    wish: Wish
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """What an engine heard in one window.

    Attributes:
        utterances: in order of time.
        language: in which they were heard; empty when the engine does not say.
        languages: how likely each language is by this window alone; empty for engines that do not say, and where the
            wish named one.
        usage: what it cost; None where it costs nothing.
    """

    utterances: tuple[Utterance, ...]
    language: str
    languages: Mapping[str, float] = field(default_factory=dict)
    usage: Usage | None = None


class EngineOut(Exception):
    """The engine can serve nobody for a while; the message says why and what to do, as `Engine.problem` does."""


class Listener(Protocol):
    """An engine that has all it needs for one model; `Network` of the scheduler."""

    @property
    def device(self) -> str:
        """Where it computes: "cpu", "cuda", "remote"."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls of `estimate` may run at once."""
        ...

    @property
    def batch(self) -> int:
        """How many windows one call takes at most."""
        ...

    def times_words(self, wish: Wish) -> bool:
        """Whether its utterances have words with times."""
        ...

    def estimate(self, windows: Sequence[Window]) -> list[Heard]:
        """What is heard in each window; all have the same wish.

        It depends on the window alone, not on what was heard before or beside it. What is heard in a language is the
        same, whether it was wished, expected or found.

        Raises:
            EngineOut: nobody can be served for now.
            Exception: these windows failed.
        """
        ...


class Engine(Protocol):
    """One way to turn audio into words.

    Attributes:
        name: as settings and requests name it.
        max_window_s: the longest window that it takes.
        warnings: what users of its results should know.
    """

    @property
    def name(self) -> str: ...

    @property
    def max_window_s(self) -> float: ...

    @property
    def warnings(self) -> tuple[Warned, ...]: ...

    def model(self, wanted: str) -> str:
        """The model that serves a request for `wanted`, which is empty for the default."""
        ...

    def refusal(self, wish: Wish, model: str) -> str:
        """Why it cannot do this with this model; empty when it can. At once."""
        ...

    def problem(self, model: str) -> str:
        """Why it cannot serve this model now, and what to do about it; empty when it can.

        Continues the sentence "The engine x cannot be used: ...". May look at disk and network for some seconds.
        """
        ...

    def ready(self, model: str) -> Generator[Progress, None, Listener]:
        """Gets the model ready; its weights are downloaded and converted where they must be.

        Yields:
            Bytes done while weights are downloaded.
        Raises:
            EngineOut: it lacks what it needs.
        """
        ...

    def close(self) -> None:
        """Ends what it started, and gives its memory back. It may be used again."""
        ...
