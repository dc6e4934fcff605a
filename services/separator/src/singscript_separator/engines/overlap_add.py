"""A long sound in overlapping segments, and back: constant memory, any length, any cutting of the input.

Segments, padding and transition weights are those of `demucs.apply.apply_model(shifts=0)`, so the joined result is
what it gives for the whole sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# float32 samples of shape (channels, n) or (sources, channels, n): the layout of the networks.
Planes = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Segment:
    """What the network computes at once.

    Attributes:
        first_sample: index of its first own sample.
        end_sample: index behind the last sample that the network sees.
        own: its own samples, shape (channels, n).
        around: `own` with the sound on both sides that the network sees as well.
        padding: how many zeros go before and after `around`.
    """

    first_sample: int
    end_sample: int
    own: Planes
    around: Planes
    padding: tuple[int, int]

    @property
    def own_end(self) -> int:
        """Index behind its last own sample."""
        return self.first_sample + self.own.shape[1]


class Segments:
    """Cuts a sound into segments that start every `stride_samples`.

    Args:
        segment_samples: own samples of all segments but the last ones.
        overlap: part of a segment that the next one covers too.
        valid_samples: from a number of own samples to that which the network sees.
    """

    def __init__(self, segment_samples: int, overlap: float, valid_samples: Callable[[int], int]) -> None:
        self.segment_samples = segment_samples
        self.stride_samples = max(1, int((1 - overlap) * segment_samples))
        self._valid_samples = valid_samples
        extra = valid_samples(segment_samples) - segment_samples
        self._ahead_samples = extra - extra // 2
        # The shortest last segment sees the most of what was before it.
        self._behind_samples = max(valid_samples(1), extra)
        self._parts: list[Planes] = []
        self._first_sample = 0  # of what is held
        self._end_sample = 0
        self._next_sample = 0  # where the next segment starts

    def push(self, block: Planes) -> Iterator[Segment]:
        """Takes sound of shape (channels, n); yields the segments that it completes."""
        self._parts.append(block)
        self._end_sample += block.shape[1]
        while self._next_sample + self.segment_samples + self._ahead_samples <= self._end_sample:
            yield self._cut(self.segment_samples)

    def finish(self) -> Iterator[Segment]:
        """Yields the last segments, up to the end of the sound."""
        while self._next_sample < self._end_sample:
            yield self._cut(min(self.segment_samples, self._end_sample - self._next_sample))

    def _cut(self, own_samples: int) -> Segment:
        held = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts, axis=1)
        start, end = self._next_sample, self._next_sample + own_samples
        extra = self._valid_samples(own_samples) - own_samples
        seen_start, seen_end = start - extra // 2, end + extra - extra // 2
        first, last = max(seen_start, 0), min(seen_end, self._end_sample)
        segment = Segment(
            start,
            seen_end,
            held[:, start - self._first_sample : end - self._first_sample],
            held[:, first - self._first_sample : last - self._first_sample],
            (first - seen_start, seen_end - last),
        )
        self._next_sample += self.stride_samples
        keep = max(self._first_sample, min(self._next_sample - self._behind_samples, self._end_sample))
        # A copy, or the whole of `held` would stay for as long as its end does.
        self._parts = [held[:, keep - self._first_sample :].copy()]
        self._first_sample = keep
        return segment


class OverlapAdd:
    """Joins what the network made of the segments, in their order.

    Args:
        segment_samples, stride_samples: as `Segments` has them.
    """

    def __init__(self, segment_samples: int, stride_samples: int) -> None:
        self._stride_samples = stride_samples
        half = segment_samples // 2
        rise = np.concatenate([np.arange(1, half + 1), np.arange(segment_samples - half, 0, -1)])
        self._weight = (rise / rise.max()).astype(np.float32)
        self._sum: Planes | None = None
        self._weights = np.zeros(segment_samples, np.float32)

    def add(self, estimate: Planes) -> Planes:
        """Takes the estimate of the next segment, shape (sources, channels, n); returns what is now final.

        That is one stride, or the rest after the last segment.
        """
        samples, stride = estimate.shape[2], self._stride_samples
        if self._sum is None:
            self._sum = np.zeros((*estimate.shape[:2], len(self._weight)), np.float32)
        self._sum[:, :, :samples] += self._weight[:samples] * estimate
        self._weights[:samples] += self._weight[:samples]
        final = min(stride, samples)
        done = self._sum[:, :, :final] / self._weights[:final]
        self._sum[:, :, :-stride] = self._sum[:, :, stride:]
        self._sum[:, :, -stride:] = 0
        self._weights[:-stride] = self._weights[stride:]
        self._weights[-stride:] = 0
        return done
