"""Removes the objects of deleted jobs, and uploads whose job was never made.

Postgres knows what is due, so nothing is forgotten when the storage is away or a process dies. Each replica may run it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from singscript_core.errors import StageError
from singscript_gateway.jobs.listen import pause
from singscript_gateway.jobs.store import JobStore
from singscript_storage import ObjectStore

logger = logging.getLogger(__name__)

EVERY_S = 5.0
# How long a removal that is under way may hold up the end of the process.
STOP_S = 2.0


class Remover:
    """A loop beside the API's routes."""

    def __init__(self, store: JobStore, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects
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
        while not self._stopping and (removal := await self._store.begin_removal()):
            if removal.until is None:
                continue
            try:
                await asyncio.to_thread(self._objects.delete, removal.key)
            except StageError as error:
                logger.warning("an unused object cannot be removed for now: %s", error.message)
                await self._store.postpone_removal(removal)
                return
            await self._store.end_removal(removal)
            logger.info("unused object removed", extra={"key": removal.key})
        await self._store.forget_objects()

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
                await self.remove_due()
            except psycopg.Error as error:
                logger.warning("unused objects wait for the database: %s", str(error).strip())
            await pause(self._due, EVERY_S)
