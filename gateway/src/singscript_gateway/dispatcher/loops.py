"""What a dispatcher does all the time: takes jobs, says that it lives, takes over from the dead, ends the cancelled."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from uuid import uuid4

import psycopg

from singscript_core import logs
from singscript_gateway.database import patiently
from singscript_gateway.dispatcher.attempts import Attempts, Interruption, Run
from singscript_gateway.jobs.listen import Listener, pause
from singscript_gateway.jobs.queue import Claim, JobQueue
from singscript_gateway.settings import DispatcherSettings

logger = logging.getLogger(__name__)


class Dispatcher:
    """Runs as many jobs at once as it may. Each loop ends only when it is cancelled, save `take` after `stop`."""

    def __init__(
        self, settings: DispatcherSettings, queue: JobQueue, attempts: Attempts, due: Listener, cancels: Listener
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._attempts = attempts
        self._due = due
        self._cancels = cancels
        self._id = uuid4()
        # After a long freeze two may be of the same job, one of them fenced.
        self._runs: dict[Run, asyncio.Task[None]] = {}
        self._taking = asyncio.Lock()
        self._stopping = False
        # Since when the database has answered: right after an outage the heartbeats of the living are old, too.
        self._answering_since_s = time.monotonic()

    async def take(self) -> None:
        """Claims the jobs whose turn it is while there is a free slot."""
        with self._due.waiting("") as look_again:
            while not self._stopping:
                if not await self._took_one(look_again):
                    # For a job, a slot, or room in a stage.
                    await pause(look_again)

    async def _took_one(self, look_again: asyncio.Event) -> bool:
        async with self._taking:
            if self._stopping or len(self._runs) >= self._settings.dispatcher_concurrency:
                return False
            claim = await patiently(self._queue.claim_next)
            if claim is None:
                return False
            self._begin(claim, look_again)
            return True

    def _begin(self, claim: Claim, look_again: asyncio.Event) -> None:
        run = Run(claim.job)
        task = asyncio.create_task(self._work(run, claim))
        self._runs[run] = task

        def end(_: asyncio.Task[None]) -> None:
            del self._runs[run]
            look_again.set()

        task.add_done_callback(end)

    async def _work(self, run: Run, claim: Claim) -> None:
        logs.job_id.set(str(claim.job.id))
        try:
            await self._attempts.make(run, claim)
        except Exception:  # the job's lease ends, and the sweep takes it over
            logger.exception("a defect in the dispatcher")

    async def stop(self, within_s: float) -> None:
        """Takes no more jobs, and hands the running ones back."""
        self._stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                # A claim that is under way has its run, too.
                async with self._taking:
                    pass
                for run in self._runs:
                    run.interrupt(Interruption.STOPPING)
                await asyncio.gather(*self._runs.values())
        for task in self._runs.values():
            task.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)

    async def beat(self) -> None:
        """Says every `heartbeat_s` that this process and its jobs live; drops jobs that were taken over."""
        while True:
            runs = list(self._runs)
            try:
                ours = await self._queue.beat(self._id, [run.job for run in runs])
            except psycopg.OperationalError as error:
                self._database_is_away(error)
                await asyncio.sleep(min(1.0, self._settings.heartbeat_s))
                continue
            for run in runs:
                if (run.job.id, run.job.attempt) not in ours:
                    run.interrupt(Interruption.FENCED)
            await asyncio.sleep(self._settings.heartbeat_s)

    async def sweep(self) -> None:
        """Takes over what dead dispatchers left behind; never its own, also when its heartbeat comes late."""
        settings = self._settings
        while True:
            await asyncio.sleep(settings.sweep_s)
            if time.monotonic() - self._answering_since_s < 2 * settings.heartbeat_s:
                continue
            try:
                while job := await self._queue.take_over(
                    settings.lease_s, settings.max_attempts, own=[run.job for run in self._runs]
                ):
                    logger.warning(
                        "took over from a dead dispatcher", extra={"job": str(job.id), "attempt": job.attempt}
                    )
            except psycopg.OperationalError as error:
                self._database_is_away(error)

    async def watch_cancels(self) -> None:
        """Ends the calls of jobs that are to be cancelled."""
        with self._cancels.waiting("") as event:
            while True:
                await pause(event)
                if not self._runs:
                    continue
                try:
                    cancelled = await self._queue.cancels_requested([run.job.id for run in self._runs])
                    for run in self._runs:
                        if run.job.id in cancelled:
                            run.interrupt(Interruption.CANCELLED)
                except psycopg.OperationalError as error:
                    self._database_is_away(error)

    async def retire(self) -> None:
        """Takes this process off the list of living dispatchers."""
        await self._queue.drop_dispatcher(self._id)

    def _database_is_away(self, error: psycopg.OperationalError) -> None:
        self._answering_since_s = time.monotonic()
        logger.warning("the database does not answer: %s", str(error).strip())
