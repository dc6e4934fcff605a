"""Server-sent events over a real socket, from real API processes."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import httpx_sse
import pytest
from gateway_testing import (
    NOBODY,
    SHOWN_LEVELS,
    WORDS,
    Processes,
    all_events,
    claim_of,
    execute,
    free_address,
    is_up,
    link,
    serving,
    whole_song,
)
from singscript.aligner.v1 import aligner_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_gateway.api.shapes import event_data
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Event, Failure, Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update, read
from singscript_serving.events import duration
from singscript_storage import FolderStore


async def running(store: JobStore, queue: JobQueue, database_url: str) -> Job:
    job = await store.create(link(), LOCAL_OWNER)
    claim = await claim_of(queue, job.id)
    return claim.job


async def sing(queue: JobQueue, job: Job, count: int) -> None:
    for index in range(count):
        assert await queue.record(job, Update("segment", {"index": index, "text": "la", "words": []}))


async def watch(
    client: httpx.AsyncClient, job: Job, after: int | None = None, count: int | None = None
) -> list[httpx_sse.ServerSentEvent]:
    """The events after `after`: `count` of them, then the client hangs up; or all to the end of the stream."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    seen: list[httpx_sse.ServerSentEvent] = []
    async with asyncio.timeout(90):
        async with httpx_sse.aconnect_sse(client, "GET", f"/api/jobs/{job.id}/events", headers=headers) as source:
            async for event in source.aiter_sse():
                if event.id and event.event != "message":
                    seen.append(event)
                if len(seen) == count:
                    break
    return seen


async def test_r45_resumed_stream_has_no_gap_and_no_duplicate(
    api: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await running(store, queue, database_url)
    singing = asyncio.create_task(sing(queue, job, 60))
    seen: list[int] = []
    while len(seen) < 40:
        part = await watch(api, job, seen[-1] if seen else None, count=7)
        seen += [int(event.id) for event in part]
    await singing
    await queue.succeed(job)
    rest = await watch(api, job, seen[-1])
    seen += [int(event.id) for event in rest]
    assert seen == [event.seq for event in await all_events(store, job)]
    assert json.loads(rest[-1].data)["state"] == "succeeded"


async def test_r45_another_replica_goes_on_where_a_killed_one_was(
    processes: Processes, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await running(store, queue, database_url)
    addresses = [free_address() for _ in range(2)]
    replicas = [processes.start("api", SINGSCRIPT_ALIGNER=NOBODY, SINGSCRIPT_LISTEN=address) for address in addresses]
    async with (
        httpx.AsyncClient(base_url=f"http://{addresses[0]}", timeout=30, trust_env=False) as first,
        httpx.AsyncClient(base_url=f"http://{addresses[1]}", timeout=30, trust_env=False) as second,
    ):
        await is_up(first)
        await is_up(second)
        await sing(queue, job, 5)
        seen: list[int] = []
        with pytest.raises(httpx.TransportError):
            async with httpx_sse.aconnect_sse(first, "GET", f"/api/jobs/{job.id}/events") as source:
                async for event in source.aiter_sse():
                    if event.id:
                        seen.append(int(event.id))
                    if len(seen) == 4:
                        replicas[0].kill()
        await sing(queue, job, 5)
        await queue.succeed(job)
        seen += [int(event.id) for event in await watch(second, job, seen[-1])]
    assert seen == [event.seq for event in await all_events(store, job)]


async def test_events_come_also_when_notifications_do_not(
    api: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    await execute(database_url, "DROP TRIGGER job_events_announced ON job_events")
    job = await running(store, queue, database_url)
    watching = asyncio.create_task(watch(api, job))
    await sing(queue, job, 3)
    await queue.succeed(job)
    assert [int(event.id) for event in await watching] == [event.seq for event in await all_events(store, job)]


async def test_events_come_also_after_the_database_crashed(
    api: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await running(store, queue, database_url)
    watching = asyncio.create_task(watch(api, job))
    await watch(api, job, count=2)
    await execute(database_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    await sing(queue, job, 3)
    await queue.succeed(job)
    assert [int(event.id) for event in await watching] == [event.seq for event in await all_events(store, job)]


async def test_ended_job_sends_its_events_and_then_nothing(
    api: httpx.AsyncClient, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await running(store, queue, database_url)
    await queue.fail(job, Failure(reason="TOO_LONG", message="Too long.", stage="download", input_at_fault=True))
    events = await watch(api, job)
    problem = json.loads(events[-1].data)["problem"]
    assert (problem["reason"], problem["status"], problem["stage"]) == ("TOO_LONG", 422, "download")
    response = await api.get(f"/api/jobs/{job.id}/events", headers={"Last-Event-ID": events[-1].id})
    assert (response.status_code, response.content) == (204, b"")
    after = await api.get(f"/api/jobs/{job.id}/events", params={"after": int(events[-1].id) - 1})
    assert after.text.count("event: ") == 1


async def test_silent_stream_is_kept_open_and_ends_with_the_process(
    processes: Processes, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    job = await running(store, queue, database_url)
    address = free_address()
    replica = processes.start(
        "api", SINGSCRIPT_ALIGNER=NOBODY, SINGSCRIPT_LISTEN=address, SINGSCRIPT_SSE_HEARTBEAT_S="0.2"
    )
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
        await is_up(client)
        beats = 0
        async with client.stream("GET", f"/api/jobs/{job.id}/events") as response:
            async for text in response.aiter_lines():
                beats += text.startswith(": heartbeat")
                if beats == 3:
                    replica.send_signal(signal.SIGTERM)
    assert beats >= 3
    assert await asyncio.to_thread(replica.wait, 20) == 0


def test_what_the_aligner_found_besides_lines_is_told() -> None:
    dropped = transcriber_pb2.Dropped(start=duration(1), end=duration(2.5), text="Thanks.", reason="PHANTOM")
    assert read(aligner_pb2.AlignResponse(dropped=dropped)) == Update(
        "dropped",
        {
            "start_s": 1.0,
            "end_s": 2.5,
            "text": "Thanks.",
            "reason": "PHANTOM",
            "language": "",
            "engine": "",
            "model": "",
        },
    )
    found = {"source": "lrclib", "url": "u", "artist": "a", "title": "t", "synced": True, "text": "la"}
    assert read(aligner_pb2.AlignResponse(lyrics=aligner_pb2.LyricsFound(**found))) == Update("lyrics", found)
    unsung = aligner_pb2.Unmatched(unsung=aligner_pb2.Unsung(lyrics_line=0, text="la"))
    assert read(aligner_pb2.AlignResponse(unmatched=unsung)) == Update(
        "unmatched", {"what": "unsung", "lyrics_line": 0, "text": "la"}
    )
    unlisted = aligner_pb2.Unlisted(text="oh", start=duration(1), end=duration(2))
    assert read(aligner_pb2.AlignResponse(unmatched=aligner_pb2.Unmatched(unlisted=unlisted))) == Update(
        "unmatched", {"what": "unlisted", "start_s": 1.0, "end_s": 2.0, "text": "oh"}
    )
    assert read(aligner_pb2.AlignResponse(unmatched=aligner_pb2.Unmatched())) is None
    for number in (None, 0):
        line = read(aligner_pb2.AlignResponse(line=aligner_pb2.Line(lyrics_line=number)))
        assert line and line.data["lyrics_line"] == number


def test_a_file_that_was_announced_before_there_were_levels_has_none() -> None:
    event = Event(seq=1, attempt=1, kind="artifact", data={"name": "a", "key": "b/a"}, at=datetime.now(UTC))
    assert event_data(uuid4(), event)["levels"] is None


async def test_from_upload_to_words_with_real_processes(
    api: httpx.AsyncClient, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    async with serving(whole_song(objects, tmp_path)) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        response = await api.post("/api/jobs", files={"file": ("song.mp3", b"x" * 2_000_000)}, data={"lyrics": "hello"})
        job = response.json()
        events: list[dict[str, Any]] = []
        async with httpx_sse.aconnect_sse(api, "GET", f"/api/jobs/{job['id']}/events") as source:
            async for event in source.aiter_sse():
                if event.id:
                    events.append({"kind": event.event} | json.loads(event.data))
    assert events[-1]["state"] == "succeeded"
    key = aligner.requests[0].config.transcribe.separate.download.object.key
    with objects.open(key) as reader:
        assert b"".join(reader) == b"x" * 2_000_000
    line = next(event for event in events if event["kind"] == "line")
    heard = next(event for event in events if event["kind"] == "segment")
    assert heard["confidence"] == 0.75
    spent = next(event for event in events if event["kind"] == "usage")
    assert spent | {"at": ""} == {
        "kind": "usage",
        "at": "",
        "attempt": 1,
        "stage": "transcribe",
        "engine": "openai",
        "model": "whisper-1",
        "audio_s": 60.0,
        "requests": 1,
        "input_tokens": 0,
        "output_tokens": 7,
        "cost_usd": 0.006,
    }
    assert line["words"] == [{"text": "hello", "start_s": 0.1, "end_s": 0.5, "confidence": None, "timing": "acoustic"}]
    vocals, words = (event for event in events if event["kind"] == "artifact")
    assert (await api.get(words["url"])).content == WORDS and "key" not in words
    assert (vocals["levels"], words["levels"]) == (SHOWN_LEVELS, None)
    result = (await api.get(f"/api/jobs/{job['id']}/result")).json()
    assert [a["levels"] for a in result["artifacts"]] == [SHOWN_LEVELS, None]
    assert result["words"] == json.loads(WORDS)
    assert (await api.get("/readyz")).json()["ready"] is True


async def test_refusal_of_a_large_upload_reaches_the_sender(processes: Processes, objects: FolderStore) -> None:
    address = free_address()
    processes.start("api", SINGSCRIPT_ALIGNER=NOBODY, SINGSCRIPT_LISTEN=address, SINGSCRIPT_MAX_UPLOAD_BYTES="1000000")

    async def endless() -> AsyncIterator[bytes]:
        yield b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
        for _ in range(1000):
            yield b"x" * 100_000

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
        await is_up(client)
        response = await client.post("/api/jobs", content=endless(), headers=headers)
        assert (response.status_code, response.json()["reason"]) == (413, "TOO_LARGE")
        assert (await client.get("/api/jobs")).json()["jobs"] == []
    assert list(objects.list("upload/")) == []
