"""What an engine is: it takes one window of audio and gives segments. To add one, write a class that fits `Engine`.

Engines know no gRPC, no other engine and no stream; they block, and are called from several threads at once.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from singscript_core.events import Warned
from singscript_transcriber.segments import Segment


class EngineOut(Exception):
    """The engine can serve nobody for a while; the message says why and what to do, as `Engine.problem` does."""


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

    def device(self) -> str:
        """Where it computes: "cpu", "cuda", "remote". Asked only once `problem` has found none."""
        ...

    def model(self, wanted: str) -> str:
        """The model that serves a request for `wanted`, which is empty for the default."""
        ...

    def refusal(self, language: str) -> str:
        """Why it cannot serve this language (ISO 639-1; empty: to be detected); empty when it can. At once."""
        ...

    def problem(self, model: str) -> str:
        """Why it cannot serve this model now, and what to do about it; empty when it can.

        Continues the sentence "The engine x cannot be used: ...". May look at disk and network for some seconds.
        """
        ...

    def transcribe(self, samples: NDArray[np.float32], model: str, language: str) -> list[Segment]:
        """The words of one window, of shape (n,) at 16 kHz; times in seconds from its start.

        Raises:
            EngineOut: nobody can be served for now.
            Exception: this window failed.
        """
        ...

    def close(self) -> None:
        """Ends what it started. It may be used again."""
        ...
