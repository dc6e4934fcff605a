"""Without keys, pages of other sites reach nothing: neither by a name that leads here, nor by a form."""

from __future__ import annotations

import httpx
import pytest
from gateway_testing import api_settings, client_of

from singscript_gateway.api.visitors import is_loopback
from singscript_storage import FolderStore

LINK = {"url": "https://example.org/song.mp3"}


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8080",
        "localhost.evil.test",
        "10.0.0.1",
        "127.0.0.1.nip.io",
        "",
        "[::1",
        "x@evil.test",
        "localhost:80@evil.test",
    ],
)
async def test_a_name_that_leads_here_is_not_served(client: httpx.AsyncClient, host: str) -> None:
    for method, path in (("GET", "/api/jobs"), ("POST", "/api/jobs"), ("GET", "/healthz"), ("GET", "/docs")):
        answer = await client.request(method, path, headers={"Host": host}, json=LINK)
        assert (answer.status_code, answer.json()["reason"]) == (421, "HOST_NOT_SERVED")
    assert (await client.get("/api/jobs")).json()["jobs"] == []


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:8080"])
async def test_this_machine_is_served(client: httpx.AsyncClient, host: str) -> None:
    assert is_loopback(host)
    assert (await client.get("/api/jobs", headers={"Host": host})).status_code == 200
    own = {"Host": host, "Origin": f"http://{host}"}
    assert (await client.post("/api/jobs", headers=own, json=LINK)).status_code == 202


@pytest.mark.parametrize(
    "origin",
    ["https://evil.test", "null", "", "http://localhost:9999", "https://localhost", "http://localhost.evil.test"],
)
async def test_forms_of_other_pages_do_nothing(client: httpx.AsyncClient, origin: str) -> None:
    form = {"url": (None, LINK["url"].encode())}
    answer = await client.post("/api/jobs", files=form, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["reason"]) == (403, "ORIGIN_NOT_SERVED")
    assert (await client.get("/api/jobs")).json()["jobs"] == []


async def test_named_origins_are_served(database_url: str, objects: FolderStore) -> None:
    settings = api_settings(database_url, cors_origins="http://localhost:5173")
    async with client_of(settings, objects) as client:
        answer = await client.post("/api/jobs", json=LINK, headers={"Origin": "http://localhost:5173"})
        assert answer.status_code == 202 and answer.headers["access-control-allow-origin"] == "http://localhost:5173"
