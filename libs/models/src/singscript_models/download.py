"""One file from the web: streamed, hashed on the way, resumed after a cut, kept only if it is what was pinned."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx

from singscript_core.errors import EngineUnavailable
from singscript_core.events import Progress

ATTEMPTS = 3
MAX_BYTES = 4 << 30  # where the size is not known; no checkpoint of Demucs or Whisper is as large
MAX_S = 3600.0
REPORT_S = 0.5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


@dataclass(frozen=True, slots=True)
class Source:
    """One place that has a file.

    Attributes:
        url: ends in the name of the file.
        sha256: of the file, or its first digits where no more is known.
        size_bytes: None where it is not known.
    """

    url: str
    sha256: str
    size_bytes: int | None = None


class DownloadFailed(EngineUnavailable):
    """A file could not be had from the network, or not be kept on the disk."""

    reason = "DOWNLOAD_FAILED"


def download(source: Source, part: Path) -> Generator[Progress]:
    """Fetches `source` into the file `part`, which is whole and checked when the generator ends.

    What `part` holds at the start, left there by a process that was cut short, is not fetched again. On a failure it
    stays for the next time, unless it is wrong.

    Yields:
        Bytes done and bytes in all, about twice a second.
    Raises:
        DownloadFailed: the host cannot be reached, has no such file, sends another, or the disk is full.
    """
    deadline_s = time.monotonic() + MAX_S
    try:
        # Proxies and certificates of the environment count.
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers={"User-Agent": "singscript"}) as client:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    yield from _attempt(client, source, part, deadline_s)
                    return
                except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError):  # a cut: go on from there
                    if attempt == ATTEMPTS:
                        raise
                except _Wrong as wrong:
                    part.unlink()
                    if not wrong.resumed or attempt == ATTEMPTS:
                        raise DownloadFailed(
                            f"{_host(source)} sent something other than {_name(source)} as it was released. It was "
                            f"removed. Try again later, or put the file there by hand."
                        ) from None
    except httpx.HTTPStatusError as error:
        raise DownloadFailed(f"{_host(source)} answered {error.response.status_code} for {_name(source)}.") from error
    except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError) as error:
        raise DownloadFailed(f"{_host(source)} cut the transfer of {_name(source)}.") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:  # the last two: a strange proxy
        raise DownloadFailed(f"{_host(source)} cannot be reached.") from error
    except OSError as error:
        raise disk_trouble(error) from error
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()


def disk_trouble(error: OSError) -> DownloadFailed:
    """What a failure of the disk means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadFailed("The disk of SINGSCRIPT_MODELS_DIR is full. Make room, or name a folder on another disk.")
    return DownloadFailed("SINGSCRIPT_MODELS_DIR cannot be read or written. Let this user do both.")


class _Wrong(Exception):
    """The content is not what was pinned; `resumed` when a part of it was there before."""

    def __init__(self, resumed: bool) -> None:
        self.resumed = resumed


def _attempt(client: httpx.Client, source: Source, part: Path, deadline_s: float) -> Generator[Progress]:
    limit_bytes = source.size_bytes or MAX_BYTES
    with part.open("ab+") as file:
        digest, had_bytes = _hashed(file)
        if had_bytes != source.size_bytes:  # else only its sum is left to be looked at
            headers = {"Accept-Encoding": "identity"}
            if had_bytes:
                headers["Range"] = f"bytes={had_bytes}-"
            with client.stream("GET", source.url, headers=headers) as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise _Wrong(resumed=True)
                response.raise_for_status()
                if not _continues(response, had_bytes):
                    digest, had_bytes = hashlib.sha256(), 0
                    file.truncate(0)
                total_bytes = source.size_bytes or _length(response, had_bytes)
                done_bytes, reported_s = had_bytes, 0.0
                for data in response.iter_raw():
                    done_bytes += len(data)
                    if done_bytes > limit_bytes:
                        raise _Wrong(resumed=had_bytes > 0)
                    digest.update(data)
                    file.write(data)
                    now_s = time.monotonic()
                    if now_s > deadline_s:
                        raise httpx.ReadTimeout("the whole transfer takes too long")
                    if now_s - reported_s >= REPORT_S:
                        yield Progress(0.0, done_bytes=done_bytes, total_bytes=total_bytes)
                        reported_s = now_s
                if total_bytes is not None and done_bytes < total_bytes:
                    raise httpx.RemoteProtocolError("the transfer was cut")
        if not digest.hexdigest().startswith(source.sha256):
            raise _Wrong(resumed=had_bytes > 0)
        file.flush()
        os.fsync(file.fileno())
        size_bytes = file.tell()
    yield Progress(0.0, done_bytes=size_bytes, total_bytes=size_bytes)


def _hashed(file: BinaryIO) -> tuple[hashlib._Hash, int]:
    """The digest so far and the length of what the file holds; leaves it at its end."""
    digest = hashlib.sha256()
    file.seek(0)
    while data := file.read(1 << 20):
        digest.update(data)
    return digest, file.tell()


def _continues(response: httpx.Response, had_bytes: int) -> bool:
    """Whether the answer goes on where the file ends; a server may as well send all of it again."""
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return response.status_code == httpx.codes.PARTIAL_CONTENT and start == str(had_bytes)


def _length(response: httpx.Response, had_bytes: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return had_bytes + int(length) if length.isdecimal() else None


def _host(source: Source) -> str:
    return urlsplit(source.url).hostname or "the host"


def _name(source: Source) -> str:
    return Path(urlsplit(source.url).path).name
