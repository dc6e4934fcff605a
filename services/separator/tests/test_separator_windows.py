"""Windows: what comes out does not depend on how the sound is cut, and is exactly as long."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from singscript_separator.engines import Block
from singscript_separator.engines.windows import cross_faded

WINDOW, FADE = 50, 8


def run(sound: Block, sizes: list[int], seen: list[int] | None = None) -> Block:
    def estimate(window: Block) -> Block:
        if seen is not None:
            seen.append(len(window))
        return window - window.mean(axis=0)  # depends on the whole window

    blocks, start, turn = [], 0, 0
    while start < len(sound):
        blocks.append(sound[start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    results = list(cross_faded(iter(blocks), estimate, window_samples=WINDOW, fade_samples=FADE))
    return np.concatenate(results) if results else np.zeros((0, 2), np.float32)


@given(samples=st.integers(0, 300), sizes=st.lists(st.integers(1, 130), min_size=1, max_size=4))
def test_any_cutting_gives_the_same_and_the_length_is_exact(samples: int, sizes: list[int]) -> None:
    sound = np.random.default_rng(samples).standard_normal((samples, 2)).astype(np.float32)
    result = run(sound, sizes)
    assert result.shape == sound.shape
    np.testing.assert_array_equal(result, run(sound, [7]))


@given(samples=st.integers(1, 300))
def test_an_estimate_that_looks_at_each_sample_alone_is_not_changed_by_the_windows(samples: int) -> None:
    sound = np.random.default_rng(samples).standard_normal((samples, 2)).astype(np.float32)
    blocks = iter([sound])
    results = list(cross_faded(blocks, lambda window: window * 0.5, window_samples=WINDOW, fade_samples=FADE))
    np.testing.assert_allclose(np.concatenate(results), sound * 0.5, atol=1e-6)


def test_windows_have_their_fixed_length_and_the_last_takes_the_rest() -> None:
    hop = WINDOW - FADE
    for samples, expected in (
        (WINDOW - 1, [WINDOW - 1]),
        (WINDOW, [WINDOW]),
        (WINDOW + 1, [WINDOW, FADE + 1]),
        (WINDOW + hop, [WINDOW, WINDOW]),
        (WINDOW + hop + 1, [WINDOW, WINDOW, FADE + 1]),
    ):
        seen: list[int] = []
        run(np.zeros((samples, 2), np.float32), [samples], seen)
        assert seen == expected, samples


def test_a_window_is_given_out_before_the_next_one_is_read() -> None:
    read: list[int] = []

    def blocks():
        for index in range(10):
            read.append(index)
            yield np.zeros((WINDOW, 2), np.float32)

    results = cross_faded(blocks(), lambda window: window.copy(), window_samples=WINDOW, fade_samples=FADE)
    next(results)
    assert read == [0]
