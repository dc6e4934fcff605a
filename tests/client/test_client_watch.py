"""Events, through retries, cuts and deaths of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from uuid import uuid4

import httpx
import pytest
from faulty_proxy import FaultyProxy
from gateway_testing import NOBODY, Processes, all_events, claim_of, execute, free_address, is_up, link

from singscript_client import Client, Event, NotFound, Unreachable
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs import actions
from singscript_gateway.jobs.model import Failure, Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update

FAILURE = Failure(reason="TOO_LONG", message="Too long.", stage="download", input_at_fault=True)


async def running(store: JobStore, queue: JobQueue) -> Job:
    job = await store.create(link(), LOCAL_OWNER)
    return (await claim_of(queue, job.id)).job


async def sing(queue: JobQueue, job: Job, count: int) -> None:
    for index in range(count):
        assert await queue.record(job, Update("segment", {"index": index, "text": "la", "words": []}))


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


async def numbers(store: JobStore, job: Job) -> list[int]:
    return [event.seq for event in await all_events(store, job)]


async def watched(client: Client, job: Job, told: Callable[[Event], None] = lambda _: None) -> list[Event]:
    """All events, each of which is told when it comes."""

    def watch() -> list[Event]:
        seen: list[Event] = []
        for event in client.jobs.watch(str(job.id)):
            seen.append(event)
            told(event)
        return seen

    return await asyncio.to_thread(watch)


async def test_a_retry_that_lies_in_the_past_is_no_end(client: Client, store: JobStore, queue: JobQueue) -> None:
    """The list of events holds a final state that is not the last one."""
    job = await running(store, queue)
    await queue.fail(job, FAILURE)
    failed = await store.get(job.id, LOCAL_OWNER)
    assert failed
    await actions.retry(store, failed)
    claim = await claim_of(queue, job.id)
    await queue.succeed(claim.job)
    seen = await watched(client, job)
    assert [event.number for event in seen] == await numbers(store, job)
    assert [e.data["state"] for e in seen if e.final] == ["failed", "succeeded"]


async def test_whoever_retries_sees_what_follows(client: Client, store: JobStore, queue: JobQueue) -> None:
    job = await running(store, queue)
    await sing(queue, job, 3)
    await queue.fail(job, FAILURE)
    loop, retried = asyncio.get_running_loop(), asyncio.Event()

    def retry_once(event: Event) -> None:
        if event.final and not retried.is_set():
            assert client.jobs.retry(str(job.id)).state == "queued"
            loop.call_soon_threadsafe(retried.set)

    watching = asyncio.create_task(watched(client, job, retry_once))
    await retried.wait()
    claim = await claim_of(queue, job.id)
    await sing(queue, claim.job, 3)
    await queue.succeed(claim.job)
    seen = await watching
    assert [event.number for event in seen] == await numbers(store, job)
    assert seen[-1].data["state"] == "succeeded"


async def test_nothing_is_missing_or_repeated_after_cuts(address: str, store: JobStore, queue: JobQueue) -> None:
    job = await running(store, queue)
    with FaultyProxy(host_and_port(address)) as proxy, Client(f"http://{proxy.address}") as client:
        cut_at = {5, 6, 20, 41}

        def cut(event: Event) -> None:
            if event.number in cut_at:
                proxy.cut()
                proxy.mend()

        watching = asyncio.create_task(watched(client, job, cut))
        await sing(queue, job, 60)
        await queue.succeed(job)
        seen = await watching
    assert [event.number for event in seen] == await numbers(store, job)


async def test_an_api_that_is_killed_and_comes_back(processes: Processes, store: JobStore, queue: JobQueue) -> None:
    address = free_address()
    settings = {"SINGSCRIPT_LISTEN": address, "SINGSCRIPT_ALIGNER": NOBODY}
    job = await running(store, queue)
    first = processes.start("api", **settings)
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
        await is_up(http)
    loop = asyncio.get_running_loop()
    died = asyncio.Event()

    def kill(event: Event) -> None:
        if event.number == 10 and not died.is_set():
            first.kill()
            first.wait(10)
            loop.call_soon_threadsafe(died.set)

    with Client(f"http://{address}", patience_s=100) as client:
        watching = asyncio.create_task(watched(client, job, kill))
        await sing(queue, job, 20)
        await died.wait()
        await sing(queue, job, 20)
        await queue.succeed(job)
        processes.start("api", **settings)
        seen = await watching
    assert [event.number for event in seen] == await numbers(store, job)


async def test_a_gateway_that_stays_away_is_told(
    processes: Processes, store: JobStore, queue: JobQueue, mortal: str
) -> None:
    job = await running(store, queue)
    with Client(f"http://{mortal}", patience_s=0.5) as client:

        def kill(event: Event) -> None:
            processes.running[0].kill()

        with pytest.raises(Unreachable) as told:
            await watched(client, job, kill)
    assert told.value.reason == "GATEWAY_UNREACHABLE" and mortal in told.value.detail


async def test_what_was_told_to_its_end_is_no_failure(
    processes: Processes, store: JobStore, queue: JobQueue, mortal: str
) -> None:
    """The gateway goes away just after the job's end: whoever watched has seen all of it."""
    job = await running(store, queue)
    await queue.succeed(job)
    with Client(f"http://{mortal}", patience_s=0.5) as client:

        def kill(event: Event) -> None:
            if event.final:
                processes.running[0].kill()

        seen = await watched(client, job, kill)
    assert [event.number for event in seen] == await numbers(store, job)


async def test_from_an_event_on_and_no_further(client: Client, store: JobStore, queue: JobQueue) -> None:
    job = await running(store, queue)
    await sing(queue, job, 5)

    def some() -> list[int]:
        with closing(client.jobs.watch(str(job.id), after=3)) as events:  # pyright: ignore[reportArgumentType]  (a generator)
            return [next(events).number for _ in range(2)]

    assert await asyncio.to_thread(some) == [4, 5]
    await queue.succeed(job)
    last = (await numbers(store, job))[-1]
    assert await asyncio.to_thread(lambda: list(client.jobs.watch(str(job.id), after=last))) == []


async def test_texts_come_as_they_are(client: Client, store: JobStore, queue: JobQueue) -> None:
    """Not all that ends a line elsewhere ends one of an event."""
    text = "Zoë\u2028la\x85la\x0b\r\nla\r"
    job = await running(store, queue)
    await queue.record(job, Update("segment", {"index": 0, "text": text, "words": []}))
    await queue.succeed(job)
    seen = await watched(client, job)
    assert [event.data["text"] for event in seen if event.kind == "segment"] == [text]


async def test_a_job_that_is_not_there_or_no_more(
    client: Client, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    with pytest.raises(NotFound):
        await asyncio.to_thread(lambda: list(client.jobs.watch(str(uuid4()))))
    job = await running(store, queue)
    await queue.succeed(job)
    seen: list[Event] = []

    def watch() -> None:
        for event in client.jobs.watch(str(job.id)):
            seen.append(event)
            if event.final:
                client.jobs.delete(str(job.id))

    await asyncio.to_thread(watch)
    assert seen[-1].final
    assert await execute(database_url, "SELECT id FROM jobs") == []
