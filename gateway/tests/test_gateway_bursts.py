"""What comes faster than it is written is written together: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from gateway_testing import execute

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.dispatcher.bursts import bursts
from singscript_gateway.jobs.model import JobRequest
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.transaction import ObjectRemoved
from singscript_gateway.jobs.updates import Update

SPENT = {"engine": "openai", "model": "whisper-1", "audio_s": 1.0, "requests": 1, "cost_usd": 0.01}
TOKENS = {"input_tokens": 0, "output_tokens": 0}
FILE = {"key": "align/x/words.json", "media_type": "application/json", "size_bytes": 1, "sha256": "0" * 64}


def _progress(stage: str, done_s: float, *, finished: bool = False) -> Update:
    sizes = {"total_s": None, "done_bytes": None, "total_bytes": None}
    return Update("progress", {"stage": stage, "done_s": done_s, "finished": finished, **sizes})


def _usage(number: int) -> Update:
    return Update("usage", {"stage": "transcribe", "number": number, **SPENT, **TOKENS})


async def _numbers(count: int, error: Exception | None = None) -> AsyncIterator[int]:
    for number in range(count):
        yield number
    if error:
        raise error


@pytest.mark.parametrize("count", [0, 1, 7, 100])
async def test_all_items_come_once_and_in_order(count: int) -> None:
    taken: list[list[int]] = []
    async for burst in bursts(_numbers(count), most=10):
        taken.append(burst)
        await asyncio.sleep(0)

    assert [number for burst in taken for number in burst] == list(range(count))
    assert all(0 < len(burst) <= 10 for burst in taken)


async def test_what_comes_meanwhile_comes_together() -> None:
    sizes: list[int] = []
    async for burst in bursts(_numbers(50), most=100):
        sizes.append(len(burst))
        await asyncio.sleep(0.05)

    assert len(sizes) < 5


async def test_an_error_comes_after_all_that_was_before_it() -> None:
    taken: list[int] = []
    with pytest.raises(RuntimeError, match="broken"):
        async for burst in bursts(_numbers(25, RuntimeError("broken")), most=10):
            taken += burst
            await asyncio.sleep(0)

    assert taken == list(range(25))


async def test_who_stops_early_leaves_nothing_behind() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncGenerator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    source = endless()
    async with aclosing(source), aclosing(bursts(source, most=3)) as all_bursts:
        async for _ in all_bursts:
            break

    assert ended.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_burst_is_told_as_if_each_had_come_alone(store: JobStore, queue: JobQueue) -> None:
    said = (
        Update("engine", {"stage": "download", "engine": "yt-dlp", "model": "", "device": ""}),
        _progress("download", 1.0),
        _progress("download", 2.0, finished=True),
        Update("segment", {"index": 0, "text": "la", "words": []}),
        _usage(1),
        _progress("separate", 2.0, finished=True),
        Update("artifact", {"name": "words.json", "stage": "align", "levels": None, **FILE}),
    )

    async def told(*steps: tuple[Update, ...]) -> list[tuple[int, str, dict[str, Any]]]:
        await store.create(JobRequest(url=f"https://example.org/{len(steps)}.mp3"), LOCAL_OWNER)
        claim = await queue.claim_next()
        assert claim
        for updates in steps:
            assert await queue.record(claim.job, *updates)
        assert await queue.succeed(claim.job)
        return [(e.seq, e.kind, e.data) for e in await store.events_after(claim.job.id, LOCAL_OWNER, 0)]

    one_by_one = await told(*((update,) for update in said))

    assert await told(said) == one_by_one
    assert [number for number, _, _ in one_by_one] == list(range(1, len(one_by_one) + 1))


async def test_of_an_attempt_that_is_over_only_what_was_spent_is_written(store: JobStore, queue: JobQueue) -> None:
    await store.create(JobRequest(url="https://example.org/a.mp3"), LOCAL_OWNER)
    claim = await queue.claim_next()
    assert claim
    assert await queue.hand_back(claim.job)
    before = await store.events_after(claim.job.id, LOCAL_OWNER, 0)

    segment = Update("segment", {"index": 0, "text": "la", "words": []})
    assert not await queue.record(claim.job, segment, _usage(1), segment, _usage(2), _usage(2))

    assert await store.events_after(claim.job.id, LOCAL_OWNER, 0) == before
    assert [spent.requests for spent in await store.usage(LOCAL_OWNER, None, None)] == [2]


async def test_what_comes_before_a_file_that_is_gone_is_written(
    store: JobStore, queue: JobQueue, database_url: str
) -> None:
    await store.create(JobRequest(url="https://example.org/a.mp3"), LOCAL_OWNER)
    claim = await queue.claim_next()
    assert claim
    await execute(database_url, f"INSERT INTO unused_objects (key, removed_at) VALUES ('{FILE['key']}', now())")

    gone = Update("artifact", {"name": "words.json", "stage": "align", "levels": None, **FILE})
    with pytest.raises(ObjectRemoved):
        await queue.record(claim.job, _usage(1), gone, _usage(2))

    events = await store.events_after(claim.job.id, LOCAL_OWNER, 0)
    assert [event.kind for event in events if event.kind != "state"] == ["usage"]
