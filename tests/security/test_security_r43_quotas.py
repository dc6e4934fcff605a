"""R43: quotas, at two replicas that only share the database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from gateway_testing import (
    NOBODY,
    Processes,
    administer,
    claim_of,
    eventually,
    execute,
    free_address,
    is_up,
    key_of,
    link,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from singscript_gateway.auth import audit
from singscript_gateway.auth.keys import id_of
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_gateway.jobs.model import JobRequest, Upload
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import Filter, JobStore
from singscript_gateway.jobs.updates import Update
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_gateway.quotas.model import (
    QUOTAS,
    KeyLimitsImpossible,
    Limits,
    QuotaExceeded,
    UploadAboveQuota,
    next_month,
)
from singscript_gateway.quotas.store import QuotaStore
from singscript_gateway.settings import ApiSettings
from singscript_storage import FolderStore

NOBODYS_LIMITS = Limits()


@pytest.fixture
def quotas(pool: Pool) -> QuotaStore:
    return QuotaStore(pool, NOBODYS_LIMITS)


@dataclass
class Replicas:
    """Each request goes to the next one."""

    clients: list[httpx.AsyncClient]
    asked: int = 0

    async def send(self, method: str, path: str, key: str, **body: Any) -> httpx.Response:
        self.asked += 1
        client = self.clients[self.asked % len(self.clients)]
        headers = body.pop("headers", {}) | {"Authorization": f"Bearer {key}"}
        return await client.request(method, path, headers=headers, **body)

    async def job(self, key: str, **options: Any) -> httpx.Response:
        return await self.send("POST", "/api/jobs", key, json={"url": link().url} | options)

    async def upload(self, key: str, size_bytes: int) -> httpx.Response:
        self.asked += 1
        content = str(self.asked).encode().rjust(size_bytes, b"x")
        return await self.send("POST", "/api/jobs", key, files={"file": ("a.mp3", content)})


@asynccontextmanager
async def replicas(processes: Processes, **settings: str) -> AsyncIterator[Replicas]:
    """Two API processes, with keys."""
    async with AsyncExitStack() as stack:
        clients: list[httpx.AsyncClient] = []
        for _ in range(2):
            address = free_address()
            own = {"SINGSCRIPT_LISTEN": address, "SINGSCRIPT_ALIGNER": NOBODY, "SINGSCRIPT_AUTH": "keys"}
            processes.start("api", **own, **settings)
            limits = httpx.Limits(max_connections=40)
            client = httpx.AsyncClient(base_url=f"http://{address}", timeout=60, trust_env=False, limits=limits)
            clients.append(await stack.enter_async_context(client))
        for client in clients:
            await is_up(client)
        yield Replicas(clients)


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """The problem of a request that was refused for now."""
    problem = answer.json()
    assert answer.status_code == problem["status"] == 429, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    return problem


# -- requests


async def test_r43_requests(processes: Processes, accounts: AccountStore) -> None:
    key, other = await key_of(accounts, "alice"), await key_of(accounts, "eve")
    async with replicas(processes, SINGSCRIPT_QUOTA_REQUESTS_PER_MINUTE="20") as system:
        answers = await asyncio.gather(*(system.send("GET", "/api/jobs", key) for _ in range(40)))
        counted = Counter(answer.status_code for answer in answers)
        # One more for every three seconds that it took.
        assert counted[200] + counted[429] == 40 and 20 <= counted[200] < 40
        refused = next(answer for answer in answers if answer.status_code == 429)
        problem = refusal(refused)
        assert problem["reason"] == "QUOTA_REQUESTS"
        facts = {name: problem[name] for name in ("limit", "used", "window", "of")}
        assert facts == {"limit": 20, "used": 20, "window": "minute", "of": "user"}
        assert int(refused.headers["retry-after"]) <= 3
        assert (await system.send("GET", "/api/jobs", other)).status_code == 200, "one user's limit is no other's"
        await asyncio.sleep(int(refused.headers["retry-after"]) + 0.2)

        async def served() -> bool:
            return (await system.send("GET", "/api/jobs", key)).status_code == 200

        await eventually(served, "what was refused is served then")
        # Who has no key has no bucket either, and what is not counted is not refused.
        assert (await system.clients[0].get("/healthz")).status_code == 200


async def test_r43_requests_of_a_key_count_for_its_user(quotas: QuotaStore, accounts: AccountStore) -> None:
    narrow = str(id_of(await key_of(accounts, "alice", "jobs:read")))
    wide = str(id_of(await key_of(accounts, "alice")))
    await quotas.limit_user("alice", Limits(requests_per_minute=5), by=None)
    await accounts.change_key(narrow, "alice", quotas=Limits(requests_per_minute=2), by=None)

    async def refused(key_id: str) -> object:
        try:
            await quotas.take_request("alice", key_id)
        except QuotaExceeded as error:
            return error.facts["of"]
        return None

    assert [await refused(narrow) for _ in range(3)] == [None, None, "key"]
    # Three are left: what the key's limit refused did not count for the user.
    assert [await refused(wide) for _ in range(4)] == [None, None, None, "user"]
    ((user, used),) = [one for one in await quotas.report("alice", narrow) if one[0].key_line is None]
    assert user.limits.requests_per_minute == 5 and used.requests_per_minute == 5


# -- active jobs


async def test_r43_fifty_jobs_at_once_are_exactly_the_limit(
    processes: Processes, accounts: AccountStore, database_url: str
) -> None:
    key, other = await key_of(accounts, "alice"), await key_of(accounts, "eve")
    async with replicas(processes, SINGSCRIPT_QUOTA_ACTIVE_JOBS="7") as system:
        answers = await asyncio.gather(*(system.job(key) for _ in range(50)))
        assert Counter(answer.status_code for answer in answers) == {202: 7, 429: 43}
        assert await execute(database_url, "SELECT count(*) FROM jobs") == [(7,)]
        problem = refusal(next(answer for answer in answers if answer.status_code == 429))
        assert (problem["reason"], problem["limit"], problem["used"]) == ("QUOTA_ACTIVE_JOBS", 7, 7)
        assert (await system.job(other)).status_code == 202
        jobs = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        assert (await system.send("POST", f"/api/jobs/{jobs[0]}/cancel", key)).status_code == 200
        assert (await system.job(key)).status_code == 202, "the place of one that has ended is free"
        problem = refusal(await system.send("POST", f"/api/jobs/{jobs[0]}/retry", key))
        assert problem["reason"] == "QUOTA_ACTIVE_JOBS", "a retry needs a place, too"
        assert (await system.send("GET", f"/api/jobs/{jobs[0]}", key)).json()["state"] == "cancelled"
        # Sent again it is no new job, however many there are.
        first = await system.clients[0].post(
            "/api/jobs",
            json={"url": link().url},
            headers={"Authorization": f"Bearer {other}", "Idempotency-Key": "k"},
        )
        assert first.status_code == 202


async def test_r43_retries_at_once_are_exactly_the_limit(pool: Pool, store: JobStore) -> None:
    limited = JobStore(pool, limits=Limits(active_jobs=2))
    jobs = [await store.create(link(), "alice") for _ in range(6)]
    for job in jobs:
        await store.cancel(job.id, "alice")
    results = await asyncio.gather(*(limited.restart(job.id, "alice") for job in jobs), return_exceptions=True)
    refused = [result for result in results if isinstance(result, QuotaExceeded)]
    assert len(refused) == 4 and sum(1 for r in results if not isinstance(r, BaseException)) == 2
    # What cannot be retried says so, whatever the limit.
    active = next(r for r in results if r and not isinstance(r, BaseException))
    assert await limited.restart(active.id, "alice") is None


async def test_r43_sent_again_with_its_key_a_job_needs_no_place(processes: Processes, accounts: AccountStore) -> None:
    key = await key_of(accounts, "alice")
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}
    async with replicas(processes, SINGSCRIPT_QUOTA_ACTIVE_JOBS="1") as system:
        order = {"url": link().url}
        first, again = [await one.post("/api/jobs", json=order, headers=headers) for one in system.clients]
        assert first.status_code == again.status_code == 202 and first.content == again.content
        assert refusal(await system.job(key))["reason"] == "QUOTA_ACTIVE_JOBS"


# -- minutes


async def heard(store: JobStore, queue: JobQueue, owner: str, duration_s: float, succeed: bool = True) -> None:
    """A job that turned out to have so much sound."""
    claim = await claim_of(queue, (await store.create(link(), owner)).id)
    media = {"title": "a", "artist": "", "duration_s": duration_s, "webpage_url": "", "format": "mp3"}
    assert await queue.record(claim.job, Update("media", media))
    # Said again by another attempt it counts once.
    assert await queue.record(claim.job, Update("media", media))
    if succeed:
        await queue.succeed(claim.job)


async def test_r43_minutes(
    processes: Processes, accounts: AccountStore, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    key = await key_of(accounts, "alice")
    async with replicas(processes, SINGSCRIPT_QUOTA_AUDIO_MINUTES_PER_DAY="10") as system:
        await heard(store, queue, "alice", 500.0)
        await heard(store, queue, "eve", 5000.0)
        assert (await system.job(key)).status_code == 202, "there is room: how long it is nobody knows"
        await store.cancel((await store.list_jobs("alice", Filter(), before=None, limit=1))[0].id, "alice")
        await heard(store, queue, "alice", 500.0, succeed=False)
        problem = refusal(await system.job(key))
        assert (problem["reason"], problem["limit"], problem["window"]) == ("QUOTA_MINUTES", 10, "day")
        assert problem["used"] == pytest.approx(1000 / 60, abs=0.01)
        # A job that is deleted has been computed all the same.
        (ended,) = [
            job for job in await store.list_jobs("alice", Filter(), before=None, limit=9) if job.state == "succeeded"
        ]
        assert (await system.send("DELETE", f"/api/jobs/{ended.id}", key)).status_code == 204
        assert refusal(await system.job(key))["reason"] == "QUOTA_MINUTES"
        # The first of them is 23 hours ago: in an hour there is room again.
        await execute(database_url, "UPDATE quota_uses SET at = at - interval '23 hours' WHERE owner = 'alice'")
        wait_s = int((await system.job(key)).headers["retry-after"])
        assert 3500 <= wait_s <= 3600
        await execute(
            database_url, "UPDATE quota_uses SET at = at - interval '1 hour' WHERE owner = 'alice' AND amount = 500"
        )
        assert (await system.job(key)).status_code == 202


# -- bytes


async def test_r43_bytes(processes: Processes, accounts: AccountStore, database_url: str, objects: FolderStore) -> None:
    key, other = await key_of(accounts, "alice"), await key_of(accounts, "eve")
    async with replicas(processes, SINGSCRIPT_QUOTA_UPLOAD_BYTES_PER_DAY="10000") as system:
        answers = await asyncio.gather(*(system.upload(key, 3000) for _ in range(12)))
        assert Counter(answer.status_code for answer in answers) == {202: 3, 429: 9}
        problem = refusal(next(answer for answer in answers if answer.status_code == 429))
        assert (problem["reason"], problem["limit"], problem["used"]) == ("QUOTA_BYTES", 10000, 9000)
        assert (await system.upload(key, 1000)).status_code == 202, "what was refused did not count"
        assert (await system.upload(key, 1)).status_code == 429
        assert (await system.job(key)).status_code == 202, "a link sends nothing"
        assert (await system.upload(other, 1000)).status_code == 202
        # Two of 3000 go with the hour: of the larger one the second must, too.
        await execute(database_url, "UPDATE quota_uses SET at = at - interval '20 hours' WHERE owner = 'alice'")
        await execute(
            database_url,
            "UPDATE quota_uses SET at = at - interval '3 hours' WHERE owner = 'alice' AND id ="
            " (SELECT id FROM quota_uses WHERE owner = 'alice' AND amount = 3000 LIMIT 1)",
        )
        for size_bytes, hours in ((2999, 1), (3000, 1), (3001, 4)):
            wait_s = int((await system.upload(key, size_bytes)).headers["retry-after"])
            assert 0 <= hours * 3600 - wait_s < 120, size_bytes
        # No day would let it through.
        answer = await system.upload(key, 10_001)
        assert (answer.status_code, answer.json()["reason"]) == (413, "TOO_LARGE")
        stored = len(list(objects.list()))
        # Refused before it is read.
        large = await system.upload(key, 3 * 1024 * 1024)
        assert (large.status_code, large.json()["limit_bytes"]) == (413, 10_000)
        assert len(list(objects.list())) == stored


async def test_r43_resumable_uploads_count_when_they_begin(
    processes: Processes, accounts: AccountStore, database_url: str
) -> None:
    key = await key_of(accounts, "alice")
    tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    async with replicas(processes, SINGSCRIPT_QUOTA_UPLOAD_BYTES_PER_DAY="10000") as system:

        async def begin(length: int) -> httpx.Response:
            return await system.send("POST", "/api/uploads", key, headers=tus | {"Upload-Length": str(length)})

        whole = (await begin(4)).headers["location"]
        assert (await system.send("PATCH", whole, key, headers=tus, content=b"abcd")).status_code == 204
        cut = (await begin(9996)).headers["location"]
        assert refusal(await begin(1))["reason"] == "QUOTA_BYTES"
        # A job of what was sent before sends nothing.
        job = await system.send("POST", "/api/jobs", key, json={"upload": whole.rpartition("/")[2]})
        assert job.status_code == 202
        # What never came is given back.
        assert (await system.send("PATCH", cut, key, headers=tus, content=b"x" * 96)).status_code == 204
        assert (await system.send("DELETE", cut, key, headers=tus)).status_code == 204
        assert refusal(await begin(9901))["used"] == 100
        assert (await begin(9900)).status_code == 201


async def test_r43_upload_of_a_job_that_is_refused_does_not_count(pool: Pool, quotas: QuotaStore) -> None:
    limited = JobStore(pool, limits=Limits(active_jobs=1, upload_bytes_per_day=100))

    def order(number: int) -> JobRequest:
        return JobRequest(upload=Upload(key=f"upload/{number}/original", file_name="a", size_bytes=60))

    await limited.create(order(1), "local", datetime.now(UTC))
    with pytest.raises(QuotaExceeded, match="at once"):
        await limited.create(order(2), "local", datetime.now(UTC))
    ((_, used),) = await quotas.report("local", None)
    assert used.upload_bytes_per_day == 60 and used.active_jobs == 1
    with pytest.raises(UploadAboveQuota):
        await JobStore(pool, limits=Limits(upload_bytes_per_day=59)).create(order(3), "local", datetime.now(UTC))


# -- spend


async def spend(store: JobStore, queue: JobQueue, owner: str, cost_usd: float | None) -> None:
    claim = await claim_of(queue, (await store.create(link(), owner)).id)
    used = {"number": 1, "stage": "transcribe", "engine": "openai", "model": "whisper-1", "audio_s": 60.0}
    used |= {"requests": 1, "input_tokens": 0, "output_tokens": 0, "cost_usd": cost_usd}
    assert await queue.record(claim.job, Update("usage", used))
    await queue.succeed(claim.job)


async def test_r43_spend(
    processes: Processes, accounts: AccountStore, store: JobStore, queue: JobQueue, database_url: str
) -> None:
    key = await key_of(accounts, "alice")
    async with replicas(processes, SINGSCRIPT_QUOTA_SPEND_USD_PER_MONTH="1.5") as system:
        await spend(store, queue, "alice", 1.0)
        await spend(store, queue, "alice", None)
        await spend(store, queue, "eve", 9.0)
        assert (await system.job(key)).status_code == 202
        await store.cancel((await store.list_jobs("alice", Filter(), before=None, limit=1))[0].id, "alice")
        await spend(store, queue, "alice", 0.5)
        now = datetime.now(UTC)
        answer = await system.job(key)
        problem = refusal(answer)
        assert (problem["reason"], problem["limit"], problem["used"]) == ("QUOTA_SPEND", 1.5, 1.5)
        assert problem["window"] == "month"
        assert abs(int(answer.headers["retry-after"]) - (next_month(now) - now).total_seconds()) < 60
        for engines in (["openai"], ["sphinx", "openai"]):
            assert (await system.job(key, transcriber_engines=engines)).status_code == 429
        free = await system.job(key, transcriber_engines=["whisper", "sphinx"])
        assert free.status_code == 202, "what costs nothing goes on"
        await execute(database_url, "UPDATE usage SET at = date_trunc('month', now(), 'UTC') - interval '1 second'")
        assert (await system.job(key)).status_code == 202, "a new month"


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_the_month_ends_with_its_last_moment(now: datetime) -> None:
    end = next_month(now)
    assert now < end and end.day == 1 and (end - timedelta(microseconds=1)).month == now.month


# -- limits


async def test_r43_keys_may_be_narrower_and_count_together_when_rotated(
    pool: Pool, accounts: AccountStore, quotas: QuotaStore
) -> None:
    store = JobStore(pool, limits=Limits(active_jobs=3))
    narrow, wide = await key_of(accounts, "alice", "jobs:write"), await key_of(accounts, "alice")
    narrow_id = str(id_of(narrow))
    await accounts.change_key(narrow_id, "alice", quotas=Limits(active_jobs=1), by=None)

    async def create(key_id: str) -> str:
        audit.key_id.set(key_id)
        try:
            await store.create(link(), "alice")
        except QuotaExceeded as error:
            return f"{error.facts['of']} {error.facts['used']}"
        return "made"

    assert [await create(narrow_id), await create(narrow_id)] == ["made", "key 1"]
    rotated, _ = await accounts.rotate_key(narrow_id, "alice", 60, by=None)
    assert await create(rotated.id) == "key 1", "a new key of the same line has neither more nor anew"
    assert [await create(str(id_of(wide))) for _ in range(3)] == ["made", "made", "user 3"]
    (user, of_user), (key, of_key) = await quotas.report("alice", rotated.id)
    assert (user.key_line, of_user.active_jobs, key.key_line, of_key.active_jobs) == (None, 3, narrow_id, 1)


async def test_r43_keys_that_can_make_keys_have_no_limits(accounts: AccountStore, quotas: QuotaStore) -> None:
    key_id = str(id_of(await key_of(accounts, "alice", "jobs:write", "account")))
    with pytest.raises(KeyLimitsImpossible):
        await accounts.change_key(key_id, "alice", quotas=Limits(active_jobs=1), by=None)
    assert len(await quotas.report("alice", key_id)) == 2
    assert not (await quotas.report("alice", key_id))[1][0].limits.any
    await accounts.change_key(key_id, "alice", quotas=Limits(), by=None)


async def test_r43_limits_of_keys_over_rest(processes: Processes, accounts: AccountStore) -> None:
    maker = await key_of(accounts, "alice")
    async with replicas(processes) as system:
        order = {"scopes": ["jobs:read", "jobs:write"], "quotas": {"active_jobs": 1}}
        made = await system.send("POST", "/api/keys", maker, json=order)
        assert made.status_code == 201 and made.json()["quotas"]["active_jobs"] == 1
        narrow = made.json()["key"]
        assert [(await system.job(narrow)).status_code for _ in range(2)] == [202, 429]
        assert (await system.job(maker)).status_code == 202
        path = f"/api/keys/{made.json()['id']}"
        changed = await system.send("PATCH", path, maker, json={"quotas": {"active_jobs": 2}})
        assert (changed.status_code, changed.json()["quotas"]["active_jobs"]) == (200, 2)
        renamed = await system.send("PATCH", path, maker, json={"name": "narrow"})
        assert (renamed.json()["name"], renamed.json()["quotas"]["active_jobs"]) == ("narrow", 2)
        assert [(await system.job(narrow)).status_code for _ in range(2)] == [202, 429]
        refused = await system.send("POST", "/api/keys", maker, json=order | {"scopes": ["jobs:write", "account"]})
        assert (refused.status_code, refused.json()["reason"]) == (422, "KEY_LIMITS_IMPOSSIBLE")


async def test_r43_an_admin_sets_limits_that_hold_in_every_replica(
    processes: Processes, accounts: AccountStore, database_url: str
) -> None:
    key, admin = await key_of(accounts, "alice", "jobs:read", "jobs:write"), await key_of(accounts, "root")
    async with replicas(processes, SINGSCRIPT_QUOTA_ACTIVE_JOBS="1", SINGSCRIPT_QUOTA_SPEND_USD_PER_MONTH="") as system:
        path = "/api/users/alice/quotas"
        answer = await system.send("PUT", path, admin, json={"active_jobs": 2, "upload_bytes_per_day": 5})
        assert answer.status_code == 200
        everything = dict.fromkeys(QUOTAS) | {"active_jobs": 2, "upload_bytes_per_day": 5}
        assert answer.json() == (await system.send("GET", path, admin)).json() == everything
        assert [(await system.job(key)).status_code for _ in range(3)] == [202, 202, 429]
        report = (await system.send("GET", "/api/quotas", key)).json()
        assert report["user"]["limits"] == everything and report["user"]["used"]["active_jobs"] == 2
        assert report["key"]["limits"] == dict.fromkeys(QUOTAS) and report["key"]["used"]["active_jobs"] == 2
        # 0 lifts what the settings say; what is left out is as they say.
        assert (await system.send("PUT", path, admin, json={"active_jobs": 0})).status_code == 200
        assert (await system.job(key)).status_code == 202
        assert (await system.send("PUT", path, admin, json={})).status_code == 200
        assert (await system.job(key)).status_code == 429
        # JSON knows one kind of numbers.
        assert (await system.send("PUT", path, admin, json={"active_jobs": 2.0})).json()["active_jobs"] == 2
        for body in (
            {"active_jobs": -1},
            {"active_jobs": 1.5},
            {"active_jobs": "1"},
            {"active_jobs": True},
            {"jobs": 1},
        ):
            assert (await system.send("PUT", path, admin, json=body)).status_code == 422
        for body in ({"spend_usd_per_month": "x"}, {"spend_usd_per_month": "1"}):
            assert (await system.send("PUT", path, admin, json=body)).status_code == 422
        assert (await system.send("PUT", path, key, json={})).json()["scope"] == "admin"
        assert (await system.send("GET", path, key)).status_code == 403
        for user in ("nobody", "a b"):
            answer = await system.send("PUT", f"/api/users/{user}/quotas", admin, json={})
            assert (answer.status_code, answer.json()["reason"]) == (404, "USER_NOT_FOUND")
    assert await execute(
        database_url, "SELECT owner, target, count(*) FROM audit WHERE action = 'user.limited' GROUP BY 1, 2"
    ) == [("root", "alice", 4)]


async def test_r43_what_counts_for_no_limit_is_forgotten(
    store: JobStore, queue: JobQueue, upkeep: Upkeep, database_url: str
) -> None:
    await heard(store, queue, "alice", 5.0)
    await heard(store, queue, "alice", 6.0)
    await execute(database_url, "UPDATE quota_uses SET at = at - interval '49 hours' WHERE amount = 5")
    await upkeep.drop_old_uses()
    assert await execute(database_url, "SELECT amount FROM quota_uses") == [(6.0,)]


def test_r43_the_command(processes: Processes) -> None:
    administer(processes, "users", "add", "alice")

    def limits(*arguments: str) -> dict[str, str]:
        lines = administer(processes, "users", "quota", "alice", *arguments).stdout.splitlines()
        return dict(line.split("\t") for line in lines)

    assert limits() == dict.fromkeys(QUOTAS, "default")
    limits("--active-jobs", "3", "--upload-bytes-per-day", "2147483648", "--spend-usd-per-month", "2.5")
    changed = limits("--active-jobs", "none", "--spend-usd-per-month", "default")
    assert (
        changed
        == limits()
        == dict.fromkeys(QUOTAS, "default")
        | {
            "active_jobs": "none",
            "upload_bytes_per_day": "2147483648",
        }
    )
    refused = administer(processes, "users", "quota", "alice", "--active-jobs", "many", code=1)
    assert "--active-jobs" in refused.stderr and "Traceback" not in refused.stderr
    made = administer(processes, "keys", "create", "alice", "--scope", "jobs:write", "--active-jobs", "2")
    assert id_of(made.stdout.strip())
    administer(processes, "keys", "create", "alice", "--active-jobs", "2", code=1)
    assert "no user" in administer(processes, "users", "quota", "bob", code=1).stderr


@pytest.mark.parametrize("name", QUOTAS)
def test_r43_settings_that_make_no_sense(name: str) -> None:
    for value in (-1, "x", "inf"):
        with pytest.raises(ValidationError) as caught:
            ApiSettings(database_url="", aligner=NOBODY, **{f"quota_{name}": value})  # pyright: ignore[reportArgumentType]  (on purpose)
        assert name in str(caught.value)
    none = ApiSettings(database_url="", aligner=NOBODY, **{f"quota_{name}": ""})  # pyright: ignore[reportArgumentType]  (as the environment has it)
    assert none.quotas.of(name) is None  # pyright: ignore[reportArgumentType]  (a name of QUOTAS)
