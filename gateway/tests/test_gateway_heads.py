"""HEAD: what GET says, without its body."""

from __future__ import annotations

from pathlib import Path

import httpx
from gateway_testing import api_settings, claim_of, client_of, link

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_storage import FolderStore

SOUND = bytes(range(256)) * 40_000
# What each answer has anew, and how a stream is framed.
OTHER = {"date", "x-request-id", "transfer-encoding", "connection"}


async def with_sound(store: JobStore, queue: JobQueue, objects: FolderStore, folder: Path) -> Job:
    """A job that runs for ever, with a file of several blocks."""
    job = (await claim_of(queue, (await store.create(link(), LOCAL_OWNER)).id)).job
    path = folder / "sound"
    path.write_bytes(SOUND)
    stored = objects.put("separate/x/vocals.wav", path, "audio/wav")
    facts = {"stage": "separate", "name": "vocals.wav", "key": stored.key, "media_type": "audio/wav", "levels": None}
    size = {"size_bytes": stored.size_bytes, "sha256": stored.sha256}
    assert await queue.record(job, Update("artifact", facts | size))
    return job


async def test_head_says_what_get_does(
    api: httpx.AsyncClient, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path
) -> None:
    """Every route that has GET, over one connection: none leaves a byte behind."""
    job = await with_sound(store, queue, objects, tmp_path)
    document = (await api.get("/openapi.json")).json()
    ids = {"{job_id}": str(job.id), "{name}": "vocals.wav", "{key_id}": "0" * 12, "{user_id}": LOCAL_OWNER}
    paths = [path for path, methods in document["paths"].items() if "get" in methods] + ["/docs", "/openapi.json"]
    assert len(paths) > 20
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(base_url=api.base_url, timeout=30, trust_env=False, limits=limits) as one:
        for path in paths:
            for name, value in ids.items():
                path = path.replace(name, value)
            async with api.stream("GET", path) as got:
                expected = {name: value for name, value in got.headers.items() if name not in OTHER}
            told = await one.head(path)
            assert told.status_code == got.status_code and told.content == b"", path
            assert {name: value for name, value in told.headers.items() if name not in OTHER} == expected, path


async def test_head_of_a_part_and_of_what_did_not_change(
    api: httpx.AsyncClient, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path
) -> None:
    job = await with_sound(store, queue, objects, tmp_path)
    url = f"/api/jobs/{job.id}/artifacts/vocals.wav"
    whole = await api.head(url)
    assert whole.headers["content-length"] == str(len(SOUND)) and whole.headers["accept-ranges"] == "bytes"
    part = await api.head(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.headers["content-length"]) == (206, "10")
    same = await api.head(url, headers={"If-None-Match": whole.headers["etag"]})
    assert same.status_code == 304
    assert (await api.head(url.replace("vocals", "drums"))).status_code == 404


async def test_head_where_nothing_is_to_be_got(api: httpx.AsyncClient, store: JobStore) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    refused = await api.head(f"/api/jobs/{job.id}/cancel")
    assert (refused.status_code, refused.headers["allow"], refused.content) == (405, "POST", b"")
    refused = await api.put("/api/jobs")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_head_needs_a_key(database_url: str, objects: FolderStore) -> None:
    async with client_of(api_settings(database_url, auth="keys"), objects) as client:
        assert (await client.head("/api/jobs")).status_code == 401
        assert (await client.head("/healthz")).status_code == 200
