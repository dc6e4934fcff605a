"""R41: API keys."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from uuid import uuid4

import httpx
import pytest
from gateway_testing import (
    NOBODY,
    Processes,
    administer,
    bearer,
    eventually,
    execute,
    free_address,
    is_up,
    key_of,
    link,
)

from singscript_gateway.auth import authenticator
from singscript_gateway.auth.keys import digest, id_of
from singscript_gateway.auth.model import SCOPES
from singscript_gateway.auth.refusals import Unauthenticated
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.jobs import watching
from singscript_gateway.jobs.store import JobStore


async def test_r41_the_first_key_comes_from_the_command(processes: Processes, gateway: httpx.AsyncClient) -> None:
    administer(processes, "users", "add", "alice")
    made = administer(processes, "keys", "create", "alice", "--name", "first")
    key = made.stdout.strip()
    assert id_of(key) and key not in made.stderr and made.stdout.count("\n") == 1, "it can be piped"
    assert (await gateway.get("/api/jobs", headers=bearer(key))).status_code == 200
    listed = administer(processes, "keys", "list", "alice").stdout
    assert str(id_of(key)) in listed and key not in listed and key[20:] not in listed


async def test_r41_who_has_no_key_gets_nothing(gateway: httpx.AsyncClient, accounts: AccountStore) -> None:
    key = await key_of(accounts, "alice")
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    unknown = f"ss_{'0' * 12}_{key[-43:]}"
    for headers in (
        {},
        bearer(wrong),
        bearer(unknown),
        bearer("x"),
        {"Authorization": key},
        {"Authorization": "Basic x"},
    ):
        answer = await gateway.get("/api/jobs", headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reason"] == "UNAUTHENTICATED"
    for query in ("key", "access_token", "api_key", "authorization"):
        assert (await gateway.get("/api/jobs", params={query: key})).status_code == 401, "no key is read from a URL"
    assert (await gateway.get("/healthz")).status_code == 200


async def test_r41_nothing_is_read_of_who_has_no_key(gateway: httpx.AsyncClient, accounts: AccountStore) -> None:
    """Neither the body, nor what the address means."""
    sent: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        sent.append(b"{")
        yield b"{"

    for method, path in (
        ("POST", "/api/jobs"),
        ("POST", "/api/keys"),
        ("PUT", f"/api/jobs/{uuid4()}/words"),
        ("PATCH", "/api/users/alice"),
        ("DELETE", "/api/jobs"),
        ("GET", "/api/nothing"),
    ):
        for content_type in ("application/json", "multipart/form-data"):
            headers = {"Content-Type": content_type}
            answer = await gateway.request(method, path, content=body(), headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (401, "UNAUTHENTICATED"), (method, path)
    assert sent == []
    known = bearer(await key_of(accounts, "alice"))
    assert (await gateway.post("/api/keys", content=b"{", headers=known)).status_code == 422
    assert (await gateway.get("/api/nothing", headers=known)).status_code == 404
    assert (await gateway.delete("/api/jobs", headers=known)).status_code == 405
    assert (await gateway.options("/api/jobs")).status_code == 405, "what can be asked is no secret"
    assert (await gateway.head("/healthz")).status_code == 200


async def test_r41_only_a_digest_is_kept(accounts: AccountStore, database_url: str) -> None:
    key = await key_of(accounts, "alice")
    rows = str(await execute(database_url, "SELECT api_keys.*, audit.* FROM api_keys, audit"))
    assert key not in rows and key[-43:] not in rows
    ((kept,),) = await execute(database_url, "SELECT digest FROM api_keys")
    assert kept == digest(key) and len(key.split("_", 2)[2]) >= 43


async def test_r41_scopes(gateway: httpx.AsyncClient, accounts: AccountStore, store: JobStore) -> None:
    job = await store.create(link(), "alice")
    reader, writer = await key_of(accounts, "alice", "jobs:read"), await key_of(accounts, "alice", "jobs:write")
    assert (await gateway.get(f"/api/jobs/{job.id}", headers=bearer(reader))).status_code == 200
    for key, method, path, scope in (
        (reader, "POST", f"/api/jobs/{job.id}/cancel", "jobs:write"),
        (reader, "POST", f"/api/jobs/{uuid4()}/cancel", "jobs:write"),
        (reader, "POST", "/api/jobs", "jobs:write"),
        (writer, "GET", f"/api/jobs/{job.id}", "jobs:read"),
    ):
        answer = await gateway.request(method, path, headers=bearer(key))
        assert answer.status_code == 403, answer.text
        assert (answer.json()["reason"], answer.json()["scope"]) == ("SCOPE_MISSING", scope)
    assert (await gateway.post(f"/api/jobs/{job.id}/cancel", headers=bearer(writer))).status_code == 200


async def test_r41_revoked_keys_and_disabled_users_stop_within_seconds(
    gateway: httpx.AsyncClient, accounts: AccountStore
) -> None:
    assert authenticator.REMEMBERED_S <= 4
    first, second = await key_of(accounts, "alice"), await key_of(accounts, "alice")
    for key in (first, second):
        assert (await gateway.get("/api/jobs", headers=bearer(key))).status_code == 200

    async def refused(key: str) -> str | None:
        answer = await gateway.get("/api/jobs", headers=bearer(key))
        return answer.json()["reason"] if answer.status_code == 401 else None

    await accounts.revoke_key(str(id_of(first)), "alice", by=None)
    assert await eventually(lambda: refused(first), "it stops") == "KEY_REVOKED"
    assert await refused(second) is None
    await accounts.change_user("alice", by=None, disabled=True)
    assert await eventually(lambda: refused(second), "it stops") == "USER_DISABLED"
    wrong = first[:-1] + ("A" if first[-1] != "A" else "B")
    assert await refused(wrong) == "UNAUTHENTICATED", "why a key ended is told only to who has it"


async def test_r41_a_revoked_key_stops_within_5_s_at_every_replica(
    processes: Processes, accounts: AccountStore
) -> None:
    """It is revoked at one replica while another one is asked, which had just said yes."""
    key = await key_of(accounts, "alice")
    addresses = [free_address(), free_address()]
    for address in addresses:
        processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY, SINGSCRIPT_AUTH="keys")
    async with contextlib.AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"http://{address}", headers=bearer(key), timeout=60, trust_env=False)
            )
            for address in addresses
        ]
        for client in (first, second):
            await is_up(client)
            assert (await client.get("/api/me")).status_code == 200
        assert (await first.delete(f"/api/keys/{id_of(key)}")).status_code == 204
        revoked_at_s = last_served_at_s = time.monotonic()

        async def refused() -> bool:
            nonlocal last_served_at_s
            sent_at_s = time.monotonic()
            answer = await second.get("/api/me")
            if answer.status_code == 200:
                last_served_at_s = sent_at_s
            return answer.status_code == 401 and answer.json()["reason"] == "KEY_REVOKED"

        await eventually(refused, "the other replica knows")
        # Of requests that were sent later none was served, however slow the machine is.
        assert last_served_at_s - revoked_at_s < 5


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[timedelta], None]]:
    """Moves the clock that keys are judged by."""
    ahead = timedelta()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + ahead

    def move(by: timedelta) -> None:
        nonlocal ahead
        ahead = by

    monkeypatch.setattr(authenticator, "datetime", Clock)
    yield move


async def test_r41_an_expired_key_is_refused_at_once(
    gateway: httpx.AsyncClient, accounts: AccountStore, later: Callable[[timedelta], None]
) -> None:
    """Also where it was remembered as good."""
    await accounts.add_user("alice", "Alice", by=None)
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    _, key = await accounts.add_key("alice", "", SCOPES, ends_at, by=None)
    assert (await gateway.get("/api/jobs", headers=bearer(key))).status_code == 200
    later(timedelta(hours=1))
    refused = await gateway.get("/api/jobs", headers=bearer(key))
    assert (refused.status_code, refused.json()["reason"]) == (401, "KEY_EXPIRED")
    assert refused.headers["www-authenticate"] == "Bearer"
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    refused = await gateway.get("/api/jobs", headers=bearer(wrong))
    assert refused.json()["reason"] == "UNAUTHENTICATED", "when a key ended is told only to who has it"


async def test_r41_a_rotated_key_works_until_its_overlap_is_over(
    gateway: httpx.AsyncClient, accounts: AccountStore, later: Callable[[timedelta], None]
) -> None:
    old = await key_of(accounts, "alice")
    rotated = await gateway.post(f"/api/keys/{id_of(old)}/rotate", headers=bearer(old), json={"overlap_s": 3600})
    new = rotated.json()["key"]
    later(timedelta(minutes=50))
    assert [(await gateway.get("/api/me", headers=bearer(key))).status_code for key in (old, new)] == [200, 200]
    later(timedelta(minutes=61))

    async def refused() -> str | None:
        answer = await gateway.get("/api/me", headers=bearer(old))
        return answer.json()["reason"] if answer.status_code == 401 else None

    assert await eventually(refused, "it was remembered without an end") == "KEY_EXPIRED"
    assert (await gateway.get("/api/me", headers=bearer(new))).status_code == 200


async def test_r41_the_last_use_is_written_once_a_minute(
    gateway: httpx.AsyncClient, accounts: AccountStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is written, be it with the same, has another `xmin`."""
    key = await key_of(accounts, "alice")

    async def used() -> tuple[datetime, str]:
        for _ in range(20):
            assert (await gateway.get("/api/me", headers=bearer(key))).status_code == 200
        ((last_used_at, xmin),) = await execute(database_url, "SELECT last_used_at, xmin::text FROM api_keys")
        return last_used_at, xmin

    first = await used()
    # As another replica does, which has not asked yet.
    monkeypatch.setattr(authenticator, "REMEMBERED_S", 0.0)
    assert await used() == first
    await execute(database_url, "UPDATE api_keys SET last_used_at = last_used_at - interval '61 s'")
    assert (await used())[0] > first[0]


async def test_r41_a_key_that_is_revoked_while_its_use_is_noted_stays_so(
    accounts: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note takes so long that another request looks the key up anew meanwhile."""
    key = await key_of(accounts, "alice")
    judge = authenticator.Authenticator(accounts, off=False)
    noted = accounts.key_used

    async def slow(key_id: str) -> None:
        await noted(key_id)
        await accounts.revoke_key(key_id, "alice", by=None)
        with monkeypatch.context() as later:
            later.setattr(authenticator, "REMEMBERED_S", 0.0)
            with pytest.raises(Unauthenticated, match="revoked"):
                await judge.principal(f"Bearer {key}")

    monkeypatch.setattr(accounts, "key_used", slow)
    # So that nothing but the order of things decides.
    monkeypatch.setattr(authenticator, "REMEMBERED_S", 3600.0)
    await judge.principal(f"Bearer {key}")
    with pytest.raises(Unauthenticated, match="revoked"):
        await judge.principal(f"Bearer {key}")


async def test_r45_stream_of_a_revoked_key_closes(
    gateway: httpx.AsyncClient, accounts: AccountStore, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watching.JUDGE_EVERY_S + authenticator.REMEMBERED_S < 60
    monkeypatch.setattr(watching, "JUDGE_EVERY_S", 0.2)
    key, job = await key_of(accounts, "alice"), await store.create(link(), "alice")
    # The transport gives the answer once the stream has ended, which it does not by itself: the job waits for ever.
    stream = asyncio.create_task(gateway.get(f"/api/jobs/{job.id}/events", headers=bearer(key)))
    done, _ = await asyncio.wait({stream}, timeout=1)
    assert not done
    await accounts.revoke_key(str(id_of(key)), "alice", by=None)
    answer = await asyncio.wait_for(stream, 30)
    assert answer.status_code == 200 and "queued" in answer.text


def test_r41_auth_off_is_refused_beyond_loopback(processes: Processes) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "singscript_gateway", "api"],
        env=processes.environment
        | {"SINGSCRIPT_AUTH": "off", "SINGSCRIPT_LISTEN": "0.0.0.0:0", "SINGSCRIPT_ALIGNER": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 2 and "SINGSCRIPT_LISTEN must be a loopback address" in refused.stderr
    assert "Traceback" not in refused.stderr
