"""Named statements in one transaction, and what several of its users need: reading a job's rows, writing its events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from singscript_core.errors import Unavailable
from singscript_gateway.database import Connection, Pool, reading
from singscript_gateway.jobs.model import STAGES, Artifact, Failure, Job, Stage, UsageSum
from singscript_gateway.jobs.sql import SQL
from singscript_gateway.jobs.states import JobState, StageState, jobs_before, stages_before
from singscript_gateway.jobs.updates import Update
from singscript_gateway.webhooks.payload import event_type, payload

# Before a removal that failed is tried again.
REMOVAL_PAUSE_S = 30.0


class ObjectRemoved(Unavailable):
    """What was stored was removed meanwhile, with the last job that referred to it. It has to be stored again."""

    reason = "OBJECT_REMOVED"


class Transaction:
    """Named statements on one connection; the pool commits when it takes the connection back.

    Attributes:
        shared: results of one owner's jobs are used for another's.
    """

    def __init__(self, connection: Connection, *, shared: bool = False) -> None:
        self.connection = connection
        self.shared = shared

    async def run(self, name: str, /, **parameters: object) -> None:
        await self.connection.execute(SQL[name], parameters)

    async def first(self, name: str, /, **parameters: object) -> DictRow | None:
        return await (await self.connection.execute(SQL[name], parameters)).fetchone()

    async def one(self, name: str, /, **parameters: object) -> DictRow:
        row = await self.first(name, **parameters)
        assert row is not None, name
        return row

    async def all(self, name: str, /, **parameters: object) -> list[DictRow]:
        return await (await self.connection.execute(SQL[name], parameters)).fetchall()

    async def share(self, key: str) -> None:
        """Until the end of this transaction the removal of the object does not begin."""
        await self.run("share_object", key=key)

    async def refer(self, key: str, since: datetime) -> None:
        """Before the first reference to an object that was stored after `since`; raises ObjectRemoved."""
        await self.share(key)
        if gone := await self.first("object_gone", key=key, since=since):
            raise object_removed(under_way=gone["under_way"])

    async def append(self, job_id: UUID, *updates: Update) -> None:
        kinds, data = [u.kind for u in updates], [Jsonb(u.data, dumps=_dumps) for u in updates]
        await self.run("append_events", id=job_id, kinds=kinds, data=data)

    async def finish(self, job: Job, state: JobState, failure: Failure | None = None) -> bool:
        row = await self.first(
            "finish_job",
            id=job.id,
            attempt=job.attempt,
            state=state,
            before=jobs_before(state),
            problem=Jsonb(failure.model_dump(mode="json"), dumps=_dumps) if failure else None,
            failures=1 if failure else 0,
        )
        return row is not None

    async def change_stages(self, job: Job, stages: Iterable[str], state: StageState) -> list[Update]:
        """Moves those of `stages` that may go to `state`; returns the events of it, which are still to be appended."""
        rows = await self.all(
            "move_stages",
            id=job.id,
            attempt=job.attempt,
            stages=list(stages),
            state=state,
            before=stages_before(state),
        )
        moved = [row["stage"] for row in sorted(rows, key=lambda row: row["position"])]
        return [Update("stage", {"stage": stage, "state": state}) for stage in moved]

    async def move_stages(self, job: Job, stages: Iterable[str], state: StageState) -> None:
        """Moves those of `stages` that may go to `state`, with an event for each."""
        if told := await self.change_stages(job, stages, state):
            await self.append(job.id, *told)

    async def end_stages(self, job: Job, failed: str | None) -> None:
        """After a failure: the stage where it happened has failed; the rest was skipped.

        Where the stage is unknown it is the first in the chain that had not ended: later ones wait for it.
        """
        unfinished = [row["stage"] for row in await self.all("unfinished_stages", id=job.id, attempt=job.attempt)]
        culprit = failed if failed in unfinished else next(iter(unfinished), None)
        if culprit:
            await self.move_stages(job, [culprit], StageState.RUNNING)
            await self.move_stages(job, [culprit], StageState.FAILED)
        await self.move_stages(job, STAGES, StageState.SKIPPED)

    async def tell_webhooks(self, job_id: UUID) -> None:
        """After a job has ended: what its webhooks are to be told, as it is now; sent once this is committed."""
        hooks = await self.all("webhooks_to_tell", id=job_id)
        if not hooks:
            return
        job = read_job(await self.one("get_job", id=job_id))
        told = {"type": event_type(job), "body": payload(job, *await read_details(self, job))}
        for hook in hooks:
            await self.run("insert_delivery", delivery_id=uuid4(), webhook_id=hook["id"], id=job_id, **told)

    async def delete_job(self, job: Job) -> None:
        """Its objects are due for removal from then on."""
        await self.run("release_objects", id=job.id)
        await self.run("delete_job", id=job.id)
        # What waits is still told.
        await self.run("drop_told", id=job.id)
        await self.run("drop_webhook_of_job", id=job.id)


@asynccontextmanager
async def transaction(pool: Pool, *, shared: bool = False) -> AsyncIterator[Transaction]:
    async with pool.connection() as connection:
        yield Transaction(connection, shared=shared)


@asynccontextmanager
async def statements(pool: Pool) -> AsyncIterator[Transaction]:
    """For what only reads."""
    async with reading(pool) as connection:
        yield Transaction(connection)


def read_job(row: DictRow) -> Job:
    return Job.model_validate(row)


def job_or_none(row: DictRow | None) -> Job | None:
    return read_job(row) if row else None


async def read_details(
    tx: Transaction, job: Job
) -> tuple[list[Stage], list[dict[str, Any]], list[Artifact], list[UsageSum]]:
    stages = await tx.all("get_stages", id=job.id, attempt=job.attempt)
    warnings = await tx.all("get_warnings", id=job.id, attempt=job.attempt)
    return (
        [Stage.model_validate(s) for s in stages],
        [w["data"] for w in warnings],
        await read_artifacts(tx, job.id, job.owner),
        await read_usage(tx, job.owner, job.id),
    )


async def read_usage(
    tx: Transaction,
    owner: str,
    job_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[UsageSum]:
    rows = await tx.all("sum_usage", owner=owner, id=job_id, since=since, until=until)
    return [UsageSum.model_validate(row) for row in rows]


async def read_artifacts(tx: Transaction, job_id: UUID, owner: str) -> list[Artifact]:
    return [Artifact.model_validate(row) for row in await tx.all("get_artifacts", id=job_id, owner=owner)]


def object_removed(*, under_way: bool, stage: str | None = None) -> ObjectRemoved:
    """`under_way`: and cannot be stored before that is over."""
    return ObjectRemoved(
        "A file was removed, together with a job that was deleted, while it was stored anew. Try again.",
        retry_after_s=REMOVAL_PAUSE_S if under_way else None,
        metadata={"stage": stage} if stage else None,
    )


def _dumps(value: object) -> str:
    # jsonb has no NUL characters, and what services hear or read in tags is not ours to trust.
    return json.dumps(_without_nul(value))


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "")
        case dict():
            return {key: _without_nul(item) for key, item in value.items()}
        case list():
            return [_without_nul(item) for item in value]
        case _:
            return value
