"""Segments and their joining: numbers alone, without any network."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tiny_demucs import cut

from singscript_separator.engines import Block
from singscript_separator.engines.overlap_add import OverlapAdd, Planes, Segment, Segments

Valid = Callable[[int], int]
OVERLAPS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75])


def exactly(samples: int) -> int:
    return samples


def training_length(samples: int) -> int:
    """A transformer sees as much as it was trained on."""
    assert samples <= 50
    return 50


def next_valid(samples: int) -> int:
    """A network of strided convolutions, without a rest."""
    return 9 + 16 * -(-max(0, samples - 9) // 16)


VALID = st.sampled_from([exactly, training_length, next_valid])
SIZES = st.lists(st.integers(1, 130), min_size=1, max_size=4)


def sound_of(samples: int) -> Block:
    return np.random.default_rng(samples).standard_normal((samples, 2)).astype(np.float32)


def segments_of(
    sound: Block, sizes: list[int], overlap: float, valid: Valid, segment_samples: int = 50
) -> list[Segment]:
    segments = Segments(segment_samples, overlap, valid)
    pushed = (segments.push(block.T) for block in cut(sound, sizes))
    return [*chain.from_iterable(pushed), *segments.finish()]


def whole(sound: Planes, start: int, samples: int) -> Planes:
    """A stretch of a sound that has silence before and behind it."""
    padded = np.pad(sound, ((0, 0), (1_000, 1_000)))
    return padded[:, 1_000 + start : 1_000 + start + samples]


@given(samples=st.integers(0, 300), sizes=SIZES, overlap=OVERLAPS, valid=VALID)
def test_each_segment_is_where_demucs_has_it_and_sees_what_is_around(
    samples: int, sizes: list[int], overlap: float, valid: Valid
) -> None:
    sound = sound_of(samples)
    found = segments_of(sound, sizes, overlap, valid)
    assert [segment.first_sample for segment in found] == list(range(0, samples, int((1 - overlap) * 50)))
    for segment in found:
        first, own_samples = segment.first_sample, min(50, samples - segment.first_sample)
        np.testing.assert_array_equal(segment.own, sound.T[:, first : first + own_samples])
        seen = np.pad(segment.around, ((0, 0), segment.padding))
        extra = valid(own_samples) - own_samples
        np.testing.assert_array_equal(seen, whole(sound.T, first - extra // 2, own_samples + extra))


@given(samples=st.integers(1, 300), segment_samples=st.integers(1, 60), overlap=OVERLAPS)
def test_what_is_not_changed_is_joined_to_what_it_was(samples: int, segment_samples: int, overlap: float) -> None:
    sound = sound_of(samples)
    found = segments_of(sound, [37], overlap, exactly, segment_samples)
    joiner = OverlapAdd(segment_samples, Segments(segment_samples, overlap, exactly).stride_samples)
    joined = np.concatenate([joiner.add(segment.own[None]) for segment in found], axis=2)
    assert joined.shape == (1, 2, samples)
    np.testing.assert_allclose(joined[0].T, sound, rtol=0, atol=1e-5)


def test_from_one_segment_to_the_next_it_fades_along_a_straight_line() -> None:
    joiner = OverlapAdd(8, 4)
    ones, zeros = np.ones((1, 1, 8), np.float32), np.zeros((1, 1, 8), np.float32)
    assert joiner.add(ones).ravel().tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(joiner.add(zeros).ravel(), [4 / 5, 3 / 5, 2 / 5, 1 / 5], rtol=1e-6)


@given(sizes=SIZES, overlap=OVERLAPS, valid=VALID)
def test_a_segment_comes_as_soon_as_all_that_it_sees_is_there(sizes: list[int], overlap: float, valid: Valid) -> None:
    segments = Segments(50, overlap, valid)
    extra = valid(50) - 50
    taken, count = 0, 0
    for block in cut(sound_of(400), sizes):
        taken += len(block)
        count += len(list(segments.push(block.T)))
        complete = (taken - 50 - (extra - extra // 2)) // int((1 - overlap) * 50) + 1
        assert count == max(0, complete)


@given(overlap=OVERLAPS, valid=VALID)
def test_what_is_held_does_not_grow(overlap: float, valid: Valid) -> None:
    segments = Segments(50, overlap, valid)
    for _ in range(50):
        list(segments.push(np.zeros((2, 30), np.float32)))
        # The next segment, what is behind it, and a block.
        assert sum(part.shape[1] for part in segments._parts) <= 50 + 50 + 30 + 16
        assert all(part.base is None or part.base.shape[1] <= 200 for part in segments._parts)
