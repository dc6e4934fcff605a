"""What holds for every request and every answer: ids, headers, bounds, and the line in the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from gateway_testing import api_settings, execute, free_address, is_up, link

from singscript_gateway.api import requests, server
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.store import JobStore
from singscript_storage import FolderStore

MIB = 1024 * 1024


async def some_answers(client: httpx.AsyncClient, job: str) -> list[httpx.Response]:
    """One of each kind: found, none, refused, failed, a page, a preflight."""
    return [
        await client.get(f"/api/jobs/{job}"),
        await client.get("/healthz"),
        await client.get("/docs"),
        await client.get("/docs/files/swagger-ui.css"),
        await client.get("/openapi.json"),
        await client.get("/nowhere"),
        await client.put("/api/jobs"),
        await client.post("/api/jobs", content=b"x"),
        await client.post("/api/jobs", json={"url": 7}),
        await client.get(f"/api/jobs/{uuid4()}"),
        await client.options("/api/jobs", headers={"Origin": "https://evil.test"}),
        await client.head("/api/jobs"),
    ]


async def test_every_answer_has_an_id_and_cannot_be_taken_for_a_page(
    client: httpx.AsyncClient, store: JobStore, database_url: str
) -> None:
    job = str((await store.create(link(), LOCAL_OWNER)).id)
    answers = await some_answers(client, job)
    await execute(database_url, "ALTER TABLE artifacts RENAME TO elsewhere")
    answers.append(await client.get(f"/api/jobs/{job}"))
    assert answers[-1].status_code == 500
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(answers) and all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] in ("no-store", "private, no-cache")


async def test_a_defect_tells_its_id_and_nothing_of_the_inside(
    client: httpx.AsyncClient, store: JobStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    await execute(database_url, "ALTER TABLE artifacts RENAME TO elsewhere")
    answer = await client.get(f"/api/jobs/{job.id}")
    assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/problem+json"
    for inside in ("artifacts", "SELECT", "psycopg", "Traceback", ".py", "/"):
        assert inside not in answer.json()["detail"]
    assert any(r.exc_info and r.message == "a request failed" for r in caplog.records)


async def test_the_page_of_the_api_runs_only_our_own_scripts(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert page.status_code == 200 and "http" not in policy.replace("https://", "") and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert files and all(file.startswith("/docs/files/") for file in files)
    for file in files:
        assert (await client.get(file)).status_code == 200
    assert (await client.get("/docs/files/../../main.py")).status_code == 404
    assert (await client.get("/docs/files/%2e%2e/main.py")).status_code == 404
    assert (await client.get("/redoc")).status_code == 404


async def test_each_request_is_one_line_of_the_log_without_its_query(
    client: httpx.AsyncClient, store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job = await store.create(link(), LOCAL_OWNER)
    await client.get(f"/api/jobs/{job.id}?key=ss_abc_secret", headers={"Authorization": "Bearer ss_abc_secret"})
    await client.get("/nowhere/ss_abc_secret")
    await client.get("/healthz")
    lines: list[dict[str, Any]] = [vars(r) for r in caplog.records if r.getMessage() == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("GET", "/api/jobs/{job_id}", 200),
        ("GET", None, 404),
    ]
    assert all(line["duration_s"] >= 0 for line in lines)
    # The client of this test logs, too.
    ours = [vars(r) for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert not any("secret" in str(line) for line in ours)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_of_100_mb_is_refused_on_every_route_before_it_is_read(
    client: httpx.AsyncClient, store: JobStore, declared: bool
) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += MIB
            yield b" " * MIB

    routes = ["/api/jobs", f"/api/jobs/{job.id}/words", f"/api/jobs/{job.id}/render"]
    for route in routes:
        for media_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            sent = 0
            headers = {"Content-Type": media_type, "If-Match": "*"}
            if declared:
                headers["Content-Length"] = str(100 * MIB)
            method = "PUT" if route.endswith("words") else "POST"
            answer = await client.request(method, route, content=body(), headers=headers)
            assert answer.status_code in (409, 413, 415), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert sent <= 10 * MIB


@pytest.mark.parametrize(
    ("begin", "endless"),
    [
        (b"", b'--edge\r\nContent-Disposition: form-data; name="%d"\r\n\r\n\r\n'),
        (b"", b"--edge\r\nX: %d" + b"x" * 300 + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'),
        (b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\n', b"the text of a field %d, "),
        (b"", b"before all parts %d\r\n"),
        (b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n--edge--\r\n', b"behind all parts %d"),
    ],
    ids=["names", "heads", "text", "before", "behind"],
)
async def test_a_form_without_end_is_not_held(client: httpx.AsyncClient, begin: bytes, endless: bytes) -> None:
    """All but a file's bytes counts, not only what stands in the fields."""
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield begin
        for number in range(200):
            block = b"".join(endless % (1000 * number + n) for n in range(1000))
            sent += len(block)
            yield block

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    answer = await client.post("/api/jobs", content=body(), headers=headers)
    # A parser that finds a fault first is as good.
    assert answer.status_code in (413, 422) and answer.json()["reason"] in ("TOO_LARGE", "INVALID_FORM")
    assert sent <= 2 * MIB


@asynccontextmanager
async def connection(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.fixture
async def impatient(database_url: str, objects: FolderStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of a server that waits for two seconds where others wait for half a minute."""
    monkeypatch.setattr(requests, "BODY_PAUSE_S", 2.0)
    monkeypatch.setattr(server, "REQUEST_WAIT_S", 2.0)
    address = free_address()
    one = server.make_server(api_settings(database_url, listen=address), objects)
    serving = asyncio.create_task(one.serve())
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
        await is_up(client)
    yield address
    one.should_exit = True
    await serving


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """A byte now and then, until the other side has had enough."""
    with contextlib.suppress(ConnectionError):
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)


async def test_a_head_that_does_not_come_is_not_waited_for(impatient: str) -> None:
    async with asyncio.timeout(90), connection(impatient) as (silent, _), connection(impatient) as (slow, writer):
        dripping = asyncio.create_task(drip(writer, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 1000))
        for reader in (silent, slow):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        await dripping


async def test_a_body_that_drips_is_refused_and_its_connection_ends(impatient: str) -> None:
    head = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 100000\r\n\r\n"
    form = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    for media_type, begin in ((b"application/json", b"{"), (b"multipart/form-data; boundary=edge", form)):
        async with asyncio.timeout(90), connection(impatient) as (reader, writer):
            writer.write(head % media_type + begin)
            dripping = asyncio.create_task(drip(writer, b"-" * 1000))
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 408 ") and b"BODY_TOO_SLOW" in answer
            await dripping


async def test_a_slow_but_steady_body_is_taken(impatient: str) -> None:
    """Longer than any pause may be, and faster than the limit."""
    body = json.dumps({"url": "https://example.org/song.mp3", "lyrics": "la " * 6000}).encode()

    async def steady() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 500):
            yield body[start : start + 500]
            await asyncio.sleep(0.1)

    async with httpx.AsyncClient(base_url=f"http://{impatient}", timeout=30, trust_env=False) as client:
        answer = await client.post("/api/jobs", content=steady(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text


async def test_an_event_stream_outlives_every_wait(impatient: str, store: JobStore) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    async with (
        httpx.AsyncClient(base_url=f"http://{impatient}", timeout=30, trust_env=False) as client,
        client.stream("GET", f"/api/jobs/{job.id}/events") as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        await asyncio.sleep(4.0)
        await store.cancel(job.id, LOCAL_OWNER)
        assert "cancelled" in "".join([line async for line in lines])


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: y\r\n\r\n",
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=[
        "header",
        "target",
        "headers",
        "no host",
        "two hosts",
        "two lengths",
        "two ends",
        "length",
        "coding",
        "nul",
        "tls",
    ],
)
async def test_heads_that_are_none_or_too_large_are_refused(impatient: str, head: bytes) -> None:
    async with asyncio.timeout(90), connection(impatient) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            writer.write(head)
            await writer.drain()
            answer = await reader.read()
            assert answer == b"" or re.match(rb"HTTP/1\.1 (400|431|501) ", answer)
            assert answer.count(b"HTTP/1.1 ") <= 1, "nothing behind it was taken for another request"
    async with httpx.AsyncClient(base_url=f"http://{impatient}", timeout=30, trust_env=False) as client:
        assert (await client.get("/healthz")).status_code == 200
