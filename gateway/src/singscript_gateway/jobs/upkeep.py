"""What the jobs' tables need done from time to time: what is old goes, and so do objects that no job refers to.

Every method is one transaction. Postgres knows what is due, so nothing is forgotten when the storage is away or a
process dies, and each replica may do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from singscript_gateway.database import Pool
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.transaction import REMOVAL_PAUSE_S, job_or_none, transaction
from singscript_gateway.quotas.model import DAY_S

# By then a removal was done, or whoever did it died. Longer than any store waits for one.
REMOVAL_WITHIN_S = 300.0


@dataclass(frozen=True)
class Removal:
    """An object that was to be looked at; `until` is set when no job refers to it: by then it is to be removed."""

    key: str
    until: datetime | None


class Upkeep:
    """Methods raise psycopg.OperationalError while the database is away; nothing is half done then."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def delete_expired(self, keep_s: float) -> Job | None:
        """Deletes one job that has ended so long ago. None: there is none."""
        async with transaction(self._pool) as tx:
            job = job_or_none(await tx.first("expired_job", keep_s=keep_s))
            if job:
                await tx.delete_job(job)
            return job

    async def make_room(self, keep_bytes: int) -> Job | None:
        """Deletes the job that has ended first, if all objects together are larger than that and it would help."""
        async with transaction(self._pool) as tx:
            if (await tx.one("stored_bytes"))["size_bytes"] <= keep_bytes:
                return None
            job = job_or_none(await tx.first("oldest_job_with_objects"))
            if job:
                await tx.delete_job(job)
            return job

    async def start_chore(self, name: str, every_s: float) -> bool:
        """Whether it is time to do it; then nobody else does until it is time again."""
        async with transaction(self._pool) as tx:
            return await tx.first("start_chore", name=name, every_s=every_s) is not None

    async def note_orphans(self, keys: list[str], within_s: float) -> None:
        """Those of the objects that no job refers to are due for removal by then."""
        async with transaction(self._pool) as tx:
            await tx.run("note_orphans", keys=keys, within_s=within_s)

    async def delete_expired_upload(self) -> bool:
        """Its objects are due for removal from then on, unless jobs refer to them. False: there is none."""
        async with transaction(self._pool) as tx:
            row = await tx.first("hold_expired_upload")
            if row:
                await tx.run("release_upload", id=row["id"], parts_only=False)
                await tx.run("delete_upload", id=row["id"])
            return row is not None

    async def begin_removal(self) -> Removal | None:
        """The next object that is due. None: there is none."""
        async with transaction(self._pool) as tx:
            row = await tx.first("due_object")
            if row is None:
                return None
            await tx.run("hold_object", key=row["key"])
            begun = await tx.first("begin_removal", key=row["key"], within_s=REMOVAL_WITHIN_S)
            if begun is None:
                await tx.run("keep_object", key=row["key"])
            return Removal(row["key"], begun["due_at"] if begun else None)

    async def end_removal(self, removal: Removal) -> None:
        async with transaction(self._pool) as tx:
            await tx.run("end_removal", key=removal.key, due_at=removal.until)

    async def postpone_removal(self, removal: Removal) -> None:
        """After it failed, so that it is not known whether the object is still there."""
        async with transaction(self._pool) as tx:
            await tx.run("postpone_removal", key=removal.key, due_at=removal.until, delay_s=REMOVAL_PAUSE_S)

    async def forget_objects(self) -> None:
        """Those of which nothing needs to be known any more."""
        async with transaction(self._pool) as tx:
            await tx.run("forget_objects")

    async def drop_old_uses(self) -> None:
        """What counts for no limit any more."""
        async with transaction(self._pool) as tx:
            await tx.run("drop_old_uses", kept_s=2 * DAY_S)
