"""FLAC with a choice of depth, for what is no stem: 16 bits are plenty for speech on its way to an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from singscript_audio.writers import FLAC, SoundWriter

_BY_BITS = {16: replace(FLAC, sample_format="s16"), 24: FLAC}


class FlacWriter(SoundWriter):
    """A `SoundWriter` of FLAC with 16 or 24 bits."""

    def __init__(self, path: Path, *, sample_rate_hz: int, channels: int, bits: Literal[16, 24] = 24) -> None:
        super().__init__(path, _BY_BITS[bits], sample_rate_hz=sample_rate_hz, channels=channels)
