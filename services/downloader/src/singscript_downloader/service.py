"""The gRPC side: requests to fetching, keeping and decoding, and what these yield to responses."""

from __future__ import annotations

import asyncio
import errno
import mimetypes
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import grpc
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2

from singscript_audio.chunks import ChunkWriter, audio_format
from singscript_audio.decode import MediaProbe
from singscript_core.errors import InvalidInput
from singscript_core.events import EngineChosen, Progress, StageEvent, Stored, Warned
from singscript_core.stopping import Stop
from singscript_downloader.children import CHANNELS, SAMPLE_RATE_HZ, Fetched, Found, decode_file, fetch_link
from singscript_downloader.engines import links
from singscript_downloader.engines.errors import StorageNotConfigured, disk_full, too_large
from singscript_downloader.engines.reports import FILE_NAME
from singscript_downloader.settings import DownloaderSettings
from singscript_serving import events
from singscript_serving.server import Service
from singscript_storage import ObjectStore, artifact_key, sha256_of

Context = grpc.aio.ServicerContext[Any, Any]
P = ParamSpec("P")
T = TypeVar("T")

_PROGRESS_EVERY_S = 1.0
# Where the container itself says better what the file is than the name that it came under.
_EXTENSIONS = {"mpegts": "ts", "aac": "aac", "mp3": "mp3", "flac": "flac", "wav": "wav", "ogg": "ogg"}
_MEDIA_TYPES = {"ts": "video/mp2t", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "ogg": "audio/ogg"}


def service(settings: DownloaderSettings, store: ObjectStore | None) -> Service:
    """The downloader, ready to be served; without a store it keeps no originals and reads no objects."""
    servicer = Downloader(settings, store)
    return Service(
        "singscript.downloader.v1.DownloaderService",
        lambda server: downloader_pb2_grpc.add_DownloaderServiceServicer_to_server(servicer, server),
    )


class Downloader(downloader_pb2_grpc.DownloaderServiceServicer):
    """Implements singscript.downloader.v1.DownloaderService."""

    def __init__(self, settings: DownloaderSettings, store: ObjectStore | None) -> None:
        self._settings = settings
        self._store = store

    async def Probe(self, request: downloader_pb2.ProbeRequest, context: Context) -> downloader_pb2.ProbeResponse:
        with self._work_folder() as work:
            if request.WhichOneof("source") == "object":
                file, _ = await self._fetch_object(request.object.key, work)
                media = _media(None, await self._headers(file, work))
            else:
                media = _media(await self._look(_link(request), work), None)
            return downloader_pb2.ProbeResponse(media=media)

    async def Download(
        self, request: downloader_pb2.DownloadRequest, context: Context
    ) -> AsyncGenerator[downloader_pb2.DownloadResponse]:
        limit_s = self._limit_s(request)
        with self._work_folder() as work:
            found: Found | None = None
            stored: Stored | None = None
            file = work / FILE_NAME
            if request.WhichOneof("source") == "object":
                yield _event(EngineChosen("storage"))
                file, stored = await self._fetch_object(request.object.key, work)
            else:
                link = _link(request)
                yield _event(EngineChosen("yt-dlp"))
                async with aclosing(fetch_link(link, work, self._settings, limit_s=limit_s)) as fetching:
                    async for item in fetching:
                        match item:
                            case Found():
                                found = item
                            case Fetched():
                                file = item.path
                            case Progress() | Warned():
                                yield _event(item)
            async with aclosing(decode_file(file, work, limit_s=limit_s)) as decoding:
                headers = await anext(decoding)
                assert isinstance(headers, MediaProbe)
                if stored is not None and request.HasField("media"):
                    media = request.media  # what the link said is not in the file
                else:
                    media = _media(found, headers)
                    media.title = media.title or request.title
                yield downloader_pb2.DownloadResponse(media=media)
                # Kept only now that it is known to be media.
                if stored is None:
                    stored = await self._keep(file, _extension(found, headers))
                if stored is not None:
                    yield _event(stored)
                yield downloader_pb2.DownloadResponse(format=audio_format(SAMPLE_RATE_HZ, CHANNELS))
                writer, total_s = ChunkWriter(CHANNELS), headers.duration_s
                done_samples, reported_at = 0, time.monotonic()
                async for block in decoding:
                    assert not isinstance(block, MediaProbe)
                    for chunk in writer.chunks(block):
                        yield downloader_pb2.DownloadResponse(chunk=chunk)
                    done_samples += len(block)
                    if time.monotonic() - reported_at >= _PROGRESS_EVERY_S:
                        reported_at = time.monotonic()
                        yield _event(Progress(done_samples / SAMPLE_RATE_HZ, total_s))
            done_s = done_samples / SAMPLE_RATE_HZ
            yield _event(Progress(done_s, done_s, finished=True))
            yield downloader_pb2.DownloadResponse(trailer=writer.trailer())

    def _limit_s(self, request: downloader_pb2.DownloadRequest) -> float:
        limit_s = self._settings.max_duration_s
        if not request.HasField("max_duration"):
            return limit_s
        asked_s = events.seconds(request.max_duration)
        if asked_s <= 0:
            raise InvalidInput("max_duration must be more than 0 seconds.")
        return min(limit_s, asked_s)

    @contextmanager
    def _work_folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="singscript-download-", dir=self._settings.work_dir) as folder:
            yield Path(folder)

    async def _look(self, link: str, work: Path) -> Found:
        looking = fetch_link(link, work, self._settings, limit_s=self._settings.max_duration_s, download=False)
        async with aclosing(looking):
            async for item in looking:
                if isinstance(item, Found):
                    return item
        raise AssertionError("fetch_link ends with Found or an error")

    async def _headers(self, file: Path, work: Path) -> MediaProbe:
        async with aclosing(decode_file(file, work, limit_s=None)) as decoding:
            headers = await anext(decoding)
            assert isinstance(headers, MediaProbe)
            return headers

    async def _fetch_object(self, key: str, work: Path) -> tuple[Path, Stored]:
        """The object as a file in `work`, checked against its sha256."""
        if self._store is None:
            raise StorageNotConfigured(
                "This service has no storage to read from. Set SINGSCRIPT_STORAGE_DIR or SINGSCRIPT_S3_ENDPOINT."
            )
        size_bytes = (await _in_thread(self._store.stat, key)).size_bytes
        if size_bytes > self._settings.max_download_bytes:
            raise too_large(self._settings.max_download_bytes)
        if shutil.disk_usage(work).free < size_bytes + self._settings.disk_reserve_bytes:
            raise disk_full()
        file = work / FILE_NAME
        try:
            kept = await _in_thread(self._store.fetch, key, file)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise disk_full() from None
        extension = Path(key).suffix.lower()
        name = f"{FILE_NAME}{extension if extension[1:].isalnum() else ''}"
        return file, Stored(name, key, kept.media_type, kept.size_bytes, kept.sha256)

    async def _keep(self, file: Path, extension: str) -> Stored | None:
        """Stores the original; None without a store."""
        if self._store is None:
            return None
        sha256 = await _in_thread(_sha256, file)
        name = f"{FILE_NAME}.{extension}"
        media_type = _MEDIA_TYPES.get(extension) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        key = artifact_key("download", {}, sha256, name)
        kept = await _in_thread(self._store.put, key, file, media_type)
        return Stored(name, kept.key, kept.media_type, kept.size_bytes, kept.sha256)


def _link(request: downloader_pb2.ProbeRequest | downloader_pb2.DownloadRequest) -> str:
    if request.WhichOneof("source") != "url":
        raise InvalidInput("The request names no source. Give a url or an object.")
    return links.checked(request.url)


def _media(found: Found | None, headers: MediaProbe | None) -> media_pb2.MediaInfo:
    """What the site says and what the file says; for a plain link to a file its tags know better."""
    site = found or Found("", "", None, "", "", "", generic=True)
    tags = headers or MediaProbe(None, "", "", 0, 0, "", "")
    titles = (tags.title, site.title) if site.generic else (site.title, tags.title)
    names = filter(None, (tags.format, tags.codec if tags.codec != tags.format else ""))
    media = media_pb2.MediaInfo(
        title=next(filter(None, titles), ""),
        artist=site.artist or tags.artist,
        webpage_url=site.webpage_url,
        format="/".join(names) or site.format,
    )
    duration_s = tags.duration_s or site.duration_s
    if duration_s:
        media.duration.CopyFrom(events.duration(duration_s))
    return media


def _extension(found: Found | None, headers: MediaProbe) -> str:
    return _EXTENSIONS.get(headers.format) or (found.ext if found else "") or "bin"


def _event(event: StageEvent) -> downloader_pb2.DownloadResponse:
    return downloader_pb2.DownloadResponse(event=events.to_proto(media_pb2.STAGE_DOWNLOAD, event))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return sha256_of(opened)


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Like asyncio.to_thread, but when cancelled ends the work at its next `stopping.check`, and waits for that.

    It must not write into a folder that is gone.
    """
    stop = Stop()

    def governed() -> T:
        with stop.governing():
            return work(*args, **kwargs)

    task = asyncio.create_task(asyncio.to_thread(governed))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        task.exception()  # looked at, or it would be logged as one that nobody saw
        raise
