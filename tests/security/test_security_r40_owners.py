"""R40: another user's id on every route that takes one, as the OpenAPI document lists them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from gateway_testing import WORDS, api_settings, claim_of, client_of, link

from singscript_gateway.auth.model import SCOPES, Scope
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_gateway.jobs.model import Artifact
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_gateway.webhooks.model import WebhookOrder
from singscript_storage import FolderStore

UNPRIVILEGED: tuple[Scope, ...] = ("jobs:read", "jobs:write", "account")
# What each answer has anew.
PRIVATE = {"date", "x-request-id"}


async def key_of(accounts: AccountStore, user: str, *scopes: Scope) -> dict[str, str]:
    """All scopes, where none is named."""
    await accounts.add_user(user, user, by=None)
    _, key = await accounts.add_key(user, "test", scopes or SCOPES, None, by=None)
    return {"Authorization": f"Bearer {key}"}


async def finished(store: JobStore, queue: JobQueue, objects: FolderStore, folder: Path, owner: str) -> UUID:
    """A job that has succeeded, with words, events and a webhook."""
    path = folder / "words.json"
    path.write_bytes(WORDS)
    stored = objects.put("align/test/words.json", path, "application/json")
    request = link().model_copy(update={"webhook": WebhookOrder(url="https://example.com/hook")})
    job = (await claim_of(queue, (await store.create(request, owner)).id)).job
    words = Artifact(
        name="words.json",
        stage="align",
        key=stored.key,
        media_type="application/json",
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        levels=None,
    )
    assert await queue.record(job, Update("artifact", words.model_dump())) and await queue.succeed(job)
    return job.id


# What names somebody's: a kind that is not here needs a place here, and one that is made below.
KINDS = ("job_id", "upload_id", "key_id", "user_id")
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
# What these take, so that they come as far as to what the id means.
BODIES = {"post": {}, "patch": {"name": "x"}, "put": {}}


def pairs(document: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Method, path and kinds of ids of each operation that has one; fails for a kind that nobody knows."""
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for path, methods in document["paths"].items():
        kinds = tuple(kind for kind in re.findall(r"{(\w+)}", path) if kind != "name")
        unknown = set(kinds).difference(KINDS)
        assert not unknown, f"no rule for {unknown} of {path}: name it in KINDS, and let alice have one"
        found += [(method, path, kinds) for method in methods if kinds]
    # For those that are let do nothing but POST.
    return [*found, ("post", "/api/uploads/{upload_id}", ("upload_id",))]


def test_r40_an_id_of_a_new_kind_needs_a_rule() -> None:
    with pytest.raises(AssertionError, match=r"no rule for {'thing_id'} of /api/jobs/{job_id}/things/{thing_id}"):
        pairs({"paths": {"/api/jobs/{job_id}/things/{thing_id}": {"get": {}}}})


async def test_r40_what_is_somebody_elses_is_not_there(
    database_url: str, pool: Pool, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path
) -> None:
    """Every operation with an id: of alice's, and of nothing at all, eve is told the same."""
    accounts = AccountStore(pool)
    async with client_of(api_settings(database_url, auth="keys"), objects) as client:
        alice, eve = await key_of(accounts, "alice"), await key_of(accounts, "eve", *UNPRIVILEGED)
        job_id = await finished(store, queue, objects, tmp_path, "alice")
        begun = await client.post("/api/uploads", headers=alice | TUS | {"Upload-Length": "3"})
        upload_id = begun.headers["Location"].rpartition("/")[2]
        key_id = (await accounts.list_keys("alice", before=None, limit=1))[0].id
        theirs = {"job_id": str(job_id), "upload_id": upload_id, "key_id": key_id, "user_id": "alice"}
        nothing = {"job_id": str(uuid4()), "upload_id": str(uuid4()), "key_id": "0" * 12, "user_id": "nobody"}
        assert set(theirs) == set(nothing) == set(KINDS)
        before = await store.get(job_id, "alice")

        async def asked(method: str, path: str, ids: dict[str, str], who: dict[str, str]) -> httpx.Response:
            url = path.format(**ids, name="words.json")
            headers = who | {"If-Match": "*", "X-HTTP-Method-Override": "PATCH"}
            if "{upload_id}" in path:
                return await client.request(method, url, headers=headers | BYTES, content=b"abc")
            body = {"formats": ["srt"]} if "{job_id}" in path else BODIES.get(method)
            return await client.request(method, url, headers=headers, json=body if method in BODIES else None)

        known = pairs((await client.get("/openapi.json")).json())
        assert {kind for *_, kinds in known for kind in kinds} == set(KINDS) and len(known) > 25
        for method, path, kinds in known:
            answers = [await asked(method, path, ids, eve) for ids in (theirs, nothing)]
            # Users are for admins alone, whoever it is.
            expected = 403 if "user_id" in kinds else 404
            assert [one.status_code for one in answers] == [expected] * 2, (method, path, answers[0].text)
            assert answers[0].content == answers[1].content, (method, path)
            kept = [{k: v for k, v in one.headers.items() if k not in PRIVATE} for one in answers]
            assert kept[0] == kept[1], (method, path)
            if method in ("get", "head"):
                assert (await asked(method, path, theirs, alice)).status_code == 200, (path, "is there for its owner")
        orders = [{"upload": ids["upload_id"]} for ids in (theirs, nothing)]
        answers = [await client.post("/api/jobs", headers=eve, json=order) for order in orders]
        assert [one.status_code for one in answers] == [404, 404] and answers[0].content == answers[1].content
        for other in ("alice", "nobody", "*"):
            assert (await client.get("/api/audit", headers=eve, params={"user": other})).json()["scope"] == "admin"
        assert (await client.get("/api/jobs", headers=eve)).json()["jobs"] == []
        assert len((await client.get("/api/jobs", headers=alice)).json()["jobs"]) == 1
        assert await store.get(job_id, "alice") == before, "nothing of it was changed"
        assert (await accounts.key(key_id, "alice")).revoked_at is None
        assert (await accounts.user("alice")).disabled_at is None
        # Not a byte of it was taken, and it is still to be had.
        url = f"/api/uploads/{upload_id}"
        assert (await client.patch(url, headers=alice | BYTES, content=b"abc")).status_code == 204
        assert (await client.post("/api/jobs", headers=alice, json=orders[0])).status_code == 202


async def test_r40_what_is_ones_own_in_lists(
    database_url: str, pool: Pool, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path
) -> None:
    """Without an id, everything that is listed is one's own: also for who has all scopes."""
    accounts = AccountStore(pool)
    async with client_of(api_settings(database_url, auth="keys"), objects) as client:
        alice, eve = await key_of(accounts, "alice"), await key_of(accounts, "eve")
        await finished(store, queue, objects, tmp_path, "alice")
        assert (await client.put("/api/webhook", headers=alice, json={"url": "https://a.test/x"})).status_code == 200
        assert (await client.post("/api/webhook/test", headers=alice)).status_code == 202
        assert (await client.get("/api/webhook", headers=eve)).status_code == 404
        assert (await client.delete("/api/webhook", headers=eve)).status_code == 404
        assert (await client.post("/api/webhook/test", headers=eve)).status_code == 404
        assert (await client.get("/api/webhook/deliveries", headers=eve)).json()["deliveries"] == []
        assert len((await client.get("/api/webhook/deliveries", headers=alice)).json()["deliveries"]) == 1
        assert [key["id"] for key in (await client.get("/api/keys", headers=eve)).json()["keys"]] == [
            (await accounts.list_keys("eve", before=None, limit=1))[0].id
        ]
        entries = (await client.get("/api/audit", headers=eve)).json()["entries"]
        assert {entry["user"] for entry in entries} <= {"eve"}
        assert (await client.get("/api/usage", headers=eve)).json() == (
            await client.get("/api/usage", headers=await key_of(accounts, "bob"))
        ).json()
        quotas = (await client.get("/api/quotas", headers=eve)).json()
        assert quotas["user"]["used"]["audio_minutes_per_day"] == 0


async def test_r40_keys_of_repetition_are_ones_own(database_url: str, pool: Pool, objects: FolderStore) -> None:
    accounts = AccountStore(pool)
    async with client_of(api_settings(database_url, auth="keys"), objects) as client:
        order = {"url": "https://example.org/a.mp3"}
        made = [
            await client.post(
                "/api/jobs", json=order, headers=await key_of(accounts, who) | {"Idempotency-Key": "same"}
            )
            for who in ("alice", "eve")
        ]
    assert [one.status_code for one in made] == [202, 202]
    assert made[0].json()["id"] != made[1].json()["id"]
