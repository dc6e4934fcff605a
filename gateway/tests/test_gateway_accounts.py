"""The REST side of accounts: who asks, keys, users, and the audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from gateway_testing import bearer, execute, link

from singscript_gateway.auth.keys import id_of
from singscript_gateway.auth.model import SCOPES, Scope
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.jobs.store import JobStore

NO_KEY = "0" * 12


async def user_with(accounts: AccountStore, user: str, *scopes: Scope, ends_at: datetime | None = None) -> str:
    """A key of a new user."""
    await accounts.add_user(user, user.title(), by=None)
    return (await accounts.add_key(user, "first", scopes or SCOPES, ends_at, by=None))[1]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["reason"]


async def test_me(gateway: httpx.AsyncClient, accounts: AccountStore) -> None:
    key = await user_with(accounts, "alice", "jobs:write", "jobs:read")
    me = (await gateway.get("/api/me", headers=bearer(key))).json()
    assert (me["user"], me["name"], me["scopes"]) == ("alice", "Alice", ["jobs:read", "jobs:write"])
    assert me["key"]["id"] == id_of(key) and me["key"]["name"] == "first"
    assert "digest" not in me["key"]


async def test_me_where_there_are_no_keys(client: httpx.AsyncClient) -> None:
    me = (await client.get("/api/me")).json()
    assert (me["user"], me["key"], set(me["scopes"])) == ("local", None, set(SCOPES))


async def test_a_key_is_made_used_renamed_and_revoked(gateway: httpx.AsyncClient, accounts: AccountStore) -> None:
    own = bearer(await user_with(accounts, "alice"))
    made = await gateway.post("/api/keys", headers=own, json={"name": " laptop ", "scopes": ["jobs:read"]})
    assert made.status_code == 201, made.text
    key, text = made.json(), made.json()["key"]
    assert made.headers["location"] == f"/api/keys/{key['id']}" and made.headers["cache-control"] == "no-store"
    assert (key["name"], key["scopes"], key["expires_at"]) == ("laptop", ["jobs:read"], None)
    assert (await gateway.get("/api/jobs", headers=bearer(text))).status_code == 200
    shown = await gateway.get(made.headers["location"], headers=own)
    assert text not in shown.text and text[-43:] not in shown.text and shown.json()["last_used_at"]
    renamed = await gateway.patch(f"/api/keys/{key['id']}", headers=own, json={"name": "old laptop"})
    assert renamed.json()["name"] == "old laptop"
    listed = (await gateway.get("/api/keys", headers=own)).json()["keys"]
    assert [one["name"] for one in listed] == ["old laptop", "first"]
    for _ in range(2):
        assert (await gateway.delete(f"/api/keys/{key['id']}", headers=own)).status_code == 204
    assert (await gateway.get(f"/api/keys/{key['id']}", headers=own)).json()["revoked_at"]


async def test_a_key_gives_no_more_than_it_has(gateway: httpx.AsyncClient, accounts: AccountStore) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    admin = bearer(await user_with(accounts, "root"))
    own = bearer(await user_with(accounts, "alice", "account", "jobs:read", ends_at=soon))
    mighty, _ = await accounts.add_key("alice", "mighty", SCOPES, soon, by=None)
    lasting, _ = await accounts.add_key("alice", "lasting", ["account"], None, by=None)

    async def make(**wanted: Any) -> httpx.Response:
        return await gateway.post("/api/keys", headers=own, json={"scopes": ["jobs:read"]} | wanted)

    for scope in ("jobs:write", "admin"):
        more = await make(scopes=["jobs:read", scope])
        assert refusal(more) == (403, "SCOPE_MISSING") and more.json()["scope"] == scope
    late = await make(expires_at=(soon + timedelta(minutes=1)).isoformat())
    assert refusal(late) == (422, "KEY_END_TOO_LATE") and datetime.fromisoformat(late.json()["latest"]) == soon
    made = (await make()).json()
    assert datetime.fromisoformat(made["expires_at"]) == soon, "left out, it ends with the key that made it"
    sooner = soon - timedelta(hours=1)
    made = (await make(expires_at=sooner.isoformat())).json()
    assert datetime.fromisoformat(made["expires_at"]) == sooner
    stronger = await gateway.post(f"/api/keys/{mighty.id}/rotate", headers=own)
    assert refusal(stronger) == (403, "SCOPE_MISSING"), "nor is a key that may do more had by rotating it"
    longer = await gateway.post(f"/api/keys/{lasting.id}/rotate", headers=own)
    assert refusal(longer) == (422, "KEY_END_TOO_LATE")
    assert (await accounts.key(lasting.id, "alice")).replaced_by is None
    for_others = await gateway.post(
        "/api/users/alice/keys",
        headers=bearer((await accounts.add_key("root", "small", ["admin"], None, by=None))[1]),
        json={"scopes": ["jobs:read"]},
    )
    assert refusal(for_others) == (403, "SCOPE_MISSING")
    given = await gateway.post("/api/users/alice/keys", headers=admin, json={"scopes": ["jobs:write"]})
    assert given.status_code == 201
    assert (await gateway.get("/api/me", headers=bearer(given.json()["key"]))).json()["user"] == "alice"


async def test_rotation(gateway: httpx.AsyncClient, accounts: AccountStore) -> None:
    """Both keys work until the overlap is over."""
    soon = datetime.now(UTC) + timedelta(days=30)
    old = await user_with(accounts, "alice", "account", ends_at=soon)
    turned = await gateway.post(f"/api/keys/{id_of(old)}/rotate", headers=bearer(old), json={"overlap_s": 3600})
    assert turned.status_code == 201, turned.text
    new = turned.json()["key"]
    assert turned.json()["scopes"] == ["account"]
    assert datetime.fromisoformat(turned.json()["expires_at"]) >= soon, "it lives as long again"
    for key in (old, new):
        assert (await gateway.get("/api/keys", headers=bearer(key))).status_code == 200
    shown = (await gateway.get(f"/api/keys/{id_of(old)}", headers=bearer(new))).json()
    assert shown["replaced_by"] == id_of(new)
    left = datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    again = await gateway.post(f"/api/keys/{id_of(old)}/rotate", headers=bearer(new))
    assert refusal(again) == (409, "KEY_NOT_ACTIVE")
    newest = await gateway.post(f"/api/keys/{id_of(new)}/rotate", headers=bearer(new), json={"overlap_s": 0})
    assert newest.status_code == 201
    key = await accounts.key(str(id_of(old)), "alice")
    assert key.expires_at and key.expires_at <= datetime.now(UTC), "no more than two of them live"


@pytest.mark.parametrize("order", [
    {},
    {"scopes": []},
    {"scopes": ["all"]},
    {"scopes": ["jobs:read", "jobs:read"]},
    {"scopes": ["jobs:read"], "expires_at": "2020-01-01T00:00:00Z"},
    {"scopes": ["jobs:read"], "expires_at": 4102444800},
    {"scopes": ["jobs:read"], "name": "x" * 101},
    {"scopes": ["jobs:read"], "name": "a\0b"},
    {"scopes": ["jobs:read"], "key": "ss_mine"},
])  # fmt: skip
async def test_keys_that_cannot_be(client: httpx.AsyncClient, order: dict[str, Any]) -> None:
    assert refusal(await client.post("/api/keys", json=order)) == (422, "INVALID_INPUT")
    assert (await client.get("/api/keys")).json()["keys"] == []


@pytest.mark.parametrize("overlap_s", [-1, 1e9, "1e400", None])
async def test_rotations_that_cannot_be(client: httpx.AsyncClient, overlap_s: object) -> None:
    key = (await client.post("/api/keys", json={"scopes": ["jobs:read"]})).json()
    answer = await client.post(f"/api/keys/{key['id']}/rotate", json={"overlap_s": overlap_s})
    assert refusal(answer) == (422, "INVALID_INPUT")


async def test_what_is_not_there(client: httpx.AsyncClient) -> None:
    for key in (NO_KEY, "x", "%00", "A" * 12, "0" * 13):
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
            body = {"name": "x"} if method == "PATCH" else None
            answer = await client.request(method, f"/api/keys/{key}{path}", json=body)
            assert refusal(answer) == (404, "KEY_NOT_FOUND")
    for user in ("nobody", "%00", "Alice", "x" * 65):
        for method, path in (("GET", ""), ("PATCH", ""), ("GET", "/keys"), ("POST", "/keys")):
            body = {"scopes": ["jobs:read"]} if method == "POST" else {} if method == "PATCH" else None
            answer = await client.request(method, f"/api/users/{user}{path}", json=body)
            assert refusal(answer) == (404, "USER_NOT_FOUND")
        assert refusal(await client.delete(f"/api/users/{user}/keys/{NO_KEY}")) == (404, "USER_NOT_FOUND")
    assert refusal(await client.delete(f"/api/users/local/keys/{NO_KEY}")) == (404, "KEY_NOT_FOUND")


async def test_users(gateway: httpx.AsyncClient, accounts: AccountStore) -> None:
    admin = bearer(await user_with(accounts, "root"))
    made = await gateway.post("/api/users", headers=admin, json={"id": "alice", "name": "Alice A."})
    assert made.status_code == 201 and made.headers["location"] == "/api/users/alice"
    assert refusal(await gateway.post("/api/users", headers=admin, json={"id": "alice"})) == (409, "USER_EXISTS")
    assert refusal(await gateway.post("/api/users", headers=admin, json={"id": "oidc-x"})) == (422, "USER_ID_INVALID")
    for wrong in ("", "Alice", "-a", "a-", "a b", "a" * 41, "é"):
        assert refusal(await gateway.post("/api/users", headers=admin, json={"id": wrong})) == (422, "INVALID_INPUT")
    key = (await gateway.post("/api/users/alice/keys", headers=admin, json={"scopes": ["jobs:read"]})).json()
    listed = (await gateway.get("/api/users/alice/keys", headers=admin)).json()["keys"]
    assert [one["id"] for one in listed] == [key["id"]] and "key" not in listed[0]
    changed = await gateway.patch("/api/users/alice", headers=admin, json={"disabled": True, "name": "Alice"})
    assert changed.json()["disabled_at"] and changed.json()["name"] == "Alice"
    assert refusal(await gateway.get("/api/jobs", headers=bearer(key["key"]))) == (401, "USER_DISABLED")
    for no_answer in (0, "no", "false"):
        refused = await gateway.patch("/api/users/alice", headers=admin, json={"disabled": no_answer})
        assert (refused.status_code, refused.json()["reason"]) == (422, "INVALID_INPUT")
    changed = await gateway.patch("/api/users/alice", headers=admin, json={"disabled": False})
    assert changed.json() == (await gateway.get("/api/users/alice", headers=admin)).json()
    assert changed.json()["disabled_at"] is None and changed.json()["name"] == "Alice"
    assert (await gateway.delete(f"/api/users/alice/keys/{key['id']}", headers=admin)).status_code == 204
    assert (await accounts.key(key["id"], "alice")).revoked_at


async def test_lists_have_pages(gateway: httpx.AsyncClient, accounts: AccountStore) -> None:
    admin = bearer(await user_with(accounts, "root"))
    for number in range(5):
        await accounts.add_user(f"user-{number}", "x", by="root")
        await accounts.add_key("root", f"key {number}", ["jobs:read"], None, by="root")

    async def whole(path: str, items: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await gateway.get(path, headers=admin, params={"limit": "2"} | cursor)).json()
            assert 1 <= len(page[items]) <= 2
            found += page[items]
            if not page["next_cursor"]:
                return found
            cursor = {"cursor": page["next_cursor"]}

    users = [user["id"] for user in await whole("/api/users", "users")]
    assert users == [*(f"user-{number}" for number in reversed(range(5))), "root", "local"]
    keys = [*(f"key {number}" for number in reversed(range(5))), "first"]
    assert [key["name"] for key in await whole("/api/keys", "keys")] == keys
    assert [key["name"] for key in await whole("/api/users/root/keys", "keys")] == keys
    assert len(await whole("/api/audit", "entries")) == 10
    for path in ("/api/users", "/api/keys", "/api/users/root/keys", "/api/audit"):
        answer = await gateway.get(path, headers=admin, params={"cursor": "x"})
        assert refusal(answer) == (422, "INVALID_INPUT")


async def test_audit(gateway: httpx.AsyncClient, accounts: AccountStore, store: JobStore) -> None:
    """Each change with who made it, and a known key that was refused."""
    admin, alice = await user_with(accounts, "root"), await user_with(accounts, "alice", "account", "jobs:write")
    eve = await user_with(accounts, "eve")
    job = (await gateway.post("/api/jobs", headers=bearer(alice), json={"url": link().url})).json()["id"]
    await gateway.post(f"/api/jobs/{job}/cancel", headers=bearer(alice))
    await gateway.post(f"/api/jobs/{job}/retry", headers=bearer(alice))
    await gateway.post(f"/api/jobs/{job}/cancel", headers=bearer(alice))
    await gateway.delete(f"/api/jobs/{job}", headers=bearer(alice))
    order = {"scopes": ["account"]}
    made = (await gateway.post("/api/keys", headers=bearer(alice), json=order)).json()["id"]
    await gateway.patch(f"/api/keys/{made}", headers=bearer(alice), json={"name": "new"})
    turned = (await gateway.post(f"/api/keys/{made}/rotate", headers=bearer(alice))).json()["id"]
    await gateway.delete(f"/api/keys/{turned}", headers=bearer(alice))
    seen = (await gateway.get("/api/audit", headers=bearer(alice))).json()["entries"]
    assert [(one["action"], one["target"]) for one in reversed(seen)] == [
        *(("job.created", job), ("job.cancelled", job), ("job.retried", job), ("job.cancelled", job)),
        *(("job.deleted", job), ("key.created", made), ("key.renamed", made), ("key.rotated", made)),
        ("key.revoked", turned),
    ]
    for one in seen:
        assert (one["user"], one["key_id"], one["address"]) == ("alice", id_of(alice), "127.0.0.1")
    await gateway.patch("/api/users/alice", headers=bearer(admin), json={"disabled": True})
    for _ in range(3):
        assert (await gateway.get("/api/me", headers=bearer(eve))).status_code == 200
    theirs = await gateway.get("/api/audit", headers=bearer(admin), params={"user": "alice"})
    assert theirs.json()["entries"] == seen
    everybody = (await gateway.get("/api/audit", headers=bearer(admin), params={"user": "*", "limit": "100"})).json()
    assert ("root", "user.disabled", "alice") in {
        (one["user"], one["action"], one["target"]) for one in everybody["entries"]
    }
    assert {one["user"] for one in everybody["entries"]} == {None, "root", "alice"}
    small = bearer((await accounts.add_key("eve", "x", ["account"], None, by=None))[1])
    for user in ("alice", "nobody", "*"):
        answer = await gateway.get("/api/audit", headers=small, params={"user": user})
        assert refusal(answer) == (403, "SCOPE_MISSING") and answer.json()["scope"] == "admin"
    assert (await gateway.get("/api/audit", headers=small, params={"user": "eve"})).json()["entries"] == []


async def test_nothing_that_failed_is_in_the_audit(
    gateway: httpx.AsyncClient, accounts: AccountStore, database_url: str
) -> None:
    """The entry and the change are one transaction: here the entry cannot be written."""
    key = bearer(await user_with(accounts, "alice"))
    job = (await gateway.post("/api/jobs", headers=key, json={"url": link().url})).json()["id"]
    await execute(
        database_url, "ALTER TABLE audit ADD CHECK (action NOT IN ('job.cancelled', 'key.created')) NOT VALID"
    )
    before = (await gateway.get("/api/audit", headers=key)).json()
    assert (await gateway.post(f"/api/jobs/{job}/cancel", headers=key)).status_code == 500
    assert (await gateway.post("/api/keys", headers=key, json={"scopes": ["account"]})).status_code == 500
    assert refusal(await gateway.delete(f"/api/jobs/{job}", headers=key)) == (409, "JOB_NOT_FINISHED")
    assert (await gateway.get(f"/api/jobs/{job}", headers=key)).json()["state"] == "queued"
    assert len((await gateway.get("/api/keys", headers=key)).json()["keys"]) == 1
    assert (await gateway.get("/api/audit", headers=key)).json() == before
