"""What can be set, each from the environment."""

from __future__ import annotations

import os

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from singscript_core.settings import ModelSettings, Names, ServiceSettings


class TranscriberSettings(ServiceSettings, ModelSettings):
    """Read from `SINGSCRIPT_<FIELD>`; those of OpenAI's client from its own variables."""

    model_config = SettingsConfigDict(populate_by_name=True)

    transcriber_engines: Names = Field(
        default=("openai", "faster-whisper", "whisper", "sphinx"),
        min_length=1,
        description="Engines, tried in this order; separated by commas.",
    )
    whisper_model: str = Field(
        default="small", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Model of faster-whisper and whisper."
    )
    whisper_idle_s: float = Field(
        default=900.0, ge=0, description="A Whisper model that nobody has used for so long is unloaded; 0: never."
    )
    sphinx_processes: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 2) // 2),
        ge=1,
        description="Windows that PocketSphinx decodes at once, each in a process of its own.",
    )
    transcriber_part_s: float = Field(
        default=60.0, gt=0, description="How much of the sound a part holds at least, where the request has parts kept."
    )
    max_duration_s: float = Field(
        default=10_800.0, gt=0, description="Longer sound from storage is refused with TOO_LONG."
    )
    openai_api_key: SecretStr = Field(
        default=SecretStr(""), validation_alias="OPENAI_API_KEY", description="Key of the engine openai."
    )
    openai_base_url: str = Field(
        default="", validation_alias="OPENAI_BASE_URL", description="Another server that speaks OpenAI's API."
    )
    openai_model: str = Field(
        default="whisper-1", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Model of the engine openai."
    )
    openai_parallel: int = Field(default=4, ge=1, description="Windows that are sent to OpenAI's API at once.")
    downloader: str = Field(default="", description="Address of the downloader, for requests that name it.")
    separator: str = Field(default="", description="Address of the separator, for requests that name it.")
