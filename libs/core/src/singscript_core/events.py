"""What an engine reports beside its results, as plain values; the services translate them for the wire."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of the sound a stage has finished.

    Attributes:
        done_s: seconds of audio done.
        total_s: seconds in all, None while unknown.
        finished: True in the last report of a stage.
        done_bytes, total_bytes: for stages that move bytes before they know of seconds.
    """

    done_s: float
    total_s: float | None = None
    finished: bool = False
    done_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know; `reason` is stable and UPPER_SNAKE, `message` a sentence or two."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class EngineChosen:
    """Which engine does the work from here on."""

    engine: str
    model: str = ""
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Stored:
    """A whole object that can now be read from storage."""

    name: str
    key: str
    media_type: str
    size_bytes: int
    sha256: str


StageEvent = Progress | Warned | EngineChosen | Stored
