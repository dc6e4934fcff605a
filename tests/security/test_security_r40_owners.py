"""R40: another user's id on every route that takes one, as the OpenAPI document lists them."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import httpx
from gateway_testing import WORDS, api_settings, claim_of, client_of, link

from singscript_gateway.auth.model import SCOPES
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_gateway.jobs.model import Artifact
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update
from singscript_gateway.webhooks.model import WebhookOrder
from singscript_storage import FolderStore

PRIVATE = {"date", "x-request-id"}


async def key_of(accounts: AccountStore, user: str) -> dict[str, str]:
    await accounts.add_user(user, user, by=None)
    _, key = await accounts.add_key(user, "test", SCOPES, None, by=None)
    return {"Authorization": f"Bearer {key}"}


async def finished(store: JobStore, objects: FolderStore, folder: Path, owner: str) -> UUID:
    """A job that has succeeded, with words, events and a webhook."""
    path = folder / "words.json"
    path.write_bytes(WORDS)
    stored = objects.put("align/test/words.json", path, "application/json")
    request = link().model_copy(update={"webhook": WebhookOrder(url="https://example.com/hook")})
    job = (await claim_of(store, (await store.create(request, owner)).id)).job
    words = Artifact(
        name="words.json",
        stage="align",
        key=stored.key,
        media_type="application/json",
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        levels=None,
    )
    assert await store.record(job, Update("artifact", words.model_dump())) and await store.succeed(job)
    return job.id


async def test_r40_what_is_somebody_elses_is_not_there(
    database_url: str, pool: Pool, store: JobStore, objects: FolderStore, tmp_path: Path
) -> None:
    accounts = AccountStore(pool)
    async with client_of(api_settings(database_url, auth="keys"), objects) as client:
        alice, eve = await key_of(accounts, "alice"), await key_of(accounts, "eve")
        job_id, unknown = await finished(store, objects, tmp_path, "alice"), uuid4()
        before = await store.get(job_id, "alice")

        async def asked(method: str, path: str, job: UUID, who: dict[str, str]) -> httpx.Response:
            url = path.replace("{job_id}", str(job)).replace("{name}", "words.json")
            body = {"formats": ["srt"]} if method in ("post", "put") else None
            return await client.request(method, url, headers=who | {"If-Match": "*"}, json=body)

        document = (await client.get("/openapi.json")).json()
        routes = [(m, p) for p, methods in document["paths"].items() if "{job_id}" in p for m in methods]
        assert len(routes) >= 12
        for method, path in routes:
            theirs, none = await asked(method, path, job_id, eve), await asked(method, path, unknown, eve)
            assert theirs.status_code == none.status_code == 404, (method, path, theirs.text)
            assert theirs.content == none.content, (method, path)
            kept = [{k: v for k, v in one.headers.items() if k not in PRIVATE} for one in (theirs, none)]
            assert kept[0] == kept[1], (method, path)
            if method == "get":
                assert (await asked(method, path, job_id, alice)).status_code == 200, (path, "is there for its owner")
        assert (await client.get("/api/jobs", headers=eve)).json()["jobs"] == []
        assert len((await client.get("/api/jobs", headers=alice)).json()["jobs"]) == 1
        assert await store.get(job_id, "alice") == before, "nothing of it was changed"


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


async def test_r40_every_id_has_a_rule(database_url: str, pool: Pool, objects: FolderStore) -> None:
    """Ids of jobs: above. Of keys: here. Those of users are for admins alone. A new kind of id needs a rule here."""
    accounts = AccountStore(pool)
    async with client_of(api_settings(database_url, auth="keys"), objects) as client:
        await key_of(accounts, "alice")
        theirs = (await accounts.list_keys("alice", before=None, limit=1))[0].id
        await accounts.add_user("eve", "eve", by=None)
        _, text = await accounts.add_key("eve", "", [s for s in SCOPES if s != "admin"], None, by=None)
        eve = {"Authorization": f"Bearer {text}"}
        document = (await client.get("/openapi.json")).json()
        routes = [(m, p) for p, methods in document["paths"].items() if "{" in p for m in methods]
        for method, path in routes:
            body = {"name": "x"} if method == "patch" else None
            if "{user_id}" in path:
                url = path.replace("{user_id}", "alice").replace("{key_id}", theirs)
                body = {"scopes": ["jobs:read"]} if method == "post" else body
                answer = await client.request(method, url, headers=eve, json=body)
                assert (answer.status_code, answer.json()["scope"]) == (403, "admin"), (method, path)
            elif "{key_id}" in path:
                answers = [
                    await client.request(method, path.replace("{key_id}", key), headers=eve, json=body)
                    for key in (theirs, "0" * 12)
                ]
                assert [one.status_code for one in answers] == [404, 404], (method, path)
                assert answers[0].content == answers[1].content
            else:
                assert "{job_id}" in path or "{upload_id}" in path, f"no rule for the ids of {method} {path}"
        assert (await accounts.key(theirs, "alice")).revoked_at is None


async def test_r40_an_upload_is_ones_own(database_url: str, pool: Pool, objects: FolderStore) -> None:
    accounts = AccountStore(pool)
    async with client_of(api_settings(database_url, auth="keys"), objects) as client:
        alice, eve = await key_of(accounts, "alice"), await key_of(accounts, "eve")
        tus = {"Tus-Resumable": "1.0.0"}
        begun = await client.post("/api/uploads", headers=alice | tus | {"Upload-Length": "3"})
        theirs, none = begun.headers["Location"], f"/api/uploads/{uuid4()}"
        bytes_ = tus | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        for method, how in (("HEAD", tus), ("DELETE", tus), ("PATCH", bytes_)):
            answers = [await client.request(method, one, headers=eve | how, content=b"abc") for one in (theirs, none)]
            assert [one.status_code for one in answers] == [404, 404], method
            assert answers[0].content == answers[1].content, method
        assert (await client.patch(theirs, headers=alice | bytes_, content=b"abc")).status_code == 204
        orders = [{"upload": one.rpartition("/")[2]} for one in (theirs, none)]
        answers = [await client.post("/api/jobs", headers=eve, json=order) for order in orders]
        assert [one.status_code for one in answers] == [404, 404] and answers[0].content == answers[1].content
        assert (await client.post("/api/jobs", headers=alice, json=orders[0])).status_code == 202
        for headers in (tus, tus | {"Authorization": "Bearer ss_x_y"}):
            assert (await client.head(theirs, headers=headers)).status_code == 401
