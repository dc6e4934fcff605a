"""Jobs in Postgres. Every method is one transaction; every change of a state writes its event in the same one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from singscript_core.errors import InvalidInput
from singscript_gateway.auth import audit
from singscript_gateway.database import Pool, expected_migrations, reading
from singscript_gateway.jobs import kept, recording
from singscript_gateway.jobs.model import (
    RESULT_NAME,
    STAGES,
    STAGES_OF_STEMS,
    Artifact,
    Event,
    Failure,
    Format,
    Job,
    JobRequest,
    Karaoke,
    Kept,
    Revision,
    Stage,
    UsageSum,
)
from singscript_gateway.jobs.states import JobState, StageState, jobs_before
from singscript_gateway.jobs.transaction import (
    REMOVAL_PAUSE_S,
    ObjectRemoved,
    Transaction,
    job_or_none,
    object_removed,
    read_artifacts,
    read_details,
    read_job,
    read_usage,
)
from singscript_gateway.jobs.updates import Update
from singscript_gateway.quotas import counts
from singscript_gateway.quotas.model import DAY_S, NO_LIMITS, Limits
from singscript_gateway.webhooks.model import new_secret

# As long as a service said nothing newer, what it can work on at once holds; then it is not known.
CAPACITY_KEPT_S = 60.0
_PRIORITIES = {"low": -1, "normal": 0, "high": 1}
# How long a POST is answered as it was.
KEY_KEPT_S = 24 * 3600.0
# An upload whose job was not made by then is removed.
JOB_WITHIN_S = 3600.0
# By then a removal was done, or whoever did it died. Longer than any store waits for one.
REMOVAL_WITHIN_S = 300.0


class IdempotencyKeyReused(InvalidInput):
    """The key stands for another job."""

    reason = "IDEMPOTENCY_KEY_REUSED"


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


@dataclass(frozen=True)
class Filter:
    """Which jobs are listed: those to which all of it applies; None applies to all of them.

    Attributes:
        states: one of these.
        since, until: created at that moment or later; before it.
        reason: that of the problem of a failed job.
    """

    states: list[JobState] | None = None
    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Keyed:
    """An Idempotency-Key, and the digest of what was asked for with it."""

    owner: str
    key: str
    digest: str


@dataclass(frozen=True)
class Answer:
    """How a job that was made is answered; `repeated` when another request made it."""

    job_id: UUID
    body: str
    repeated: bool


@dataclass(frozen=True)
class Removal:
    """An object that was to be looked at; `until` is set when no job refers to it: by then it is to be removed."""

    key: str
    until: datetime | None


class JobStore:
    """All that is ever done to the jobs' tables.

    Methods raise psycopg.OperationalError while the database is away; nothing is half done then.

    Args:
        shared: results of one owner's jobs are used for another's.
        limits: of users who have none of their own.
    """

    def __init__(self, pool: Pool, *, shared: bool = False, limits: Limits = NO_LIMITS) -> None:
        self._pool = pool
        self._shared = shared
        self._limits = limits

    # -- for users, each of whom finds only what is theirs

    async def create(self, request: JobRequest, owner: str, since: datetime | None = None) -> Job:
        """A new job, queued and due; `since` is what `expect_object` said of its upload.

        Raises:
            ObjectRemoved: the upload has to be stored again.
            QuotaExceeded, UploadAboveQuota: the owner may not, for now.
        """
        async with self._transaction() as tx:
            return await self._create(tx, request, owner, since)

    async def create_once(
        self,
        request: JobRequest,
        keyed: Keyed,
        body: Callable[[Job, str | None], str],
        since: datetime | None = None,
    ) -> Answer:
        """A new job whose answer is kept by its key, or the answer that is kept.

        Args:
            body: of the answer, from the job and the secret of its webhook.

        Raises:
            IdempotencyKeyReused: it is the answer to something else.
            ObjectRemoved, QuotaExceeded, UploadAboveQuota: see `create`.
        """
        async with self._transaction() as tx:
            await tx.run("drop_old_keys", kept_s=KEY_KEPT_S)
            if not await tx.first("take_key", owner=keyed.owner, key=keyed.key, digest=keyed.digest):
                kept = await _kept_answer(tx, keyed)
                assert kept is not None
                return kept
            job = await self._create(tx, request, keyed.owner, since)
            webhook = await tx.first("get_webhook", id=job.id, owner=keyed.owner)
            answer = Answer(job.id, body(job, webhook["secrets"][0] if webhook else None), repeated=False)
            await tx.run("keep_answer", owner=keyed.owner, key=keyed.key, id=job.id, body=answer.body)
            return answer

    async def answer(self, keyed: Keyed) -> Answer | None:
        """The answer that is kept by the key; raises IdempotencyKeyReused."""
        async with self._statements() as tx:
            return await _kept_answer(tx, keyed)

    async def get(self, job_id: UUID, owner: str) -> Job | None:
        async with self._statements() as tx:
            return job_or_none(await tx.first("find_job", id=job_id, owner=owner))

    async def list_jobs(self, owner: str, wanted: Filter, *, before: int | None, limit: int) -> list[Job]:
        """Newest first; `before` is the number of the last job of the page before."""
        async with self._statements() as tx:
            rows = await tx.all(
                "list_jobs",
                owner=owner,
                states=[state.value for state in wanted.states] if wanted.states else None,
                since=wanted.since,
                until=wanted.until,
                reason=wanted.reason,
                before=before,
                limit=limit,
            )
            return [read_job(row) for row in rows]

    async def details(self, job: Job) -> tuple[list[Stage], list[dict[str, Any]], list[Artifact], list[UsageSum]]:
        """Stages and warnings of the job's newest attempt, its artifacts, and what it has spent."""
        async with self._statements() as tx:
            return await read_details(tx, job)

    async def artifacts(self, job_id: UUID, owner: str) -> list[Artifact]:
        async with self._statements() as tx:
            return await read_artifacts(tx, job_id, owner)

    async def revisions(self, job_id: UUID, owner: str) -> list[Revision]:
        """Of the words, oldest first; the last one stands."""
        async with self._statements() as tx:
            rows = await tx.all("get_revisions", id=job_id, owner=owner, words=RESULT_NAME)
            return [Revision(**row, made_by="user" if row["revision"] > 1 else "aligner") for row in rows]

    async def put_files(self, job: Job, formats: dict[Format, Karaoke], files: list[Artifact], since: datetime) -> bool:
        """Adds files that were rendered of a job that has succeeded, in place of those of the same names.

        With a words.json among them the job's words get their next revision.

        Args:
            job: as it was when its words were read; False, and nothing is changed, when it has moved on since.
            formats: what the job's subtitle files are from now on.
            since: the earliest that `expect_object` said of the files.

        Raises:
            ObjectRemoved: they have to be stored again.
        """
        corrected = any(file.name == RESULT_NAME for file in files)
        async with self._transaction() as tx:
            held = await tx.first(
                "hold_files",
                id=job.id,
                owner=job.owner,
                last_seq=job.last_seq,
                formats=_formats(formats),
                corrections=int(corrected),
            )
            if held is None:
                return False
            for file in files:
                await tx.refer(file.key, since)
            if corrected:
                await tx.run("keep_words", id=job.id, revision=held["words_revision"] - 1, words=RESULT_NAME)
            announced = [Update("artifact", file.model_dump()) for file in files]
            for _, data in announced:
                await tx.run("put_artifact", id=job.id, attempt=job.attempt, **data)
            if corrected:
                announced.append(Update("words", {"revision": held["words_revision"]}))
                await audit.note(tx.connection, job.owner, "words.corrected", str(job.id))
            await tx.append(job.id, *announced)
            return True

    async def usage(self, owner: str, since: datetime | None, until: datetime | None) -> list[UsageSum]:
        """What the owner has spent from `since` on, and before `until`; by engine and model."""
        async with self._statements() as tx:
            return await read_usage(tx, owner, since=since, until=until)

    async def events_after(self, job_id: UUID, owner: str, after: int, limit: int = 500) -> list[Event]:
        async with self._statements() as tx:
            rows = await tx.all("events_after", id=job_id, owner=owner, after=after, limit=limit)
            return [Event.model_validate(row) for row in rows]

    async def cancel(self, job_id: UUID, owner: str) -> Job | None:
        """Cancels a queued job at once and asks for the end of a running one; any other stays as it is."""
        async with self._transaction() as tx:
            if await tx.first("cancel_queued_job", id=job_id, owner=owner, before=jobs_before(JobState.CANCELLED)):
                await tx.append(job_id, Update("state", {"state": JobState.CANCELLED}))
                await tx.tell_webhooks(job_id)
            elif not await tx.first("request_cancel", id=job_id, owner=owner):
                return job_or_none(await tx.first("find_job", id=job_id, owner=owner))
            await audit.note(tx.connection, owner, "job.cancelled", str(job_id))
            return read_job(await tx.one("find_job", id=job_id, owner=owner))

    async def restart(self, job_id: UUID, owner: str) -> Job | None:
        """Queues a job that has failed or was cancelled, once; None for any other. Raises QuotaExceeded."""
        async with self._transaction() as tx:
            row = await tx.first("restart_job", id=job_id, owner=owner, before=_BEFORE_QUEUED)
            if row is None:
                return None
            job = read_job(row)
            line = await counts.admit_job(tx.connection, self._limits, owner, job_id, job.request.transcriber_engines)
            await tx.run("set_key_line", id=job_id, key_line=line)
            await _make_due(tx, job)
            data = {"reason": "RETRY_REQUESTED", "message": "It was asked for once more."}
            await tx.append(job_id, Update("state", {"state": JobState.QUEUED} | data))
            await audit.note(tx.connection, owner, "job.retried", str(job_id))
            return read_job(await tx.one("find_job", id=job_id, owner=owner))

    async def delete(self, job_id: UUID, owner: str) -> Job | None:
        """Deletes a job that has ended; any other stays. Returns it as it was; None: there is no such job.

        Its objects are due for removal from then on.
        """
        async with self._transaction() as tx:
            job = job_or_none(await tx.first("hold_job", id=job_id, owner=owner))
            if job and job.state.final:
                await _delete(tx, job)
                await audit.note(tx.connection, owner, "job.deleted", str(job_id))
            return job

    async def delete_expired(self, keep_s: float) -> Job | None:
        """Deletes one job that has ended so long ago. None: there is none."""
        async with self._transaction() as tx:
            job = job_or_none(await tx.first("expired_job", keep_s=keep_s))
            if job:
                await _delete(tx, job)
            return job

    async def make_room(self, keep_bytes: int) -> Job | None:
        """Deletes the job that has ended first, if all objects together are larger than that and it would help."""
        async with self._transaction() as tx:
            if (await tx.one("stored_bytes"))["size_bytes"] <= keep_bytes:
                return None
            job = job_or_none(await tx.first("oldest_job_with_objects"))
            if job:
                await _delete(tx, job)
            return job

    async def start_chore(self, name: str, every_s: float) -> bool:
        """Whether it is time to do it; then nobody else does until it is time again."""
        async with self._transaction() as tx:
            return await tx.first("start_chore", name=name, every_s=every_s) is not None

    async def note_orphans(self, keys: list[str], within_s: float) -> None:
        """Those of the objects that no job refers to are due for removal by then."""
        async with self._transaction() as tx:
            await tx.run("note_orphans", keys=keys, within_s=within_s)

    # -- objects: kept while a job refers to them

    async def expect_object(self, key: str) -> datetime:
        """To be called before an object is stored for a job that is to refer to it: should it not, the object goes.

        Returns: when that was, by the database's clock.

        Raises:
            ObjectRemoved: it is being removed just now; it may be stored in a moment.
        """
        async with self._transaction() as tx:
            row = await tx.first("expect_object", key=key, within_s=JOB_WITHIN_S)
            if row is None:
                raise object_removed(under_way=True)
            return row["since"]

    async def delete_expired_upload(self) -> bool:
        """Its objects are due for removal from then on, unless jobs refer to them. False: there is none."""
        async with self._transaction() as tx:
            row = await tx.first("hold_expired_upload")
            if row:
                await tx.run("release_upload", id=row["id"], parts_only=False)
                await tx.run("delete_upload", id=row["id"])
            return row is not None

    async def begin_removal(self) -> Removal | None:
        """The next object that is due. None: there is none."""
        async with self._transaction() as tx:
            row = await tx.first("due_object")
            if row is None:
                return None
            await tx.run("hold_object", key=row["key"])
            begun = await tx.first("begin_removal", key=row["key"], within_s=REMOVAL_WITHIN_S)
            if begun is None:
                await tx.run("keep_object", key=row["key"])
            return Removal(row["key"], begun["due_at"] if begun else None)

    async def end_removal(self, removal: Removal) -> None:
        async with self._transaction() as tx:
            await tx.run("end_removal", key=removal.key, due_at=removal.until)

    async def postpone_removal(self, removal: Removal) -> None:
        """After it failed, so that it is not known whether the object is still there."""
        async with self._transaction() as tx:
            await tx.run("postpone_removal", key=removal.key, due_at=removal.until, delay_s=REMOVAL_PAUSE_S)

    async def forget_objects(self) -> None:
        """Those of which nothing needs to be known any more."""
        async with self._transaction() as tx:
            await tx.run("forget_objects")

    async def drop_old_uses(self) -> None:
        """What counts for no limit any more."""
        async with self._transaction() as tx:
            await tx.run("drop_old_uses", kept_s=2 * DAY_S)

    # -- health

    async def ping(self) -> None:
        async with self._transaction():
            pass

    async def missing_migrations(self) -> set[str]:
        """Names of the steps of `database.migrate` that this database has not seen."""
        try:
            async with self._statements() as tx:
                return expected_migrations() - {row["name"] for row in await tx.all("applied_migrations")}
        except psycopg.errors.UndefinedTable:
            return expected_migrations()

    async def live_dispatchers(self, lease_s: float) -> int:
        async with self._statements() as tx:
            return (await tx.one("count_dispatchers", lease_s=lease_s))["live"]

    # -- for the dispatcher

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
        async with self._statements() as tx:
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

    async def _create(self, tx: Transaction, request: JobRequest, owner: str, since: datetime | None) -> Job:
        job_id = uuid4()
        if request.upload and since:
            await tx.refer(request.upload.key, since)
        sent_bytes = request.upload.size_bytes if request.upload and not request.upload.counted else 0
        engines = request.transcriber_engines
        line = await counts.admit_job(tx.connection, self._limits, owner, job_id, engines, sent_bytes)
        formats = _formats(dict.fromkeys(request.formats, request.karaoke))
        stored = Jsonb(request.model_dump(mode="json", exclude={"webhook"}))
        priority = _PRIORITIES[request.priority]
        columns = {"owner": owner, "key_line": line, "request": stored, "formats": formats, "priority": priority}
        work = kept.work_of(request, request.upload.key if request.upload else f"link {request.url}")
        row = await tx.one("insert_job", id=job_id, **columns, **work)
        if hook := request.webhook:
            secrets = hook.secrets or [new_secret()]
            await tx.run("insert_webhook", webhook_id=uuid4(), id=job_id, url=hook.url, secrets=secrets)
        await audit.note(tx.connection, owner, "job.created", str(job_id))
        return read_job(row)

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
            "requeue_job", id=job.id, attempt=job.attempt, failures=failures, refused=refused, before=_BEFORE_QUEUED
        )
        if row is None:
            return False
        if stage_failed:
            await tx.end_stages(job, why.stage)
        else:
            await tx.move_stages(job, STAGES, StageState.SKIPPED)
        await _make_due(tx, job, delay_s)
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

    @asynccontextmanager
    async def _statements(self) -> AsyncIterator[Transaction]:
        async with reading(self._pool) as connection:
            yield Transaction(connection, shared=self._shared)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        async with self._pool.connection() as connection:
            yield Transaction(connection, shared=self._shared)


_BEFORE_QUEUED = jobs_before(JobState.QUEUED)


async def _delete(tx: Transaction, job: Job) -> None:
    await tx.run("release_objects", id=job.id)
    await tx.run("delete_job", id=job.id)
    # What waits is still told.
    await tx.run("drop_told", id=job.id)
    await tx.run("drop_webhook_of_job", id=job.id)


def _formats(formats: dict[Format, Karaoke]) -> Jsonb:
    return Jsonb({name: karaoke.model_dump() for name, karaoke in formats.items()})


async def _kept_answer(tx: Transaction, keyed: Keyed) -> Answer | None:
    row = await tx.first("get_answer", owner=keyed.owner, key=keyed.key, kept_s=KEY_KEPT_S)
    if row is None:
        return None
    if row["digest"] != keyed.digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was sent with another job in the last 24 hours. Use a new key for each job."
        )
    return Answer(row["job_id"], row["body"], repeated=True)


async def _make_due(tx: Transaction, job: Job, delay_s: float = 0.0) -> None:
    """To be done with every job that becomes queued: dispatchers are told when this is committed."""
    separated = await kept.own_separation(tx, job, before=job.attempt + 1)
    begins_at = STAGES[len(STAGES_OF_STEMS)] if separated else STAGES[0]
    await tx.run("make_due", id=job.id, delay_s=delay_s, begins_at=begins_at)
