"""A long sound in windows of fixed length that overlap and fade into each other: constant memory, any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from singscript_separator.engines import Block


def cross_faded(
    blocks: Iterator[Block], estimate: Callable[[Block], Block], *, window_samples: int, fade_samples: int
) -> Iterator[Block]:
    """Runs `estimate` over windows of the sound and joins the results with linear cross-fades.

    Windows start every `window_samples - fade_samples`, whatever the sizes of the blocks, so the result does not depend
    on them. What comes out is as long as what goes in.

    Args:
        blocks: the sound, each of shape (n, channels).
        estimate: from a window to something of the same shape; called in order of time. The last window may be shorter.
        window_samples: what `estimate` sees at once.
        fade_samples: how far two windows overlap, less than half of a window.
    Yields:
        Blocks of `window_samples - fade_samples`; the last may be shorter or longer.
    """
    hop_samples = window_samples - fade_samples
    fade_in = (np.arange(1, fade_samples + 1, dtype=np.float32) / (fade_samples + 1))[:, None]
    parts: list[Block] = []
    held_samples = 0
    tail: Block | None = None  # what the window before says of the first `fade_samples` of this one

    def joined(window: Block) -> Block:
        result = estimate(window)
        if tail is not None:
            result[:fade_samples] = tail * (1 - fade_in) + result[:fade_samples] * fade_in
        return result

    for block in blocks:
        parts.append(block)
        held_samples += len(block)
        while held_samples >= window_samples:
            sound = np.concatenate(parts)
            result = joined(sound[:window_samples])
            yield result[:hop_samples]
            tail = result[hop_samples:]
            parts, held_samples = [sound[hop_samples:]], held_samples - hop_samples
    if tail is not None and held_samples == fade_samples:
        yield tail  # the window before reached the very end
    elif held_samples:
        yield joined(np.concatenate(parts))
