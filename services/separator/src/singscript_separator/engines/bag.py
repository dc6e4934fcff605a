"""A Demucs model as it computes here: one network or several, and how much each counts for what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from singscript_models.scheduler import Network
from singscript_separator.engines.backends import Backend, network
from singscript_separator.engines.heads import keep_sources
from singscript_separator.engines.overlap_add import Planes

if TYPE_CHECKING:
    from demucs.apply import Model


@dataclass(frozen=True, slots=True)
class Member:
    """One network of a bag.

    Attributes:
        network: computes it.
        rows: where each source of the bag is in what the network gives.
        shares: how much of each source of the bag comes from it, shape (sources,); those of all members sum to 1.
        segment_samples: own samples of a segment.
        valid_samples: from own samples to those that the network sees.
    """

    network: Network[Planes, Planes]
    rows: tuple[int, ...]
    shares: Planes
    segment_samples: int
    valid_samples: Callable[[int], int]

    def share(self, estimate: Planes) -> Planes:
        """What it adds to the bag's sources, from its estimate, both of shape (sources, channels, n)."""
        return estimate[list(self.rows)] * self.shares[:, None, None]


@dataclass(frozen=True, slots=True)
class Bag:
    """Attributes:
    sources: what it gives, in this order.
    members: only those that these sources need.
    sample_rate_hz, channels: of the sound that it takes and gives.
    device: for people.
    """

    sources: tuple[str, ...]
    members: tuple[Member, ...]
    sample_rate_hz: int
    channels: int
    device: str


def needed(weights: Sequence[Sequence[float]] | None, models: int, places: Sequence[int]) -> list[int]:
    """Which of the models of a bag count for the sources at these places."""
    if weights is None:
        return list(range(models))
    return [index for index, row in enumerate(weights) if any(row[place] for place in places)]


def bag_of(
    models: Sequence[Model],
    weights: Sequence[Sequence[float]],
    checkpoints: Sequence[Path],
    sources: Sequence[str],
    backend: Backend,
    kept_dir: Path,
    threads: int = 0,
) -> Bag:
    """Gets networks ready to compute; takes the models for its own.

    Args:
        models: those that are needed, loaded; their sources are the same.
        weights: for each model, how much it counts for each of its sources.
        checkpoints: for each model, the file of its weights.
        sources: those that are wanted.
        backend, kept_dir, threads: see `backends.network`.
    """
    first = models[0]
    places = [first.sources.index(source) for source in sources]
    counts = np.array(weights, np.float32)[:, places]
    shares = counts / counts.sum(axis=0)
    rate_hz, channels = int(first.samplerate), int(first.audio_channels)
    members: list[Member] = []
    computed: dict[Path, tuple[Network[Planes, Planes], Mapping[str, int]]] = {}
    device = "cpu"
    for model, checkpoint, share in zip(models, checkpoints, shares, strict=True):
        segment_samples = int(model.samplerate * model.segment)
        valid_samples = _valid_samples(model)
        if checkpoint not in computed:  # a bag may hold the same one twice
            keep_sources(model, sources)
            rows = {source: row for row, source in enumerate(model.sources)}
            ready = network(model, checkpoint, backend, kept_dir, threads)
            computed[checkpoint], device = (ready, rows), ready.device
        computes, rows = computed[checkpoint]
        members.append(
            Member(computes, tuple(rows[source] for source in sources), share, segment_samples, valid_samples)
        )
    return Bag(tuple(sources), tuple(members), rate_hz, channels, device)


def _valid_samples(model: Model) -> Callable[[int], int]:
    """How `apply_model` pads a segment for this network."""
    from demucs.demucs import Demucs
    from demucs.htdemucs import HTDemucs

    if isinstance(model, HTDemucs | Demucs):
        return model.valid_length
    return lambda samples: samples
