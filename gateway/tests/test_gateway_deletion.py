"""Deleting jobs: what goes, what stays, and that nothing is lost or forgotten on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from gateway_testing import (
    Processes,
    Response,
    all_events,
    api_settings,
    claim_of,
    client_of,
    ended,
    eventually,
    execute,
    link,
    serving,
    whole_song,
)
from psycopg.types.json import Jsonb
from singscript.aligner.v1.aligner_pb2 import AlignRequest

from singscript_gateway.api.removal import Remover
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Artifact, Failure, Job, JobRequest, Upload
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.sql import SQL
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.transaction import ObjectRemoved
from singscript_gateway.jobs.updates import Update
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_storage import FolderStore, ObjectNotFound, ObjectStore, StorageUnavailable

STEM = "separate/song/vocals.flac"
WORDS = "align/song/words.json"


async def claimed(store: JobStore, queue: JobQueue, url: str, request: JobRequest | None = None) -> Job:
    job = await store.create(request or link(), LOCAL_OWNER)
    claim = await claim_of(queue, job.id)
    return claim.job


def put(objects: ObjectStore, folder: Path, key: str, content: bytes = b"x") -> Artifact:
    path = folder / "content"
    path.write_bytes(content)
    found = objects.put(key, path, "audio/flac")
    return Artifact(
        name=key.rpartition("/")[2],
        stage="align" if key.startswith("align") else "separate",
        key=key,
        media_type="audio/flac",
        size_bytes=found.size_bytes,
        sha256=found.sha256,
        levels=None,
    )


async def announce(queue: JobQueue, job: Job, file: Artifact) -> None:
    assert await queue.record(job, Update("artifact", file.model_dump()))


async def succeeded(store: JobStore, queue: JobQueue, url: str, *files: Artifact, upload: str | None = None) -> Job:
    source = Upload(key=upload, file_name="a.mp3", size_bytes=1) if upload else None
    job = await claimed(store, queue, url, JobRequest(upload=source) if source else None)
    for file in files:
        await announce(queue, job, file)
    assert await queue.succeed(job)
    return job


def is_there(objects: ObjectStore, key: str) -> bool:
    try:
        objects.stat(key)
    except ObjectNotFound:
        return False
    return True


async def remembered(url: str) -> list[Any]:
    """What is still due."""
    return await execute(url, "SELECT key FROM unused_objects WHERE due_at IS NOT NULL ORDER BY key")


async def make_due(url: str) -> None:
    await execute(url, "UPDATE unused_objects SET due_at = now() - interval '1 s' WHERE due_at IS NOT NULL")


async def test_deleted_job_goes_with_all_that_is_its_own(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, anywhere: ObjectStore, tmp_path: Path, database_url: str
) -> None:
    put(anywhere, tmp_path, "upload/1/original")
    shared, own = put(anywhere, tmp_path, STEM), put(anywhere, tmp_path, WORDS)
    job = await succeeded(store, queue, database_url, shared, own, upload="upload/1/original")
    corrected = put(anywhere, tmp_path, "align/corrected/words.json")
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and await store.put_files(now, now.formats, [corrected], await store.expect_object(corrected.key))
    other = await succeeded(store, queue, database_url, shared)

    assert await store.delete(job.id, LOCAL_OWNER)
    for table in ("stages", "job_events", "artifacts", "replaced_words"):
        assert await execute(database_url, f"SELECT 1 FROM {table} WHERE job_id = '{job.id}'") == [], table
    await Remover(upkeep, anywhere).remove_due()
    assert [is_there(anywhere, key) for key in ("upload/1/original", WORDS, corrected.key)] == [False] * 3
    assert is_there(anywhere, STEM)

    assert await store.delete(other.id, LOCAL_OWNER)
    await Remover(upkeep, anywhere).remove_due()
    assert not is_there(anywhere, STEM) and list(anywhere.list()) == []


async def test_upload_of_a_job_under_way_stays(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    put(objects, tmp_path, "upload/1/original")
    first = await succeeded(store, queue, database_url, upload="upload/1/original")
    waiting = await store.create(
        JobRequest(upload=Upload(key="upload/1/original", file_name="b", size_bytes=1)), LOCAL_OWNER
    )
    await store.delete(first.id, LOCAL_OWNER)
    await Remover(upkeep, objects).remove_due()
    assert is_there(objects, "upload/1/original")
    await store.cancel(waiting.id, LOCAL_OWNER)
    await store.delete(waiting.id, LOCAL_OWNER)
    await Remover(upkeep, objects).remove_due()
    assert not is_there(objects, "upload/1/original")


async def test_files_of_attempts_that_failed_go_too(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    job = await claimed(store, queue, database_url)
    await announce(queue, job, put(objects, tmp_path, "separate/first/vocals.flac"))
    assert await queue.retry(job, Failure(reason="BUSY", message="Busy."), 0)
    claim = await claim_of(queue, job.id)
    await announce(queue, claim.job, put(objects, tmp_path, "separate/second/vocals.flac"))
    await queue.fail(claim.job, Failure(reason="BUSY", message="Busy."))
    await store.delete(job.id, LOCAL_OWNER)
    await Remover(upkeep, objects).remove_due()
    assert list(objects.list()) == []


async def test_storage_that_is_away_is_asked_again(
    store: JobStore,
    queue: JobQueue,
    upkeep: Upkeep,
    objects: FolderStore,
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = await succeeded(store, queue, database_url, put(objects, tmp_path, STEM), put(objects, tmp_path, WORDS))
    await store.delete(job.id, LOCAL_OWNER)

    def away(self: FolderStore, key: str) -> None:
        raise StorageUnavailable("The storage is away.")

    with monkeypatch.context() as broken:
        broken.setattr(FolderStore, "delete", away)
        for _ in range(2):
            await Remover(upkeep, objects).remove_due()
            await make_due(database_url)
    assert await remembered(database_url) == [(WORDS,), (STEM,)]
    assert is_there(objects, STEM) and is_there(objects, WORDS)
    await Remover(upkeep, objects).remove_due()
    assert await remembered(database_url) == [] and list(objects.list()) == []


async def test_removal_is_taken_over_when_its_process_died(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    job = await succeeded(store, queue, database_url, put(objects, tmp_path, STEM))
    await store.delete(job.id, LOCAL_OWNER)
    removal = await upkeep.begin_removal()
    assert removal and removal.until and await upkeep.begin_removal() is None
    with pytest.raises(ObjectRemoved):
        await store.expect_object(STEM)
    await make_due(database_url)
    await Remover(upkeep, objects).remove_due()
    assert not is_there(objects, STEM)
    # The dead one comes back: its removal is not its own any more.
    await upkeep.end_removal(removal)
    await store.expect_object(STEM)


async def test_upload_that_was_removed_before_its_job_was_made_is_stored_again(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    key = "upload/1/original"
    put(objects, tmp_path, key)
    gone = await succeeded(store, queue, database_url, upload=key)
    since = await store.expect_object(key)
    put(objects, tmp_path, key)
    await store.delete(gone.id, LOCAL_OWNER)
    await Remover(upkeep, objects).remove_due()
    request = JobRequest(upload=Upload(key=key, file_name="a", size_bytes=1))
    with pytest.raises(ObjectRemoved):
        await store.create(request, LOCAL_OWNER, since)
    assert await execute(database_url, "SELECT 1 FROM jobs") == []
    await store.create(request, LOCAL_OWNER, await store.expect_object(key))


async def test_removal_waits_for_those_who_are_about_to_refer_to_the_object(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    key = "upload/1/original"
    put(objects, tmp_path, key)
    gone, heir = await succeeded(store, queue, database_url, upload=key), await store.create(link(), LOCAL_OWNER)
    await store.delete(gone.id, LOCAL_OWNER)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(SQL["share_object"], {"key": key})
        request = Jsonb({"upload": {"key": key, "file_name": "a", "size_bytes": 1}})
        await connection.execute("UPDATE jobs SET request = %s WHERE id = %s", [request, heir.id])
        removing = asyncio.create_task(Remover(upkeep, objects).remove_due())
        await asyncio.wait({removing}, timeout=0.5)
        assert not removing.done()
        await connection.commit()
        await removing
    assert is_there(objects, key)


async def test_artifact_that_was_removed_before_it_was_announced_is_made_again(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    file = put(objects, tmp_path, STEM)
    gone = await succeeded(store, queue, database_url, file)
    late = await claimed(store, queue, database_url)
    await store.delete(gone.id, LOCAL_OWNER)
    await Remover(upkeep, objects).remove_due()
    with pytest.raises(ObjectRemoved) as caught:
        await announce(queue, late, file)
    assert caught.value.retryable and caught.value.metadata == {"stage": "separate"}
    assert await queue.retry(late, Failure.of(caught.value, input_at_fault=False), 0)
    claim = await claim_of(queue, late.id)
    await announce(queue, claim.job, put(objects, tmp_path, STEM))


async def test_attempt_that_announces_what_was_removed_is_repeated(
    store: JobStore,
    queue: JobQueue,
    upkeep: Upkeep,
    objects: FolderStore,
    processes: Processes,
    tmp_path: Path,
    database_url: str,
) -> None:
    other = await succeeded(store, queue, database_url, put(objects, tmp_path, "separate/test/vocals.flac"))

    async def script(request: AlignRequest, context: Any) -> AsyncIterator[Response]:
        song = whole_song(objects, tmp_path)
        if len(aligner.requests) == 1:
            await store.delete(other.id, LOCAL_OWNER)
            await Remover(upkeep, objects).remove_due()
        async for response in song(request, context):
            yield response

    async with serving(script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    told = [e.data for e in await all_events(store, job) if e.kind == "state" and "reason" in e.data]
    assert (told[0]["reason"], told[0]["stage"]) == ("OBJECT_REMOVED", "separate")
    assert all(is_there(objects, artifact.key) for artifact in await store.artifacts(job.id, LOCAL_OWNER))


async def test_jobs_that_come_and_go_with_the_same_file_never_miss_it(
    store: JobStore, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    """Whatever the order: a job that was made has its upload, and in the end nothing is left."""
    key = "upload/1/original"
    path = tmp_path / "upload"
    path.write_bytes(b"the same")

    async def come_and_go() -> None:
        for _ in range(8):
            try:
                since = await store.expect_object(key)
                await asyncio.to_thread(objects.put, key, path, "audio/mpeg")
                job = await store.create(
                    JobRequest(upload=Upload(key=key, file_name="a", size_bytes=8)), LOCAL_OWNER, since
                )
            except ObjectRemoved:
                continue
            for _ in range(3):
                await asyncio.sleep(0)
                assert is_there(objects, key)
            await store.cancel(job.id, LOCAL_OWNER)
            await store.delete(job.id, LOCAL_OWNER)

    async def remove() -> None:
        while True:
            await Remover(upkeep, objects).remove_due()

    removing = [asyncio.create_task(remove()) for _ in range(2)]
    try:
        await asyncio.gather(*(come_and_go() for _ in range(4)))
    finally:
        for task in removing:
            task.cancel()
        await asyncio.wait(removing)
    assert await execute(database_url, "SELECT 1 FROM jobs") == []
    await make_due(database_url)
    await Remover(upkeep, objects).remove_due()
    assert not is_there(objects, key)


async def test_delete_over_rest(
    client: httpx.AsyncClient, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    job = await claimed(store, queue, database_url)
    file = put(objects, tmp_path, STEM, b"y" * 3_000_000)
    await announce(queue, job, file)
    for state in ("running", "queued"):
        refused = (await client.delete(f"/api/jobs/{job.id}")).json()
        assert (refused["status"], refused["reason"], refused["state"]) == (409, "JOB_NOT_FINISHED", state)
        if state == "running":
            assert await queue.hand_back(job)
    assert len(await all_events(store, job)) > 0
    assert (await client.post(f"/api/jobs/{job.id}/cancel")).status_code == 200

    with objects.open(STEM) as reader:
        first = next(reader)
        answer = await client.delete(f"/api/jobs/{job.id}")
        assert (answer.status_code, answer.content) == (204, b"")

        async def removed() -> bool:
            return not is_there(objects, STEM)

        await eventually(removed, "the object is removed without being asked for again")
        # Whoever reads it has it to its end.
        assert len(first) + sum(len(block) for block in reader) == 3_000_000
    for method, path in (("DELETE", ""), ("GET", ""), ("GET", "/artifacts/vocals.flac"), ("POST", "/cancel")):
        gone = await client.request(method, f"/api/jobs/{job.id}{path}")
        assert (gone.status_code, gone.json()["reason"]) == (404, "JOB_NOT_FOUND"), (method, path)
    assert (await client.get("/api/jobs")).json()["jobs"] == []


async def test_file_that_is_sent_again_right_after_its_job_was_deleted(
    database_url: str, objects: FolderStore, store: JobStore
) -> None:
    async with client_of(api_settings(database_url), objects) as client:
        for _ in range(5):
            made = await client.post("/api/jobs", files={"file": ("a.mp3", b"the same")})
            assert made.status_code == 202, made.text
            job = await store.get(made.json()["id"], LOCAL_OWNER)
            assert job and job.request.upload and is_there(objects, job.request.upload.key)
            await store.cancel(job.id, LOCAL_OWNER)
            assert (await ended(store, job)).state is JobState.CANCELLED
            assert (await client.delete(f"/api/jobs/{job.id}")).status_code == 204
