"""Jobs are made once, whatever happens to the request; and what is refused says why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_proxy import FaultyProxy
from gateway_testing import NOBODY, Processes, api_settings, eventually, execute, free_address
from scripted_gateway import answering, served

from singscript_client import ApiError, Client, Conflict, NotFound, TryLater, Unauthorized, Unreachable
from singscript_gateway.auth.model import SCOPES
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_storage import FolderStore

LINK = "https://example.org/song.mp3"
NO_JOB = "5b1c1f0e-6c1f-4a8e-9d5e-0a4f6f0b8f57"


async def count(database_url: str) -> int:
    return (await execute(database_url, "SELECT count(*) FROM jobs"))[0][0]


@pytest.mark.parametrize("from_file", [False, True])
async def test_an_answer_that_was_lost_makes_no_second_job(
    address: str, database_url: str, tmp_path: Path, from_file: bool
) -> None:
    host, _, port = address.rpartition(":")
    song = tmp_path / "song.mp3"
    song.write_bytes(b"la" * 100_000)
    with FaultyProxy((host, int(port))) as proxy, Client(f"http://{proxy.address}") as client:
        jobs = client.jobs
        making = asyncio.create_task(
            asyncio.to_thread(lambda: jobs.create_from_file(song) if from_file else jobs.create_from_link(LINK))
        )
        # What comes back is on its way for so long that it is lost.
        proxy.delay_s = 2.0
        await eventually(lambda: count(database_url), "the job is made")
        proxy.delay_s = 0.0
        proxy.cut()
        proxy.mend()
        job = await making
    assert await execute(database_url, "SELECT id::text FROM jobs") == [(job.id,)]


async def test_a_gateway_that_is_still_to_start(processes: Processes, database_url: str) -> None:
    address = free_address()
    with Client(f"http://{address}", patience_s=100) as client:
        making = asyncio.create_task(asyncio.to_thread(client.jobs.create_from_link, LINK))
        processes.start("api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_ALIGNER=NOBODY)
        await making
    assert await count(database_url) == 1


async def test_nobody_there_is_told_in_the_end() -> None:
    with Client(f"http://{NOBODY}", patience_s=0.5) as client:
        for call in (lambda: client.jobs.create_from_link(LINK), client.me, client.alive):
            with pytest.raises(Unreachable) as told:
                await asyncio.to_thread(call)
            assert told.value.reason == "GATEWAY_UNREACHABLE" and NOBODY in told.value.detail


async def test_refusals_are_told_with_all_that_is_known(client: Client, tmp_path: Path) -> None:
    def refused(call: Callable[[], object]) -> ApiError:
        with pytest.raises(ApiError) as told:
            call()
        assert told.value.request_id and told.value.detail
        return told.value

    def all_of_them() -> None:
        missing = refused(lambda: client.jobs.get(NO_JOB))
        assert isinstance(missing, NotFound) and (missing.status, missing.reason) == (404, "JOB_NOT_FOUND")
        wrong = refused(lambda: client.jobs.create_from_link("ftp://example.org/a.mp3"))
        assert (wrong.status, wrong.reason) == (422, "INVALID_INPUT") and wrong.facts["errors"][0]["field"] == "url"
        song = tmp_path / "a.mp3"
        song.write_bytes(b"la")
        client.jobs.create_from_link(LINK, idempotency_key="one")
        other = refused(lambda: client.jobs.create_from_file(song, idempotency_key="one"))
        assert other.reason == "IDEMPOTENCY_KEY_REUSED"
        job = client.jobs.create_from_link(LINK, title="x", priority="high")
        under_way = refused(lambda: client.jobs.delete(job.id))
        assert isinstance(under_way, Conflict) and under_way.facts["state"] == "queued"
        assert client.jobs.cancel(job.id).state == "cancelled"
        assert isinstance(refused(lambda: client.jobs.result(job.id)), Conflict)
        # Whatever stands in an id is one part of the address.
        assert refused(lambda: client.jobs.get("../me")).status == 404

    await asyncio.to_thread(all_of_them)


async def test_lists_go_on_over_pages(client: Client) -> None:
    def listed() -> None:
        made = [client.jobs.create_from_link(f"{LINK}?{number}").id for number in range(103)]
        assert [job.id for job in client.jobs.list()] == made[::-1]

    await asyncio.to_thread(listed)


async def test_waiting_is_for_those_who_ask(database_url: str, pool: Pool, objects: FolderStore) -> None:
    accounts = AccountStore(pool)
    await accounts.add_user("alice", "Alice", by=None)
    key = (await accounts.add_key("alice", "", SCOPES, None, by=None))[1]

    def too_many(url: str) -> None:
        with Client(url, api_key=key) as hasty, Client(url, api_key=key, wait_s=60) as patient:
            job = hasty.jobs.create_from_link(LINK)
            with pytest.raises(TryLater) as told:
                for _ in range(100):
                    hasty.me()
            assert (told.value.status, told.value.reason) == (429, "QUOTA_REQUESTS")
            assert told.value.retry_after_s and told.value.facts["limit"] == 20
            for _ in range(2):
                assert patient.jobs.get(job.id).id == job.id
        with Client(url, api_key="ss_0a1b2c3d4e5f_" + "x" * 43) as stranger:
            with pytest.raises(Unauthorized) as unknown:
                stranger.jobs.get(job.id)
            assert unknown.value.status == 401

    # One comes back in 3 s.
    settings = api_settings(database_url, auth="keys", quota_requests_per_minute=20)
    with served(settings, objects) as address:
        await asyncio.to_thread(too_many, f"http://{address}")


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (502, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>", "HTTP_502"),
        (404, {}, b"[]", "HTTP_404"),
        (429, {"Retry-After": "0"}, b"", "HTTP_429"),
        (503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, b"", "HTTP_503"),
        (308, {"Location": "https://example.org/"}, b"", "HTTP_308"),
        (200, {"Content-Type": "text/html"}, b"<h1>Please log in</h1>", "UNEXPECTED_ANSWER"),
        (200, {}, b'{"user": 1}', "UNEXPECTED_ANSWER"),
        (200, {"Content-Encoding": "gzip"}, b"no gzip", "GATEWAY_UNREACHABLE"),
    ],
)
def test_what_is_no_gateway(status: int, headers: dict[str, str], body: bytes, reason: str) -> None:
    with answering(status, headers, body) as (url, _), Client(url, api_key="ss_a_b") as client:
        for call in (client.me, lambda: next(client.keys.list())):
            with pytest.raises((ApiError, Unreachable)) as told:
                call()
            assert told.value.reason == reason
        if status == 200 and not body.startswith(b"no"):
            for call in (lambda: client.uploads.get(NO_JOB), lambda: client.jobs.words(NO_JOB)):
                with pytest.raises(ApiError) as told:
                    call()


def test_a_gateway_below_a_path() -> None:
    with answering(204, {}, b"") as (url, asked), Client(f"{url}/songs/") as client:
        assert list(client.jobs.watch(NO_JOB, after=7)) == []
        client.alive()
    assert asked == [f"/songs/api/jobs/{NO_JOB}/events", "/songs/healthz"]


def test_the_key_is_in_nothing_that_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    key = "ss_0a1b2c3d4e5f_" + "secret" * 7
    with caplog.at_level(logging.DEBUG), Client(f"http://{NOBODY}", api_key=f"{key}\n", patience_s=0) as client:
        with pytest.raises(Unreachable) as told:
            client.me()
        assert key not in f"{client!r} {vars(client)!r} {told.value!r} {told.value} {told.value.__cause__!r}"
    assert key not in caplog.text
    for wrong in ("ss_ü", "ss_a\nb", "ss_a b"):
        with pytest.raises(ValueError, match="characters") as refused:
            Client(f"http://{NOBODY}", api_key=wrong)
        assert wrong not in str(refused.value)
    for url in ("127.0.0.1:8080", "ftp://127.0.0.1", "http://", ""):
        with pytest.raises(ValueError, match="http://"):
            Client(url)
