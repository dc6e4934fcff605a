"""Sound whose words are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
Sound = NDArray[np.float32]


@dataclass(frozen=True)
class Speech:
    """`samples` has shape (n,), 16 kHz; `words` holds (word, start_s, end_s)."""

    samples: Sound
    words: list[tuple[str, float, float]]
