"""R48: resumable uploads, cut anywhere, on any replica, by any client; and the jobs that are made of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from gateway_testing import NOBODY, Processes, api_settings, eventually, execute, free_address, is_up
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tusclient.client import TusClient

from singscript_gateway.api.removal import Remover
from singscript_gateway.api.server import make_app
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_gateway.uploads import intake
from singscript_storage import FolderStore, ObjectNotFound, ObjectStore, StorageUnavailable, artifact_key

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}
# So that small files have several parts.
PART_BYTES = 1000


@dataclass(frozen=True)
class Replica:
    """The application without a socket, and what may go wrong on the way to it."""

    app: FastAPI
    http: httpx.AsyncClient

    async def begin(self, size_bytes: int, name: str = "song.mp3") -> str:
        metadata = f"filename {base64.b64encode(name.encode()).decode()}"
        headers = TUS | {"Upload-Length": str(size_bytes), "Upload-Metadata": metadata}
        response = await self.http.post("/api/uploads", headers=headers)
        assert response.status_code == 201, response.text
        return response.headers["Location"]

    async def offset(self, location: str) -> int:
        response = await self.http.head(location, headers=TUS)
        assert response.status_code == 200
        return int(response.headers["Upload-Offset"])

    async def patch(self, location: str, content: bytes, offset: int, **headers: str) -> httpx.Response:
        return await self.http.patch(
            location, content=content, headers=BYTES | {"Upload-Offset": str(offset)} | headers
        )

    async def cut(self, location: str, content: bytes, offset: int, length: int, checksum: str = "") -> None:
        """A PATCH of `length` bytes that is cut behind `content`."""
        headers = BYTES | {"Upload-Offset": str(offset), "Content-Length": str(length)}
        if checksum:
            headers["Upload-Checksum"] = checksum
        chunks = [content[at : at + 700] for at in range(0, len(content), 700)]
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        coming = iter([*messages, {"type": "http.disconnect"}])

        async def receive() -> Any:
            return next(coming)

        async def send(message: Any) -> None:
            pass

        scope = {
            "type": "http",
            "method": "PATCH",
            "path": location,
            "raw_path": location.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "headers": [
                (name.lower().encode(), value.encode()) for name, value in ({"Host": "localhost"} | headers).items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "app": self.app,
        }
        await self.app(scope, receive, send)


@asynccontextmanager
async def replica(database_url: str, objects: ObjectStore, **changes: Any) -> AsyncIterator[Replica]:
    app = make_app(api_settings(database_url, **changes), objects)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield Replica(app, http)


@pytest.fixture
async def one(database_url: str, objects: FolderStore) -> AsyncIterator[Replica]:
    async with replica(database_url, objects) as made:
        yield made


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "PART_BYTES", PART_BYTES)


def key_of(content: bytes) -> str:
    return artifact_key("upload", {}, hashlib.sha256(content).hexdigest(), "original")


def read(objects: ObjectStore, key: str) -> bytes:
    with objects.open(key) as reader:
        return b"".join(reader)


def is_there(objects: ObjectStore, key: str) -> bool:
    try:
        objects.stat(key)
    except ObjectNotFound:
        return False
    return True


def reason(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()["reason"]


async def emptied(upkeep: Upkeep, objects: ObjectStore, prefix: str = "") -> None:
    """All is removed: by this remover, or by the one of a replica, which may be about it just then."""
    await Remover(upkeep, objects).remove_due()

    async def empty() -> bool:
        return not list(objects.list(prefix))

    await eventually(empty, "nothing is left")


async def run_out(url: str) -> None:
    await execute(url, "UPDATE uploads SET expires_at = now() - interval '1 s'")


async def make_due(url: str) -> None:
    await execute(url, "UPDATE unused_objects SET due_at = now() - interval '1 s' WHERE due_at IS NOT NULL")


async def test_whole_upload_becomes_the_object_of_its_content(database_url: str, anywhere: ObjectStore) -> None:
    content = random.Random(1).randbytes(3 * PART_BYTES + 17)
    async with replica(database_url, anywhere) as gateway:
        location = await gateway.begin(len(content))
        response = await gateway.patch(location, content, 0)
        assert (response.status_code, response.headers["Upload-Offset"]) == (204, str(len(content)))
        assert "Upload-Expires" in response.headers and response.headers["Tus-Resumable"] == "1.0.0"
        assert read(anywhere, key_of(content)) == content
        made = await gateway.http.post("/api/jobs", json={"upload": location.rpartition("/")[2]})
        assert made.status_code == 202
        source = {"kind": "upload", "url": None, "file_name": "song.mp3", "size_bytes": len(content)}
        assert made.json()["source"] == source
        # Its parts are not needed any more.
        await emptied(Upkeep(gateway.app.state.gateway.pool), anywhere, "uploads/")
        assert is_there(anywhere, key_of(content))


async def test_parts_in_any_replica(database_url: str, anywhere: ObjectStore) -> None:
    content = random.Random(2).randbytes(5 * PART_BYTES)
    async with replica(database_url, anywhere) as first, replica(database_url, anywhere) as second:
        location = await first.begin(len(content))
        for number, at in enumerate(range(0, len(content), 777)):
            gateway = (first, second)[number % 2]
            assert (await gateway.patch(location, content[at : at + 777], at)).status_code == 204
            assert await (second, first)[number % 2].offset(location) == min(at + 777, len(content))
    assert read(anywhere, key_of(content)) == content


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size_bytes=st.integers(1, 4500), cuts=st.lists(st.integers(0, 4500), max_size=5), seed=st.integers(0, 9))
async def test_cut_anywhere_it_goes_on_from_the_byte(
    one: Replica, objects: FolderStore, size_bytes: int, cuts: list[int], seed: int
) -> None:
    content = random.Random(seed).randbytes(size_bytes)
    location = await one.begin(size_bytes)
    at = 0
    for cut in cuts:
        sent = content[at : at + cut]
        if at + len(sent) == size_bytes:
            break
        await one.cut(location, sent, at, size_bytes - at)
        at += len(sent)
        assert await one.offset(location) == at
    assert (await one.patch(location, content[at:], at)).status_code == 204
    assert read(objects, key_of(content)) == content


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_checksums(one: Replica, objects: FolderStore, algorithm: str) -> None:
    content = random.Random(3).randbytes(2 * PART_BYTES + 5)
    location = await one.begin(len(content))
    right = f"{algorithm} {base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"
    damaged = content[:-1] + bytes([content[-1] ^ 1])
    response = await one.patch(location, damaged, 0, **{"Upload-Checksum": right})
    assert (response.status_code, reason(response)) == (460, "CHECKSUM_MISMATCH")
    assert await one.offset(location) == 0
    # What was cut cannot be checked, so none of it counts.
    await one.cut(location, content[:-1], 0, len(content), right)
    assert await one.offset(location) == 0
    assert (await one.patch(location, content, 0, **{"Upload-Checksum": right})).status_code == 204
    assert read(objects, key_of(content)) == content


@pytest.mark.parametrize("header", ["md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1", "sha1 ???", "sha256 "])
async def test_checksums_that_cannot_be_used(one: Replica, header: str) -> None:
    location = await one.begin(3)
    response = await one.patch(location, b"abc", 0, **{"Upload-Checksum": header})
    assert (response.status_code, reason(response)) == (400, "INVALID_CHECKSUM")
    assert await one.offset(location) == 0


async def test_bytes_may_come_with_the_creation(one: Replica, objects: FolderStore) -> None:
    headers = BYTES | {"Upload-Length": "6"}
    response = await one.http.post("/api/uploads", content=b"abc", headers=headers)
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "3")
    location = response.headers["Location"]
    assert (await one.patch(location, b"def", 3)).status_code == 204
    assert read(objects, key_of(b"abcdef")) == b"abcdef"


async def test_too_large_is_refused_before_anything_is_stored(database_url: str, objects: FolderStore) -> None:
    async with replica(database_url, objects, max_upload_bytes=10) as gateway:
        options = await gateway.http.options("/api/uploads")
        assert options.headers["Tus-Max-Size"] == "10"
        headers = BYTES | {"Upload-Length": "11"}
        response = await gateway.http.post("/api/uploads", content=b"0123456789a", headers=headers)
        assert (response.status_code, reason(response)) == (413, "TOO_LARGE")
        location = await gateway.begin(10)
        assert reason(await gateway.patch(location, b"0123456789a", 0)) == "TOO_LARGE"

        async def unannounced() -> AsyncIterator[bytes]:
            yield b"01234"
            yield b"56789a"

        endless = await gateway.http.patch(location, content=unannounced(), headers=BYTES | {"Upload-Offset": "0"})
        assert (endless.status_code, reason(endless)) == (413, "TOO_LARGE")
        assert await gateway.offset(location) == 0
    assert list(objects.list()) == []
    assert len(await execute(database_url, "SELECT id FROM uploads")) == 1


async def test_of_two_at_once_one_is_refused(one: Replica, objects: FolderStore) -> None:
    content = random.Random(4).randbytes(3 * PART_BYTES)
    location = await one.begin(len(content))
    answers = await asyncio.gather(*(one.patch(location, content, 0) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert reason(refused) == "OFFSET_CONFLICT"
    assert int(refused.headers["Upload-Offset"]) > 0
    assert read(objects, key_of(content)) == content


async def test_requests_that_make_no_sense(one: Replica) -> None:
    location = await one.begin(3)
    for response in (
        await one.http.post("/api/uploads", headers={"Upload-Length": "3"}),
        await one.http.patch(location, content=b"abc", headers=BYTES | {"Tus-Resumable": "0.2.2"}),
        await one.http.delete(location),
    ):
        assert (response.status_code, reason(response)) == (412, "UNSUPPORTED_VERSION")
        assert response.headers["Tus-Version"] == "1.0.0"
    for headers in ({}, {"Upload-Length": "0"}, {"Upload-Length": "-1"}, {"Upload-Length": "x"}):
        response = await one.http.post("/api/uploads", headers=TUS | headers)
        assert (response.status_code, reason(response)) == (422, "INVALID_INPUT")
    for metadata in ("filename", "name 1B2M2Y8AsgTpgAmY7PhCfg==,is_confidential"):
        response = await one.http.post(
            "/api/uploads", headers=TUS | {"Upload-Length": "1", "Upload-Metadata": metadata}
        )
        assert response.status_code == 201
        told = await one.http.head(response.headers["Location"], headers=TUS)
        assert told.headers["Upload-Metadata"] == metadata and told.headers["Cache-Control"] == "no-store"
    response = await one.http.post("/api/uploads", headers=TUS | {"Upload-Length": "1", "Upload-Metadata": "a ?"})
    assert reason(response) == "INVALID_INPUT"
    plain = await one.http.patch(location, content=b"abc", headers=TUS | {"Upload-Offset": "0"})
    assert (plain.status_code, reason(plain)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert reason(await one.http.patch(location, content=b"abc", headers=BYTES)) == "INVALID_INPUT"
    assert (await one.patch(location, b"bc", 1)).status_code == 409
    for unknown in (f"/api/uploads/{uuid4()}", "/api/uploads/none"):
        assert (await one.http.head(unknown, headers=TUS)).status_code == 404
        assert reason(await one.patch(unknown, b"abc", 0)) == "UPLOAD_NOT_FOUND"
    assert await one.offset(location) == 0


async def test_what_is_refused_does_not_stay_in_the_storage(one: Replica, objects: FolderStore) -> None:
    """Bytes that no quota counts."""
    location = await one.begin(10 * PART_BYTES)
    wrong = f"sha1 {base64.b64encode(hashlib.sha1(b'').digest()).decode()}"
    for _ in range(3):
        refused = await one.patch(location, b"x" * 5 * PART_BYTES, 0, **{"Upload-Checksum": wrong})
        assert refused.status_code == 460

    async def nothing_left() -> bool:
        return not list(objects.list())

    await eventually(nothing_left, "its parts are removed")
    assert (await one.patch(location, b"x" * 10 * PART_BYTES, 0)).status_code == 204


async def test_a_byte_at_a_time_is_not_taken_for_ever(
    one: Replica, objects: FolderStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is an object and a row."""
    assert intake.SPARE_PARTS >= 1000 and intake.BYTES_OF_A_PART <= 64 * 1024, "whoever is cut off often may go on"
    monkeypatch.setattr(intake, "SPARE_PARTS", 3)
    monkeypatch.setattr(intake, "BYTES_OF_A_PART", 1000)
    for size_bytes, most in ((100, 3), (2000, 5)):
        location = await one.begin(size_bytes)
        for offset in range(most):
            assert (await one.patch(location, b"x", offset)).status_code == 204
        refused = await one.patch(location, b"x", most)
        assert (refused.status_code, refused.json()["reason"]) == (413, "TOO_MANY_PARTS")
        assert refused.headers["tus-resumable"] == "1.0.0"
        assert await one.offset(location) == most
        assert await execute(database_url, "SELECT count(*) FROM upload_parts") == [(most,)]
        assert (await one.http.delete(location, headers=TUS)).status_code == 204


async def test_method_by_header(one: Replica) -> None:
    location = await one.begin(3)

    async def by_post(method: str, content: bytes = b"", **headers: str) -> httpx.Response:
        sent = BYTES | {"X-HTTP-Method-Override": method} | headers
        return await one.http.post(location, content=content, headers=sent)

    assert (await by_post("PATCH", b"abc", **{"Upload-Offset": "0"})).headers["Upload-Offset"] == "3"
    assert (await by_post("head")).headers["Upload-Length"] == "3"
    assert (await by_post("PUT")).status_code == 405
    assert (await by_post("DELETE")).status_code == 204
    assert (await by_post("HEAD")).status_code == 404


async def test_termination_takes_the_bytes_away(one: Replica, objects: FolderStore, upkeep: Upkeep) -> None:
    location = await one.begin(9)
    await one.patch(location, b"abc", 0)
    assert (await one.http.delete(location, headers=TUS)).status_code == 204
    assert (await one.http.delete(location, headers=TUS)).status_code == 404
    await emptied(upkeep, objects)


async def test_unfinished_upload_expires(one: Replica, objects: FolderStore, upkeep: Upkeep, database_url: str) -> None:
    location = await one.begin(9)
    await one.patch(location, b"abc", 0)
    # Its parts outlive the time within which others must be referred to.
    await make_due(database_url)
    await Remover(upkeep, objects).remove_due()
    assert await one.offset(location) == 3 and len(list(objects.list())) == 1
    await run_out(database_url)
    assert (await one.patch(location, b"def", 3)).status_code == 404
    await emptied(upkeep, objects)
    assert await execute(database_url, "SELECT id FROM uploads") == []


async def test_finished_upload_serves_many_jobs_and_goes_with_the_last(
    one: Replica, objects: FolderStore, upkeep: Upkeep, database_url: str
) -> None:
    location = await one.begin(3)
    await one.patch(location, b"abc", 0)
    upload_id = location.rpartition("/")[2]
    jobs = [(await one.http.post("/api/jobs", json={"upload": upload_id})).json()["id"] for _ in range(2)]
    form = await one.http.post("/api/jobs", files={"upload": (None, upload_id), "language": (None, "en")})
    jobs.append(form.json()["id"])
    await run_out(database_url)
    for job in jobs:
        await make_due(database_url)
        await Remover(upkeep, objects).remove_due()
        assert is_there(objects, key_of(b"abc"))
        await one.http.post(f"/api/jobs/{job}/cancel")
        assert (await one.http.delete(f"/api/jobs/{job}")).status_code == 204
    await emptied(upkeep, objects)


async def test_finished_upload_stays_while_jobs_come_and_go(
    one: Replica, objects: FolderStore, upkeep: Upkeep, database_url: str
) -> None:
    location = await one.begin(3)
    await one.patch(location, b"abc", 0)
    job = (await one.http.post("/api/jobs", json={"upload": location.rpartition("/")[2]})).json()["id"]
    await one.http.post(f"/api/jobs/{job}/cancel")
    await one.http.delete(f"/api/jobs/{job}")
    await make_due(database_url)
    await Remover(upkeep, objects).remove_due()
    again = await one.http.post("/api/jobs", json={"upload": location.rpartition("/")[2]})
    assert again.status_code == 202 and is_there(objects, key_of(b"abc"))


async def test_jobs_of_uploads_that_cannot_be_used(one: Replica) -> None:
    location = await one.begin(3)
    upload_id = location.rpartition("/")[2]
    await one.patch(location, b"ab", 0)
    unfinished = await one.http.post("/api/jobs", json={"upload": upload_id})
    assert (unfinished.status_code, reason(unfinished)) == (409, "UPLOAD_NOT_FINISHED")
    assert unfinished.json()["offset_bytes"] == 2
    unknown = await one.http.post("/api/jobs", json={"upload": str(uuid4())})
    assert (unknown.status_code, reason(unknown)) == (404, "UPLOAD_NOT_FOUND")
    for both in ({"upload": upload_id, "url": "https://example.org/a.mp3"}, {}, {"upload": "x"}):
        response = await one.http.post("/api/jobs", json=both)
        assert (response.status_code, reason(response)) == (422, "INVALID_INPUT")
    response = await one.http.post("/api/jobs", data={"upload": upload_id}, files={"file": b"abc"})
    assert (response.status_code, reason(response)) == (422, "INVALID_INPUT")


async def test_same_key_makes_one_job_of_an_upload(one: Replica, database_url: str) -> None:
    location = await one.begin(3)
    await one.patch(location, b"abc", 0)
    order = {"upload": location.rpartition("/")[2]}
    key = {"Idempotency-Key": "once"}
    first = await one.http.post("/api/jobs", json=order, headers=key)
    await run_out(database_url)
    second = await one.http.post("/api/jobs", json=order, headers=key)
    assert first.status_code == second.status_code == 202 and first.content == second.content
    other = await one.http.post("/api/jobs", json={"upload": str(uuid4())}, headers=key)
    assert reason(other) == "IDEMPOTENCY_KEY_REUSED"


async def test_whoever_died_before_putting_it_together_leaves_that_to_the_job(
    one: Replica, objects: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = await one.begin(2500)
    content = random.Random(5).randbytes(2500)

    def away(*_: object) -> Any:
        raise StorageUnavailable("Away.")

    with monkeypatch.context() as patch:
        patch.setattr(intake, "_join", away)
        assert reason(await one.patch(location, content, 0)) == "STORAGE_UNAVAILABLE"
    assert await one.offset(location) == 2500
    upload_id = location.rpartition("/")[2]
    orders = [one.http.post("/api/jobs", json={"upload": upload_id}) for _ in range(3)]
    assert {made.status_code for made in await asyncio.gather(*orders)} == {202}
    assert read(objects, key_of(content)) == content


async def test_storage_that_is_away_loses_nothing(
    one: Replica, objects: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = random.Random(6).randbytes(2500)
    location = await one.begin(2500)
    assert (await one.patch(location, content[:1200], 0)).status_code == 204

    def away(*_: object) -> Any:
        raise StorageUnavailable("Away.")

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "put", away)
        assert reason(await one.patch(location, content[1200:], 1200)) == "STORAGE_UNAVAILABLE"
    assert await one.offset(location) == 1200
    assert (await one.patch(location, content[1200:], 1200)).status_code == 204
    assert read(objects, key_of(content)) == content


async def test_killed_in_the_middle_it_goes_on_at_another_replica(
    processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    """By a real client: it is killed with the first replica, and begins anew at the second."""
    content = random.Random(7).randbytes(20 * 1024 * 1024)
    addresses = [free_address() for _ in range(2)]
    replicas = [processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY) for address in addresses]
    async with httpx.AsyncClient(base_url=f"http://{addresses[1]}", timeout=30, trust_env=False) as second:
        for address in addresses:
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
                await is_up(http)
        headers = TUS | {"Upload-Length": str(len(content))}
        location = (await second.post("/api/uploads", headers=headers)).headers["Location"]

        async def offset() -> int:
            return int((await second.head(location, headers=TUS)).headers["Upload-Offset"])

        host, _, port = addresses[0].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as sender:
            head = [
                f"PATCH {location} HTTP/1.1",
                "Host: localhost",
                "Upload-Offset: 0",
                f"Content-Length: {len(content)}",
            ]
            head += [f"{name}: {value}" for name, value in BYTES.items()]
            await asyncio.to_thread(sender.sendall, "\r\n".join([*head, "", ""]).encode() + content[: 10 * 1024 * 1024])
            # A part is stored; some of what follows is on the replica's own disk.
            at = await eventually(offset, "the first part is stored")
            replicas[0].kill()
            replicas[0].wait()
        assert 0 < at < 10 * 1024 * 1024 and await offset() == at
        file = tmp_path / "song.mp3"
        file.write_bytes(content)

        def go_on() -> None:
            client = TusClient(f"http://{addresses[1]}/api/uploads", headers=TUS)
            url = f"http://{addresses[1]}{location}"
            with file.open("rb") as stream:
                size = {"chunk_size": 3 * 1024 * 1024}
                client.uploader(file_stream=stream, url=url, upload_checksum=True, **size).upload()

        await asyncio.to_thread(go_on)
        assert await offset() == len(content)
    assert read(objects, key_of(content)) == content


async def test_stopped_in_the_middle_keeps_what_had_arrived(
    processes: Processes, database_url: str, tmp_path: Path
) -> None:
    address = free_address()
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    process = processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY, TMPDIR=str(arrived))
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as http:
        await is_up(http)
        location = (await http.post("/api/uploads", headers=TUS | {"Upload-Length": "500000"})).headers["Location"]

        async def slow() -> AsyncIterator[bytes]:
            yield b"x" * 300_000
            await asyncio.sleep(100)

        async def on_disk() -> int:
            sizes = [path.stat().st_size for path in arrived.rglob("*") if path.is_file()]
            return sum(sizes) if sum(sizes) >= 200_000 else 0

        patch = asyncio.create_task(http.patch(location, content=slow(), headers=BYTES | {"Upload-Offset": "0"}))
        # The rest of it may be under way.
        least = await eventually(on_disk, "the process has most of it")
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
        patch.cancel()
        await asyncio.gather(patch, return_exceptions=True)
    ((kept,),) = await execute(database_url, "SELECT offset_bytes FROM uploads")
    assert least <= kept <= 300_000


async def test_real_client_from_beginning_to_end(api: httpx.AsyncClient, objects: FolderStore, tmp_path: Path) -> None:
    content = random.Random(8).randbytes(300_000)
    file = tmp_path / "a song.mp3"
    file.write_bytes(content)

    def upload() -> str:
        client = TusClient(f"{api.base_url}/api/uploads", headers=TUS)
        with file.open("rb") as stream:
            uploader = client.uploader(
                file_stream=stream, chunk_size=70_000, metadata={"filename": "a söng.mp3"}, upload_checksum=True
            )
            uploader.upload()
        assert uploader.url
        return uploader.url

    url = await asyncio.to_thread(upload)
    assert read(objects, key_of(content)) == content
    made = await api.post("/api/jobs", json={"upload": str(UUID(url.rpartition("/")[2]))})
    assert made.json()["source"]["file_name"] == "a söng.mp3"
