"""Random histories of jobs against real Postgres: whatever happens in which order, some things always hold."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from uuid import UUID

from gateway_testing import execute, link
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from singscript_gateway.database import make_pool
from singscript_gateway.jobs.model import LOCAL_OWNER, Event, Failure, Job
from singscript_gateway.jobs.queue import make_queue
from singscript_gateway.jobs.states import JOB_STEPS, JobState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update

FAILURE = Failure(reason="BUSY", message="Busy.")
FINISHED = {"done_s": 1.0, "total_s": 1.0, "finished": True, "done_bytes": None, "total_bytes": None}
ENDINGS: dict[str, tuple[Any, ...]] = {
    "succeed": (),
    "fail": (FAILURE,),
    "retry": (FAILURE, 0.0),
    "hand_back": (),
    "cancelled": (),
}


class Histories(RuleBasedStateMachine):
    """Submits, claims, writes, ends, cancels and takes over, also by those whose attempt is long over."""

    jobs: Bundle[UUID] = Bundle("jobs")
    claims: Bundle[Job] = Bundle("claims")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.runner = asyncio.Runner()
        self.pool = make_pool(url)
        self.runner.run(self.pool.open())
        self.store = JobStore(self.pool, make_queue())
        self.runner.run(execute(url, "DELETE FROM jobs; DELETE FROM usage; DELETE FROM procrastinate_jobs"))
        self.last: dict[UUID, Job] = {}
        self.reports = 0

    def teardown(self) -> None:
        self.runner.run(self.pool.close())
        self.runner.close()

    def current(self, job_id: UUID) -> Job:
        job = self.runner.run(self.store.get(job_id))
        assert job
        return job

    async def events(self, job_id: UUID) -> list[Event]:
        return await self.store.events_after(job_id, 0, 10_000)

    def is_current(self, claim: Job) -> bool:
        now = self.current(claim.id)
        return now.state is JobState.RUNNING and now.attempt == claim.attempt

    @rule(target=jobs)
    def submit(self) -> UUID:
        job = self.runner.run(self.store.create(link()))
        self.last[job.id] = job
        return job.id

    @rule(target=claims, job_id=jobs, wrong_task=st.booleans())
    def claim(self, job_id: UUID, wrong_task: bool) -> Any:
        task = self.runner.run(execute(self.url, f"SELECT task_id FROM jobs WHERE id = '{job_id}'"))[0][0]
        before = self.current(job_id)
        claim = self.runner.run(self.store.claim(job_id, task + 1000 if wrong_task else task or 0))
        assert (claim is not None) == (before.state is JobState.QUEUED and not wrong_task)
        return multiple(claim.job) if claim else multiple()

    @rule(claim=claims, kind=st.sampled_from(["progress", "engine", "artifact"]))
    def write(self, claim: Job, kind: str) -> None:
        data: dict[str, Any] = {
            "progress": FINISHED,
            "engine": {"engine": "e", "model": "", "device": "cpu"},
            "artifact": {
                "name": "a",
                "key": f"k/{claim.attempt}",
                "media_type": "x/y",
                "size_bytes": 1,
                "sha256": "0",
                "levels": None,
            },
        }[kind]
        expected = self.is_current(claim)
        assert self.runner.run(self.store.record(claim, Update(kind, {"stage": "separate"} | data))) == expected

    @rule(claim=claims, repeated=st.booleans())
    def spend(self, claim: Job, repeated: bool) -> None:
        """Spend counts whoever reports it; a report whose answer was lost is written again, and counts once."""
        self.reports += 1
        usage = {"engine": "e", "model": "m", "audio_s": 1.0, "requests": 1, "input_tokens": 0, "output_tokens": 0}
        update = Update("usage", {"stage": "transcribe", "number": self.reports, "cost_usd": 0.5} | usage)
        expected = self.is_current(claim)
        for _ in range(1 + repeated):
            assert self.runner.run(self.store.record(claim, update)) == expected

    @rule(claim=claims, how=st.sampled_from(sorted(ENDINGS)))
    def end(self, claim: Job, how: str) -> None:
        expected = self.is_current(claim)
        assert self.runner.run(getattr(self.store, how)(claim, *ENDINGS[how])) == expected

    @rule(job_id=jobs)
    def cancel(self, job_id: UUID) -> None:
        before = self.current(job_id)
        after = self.runner.run(self.store.cancel(job_id))
        assert after and after.state is (JobState.CANCELLED if before.state is JobState.QUEUED else before.state)

    @rule(job_id=jobs)
    def restart(self, job_id: UUID) -> None:
        before = self.current(job_id)
        after = self.runner.run(self.store.restart(job_id))
        assert (after is not None) == (before.state in (JobState.FAILED, JobState.CANCELLED))
        if after:
            self.last[job_id] = after

    @rule()
    def sweep(self) -> None:
        self.runner.run(self.store.take_over(0.0, 3))

    @invariant()
    def states_follow_the_drawing(self) -> None:
        for job_id, before in self.last.items():
            now = self.current(job_id)
            if before.state.final:
                assert now == before
            elif now.state is not before.state:
                # One rule makes at most one step.
                assert now.state in JOB_STEPS[before.state]
            assert now.attempt >= before.attempt and now.failures <= 3
            self.last[job_id] = now

    @invariant()
    def events_are_gapless_and_tell_the_same_story(self) -> None:
        for job_id in self.last:
            job = self.current(job_id)
            events = self.runner.run(self.events(job_id))
            assert [event.seq for event in events] == list(range(1, job.last_seq + 1))
            told = [JobState(event.data["state"]) for event in events if event.kind == "state"]
            assert told[-1] is job.state
            assert all(after in JOB_STEPS[before] for before, after in itertools.pairwise(told))
            attempts = [event.attempt for event in events]
            assert attempts == sorted(attempts)

    @invariant()
    def who_waits_has_a_task_and_who_ended_has_none(self) -> None:
        todo = "SELECT args->>'job_id' FROM procrastinate_jobs WHERE status = 'todo'"
        rows = self.runner.run(execute(self.url, f"SELECT id::text, state, id::text IN ({todo}) FROM jobs"))
        assert all(has_task for _, state, has_task in rows if state == JobState.QUEUED)

    @invariant()
    def every_report_of_spend_counts_once(self) -> None:
        spent = self.runner.run(self.store.usage(LOCAL_OWNER, None, None))
        assert sum(one.requests for one in spent) == self.reports
        told = [e.data["number"] for i in self.last for e in self.runner.run(self.events(i)) if e.kind == "usage"]
        assert len(told) == len(set(told))

    @invariant()
    def artifacts_are_of_attempts_that_announced_them(self) -> None:
        for job_id in self.last:
            announced = {
                event.data["key"] for event in self.runner.run(self.events(job_id)) if event.kind == "artifact"
            }
            assert {a.key for a in self.runner.run(self.store.artifacts(job_id))} <= announced


def test_every_history_keeps_the_promises(database_url: str) -> None:
    class Here(Histories):
        def __init__(self) -> None:
            super().__init__(database_url)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            # A history of real transactions is too slow to shrink.
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
