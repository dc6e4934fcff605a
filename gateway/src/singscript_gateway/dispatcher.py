"""The dispatcher: takes jobs from the queue, asks the aligner for the whole chain, and writes down what comes back.

A process of its own, so that HTTP load cannot starve heartbeats. Five loops beside the queue's worker: heartbeats, the
sweeper (takes over jobs of dead dispatchers), cancels, the listener that makes cancels quick, and webhooks.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum, auto
from uuid import UUID, uuid4

import grpc
import procrastinate
import psycopg
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc

from singscript_core import errors, logs
from singscript_egress.addresses import AllowList
from singscript_gateway.database import make_pool, patiently
from singscript_gateway.jobs import queue
from singscript_gateway.jobs.listen import CANCELS, Listener, pause
from singscript_gateway.jobs.model import RESULT_NAME, Failure, Job
from singscript_gateway.jobs.plan import plan
from singscript_gateway.jobs.store import Claim, JobStore
from singscript_gateway.jobs.updates import Update, read
from singscript_gateway.settings import DispatcherSettings
from singscript_gateway.webhooks.sender import Sender
from singscript_gateway.webhooks.store import WebhookStore
from singscript_serving.calls import responses
from singscript_serving.channel import dial
from singscript_serving.status import status_code

logger = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5
# The transcriber's, of stems that an earlier attempt has stored.
_STEMS_UNREADABLE = "STEMS_UNREADABLE"
_INPUT_AT_FAULT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
    }
)


class JobTimeout(errors.TimedOut):
    """The job used up its time, retries included."""

    reason = "JOB_TIMEOUT"
    retryable = False


class ResultMissing(errors.Internal):
    """The chain ended well and left no result."""

    reason = "RESULT_MISSING"


class MigrationsMissing(Exception):
    """The database is not up to date."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"The database lacks {', '.join(names)}. Run `python -m singscript_gateway migrate` first.")


class _Fenced(Exception):
    """The attempt is over; somebody else has the job."""


class Interruption(Enum):
    """Why a call is ended from this side."""

    CANCELLED = auto()
    FENCED = auto()
    STOPPING = auto()


@dataclass(eq=False)
class Run:
    """An attempt that this process works on. After a long freeze two may be of the same job, one of them fenced."""

    job: Job
    interrupted: asyncio.Future[Interruption] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def interrupt(self, why: Interruption) -> None:
        if not self.interrupted.done():
            self.interrupted.set_result(why)


class Dispatcher:
    """Runs jobs until it is asked to stop."""

    def __init__(
        self,
        settings: DispatcherSettings,
        store: JobStore,
        aligner: aligner_pb2_grpc.AlignerServiceAsyncStub,
        cancels: Listener,
    ) -> None:
        self._settings = settings
        self._store = store
        self._aligner = aligner
        self._cancels = cancels
        self._id = uuid4()
        self._runs: set[Run] = set()
        self._stopping = False
        # Since when the database has answered: right after an outage the heartbeats of the living are old, too.
        self._answering_since_s = time.monotonic()

    def stop(self) -> None:
        """Takes no more jobs and hands the running ones back."""
        self._stopping = True
        for run in self._runs:
            run.interrupt(Interruption.STOPPING)

    async def work(self, job_id: UUID, task_id: int) -> None:
        """What the queue's worker does with a task."""
        logs.job_id.set(str(job_id))
        if self._stopping:
            await patiently(lambda: self._store.requeue_unclaimed(job_id, task_id))
            return
        claim = await patiently(lambda: self._store.claim(job_id, task_id))
        if claim is None:
            logger.info("nothing to do: the job is not queued any more, or has a newer task")
            return
        logger.info("attempt begins", extra={"attempt": claim.job.attempt})
        run = Run(claim.job)
        self._runs.add(run)
        if self._stopping:
            run.interrupt(Interruption.STOPPING)
        try:
            await self._attempt(run, claim)
        finally:
            self._runs.discard(run)

    async def _attempt(self, run: Run, claim: Claim) -> None:
        """Calls the aligner, and writes how that ended."""
        job = run.job
        call = asyncio.create_task(self._call(claim))
        try:
            await asyncio.wait({call, run.interrupted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        error = asyncio.CancelledError() if call.cancelled() else call.exception()
        if error is None:
            outcome = "succeeded" if await patiently(lambda: self._store.succeed(job)) else "fenced"
        elif run.interrupted.done():
            outcome = await self._write_interruption(job, run.interrupted.result())
        elif isinstance(error, _Fenced):
            outcome = "fenced"
        else:
            outcome = await self._write_failure(claim, error)
        logger.info("attempt ended", extra={"attempt": job.attempt, "outcome": outcome})

    async def _call(self, claim: Claim) -> None:
        """Runs the chain, or what is left of it, and records what it says.

        Raises:
            StageError: the chain failed, or took too long.
            _Fenced: the attempt is over; somebody else has the job.
        """
        timeout_s = max(0.0, self._settings.job_timeout_s - claim.age_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self._record_responses(claim, timeout_s)
        except TimeoutError:
            limit_s = self._settings.job_timeout_s
            raise JobTimeout(
                f"The job was not done after {limit_s:.0f} s. Shorten the input, or raise SINGSCRIPT_JOB_TIMEOUT_S.",
                metadata={"limit_s": f"{limit_s:g}"},
            ) from None

    async def _record_responses(self, claim: Claim, timeout_s: float) -> None:
        job = claim.job

        async def requests() -> AsyncIterator[aligner_pb2.AlignRequest]:
            yield plan(job.request, claim.separated)

        stored: set[str] = set()
        progress_at_s: dict[str, float] = {}
        reports_of_usage = 0
        # The services get a little longer than we wait: ours is the better sentence.
        call = self._aligner.Align(requests(), timeout=timeout_s + 5.0)
        async with aclosing(responses(call, "aligner")) as answers:
            async for response in answers:
                update = read(response)
                if update is None:
                    continue
                kind, data = update
                if kind == "progress" and not data["finished"]:
                    if time.monotonic() - progress_at_s.get(data["stage"], -PROGRESS_EVERY_S) < PROGRESS_EVERY_S:
                        continue
                    progress_at_s[data["stage"]] = time.monotonic()
                if kind == "artifact":
                    stored.add(data["name"])
                if kind == "usage":
                    reports_of_usage += 1
                    data["number"] = reports_of_usage
                if not await self._record(job, update):
                    raise _Fenced
        if RESULT_NAME not in stored:
            raise ResultMissing(
                "The aligner finished without storing words.json. It needs the same storage settings as the gateway."
            )

    async def _record(self, job: Job, update: Update) -> bool:
        """Writes an event to its end, also when the attempt is interrupted meanwhile: it may be what was paid."""
        write = asyncio.create_task(patiently(lambda: self._store.record(job, update)))
        try:
            return await asyncio.shield(write)
        except asyncio.CancelledError:
            await write
            raise

    async def _write_interruption(self, job: Job, why: Interruption) -> str:
        match why:
            case Interruption.CANCELLED:
                await patiently(lambda: self._store.cancelled(job))
            case Interruption.STOPPING:
                await patiently(lambda: self._store.hand_back(job))
            case Interruption.FENCED:
                pass
        return why.name.lower()

    async def _write_failure(self, claim: Claim, error: BaseException) -> str:
        job = claim.job
        if isinstance(error, errors.StageError):
            code = status_code(error)
            failure = Failure.of(error, input_at_fault=code in _INPUT_AT_FAULT)
            # We did not cancel: a service did, because it stops. Another one, or the same one later, can go on.
            retryable = error.retryable or code is grpc.StatusCode.CANCELLED
        else:
            logger.error("a defect in the dispatcher", exc_info=error)
            failure = Failure(
                reason="INTERNAL", message="Something went wrong inside the gateway; its log has the details."
            )
            retryable = False
        logger.warning("attempt failed: %s", failure.message, extra={"reason": failure.reason, "attempt": job.attempt})
        if claim.separated and failure.reason == _STEMS_UNREADABLE:
            return "started over" if await patiently(lambda: self._store.start_over(job, failure)) else "fenced"
        if not retryable or job.failures + 1 >= self._settings.max_attempts:
            return "failed" if await patiently(lambda: self._store.fail(job, failure)) else "fenced"
        delay_s = self._delay_s(job.failures, failure.retry_after_s)
        return "retry" if await patiently(lambda: self._store.retry(job, failure, delay_s)) else "fenced"

    def _delay_s(self, failures: int, asked_s: float | None) -> float:
        """Capped exponential back-off with jitter; what the service asks for wins."""
        if asked_s is not None:
            return round(asked_s, 3)
        settings = self._settings
        return round(min(settings.retry_cap_s, settings.retry_base_s * 2**failures) * random.uniform(0.5, 1.0), 3)

    # -- loops

    async def beat(self) -> None:
        """Says every `heartbeat_s` that this process and its jobs live; drops jobs that were taken over."""
        while True:
            runs = list(self._runs)
            try:
                ours = await self._store.beat(self._id, [run.job for run in runs])
            except psycopg.OperationalError as error:
                self._database_is_away(error)
                await asyncio.sleep(min(1.0, self._settings.heartbeat_s))
                continue
            for run in runs:
                if (run.job.id, run.job.attempt) not in ours:
                    run.interrupt(Interruption.FENCED)
            await asyncio.sleep(self._settings.heartbeat_s)

    async def sweep(self) -> None:
        """Takes over what dead dispatchers left behind."""
        settings = self._settings
        while True:
            await asyncio.sleep(settings.sweep_s)
            if time.monotonic() - self._answering_since_s < 2 * settings.heartbeat_s:
                continue
            try:
                while job := await self._store.take_over(settings.lease_s, settings.max_attempts):
                    logger.warning(
                        "took over from a dead dispatcher", extra={"job": str(job.id), "attempt": job.attempt}
                    )
                while job_id := await self._store.enqueue_forgotten(settings.lease_s):
                    logger.warning("put back into the queue", extra={"job": str(job_id)})
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
                    cancelled = await self._store.cancels_requested([run.job.id for run in self._runs])
                    for run in self._runs:
                        if run.job.id in cancelled:
                            run.interrupt(Interruption.CANCELLED)
                except psycopg.OperationalError as error:
                    self._database_is_away(error)

    async def retire(self) -> None:
        """Takes this process off the list of living dispatchers."""
        await self._store.drop_dispatcher(self._id)

    def _database_is_away(self, error: psycopg.OperationalError) -> None:
        self._answering_since_s = time.monotonic()
        logger.warning("the database does not answer: %s", str(error).strip())


async def run(settings: DispatcherSettings) -> None:
    """Runs a dispatcher until SIGTERM or SIGINT; then its jobs are back in the queue, or their lease ends.

    Raises:
        MigrationsMissing: the database is not up to date.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = queue.make_queue()
    async with (
        make_pool(settings.database_url, max_size=settings.dispatcher_concurrency + 6) as pool,
        Listener(CANCELS).running(settings.database_url) as cancels,
        dial(settings.aligner) as channel,
    ):
        store = JobStore(pool, tasks)
        if missing := await patiently(store.missing_migrations):
            raise MigrationsMissing(sorted(missing))
        await tasks.open_async(pool)
        webhooks = WebhookStore(pool)
        await patiently(lambda: webhooks.set_operators(settings.webhook_url, settings.webhook_secrets))
        allow = AllowList.parse(settings.download_allow_hosts)
        sender = Sender(webhooks, allow, timeout_s=settings.webhook_timeout_s, lease_s=settings.lease_s)
        dispatcher = Dispatcher(settings, store, aligner_pb2_grpc.AlignerServiceStub(channel), cancels)
        await _run_until(stop, dispatcher, sender, tasks, settings)
        await asyncio.wait_for(dispatcher.retire(), 5.0)


async def _run_until(
    stop: asyncio.Event,
    dispatcher: Dispatcher,
    sender: Sender,
    tasks: procrastinate.App,
    settings: DispatcherSettings,
) -> None:
    @tasks.task(name=queue.TASK, queue=queue.QUEUE, pass_context=True)
    async def run_job(context: procrastinate.JobContext, job_id: str) -> None:
        assert context.job.id is not None
        await dispatcher.work(UUID(job_id), context.job.id)

    worker = asyncio.create_task(
        tasks.run_worker_async(
            queues=[queue.QUEUE],
            name="dispatcher",
            concurrency=settings.dispatcher_concurrency,
            # Retries become due without a notification.
            fetch_job_polling_interval=1.0,
            update_heartbeat_interval=settings.heartbeat_s,
            stalled_worker_timeout=settings.lease_s,
            delete_jobs="always",
            install_signal_handlers=False,
        )
    )
    loops = {worker} | {
        asyncio.create_task(part)
        for part in (dispatcher.beat(), dispatcher.sweep(), dispatcher.watch_cancels(), sender.run())
    }
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopped, *loops}, return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopping" if stop.is_set() else "a part of the dispatcher ended; stopping")
        dispatcher.stop()
        # Cancelled, the worker takes no more tasks and waits for those that run.
        worker.cancel()
        await asyncio.wait({worker}, timeout=settings.drain_s)
    finally:
        for task in (stopped, *loops):
            task.cancel()
        results = await asyncio.gather(stopped, *loops, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
