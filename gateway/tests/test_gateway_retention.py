"""How long jobs and objects are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway_testing import claim_of, execute, link

from singscript_gateway.api.removal import Remover, Retention
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Artifact, Job, JobRequest, Upload
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_storage import FolderStore


def put(objects: FolderStore, folder: Path, key: str, size_bytes: int) -> Artifact:
    path = folder / "content"
    path.write_bytes(b"x" * size_bytes)
    found = objects.put(key, path, "audio/flac")
    name = key.rpartition("/")[2]
    return Artifact(
        name=name,
        stage="separate",
        key=key,
        media_type="audio/flac",
        size_bytes=size_bytes,
        sha256=found.sha256,
        levels=None,
    )


async def succeeded(store: JobStore, queue: JobQueue, *files: Artifact, request: JobRequest | None = None) -> Job:
    job = (await claim_of(queue, (await store.create(request or link(), LOCAL_OWNER)).id)).job
    for file in files:
        assert await queue.record(job, Update("artifact", file.model_dump()))
    assert await queue.succeed(job)
    return job


async def age(url: str, job: Job, days: float) -> None:
    await execute(url, f"UPDATE jobs SET finished_at = now() - interval '{days} days' WHERE id = '{job.id}'")


async def left(store: JobStore, *jobs: Job) -> list[bool]:
    return [await store.get(job.id, LOCAL_OWNER) is not None for job in jobs]


def there(objects: FolderStore) -> set[str]:
    return set(objects.list())


async def test_jobs_go_when_they_were_kept_long_enough_and_none_that_is_under_way(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    shared = put(objects, tmp_path, "separate/1/vocals.flac", 1)
    old = await succeeded(store, queue, put(objects, tmp_path, "separate/2/vocals.flac", 1), shared)
    young = await succeeded(store, queue, shared)
    running = (await claim_of(queue, (await store.create(link(), LOCAL_OWNER)).id)).job
    queued = await store.create(link(), LOCAL_OWNER)
    await age(database_url, old, 8)
    await age(database_url, young, 6)
    await execute(database_url, "UPDATE jobs SET created_at = now() - interval '1 year'")
    remover = Remover(upkeep, objects, Retention(jobs_s=7 * 86400.0))
    await remover.delete_old()
    await remover.remove_due()
    assert await left(store, old, young, running, queued) == [False, True, True, True]
    assert there(objects) == {"separate/1/vocals.flac"}


async def test_job_whose_webhook_waits_stays(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, database_url: str
) -> None:
    hook = {"url": "https://example.com/hook"}
    waits = await succeeded(store, queue, request=JobRequest.model_validate(link().model_dump() | {"webhook": hook}))
    await age(database_url, waits, 8)
    remover = Remover(upkeep, objects, Retention(jobs_s=86400.0))
    await remover.delete_old()
    assert await left(store, waits) == [True]
    await execute(database_url, "UPDATE webhook_deliveries SET state = 'delivered', ended_at = now()")
    await remover.delete_old()
    assert await left(store, waits) == [False]


async def test_the_oldest_jobs_make_room_and_only_those_that_do(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    key = "upload/1/original"
    put(objects, tmp_path, key, 100)
    upload = JobRequest(upload=Upload(key=key, file_name="a", size_bytes=100), reuse=False)
    # Its upload is that of a job that waits: it would free nothing.
    nothing = await succeeded(store, queue, request=upload)
    first = await succeeded(store, queue, put(objects, tmp_path, "separate/1/vocals.flac", 60))
    second = await succeeded(store, queue, put(objects, tmp_path, "separate/2/vocals.flac", 60))
    third = await succeeded(store, queue, put(objects, tmp_path, "separate/3/vocals.flac", 60))
    live = await store.create(upload, LOCAL_OWNER)
    for number, job in enumerate((nothing, first, second, third)):
        await age(database_url, job, 9 - number)
    remover = Remover(upkeep, objects, Retention(jobs_bytes=230))
    await remover.delete_old()
    await remover.remove_due()
    assert await left(store, nothing, first, second, third, live) == [True, False, True, True, True]
    assert there(objects) == {key, "separate/2/vocals.flac", "separate/3/vocals.flac"}
    # More than can be freed: every job that has ended and has something of its own goes, and then it is over.
    await Remover(upkeep, objects, Retention(jobs_bytes=1)).delete_old()
    assert await left(store, nothing, second, third, live) == [True, False, False, True]


async def test_what_nobody_knows_of_goes_after_a_while(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    known = put(objects, tmp_path, "separate/1/vocals.flac", 1)
    part = put(objects, tmp_path, "separate/p/0", 1)
    job = (await claim_of(queue, (await store.create(link(), LOCAL_OWNER)).id)).job
    await queue.record(job, Update("artifact", known.model_dump()))
    of_part = {"stage": "separate", "number": 0, "key": part.key, "size_bytes": 1, "sha256": part.sha256, "end_s": 1.0}
    await queue.record(job, Update("part", of_part))
    put(objects, tmp_path, "transcribe/lost/part", 1)
    put(objects, tmp_path, "align/late/words.json", 1)
    remover = Remover(upkeep, objects, Retention(orphans_s=3 * 86400.0))
    await remover.find_orphans()
    await remover.remove_due()
    assert len(there(objects)) == 4
    # Somebody refers to it after all.
    await queue.record(job, Update("artifact", put(objects, tmp_path, "align/late/words.json", 1).model_dump()))
    await execute(database_url, "UPDATE unused_objects SET due_at = now() - interval '1 s'")
    await remover.remove_due()
    assert there(objects) == {known.key, part.key, "align/late/words.json"}
    # Not again before a day is over.
    put(objects, tmp_path, "transcribe/lost/part", 1)
    await remover.find_orphans()
    assert await execute(database_url, "SELECT 1 FROM unused_objects WHERE due_at IS NOT NULL") == []


@pytest.mark.parametrize("chore", ["orphans"])
async def test_a_chore_is_done_by_one(upkeep: Upkeep, database_url: str, chore: str) -> None:
    assert [await upkeep.start_chore(chore, 60.0) for _ in range(2)] == [True, False]
    await execute(database_url, "UPDATE chores SET started_at = now() - interval '61 s'")
    assert await upkeep.start_chore(chore, 60.0)
