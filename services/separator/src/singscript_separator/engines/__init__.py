"""What a separation engine is. Engines are blocking, take and give numpy arrays, and know nothing of gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from singscript_core.events import EngineChosen, Warned

# float32 samples of shape (n, channels), full scale at -1.0 and 1.0.
Block = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stems:
    """The two parts of a stretch of sound; they add up to it.

    Attributes:
        first_sample: index of the first sample frame, counted from the start of the sound.
        vocals, instrumental: shape (n, channels), at the rate and channels of the input.
    """

    first_sample: int
    vocals: Block
    instrumental: Block


class Separate(Protocol):
    """Splits a sound. Stems follow each other without gap or overlap and are exactly as long as the input."""

    def __call__(self, blocks: Iterator[Block], *, sample_rate_hz: int, channels: int) -> Iterator[Stems]: ...


@dataclass(frozen=True, slots=True)
class Ready:
    """An engine that has all it needs for one model.

    Attributes:
        chosen: the engine, model and device that do the work.
        separate: the work.
        warnings: what the user must know when this engine does the work.
    """

    chosen: EngineChosen
    separate: Separate
    warnings: tuple[Warned, ...] = ()


class Engine(Protocol):
    """A way to separate, known by its name."""

    @property
    def name(self) -> str: ...

    @property
    def default_model(self) -> str:
        """Empty for an engine without models."""
        ...

    def problem(self, model: str) -> str:
        """Why `model` cannot be used and what to do about it; empty when it can. Answers within 5 s."""
        ...

    def ready(self, model: str) -> Ready:
        """Gets `model` ready; its weights are loaded, and downloaded before where that is allowed.

        Raises:
            EngineUnavailable: it lacks what it needs.
        """
        ...
