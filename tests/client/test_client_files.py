"""Files on their way in and out: cut, gone on with, checked."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import s3server
from faulty_proxy import FaultyProxy
from gateway_testing import NOBODY, Processes, claim_of, execute, free_address, is_up, link
from minio import Minio
from scripted_gateway import answering

from singscript_client import Artifact, Client, Damaged, NotFound, Unreachable
from singscript_client.uploads import PIECE_BYTES
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_storage import FolderStore, ObjectStore, S3Store

SOUND = random.Random(1).randbytes(3_000_000)


@contextmanager
def proxied(address: str) -> Iterator[FaultyProxy]:
    host, _, port = address.rpartition(":")
    with FaultyProxy((host, int(port))) as proxy:
        yield proxy


async def job_with(
    store: JobStore, queue: JobQueue, objects: ObjectStore, folder: Path, content: bytes = SOUND
) -> tuple[str, Artifact]:
    """A job that has one file."""
    job = await store.create(link(), LOCAL_OWNER)
    claim = await claim_of(queue, job.id)
    path = folder / "stored"
    path.write_bytes(content)
    stored = await asyncio.to_thread(objects.put, "separate/test/vocals.flac", path, "audio/flac")
    file: dict[str, Any] = {
        "stage": "separate",
        "name": "vocals.flac",
        "media_type": "audio/flac",
        "size_bytes": stored.size_bytes,
        "sha256": stored.sha256,
        "levels": None,
    }
    await queue.record(claim.job, Update("artifact", file | {"key": stored.key}))
    return str(job.id), Artifact.model_validate(file)


# -- out


async def saved_through_cuts(client: Client, job_id: str, artifact: Artifact, path: Path, proxy: FaultyProxy) -> None:
    """Saves a file while the proxy, through which its bytes come, is cut each time that some of them have."""
    # So that not all of them come at once.
    proxy.delay_s = 0.02
    saving = asyncio.create_task(asyncio.to_thread(client.jobs.save, job_id, artifact, path))
    cuts = came_bytes = 0
    while not saving.done() and cuts < 4:
        await asyncio.sleep(0.005)
        now_bytes = sum(part.stat().st_size for part in path.parent.glob(".*.part"))
        if now_bytes > came_bytes:
            came_bytes = now_bytes
            proxy.cut()
            proxy.mend()
            cuts += 1
    await saving
    assert cuts


def statuses(records: list[logging.LogRecord]) -> list[object]:
    """Of all answers, as httpx logs them."""
    return [record.args[3] for record in records if record.name == "httpx" and isinstance(record.args, tuple)]


async def test_a_file_that_is_cut_is_gone_on_with(
    address: str,
    store: JobStore,
    queue: JobQueue,
    objects: FolderStore,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job_id, artifact = await job_with(store, queue, objects, tmp_path, SOUND * 5)
    out = tmp_path / "out"
    out.mkdir()
    with proxied(address) as proxy, Client(f"http://{proxy.address}") as client, caplog.at_level(logging.INFO, "httpx"):
        await saved_through_cuts(client, job_id, artifact, out / "vocals.flac", proxy)
    assert [path.name for path in out.iterdir()] == ["vocals.flac"]
    assert (out / "vocals.flac").read_bytes() == SOUND * 5
    assert 206 in statuses(caplog.records), "it was not begun anew"


async def test_a_file_that_is_not_what_was_promised(
    client: Client, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path
) -> None:
    job_id, artifact = await job_with(store, queue, objects, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "vocals.flac").write_bytes(b"what was there before")
    for promised in (
        artifact.model_copy(update={"sha256": "0" * 64}),
        artifact.model_copy(update={"size_bytes": artifact.size_bytes - 1}),
    ):
        with pytest.raises(Damaged):
            await asyncio.to_thread(client.jobs.save, job_id, promised, out / "vocals.flac")
    with pytest.raises(NotFound):
        other = artifact.model_copy(update={"name": "drums.flac"})
        await asyncio.to_thread(client.jobs.save, job_id, other, out / "drums.flac")
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("vocals.flac", b"what was there before")]


async def test_a_file_that_stays_away_leaves_nothing_behind(
    mortal: str, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path, processes: Processes
) -> None:
    job_id, artifact = await job_with(store, queue, objects, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    processes.running[0].kill()
    with Client(f"http://{mortal}", patience_s=0.5) as client, pytest.raises(Unreachable):
        await asyncio.to_thread(client.jobs.save, job_id, artifact, out / "vocals.flac")
    assert list(out.iterdir()) == []


async def test_the_storages_own_address_gets_no_key(
    processes: Processes, store: JobStore, queue: JobQueue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway leads to the S3 server, which refuses a request that has a key besides its signature."""
    key = "ss_0a1b2c3d4e5f_" + "secret" * 7
    with s3server.running(tmp_path / "s3") as s3:
        keys: dict[str, Any] = {"access_key": s3.access_key, "secret_key": s3.secret_key, "secure": False}
        await asyncio.to_thread(Minio(s3.endpoint, **keys, region=s3.region).make_bucket, "files")
        with proxied(s3.endpoint) as proxy:
            environment = processes.environment
            del environment["SINGSCRIPT_STORAGE_DIR"]
            environment |= {
                "SINGSCRIPT_S3_ENDPOINT": s3.endpoint,
                "SINGSCRIPT_S3_PUBLIC_ENDPOINT": f"http://{proxy.address.replace('127.0.0.1', 'localhost')}",
                "SINGSCRIPT_S3_BUCKET": "files",
                "SINGSCRIPT_S3_ACCESS_KEY": s3.access_key,
                "SINGSCRIPT_S3_SECRET_KEY": s3.secret_key,
                "SINGSCRIPT_S3_SECURE": "false",
            }
            address = free_address()
            processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY)
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
                await is_up(http)
            files = S3Store(s3.endpoint, bucket="files", **keys)
            job_id, artifact = await job_with(store, queue, files, tmp_path, SOUND * 5)
            with Client(f"http://{address}", api_key=key) as client, caplog.at_level(logging.INFO, "httpx"):
                await saved_through_cuts(client, job_id, artifact, tmp_path / "vocals.flac", proxy)
    assert (tmp_path / "vocals.flac").read_bytes() == SOUND * 5
    # Each time the gateway is asked for an address anew.
    told = statuses(caplog.records)
    assert told[:2] == [307, 200] and told[-2:] == [307, 206]


def test_a_file_that_never_comes_whole(tmp_path: Path) -> None:
    """By a server, not ours, that knows no ranges and always ends early: progress is what was not there before."""
    artifact = Artifact(
        name="a.flac", stage="separate", media_type="audio/flac", size_bytes=1000, sha256="0" * 64, levels=None
    )
    with answering(200, {"Content-Length": "1000"}, b"la" * 100) as (url, asked), Client(url, patience_s=2) as client:
        with pytest.raises(Unreachable):
            client.jobs.save("5b1c1f0e", artifact, tmp_path / "a.flac")
        assert len(asked) > 1
    assert list(tmp_path.iterdir()) == []


# -- in


async def test_an_upload_that_is_cut_goes_on(
    address: str, objects: FolderStore, database_url: str, tmp_path: Path
) -> None:
    content = random.Random(2).randbytes(3 * PIECE_BYTES + 17)
    song = tmp_path / "a söng.mp3"
    song.write_bytes(content)
    told: list[tuple[int, int]] = []
    with proxied(address) as proxy, Client(f"http://{proxy.address}") as client:

        def progress(done_bytes: int, total_bytes: int) -> None:
            told.append((done_bytes, total_bytes))
            if len(told) in (1, 3):
                # The next piece is cut on its way: slow enough to be there then.
                proxy.delay_s = 0.2
                asyncio.run_coroutine_threadsafe(cut_soon(), loop)

        async def cut_soon() -> None:
            await asyncio.sleep(0.1)
            proxy.delay_s = 0.0
            proxy.cut()
            proxy.mend()

        loop = asyncio.get_running_loop()
        upload = await asyncio.to_thread(lambda: client.uploads.send(song, progress=progress))
        job = await asyncio.to_thread(client.jobs.create_from_upload, upload.id)
    assert upload.complete and job.source.file_name == "a söng.mp3"
    steps = [PIECE_BYTES * number for number in range(4)] + [len(content)]
    assert told == [(step, len(content)) for step in steps]
    assert len(await execute(database_url, "SELECT id FROM uploads")) == 1
    with objects.open(next(key for key in objects.list() if key.startswith("upload/"))) as reader:
        assert b"".join(reader) == content


async def test_an_upload_goes_on_after_both_sides_died(
    processes: Processes, mortal: str, tmp_path: Path, objects: FolderStore
) -> None:
    """In another process all that is known is its id."""
    content = random.Random(3).randbytes(2 * PIECE_BYTES + 5)
    song = tmp_path / "song.mp3"
    song.write_bytes(content)

    class Died(Exception):
        pass

    def dies(done_bytes: int, _: int) -> None:
        if done_bytes:
            processes.running[0].kill()
            raise Died

    with Client(f"http://{mortal}") as client:
        upload = await asyncio.to_thread(client.uploads.begin, len(content), "song.mp3")
        with pytest.raises(Died):
            await asyncio.to_thread(lambda: client.uploads.go_on(upload.id, song, progress=dies))
    processes.start("api", SINGSCRIPT_LISTEN=mortal, SINGSCRIPT_ALIGNER=NOBODY)
    told: list[int] = []
    with Client(f"http://{mortal}", patience_s=100) as client:
        going_on = asyncio.to_thread(
            lambda: client.uploads.go_on(upload.id, song, progress=lambda d, _: told.append(d))
        )
        # `begin` and the first look are tried again while nobody is there yet.
        assert (await going_on).complete
        job = await asyncio.to_thread(client.jobs.create_from_upload, upload.id)
    assert told == [PIECE_BYTES, 2 * PIECE_BYTES, len(content)]
    assert job.source.size_bytes == len(content)


async def test_an_upload_of_a_file_that_shrinks(client: Client, tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    song.write_bytes(b"la" * 10)
    upload = await asyncio.to_thread(client.uploads.begin, 1000, "song.mp3")
    with pytest.raises(Damaged):
        await asyncio.to_thread(client.uploads.go_on, upload.id, song)
    assert (await asyncio.to_thread(client.uploads.get, upload.id)).offset_bytes == 20
    await asyncio.to_thread(client.uploads.delete, upload.id)
    with pytest.raises(NotFound, match="UPLOAD_NOT_FOUND"):
        await asyncio.to_thread(client.uploads.go_on, upload.id, song)
