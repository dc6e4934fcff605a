"""Random histories of jobs against real Postgres: whatever happens in which order, some things always hold."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar
from uuid import UUID

from gateway_testing import execute, link
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test
from psycopg.rows import DictRow

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.database import make_pool
from singscript_gateway.jobs.model import Event, Failure, Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.states import JOB_STEPS, JobState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update

T = TypeVar("T")
Priority = Literal["low", "normal", "high"]
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high")
FAILURE = Failure(reason="BUSY", message="Busy.")
FINISHED = {"done_s": 1.0, "total_s": 1.0, "finished": True, "done_bytes": None, "total_bytes": None}
ENDINGS: dict[str, tuple[Any, ...]] = {
    "succeed": (),
    "fail": (FAILURE,),
    "retry": (FAILURE, 0.0),
    "refused": (FAILURE, 0.0),
    "hand_back": (),
    "cancelled": (),
}


class Histories(RuleBasedStateMachine):
    """Submits, claims, writes, ends, cancels, deletes and takes over, also by those whose attempt is long over."""

    jobs: Bundle[UUID] = Bundle("jobs")
    claims: Bundle[Job] = Bundle("claims")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.pool = make_pool(url)
        self.run(self.pool.open())
        self.store = JobStore(self.pool)
        self.queue = JobQueue(self.pool)
        self.run(execute(url, "DELETE FROM jobs; DELETE FROM usage"))
        # As they were after the step before; those that were deleted are gone.
        self.last: dict[UUID, Job] = {}
        self.reports = 0

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(doing)

    def teardown(self) -> None:
        self.run(self.pool.close())
        self.runner.close()

    def rows(self, statement: str) -> list[DictRow]:
        async def read() -> list[DictRow]:
            async with self.pool.connection() as connection:
                return await (await connection.execute(statement.encode())).fetchall()

        return self.run(read())

    def is_current(self, claim: Job) -> bool:
        now = self.last.get(claim.id)
        return now is not None and now.state is JobState.RUNNING and now.attempt == claim.attempt

    @rule(target=jobs, priority=st.sampled_from(PRIORITIES))
    def submit(self, priority: Priority) -> UUID:
        job = self.run(self.store.create(link().model_copy(update={"priority": priority}), LOCAL_OWNER))
        self.last[job.id] = job
        return job.id

    @rule(target=claims)
    def claim(self) -> Any:
        waiting = [job for job in self.last.values() if job.state is JobState.QUEUED]
        first = min(waiting, key=lambda job: (-PRIORITIES.index(job.request.priority), job.number), default=None)
        claim = self.run(self.queue.claim_next())
        assert (claim and claim.job.id) == (first and first.id)
        return multiple(claim.job) if claim else multiple()

    @rule(claim=claims, kind=st.sampled_from(["progress", "engine", "artifact"]))
    def write(self, claim: Job, kind: str) -> None:
        data: dict[str, Any] = {
            "progress": FINISHED,
            "engine": {"engine": "e", "model": "", "device": "cpu"},
            "artifact": {
                "name": "a",
                "key": f"k/{claim.id}/{claim.attempt}",
                "media_type": "x/y",
                "size_bytes": 1,
                "sha256": "0",
                "levels": None,
            },
        }[kind]
        expected = self.is_current(claim)
        assert self.run(self.queue.record(claim, Update(kind, {"stage": "separate"} | data))) == expected

    @rule(claim=claims, repeated=st.booleans())
    def spend(self, claim: Job, repeated: bool) -> None:
        """Spend counts whoever reports it; a report whose answer was lost is written again, and counts once."""
        self.reports += 1
        usage = {"engine": "e", "model": "m", "audio_s": 1.0, "requests": 1, "input_tokens": 0, "output_tokens": 0}
        update = Update("usage", {"stage": "transcribe", "number": self.reports, "cost_usd": 0.5} | usage)
        expected = self.is_current(claim)
        for _ in range(1 + repeated):
            assert self.run(self.queue.record(claim, update)) == expected

    @rule(claim=claims, how=st.sampled_from(sorted(ENDINGS)))
    def end(self, claim: Job, how: str) -> None:
        expected = self.is_current(claim)
        assert self.run(getattr(self.queue, how)(claim, *ENDINGS[how])) == expected

    @rule(job_id=jobs)
    def cancel(self, job_id: UUID) -> None:
        before = self.last.get(job_id)
        after = self.run(self.store.cancel(job_id, LOCAL_OWNER))
        queued = before and before.state is JobState.QUEUED
        assert (after and after.state) == (JobState.CANCELLED if queued else before and before.state)

    @rule(job_id=jobs)
    def restart(self, job_id: UUID) -> None:
        before = self.last.get(job_id)
        after = self.run(self.store.restart(job_id, LOCAL_OWNER))
        assert (after is not None) == (before is not None and before.state in (JobState.FAILED, JobState.CANCELLED))
        if after:
            self.last[job_id] = after

    @rule(job_id=jobs)
    def delete(self, job_id: UUID) -> None:
        before = self.last.get(job_id)
        assert self.run(self.store.delete(job_id, LOCAL_OWNER)) == before
        if before and before.state.final:
            del self.last[job_id]

    @rule()
    def sweep(self) -> None:
        self.run(self.queue.take_over(0.0, 3))

    @invariant()
    def the_promises_hold(self) -> None:
        now = {row["id"]: Job.model_validate(row) for row in self.rows("SELECT * FROM jobs")}
        assert now.keys() == self.last.keys()
        for job_id, job in now.items():
            self.follows_the_drawing(self.last[job_id], job)
        self.last = now
        events: dict[UUID, list[Event]] = {job_id: [] for job_id in now}
        for row in self.rows("SELECT * FROM job_events ORDER BY seq"):
            events[row["job_id"]].append(Event.model_validate(row))
        for job_id, told in events.items():
            self.is_gapless_and_tells_the_same_story(now[job_id], told)
        for row in self.rows("SELECT job_id, key FROM artifacts"):
            assert row["key"] in [e.data["key"] for e in events[row["job_id"]] if e.kind == "artifact"]
        # Every report of spend counts once, also of what was deleted.
        assert self.rows("SELECT COALESCE(sum(requests), 0) AS requests FROM usage") == [{"requests": self.reports}]
        numbers = [event.data["number"] for told in events.values() for event in told if event.kind == "usage"]
        assert len(numbers) == len(set(numbers))

    def follows_the_drawing(self, before: Job, now: Job) -> None:
        """One rule makes at most one step."""
        if before.state.final:
            assert now == before
        elif now.state is not before.state:
            assert now.state in JOB_STEPS[before.state]
        assert now.attempt >= before.attempt and now.failures <= 3

    def is_gapless_and_tells_the_same_story(self, job: Job, events: list[Event]) -> None:
        assert [event.seq for event in events] == list(range(1, job.last_seq + 1))
        told = [JobState(event.data["state"]) for event in events if event.kind == "state"]
        assert told[-1] is job.state
        assert all(after in JOB_STEPS[before] for before, after in itertools.pairwise(told))
        attempts = [event.attempt for event in events]
        assert attempts == sorted(attempts)


def test_every_history_keeps_the_promises(database_url: str) -> None:
    class Here(Histories):
        def __init__(self) -> None:
            super().__init__(database_url)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            # A history of real transactions is too slow to shrink.
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
