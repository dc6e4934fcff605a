"""One LISTEN connection a process, shared by all who wait for something to happen to a job."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psycopg
from psycopg import conninfo, sql

from singscript_gateway.database import CONNECTION_PARAMETERS

logger = logging.getLogger(__name__)

EVENTS = "singscript_events"
CANCELS = "singscript_cancel"
QUEUE = "singscript_queue"

# How long a waiter sleeps without looking for itself: what a broken connection misses is late, never lost.
POLL_S = 1.0
# While it listens: what is missed even so is what a connection swallowed that is dead and does not know it yet.
POLL_LISTENING_S = 5.0


class Listener:
    """Wakes those who wait for a payload of one channel.

    A wake-up says "look again", no more: also a reconnect wakes everyone, and a notification may be missed.
    """

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._listening = False
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def waiting(self, payload: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever `payload` was notified; subscribe first, look then, wait last."""
        event = asyncio.Event()
        self._waiters[payload].add(event)
        try:
            yield event
        finally:
            self._waiters[payload].discard(event)
            if not self._waiters[payload]:
                del self._waiters[payload]

    @property
    def poll_s(self) -> float:
        """How long those may sleep who wait for nothing but notifications."""
        return POLL_LISTENING_S if self._listening else POLL_S

    def wake(self, payload: str) -> None:
        for event in self._waiters.get(payload, ()):
            event.set()

    def wake_all(self) -> None:
        for events in self._waiters.values():
            for event in events:
                event.set()

    @asynccontextmanager
    async def running(self, database_url: str) -> AsyncIterator[Listener]:
        """Listens, and reconnects, while the context is open."""
        task = asyncio.create_task(self._listen(database_url), name=f"listen {self._channel}")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self, database_url: str) -> None:
        while True:
            try:
                await self._listen_once(database_url)
            except psycopg.OperationalError as error:
                logger.warning("listening stopped; trying again: %s", str(error).strip())
            except Exception:  # whatever it is, events must come again; polling serves until then
                logger.exception("listening failed; trying again")
            await asyncio.sleep(1.0)

    async def _listen_once(self, database_url: str) -> None:
        target = conninfo.make_conninfo(database_url, **CONNECTION_PARAMETERS)
        connection = await psycopg.AsyncConnection.connect(target, autocommit=True)
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            self._listening = True
            self.wake_all()
            try:
                while True:
                    async for notification in connection.notifies(timeout=30.0):
                        self.wake(notification.payload)
                    # A server that went away without a word shows here.
                    await connection.execute("SELECT 1")
            finally:
                self._listening = False
                # They look for themselves from now on.
                self.wake_all()


async def pause(event: asyncio.Event, timeout_s: float = POLL_S) -> None:
    """Waits until `event` is set or the time is over, and clears it."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
    event.clear()
