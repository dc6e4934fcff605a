"""Sound in, stems out, while it still arrives: what a network needs around it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from singscript_audio.resample import Resampler
from singscript_core.stopping import Stop
from singscript_models.scheduler import Lane, Scheduler
from singscript_separator.engines import NO_MEMORY, Block, Memory, Stems
from singscript_separator.engines.bag import Bag, Member
from singscript_separator.engines.overlap_add import OverlapAdd, Planes, Segment, Segments

log = logging.getLogger(__name__)

SILENCE = 10 ** (-60 / 20)  # a segment whose peak is below -60 dBFS is not computed


@dataclass(frozen=True, slots=True)
class Scale:
    """What the networks want taken off their input, and given back to their output."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, sound: Planes) -> Scale:
        """As `demucs.api` has it, of a sound of shape (channels, n)."""
        mono = sound.mean(axis=0, dtype=np.float64)
        return cls(float(mono.mean()), float(mono.std(ddof=1 if len(mono) > 1 else 0)) + 1e-8)


def separate(
    blocks: Iterator[Block],
    *,
    sample_rate_hz: int,
    channels: int,
    stop: Stop,
    bag: Bag,
    scheduler: Scheduler,
    overlap: float,
    stems: Sequence[str],
    memory: Memory = NO_MEMORY,
) -> Iterator[Stems]:
    """Splits a sound of any rate and length at constant memory.

    The result is that of `demucs.apply.apply_model(shifts=0)`, with two exceptions. Demucs normalises by the mean and
    deviation of the whole track; here they are those of the first segment that is not silent (the networks normalise
    each segment again by themselves, so little but a constant offset depends on it). And silent segments stay silent.

    Args:
        blocks: shape (n, channels).
        sample_rate_hz, channels: of the blocks, and of the stems.
        stop: ends the work, also while it waits for its turn.
        bag: the model.
        scheduler: owns the compute.
        overlap: of the segments, from 0 to 1.
        stems: names of what is to come out: the bag's sources, and `instrumental`. That is the sum of the other
            sources where the bag gives them, else the mix minus the vocals.
        memory: of the estimates, see `estimates`.
    Raises:
        Cancelled: `stop` was set.
    """
    waiting: list[Block] = []  # what came in, and whose stems are not known yet

    def heard() -> Iterator[Block]:
        for block in blocks:
            waiting.append(block)
            yield block

    rate_hz, wide = bag.sample_rate_hz, bag.channels
    mix = _resampled(heard(), Resampler(sample_rate_hz, channels, rate_hz, wide))
    computed = [name for name in stems if name in bag.sources or len(bag.sources) > 1]
    back = {name: Resampler(rate_hz, wide, sample_rate_hz, channels) for name in computed}
    first_sample = 0

    def told(parts: dict[str, Block]) -> Stems:
        """The stems of a stretch, of the length that is left of the input at most."""
        sound = _take(waiting, len(next(iter(parts.values()))))
        named = {name: part[: len(sound)] for name, part in parts.items()}
        if "instrumental" in stems and "instrumental" not in named:
            named["instrumental"] = sound - named["vocals"]
        return Stems(first_sample, {name: named[name] for name in stems})

    def resampled_back(lane: Lane) -> Iterator[dict[str, Block]]:
        for sources in estimates(mix, bag=bag, lane=lane, overlap=overlap, memory=memory):
            yield {name: back[name].push(_stem(name, sources, bag.sources)) for name in computed}
        yield {name: resampler.flush() for name, resampler in back.items()}

    with scheduler.lane() as lane:
        stop.on_set(lane.close)
        for parts in resampled_back(lane):
            if len(next(iter(parts.values()))):
                found = told(parts)
                yield found
                first_sample += found.samples
    # Two resamplings may end a sample or two early.
    for rest in filter(len, waiting):
        silence = np.zeros_like(rest)
        yield Stems(first_sample, {name: rest if name == "instrumental" else silence for name in stems})
        first_sample += len(rest)


def estimates(
    mix: Iterator[Block], *, bag: Bag, lane: Lane, overlap: float, memory: Memory = NO_MEMORY
) -> Iterator[Planes]:
    """The sources of a sound, in stretches of shape (sources, channels, n), as long in all as the sound.

    The first stretch is given before two segments of input have been taken; later on, as many segments are under way as
    the network can compute at once. How much was computed is logged at the end, whatever the end is.

    Args:
        mix: at the bag's rate, shape (n, channels).
        memory: what it knows is taken from it, and segments that add nothing to the rest are not computed; everything
            else is as if nothing were known. The rest it is given to keep.
    """
    tracks = [_Track(member, overlap, (len(bag.sources), bag.channels)) for member in bag.members]
    pending: deque[_Pending] = deque()
    scale: Scale | None = None
    under_way = len(tracks)  # at most, while more input is taken
    done_samples, seen_samples = 0, 0
    computed_samples, computed_end = 0, 0  # what several networks have computed counts once

    def queue(track: _Track, segment: Segment) -> None:
        nonlocal scale
        if np.abs(segment.around).max() < SILENCE:
            pending.append(_Pending(track, segment))
            return
        scale = scale or Scale.of(segment.own)
        if segment.own_end <= memory.known_samples:
            pending.append(_Pending(track, segment))
            return
        sound = (segment.around - np.float32(scale.mean)) / np.float32(scale.deviation)
        padded = np.pad(sound, ((0, 0), segment.padding))
        pending.append(_Pending(track, segment, scale, lane.submit(track.member.network, padded, padded.shape)))

    def joined(limit: int) -> Iterator[Planes]:
        """What is final, once at most `limit` segments are under way."""
        nonlocal done_samples, seen_samples, computed_samples, computed_end
        while pending and (len(pending) > limit or pending[0].done):
            first = pending.popleft()
            first.track.add(first)
            segment = first.segment
            seen_samples = max(seen_samples, segment.end_sample)
            if first.future:
                computed_samples += max(0, segment.own_end - max(segment.first_sample, computed_end))
                computed_end = max(computed_end, segment.own_end)
            samples = min(track.ready_samples for track in tracks)
            if samples:
                stretch = np.sum([track.take(samples) for track in tracks], axis=0)
                known = min(max(memory.known_samples - done_samples, 0), samples)
                if known:
                    stretch[:, :, :known] = memory.recall(known)
                if known < samples:
                    memory.keep(stretch[:, :, known:], seen_samples)
                done_samples += samples
                yield stretch

    try:
        for block in mix:
            planes = np.ascontiguousarray(block.T)
            found = [(track, segment) for track in tracks for segment in track.segments.push(planes)]
            # In the order in which they would come one by one, as the first one sets the scale.
            for track, segment in sorted(found, key=lambda pair: pair[1].end_sample):
                queue(track, segment)
            for stretch in joined(under_way):
                yield stretch
                under_way = max(track.member.network.parallel * track.member.network.batch for track in tracks) * len(
                    tracks
                )
        for track in tracks:
            for segment in track.segments.finish():
                queue(track, segment)
        yield from joined(0)
    finally:
        seconds = {
            "computed_s": computed_samples / bag.sample_rate_hz,
            "from_s": memory.known_samples / bag.sample_rate_hz,
        }
        log.info("separated", extra=seconds)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A segment whose turn to be joined has not come; without a future it is silent, or what it gives is known."""

    track: _Track
    segment: Segment
    scale: Scale = Scale(0.0, 1.0)
    future: Future[Planes] | None = None

    @property
    def done(self) -> bool:
        return self.future is None or self.future.done()


class _Track:
    """What one network of the bag adds: its own segments, joined."""

    def __init__(self, member: Member, overlap: float, shape: tuple[int, int]) -> None:
        self.member = member
        self.segments = Segments(member.segment_samples, overlap, member.valid_samples)
        self._shape = shape
        self._joiner = OverlapAdd(self.segments.segment_samples, self.segments.stride_samples)
        self._ready: Planes = np.zeros((*shape, 0), np.float32)

    @property
    def ready_samples(self) -> int:
        return self._ready.shape[2]

    def add(self, pending: _Pending) -> None:
        """Waits for the result of the next segment and joins it to those before."""
        own_samples = pending.segment.own.shape[1]
        if pending.future is None:
            share = np.zeros((*self._shape, own_samples), np.float32)
        else:
            estimate = pending.future.result()
            first = (estimate.shape[2] - own_samples) // 2
            estimate = estimate[:, :, first : first + own_samples]
            share = self.member.share(estimate * np.float32(pending.scale.deviation) + np.float32(pending.scale.mean))
        self._ready = np.concatenate([self._ready, self._joiner.add(share)], axis=2)

    def take(self, samples: int) -> Planes:
        taken, self._ready = self._ready[:, :, :samples], self._ready[:, :, samples:]
        return taken


def _stem(name: str, sources: Planes, names: Sequence[str]) -> Block:
    """One stem, shape (n, channels), of the estimated sources."""
    if name in names:
        return sources[names.index(name)].T
    others = [row for row, source in enumerate(names) if source != "vocals"]
    return sources[others].sum(axis=0).T


def _resampled(blocks: Iterator[Block], resampler: Resampler) -> Iterator[Block]:
    for block in blocks:
        yield resampler.push(block)
    yield resampler.flush()


def _take(waiting: list[Block], count: int) -> Block:
    """Removes the first `count` samples, or as many as there are."""
    sound = np.concatenate(waiting)
    waiting[:] = [sound[count:]]
    return sound[:count]
