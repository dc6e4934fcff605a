"""The service's side of its child processes: started, read, limited in time, and never left behind."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singscript_audio.decode import DecodeFailed, MediaProbe, NoAudio, TooLong, UnsupportedFormat
from singscript_core.errors import Internal, StageError
from singscript_core.events import Progress, Warned
from singscript_downloader.engines.errors import DOWNLOAD_ERRORS, DownloadFailed, DownloadTimeout
from singscript_downloader.engines.reports import FILE_NAME
from singscript_downloader.settings import DownloaderSettings

log = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 44_100
CHANNELS = 2

_ERRORS = DOWNLOAD_ERRORS | {e.reason: e for e in (DecodeFailed, NoAudio, TooLong, UnsupportedFormat)}
# How long the decoder may take for its next half second of sound before it counts as hung.
_STALL_S = 60.0
_PIPE_BYTES = 1 << 20
# For what lies in the pipe of a child that was killed.
_LAST_WORDS_S = 5.0
_LOG_TAIL_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Found:
    """What a link holds, as the site says.

    Attributes:
        ext: of the file, without the dot; empty when unknown.
        generic: True for a plain link to a file, whose title is only the file's name.
    """

    title: str
    artist: str
    duration_s: float | None
    webpage_url: str
    format: str
    ext: str
    generic: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """The whole file, on the disk."""

    path: Path


async def fetch_link(
    link: str, work: Path, settings: DownloaderSettings, *, limit_s: float, download: bool = True
) -> AsyncGenerator[Found | Progress | Warned | Fetched]:
    """Looks at a link and, unless told otherwise, downloads it into the folder `work`.

    Args:
        limit_s: longer sound is refused, where the site says how long it is.

    Raises:
        StageError: one of `engines.errors`, or TooLong, or NoAudio.
    """
    request = {
        "link": link,
        "download": download,
        "allow_hosts": settings.download_allow_hosts,
        "proxy": settings.download_proxy,
        "limit_bytes": settings.max_download_bytes,
        "limit_s": limit_s,
        "reserve_bytes": settings.disk_reserve_bytes,
    }
    timeout_s = settings.download_timeout_s if download else min(settings.download_timeout_s, settings.probe_timeout_s)
    deadline = time.monotonic() + timeout_s
    async with _running("singscript_downloader.engines.fetch", request, work) as child:
        while True:
            try:
                event, _ = await child.next(deadline - time.monotonic())
            except TimeoutError:
                raise DownloadTimeout(
                    f"The download took longer than {timeout_s:g} s, which is the limit. Try again, or upload it.",
                    metadata={"limit_s": f"{timeout_s:g}"},
                ) from None
            match event.pop("event", None):
                case "found":
                    found = Found(**event)
                    yield found
                    if not download:
                        return
                case "progress":
                    yield Progress(0.0, None, done_bytes=event["done_bytes"], total_bytes=event["total_bytes"])
                case "warned":
                    yield Warned(event["reason"], event["message"])
                case "fetched":
                    yield Fetched(work / FILE_NAME)
                    return
                case _:
                    raise DownloadFailed(
                        "The download stopped in the middle. Download the file yourself and upload it."
                    )


async def decode_file(
    file: Path, work: Path, *, limit_s: float | None
) -> AsyncGenerator[MediaProbe | NDArray[np.float32]]:
    """Decodes a file: first what its headers say, then blocks of shape (n, CHANNELS) at SAMPLE_RATE_HZ.

    Args:
        work: the folder of this request.
        limit_s: more sound than this is refused; None stops after the headers.

    Raises:
        UnsupportedFormat, NoAudio, DecodeFailed, TooLong.
    """
    request = {"file": str(file), "limit_s": limit_s, "sample_rate_hz": SAMPLE_RATE_HZ, "channels": CHANNELS}
    async with _running("singscript_downloader.engines.decode", request, work) as child:
        while True:
            try:
                event, block = await child.next(_STALL_S)
            except TimeoutError:
                raise DecodeFailed("The file could not be decoded in time: it is damaged. Send another copy.") from None
            match event.pop("event", None):
                case "media":
                    yield MediaProbe(**event)
                    if limit_s is None:
                        return
                case "pcm":
                    yield np.frombuffer(block, "<f4").reshape(-1, CHANNELS)
                case "decoded":
                    return
                case _:
                    raise DecodeFailed("The file could not be decoded: it is damaged. Send another copy.")


class _Child:
    def __init__(self, process: asyncio.subprocess.Process, stderr: Path) -> None:
        self._process = process
        self._stderr = stderr
        assert process.stdout is not None
        self._out = process.stdout

    async def next(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """The next event and its block; an empty event when the child ended without a word.

        Raises:
            TimeoutError: nothing whole came in time.
            StageError: the child reported one.
        """
        async with asyncio.timeout(max(0.0, timeout_s)):
            try:
                line = await self._out.readline()
                event: dict[str, Any] = json.loads(line) if line else {}
                block = await self._out.readexactly(event.pop("bytes")) if "bytes" in event else b""
            except (ValueError, asyncio.IncompleteReadError):  # cut in the middle of a line or block
                event, block = {}, b""
            if not event:
                await self._log("a child process ended without a result")
        if event.get("event") == "failed":
            if event["reason"] == DownloadFailed.reason:
                await self._log("yt-dlp failed in a way that is not known")
            raise _error(event)
        return event, block

    async def _log(self, what: str) -> None:
        """What the child had to say, for the operator."""
        code = await self._process.wait()
        tail = self._stderr.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
        # Queries carry tokens.
        tail = re.sub(r"(https?://[^\s?#'\"]+)[^\s'\"]*", r"\1", tail)
        log.error(what, extra={"exit_code": code, "stderr": tail})


def _error(event: Mapping[str, Any]) -> StageError:
    kind = _ERRORS.get(event["reason"], Internal)
    return kind(event["message"], metadata=event["metadata"], retry_after_s=event["retry_after_s"])


@asynccontextmanager
async def _running(module: str, request: Mapping[str, Any], work: Path) -> AsyncIterator[_Child]:
    """A fresh interpreter in a process group of its own; the whole group is killed on every way out."""
    stderr = work / "stderr.log"
    with stderr.open("wb") as stderr_file:
        process = await asyncio.create_subprocess_exec(
            # Isolated: neither the current folder, where strangers' files lie, nor PYTHON* variables are looked at.
            *(sys.executable, "-I", "-X", "utf8", "-m", module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr_file,
            limit=_PIPE_BYTES,
            cwd=work,
            env=_environment(work),
            start_new_session=True,
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        # Stays open: its end tells the child that this process is gone.
        with suppress(ConnectionError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
        yield _Child(process, stderr)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # A pipe with more in it than may wait is not looked at, and would stay open.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                while await process.stdout.read(_PIPE_BYTES):
                    pass
        await process.wait()


def _environment(work: Path) -> dict[str, str]:
    """Nothing of this process' settings and secrets; every place that is written to lies in `work`."""
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "HOME": str(work),
        "TMPDIR": str(work),
        "DENO_DIR": str(work / "deno"),
        "DENO_NO_UPDATE_CHECK": "1",
        "YTDLP_NO_PLUGINS": "1",
        # The decoder and yt-dlp compute with one thread; without this numpy starts one a core.
        "OPENBLAS_NUM_THREADS": "1",
    }
