"""What a separation engine is. Engines are blocking, take and give numpy arrays, and know nothing of gRPC."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from singscript_core.events import EngineChosen, Progress, Warned
from singscript_core.stopping import Stop

# float32 samples of shape (n, channels), full scale at -1.0 and 1.0.
Block = NDArray[np.float32]


# What the sound is split into: vocals and instrumental, or every source that the model knows.
Split = Literal["vocals", "all"]


@dataclass(frozen=True, slots=True)
class Stems:
    """The parts of a stretch of sound.

    Attributes:
        first_sample: index of the first sample frame, counted from the start of the sound.
        parts: by name, in an order that stays; each of shape (n, channels), at the rate and channels of the input.
    """

    first_sample: int
    parts: dict[str, Block]

    @property
    def samples(self) -> int:
        return len(next(iter(self.parts.values())))


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the networks of an engine give, before stems are made of it.

    Attributes:
        sources: their names, in order.
        channels, sample_rate_hz: of each.
        made_by: what computes them, with which weights; where it differs, they differ, if only in the last bits.
    """

    sources: tuple[str, ...]
    channels: int
    sample_rate_hz: int
    made_by: str = ""


class Memory:
    """What is known of the estimates already, and who keeps what is found out. This one knows and keeps nothing.

    Estimates are float32 of shape (sources, channels, n); samples are counted at their rate.
    """

    @property
    def known_samples(self) -> int:
        """Up to where they need no network. It grows while the input is read, always before what it is made from."""
        return 0

    def recall(self, samples: int) -> NDArray[np.float32]:
        """The next ones that are known; never asked for more than there are."""
        raise AssertionError("nothing is known")

    def keep(self, estimates: NDArray[np.float32], seen_samples: int) -> None:
        """Takes the next ones that were not known; `seen_samples` of the sound have made them and those before."""


NO_MEMORY = Memory()


class Separate(Protocol):
    """Splits a sound. Stems follow each other without gap or overlap and are exactly as long as the input."""

    def __call__(
        self, blocks: Iterator[Block], *, sample_rate_hz: int, channels: int, stop: Stop, memory: Memory = NO_MEMORY
    ) -> Iterator[Stems]: ...


@dataclass(frozen=True, slots=True)
class Ready:
    """An engine that has all it needs for one model.

    Attributes:
        chosen: the engine, model and device that do the work.
        stems: names of the parts that come out.
        separate: the work.
        params: what else the result depends on, by name.
        warnings: what the user must know when this engine does the work.
        estimates: what a `Memory` is asked for; None for an engine that has no use for one.
    """

    chosen: EngineChosen
    stems: tuple[str, ...]
    separate: Separate
    params: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Warned, ...] = ()
    estimates: Estimates | None = None


class Engine(Protocol):
    """A way to separate, known by its name."""

    @property
    def name(self) -> str: ...

    @property
    def default_model(self) -> str:
        """Empty for an engine without models."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """Names of the models that it knows, whether or not they are here; one empty name for an engine without."""
        ...

    def problem(self, model: str) -> str:
        """Why `model` cannot be used and what to do about it; empty when it can. Answers within 5 s."""
        ...

    def ready(self, model: str, split: Split) -> Generator[Progress, None, Ready]:
        """Gets `model` ready; its weights are loaded, and downloaded before where that is allowed.

        Yields:
            Bytes done while weights are downloaded.
        Raises:
            EngineUnavailable: it lacks what it needs.
        """
        ...
