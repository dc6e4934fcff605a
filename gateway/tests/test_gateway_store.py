from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from gateway_testing import all_events, claim_of, execute, link, states

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Failure
from singscript_gateway.jobs.queue import Claim, JobQueue
from singscript_gateway.jobs.states import JobState, StageState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update

FAILURE = Failure(reason="UPSTREAM_UNAVAILABLE", message="The separator cannot be reached.", stage="separate")
FINISHED = {"done_s": 2.0, "total_s": 2.0, "finished": True, "done_bytes": None, "total_bytes": None}


async def new_claim(store: JobStore, queue: JobQueue) -> Claim:
    return await claim_of(queue, (await store.create(link(), LOCAL_OWNER)).id)


async def test_new_job_is_queued(store: JobStore) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    assert states(await all_events(store, job)) == ["queued"]


@pytest.mark.parametrize("how", ["fail", "cancelled"])
async def test_one_of_many_restarts_wins(store: JobStore, queue: JobQueue, database_url: str, how: str) -> None:
    job = (await new_claim(store, queue)).job
    await execute(database_url, f"UPDATE jobs SET failures = 1, cancel_requested = true WHERE id = '{job.id}'")
    assert await store.restart(job.id, LOCAL_OWNER) is None, "it is under way"
    await (queue.fail(job, FAILURE) if how == "fail" else queue.cancelled(job))
    won = [again for again in await asyncio.gather(*(store.restart(job.id, LOCAL_OWNER) for _ in range(8))) if again]
    assert [(a.state, a.failures, a.cancel_requested, a.started_at, a.finished_at) for a in won] == [
        (JobState.QUEUED, 0, False, None, None)
    ]
    # Who held the attempt before cannot end the job now, nor queue it once more.
    assert not await queue.fail(job, FAILURE) and not await queue.retry(job, FAILURE, 0)
    assert (await claim_of(queue, job.id)).job.attempt == 2


async def test_late_words_of_an_ended_attempt_do_not_queue_its_job_again(
    store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = (await new_claim(store, queue)).job
    assert await queue.fail(job, FAILURE)
    assert not await queue.retry(job, FAILURE, 0)
    assert not await queue.hand_back(job)
    assert not await queue.start_over(job, FAILURE)
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and now.state is JobState.FAILED


async def test_one_of_many_claims_wins(store: JobStore, queue: JobQueue, database_url: str) -> None:
    await store.create(link(), LOCAL_OWNER)
    claims = await asyncio.gather(*(queue.claim_next() for _ in range(8)))
    assert [claim.job.attempt for claim in claims if claim] == [1]


async def test_stages_follow_the_events(store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = (await new_claim(store, queue)).job
    await queue.record(job, Update("engine", {"stage": "separate", "engine": "demucs", "model": "m", "device": "cpu"}))
    stages, *_ = await store.details(job)
    assert [s.state for s in stages] == ["pending", "running", "pending", "pending"]
    await queue.record(job, Update("progress", {"stage": "separate"} | FINISHED))
    await queue.succeed(job)
    stages, *_ = await store.details(job)
    assert [s.state for s in stages] == ["skipped", "succeeded", "skipped", "skipped"]
    assert (stages[1].engine, stages[1].done_s) == ("demucs", 2.0)
    kinds = [(e.kind, e.data.get("state")) for e in await all_events(store, job)]
    assert kinds[2:6] == [("stage", "running"), ("engine", None), ("progress", None), ("stage", "succeeded")]
    assert kinds[-1] == ("state", "succeeded")


async def test_failure_names_its_stage(store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = (await new_claim(store, queue)).job
    await queue.fail(job, FAILURE)
    stages, *_ = await store.details(job)
    assert {s.stage: s.state for s in stages} == {
        "download": StageState.SKIPPED,
        "separate": StageState.FAILED,
        "transcribe": StageState.SKIPPED,
        "align": StageState.SKIPPED,
    }


async def test_failure_of_unknown_stage_is_that_of_the_first_unfinished(
    store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = (await new_claim(store, queue)).job
    await queue.record(job, Update("progress", {"stage": "download"} | FINISHED))
    await queue.fail(job, FAILURE.model_copy(update={"stage": None}))
    stages, *_ = await store.details(job)
    assert [s.state for s in stages] == ["succeeded", "failed", "skipped", "skipped"]


@pytest.mark.parametrize("write", ["record", "succeed", "fail", "retry", "cancelled", "hand_back"])
async def test_r21_zombie_writes_nothing(store: JobStore, queue: JobQueue, database_url: str, write: str) -> None:
    zombie = (await new_claim(store, queue)).job
    await queue.retry(zombie, FAILURE, 0)
    arguments = {
        "record": (Update("progress", {"stage": "align"} | FINISHED),),
        "fail": (FAILURE,),
        "retry": (FAILURE, 0),
    }.get(write, ())
    # Neither while the job waits for its next attempt, nor during that.
    assert await getattr(queue, write)(zombie, *arguments) is False
    alive = (await claim_of(queue, zombie.id)).job
    before = await all_events(store, alive)
    assert await getattr(queue, write)(zombie, *arguments) is False
    assert await all_events(store, alive) == before
    now = await store.get(alive.id, LOCAL_OWNER)
    assert now and (now.state, now.attempt) == (JobState.RUNNING, 2)
    assert await queue.succeed(alive) is True


async def test_artifact_of_a_fenced_attempt_is_not_visible(store: JobStore, queue: JobQueue, database_url: str) -> None:
    zombie = (await new_claim(store, queue)).job
    await queue.hand_back(zombie)
    file = {"name": "words.json", "key": "a/b", "media_type": "x/y", "size_bytes": 1, "sha256": "0", "levels": None}
    assert not await queue.record(zombie, Update("artifact", {"stage": "align"} | file))
    assert await store.artifacts(zombie.id, LOCAL_OWNER) == []


async def test_cancel_of_a_queued_job_is_final_and_frees_the_queue(
    store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    now = await store.cancel(job.id, LOCAL_OWNER)
    assert now and now.state is JobState.CANCELLED
    assert await queue.claim_next() is None
    assert states(await all_events(store, job)) == ["queued", "cancelled"]


async def test_lost_job_is_queued_again_and_dead_in_the_end(
    store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    for attempt in (1, 2, 3):
        assert (await claim_of(queue, job.id)).job.attempt == attempt
        assert await queue.take_over(60, 3) is None
        lost = await queue.take_over(0, 3)
        assert lost and lost.id == job.id
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and now.state is JobState.FAILED and now.problem and now.problem.reason == "CRASHED"
    events = await all_events(store, job)
    assert states(events) == ["queued", "running", "queued", "running", "queued", "running", "failed"]
    assert [e.data["reason"] for e in events if e.data.get("delay_s") == 0] == ["CRASHED", "CRASHED"]
    assert await queue.claim_next() is None


async def test_lost_job_that_was_to_be_cancelled_is(store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = (await new_claim(store, queue)).job
    await store.cancel(job.id, LOCAL_OWNER)
    await queue.take_over(0, 3)
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and now.state is JobState.CANCELLED


async def test_r21_own_attempt_is_not_taken_over_and_an_earlier_one_protects_nothing(
    store: JobStore, queue: JobQueue, database_url: str
) -> None:
    own = (await new_claim(store, queue)).job
    assert await queue.take_over(0, 3, own=[own]) is None
    await queue.hand_back(own)
    assert (await claim_of(queue, own.id)).job.attempt == 2
    lost = await queue.take_over(0, 3, own=[own])
    assert lost and (lost.id, lost.attempt) == (own.id, 2)


async def test_being_handed_back_is_no_failure(store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    for _ in range(5):
        await queue.hand_back((await claim_of(queue, job.id)).job)
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and (now.state, now.attempt, now.failures) == (JobState.QUEUED, 5, 0)


async def test_heartbeat_tells_which_jobs_are_still_ours(store: JobStore, queue: JobQueue, database_url: str) -> None:
    ours = (await new_claim(store, queue)).job
    lost = (await new_claim(store, queue)).job
    await queue.hand_back(lost)
    assert await queue.beat(uuid4(), [ours, lost]) == {(ours.id, 1)}
    assert await store.live_dispatchers(60) == 1


async def test_text_with_nul_does_not_break_the_job(store: JobStore, queue: JobQueue, database_url: str) -> None:
    job = (await new_claim(store, queue)).job
    assert await queue.record(job, Update("segment", {"text": "la\0la", "words": [{"text": "\0"}]}))
    event = (await all_events(store, job))[-1]
    assert event.data == {"text": "lala", "words": [{"text": ""}]}
