"""Pages of other origins get nothing, save those that the operator named (R47)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from gateway_testing import api_settings, client_of
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from singscript_gateway.api.cors import origins
from singscript_gateway.jobs.store import JobStore
from singscript_storage import FolderStore

APP = "https://app.example.org"
LOCAL = "http://localhost:5173"
STRANGERS = [
    *("https://evil.test", "null", "", "*", "https://app.example.org.evil.test", "https://evil-app.example.org"),
    *("https://app.example.org:8443", "http://app.example.org", "https://app.example.org/", "https://APP.example.org"),
    *(
        "https://app.example.orgg",
        "https://example.org",
        "https://sub.app.example.org",
        "https://app.example.org@evil.test",
    ),
    *(
        "https://app.example.org, https://evil.test",
        "http://localhost",
        "http://localhost:5174",
        "https://localhost:5173",
    ),
    *("http://127.0.0.1:5173", "https://app.example.org:443", "file://", "https://appxexample.org"),
    "https://app.example.org\t",
]
ASKED = {
    ("POST", "authorization,content-type,idempotency-key"),
    ("PUT", "authorization,content-type,if-match"),
    ("GET", "authorization,last-event-id"),
    ("GET", "authorization,range,if-none-match"),
    ("DELETE", "authorization"),
    ("PATCH", "authorization,content-type,tus-resumable,upload-offset,upload-checksum"),
    ("POST", "authorization,tus-resumable,upload-length,upload-metadata"),
}


def granted(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.fixture
async def cross(database_url: str, objects: FolderStore) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(api_settings(database_url, cors_origins=f"{APP}, {LOCAL}"), objects) as client:
        yield client


async def preflight(client: httpx.AsyncClient, origin: str, method: str, names: str) -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": names}
    return await client.options("/api/jobs", headers=headers)


async def test_r47_strangers_get_nothing(cross: httpx.AsyncClient) -> None:
    for origin in STRANGERS:
        for path in ("/api/jobs", "/nowhere", "/healthz", "/docs"):
            answer = await cross.get(path, headers={"Origin": origin})
            assert granted(answer) == set() and "Origin" in answer.headers["vary"], origin
        assert granted(await cross.post("/api/jobs", headers={"Origin": origin}, json={})) == set(), origin
        for method, names in ASKED:
            answer = await preflight(cross, origin, method, names)
            assert granted(answer) == set() and not answer.is_success, origin


@given(st.from_regex(r"(https?://)?[a-z.*]{0,8}app\.example\.org[a-z.:/@0-9]{0,8}", fullmatch=True))
def test_r47_only_the_exact_text_of_an_origin_is_one(text: str) -> None:
    try:
        assert origins(text) in ([], [text])
    except ValueError:
        assert text != APP


@pytest.mark.parametrize("origin", [APP, LOCAL])
async def test_r47_named_origins_may_do_what_the_api_needs(
    cross: httpx.AsyncClient, store: JobStore, origin: str
) -> None:
    for method, names in ASKED:
        answer = await preflight(cross, origin, method, names)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert method in answer.headers["access-control-allow-methods"].split(", ")
        assert set(names.split(",")) <= set(answer.headers["access-control-allow-headers"].lower().split(", "))
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["x-request-id"] and "Origin" in answer.headers["vary"]
    made = await cross.post("/api/jobs", headers={"Origin": origin}, json={"url": "https://example.org/a.mp3"})
    answers = [
        made,
        await cross.get("/api/jobs", headers={"Origin": origin}),
        await cross.get("/nowhere", headers={"Origin": origin}),
    ]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == origin
        shown = set(answer.headers["access-control-expose-headers"].split(", "))
        assert {"Location", "ETag", "Retry-After", "X-Request-Id", "Upload-Offset"} <= shown
        assert "access-control-allow-credentials" not in answer.headers and "Origin" in answer.headers["vary"]


async def test_r47_a_method_or_header_that_the_api_does_not_need_is_refused(cross: httpx.AsyncClient) -> None:
    assert (await preflight(cross, APP, "TRACE", "authorization")).status_code == 400
    assert (await preflight(cross, APP, "POST", "x-anything")).status_code == 400


async def test_r47_errors_and_defects_are_readable_for_named_origins(
    cross: httpx.AsyncClient, store: JobStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(JobStore, "list_jobs", broken)
    answer = await cross.get("/api/jobs", headers={"Origin": APP})
    assert answer.status_code == 500 and answer.headers["access-control-allow-origin"] == APP
    answer = await cross.get("/api/jobs", headers={"Origin": "https://evil.test"})
    assert not answer.is_success and granted(answer) == set()


async def test_r47_without_a_setting_nobody_is_named(client: httpx.AsyncClient) -> None:
    for origin in (APP, "http://gateway.test", *STRANGERS):
        assert granted(await client.get("/api/jobs", headers={"Origin": origin})) == set()
        assert granted(await preflight(client, origin, "POST", "authorization")) == set()


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "https://*.example.org",
        "app.example.org",
        "https://app.example.org/",
        "https://app.example.org/x",
        "ftp://app.example.org",
        "https://",
        "https://a@b.org",
        "https://App.example.org",
        "https://app.example.org:443",
        "http://app.example.org:80",
        f"{APP},*",
        "https://app.example.org:x",
        "https://app.example.org?x",
    ],
)
def test_r47_what_is_no_origin_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValidationError):
        api_settings("postgresql://", cors_origins=text)
