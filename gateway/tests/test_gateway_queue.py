"""Whose turn it is: owners, priorities, limits of stages, delays; on real Postgres."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import psycopg
from gateway_testing import claim_of, execute, link
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.database import Pool, make_pool
from singscript_gateway.jobs.listen import QUEUE, Listener
from singscript_gateway.jobs.model import Failure, Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.sql import SQL
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update

Priority = Literal["low", "normal", "high"]
BUSY = Failure(reason="BUSY", message="Busy.", stage="separate")
FINISHED = {"done_s": 2.0, "total_s": 2.0, "finished": True, "done_bytes": None, "total_bytes": None}


async def queue_of(url: str, owner: str, count: int = 1) -> None:
    """Queued jobs of one owner, as many as asked for, without their events."""
    request = json.dumps({"url": "https://example.org/song.mp3"})
    await execute(
        url,
        f"INSERT INTO jobs (id, request, owner) SELECT gen_random_uuid(), '{request}', '{owner}'"
        f" FROM generate_series(1, {count})",
    )


async def claims(queue: JobQueue, count: int) -> list[Job]:
    found = [await queue.claim_next() for _ in range(count)]
    return [claim.job for claim in found if claim]


async def test_many_jobs_of_one_owner_do_not_starve_the_one_of_another(queue: JobQueue, database_url: str) -> None:
    await queue_of(database_url, "ann", 500)
    first = await claims(queue, 2)
    await queue_of(database_url, "ben")
    assert [job.owner for job in first] == ["ann", "ann"]
    assert [job.owner for job in await claims(queue, 3)] == ["ben", "ann", "ann"]


async def test_owners_who_have_as_many_running_take_turns(queue: JobQueue, database_url: str) -> None:
    for owner in ("ann", "ben", "eve"):
        await queue_of(database_url, owner, 3)
    served: list[str] = []
    for _ in range(9):
        (job,) = await claims(queue, 1)
        served.append(job.owner)
        await queue.succeed(job)
    assert served == ["ann", "ben", "eve"] * 3


async def test_priority_orders_ones_own_jobs_only(store: JobStore, queue: JobQueue, database_url: str) -> None:
    low, normal, high, late = [
        await store.create(link().model_copy(update={"priority": priority}), owner)
        for priority, owner in (("low", "ben"), ("normal", "ann"), ("high", "ann"), ("normal", "ann"))
    ]
    assert [job.id for job in await claims(queue, 5)] == [low.id, high.id, normal.id, late.id]


async def test_job_waits_for_its_delay(store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = (await claim_of(queue, (await store.create(link(), LOCAL_OWNER)).id)).job
    assert await queue.retry(job, BUSY, 3600)
    assert await queue.claim_next() is None
    await execute(database_url, "UPDATE jobs SET due_at = now()")
    await claim_of(queue, job.id)


async def test_full_stage_lets_one_job_wait_in_front(store: JobStore, queue: JobQueue) -> None:
    await queue.set_capacity("separate", 1)
    for _ in range(4):
        await store.create(link(), LOCAL_OWNER)
    one, _two = await claims(queue, 4)
    # The separation of one is over: there is room for the next.
    await queue.record(one, Update("progress", {"stage": "separate"} | FINISHED))
    assert len(await claims(queue, 2)) == 1
    await queue.set_capacity("transcribe", 2)
    await queue.record(_two, Update("progress", {"stage": "separate"} | FINISHED))
    assert await claims(queue, 1) == [], "now the transcriber has all that it can take"
    await queue.set_capacity("transcribe", 0)
    assert len(await claims(queue, 2)) == 1, "0 is no limit"


async def test_capacity_that_was_not_renewed_is_no_limit(store: JobStore, queue: JobQueue, database_url: str) -> None:
    await queue.set_capacity("separate", 1)
    for _ in range(3):
        await store.create(link(), LOCAL_OWNER)
    assert len(await claims(queue, 3)) == 2
    await execute(database_url, "UPDATE stage_capacity SET reported_at = now() - interval '1 hour'")
    assert len(await claims(queue, 1)) == 1


async def test_job_that_goes_on_from_stems_needs_no_separator(store: JobStore, queue: JobQueue) -> None:
    job = (await claim_of(queue, (await store.create(link(), LOCAL_OWNER)).id)).job
    for name in ("vocals.flac", "instrumental.flac"):
        file = {"name": name, "key": f"separate/0/{name}", "media_type": "audio/flac", "size_bytes": 1, "sha256": "0"}
        await queue.record(job, Update("artifact", {"stage": "separate", "levels": None} | file))
    await queue.record(job, Update("progress", {"stage": "separate"} | FINISHED))
    await queue.retry(job, BUSY, 0)
    await queue.set_capacity("separate", 1)
    fresh = [await store.create(link(), LOCAL_OWNER) for _ in range(3)]
    assert [(await claim_of(queue, job.id)).job.attempt] == [2]
    assert [claimed.id for claimed in await claims(queue, 3)] == [fresh[0].id, fresh[1].id]


async def test_being_refused_is_no_failure_and_no_work(store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    for times in range(5):
        claim = await claim_of(queue, job.id)
        assert (claim.refusals, claim.worked_s, claim.job.failures) == (times, 0.0, 0)
        assert await queue.refused(claim.job, BUSY, 0)
    claim = await claim_of(queue, job.id)
    await execute(database_url, "UPDATE jobs SET attempt_at = now() - interval '50 s'")
    assert await queue.hand_back(claim.job)
    await execute(database_url, "UPDATE jobs SET started_at = now() - interval '1 hour'")
    claim = await claim_of(queue, job.id)
    assert claim.refusals == 0 and 50 <= claim.worked_s < 3000, "what it waited is not counted"


async def test_dispatchers_are_woken_by_what_becomes_due(store: JobStore, queue: JobQueue, database_url: str) -> None:
    async with Listener(QUEUE).running(database_url) as listener:
        with listener.waiting("") as woken:
            await asyncio.wait_for(woken.wait(), 60)
            woken.clear()
            job = await store.create(link(), LOCAL_OWNER)
            await asyncio.wait_for(woken.wait(), 60)
            woken.clear()
            claim = await claim_of(queue, job.id)
            await queue.hand_back(claim.job)
            await asyncio.wait_for(woken.wait(), 60)


async def test_nothing_is_notified_when_a_job_is_made(store: JobStore, database_url: str) -> None:
    """Commits that notify wait for each other; nobody watches a job yet that is just made."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as listening:
        await listening.execute("LISTEN singscript_events")
        job = await store.create(link(), LOCAL_OWNER)
        await execute(database_url, "NOTIFY singscript_events, 'later'")
        assert (await anext(listening.notifies())).payload == "later"
        await store.cancel(job.id, LOCAL_OWNER)
        assert (await anext(listening.notifies())).payload == str(job.id)


# -- any order


@dataclass
class Model:
    """What the rules say, in plain Python."""

    waiting: dict[UUID, Job] = field(default_factory=dict)
    running: dict[UUID, Job] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)

    def may_be_next(self, job: Job) -> bool:
        busy = Counter(one.owner for one in self.running.values())
        owners = {one.owner for one in self.waiting.values()}
        first_owner = min((busy[owner], self.turns.get(owner, -1)) for owner in owners)
        own = [
            (-("low", "normal", "high").index(j.request.priority), j.number)
            for j in self.waiting.values()
            if j.owner == job.owner
        ]
        mine = (-("low", "normal", "high").index(job.request.priority), job.number)
        return (busy[job.owner], self.turns.get(job.owner, -1)) == first_owner and mine == min(own)


STEPS = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(["ann", "ben", "eve"]), st.sampled_from(["low", "normal", "high"])),
    st.tuples(st.just("claim"), st.just(0), st.none()),
    st.tuples(st.sampled_from(["succeed", "hand_back", "cancel"]), st.integers(0, 9), st.none()),
)


def test_any_order_of_submissions_and_ends_is_fair(database_url: str) -> None:
    @settings(
        max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(st.lists(STEPS, min_size=10, max_size=40))
    def histories(steps: list[Any]) -> None:
        asyncio.run(_is_fair(database_url, steps))

    histories()


async def _is_fair(url: str, steps: list[Any]) -> None:
    async with make_pool(url) as pool:
        store, queue, model = JobStore(pool), JobQueue(pool), Model()
        await execute(url, "DELETE FROM jobs")
        for turn, (step, which, priority) in enumerate(steps):
            match step:
                case "submit":
                    job = await store.create(link().model_copy(update={"priority": priority}), which)
                    model.waiting[job.id] = job
                case "claim":
                    claim = await queue.claim_next()
                    assert (claim is not None) == bool(model.waiting)
                    if claim:
                        assert model.may_be_next(claim.job)
                        model.running[claim.job.id] = claim.job
                        model.turns[claim.job.owner] = turn
                        del model.waiting[claim.job.id]
                case "cancel" if model.waiting:
                    job = model.waiting.pop(sorted(model.waiting)[which % len(model.waiting)])
                    assert await store.cancel(job.id, job.owner)
                case "succeed" | "hand_back" if model.running:
                    job = model.running.pop(sorted(model.running)[which % len(model.running)])
                    assert await getattr(queue, step)(job)
                    if step == "hand_back":
                        model.waiting[job.id] = job


async def test_many_claimers_together_keep_every_rule(queue: JobQueue, database_url: str) -> None:
    await queue.set_capacity("separate", 7)
    for owner, count in (("ann", 40), ("ben", 3), ("eve", 1)):
        await queue_of(database_url, owner, count)
    async with make_pool(database_url) as other:
        queues = (queue, JobQueue(other))
        found = await asyncio.gather(*(queues[n % 2].claim_next() for n in range(20)))
    taken = Counter(claim.job.owner for claim in found if claim)
    assert taken == {"ann": 4, "ben": 3, "eve": 1}
    assert len({claim.job.id for claim in found if claim}) == 8


async def test_claim_judges_the_jobs_of_one_owner_however_many_wait(pool: Pool, database_url: str) -> None:
    for owner in ("ann", "ben", "eve"):
        await queue_of(database_url, owner, 3000)
    for number in range(100):
        await queue_of(database_url, f"one of many {number}", 1)
    await execute(database_url, "ANALYZE jobs")
    async with pool.connection() as connection:
        cursor = await connection.execute(
            b"EXPLAIN (ANALYZE, FORMAT json) " + SQL["next_job"],
            {"begins_at": ["download", "transcribe"], "shared": False},
        )
        (row,) = await cursor.fetchall()
    judged = _judged(row["QUERY PLAN"][0]["Plan"])
    assert judged and sum(judged) < 10, "far fewer than wait"


def _judged(plan: dict[str, Any]) -> list[float]:
    """How many jobs each part of the plan has asked whether another one does the same."""
    own = "same_work_under_way" in plan.get("Filter", "")
    rows = [(plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]] if own else []
    return rows + [n for part in plan.get("Plans", []) for n in _judged(part)]


async def test_cancelled_job_is_not_claimed(store: JobStore, queue: JobQueue) -> None:
    gone, next_one = await store.create(link(), LOCAL_OWNER), await store.create(link(), LOCAL_OWNER)
    await store.cancel(gone.id, LOCAL_OWNER)
    claim = await claim_of(queue, next_one.id)
    now = await store.get(gone.id, LOCAL_OWNER)
    assert now and now.state is JobState.CANCELLED and claim.job.state is JobState.RUNNING
