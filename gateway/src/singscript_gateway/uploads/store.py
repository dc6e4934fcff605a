"""Uploads in Postgres. Every method is one transaction.

No lock outlives a transaction: whoever adds bytes says where they begin, and only one can add them there. So an upload
goes on at once on another replica when the one that took it was killed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID, uuid4

from psycopg.rows import DictRow

from singscript_gateway.database import Pool
from singscript_gateway.jobs.transaction import Transaction
from singscript_gateway.quotas import counts
from singscript_gateway.quotas.model import NO_LIMITS, Limits
from singscript_gateway.uploads.model import Part, StoredUpload


class UploadStore:
    """All that is ever done to the uploads' tables.

    Methods raise psycopg.OperationalError while the database is away; nothing is half done then.

    Args:
        kept_s: an upload goes when nothing was added to it for this long, and a finished one this long after its end.
        limits: of users that have none of their own.
    """

    def __init__(self, pool: Pool, kept_s: float, limits: Limits = NO_LIMITS) -> None:
        self._pool = pool
        self._kept_s = kept_s
        self._limits = limits

    async def create(self, owner: str, *, length_bytes: int, file_name: str, metadata: str) -> StoredUpload:
        """All of its bytes count from now on. Raises QuotaExceeded, UploadAboveQuota."""
        upload_id = uuid4()
        async with self._transaction() as tx:
            await counts.admit_upload(tx.connection, self._limits, owner, upload_id, length_bytes)
            row = await tx.first(
                "insert_upload",
                id=upload_id,
                owner=owner,
                length_bytes=length_bytes,
                file_name=file_name,
                metadata=metadata,
                kept_s=self._kept_s,
            )
            return StoredUpload.model_validate(row)

    async def get(self, owner: str, upload_id: UUID) -> StoredUpload | None:
        async with self._transaction() as tx:
            return _upload(await tx.first("get_upload", id=upload_id, owner=owner))

    async def add(self, upload: StoredUpload, parts: Sequence[Part], since: datetime) -> StoredUpload | None:
        """Counts parts that are stored, all of them or none.

        Args:
            upload: as it was when the first part begins where it ends.
            since: the earliest that `JobStore.expect_object` said of the parts.

        Returns: the upload now; None: others have added to it meanwhile, or it is gone.

        Raises:
            ObjectRemoved: they were not counted for so long that one was removed.
        """
        async with self._transaction() as tx:
            for part in parts:
                await tx.refer(part.key, since)
            row = await tx.first(
                "add_to_upload",
                id=upload.id,
                offset_bytes=upload.offset_bytes,
                size_bytes=sum(part.size_bytes for part in parts),
                kept_s=self._kept_s,
            )
            if row:
                for part in parts:
                    await tx.run("insert_part", id=upload.id, **part.model_dump())
            return _upload(row)

    async def give_up(self, parts: Sequence[Part]) -> None:
        """Parts that are stored and will not be counted are due for removal from now on."""
        if parts:
            async with self._transaction() as tx:
                await tx.run("give_up_objects", keys=[part.key for part in parts])

    async def count_parts(self, upload: StoredUpload) -> int:
        async with self._transaction() as tx:
            row = await tx.first("count_upload_parts", id=upload.id)
            return row["parts"] if row else 0

    async def parts(self, upload: StoredUpload) -> list[Part]:
        """In their order; none once they were put together."""
        async with self._transaction() as tx:
            return [Part.model_validate(row) for row in await tx.all("get_upload_parts", id=upload.id)]

    async def finish(self, upload: StoredUpload, *, key: str, since: datetime, sha256: str) -> StoredUpload | None:
        """Says which object the upload has become; its parts are due for removal from then on.

        Args:
            since: what `JobStore.expect_object` said of the object.

        Returns: None: others were first, or the upload is gone.

        Raises:
            ObjectRemoved: it has to be stored again.
        """
        async with self._transaction() as tx:
            await tx.refer(key, since)
            row = await tx.first("finish_upload", id=upload.id, key=key, since=since, sha256=sha256)
            if row:
                await tx.run("release_upload", id=upload.id, parts_only=True)
                await tx.run("delete_parts", id=upload.id)
            return _upload(row)

    async def delete(self, owner: str, upload_id: UUID) -> bool:
        """Its objects are due for removal from then on. False: there is no such upload."""
        async with self._transaction() as tx:
            row = await tx.first("hold_upload", id=upload_id, owner=owner)
            if row:
                await tx.run("release_upload", id=upload_id, parts_only=False)
                await tx.run("delete_upload", id=upload_id)
            return row is not None

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        async with self._pool.connection() as connection:
            yield Transaction(connection)


def _upload(row: DictRow | None) -> StoredUpload | None:
    return StoredUpload.model_validate(row) if row else None
