"""A job's events as they happen, for whoever watches it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

import psycopg

from singscript_core.errors import Unavailable
from singscript_gateway.jobs import actions
from singscript_gateway.jobs.listen import Listener, pause
from singscript_gateway.jobs.model import Event, Job
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore

logger = logging.getLogger(__name__)

# What each reader that does not read makes the process hold.
_PAGE = 100
# Events that come one upon the other are read together: a watcher looks this often at most.
_LOOK_EVERY_S = 0.1
# How often it is asked whether the watcher still may, and whether the job is still there.
JUDGE_EVERY_S = 15.0


class Stopping(Unavailable):
    """The process is about to end; another one goes on."""

    reason = "STOPPING"


@dataclass(frozen=True)
class Watching:
    """What all watchers share; `closing` is set when the process is to stop."""

    store: JobStore
    events: Listener
    closing: asyncio.Event

    async def watch(
        self, job: Job, after: int, judge: Callable[[], Awaitable[object]], tick_s: float = JUDGE_EVERY_S
    ) -> AsyncGenerator[list[Event]]:
        """Pages of the events after number `after`, to the end of the job; an empty one at least every `tick_s`.

        Args:
            judge: raises when the watcher may no more.

        Raises:
            JobNotFound: it was deleted meanwhile.
            Stopping.
        """
        judged_at_s = time.monotonic()
        looked_at_s = -math.inf
        ended = job.state.final
        with self.events.waiting(str(job.id)) as changed:
            while not self.closing.is_set():
                try:
                    if time.monotonic() - judged_at_s >= JUDGE_EVERY_S:
                        await judge()
                        await actions.find(self.store, job.id, job.owner)
                        judged_at_s = time.monotonic()
                    looked_at_s = time.monotonic()
                    events = await self.store.events_after(job.id, job.owner, after, _PAGE)
                    all_read = len(events) < _PAGE
                except psycopg.OperationalError as error:
                    logger.warning("the events wait for the database: %s", str(error).strip())
                    events, all_read = [], False
                yield events
                for event in events:
                    after = event.seq
                    if event.kind == "state":
                        ended = JobState(event.data["state"]).final
                if ended and all_read:
                    return
                if len(events) < _PAGE:
                    await pause(changed, min(self.events.poll_s, tick_s))
                    await asyncio.sleep(max(0.0, looked_at_s + _LOOK_EVERY_S - time.monotonic()))
                    changed.clear()
        raise Stopping("This process is about to end. Watch the job again, from the last event seen on.")
