"""Jobs in Postgres, as their users see them, each of whom finds only what is theirs.

Every method is one transaction; every change of a state writes its event in the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from singscript_core.errors import InvalidInput
from singscript_gateway.auth import audit
from singscript_gateway.database import Pool
from singscript_gateway.jobs import kept
from singscript_gateway.jobs.model import (
    RESULT_NAME,
    Artifact,
    Event,
    Format,
    Job,
    JobRequest,
    Karaoke,
    Revision,
    Stage,
    UsageSum,
)
from singscript_gateway.jobs.states import JobState, jobs_before
from singscript_gateway.jobs.transaction import (
    Transaction,
    job_or_none,
    object_removed,
    read_artifacts,
    read_details,
    read_job,
    read_usage,
    statements,
    transaction,
)
from singscript_gateway.jobs.updates import Update
from singscript_gateway.jobs.waker import Waker
from singscript_gateway.quotas import counts
from singscript_gateway.quotas.model import NO_LIMITS, Limits
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


class JobStore:
    """Methods raise psycopg.OperationalError while the database is away; nothing is half done then.

    Args:
        limits: of users who have none of their own.
    """

    def __init__(self, pool: Pool, *, limits: Limits = NO_LIMITS) -> None:
        self._pool = pool
        self._waker = Waker(pool)
        self._limits = limits

    async def create(self, request: JobRequest, owner: str, since: datetime | None = None) -> Job:
        """A new job, queued and due; `since` is what `expect_object` said of its upload.

        Raises:
            ObjectRemoved: the upload has to be stored again.
            QuotaExceeded, UploadAboveQuota: the owner may not, for now.
        """
        async with transaction(self._pool) as tx:
            job = await self._create(tx, request, owner, since)
        self._waker.wake()
        return job

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
        async with transaction(self._pool) as tx:
            await tx.run("drop_old_keys", kept_s=KEY_KEPT_S)
            if not await tx.first("take_key", owner=keyed.owner, key=keyed.key, digest=keyed.digest):
                kept = await _kept_answer(tx, keyed)
                assert kept is not None
                return kept
            job = await self._create(tx, request, keyed.owner, since)
            webhook = await tx.first("get_webhook", id=job.id, owner=keyed.owner)
            answer = Answer(job.id, body(job, webhook["secrets"][0] if webhook else None), repeated=False)
            await tx.run("keep_answer", owner=keyed.owner, key=keyed.key, id=job.id, body=answer.body)
        self._waker.wake()
        return answer

    async def answer(self, keyed: Keyed) -> Answer | None:
        """The answer that is kept by the key; raises IdempotencyKeyReused."""
        async with statements(self._pool) as tx:
            return await _kept_answer(tx, keyed)

    async def get(self, job_id: UUID, owner: str) -> Job | None:
        async with statements(self._pool) as tx:
            return job_or_none(await tx.first("find_job", id=job_id, owner=owner))

    async def list_jobs(self, owner: str, wanted: Filter, *, before: int | None, limit: int) -> list[Job]:
        """Newest first; `before` is the number of the last job of the page before."""
        async with statements(self._pool) as tx:
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
        async with statements(self._pool) as tx:
            return await read_details(tx, job)

    async def artifacts(self, job_id: UUID, owner: str) -> list[Artifact]:
        async with statements(self._pool) as tx:
            return await read_artifacts(tx, job_id, owner)

    async def revisions(self, job_id: UUID, owner: str) -> list[Revision]:
        """Of the words, oldest first; the last one stands."""
        async with statements(self._pool) as tx:
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
        async with transaction(self._pool) as tx:
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
        async with statements(self._pool) as tx:
            return await read_usage(tx, owner, since=since, until=until)

    async def events_after(self, job_id: UUID, owner: str, after: int, limit: int = 500) -> list[Event]:
        async with statements(self._pool) as tx:
            rows = await tx.all("events_after", id=job_id, owner=owner, after=after, limit=limit)
            return [Event.model_validate(row) for row in rows]

    async def cancel(self, job_id: UUID, owner: str) -> Job | None:
        """Cancels a queued job at once and asks for the end of a running one; any other stays as it is."""
        async with transaction(self._pool) as tx:
            if await tx.first("cancel_queued_job", id=job_id, owner=owner, before=jobs_before(JobState.CANCELLED)):
                await tx.append(job_id, Update("state", {"state": JobState.CANCELLED}))
                await tx.tell_webhooks(job_id)
            elif not await tx.first("request_cancel", id=job_id, owner=owner):
                return job_or_none(await tx.first("find_job", id=job_id, owner=owner))
            await audit.note(tx.connection, owner, "job.cancelled", str(job_id))
            return read_job(await tx.one("find_job", id=job_id, owner=owner))

    async def restart(self, job_id: UUID, owner: str) -> Job | None:
        """Queues a job that has failed or was cancelled, once; None for any other. Raises QuotaExceeded."""
        async with transaction(self._pool) as tx:
            row = await tx.first("restart_job", id=job_id, owner=owner, before=jobs_before(JobState.QUEUED))
            if row is None:
                return None
            job = read_job(row)
            line = await counts.admit_job(tx.connection, self._limits, owner, job_id, job.request.transcriber_engines)
            await tx.run("set_key_line", id=job_id, key_line=line)
            await kept.make_due(tx, job)
            data = {"reason": "RETRY_REQUESTED", "message": "It was asked for once more."}
            await tx.append(job_id, Update("state", {"state": JobState.QUEUED} | data))
            await audit.note(tx.connection, owner, "job.retried", str(job_id))
            return read_job(await tx.one("find_job", id=job_id, owner=owner))

    async def delete(self, job_id: UUID, owner: str) -> Job | None:
        """Deletes a job that has ended; any other stays. Returns it as it was; None: there is no such job.

        Its objects are due for removal from then on.
        """
        async with transaction(self._pool) as tx:
            job = job_or_none(await tx.first("hold_job", id=job_id, owner=owner))
            if job and job.state.final:
                await tx.delete_job(job)
                await audit.note(tx.connection, owner, "job.deleted", str(job_id))
            return job

    # -- objects: kept while a job refers to them

    async def expect_object(self, key: str) -> datetime:
        """To be called before an object is stored for a job that is to refer to it: should it not, the object goes.

        Returns: when that was, by the database's clock.

        Raises:
            ObjectRemoved: it is being removed just now; it may be stored in a moment.
        """
        async with transaction(self._pool) as tx:
            row = await tx.first("expect_object", key=key, within_s=JOB_WITHIN_S)
            if row is None:
                raise object_removed(under_way=True)
            return row["since"]

    # -- health

    async def live_dispatchers(self, lease_s: float) -> int:
        async with statements(self._pool) as tx:
            return (await tx.one("count_dispatchers", lease_s=lease_s))["live"]

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
