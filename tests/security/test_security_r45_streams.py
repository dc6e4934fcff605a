"""Many event streams, and readers that do not read, over real sockets (R45)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import httpx
import httpx_sse
import psutil
import pytest
from gateway_testing import (
    NOBODY,
    Processes,
    all_events,
    api_settings,
    claim_of,
    eventually,
    execute,
    free_address,
    is_up,
    link,
)

from singscript_gateway.api import server
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_storage import FolderStore

STREAMS = 200
MIB = 1024 * 1024


async def running(store: JobStore, queue: JobQueue) -> Job:
    job = await store.create(link(), LOCAL_OWNER)
    return (await claim_of(queue, job.id)).job


async def watched(client: httpx.AsyncClient, job: Job, open_: asyncio.Semaphore) -> list[int]:
    """The numbers of all events of a job, to the end of its stream; releases `open_` at the first."""
    seen: list[int] = []
    async with httpx_sse.aconnect_sse(client, "GET", f"/api/jobs/{job.id}/events") as source:
        assert source.response.headers["cache-control"] == "no-cache"
        assert source.response.headers["x-accel-buffering"] == "no"
        async for event in source.aiter_sse():
            if event.id and event.event != "message":
                if not seen:
                    open_.release()
                seen.append(int(event.id))
    return seen


async def test_r45_200_streams_share_one_listening_connection_and_few_others(
    processes: Processes, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await running(store, queue)
    address = free_address()
    processes.start(
        "api",
        SINGSCRIPT_LISTEN=address,
        SINGSCRIPT_ALIGNER=NOBODY,
        SINGSCRIPT_DATABASE_URL=f"{database_url}&application_name=replica",
    )
    limits = httpx.Limits(max_connections=STREAMS + 1)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60, trust_env=False, limits=limits) as client:
        await is_up(client)
        opened = asyncio.Semaphore(0)
        watching = [asyncio.create_task(watched(client, job, opened)) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await opened.acquire()
        most = 0
        for index in range(50):
            assert await queue.record(job, Update("segment", {"index": index, "text": "la", "words": []}))
            most = max(most, await connections(database_url, ""))
        assert await connections(database_url, "AND query LIKE 'LISTEN%'") == 1
        await queue.succeed(job)
        numbers = [event.seq for event in await all_events(store, job)]
        assert await asyncio.gather(*watching) == [numbers] * STREAMS
    assert 2 <= most <= 11, "the pool's ten, and the one that listens"


async def connections(database_url: str, which: str) -> int:
    rows = await execute(
        database_url, f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'replica' {which}"
    )
    return rows[0][0]


async def silent_reader(address: str, job: Job) -> asyncio.StreamWriter:
    """Asks for the events of a job, and takes none of them."""
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1)
    writer.write(f"GET /api/jobs/{job.id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await writer.drain()
    writer.transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]  (a socket's has it)
    return writer


async def test_r45_readers_that_do_not_read_take_no_memory(
    processes: Processes, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    """40 of them, 20 MiB of events for each."""
    job = await running(store, queue)
    await execute(
        database_url,
        f"INSERT INTO job_events (job_id, seq, attempt, kind, data) SELECT '{job.id}', 100 + n, 1, 'segment', "
        "jsonb_build_object('text', repeat('la ', 1400)) FROM generate_series(1, 5000) n",
    )
    address = free_address()
    replica = processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60, trust_env=False) as client:
        await is_up(client)
        before = psutil.Process(replica.pid).memory_info().rss
        writers = [await silent_reader(address, job) for _ in range(40)]
        most = 0
        for _ in range(30):
            await asyncio.sleep(0.1)
            most = max(most, psutil.Process(replica.pid).memory_info().rss)
        assert (await client.get("/healthz")).status_code == 200
        for writer in writers:
            writer.transport.abort()
    assert most - before < 150 * MIB, "of 800 MiB"


async def test_a_reader_that_takes_nothing_is_let_go(
    database_url: str,
    objects: FolderStore,
    store: JobStore,
    queue: JobQueue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "READER_WAIT_S", 0.5)
    job = await running(store, queue)
    file = tmp_path / "file"
    file.write_bytes(bytes(64 * MIB))
    stored = objects.put("separate/x/vocals.wav", file, "audio/wav")
    await queue.record(
        job,
        Update(
            "artifact",
            {"stage": "separate", "name": "vocals.wav", "key": stored.key, "media_type": "audio/wav", "levels": None}
            | {"size_bytes": stored.size_bytes, "sha256": stored.sha256},
        ),
    )
    address = free_address()
    one = server.make_server(api_settings(database_url, listen=address), objects)
    serving = asyncio.create_task(one.serve())
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
        await is_up(client)
        async with client.stream("GET", f"/api/jobs/{job.id}/artifacts/vocals.wav") as answer:
            assert answer.status_code == 200

            async def let_go() -> bool:
                return not one.server_state.connections

            await eventually(let_go, "the connection is closed")
            with contextlib.suppress(httpx.TransportError):
                assert len(await answer.aread()) < 64 * MIB
                raise AssertionError("the whole file came")
        assert (await client.get("/healthz")).status_code == 200
    one.should_exit = True
    await serving
