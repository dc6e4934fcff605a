"""Inputs that break others: each is refused with a reason, or taken, and never a 5xx (R46)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from gateway_testing import link
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.store import JobStore

URL = "https://example.org/song.mp3"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


def refused(answer: httpx.Response, *statuses: int) -> None:
    """A problem with one of these statuses."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] and answer.json()["status"] == answer.status_code


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "nul": b"\0",
    "no text": b"\xff\xfe\x00",
    "utf-16": json.dumps({"url": URL}).encode("utf-16"),
    "mark": b"\xef\xbb\xbf" + json.dumps({"url": URL}).encode(),
    "half": b'{"url": "https://example.org/a',
    "two": b'{"url": "https://example.org/a"}{"url": "https://example.org/b"}',
    "number": b"1",
    "null": b"null",
    "list": b"[]",
    "text": b'"x"',
    "infinity": b'{"url": Infinity}',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"url":' * 100_000,
    "deep and whole": b"[" * 50_000 + b"]" * 50_000,
    "deep inside": b'{"url": "https://example.org/a", "lookup": ' + b'{"artist":' * 10_000 + b"1" + b"}" * 10_001,
    "huge number": b'{"url": "https://example.org/a", "title": ' + b"9" * 100_000 + b"}",
    "nul in a text": json.dumps({"url": URL, "lyrics": "a\0b"}).encode(),
    "nul in a name": json.dumps({"url": URL, "a\0b": 1}).encode(),
    "nul in a link": json.dumps({"url": "https://example.org/a\0"}).encode(),
    "line break in a link": json.dumps({"url": "https://example.org/a\r\nX: y"}).encode(),
    "surrogate": b'{"url": "https://example.org/a", "lyrics": "\\ud800"}',
    "surrogate in a link": b'{"url": "https://example.org/\\udfff"}',
    "surrogate in a title": b'{"url": "https://example.org/a", "title": "\\ud83d"}',
    "surrogate, encoded": b'{"url": "https://example.org/a", "title": "\xed\xa0\x80"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_bodies_that_are_no_order(client: httpx.AsyncClient, store: JobStore, body: bytes) -> None:
    refused(await client.post("/api/jobs", content=body, headers=JSON), 422)
    job = await store.create(link(), LOCAL_OWNER)
    refused(await client.post(f"/api/jobs/{job.id}/render", content=body, headers=JSON), 409, 422)
    refused(await client.put(f"/api/jobs/{job.id}/words", content=body, headers=JSON | {"If-Match": "*"}), 409, 422)


async def test_reuse_is_true_or_false(client: httpx.AsyncClient) -> None:
    for value in (0, 1, "no", "", [], 0.0):
        refused(await client.post("/api/jobs", json={"url": URL, "reuse": value}), 422)
    for text in ("false", "False"):
        made = await client.post("/api/jobs", files={"url": (None, URL), "reuse": (None, text)})
        assert made.json()["options"]["reuse"] is False


TEXTS = st.text(st.characters(), max_size=30) | st.sampled_from(
    [
        "\0",
        "\ud800",
        "\udc80x",
        "\u202eabc",
        "\uffff",
        "\U0010ffff",
        "a\r\nb",
        "🎤" * 20,
        "\x7f\x80\x9f",
        "' OR 1=1 --",
        "%s%(x)s{}",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.integers(2**63, 2**200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
NAMES = (
    "lyrics",
    "title",
    "prompt",
    "hot_words",
    "language",
    "lookup",
    "formats",
    "karaoke",
    "webhook",
    "stems",
    "task",
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    database=None,
)
@given(order=st.dictionaries(st.sampled_from(NAMES) | TEXTS, VALUES, max_size=3), usual=st.booleans())
async def test_any_json_is_taken_or_refused_and_what_was_taken_can_be_shown(
    client: httpx.AsyncClient, order: dict[str, Any], usual: bool
) -> None:
    body = json.dumps(order | ({"url": URL} if usual else {})).encode()
    answer = await client.post("/api/jobs", content=body, headers=JSON)
    if answer.status_code == 202:
        shown = await client.get(answer.headers["location"])
        assert shown.status_code == 200 and shown.json()["id"] == answer.json()["id"]
    else:
        refused(answer, 422)
    assert (await client.get("/api/jobs")).status_code == 200


def part(disposition: bytes, content: bytes = b"x", more: bytes = b"") -> bytes:
    return b"--edge\r\nContent-Disposition: " + disposition + b"\r\n" + more + b"\r\n" + content + b"\r\n"


END = b"--edge--\r\n"
FORMS: dict[str, bytes] = {
    "nothing": b"",
    "only the end": END,
    "no name": part(b"form-data") + END,
    "no disposition": b"--edge\r\n\r\nx\r\n" + END,
    "two files": part(b'form-data; name="file"; filename="a"') * 2 + END,
    "file of another name": part(b'form-data; name="other"; filename="a"') + END,
    "no file": part(b'form-data; name="lyrics"', b"la") + END,
    "twice": part(b'form-data; name="title"') * 2 + part(b'form-data; name="url"', URL.encode()) + END,
    "no text": part(b'form-data; name="title"', b"\xff") + part(b'form-data; name="url"', URL.encode()) + END,
    "nul": part(b'form-data; name="title"', b"\0") + part(b'form-data; name="url"', URL.encode()) + END,
    "deep": part(b'form-data; name="lookup"', b"[" * 100_000) + part(b'form-data; name="url"', URL.encode()) + END,
    "huge number": part(b'form-data; name="lookup"', b"9" * 100_000)
    + part(b'form-data; name="url"', URL.encode())
    + END,
    "surrogate": part(b'form-data; name="lookup"', b'{"artist": "\\ud800"}')
    + part(b'form-data; name="url"', URL.encode())
    + END,
    "surrogate in a name": part(b'form-data; name="lookup"', b'{"\\ud800": ""}')
    + part(b'form-data; name="url"', URL.encode())
    + END,
    "surrogate in a webhook": part(b'form-data; name="webhook"', b'{"url": "https://example.org/\\ud800"}')
    + part(b'form-data; name="url"', URL.encode())
    + END,
    "thousands of parts": part(b'form-data; name="a"') * 10_000 + END,
    "thousands of headers": part(b'form-data; name="title"', more=b"X: y\r\n" * 10_000)
    + part(b'form-data; name="url"', URL.encode()),
    "long header": part(b'form-data; name="' + b"x" * 500_000 + b'"') + END,
    "empty file": part(b'form-data; name="file"; filename="a"', b"") + END,
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
async def test_forms_that_are_none(client: httpx.AsyncClient, body: bytes) -> None:
    refused(await client.post("/api/jobs", content=body, headers=FORM), 413, 422)
    assert (await client.get("/api/jobs")).json()["jobs"] == []


@pytest.mark.parametrize(
    "name",
    [
        b"../../etc/passwd",
        b"a\\r\\nSet-Cookie: x=y",
        b"C:\\\\Windows\\\\x",
        b"\xff\xfe",
        b'a\\"; x="',
        b"%0d%0aX: y",
        b"a" * 5000,
        b"..",
        b"<script>",
    ],
)
async def test_names_of_files_do_no_harm(client: httpx.AsyncClient, name: bytes) -> None:
    body = part(b'form-data; name="file"; filename="' + name + b'"') + END
    answer = await client.post("/api/jobs", content=body, headers=FORM)
    if answer.status_code != 202:
        refused(answer, 422)
        return
    shown = answer.json()["source"]["file_name"]
    assert shown and shown.isprintable() and len(shown) <= 255 and "/" not in shown and "\\" not in shown
    assert set(answer.headers) & {"set-cookie", "x"} == set()


async def test_ids_that_are_none(client: httpx.AsyncClient, store: JobStore) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    odd = [
        *(
            "x",
            "0",
            "-1",
            "null",
            "None",
            "..",
            "%2e%2e",
            "%00",
            "a%00b",
            "%ff",
            "%C0%AF",
            "%0d%0aX:%20y",
            "'",
            "%27%3B--",
        ),
        *(
            f"{job.id}%00",
            f"{job.id} ",
            f"{job.id}x",
            "{" + str(job.id) + "0}",
            "9" * 400,
            quote("🎤"),
            quote("\u202e"),
        ),
        *(str(uuid4()), f"{uuid4()}".upper()),
    ]
    routes = [
        *(("GET", ""), ("GET", "/events"), ("GET", "/result"), ("GET", "/words"), ("GET", "/words/revisions")),
        *(("GET", "/webhook"), ("GET", "/artifacts/x"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")),
    ]
    for one in odd:
        for method, rest in routes:
            answer = await client.request(method, f"/api/jobs/{one}{rest}")
            # Dots are taken out of the address by the client.
            refused(answer, 404, *((405,) if ".." in one else ()))
    artifacts = ("%00", "..%2f..%2fetc%2fpasswd", "%ff", "x%0d%0aX:%20y", "a" * 3000, quote("🎤"), "'")
    for name in artifacts:
        refused(await client.get(f"/api/jobs/{job.id}/artifacts/{name}"), 404)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=1e1",
        "limit=" + "9" * 5000,
        "state=%00",
        "state=",
        "cursor=%00",
        "cursor=%ff",
        "cursor=" + "A" * 101,
        "cursor=LTE",
        "cursor=" + "_" * 100,
        "cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
    ],
)
async def test_queries_that_make_no_sense(client: httpx.AsyncClient, query: str) -> None:
    refused(await client.get(f"/api/jobs?{query}"), 422)


@pytest.mark.parametrize(
    "query",
    [
        "since=0",
        "since=x",
        "until=99999999999999999999",
        "until=NaN",
        "since=%00",
        "since=2026-01-01",
        "since=2026-13-01T00:00:00Z",
    ],
)
async def test_times_that_are_none(client: httpx.AsyncClient, query: str) -> None:
    refused(await client.get(f"/api/usage?{query}"), 422)


async def test_moments_at_the_ends_of_time(client: httpx.AsyncClient) -> None:
    for moment in (
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00%2B23:59",
        "9999-12-31T23:59:59-23:59",
    ):
        answer = await client.get(f"/api/usage?since={moment}&until={moment}")
        assert answer.status_code in (200, 422), answer.text


async def test_headers_that_make_no_sense(client: httpx.AsyncClient, store: JobStore) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    path = f"/api/jobs/{job.id}/events"
    for number in ("x", "-1", "1.5", "9" * 30, "\xa0", "0x1", ""):
        refused(await client.get(path, headers={b"Last-Event-ID": number.encode("latin-1")}), 422)
    for accept in ("application/xml", "", "*/*;q=0", "text/html", "x" * 5000):
        assert (await client.get(f"/api/jobs/{job.id}", headers={"Accept": accept})).headers[
            "content-type"
        ] == "application/json"
    for range_ in ("bytes=0-" + "9" * 30, "bytes=-", "lines=1-2", "bytes=5-1", "\xff"):
        refused(await client.get(f"/api/jobs/{job.id}/artifacts/x", headers={b"Range": range_.encode("latin-1")}), 404)
    for media_type in (
        "",
        "application/xml",
        "application/json; charset=utf-16",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        "application/x-www-form-urlencoded",
        "\xff",
    ):
        answer = await client.post(
            "/api/jobs", content=b"url=x", headers={b"Content-Type": media_type.encode("latin-1")}
        )
        refused(answer, 415, 422)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PATCH", "PUT", "CONNECT", "PROPFIND", "X" * 50])
async def test_methods_that_there_are_not(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/api/jobs")
    assert answer.status_code == 405 and {"GET", "POST"} <= set(answer.headers["allow"].split(", "))
    if method != "HEAD":
        refused(answer, 405)
