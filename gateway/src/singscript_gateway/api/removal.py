"""Deletes jobs that were kept long enough, and removes the objects of deleted jobs, uploads that have expired or whose
job was never made, and what nobody knows of.

Postgres knows what is due, so nothing is forgotten when the storage is away or a process dies. Each replica may run it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

import psycopg

from singscript_core.errors import StageError
from singscript_gateway.jobs.listen import pause
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_storage import ObjectStore

logger = logging.getLogger(__name__)

EVERY_S = 5.0
ORPHANS_EVERY_S = 24 * 3600.0
ORPHANS_PAGE = 1000
# How long a removal that is under way may hold up the end of the process.
STOP_S = 2.0


@dataclass(frozen=True)
class Retention:
    """How long things are kept; 0: for ever.

    Attributes:
        jobs_s: ended jobs.
        jobs_bytes: the size of all objects above which the oldest ended jobs go.
        orphans_s: objects that no job refers to.
    """

    jobs_s: float = 0.0
    jobs_bytes: int = 0
    orphans_s: float = 0.0


FOR_EVER = Retention()


class Remover:
    """A loop beside the API's routes."""

    def __init__(self, upkeep: Upkeep, objects: ObjectStore, retention: Retention = FOR_EVER) -> None:
        self._upkeep = upkeep
        self._objects = objects
        self._retention = retention
        self._due = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something has become due."""
        self._due.set()

    async def remove_due(self) -> None:
        """Removes all that is due, up to the first object that cannot be removed: that one is tried again later.

        Raises:
            psycopg.Error: the database is away, or not up to date.
        """
        while not self._stopping and await self._upkeep.delete_expired_upload():
            logger.info("an upload has expired")
        while not self._stopping and (removal := await self._upkeep.begin_removal()):
            if removal.until is None:
                continue
            try:
                await asyncio.to_thread(self._objects.delete, removal.key)
            except StageError as error:
                logger.warning("an unused object cannot be removed for now: %s", error.message)
                await self._upkeep.postpone_removal(removal)
                return
            await self._upkeep.end_removal(removal)
            logger.info("unused object removed", extra={"key": removal.key})
        await self._upkeep.forget_objects()
        await self._upkeep.drop_old_uses()

    async def delete_old(self) -> None:
        """Deletes the jobs that were kept long enough, and the oldest while all of them are too large.

        Raises:
            psycopg.Error: the database is away, or not up to date.
        """
        kept = self._retention
        while kept.jobs_s and not self._stopping and (job := await self._upkeep.delete_expired(kept.jobs_s)):
            logger.info("job deleted: it was kept long enough", extra={"job": str(job.id)})
        while kept.jobs_bytes and not self._stopping and (job := await self._upkeep.make_room(kept.jobs_bytes)):
            logger.info("job deleted: there was no room for it any more", extra={"job": str(job.id)})

    async def find_orphans(self) -> None:
        """Looks through the storage, once a day, for what no job refers to: a process that died has left it behind.

        Raises:
            psycopg.Error.
        """
        if not self._retention.orphans_s or not await self._upkeep.start_chore("orphans", ORPHANS_EVERY_S):
            return
        keys = iter(self._objects.list())
        try:
            while page := await asyncio.to_thread(lambda: list(islice(keys, ORPHANS_PAGE))):
                await self._upkeep.note_orphans(page, self._retention.orphans_s)
        except StageError as error:
            logger.warning("the storage cannot be looked through for now: %s", error.message)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Remover]:
        """Removes what is due, at once when woken, while the context is open."""
        task = asyncio.create_task(self._run(), name="remover")
        try:
            yield self
        finally:
            self._stopping = True
            self.wake()
            # Not cancelled right away: a cancel while a connection is awaited is easily lost.
            await asyncio.wait({task}, timeout=STOP_S)
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_S)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self.delete_old()
                await self.find_orphans()
                await self.remove_due()
            except psycopg.Error as error:
                logger.warning("unused objects wait for the database: %s", str(error).strip())
            await pause(self._due, EVERY_S)
