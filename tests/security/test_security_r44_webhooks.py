"""R44: webhooks, against real Postgres and real servers on loopback. The scheme's own library checks what arrives."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from gateway_testing import (
    NOBODY,
    Processes,
    claim_of,
    ended,
    eventually,
    execute,
    link,
    serving,
    whole_song,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from singscript_egress.addresses import AllowList
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.database import Pool
from singscript_gateway.jobs.model import Failure, Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.settings import DispatcherSettings
from singscript_gateway.webhooks.model import DeliveryState, WebhookOrder, new_secret, origin
from singscript_gateway.webhooks.sender import PAUSES_S, PER_HOST, Sender, outcome, retry_after_s
from singscript_gateway.webhooks.store import WebhookStore
from singscript_storage import FolderStore

SECRET, NEWER = new_secret(), new_secret()
LOOPBACK = AllowList.parse("127.0.0.1")
LINK = {"url": "https://example.org/song.mp3"}


# -- who is told


@dataclass
class Post:
    target: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers its posts with `statuses`, one after another; the last one stays. None: it never answers.

    Attributes:
        header: a line that each answer has besides.
    """

    def __init__(self, statuses: list[int | None]) -> None:
        self.statuses = statuses
        self.header = ""
        self.posts: list[Post] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.posts.append(Post(head[0].split(" ")[1], headers, body))
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status is None:
                await reader.read()
            else:
                location = f"Location: {self.url}/elsewhere\r\n" if 300 <= status < 400 else ""
                location += f"{self.header}\r\n" if self.header else ""
                writer.write(f"HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*statuses: int | None) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(statuses))
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    async with server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield receiver


@asynccontextmanager
async def sending(pool: Pool, allow: AllowList = LOOPBACK, timeout_s: float = 10.0) -> AsyncIterator[None]:
    task = asyncio.create_task(Sender(WebhookStore(pool), allow, timeout_s=timeout_s, lease_s=30.0).run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def webhooks(pool: Pool) -> WebhookStore:
    return WebhookStore(pool)


async def cancelled(store: JobStore, url: str, *secrets: str) -> Job:
    """A job that has ended, and whose webhook is to be told."""
    order = WebhookOrder(url=url, secrets=list(secrets))
    job = await store.create(link().model_copy(update={"webhook": order}), LOCAL_OWNER)
    now = await store.cancel(job.id, LOCAL_OWNER)
    assert now and now.state is JobState.CANCELLED
    return now


async def told(webhooks: WebhookStore, job: Job) -> Any:
    """The only delivery of the job's webhook."""
    found = await webhooks.of_job(job.id, LOCAL_OWNER)
    assert found and len(found[1]) == 1
    return found[1][0]


def tried(webhooks: WebhookStore, job: Job) -> Callable[[], Awaitable[Any]]:
    """Whether an attempt has come to its end."""

    async def ended() -> Any:
        delivery = await told(webhooks, job)
        return delivery if delivery.last_status or delivery.last_error else None

    return ended


async def make_due(database_url: str) -> None:
    await execute(database_url, "UPDATE webhook_deliveries SET due_at = now() WHERE state = 'waiting'")


# -- what is told


async def test_r44_each_end_of_a_job_is_told_as_the_api_shows_it(
    client: httpx.AsyncClient, store: JobStore, queue: JobQueue, pool: Pool, database_url: str
) -> None:
    async with receiving(204) as receiver, sending(pool):
        shown: dict[str, Any] = {}
        for end in ("succeed", "fail", "cancelled", "cancel"):
            order = LINK | {"webhook": {"url": receiver.url + "/hook?key=K3Y", "secrets": [SECRET]}}
            job_id = UUID((await client.post("/api/jobs", json=order)).json()["id"])
            if end == "cancel":
                await store.cancel(job_id, LOCAL_OWNER)
            else:
                claim = await claim_of(queue, job_id)
                more = [Failure(reason="NO_SOUND", message="Silent.")] if end == "fail" else []
                assert await getattr(queue, end)(claim.job, *more)
            shown[str(job_id)] = (await client.get(f"/api/jobs/{job_id}")).json()

        async def all_came() -> bool:
            return len(receiver.posts) == 4

        await eventually(all_came, "all ends are told")
    for post in receiver.posts:
        event = Verifier(SECRET).verify(post.body, post.headers)
        job = shown.pop(event["data"]["id"])
        assert event == {"type": f"job.{job['state']}", "timestamp": job["finished_at"], "data": job}
        assert post.target == "/hook?key=K3Y" and post.headers["content-type"] == "application/json"
    assert not shown and len({post.headers["webhook-id"] for post in receiver.posts}) == 4


async def test_r44_nothing_is_told_of_an_end_that_was_not_written(
    store: JobStore, webhooks: WebhookStore, database_url: str
) -> None:
    """The delivery and the end are one transaction: where one cannot be written the other is not."""
    job = await store.create(link().model_copy(update={"webhook": WebhookOrder(url="http://127.0.0.1/")}), LOCAL_OWNER)
    await execute(database_url, "ALTER TABLE webhook_deliveries ADD CONSTRAINT never CHECK (false)")
    with pytest.raises(Exception, match="never"):
        await store.cancel(job.id, LOCAL_OWNER)
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and now.state is JobState.QUEUED
    found = await webhooks.of_job(job.id, LOCAL_OWNER)
    assert found and found[1] == []


async def test_r44_an_end_is_told_as_it_was_and_each_end_of_a_job_that_is_retried(
    store: JobStore, webhooks: WebhookStore
) -> None:
    job = await cancelled(store, "http://127.0.0.1:1/", SECRET)
    assert await store.restart(job.id, LOCAL_OWNER)
    first = [json.loads(claim.body) for claim in await webhooks.claim(9, 30.0)]
    assert [(one["type"], one["data"]["state"]) for one in first] == [("job.cancelled", "cancelled")]
    await store.cancel(job.id, LOCAL_OWNER)
    second = [json.loads(claim.body) for claim in await webhooks.claim(9, 30.0)]
    assert [one["type"] for one in second] == ["job.cancelled"] and second[0]["timestamp"] > first[0]["timestamp"]


async def test_r44_two_secrets_sign_side_by_side(store: JobStore, webhooks: WebhookStore, pool: Pool) -> None:
    async with receiving(200) as receiver, sending(pool):
        job = await cancelled(store, receiver.url, NEWER, SECRET)
        await eventually(tried(webhooks, job), "it is told")
    (post,) = receiver.posts
    for secret in (NEWER, SECRET):
        assert Verifier(secret).verify(post.body, post.headers)["type"] == "job.cancelled"
    with pytest.raises(WebhookVerificationError):
        Verifier(new_secret()).verify(post.body, post.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(post.body + b" ", post.headers)


# -- the API


async def test_the_secret_is_shown_once_and_nothing_else_of_the_webhook(
    client: httpx.AsyncClient, database_url: str
) -> None:
    order = LINK | {"webhook": {"url": "https://hooks.example.org:8443/S3CRET/path?key=S3CRET"}}
    created = await client.post("/api/jobs", json=order)
    assert created.status_code == 202
    job = created.json()
    secret = job.pop("webhook_secret")
    assert Verifier(secret) and "S3CRET" not in created.text
    got = await client.get(f"/api/jobs/{job['id']}")
    assert got.json() == job
    shown = await client.get(f"/api/jobs/{job['id']}/webhook")
    assert shown.json() == {"origin": "https://hooks.example.org:8443", "disabled_at": None, "deliveries": []}
    ((kept,),) = await execute(database_url, "SELECT request::text FROM jobs")
    for text in (got.text, shown.text, kept):
        assert secret not in text and "S3CRET" not in text


async def test_a_form_may_name_a_webhook(client: httpx.AsyncClient) -> None:
    hook = {"url": "https://hooks.example.org/", "secrets": [SECRET]}
    form = {"url": (None, LINK["url"]), "webhook": (None, json.dumps(hook))}
    created = await client.post("/api/jobs", files=form)
    assert (created.status_code, created.json()["webhook_secret"]) == (202, SECRET)


async def test_a_job_without_a_webhook_has_none(client: httpx.AsyncClient) -> None:
    created = (await client.post("/api/jobs", json=LINK)).json()
    assert "webhook_secret" not in created
    answer = await client.get(f"/api/jobs/{created['id']}/webhook")
    assert (answer.status_code, answer.json()["reason"]) == (404, "WEBHOOK_NOT_FOUND")


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({}, "webhook.url"),
        ({"url": "ftp://example.org/"}, "webhook.url"),
        ({"url": "https://me:S3CRET@example.org/"}, "webhook.url"),
        ({"url": "https://example.org:0/"}, "webhook.url"),
        ({"url": "https://exämple.org/"}, "webhook.url"),
        ({"url": "https://example.org/\r\nX: S3CRET"}, "webhook.url"),
        ({"url": "https://example.org/", "secrets": ["S3CRET"]}, "webhook.secrets[0]"),
        ({"url": "https://example.org/", "secrets": ["whsec_UzNDUkVU"]}, "webhook.secrets[0]"),
        ({"url": "https://example.org/", "secrets": [SECRET.removeprefix("whsec_")]}, "webhook.secrets[0]"),
        ({"url": "https://example.org/", "secrets": [SECRET] * 3}, "webhook.secrets"),
        ({"url": "https://example.org/", "method": "PUT"}, "webhook.method"),
    ],
)
async def test_webhooks_that_make_no_sense(client: httpx.AsyncClient, webhook: dict[str, Any], field: str) -> None:
    answer = await client.post("/api/jobs", json=LINK | {"webhook": webhook})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert "S3CRET" not in answer.text


# -- answers


async def test_r44_a_failure_and_then_200(
    store: JobStore, webhooks: WebhookStore, pool: Pool, database_url: str
) -> None:
    async with receiving(500, 200) as receiver, sending(pool):
        job = await cancelled(store, receiver.url, SECRET)
        first = await eventually(tried(webhooks, job), "it is told")
        assert (first.state, first.attempts, first.last_status) == (DeliveryState.WAITING, 1, 500)
        await make_due(database_url)

        async def done() -> Any:
            delivery = await told(webhooks, job)
            return delivery if delivery.ended_at else None

        second = await eventually(done, "it is told again")
    assert (second.state, second.attempts, second.last_status) == (DeliveryState.DELIVERED, 2, 200)
    one, two = receiver.posts
    assert one.headers["webhook-id"] == two.headers["webhook-id"] == str(second.id) and one.body == two.body
    assert Verifier(SECRET).verify(two.body, two.headers)


async def test_r44_a_redirect_is_a_failure_and_is_not_followed(
    store: JobStore, webhooks: WebhookStore, pool: Pool
) -> None:
    async with receiving(307) as receiver, sending(pool):
        job = await cancelled(store, receiver.url + "/here", SECRET)
        delivery = await eventually(tried(webhooks, job), "it is told")
    assert (delivery.state, delivery.last_status) == (DeliveryState.WAITING, 307)
    assert [post.target for post in receiver.posts] == ["/here"]


async def test_r44_410_disables_the_webhook(
    client: httpx.AsyncClient, store: JobStore, webhooks: WebhookStore, pool: Pool, database_url: str
) -> None:
    async with receiving(410) as receiver, sending(pool):
        await webhooks.set_operators(receiver.url, [SECRET])
        job = await cancelled(store, receiver.url, SECRET)

        async def disabled() -> bool:
            found = await webhooks.of_job(job.id, LOCAL_OWNER)
            return bool(found and found[0].disabled_at) and len(receiver.posts) == 2

        await eventually(disabled, "both are disabled")
        shown = (await client.get(f"/api/jobs/{job.id}/webhook")).json()
        assert shown["disabled_at"] and [d["state"] for d in shown["deliveries"]] == ["given_up"]

        async def all_off() -> bool:
            return not await execute(database_url, "SELECT 1 FROM webhooks WHERE disabled_at IS NULL")

        await eventually(all_off, "the operator's is disabled, too")
        job = await store.create(link(), LOCAL_OWNER)
        await store.cancel(job.id, LOCAL_OWNER)
        assert not await execute(database_url, "SELECT 1 FROM webhook_deliveries WHERE state = 'waiting'")
    assert len(receiver.posts) == 2


async def test_r44_private_addresses_are_never_connected_to(
    store: JobStore, webhooks: WebhookStore, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiving(200) as receiver, sending(pool, allow=AllowList.parse("")):
        job = await cancelled(store, receiver.url + "/S3CRET?key=S3CRET", SECRET)
        delivery = await eventually(tried(webhooks, job), "it is tried")
    assert (delivery.state, delivery.last_status, delivery.last_error) == ("waiting", None, "BLOCKED_ADDRESS")
    assert receiver.posts == []
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert receiver.url in logged and "S3CRET" not in logged and SECRET not in logged


async def test_r44_receivers_that_hang_hold_up_nobody_else(store: JobStore, webhooks: WebhookStore, pool: Pool) -> None:
    async with receiving(None) as silent, receiving(200) as quick, sending(pool, timeout_s=60.0):
        for _ in range(10):
            await cancelled(store, silent.url, SECRET)
        job = await cancelled(store, quick.url, SECRET)
        await eventually(tried(webhooks, job), "the other one is told")

        async def all_under_way() -> bool:
            return len(silent.posts) == 10

        await eventually(all_under_way, "all are under way at once")


async def test_r44_no_answer_in_time_is_a_failure(store: JobStore, webhooks: WebhookStore, pool: Pool) -> None:
    async with receiving(None) as receiver, sending(pool, timeout_s=0.2):
        job = await cancelled(store, receiver.url, SECRET)
        delivery = await eventually(tried(webhooks, job), "it is tried")
    assert (delivery.state, delivery.last_error) == (DeliveryState.WAITING, "ANSWER_TIMEOUT")


# -- who sends


async def test_r44_many_senders_send_each_once(store: JobStore, pool: Pool) -> None:
    webhooks = WebhookStore(pool)
    made = {(await cancelled(store, "http://127.0.0.1:1/", SECRET)).id for _ in range(20)}
    claimed: list[UUID | None] = []
    # At the same moment they choose the same ones; who comes too late for those gets others the next time.
    while claims := list(itertools.chain(*await asyncio.gather(*(webhooks.claim(7, 30.0) for _ in range(6))))):
        claimed += [claim.job_id for claim in claims]
    assert sorted(map(str, claimed)) == sorted(map(str, made))


async def test_r44_who_lost_its_claim_writes_nothing(store: JobStore, webhooks: WebhookStore) -> None:
    job = await cancelled(store, "http://127.0.0.1:1/", SECRET)
    (late,) = await webhooks.claim(9, 0.0)
    (now,) = await webhooks.claim(9, 30.0)
    assert (late.attempts, now.attempts, late.id) == (1, 2, now.id)
    failed = {"pause_s": 0.0, "status": 500, "error": None}
    assert not await webhooks.record(late, DeliveryState.GIVEN_UP, **failed)
    assert await webhooks.record(now, DeliveryState.DELIVERED, pause_s=0.0, status=200, error=None)
    assert (await told(webhooks, job)).state is DeliveryState.DELIVERED
    assert await webhooks.claim(9, 0.0) == []


async def test_r44_a_dispatcher_killed_before_the_answer_came(
    store: JobStore, webhooks: WebhookStore, processes: Processes
) -> None:
    more = {"SINGSCRIPT_ALIGNER": NOBODY, "SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS": "127.0.0.1"}
    more |= {"SINGSCRIPT_WEBHOOK_TIMEOUT_S": "2"}
    async with receiving(None, 200) as receiver:
        job = await cancelled(store, receiver.url, SECRET)
        first = processes.start("dispatcher", **more)

        async def under_way() -> bool:
            return bool(receiver.posts)

        await eventually(under_way, "it is being sent")
        first.kill()
        await asyncio.to_thread(first.wait, 10)
        assert (await told(webhooks, job)).last_status is None
        processes.start("dispatcher", **more)
        delivery = await eventually(tried(webhooks, job), "another dispatcher sends it")
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1


async def test_r44_the_operators_webhook_is_told_of_every_job(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path, database_url: str
) -> None:
    async with receiving(200) as receiver, serving(whole_song(objects, tmp_path)) as aligner:
        more = {"SINGSCRIPT_ALIGNER": aligner.address, "SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS": "127.0.0.1"}
        hook = {"SINGSCRIPT_WEBHOOK_URL": receiver.url + "/K3Y", "SINGSCRIPT_WEBHOOK_SECRET": f"{NEWER}, {SECRET}"}
        process = processes.start("dispatcher", **more, **hook)

        async def known() -> bool:
            return bool(await execute(database_url, "SELECT 1 FROM webhooks"))

        await eventually(known, "the dispatcher has started")
        job = await ended(store, await store.create(link(), LOCAL_OWNER))

        async def came() -> bool:
            return bool(receiver.posts)

        await eventually(came, "it is told")
        (post,) = receiver.posts
        for secret in (NEWER, SECRET):
            event = Verifier(secret).verify(post.body, post.headers)
            assert (event["type"], event["data"]["id"]) == ("job.succeeded", str(job.id))
        assert [a["name"] for a in event["data"]["artifacts"]] == ["vocals.flac", "words.json"]
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
        processes.start("dispatcher", **more)

        async def gone() -> bool:
            return not await execute(database_url, "SELECT 1 FROM webhooks")

        await eventually(gone, "without the setting there is none")
    assert not any(text in processes.logs() for text in ("K3Y", NEWER, SECRET))


async def test_a_receiver_that_hangs_slows_no_job(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    async with receiving(None) as receiver, serving(whole_song(objects, tmp_path)) as aligner:
        more = {"SINGSCRIPT_ALIGNER": aligner.address, "SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS": "127.0.0.1"}
        # Longer than the test may take.
        processes.start("dispatcher", SINGSCRIPT_WEBHOOK_TIMEOUT_S="600", **more)
        for _ in range(3):
            await cancelled(store, receiver.url, SECRET)

        async def under_way() -> bool:
            return len(receiver.posts) == 3

        await eventually(under_way, "they are being sent")
        assert (await ended(store, await store.create(link(), LOCAL_OWNER))).state is JobState.SUCCEEDED


# -- a user's own webhook


async def of_mine(client: httpx.AsyncClient, order: dict[str, Any]) -> dict[str, Any]:
    answer = await client.put("/api/webhook", json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def deliveries(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    return (await client.get("/api/webhook/deliveries", params=query)).json()["deliveries"]


async def test_r44_a_users_webhook_is_told_of_every_job_of_theirs(
    client: httpx.AsyncClient, store: JobStore, pool: Pool, database_url: str
) -> None:
    async with receiving(200) as receiver, sending(pool):
        secret = (await of_mine(client, {"url": receiver.url + "/mine?key=K3Y"}))["secret"]
        theirs = await store.create(link(), "eve")
        await store.cancel(theirs.id, "eve")
        with_own = await cancelled(store, receiver.url + "/own", SECRET)
        mine = await store.create(link(), LOCAL_OWNER)
        await store.cancel(mine.id, LOCAL_OWNER)

        async def all_came() -> bool:
            return len(receiver.posts) == 3 and all(one["ended_at"] for one in await deliveries(client))

        await eventually(all_came, "all are told")
        told_mine = [post for post in receiver.posts if post.target == "/mine?key=K3Y"]
        events = [Verifier(secret).verify(post.body, post.headers) for post in told_mine]
        assert {event["data"]["id"] for event in events} == {str(with_own.id), str(mine.id)}
        listed = await deliveries(client)
        assert [one["job_id"] for one in listed] == [str(mine.id), str(with_own.id)]
        assert {(one["state"], one["last_status"], one["type"]) for one in listed} == {
            ("delivered", 200, "job.cancelled")
        }
        first = (await client.get("/api/webhook/deliveries", params={"limit": 1})).json()
        assert [one["job_id"] for one in first["deliveries"]] == [str(mine.id)]
        assert [one["job_id"] for one in await deliveries(client, cursor=first["next_cursor"])] == [str(with_own.id)]
        shown = await client.get("/api/webhook")
        assert shown.json()["origin"] == receiver.url and "K3Y" not in shown.text and secret not in shown.text
        assert (await client.delete("/api/webhook")).status_code == 204
        assert await deliveries(client) == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test")):
        answer = await client.request(method, f"/api/webhook{path}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "WEBHOOK_NOT_FOUND"), (method, path)
    actions = await execute(database_url, "SELECT action FROM audit WHERE action LIKE 'webhook.%' ORDER BY number")
    assert actions == [("webhook.set",), ("webhook.deleted",)]


async def test_r44_a_users_webhook_gets_a_new_secret_beside_the_old_one(
    client: httpx.AsyncClient, database_url: str
) -> None:
    async def kept() -> list[str]:
        ((secrets,),) = await execute(database_url, "SELECT secrets FROM webhooks")
        return secrets

    url = "https://hooks.example.org/"
    first = (await of_mine(client, {"url": url}))["secret"]
    assert await kept() == [first]
    second = (await of_mine(client, {"url": url}))["secret"]
    assert await kept() == [second, first]
    third = (await of_mine(client, {"url": url}))["secret"]
    assert await kept() == [third, second] and len({first, second, third}) == 3
    assert (await of_mine(client, {"url": url, "secrets": [NEWER, SECRET]}))["secret"] is None
    assert await kept() == [NEWER, SECRET]
    answer = await client.put("/api/webhook", json={"url": "https://me:S3CRET@example.org/"})
    assert answer.status_code == 422 and "S3CRET" not in answer.text
    assert await kept() == [NEWER, SECRET]


async def test_r44_a_users_webhook_is_tried_once(client: httpx.AsyncClient, pool: Pool) -> None:
    async with receiving(500, 200) as receiver, sending(pool):
        secret = (await of_mine(client, {"url": receiver.url}))["secret"]
        for expected in (("given_up", 500), ("delivered", 200)):
            asked = await client.post("/api/webhook/test")
            assert (asked.status_code, asked.json()["type"], asked.json()["job_id"]) == (202, "webhook.test", None)

            async def done() -> dict[str, Any] | None:
                newest = (await deliveries(client))[0]
                return newest if newest["ended_at"] else None

            newest = await eventually(done, "it is tried")
            assert (newest["id"], newest["state"], newest["last_status"]) == (asked.json()["id"], *expected)
    assert [Verifier(secret).verify(post.body, post.headers)["type"] for post in receiver.posts] == ["webhook.test"] * 2


async def test_r44_410_disables_a_users_webhook_until_it_is_set_again(
    client: httpx.AsyncClient, store: JobStore, pool: Pool, database_url: str
) -> None:
    async with receiving(410, 200) as receiver, sending(pool):
        await of_mine(client, {"url": receiver.url})
        await client.post("/api/webhook/test")

        async def disabled() -> bool:
            return (await client.get("/api/webhook")).json()["disabled_at"] is not None

        await eventually(disabled, "it is disabled")
        job = await store.create(link(), LOCAL_OWNER)
        await store.cancel(job.id, LOCAL_OWNER)
        refused = await client.post("/api/webhook/test")
        assert (refused.status_code, refused.json()["reason"]) == (409, "WEBHOOK_DISABLED")
        assert [one["type"] for one in await deliveries(client)] == ["webhook.test"]
        assert (await of_mine(client, {"url": receiver.url}))["disabled_at"] is None
        assert (await client.post("/api/webhook/test")).status_code == 202

        async def delivered() -> bool:
            return (await deliveries(client))[0]["state"] == "delivered"

        await eventually(delivered, "it is told again")


async def test_r44_the_operators_webhook_and_the_users_leave_each_other_alone(
    client: httpx.AsyncClient, webhooks: WebhookStore, database_url: str
) -> None:
    await webhooks.set_operators("https://one.example.org/", [SECRET])
    await of_mine(client, {"url": "https://two.example.org/"})
    await webhooks.set_operators("https://three.example.org/", [SECRET])
    assert (await client.get("/api/webhook")).json()["origin"] == "https://two.example.org"
    assert await execute(database_url, "SELECT count(*) FROM webhooks") == [(2,)]
    await webhooks.set_operators("", [])
    assert (await client.get("/api/webhook")).status_code == 200


# -- jobs that are deleted


async def test_r44_the_end_of_a_job_that_is_deleted_is_still_told(
    client: httpx.AsyncClient, store: JobStore, pool: Pool, webhooks: WebhookStore, database_url: str
) -> None:
    async with receiving(500, 500, 200) as receiver:
        await of_mine(client, {"url": receiver.url + "/mine", "secrets": [SECRET]})
        job = await cancelled(store, receiver.url + "/own", SECRET)
        async with sending(pool):

            async def both_failed() -> bool:
                rows = await execute(database_url, "SELECT 1 FROM webhook_deliveries WHERE last_status = 500")
                return len(rows) == 2

            await eventually(both_failed, "both are tried")
            assert (await client.delete(f"/api/jobs/{job.id}")).status_code == 204
            assert [one["state"] for one in await deliveries(client)] == ["waiting"]
            await make_due(database_url)

            async def told_and_forgotten() -> bool:
                return not await execute(database_url, "SELECT 1 FROM webhook_deliveries")

            await eventually(told_and_forgotten, "nothing is left of it")
    assert sorted(post.target for post in receiver.posts) == ["/mine", "/mine", "/own", "/own"]
    for post in receiver.posts:
        assert Verifier(SECRET).verify(post.body, post.headers)["data"]["id"] == str(job.id)
    assert await execute(database_url, "SELECT owner FROM webhooks") == [(LOCAL_OWNER,)], "the job's own is gone"


async def test_what_was_told_of_a_job_goes_with_it(
    client: httpx.AsyncClient, store: JobStore, pool: Pool, webhooks: WebhookStore, database_url: str
) -> None:
    async with receiving(410) as gone, receiving(200) as receiver, sending(pool):
        job = await cancelled(store, receiver.url, SECRET)
        await eventually(tried(webhooks, job), "it is told")
        assert await store.delete(job.id, LOCAL_OWNER)
        assert await execute(database_url, "SELECT 1 FROM webhooks UNION ALL SELECT 1 FROM webhook_deliveries") == []
        # Deleted first, and then refused for good: nothing stays either.
        jobs = [await cancelled(store, gone.url, SECRET) for _ in range(3)]
        for one in jobs:
            assert await store.delete(one.id, LOCAL_OWNER)

        async def nothing_left() -> bool:
            rows = await execute(database_url, "SELECT 1 FROM webhooks UNION ALL SELECT 1 FROM webhook_deliveries")
            return not rows

        await eventually(nothing_left, "nothing is left")


# -- how it is sent


async def test_r44_a_host_that_hangs_has_so_many_places_and_no_more(store: JobStore, pool: Pool) -> None:
    async with receiving(None) as silent, receiving(200) as quick, sending(pool, timeout_s=60.0):
        for _ in range(PER_HOST + 50):
            await cancelled(store, silent.url, SECRET)
        for _ in range(5):
            await cancelled(store, quick.url, SECRET)

        async def told() -> bool:
            return len(quick.posts) == 5 and len(silent.posts) == PER_HOST

        await eventually(told, "those who answer are told")
        # Twice as long as the sender looks for more.
        await asyncio.sleep(2.2)
        assert len(silent.posts) == PER_HOST


async def test_r44_those_who_wait_get_their_turn_at_a_slow_host(store: JobStore, pool: Pool) -> None:
    async with receiving(200) as receiver, sending(pool):
        for _ in range(PER_HOST + 5):
            await cancelled(store, receiver.url, SECRET)

        async def all_told() -> bool:
            return len(receiver.posts) == PER_HOST + 5

        await eventually(all_told, "all are told")


@pytest.mark.parametrize(("status", "at_least_s", "at_most_s"), [(429, 3600, 3960), (503, 3600, 3960), (500, 5, 6)])
async def test_r44_an_answer_may_ask_for_a_pause(
    store: JobStore,
    webhooks: WebhookStore,
    pool: Pool,
    database_url: str,
    status: int,
    at_least_s: float,
    at_most_s: float,
) -> None:
    async with receiving(status) as receiver, sending(pool):
        receiver.header = "Retry-After: 3600"
        job = await cancelled(store, receiver.url, SECRET)
        await eventually(tried(webhooks, job), "it is told")
        (row,) = await execute(
            database_url, "SELECT extract(epoch FROM due_at - now())::float8 FROM webhook_deliveries"
        )
    assert at_least_s - 30 <= row[0] <= at_most_s


# -- plain functions


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("9" * 4000, 999_999_999),
        ("Tue, 01 Dec 2026 00:01:00 GMT", 60),
        ("Tue, 01 Dec 2026 01:01:00 +0100", 60),
        ("Mon, 30 Nov 2026 00:00:00 GMT", 0),
        ("Tue, 99 Dec 2026 00:01:00 GMT", 0),
    ],
)
def test_what_a_retry_after_asks_for(header: str, pause_s: float) -> None:
    assert retry_after_s(header, datetime(2026, 12, 1, tzinfo=UTC)) == pause_s


@given(st.text(max_size=60))
def test_any_retry_after_is_understood_or_ignored(header: str) -> None:
    assert retry_after_s(header, datetime(2026, 12, 1, tzinfo=UTC)) >= 0


@given(st.sampled_from([429, 503]), st.integers(1, len(PAUSES_S)), st.floats(0, 1e12))
def test_a_pause_that_is_asked_for_is_kept_and_bounded(status: int, attempts: int, asked_s: float) -> None:
    pause_s = outcome(status, attempts, asked_s).pause_s
    assert min(asked_s, PAUSES_S[-1]) <= pause_s <= 1.1 * PAUSES_S[-1] and pause_s >= PAUSES_S[attempts - 1]


def test_the_schedule_lasts_75_hours() -> None:
    pauses = [outcome(503, attempts).pause_s for attempts in range(1, len(PAUSES_S) + 1)]
    assert 75 * 3600 <= sum(pauses) <= 1.1 * 76 * 3600 and pauses[0] < 10
    assert all(before < after for before, after in itertools.pairwise(PAUSES_S))
    assert len({outcome(503, 9).pause_s for _ in range(20)}) > 1


@given(st.none() | st.integers(100, 599), st.integers(1, len(PAUSES_S) + 3))
def test_every_answer_has_an_outcome(status: int | None, attempts: int) -> None:
    state, pause_s = outcome(status, attempts)
    if status is not None and 200 <= status < 300:
        assert state is DeliveryState.DELIVERED
    elif status == 410 or attempts > len(PAUSES_S):
        assert state is DeliveryState.GIVEN_UP
    else:
        assert state is DeliveryState.WAITING and PAUSES_S[attempts - 1] <= pause_s <= 1.1 * PAUSES_S[attempts - 1]


@pytest.mark.parametrize(
    ("webhook", "named"),
    [
        ({"webhook_url": "ftp://S3CRET/"}, "webhook_url"),
        ({"webhook_secret": f"{SECRET},S3CRET"}, "webhook_secret"),
        ({"webhook_url": "https://example.org/"}, "SINGSCRIPT_WEBHOOK_SECRET"),
        ({"download_allow_hosts": "http://x"}, "download_allow_hosts"),
    ],
)
def test_settings_that_make_no_sense(webhook: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DispatcherSettings(database_url="", aligner=NOBODY, **webhook)
    (error,) = caught.value.errors()
    assert named in f"{error['loc']} {error['msg']}" and "S3CRET" not in error["msg"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/K3Y?key=K3Y#K3Y", "https://example.org"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_what_is_shown_of_an_address(url: str, shown: str) -> None:
    assert origin(url) == shown
