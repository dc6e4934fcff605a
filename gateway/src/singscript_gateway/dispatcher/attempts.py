"""One attempt at a job: one call of the aligner, every answer written down, and how it ended."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum, auto

import grpc
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc

from singscript_core import errors
from singscript_gateway.database import patiently
from singscript_gateway.dispatcher.bursts import bursts
from singscript_gateway.jobs.model import RESULT_NAME, STAGES_OF_STEMS, Failure, Job, Kept
from singscript_gateway.jobs.plan import plan
from singscript_gateway.jobs.queue import Claim, JobQueue, SameWork
from singscript_gateway.jobs.updates import Update, read
from singscript_gateway.settings import DispatcherSettings
from singscript_serving.calls import responses
from singscript_serving.status import status_code, was_reached

logger = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5
# Answers that are written in one transaction, at most.
_BURST = 100
# Of what earlier attempts have stored: the transcriber's of stems, the downloader's of the original behind a link.
_STEMS_UNREADABLE = "STEMS_UNREADABLE"
_ORIGINAL_UNREADABLE = frozenset({"OBJECT_NOT_FOUND", "CHECKSUM_MISMATCH"})
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


class Attempts:
    """Makes attempts with one aligner."""

    def __init__(
        self, settings: DispatcherSettings, queue: JobQueue, aligner: aligner_pb2_grpc.AlignerServiceAsyncStub
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._aligner = aligner

    async def make(self, run: Run, claim: Claim) -> None:
        """Calls the aligner, and writes how that ended."""
        job = run.job
        logger.info("attempt begins", extra={"attempt": job.attempt})
        call = asyncio.create_task(self._call(claim))
        try:
            await asyncio.wait({call, run.interrupted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        error = asyncio.CancelledError() if call.cancelled() else call.exception()
        if error is None:
            outcome = "succeeded" if await patiently(lambda: self._queue.succeed(job)) else "fenced"
        elif run.interrupted.done():
            outcome = await self._write_interruption(job, run.interrupted.result())
        elif isinstance(error, _Fenced):
            outcome = "fenced"
        elif isinstance(error, SameWork):
            outcome = "stepped back" if await patiently(lambda: self._queue.step_back(job)) else "fenced"
        else:
            outcome = await self._write_failure(claim, error)
        logger.info("attempt ended", extra={"attempt": job.attempt, "outcome": outcome})

    async def _call(self, claim: Claim) -> None:
        """Runs the chain, or what is left of it, and records what it says.

        Raises:
            StageError: the chain failed, or took too long.
            SameWork: another job is doing the same just now.
            _Fenced: the attempt is over; somebody else has the job.
        """
        timeout_s = max(0.0, self._settings.job_timeout_s - claim.worked_s)
        end_s = time.monotonic() + timeout_s
        kept: Kept | None = claim.kept
        reports_of_usage = itertools.count(1)
        try:
            async with asyncio.timeout(timeout_s):
                while kept:
                    kept = await self._record_responses(claim.job, kept, reports_of_usage, end_s - time.monotonic())
        except TimeoutError:
            limit_s = self._settings.job_timeout_s
            raise JobTimeout(
                f"The job was not done after {limit_s:.0f} s. Shorten the input, or raise SINGSCRIPT_JOB_TIMEOUT_S.",
                metadata={"limit_s": f"{limit_s:g}"},
            ) from None

    async def _record_responses(
        self, job: Job, kept: Kept, reports_of_usage: Iterator[int], timeout_s: float
    ) -> Kept | None:
        """One call. Returns what the next one is to go on from, where the work turns out to be done elsewhere."""

        async def requests() -> AsyncIterator[aligner_pb2.AlignRequest]:
            yield plan(job.request, kept)

        stored: set[str] = set()
        progress_at_s: dict[str, float] = {}
        # The services get a little longer than we wait: ours is the better sentence.
        call = self._aligner.Align(requests(), timeout=timeout_s + 5.0)
        async with aclosing(responses(call, "aligner")) as answers, aclosing(bursts(answers, _BURST)) as all_bursts:
            async for burst in all_bursts:
                updates: list[Update] = []
                for update in map(read, burst):
                    if update is None:
                        continue
                    kind, data = update
                    if kept.separated and (kind == "media" or data.get("stage") in STAGES_OF_STEMS):
                        # It was written down with the claim; the services are told so that words.json has it.
                        continue
                    if kind == "progress" and not data["finished"]:
                        if time.monotonic() - progress_at_s.get(data["stage"], -PROGRESS_EVERY_S) < PROGRESS_EVERY_S:
                            continue
                        progress_at_s[data["stage"]] = time.monotonic()
                    if kind == "artifact":
                        stored.add(data["name"])
                    if kind == "usage":
                        data["number"] = next(reports_of_usage)
                    updates.append(update)
                    if kind == "artifact" and data["stage"] == "download" and job.request.url and not kept.original:
                        await self._record(job, updates)
                        updates = []
                        found = await patiently(lambda: self._queue.look_elsewhere(job))
                        if found:
                            return found
                if updates:
                    await self._record(job, updates)
        if RESULT_NAME not in stored:
            raise ResultMissing(
                "The aligner finished without storing words.json. It needs the same storage settings as the gateway."
            )
        return None

    async def _record(self, job: Job, updates: list[Update]) -> None:
        """Writes events to their end, also when the attempt is interrupted meanwhile: one may be what was paid.

        Raises:
            _Fenced.
        """
        write = asyncio.create_task(patiently(lambda: self._queue.record(job, *updates)))
        try:
            ours = await asyncio.shield(write)
        except asyncio.CancelledError:
            await write
            raise
        if not ours:
            raise _Fenced

    async def _write_interruption(self, job: Job, why: Interruption) -> str:
        match why:
            case Interruption.CANCELLED:
                await patiently(lambda: self._queue.cancelled(job))
            case Interruption.STOPPING:
                await patiently(lambda: self._queue.hand_back(job))
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
        if _kept_unreadable(claim.kept, failure):
            return "started over" if await patiently(lambda: self._queue.start_over(job, failure)) else "fenced"
        if isinstance(error, errors.StageError) and self._may_wait(claim, error):
            delay_s = self._delay_s(claim.refusals, failure.retry_after_s)
            return "refused" if await patiently(lambda: self._queue.refused(job, failure, delay_s)) else "fenced"
        gone = isinstance(error, errors.StageError) and not was_reached(error)
        if gone or not retryable or job.failures + 1 >= self._settings.max_attempts:
            return "failed" if await patiently(lambda: self._queue.fail(job, failure)) else "fenced"
        delay_s = self._delay_s(job.failures, failure.retry_after_s)
        return "retry" if await patiently(lambda: self._queue.retry(job, failure, delay_s)) else "fenced"

    def _may_wait(self, claim: Claim, error: errors.StageError) -> bool:
        """Whether a service said that it is full, or was not there: one that starts again is no failure of the job.

        One that is not there for as long as a job may take will not come. gRPC uses the code of full services, without
        a reason, for messages that are too large: more waiting would not help those.
        """
        if not was_reached(error):
            settings = self._settings
            most = max(settings.max_attempts, round(settings.job_timeout_s / settings.retry_cap_s))
            return claim.refusals + 1 < most
        code = status_code(error)
        return code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.reason != code.name

    def _delay_s(self, times: int, asked_s: float | None) -> float:
        """Capped exponential back-off with jitter; what the service asks for wins."""
        if asked_s is not None:
            return round(asked_s, 3)
        settings = self._settings
        return round(min(settings.retry_cap_s, settings.retry_base_s * 2**times) * random.uniform(0.5, 1.0), 3)


def _kept_unreadable(kept: Kept, failure: Failure) -> bool:
    """Whether an attempt failed only because it went on from what cannot be read any more."""
    if kept.separated:
        return failure.reason == _STEMS_UNREADABLE
    return bool(kept.original) and failure.stage == "download" and failure.reason in _ORIGINAL_UNREADABLE
