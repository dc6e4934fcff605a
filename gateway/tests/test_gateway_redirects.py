"""Files by way of the storage: the API only says where they are, to whoever may read them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import s3server
from gateway_testing import NOBODY, Processes, free_address, is_up, link
from minio import Minio

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_storage import S3Store

BUCKET = "files"
SOUND = bytes(range(256)) * 4000
WORDS = "1\n00:00:01,000 --> 00:00:02,000\nMotörhead\n".encode()
PAGE = b"<script>alert(1)</script>"
FILES = {
    "vocals.flac": (SOUND, "audio/flac"),
    "lyrics.srt": (WORDS, "application/x-subrip"),
    "lyrics.txt": (WORDS, "text/plain"),
    "original.html": (PAGE, "text/html"),
}


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with s3server.running(tmp_path_factory.mktemp("s3")) as server:
        keys = {"access_key": server.access_key, "secret_key": server.secret_key, "secure": False}
        Minio(server.endpoint, **keys, region=server.region).make_bucket(BUCKET)
        yield server


@pytest.fixture
async def away(s3_server: Any, processes: Processes) -> AsyncIterator[httpx.AsyncClient]:
    """An API that reaches the storage by another name than its clients do."""
    environment = processes.environment
    del environment["SINGSCRIPT_STORAGE_DIR"]
    environment |= {
        "SINGSCRIPT_S3_ENDPOINT": s3_server.endpoint,
        "SINGSCRIPT_S3_PUBLIC_ENDPOINT": f"http://localhost:{s3_server.endpoint.rpartition(':')[2]}",
        "SINGSCRIPT_S3_BUCKET": BUCKET,
        "SINGSCRIPT_S3_ACCESS_KEY": s3_server.access_key,
        "SINGSCRIPT_S3_SECRET_KEY": s3_server.secret_key,
        "SINGSCRIPT_S3_SECURE": "false",
        "SINGSCRIPT_LOG_LEVEL": "DEBUG",
    }
    address = free_address()
    processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY)
    headers = {"Authorization": "Bearer ss_key_of-the-gateway"}
    async with httpx.AsyncClient(base_url=f"http://{address}", headers=headers, timeout=30, trust_env=False) as client:
        await is_up(client)
        yield client


@pytest.fixture
async def job(store: JobStore, queue: JobQueue, s3_server: Any, tmp_path: Path) -> Job:
    """It has `FILES`."""
    keys = {"access_key": s3_server.access_key, "secret_key": s3_server.secret_key, "secure": False}
    objects = S3Store(s3_server.endpoint, bucket=BUCKET, **keys)
    await store.create(link(), LOCAL_OWNER)
    claim = await queue.claim_next()
    assert claim
    for name, (content, media_type) in FILES.items():
        path = tmp_path / "file"
        path.write_bytes(content)
        stored = objects.put(f"test/{name}", path, media_type)
        file = {
            "name": name,
            "key": stored.key,
            "sha256": stored.sha256,
            "size_bytes": stored.size_bytes,
            "levels": None,
        }
        await queue.record(claim.job, Update("artifact", {"stage": "align", "media_type": media_type} | file))
    return claim.job


async def test_file_is_read_where_the_storage_is(away: httpx.AsyncClient, job: Job, processes: Processes) -> None:
    for name, (content, media_type) in FILES.items():
        url = f"/api/jobs/{job.id}/artifacts/{name}"
        sent_on = await away.get(url)
        assert sent_on.status_code == 307 and sent_on.content == b""
        assert sent_on.headers["cache-control"] == "no-store"
        address = urlsplit(sent_on.headers["location"])
        assert address.hostname == "localhost" and parse_qs(address.query)["X-Amz-Expires"] == ["300"]

        followed = await away.get(url, follow_redirects=True)
        assert (followed.status_code, followed.content) == (200, content)
        shown = "attachment" if name == "original.html" else "inline"
        assert followed.headers["content-disposition"] == f'{shown}; filename="{name}"'
        charset = "; charset=utf-8" if media_type.startswith("text/") else ""
        assert followed.headers["content-type"].lower() == media_type + charset

        signature = parse_qs(address.query)["X-Amz-Signature"][0]
        log = processes.logs()
        assert "/artifacts/{name}" in log and signature not in log and "X-Amz-" not in log


async def test_ranges_are_the_storages(away: httpx.AsyncClient, job: Job) -> None:
    url = f"/api/jobs/{job.id}/artifacts/vocals.flac"
    part = {"Range": "bytes=10-1009"}
    followed = await away.get(url, headers=part, follow_redirects=True)
    assert (followed.status_code, followed.content) == (206, SOUND[10:1010])
    assert followed.headers["content-range"] == f"bytes 10-1009/{len(SOUND)}"
    # As curl does: what was sent first is sent again, save the key.
    location = (await away.get(url, headers=part)).headers["location"]
    async with httpx.AsyncClient(trust_env=False) as stranger:
        again = await stranger.get(location, headers=part)
        assert (again.status_code, again.content) == (206, SOUND[10:1010])
        assert (await stranger.get(location, headers={"Range": f"bytes={len(SOUND)}-"})).status_code == 416


async def test_link_is_good_for_nothing_else(away: httpx.AsyncClient, job: Job) -> None:
    location = (await away.get(f"/api/jobs/{job.id}/artifacts/original.html")).headers["location"]
    async with httpx.AsyncClient(trust_env=False) as stranger:
        assert (await stranger.get(location)).status_code == 200
        for changed in (
            location.replace("original.html", "vocals.flac", 1),
            location.replace("attachment", "inline"),
            location.replace("localhost", "127.0.0.1"),
            re.sub("X-Amz-Expires=300", "X-Amz-Expires=3000", location),
            location.partition("?")[0],
        ):
            assert changed != location
            assert (await stranger.get(changed)).status_code in (400, 403), changed
        assert (await stranger.delete(location)).status_code == 403


async def test_what_the_client_has_is_not_read_again(away: httpx.AsyncClient, job: Job) -> None:
    files = (await away.get(f"/api/jobs/{job.id}")).json()["artifacts"]
    sound = next(file for file in files if file["name"] == "vocals.flac")
    unchanged = await away.get(sound["url"], headers={"If-None-Match": f'"{sound["sha256"]}"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"") and "location" not in unchanged.headers
    changed = await away.get(sound["url"], headers={"If-None-Match": '"0"'}, follow_redirects=True)
    assert (changed.status_code, changed.content) == (200, SOUND)
    missing = await away.get(f"/api/jobs/{job.id}/artifacts/drums.flac")
    assert missing.status_code == 404 and missing.json()["reason"] == "ARTIFACT_NOT_FOUND"
