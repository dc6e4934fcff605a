"""Where objects are kept, read from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from singscript_storage.folder import FolderStore
from singscript_storage.s3 import S3Store
from singscript_storage.store import ObjectStore

_BUCKET = r"^$|^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


class StorageSettings(BaseSettings):
    """Read from `SINGSCRIPT_<FIELD>`. Either a folder or an S3 bucket, or neither."""

    model_config = SettingsConfigDict(env_prefix="SINGSCRIPT_", extra="ignore", frozen=True)

    storage_dir: Path | None = Field(default=None, description="Folder that objects are kept in.")
    s3_endpoint: str = Field(
        default="", pattern=r"^[^/\s]*$", description="host:port of the S3 server, without https://."
    )
    s3_bucket: str = Field(default="", pattern=_BUCKET, description="Bucket for the objects; it must exist.")
    s3_access_key: str = Field(default="", description="Access key of the S3 server.")
    s3_secret_key: SecretStr = Field(default=SecretStr(""), description="Secret key of the S3 server.")
    s3_region: str = Field(default="us-east-1", description="Region of the bucket.")
    s3_secure: bool = Field(default=True, description="Whether the S3 server is spoken to over TLS.")

    s3_public_endpoint: str = Field(
        default="",
        pattern=r"^$|^https?://[^/\s?#@]+$",
        description="Where clients reach the same S3 server, such as https://files.example.org: the API sends them "
        "there for files. Empty: files go through the API.",
    )

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if self.storage_dir and self.s3_endpoint:
            raise ValueError("set SINGSCRIPT_STORAGE_DIR or SINGSCRIPT_S3_ENDPOINT, not both")
        if self.s3_public_endpoint and not self.s3_endpoint:
            raise ValueError("SINGSCRIPT_S3_PUBLIC_ENDPOINT needs SINGSCRIPT_S3_ENDPOINT beside it")
        if self.s3_endpoint and not (self.s3_bucket and self.s3_access_key and self.s3_secret_key.get_secret_value()):
            raise ValueError("SINGSCRIPT_S3_ENDPOINT needs SINGSCRIPT_S3_BUCKET, _ACCESS_KEY and _SECRET_KEY beside it")
        return self


def open_store(settings: StorageSettings) -> ObjectStore | None:
    """The store that the settings name; None when they name none. An S3 server is first spoken to when it is used.

    Raises:
        StorageUnavailable: the folder cannot be made or written.
    """
    if settings.storage_dir:
        return FolderStore(settings.storage_dir)
    if settings.s3_endpoint:
        return S3Store(
            settings.s3_endpoint,
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key.get_secret_value(),
            region=settings.s3_region,
            secure=settings.s3_secure,
            public_endpoint=settings.s3_public_endpoint,
        )
    return None
