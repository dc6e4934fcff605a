"""Settings of the downloader, beside those of every service and those of the storage."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import DirectoryPath, Field, field_validator

from singscript_core.settings import ServiceSettings
from singscript_egress.addresses import AllowedHosts


class DownloaderSettings(ServiceSettings):
    """Read from `SINGSCRIPT_<FIELD>`."""

    max_download_bytes: int = Field(2 << 30, ge=1, description="A larger file is refused with TOO_LARGE.")
    download_timeout_s: float = Field(600.0, gt=0, description="A longer download ends with DOWNLOAD_TIMEOUT.")
    probe_timeout_s: float = Field(60.0, gt=0, description="The same for only looking at a link.")
    max_duration_s: float = Field(10_800.0, gt=0, description="Longer sound is refused with TOO_LONG.")
    disk_reserve_bytes: int = Field(256 << 20, ge=0, description="What downloads leave free on the disk.")
    download_allow_hosts: AllowedHosts = Field(
        "", description="Hosts (host or host:port, comma-separated) that may be fetched from although not public."
    )
    download_proxy: str = Field(
        "", description="http:// or socks5h:// proxy for all downloads; HTTP_PROXY and its like are ignored."
    )
    work_dir: DirectoryPath | None = Field(
        None, description="Where downloads lie while they are read; the system's temp folder."
    )

    @field_validator("download_proxy")
    @classmethod
    def _proxy(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "socks5", "socks5h") or not parts.hostname or not parts.port):
            raise ValueError("a proxy is http://host:port, socks5://host:port or socks5h://host:port")
        return value
