"""Settings of the separator, beside those of every service, of model weights and of the storage."""

from __future__ import annotations

from pydantic import Field, field_validator

from singscript_core.settings import Names, ServiceSettings

ENGINES = ("demucs", "passthrough")


class SeparatorSettings(ServiceSettings):
    """Read from `SINGSCRIPT_<FIELD>`."""

    separator_engines: Names = Field(
        ENGINES, description="Engines to try, in this order, comma-separated; a request may name its own."
    )
    separator_model: str = Field("htdemucs", description="Demucs model or bag that is used when a request names none.")
    downloader: str = Field("", description="Address (host:port) of the downloader, for requests that name a link.")
    max_duration_s: float = Field(10_800.0, gt=0, description="Longer sound from storage is refused with TOO_LONG.")

    @field_validator("separator_engines")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not set(value) <= set(ENGINES):
            raise ValueError(f"name one or more of: {', '.join(ENGINES)}")
        return value
