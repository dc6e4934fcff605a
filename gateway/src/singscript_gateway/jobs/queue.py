"""The jobs' tables as the dispatcher uses them: whose turn it is, what an attempt reports, and how it ends.

Every method is one transaction; every change of a state writes its event in the same one.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import DictRow

from singscript_gateway.database import Pool
from singscript_gateway.jobs import kept, recording
from singscript_gateway.jobs.model import STAGES, Failure, Job, Kept
from singscript_gateway.jobs.states import JobState, StageState, jobs_before
from singscript_gateway.jobs.transaction import ObjectRemoved, Transaction, read_job, statements, transaction
from singscript_gateway.jobs.updates import Update

# As long as a service said nothing newer, what it can work on at once holds; then it is not known.
CAPACITY_KEPT_S = 60.0


class SameWork(Exception):
    """Another job is doing the same work just now; this one may wait for what comes of it."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, until someone else has a newer one.

    Attributes:
        worked_s: seconds that earlier attempts took, since the user asked for the job last.
        refusals: how many of the last attempts in a row a full service refused.
        kept: what of its work is done already.
    """

    job: Job
    worked_s: float
    refusals: int
    kept: Kept


class JobQueue:
    """Attempts at jobs. An attempt that is over changes nothing any more: its methods return False, or None.

    Methods raise psycopg.OperationalError while the database is away; nothing is half done then.

    Args:
        shared: results of one owner's jobs are used for another's.
    """

    def __init__(self, pool: Pool, *, shared: bool = False) -> None:
        self._pool = pool
        self._shared = shared

    async def claim_next(self) -> Claim | None:
        """A new attempt at the job whose turn it is. None: none is due, or the stages that they need are full."""
        async with self._transaction() as tx:
            await tx.run("hold_queue")
            full = {row["stage"] for row in await tx.all("full_stages", kept_s=CAPACITY_KEPT_S)}
            # An attempt has the stage that it begins at to do, and all after it.
            begins_at = [stage for n, stage in enumerate(STAGES) if full.isdisjoint(STAGES[n:])]
            while found := await tx.first("next_job", begins_at=begins_at, shared=self._shared):
                if row := await tx.first("claim_job", id=found["id"], before=jobs_before(JobState.RUNNING)):
                    return await self._begin(tx, row)
                # It was cancelled just now.
            return None

    async def look_elsewhere(self, job: Job) -> Kept | None:
        """Once the original behind the link of a running attempt is stored: what it can go on from from then on.

        None: nothing was done of it elsewhere; or the attempt is over.

        Raises:
            SameWork: another job is doing the same just now.
        """
        async with self._transaction() as tx:
            if not await tx.first("hold_attempt", id=job.id, attempt=job.attempt):
                return None
            now = read_job(await tx.one("get_job", id=job.id))
            if not await kept.same_work_under_way(tx, now):
                return await kept.look_elsewhere(tx, now)
        # Now that it is written down what this job does.
        raise SameWork

    async def step_back(self, job: Job) -> bool:
        """Queues a running job again until another one has done the same work. False: the attempt was over already."""
        async with self._transaction() as tx:
            message = "Another job is doing the same work; this one goes on with what comes of it."
            return await self._requeue(tx, job, Failure(reason="SAME_WORK_UNDER_WAY", message=message))

    async def set_capacity(self, stage: str, streams: int) -> None:
        """How many jobs a stage can work on at once; 0: as many as there are."""
        async with self._transaction() as tx:
            if streams:
                await tx.run("put_capacity", stage=stage, streams=streams)
            else:
                await tx.run("drop_capacity", stage=stage)

    async def record(self, job: Job, *updates: Update) -> bool:
        """Writes events of a running attempt, and what follows from them. False: the attempt is over already.

        Usage counts even then, and once for each `number` that the dispatcher gave it.

        Raises:
            ObjectRemoved: an artifact was stored by others before, and may have been removed with their jobs; what
                comes before it is written.
        """
        async with self._transaction() as tx:
            recorded = await recording.record(tx, job, updates)
        if isinstance(recorded, ObjectRemoved):
            raise recorded
        return recorded

    async def succeed(self, job: Job) -> bool:
        """Ends the attempt well. False: it was over already."""
        async with self._transaction() as tx:
            if not await tx.finish(job, JobState.SUCCEEDED):
                return False
            await tx.run("drop_parts", id=job.id, stage="separate", number=0)
            await tx.move_stages(job, STAGES, StageState.SUCCEEDED)
            await tx.move_stages(job, STAGES, StageState.SKIPPED)
            await tx.append(job.id, Update("state", {"state": JobState.SUCCEEDED}))
            await tx.tell_webhooks(job.id)
            return True

    async def fail(self, job: Job, failure: Failure) -> bool:
        """Ends the job with a failure. False: the attempt was over already."""
        async with self._transaction() as tx:
            return await self._fail(tx, job, failure)

    async def retry(self, job: Job, failure: Failure, delay_s: float) -> bool:
        """Ends the attempt with a failure and queues the next one. False: the attempt was over already."""
        async with self._transaction() as tx:
            return await self._requeue(tx, job, failure, delay_s, failures=1, stage_failed=True)

    async def refused(self, job: Job, refusal: Failure, delay_s: float) -> bool:
        """Ends an attempt that a full service turned away, and queues the next one: nothing has failed.

        False: the attempt was over already.
        """
        async with self._transaction() as tx:
            return await self._requeue(tx, job, refusal, delay_s, refused=True)

    async def start_over(self, job: Job, failure: Failure) -> bool:
        """Ends an attempt that cannot read what is kept, and queues one from the beginning: no failure of the work.

        False: the attempt was over already.
        """
        async with self._transaction() as tx:
            if not await tx.first("hold_attempt", id=job.id, attempt=job.attempt):
                return False
            await kept.forget(tx, job)
            # Of stems it is the transcriber that says so.
            stage = "download" if failure.stage == "download" else "separate"
            warning = {"stage": stage, "reason": failure.reason, "message": failure.message}
            await tx.append(job.id, Update("warning", warning))
            return await self._requeue(tx, job, failure, stage_failed=True)

    async def cancelled(self, job: Job) -> bool:
        """Ends a job whose end was asked for. False: the attempt was over already."""
        async with self._transaction() as tx:
            return await self._cancelled(tx, job)

    async def hand_back(self, job: Job) -> bool:
        """Queues a running job again, as if it had never been claimed. False: the attempt was over already."""
        async with self._transaction() as tx:
            message = "The process that worked on this was stopped; another one goes on with it."
            return await self._requeue(tx, job, Failure(reason="HANDED_BACK", message=message))

    async def beat(self, dispatcher: UUID, jobs: list[Job]) -> set[tuple[UUID, int]]:
        """Says that the dispatcher and its jobs live; returns the attempts (id, number) that are still its own."""
        async with self._transaction() as tx:
            await tx.run("beat_dispatcher", dispatcher=dispatcher)
            rows = await tx.all("beat_jobs", ids=[j.id for j in jobs], attempts=[j.attempt for j in jobs])
            return {(row["id"], row["attempt"]) for row in rows}

    async def drop_dispatcher(self, dispatcher: UUID) -> None:
        async with self._transaction() as tx:
            await tx.run("drop_dispatcher", dispatcher=dispatcher)

    async def cancels_requested(self, job_ids: list[UUID]) -> set[UUID]:
        async with statements(self._pool) as tx:
            return {row["id"] for row in await tx.all("cancels_requested", ids=job_ids)}

    async def take_over(self, lease_s: float, max_attempts: int, own: Collection[Job] = ()) -> Job | None:
        """Ends the attempt of one job whose dispatcher died: queued again, or failed when that happened too often.

        Args:
            own: attempts that the caller works on, however late it was to say so.
        Returns:
            None: there is no such job.
        """
        ids, attempts = [j.id for j in own], [j.attempt for j in own]
        async with self._transaction() as tx:
            row = await tx.first("lost_jobs", lease_s=lease_s, own_ids=ids, own_attempts=attempts)
            if row is None:
                return None
            job = read_job(row)
            if job.cancel_requested:
                await self._cancelled(tx, job)
            elif job.failures + 1 < max_attempts:
                message = "The process that worked on this stopped without a word; another one starts it again."
                crash = Failure(reason="CRASHED", message=message)
                await self._requeue(tx, job, crash, failures=1, stage_failed=True)
            else:
                message = (
                    f"The process that worked on this stopped without a word, and this was attempt {max_attempts}"
                    " that failed. It is not tried again: the log of the dispatcher may say more."
                )
                await self._fail(tx, job, Failure(reason="CRASHED", message=message))
            return job

    # -- steps of several transactions

    async def _begin(self, tx: Transaction, claimed: DictRow) -> Claim:
        job = read_job(claimed)
        await tx.run("insert_stages", id=job.id, attempt=job.attempt, stages=list(STAGES))
        await tx.append(job.id, Update("state", {"state": JobState.RUNNING}))
        found = await kept.find(tx, job)
        if found.separated:
            await kept.take_over(tx, job, found.separated)
        return Claim(job, claimed["worked_s"], claimed["refusals"], found)

    async def _fail(self, tx: Transaction, job: Job, failure: Failure) -> bool:
        if not await tx.finish(job, JobState.FAILED, failure):
            return False
        await tx.end_stages(job, failure.stage)
        data = {"state": JobState.FAILED, "problem": failure.model_dump(mode="json")}
        await tx.append(job.id, Update("state", data))
        await tx.tell_webhooks(job.id)
        return True

    async def _requeue(
        self,
        tx: Transaction,
        job: Job,
        why: Failure,
        delay_s: float = 0.0,
        *,
        failures: int = 0,
        stage_failed: bool = False,
        refused: bool = False,
    ) -> bool:
        row = await tx.first(
            "requeue_job",
            id=job.id,
            attempt=job.attempt,
            failures=failures,
            refused=refused,
            before=jobs_before(JobState.QUEUED),
        )
        if row is None:
            return False
        if stage_failed:
            await tx.end_stages(job, why.stage)
        else:
            await tx.move_stages(job, STAGES, StageState.SKIPPED)
        await kept.make_due(tx, job, delay_s)
        data = {"reason": why.reason, "message": why.message, "stage": why.stage, "delay_s": delay_s}
        await tx.append(job.id, Update("state", {"state": JobState.QUEUED} | data))
        return True

    async def _cancelled(self, tx: Transaction, job: Job) -> bool:
        if not await tx.finish(job, JobState.CANCELLED):
            return False
        await tx.move_stages(job, STAGES, StageState.SKIPPED)
        await tx.append(job.id, Update("state", {"state": JobState.CANCELLED}))
        await tx.tell_webhooks(job.id)
        return True

    def _transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return transaction(self._pool, shared=self._shared)
