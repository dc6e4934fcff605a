"""Where no weights can be had: the vocals are the input, the instrumental is silence, and a warning says so."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from singscript_core.events import EngineChosen, Progress, Warned
from singscript_core.stopping import Stop
from singscript_separator.engines import NO_MEMORY, Block, Memory, Ready, Split, Stems

STEMS = ("vocals", "instrumental")


class Passthrough:
    """Always available; always warns."""

    name = "passthrough"
    default_model = ""
    models = ("",)

    def problem(self, model: str) -> str:
        return ""

    def ready(self, model: str, split: Split) -> Generator[Progress, None, Ready]:
        warning = Warned(
            "SEPARATION_SKIPPED",
            "The sound was not separated: the vocals are the whole input and the instrumental is silence. To separate "
            "it, put the weights of a Demucs model into SINGSCRIPT_MODELS_DIR, or let them be downloaded with "
            "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD=true.",
        )
        return Ready(EngineChosen(self.name), STEMS, separate, warnings=(warning,))
        yield  # nothing is ever downloaded


def separate(
    blocks: Iterator[Block], *, sample_rate_hz: int, channels: int, stop: Stop, memory: Memory = NO_MEMORY
) -> Iterator[Stems]:
    """Yields each block as it came, beside silence of the same shape."""
    first_sample = 0
    for block in blocks:
        yield Stems(first_sample, {"vocals": block, "instrumental": np.zeros_like(block)})
        first_sample += len(block)
