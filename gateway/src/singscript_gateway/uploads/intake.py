"""From bytes as they come to an object: parts in storage on the way, put together at the end.

Nothing is kept between two requests but rows and objects, so each may come to another replica. On local disk lies one
part of what arrives, and the whole file while it is put together.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO
from uuid import uuid4

import psycopg

from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.transaction import ObjectRemoved
from singscript_gateway.uploads.disk import file_on_disk
from singscript_gateway.uploads.model import Part, StoredUpload
from singscript_gateway.uploads.store import UploadStore
from singscript_storage import ObjectNotFound, ObjectStore, artifact_key

# What the kill of a process may cost.
PART_BYTES = 8 * 1024 * 1024
# How many parts an upload may have: so many, as when its sender is cut off again and again, and one more for each so
# many bytes. Each is an object and a row, be it of one byte.
SPARE_PARTS = 1000
BYTES_OF_A_PART = 64 * 1024
_MEDIA_TYPE = "application/octet-stream"
# How often an upload is put together, should it be removed meanwhile with a job that had the same file.
_FINISH_TRIES = 3
_FINISH_PAUSE_S = 0.5


class Cut(Exception):
    """No more bytes come, although more were announced."""


class Conflict(Exception):
    """Somebody else has added bytes to the upload meanwhile, or it is gone."""


class TooManyParts(Exception):
    """The upload came in more pieces than its size allows."""


class WrongChecksum(Exception):
    """What arrived is not what was sent."""


@dataclass(frozen=True)
class Checksum:
    """What the bytes of one request must have: `algorithm` is a name of hashlib."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True)
class Intake:
    """Takes the bytes of uploads."""

    jobs: JobStore
    uploads: UploadStore
    objects: ObjectStore

    async def take(
        self, upload: StoredUpload, chunks: AsyncIterator[bytes], checksum: Checksum | None = None
    ) -> StoredUpload:
        """Adds `chunks` to the upload; with a checksum all of them or none. Returns the upload as it is then.

        Raises:
            Cut: as `chunks` did. What came before is kept, unless it has a checksum, which nobody can check then.
            Conflict, TooManyParts, WrongChecksum: nothing more is kept.
            ObjectRemoved, NoTemporarySpace, StorageUnavailable.
        """
        if await self.uploads.count_parts(upload) >= SPARE_PARTS + upload.length_bytes // BYTES_OF_A_PART:
            raise TooManyParts
        digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        with file_on_disk() as disk:
            arrival = _Arrival(self, upload, disk)
            try:
                try:
                    async for chunk in chunks:
                        if digest:
                            digest.update(chunk)
                        await arrival.write(chunk, count=digest is None)
                except Cut:
                    if digest is None:
                        await arrival.end()
                    raise
                if checksum and digest and digest.digest() != checksum.digest:
                    raise WrongChecksum
                return await arrival.end()
            except Exception:
                # Nobody counts them: whoever sends what is refused, again and again, is not to fill the storage.
                with suppress(psycopg.OperationalError):
                    await self.uploads.give_up(arrival.stored)
                raise

    async def finished(self, upload: StoredUpload) -> StoredUpload:
        """Puts a complete upload together, unless that was done; it may be repeated, also by several at once.

        Raises:
            Conflict: it is gone.
            ObjectRemoved, NoTemporarySpace, StorageUnavailable, ChecksumMismatch.
        """
        tries = 1
        while upload.key is None:
            try:
                if done := await self._put_together(upload):
                    return done
            except (ObjectNotFound, ObjectRemoved):
                # Others were first, and the parts are gone; or the same file went with a job that was deleted.
                if tries == _FINISH_TRIES:
                    raise
            now = await self.uploads.get(upload.owner, upload.id)
            if now is None:
                raise Conflict
            upload = now
            tries += 1
            await asyncio.sleep(_FINISH_PAUSE_S if upload.key is None else 0)
        return upload

    async def _put_together(self, upload: StoredUpload) -> StoredUpload | None:
        parts = await self.uploads.parts(upload)
        with file_on_disk() as disk:
            path = Path(disk.name)
            sha256 = await asyncio.to_thread(_join, self.objects, parts, path)
            key = artifact_key("upload", {}, sha256, "original")
            since = await self.jobs.expect_object(key)
            await asyncio.to_thread(self.objects.put, key, path, _MEDIA_TYPE)
        return await self.uploads.finish(upload, key=key, since=since, sha256=sha256)


@dataclass
class _Arrival:
    """The bytes of one request: a part on disk, and those that are stored and not counted yet."""

    intake: Intake
    upload: StoredUpload
    disk: IO[bytes]
    on_disk_bytes: int = 0
    stored: list[Part] = field(default_factory=list)
    since: datetime | None = None

    async def write(self, chunk: bytes, *, count: bool) -> None:
        await asyncio.to_thread(self.disk.write, chunk)
        self.on_disk_bytes += len(chunk)
        if self.on_disk_bytes >= PART_BYTES:
            await self._store()
            if count:
                await self._count()

    async def end(self) -> StoredUpload:
        await self._store()
        await self._count()
        return self.upload

    async def _store(self) -> None:
        if self.on_disk_bytes == 0:
            return
        key = f"uploads/{self.upload.id}/{uuid4()}"
        since = await self.intake.jobs.expect_object(key)
        self.since = self.since or since
        await asyncio.to_thread(self._put, key)
        offset_bytes = self.upload.offset_bytes + sum(part.size_bytes for part in self.stored)
        self.stored.append(Part(offset_bytes=offset_bytes, size_bytes=self.on_disk_bytes, key=key))
        self.on_disk_bytes = 0

    def _put(self, key: str) -> None:
        """Blocking; the disk is empty then."""
        self.disk.flush()
        self.intake.objects.put(key, Path(self.disk.name), _MEDIA_TYPE)
        self.disk.seek(0)
        self.disk.truncate()

    async def _count(self) -> None:
        if not self.stored:
            return
        assert self.since is not None
        now = await self.intake.uploads.add(self.upload, self.stored, self.since)
        if now is None:
            raise Conflict
        self.upload, self.stored, self.since = now, [], None


def _join(objects: ObjectStore, parts: Sequence[Part], path: Path) -> str:
    """Writes the parts to `path`, one after the other; returns the digest of it all. Blocking."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            with objects.open(part.key) as reader:
                for block in reader:
                    digest.update(block)
                    file.write(block)
    return digest.hexdigest()
