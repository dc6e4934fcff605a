"""Settings that every service has. Each service adds its own in its `settings.py`; all come from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


# Written "one,two" in the environment.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class ServiceSettings(BaseSettings):
    """Read from `SINGSCRIPT_<FIELD>`; a wrong value stops the process at start with a sentence that names it."""

    model_config = SettingsConfigDict(env_prefix="SINGSCRIPT_", extra="ignore", frozen=True)

    listen: str = Field(default="127.0.0.1:0", description="Address and port to serve on; port 0 takes a free one.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    max_streams: int = Field(default=8, ge=1, description="Streams served at once; one more is refused as BUSY.")
    drain_s: float = Field(default=20.0, ge=0, description="How long running streams may go on after SIGTERM.")


class ModelSettings(BaseSettings):
    """Where model weights are looked for."""

    model_config = SettingsConfigDict(env_prefix="SINGSCRIPT_", extra="ignore", frozen=True)

    models_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("singscript")) / "models",
        description="Weights are looked for here first, and kept here when downloaded.",
    )
    allow_model_download: bool = Field(default=True, description="Whether weights may be fetched from their hub.")
