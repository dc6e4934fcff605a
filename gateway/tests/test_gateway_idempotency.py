"""The same POST, sent more than once (R42)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from gateway_testing import api_settings, client_of, execute

from singscript_gateway.api.removal import Remover
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_storage import FolderStore, StorageUnavailable

LINK: dict[str, Any] = {"json": {"url": "https://example.org/song.mp3", "language": "en"}}
FILE: dict[str, Any] = {"files": {"file": ("a.mp3", b"a song" * 1000), "language": (None, b"en")}}


async def post(client: httpx.AsyncClient, key: str, order: dict[str, Any]) -> httpx.Response:
    return await client.post("/api/jobs", headers={"Idempotency-Key": key}, **order)


async def jobs(url: str) -> int:
    return (await execute(url, "SELECT count(*) FROM jobs"))[0][0]


@pytest.mark.parametrize("order", [LINK, FILE], ids=["link", "file"])
async def test_r42_fifty_at_once_are_one_job(database_url: str, objects: FolderStore, order: dict[str, Any]) -> None:
    settings = api_settings(database_url)
    async with client_of(settings, objects) as one, client_of(settings, objects) as other:
        answers = await asyncio.gather(*(post((one, other)[n % 2], "k", order) for n in range(50)))
        assert {a.status_code for a in answers} == {202} and len({a.content for a in answers}) == 1
        assert len({a.headers["location"] for a in answers}) == 1
        assert await jobs(database_url) == 1
        assert (await one.get(answers[0].headers["location"])).json() == answers[0].json()


@pytest.mark.parametrize("order", [LINK, FILE], ids=["link", "file"])
async def test_answer_stays_whatever_became_of_the_job(
    client: httpx.AsyncClient, store: JobStore, database_url: str, order: dict[str, Any]
) -> None:
    first = await post(client, "k", order)
    await store.cancel(first.json()["id"], LOCAL_OWNER)
    assert (await post(client, "k", order)).content == first.content
    await store.delete(first.json()["id"], LOCAL_OWNER)
    assert (await post(client, "k", order)).content == first.content and await jobs(database_url) == 0


async def test_r42_another_body_is_refused_and_stores_nothing(
    client: httpx.AsyncClient, objects: FolderStore, database_url: str
) -> None:
    await post(client, "link", LINK)
    assert len(list(objects.list())) == 0
    await post(client, "file", FILE)
    stored = list(objects.list())
    others = [
        {"json": LINK["json"] | {"language": "de"}},
        {"json": LINK["json"] | {"url": "https://example.org/song.mp3?"}},
        {"files": {"file": ("a.mp3", b"another song"), "language": (None, b"en")}},
        {"files": {"file": ("a.mp3", b"a song" * 1000)}},
    ]
    for other in others:
        for key in ("link", "file"):
            refused = await post(client, key, other)
            assert (refused.status_code, refused.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")
            assert refused.headers["content-type"] == "application/problem+json"
    assert await jobs(database_url) == 2 and list(objects.list()) == stored


async def test_same_job_in_other_words_is_the_same(client: httpx.AsyncClient) -> None:
    first = await post(client, "k", LINK)
    spelt = b'{"language":"en", "stems": "vocals", "lyrics": "", "url": "https://example.org/song.mp3"}'
    again = await client.post(
        "/api/jobs", content=spelt, headers={"Idempotency-Key": "k", "Content-Type": "application/json"}
    )
    form = {"files": {name: (None, text.encode()) for name, text in LINK["json"].items()}}
    assert first.content == again.content == (await post(client, "k", form)).content


async def test_secret_of_a_webhook_is_told_again(client: httpx.AsyncClient, store: JobStore) -> None:
    order = {"json": LINK["json"] | {"webhook": {"url": "https://example.org/hook"}}}
    first = await post(client, "k", order)
    assert first.json()["webhook_secret"]
    await store.cancel(first.json()["id"], LOCAL_OWNER)
    await store.delete(first.json()["id"], LOCAL_OWNER)
    assert (await post(client, "k", order)).content == first.content
    other = {"json": LINK["json"] | {"webhook": {"url": "https://example.org/other"}}}
    assert (await post(client, "k", other)).json()["reason"] == "IDEMPOTENCY_KEY_REUSED"


async def test_other_keys_and_none_make_other_jobs(client: httpx.AsyncClient, database_url: str) -> None:
    keys = ["k", "K", "k ~!", "x" * 255]
    made = [(await post(client, key, LINK)).json()["id"] for key in keys]
    made += [(await client.post("/api/jobs", **LINK)).json()["id"] for _ in range(2)]
    assert len(set(made)) == 6 == await jobs(database_url)


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", b"caf\xe9"])
async def test_keys_that_are_none(client: httpx.AsyncClient, database_url: str, key: bytes) -> None:
    refused = await client.post("/api/jobs", headers=[(b"Idempotency-Key", key)], **LINK)
    assert (refused.status_code, refused.json()["reason"]) == (422, "INVALID_INPUT")
    assert [e["field"].lower() for e in refused.json()["errors"]] == ["idempotency-key"]
    assert await jobs(database_url) == 0


async def test_key_is_free_again_after_a_day(client: httpx.AsyncClient, database_url: str) -> None:
    first = await post(client, "k", LINK)
    await execute(database_url, "UPDATE idempotency_keys SET created_at = now() - interval '23 h 59 min'")
    assert (await post(client, "k", LINK)).content == first.content
    await execute(database_url, "UPDATE idempotency_keys SET created_at = now() - interval '24 h 1 min'")
    other = {"json": {"url": "https://example.org/other.mp3"}}
    answers = await asyncio.gather(*(post(client, "k", other) for _ in range(10)))
    assert len({a.content for a in answers}) == 1 and await jobs(database_url) == 2
    assert await execute(database_url, "SELECT count(*) FROM idempotency_keys") == [(1,)]


async def test_request_that_fails_leaves_its_key_free(
    client: httpx.AsyncClient, objects: FolderStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("The storage is away.")

    with monkeypatch.context() as broken:
        broken.setattr(FolderStore, "put", away)
        assert (await post(client, "k", FILE)).json()["reason"] == "STORAGE_UNAVAILABLE"
    assert (await post(client, "k", LINK | {"json": {"url": "nothing"}})).json()["reason"] == "INVALID_INPUT"
    await execute(database_url, "ALTER TABLE job_events ADD CHECK (false) NOT VALID")
    assert (await post(client, "k", FILE)).status_code == 500
    await execute(database_url, "ALTER TABLE job_events DROP CONSTRAINT job_events_check")
    assert (await post(client, "k", LINK)).status_code == 202 and await jobs(database_url) == 1


async def test_upload_whose_job_was_not_made_is_removed(
    client: httpx.AsyncClient, objects: FolderStore, upkeep: Upkeep, database_url: str
) -> None:
    await execute(database_url, "ALTER TABLE jobs ADD CONSTRAINT broken CHECK (false) NOT VALID")
    assert (await post(client, "k", FILE)).status_code == 500
    assert len(list(objects.list("upload/"))) == 1
    await Remover(upkeep, objects).remove_due()
    assert len(list(objects.list("upload/"))) == 1, "its job may still come"
    await execute(database_url, "UPDATE unused_objects SET due_at = now()")
    await Remover(upkeep, objects).remove_due()
    assert list(objects.list("upload/")) == []
