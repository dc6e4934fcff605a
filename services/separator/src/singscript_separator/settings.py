"""Settings of the separator, beside those of every service, of model weights and of the storage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from singscript_core.settings import Names, ServiceSettings
from singscript_separator.artifacts import Clip
from singscript_separator.engines.backends import Backend
from singscript_separator.engines.demucs import Instrumental

ENGINES = ("demucs", "passthrough")


class SeparatorSettings(ServiceSettings):
    """Read from `SINGSCRIPT_<FIELD>`."""

    separator_engines: Names = Field(
        ENGINES, description="Engines to try, in this order, comma-separated; a request may name its own."
    )
    separator_model: str = Field("htdemucs", description="Demucs model or bag that is used when a request names none.")
    separator_backend: Backend = Field(
        "auto",
        description="What computes: torch, openvino (processors only, Hybrid Transformer models only), or auto: a GPU "
        "where there is one, else the quicker of both, measured once.",
    )
    separator_threads: int = Field(
        0,
        ge=0,
        description="Threads of OpenVINO; 0: one for each core that the service may use. Torch has OMP_NUM_THREADS.",
    )
    separator_overlap: float = Field(
        0.25,
        ge=0,
        le=0.9,
        description="How much of a segment the next one covers too. 0.25 is Demucs' own; 0.1 takes a sixth less time.",
    )
    separator_instrumental: Instrumental = Field(
        "mix-minus-vocals",
        description="What the instrumental is: mix-minus-vocals (adds up to the input), or sum-of-others (every source "
        "is computed).",
    )
    separator_format: Literal["flac", "wav", "mp3", "opus"] = Field(
        "flac", description="What stems are stored as when a request does not say: flac or wav (24 bit), mp3, opus."
    )
    separator_clip: Clip = Field(
        "clamp",
        description="What becomes of stems beyond full scale: clamp (cut off), or rescale (the whole stem is made "
        "quieter, as Demucs does).",
    )
    separator_part_s: float = Field(
        60.0, gt=0, description="Seconds of sound in a part, for requests that have what was separated kept in parts."
    )
    downloader: str = Field("", description="Address (host:port) of the downloader, for requests that name a link.")
    max_duration_s: float = Field(10_800.0, gt=0, description="Longer sound from storage is refused with TOO_LONG.")

    @field_validator("separator_engines")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not set(value) <= set(ENGINES):
            raise ValueError(f"name one or more of: {', '.join(ENGINES)}")
        return value
