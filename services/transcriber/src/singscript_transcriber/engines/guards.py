"""Guards against invented text, for the engines that report how sure they are of a segment.

The thresholds are those of Whisper's own decoder (Radford et al., 2022), which only retries with them; what still fails
after the last retry is dropped here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guards:
    """A segment passes when all of these hold.

    Attributes:
        max_compression_ratio: of its text by zlib; repetition compresses well.
        min_log_probability: mean over its tokens.
        max_no_speech: probability that there is no speech, for segments that are not sure either.
        unsure_log_probability: below this a segment counts as not sure.
        temperatures: tried in turn until the first two hold.
    """

    max_compression_ratio: float = 2.4
    min_log_probability: float = -1.0
    max_no_speech: float = 0.6
    unsure_log_probability: float = -0.7
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

    def passes(self, *, compression_ratio: float, log_probability: float, no_speech: float) -> bool:
        if compression_ratio > self.max_compression_ratio or log_probability < self.min_log_probability:
            return False
        return no_speech <= self.max_no_speech or log_probability >= self.unsure_log_probability
