"""What a running attempt says, written down: its events, and what follows from each."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from singscript_gateway.jobs import kept
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.states import StageState
from singscript_gateway.jobs.transaction import ObjectRemoved, Transaction, object_removed
from singscript_gateway.jobs.updates import Update


async def record(tx: Transaction, job: Job, updates: Sequence[Update]) -> bool | ObjectRemoved:
    """Writes `updates` in their order. False: the attempt is over already; then only usage is written.

    ObjectRemoved: of an artifact that is not there any more; those before it are written.
    """
    running = await tx.first("hold_attempt", id=job.id, attempt=job.attempt) is not None
    told: list[Update] = []
    removed = None
    for update in updates:
        if update.kind == "usage" and not await _add_usage(tx, job, update):
            continue
        if running:
            removed = await _follow(tx, job, update, told)
            if removed:
                break
    if told:
        await tx.append(job.id, *told)
    return removed or running


async def _add_usage(tx: Transaction, job: Job, update: Update) -> bool:
    """False: it was written before."""
    owner = {"owner": job.owner, "key_line": job.key_line}
    return await tx.first("add_usage", id=job.id, attempt=job.attempt, **owner, **update.data) is not None


async def _follow(tx: Transaction, job: Job, update: Update, told: list[Update]) -> ObjectRemoved | None:
    """Does what follows from `update`, and adds to `told` the events that it makes."""
    kind, data = update
    attempt = {"id": job.id, "attempt": job.attempt}
    if kind in ("engine", "progress"):
        told += await tx.change_stages(job, [data["stage"]], StageState.RUNNING)
    match kind:
        case "engine":
            await tx.run("set_stage_engine", **attempt, **data)
        case "progress":
            await tx.run("set_stage_progress", **attempt, **data)
        case "artifact" | "part":
            await tx.share(data["key"])
            gone = await tx.first("object_gone_since_attempt", key=data["key"], id=job.id)
            if kind == "part":
                # Nothing that a user would want to see; and one that went with another job can be done without.
                if not gone:
                    await kept.put_part(tx, job, data)
                return None
            if gone:
                return object_removed(under_way=gone["under_way"], stage=data["stage"])
            levels = Jsonb(data["levels"]) if data["levels"] else None
            await tx.run("put_artifact", **attempt, **data | {"levels": levels})
        case "media":
            await tx.run("set_media", id=job.id, media=Jsonb(data))
        case "resumed":
            await tx.run("set_resumed", **attempt, **data)
        case _:
            pass
    told.append(update)
    if kind == "progress" and data["finished"]:
        told += await tx.change_stages(job, [data["stage"]], StageState.SUCCEEDED)
    return None
