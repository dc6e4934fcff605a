"""Tells the dispatchers that there is work, apart from the transaction that made it."""

from __future__ import annotations

import asyncio
import logging

import psycopg

from singscript_gateway.database import Pool
from singscript_gateway.jobs.transaction import statements

logger = logging.getLogger(__name__)


class Waker:
    """Commits that notify wait for each other, from their locks to the disk: a user's request must not be among them.

    What is told while it is being told already is told once more, together. Dispatchers look for themselves every few
    seconds, so nothing is lost with a process that dies before it has told them.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._telling: asyncio.Task[None] | None = None
        self._again = False

    def wake(self) -> None:
        """To be called once the work is committed."""
        self._again = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="wake dispatchers")

    async def _tell(self) -> None:
        while self._again:
            self._again = False
            try:
                async with statements(self._pool) as tx:
                    await tx.run("wake_dispatchers")
            except psycopg.OperationalError as error:
                logger.warning("dispatchers were not told of new jobs: %s", str(error).strip())
