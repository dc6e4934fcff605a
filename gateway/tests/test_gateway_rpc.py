"""JobService over real sockets: what REST can do, and the same answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sized
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import httpx
import pytest
from fastapi import FastAPI
from gateway_testing import (
    NOBODY,
    SHOWN_LEVELS,
    Processes,
    Script,
    all_events,
    api_settings,
    artifact,
    claim_of,
    engine,
    eventually,
    execute,
    free_address,
    is_up,
    key_of,
    line,
    link,
    media,
    progress,
    segment,
    usage,
    warning,
    whole_song,
)
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from pydantic import ValidationError
from singscript.aligner.v1 import aligner_pb2
from singscript.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_gateway.api.server import make_app
from singscript_gateway.auth.authenticator import Authenticator
from singscript_gateway.auth.keys import id_of
from singscript_gateway.auth.model import LOCAL_OWNER, Principal
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.database import Pool
from singscript_gateway.jobs import listen, watching
from singscript_gateway.jobs.model import Event, Failure, Job
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.updates import Update, read
from singscript_gateway.rpc import service
from singscript_gateway.rpc.events import response_of
from singscript_gateway.settings import ApiSettings
from singscript_serving.channel import dial
from singscript_serving.events import duration
from singscript_storage import FolderStore

URL = "https://example.org/song.mp3"
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Replica:
    """An application with both of its sides."""

    app: FastAPI
    jobs: gateway_pb2_grpc.JobServiceAsyncStub
    channel: grpc.aio.Channel
    rest: httpx.AsyncClient

    @property
    def watchers(self) -> int:
        return sum(map(len, self.app.state.gateway.events._waiters.values()))


@asynccontextmanager
async def replica_of(settings: ApiSettings, objects: FolderStore) -> AsyncIterator[Replica]:
    app = make_app(settings, objects)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        dial(settings.grpc_listen) as channel,
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as rest,
    ):
        yield Replica(app, gateway_pb2_grpc.JobServiceStub(channel), channel, rest)


@pytest.fixture
async def replica(database_url: str, objects: FolderStore) -> AsyncIterator[Replica]:
    async with replica_of(api_settings(database_url, grpc_listen=free_address()), objects) as replica:
        yield replica


@pytest.fixture
async def keyed(database_url: str, objects: FolderStore) -> AsyncIterator[Replica]:
    """One that asks for keys."""
    async with replica_of(api_settings(database_url, auth="keys", grpc_listen=free_address()), objects) as replica:
        yield replica


def bearer(key: str) -> Metadata:
    return (("authorization", f"Bearer {key}"),)


@dataclass
class Refusal:
    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str]
    fields: list[str]
    retry_after_s: float = 0.0


async def refused(call: Awaitable[Any]) -> Refusal:
    """How a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    error = raised.value
    status = rpc_status.from_call(error)  # pyright: ignore[reportArgumentType]  (it has what is read of it)
    assert status is not None, error
    refusal = Refusal(error.code(), "", status.message, {}, [])
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            refusal.reason, refusal.metadata = info.reason, dict(info.metadata)
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            refusal.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            detail.Unpack(request)
            refusal.fields = [one.field for one in request.field_violations]
    return refusal


async def watched(
    jobs: gateway_pb2_grpc.JobServiceAsyncStub,
    job_id: object,
    after: int = 0,
    count: int | None = None,
    metadata: Metadata = (),
) -> list[gateway_pb2.WatchJobResponse]:
    """What is told after `after`: `count` events, then the call is cancelled; or all to the end."""
    seen: list[gateway_pb2.WatchJobResponse] = []
    request = gateway_pb2.WatchJobRequest(job_id=str(job_id), after_seq=after)
    call = jobs.WatchJob(request, metadata=metadata, timeout=30)
    async for response in call:
        seen.append(response)
        if len(seen) == count:
            call.cancel()
            break
    return seen


async def read_all(call: Any) -> None:
    async for _ in call:
        pass


async def begun(store: JobStore, queue: JobQueue) -> Job:
    job = await store.create(link(), LOCAL_OWNER)
    return (await claim_of(queue, job.id)).job


async def sing(queue: JobQueue, job: Job, count: int) -> None:
    update = read(segment("la"))
    assert update
    for _ in range(count):
        assert await queue.record(job, update)


# -- creating


WHOLE = gateway_pb2.JobOptions(
    lyrics="La la",
    lookup=aligner_pb2.LyricsLookup(artist="Someone"),
    language="en",
    title="A title",
    separator_engines=["demucs", "passthrough"],
    transcriber_engines=["whisper"],
    aligner_engines=["sphinx"],
    separator_model="htdemucs",
    transcriber_model="small",
    task=transcriber_pb2.TASK_TRANSLATE,
    prompt="A song.",
    hot_words=["Loreley"],
    listen=transcriber_pb2.LISTEN_MIX,
    stems=separator_pb2.SPLIT_ALL,
    stem_format=separator_pb2.STEM_FORMAT_OPUS,
    formats=[aligner_pb2.SUBTITLE_FORMAT_SRT_WORDS, aligner_pb2.SUBTITLE_FORMAT_ASS],
    karaoke=aligner_pb2.RenderOptions(fill=aligner_pb2.KARAOKE_FILL_STEP, lead_in=True),
    priority=gateway_pb2.PRIORITY_HIGH,
    webhook=gateway_pb2.Webhook(url="https://example.org/hook"),
    reuse=False,
)
IN_REST: dict[str, Any] = {
    "lyrics": "La la",
    "lookup": {"artist": "Someone"},
    "language": "en",
    "title": "A title",
    "separator_engines": ["demucs", "passthrough"],
    "transcriber_engines": ["whisper"],
    "aligner_engines": ["sphinx"],
    "separator_model": "htdemucs",
    "transcriber_model": "small",
    "task": "translate",
    "prompt": "A song.",
    "hot_words": ["Loreley"],
    "listen": "mix",
    "stems": "all",
    "stem_format": "opus",
    "formats": ["srt-words", "ass"],
    "karaoke": {"fill": "step", "lead_in": True},
    "priority": "high",
    "webhook": {"url": "https://example.org/hook"},
    "reuse": False,
}


async def test_every_option_of_rest_can_be_given(replica: Replica, store: JobStore) -> None:
    schema = replica.app.openapi()["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert set(IN_REST) | {"url", "upload"} == set(schema["schema"]["properties"]), "a new option is given here, too"
    made = await replica.jobs.CreateJob(gateway_pb2.CreateJobRequest(url=URL, options=WHOLE), timeout=60)
    other = (await replica.rest.post("/api/jobs", json={"url": URL} | IN_REST)).json()
    assert made.webhook_secret.startswith("whsec_")
    mine = (await replica.rest.get(f"/api/jobs/{made.job.id}")).json()
    assert mine["options"] == other["options"] and mine["title"] == other["title"] == "A title"
    theirs = await store.get(other["id"], LOCAL_OWNER)
    ours = await store.get(UUID(made.job.id), LOCAL_OWNER)
    assert ours and theirs and ours.request == theirs.request
    shown = gateway_pb2.JobOptions()
    shown.CopyFrom(WHOLE)
    for name in ("lyrics", "prompt", "hot_words", "title", "webhook"):
        shown.ClearField(name)
    assert made.job.options == shown and made.job.lyrics_given and made.job.prompt_given and made.job.hot_words_given


async def test_what_is_left_out_is_as_in_rest(replica: Replica) -> None:
    made = await replica.jobs.CreateJob(gateway_pb2.CreateJobRequest(url=URL), timeout=60)
    other = (await replica.rest.post("/api/jobs", json={"url": URL})).json()
    mine = (await replica.rest.get(f"/api/jobs/{made.job.id}")).json()
    assert mine["options"] == other["options"]
    assert made.webhook_secret == "" and made.job.state == gateway_pb2.JOB_STATE_QUEUED and made.job.url == URL


def unknown(**values: Any) -> gateway_pb2.JobOptions:
    """With values that the contract does not have."""
    return gateway_pb2.JobOptions(**values)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (gateway_pb2.CreateJobRequest(), ["source"]),
        (gateway_pb2.CreateJobRequest(url="ftp://example.org"), ["url"]),
        (gateway_pb2.CreateJobRequest(upload_id="x"), ["upload_id"]),
        (
            gateway_pb2.CreateJobRequest(url=URL, options=gateway_pb2.JobOptions(language="english", title="x" * 301)),
            ["options.language", "options.title"],
        ),
        (
            gateway_pb2.CreateJobRequest(url=URL, options=gateway_pb2.JobOptions(hot_words=["a", " "])),
            ["options.hot_words[1]"],
        ),
        (gateway_pb2.CreateJobRequest(url=URL, options=gateway_pb2.JobOptions(lyrics="a\0b")), ["options.lyrics"]),
        (
            gateway_pb2.CreateJobRequest(url=URL, options=unknown(formats=[1, 99])),
            ["options.formats[1]"],
        ),
        (gateway_pb2.CreateJobRequest(url=URL, options=unknown(priority=99)), ["options.priority"]),
        (
            gateway_pb2.CreateJobRequest(
                url=URL, options=gateway_pb2.JobOptions(webhook=gateway_pb2.Webhook(url="x", secrets=["y"]))
            ),
            ["options.webhook.url", "options.webhook.secrets[0]"],
        ),
        (gateway_pb2.CreateJobRequest(url=URL, idempotency_key="x" * 256), ["idempotency_key"]),
        (gateway_pb2.CreateJobRequest(url=URL, idempotency_key="é"), ["idempotency_key"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, list) else "",
)
async def test_what_cannot_be_asked_for_is_named(
    replica: Replica, database_url: str, request_: gateway_pb2.CreateJobRequest, fields: list[str]
) -> None:
    refusal = await refused(replica.jobs.CreateJob(request_, timeout=60))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert refusal.fields == fields
    assert await execute(database_url, "SELECT count(*) FROM jobs") == [(0,)]


async def test_jobs_of_uploads(replica: Replica, objects: FolderStore) -> None:
    tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    begun = await replica.rest.post("/api/uploads", headers=tus | {"Upload-Length": "3"}, content=b"ab")
    assert begun.status_code == 201
    location = begun.headers["location"]
    request = gateway_pb2.CreateJobRequest(upload_id=location.rpartition("/")[2])
    refusal = await refused(replica.jobs.CreateJob(request, timeout=60))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_NOT_FINISHED")
    assert refusal.metadata["offset_bytes"] == "2"
    assert (await replica.rest.patch(location, headers=tus | {"Upload-Offset": "2"}, content=b"c")).status_code == 204
    made = await replica.jobs.CreateJob(request, timeout=60)
    assert made.job.upload.size_bytes == 3 and not made.job.url
    refusal = await refused(replica.jobs.CreateJob(gateway_pb2.CreateJobRequest(upload_id=str(uuid4())), timeout=60))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")


async def test_r42_fifty_at_once_are_one_job_over_grpc_and_rest(
    replica: Replica, database_url: str, objects: FolderStore
) -> None:
    request = gateway_pb2.CreateJobRequest(url=URL, options=WHOLE, idempotency_key="k")
    async with replica_of(api_settings(database_url, grpc_listen=free_address()), objects) as other:
        posts = asyncio.gather(
            *(
                replica.rest.post("/api/jobs", json={"url": URL} | IN_REST, headers={"Idempotency-Key": "k"})
                for _ in range(10)
            )
        )
        made = await asyncio.gather(*((replica, other)[n % 2].jobs.CreateJob(request, timeout=60) for n in range(40)))
        answers = {answer.SerializeToString(deterministic=True) for answer in made}
        assert len(answers) == 1 and made[0].webhook_secret
        assert {answer.json()["id"] for answer in await posts} == {made[0].job.id}
        assert await execute(database_url, "SELECT count(*) FROM jobs") == [(1,)]
        again = gateway_pb2.CreateJobRequest(url=URL, idempotency_key="k")
        refusal = await refused(other.jobs.CreateJob(again, timeout=60))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED")


# -- looking at them


async def test_whole_life_of_a_job(
    replica: Replica, store: JobStore, queue: JobQueue, objects: FolderStore, tmp_path: Path
) -> None:
    job = await begun(store, queue)
    script = whole_song(objects, tmp_path)
    for number, update in enumerate(await updates_of(script)):
        assert await queue.record(job, Update(update.kind, update.data | of_usage(update, number)))
    await queue.succeed(job)
    shown = (await replica.jobs.GetJob(gateway_pb2.GetJobRequest(job_id=str(job.id)), timeout=60)).job
    rest = (await replica.rest.get(f"/api/jobs/{job.id}")).json()
    assert shown.state == gateway_pb2.JOB_STATE_SUCCEEDED and shown.attempt == 1
    assert shown.created_at.ToDatetime(UTC) == datetime.fromisoformat(rest["created_at"])
    assert shown.finished_at.ToDatetime(UTC) == datetime.fromisoformat(rest["finished_at"])
    assert (shown.title, shown.last_seq) == (rest["title"], rest["last_event"])
    assert shown.media.title == "Song" and shown.media.duration == duration(2.0)
    assert [one.stage for one in shown.stages] == [1, 2, 3, 4]
    assert [one.engine.engine for one in shown.stages] == [one["engine"] for one in rest["stages"]]
    assert {one.state for one in shown.stages} == {gateway_pb2.STAGE_STATE_SUCCEEDED}
    assert shown.stages[0].progress.done == duration(2.0)
    assert [one.warning.reason for one in shown.warnings] == ["SEPARATION_SKIPPED"]
    files = [(one.artifact.name, one.artifact.sha256, one.artifact.size_bytes) for one in shown.files]
    assert files == [(one["name"], one["sha256"], one["size_bytes"]) for one in rest["artifacts"]]
    assert not any(one.artifact.key for one in shown.files)
    levels = next(one.artifact.levels for one in shown.files if one.artifact.name == "vocals.flac")
    assert round(levels.peak_dbfs, 2) == SHOWN_LEVELS["peak_dbfs"] and not levels.HasField("loudness_lufs")
    assert shown.usage[0].audio == duration(60.0) and shown.usage[0].cost_usd == rest["usage"][0]["cost_usd"]
    told = await watched(replica.jobs, job.id)
    assert [one.seq for one in told] == [one.seq for one in await all_events(store, job)]
    assert told[-1].state.state == gateway_pb2.JOB_STATE_SUCCEEDED
    refusal = await refused(replica.jobs.CancelJob(gateway_pb2.CancelJobRequest(job_id=str(job.id)), timeout=60))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_FINISHED")
    assert refusal.metadata["state"] == "succeeded"
    refusal = await refused(replica.jobs.RetryJob(gateway_pb2.RetryJobRequest(job_id=str(job.id)), timeout=60))
    assert refusal.reason == "JOB_SUCCEEDED"
    await replica.jobs.DeleteJob(gateway_pb2.DeleteJobRequest(job_id=str(job.id)), timeout=60)
    refusal = await refused(replica.jobs.GetJob(gateway_pb2.GetJobRequest(job_id=str(job.id)), timeout=60))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


async def updates_of(script: Script) -> list[Update]:
    responses = script(aligner_pb2.AlignRequest(), None)  # pyright: ignore[reportArgumentType]  (it needs none)
    return [update async for response in responses if (update := read(response))]


async def test_cancel_retry_and_failure(replica: Replica, store: JobStore, queue: JobQueue) -> None:
    job = await store.create(link(), LOCAL_OWNER)
    name = str(job.id)
    refusal = await refused(replica.jobs.DeleteJob(gateway_pb2.DeleteJobRequest(job_id=name), timeout=60))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_NOT_FINISHED")
    refusal = await refused(replica.jobs.RetryJob(gateway_pb2.RetryJobRequest(job_id=name), timeout=60))
    assert refusal.reason == "JOB_NOT_ENDED"
    for _ in range(2):
        cancelled = (await replica.jobs.CancelJob(gateway_pb2.CancelJobRequest(job_id=name), timeout=60)).job
        assert cancelled.state == gateway_pb2.JOB_STATE_CANCELLED
    assert (await replica.jobs.RetryJob(gateway_pb2.RetryJobRequest(job_id=name), timeout=60)).job.state == 1
    claim = await claim_of(queue, job.id)
    running = (await replica.jobs.CancelJob(gateway_pb2.CancelJobRequest(job_id=name), timeout=60)).job
    assert running.state == gateway_pb2.JOB_STATE_RUNNING and running.cancel_requested
    failure = Failure(reason="TOO_LONG", message="A sentence.", stage="download", facts={"limit_s": "7200"})
    await queue.fail(claim.job, failure)
    shown = (await replica.jobs.GetJob(gateway_pb2.GetJobRequest(job_id=name), timeout=60)).job
    expected = gateway_pb2.Problem(
        reason="TOO_LONG", message="A sentence.", stage=media_pb2.STAGE_DOWNLOAD, metadata={"limit_s": "7200"}
    )
    if shown.state == gateway_pb2.JOB_STATE_FAILED:
        assert shown.problem == expected
        assert (await watched(replica.jobs, name))[-1].state.problem == expected


def unknown_states(*values: Any) -> gateway_pb2.ListJobsRequest:
    return gateway_pb2.ListJobsRequest(states=values)


async def test_lists_page_with_the_cursor_of_rest(replica: Replica, store: JobStore) -> None:
    made = [str((await store.create(link(), LOCAL_OWNER)).id) for _ in range(5)][::-1]
    await store.cancel(UUID(made[2]), LOCAL_OWNER)
    first = await replica.jobs.ListJobs(gateway_pb2.ListJobsRequest(page_size=2), timeout=60)
    assert [job.id for job in first.jobs] == made[:2]
    rest = (await replica.rest.get("/api/jobs", params={"limit": 2, "cursor": first.next_page_token})).json()
    assert [job["id"] for job in rest["jobs"]] == made[2:4]
    last = await replica.jobs.ListJobs(gateway_pb2.ListJobsRequest(page_token=rest["next_cursor"]), timeout=60)
    assert [job.id for job in last.jobs] == made[4:] and last.next_page_token == ""
    ended = [gateway_pb2.JOB_STATE_CANCELLED, gateway_pb2.JOB_STATE_FAILED]
    assert [
        j.id for j in (await replica.jobs.ListJobs(gateway_pb2.ListJobsRequest(states=ended), timeout=60)).jobs
    ] == [made[2]]
    for request, fields in (
        (gateway_pb2.ListJobsRequest(page_size=101), ["page_size"]),
        (gateway_pb2.ListJobsRequest(page_size=-1), ["page_size"]),
        (gateway_pb2.ListJobsRequest(page_token="x" * 101), ["page_token"]),
        (gateway_pb2.ListJobsRequest(page_token="?"), []),
        (unknown_states(0), ["states"]),
        (unknown_states(99), ["states"]),
    ):
        refusal = await refused(replica.jobs.ListJobs(request, timeout=60))
        assert (refusal.code, refusal.reason, refusal.fields) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_INPUT",
            fields,
        )


# -- who may

EACH = (
    ("GetJob", gateway_pb2.GetJobRequest, "jobs:read"),
    ("CancelJob", gateway_pb2.CancelJobRequest, "jobs:write"),
    ("RetryJob", gateway_pb2.RetryJobRequest, "jobs:write"),
    ("DeleteJob", gateway_pb2.DeleteJobRequest, "jobs:write"),
    ("WatchJob", gateway_pb2.WatchJobRequest, "jobs:read"),
)


def called(replica: Replica, method: str, request: Message, metadata: Metadata) -> Awaitable[Any]:
    call = getattr(replica.jobs, method)(request, metadata=metadata, timeout=30)
    return read_all(call) if method == "WatchJob" else call


def test_every_method_is_asked_here() -> None:
    methods = gateway_pb2.DESCRIPTOR.services_by_name["JobService"].methods_by_name
    assert {name for name, *_ in EACH} | {"CreateJob", "ListJobs"} == set(methods)


async def test_r40_jobs_of_others_are_not_there(keyed: Replica, accounts: AccountStore, store: JobStore) -> None:
    alice, bob = bearer(await key_of(accounts, "alice")), bearer(await key_of(accounts, "bob"))
    job = (await keyed.jobs.CreateJob(gateway_pb2.CreateJobRequest(url=URL), metadata=alice, timeout=60)).job
    for method, request, _ in EACH:
        answers = [
            await refused(called(keyed, method, request(job_id=job_id), bob))
            for job_id in (job.id, str(uuid4()), "x", "")
        ]
        assert all(answer == answers[0] for answer in answers), method
        assert (answers[0].code, answers[0].reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    everything = gateway_pb2.ListJobsRequest()
    assert list((await keyed.jobs.ListJobs(everything, metadata=bob, timeout=60)).jobs) == []
    assert [one.id for one in (await keyed.jobs.ListJobs(everything, metadata=alice, timeout=60)).jobs] == [job.id]
    assert (await keyed.jobs.GetJob(gateway_pb2.GetJobRequest(job_id=job.id), metadata=alice, timeout=60)).job == job
    same = gateway_pb2.CreateJobRequest(url=URL, idempotency_key="k")
    assert (
        len({(await keyed.jobs.CreateJob(same, metadata=who, timeout=60)).job.id for who in (alice, alice, bob)}) == 2
    )


async def test_r41_who_has_no_key_or_not_the_scope_gets_nothing(keyed: Replica, accounts: AccountStore) -> None:
    reader, writer = await key_of(accounts, "alice", "jobs:read"), await key_of(accounts, "alice", "jobs:write")
    wrong = reader[:-1] + ("A" if reader[-1] != "A" else "B")
    others = (
        ("CreateJob", lambda **_: gateway_pb2.CreateJobRequest(), "jobs:write"),
        ("ListJobs", lambda **_: gateway_pb2.ListJobsRequest(page_size=-1), "jobs:read"),
    )
    for method, request, scope in (*EACH, *others):
        for metadata in ((), bearer(wrong), bearer("x"), (("authorization", reader),), (("x-api-key", reader),)):
            refusal = await refused(called(keyed, method, request(job_id="x"), metadata))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        other = writer if scope == "jobs:read" else reader
        refusal = await refused(called(keyed, method, request(job_id="x"), bearer(other)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
        assert refusal.metadata["scope"] == scope


async def test_r41_keys_that_have_ended_say_so(
    keyed: Replica, accounts: AccountStore, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "JUDGE_EVERY_S", 0.2)
    key = await key_of(accounts, "alice")
    job = await store.create(link(), "alice")
    call = keyed.jobs.WatchJob(gateway_pb2.WatchJobRequest(job_id=str(job.id)), metadata=bearer(key), timeout=30)
    assert (await call.read()).state.state == gateway_pb2.JOB_STATE_QUEUED  # pyright: ignore[reportAttributeAccessIssue]  (EOF else)
    await accounts.revoke_key(str(id_of(key)), "alice", by=None)
    refusal = await refused(read_all(call))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_REVOKED")
    assert keyed.watchers == 0


async def test_r43_requests_are_counted_and_a_watch_once(
    database_url: str, objects: FolderStore, accounts: AccountStore, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    principal = Authenticator.principal

    async def counting(self: Authenticator, authorization: str | None) -> Principal:
        asked.append(authorization)
        return await principal(self, authorization)

    monkeypatch.setattr(Authenticator, "principal", counting)
    monkeypatch.setattr(watching, "JUDGE_EVERY_S", 0.05)
    monkeypatch.setattr(listen, "POLL_LISTENING_S", 0.05)
    monkeypatch.setattr(listen, "POLL_S", 0.05)
    limits = {"auth": "keys", "quota_requests_per_minute": 2}
    alice, bob = await key_of(accounts, "alice"), await key_of(accounts, "bob")
    job = await store.create(link(), "alice")
    everything = gateway_pb2.ListJobsRequest()
    async with replica_of(api_settings(database_url, grpc_listen=free_address(), **limits), objects) as keyed:
        call = keyed.jobs.WatchJob(gateway_pb2.WatchJobRequest(job_id=str(job.id)), metadata=bearer(alice), timeout=30)
        await call.read()
        await eventually(lambda: there(asked, 5), "the watch asks whether it still may")
        header = {"Authorization": f"Bearer {alice}"}
        assert (await keyed.rest.get("/api/jobs", headers=header)).status_code == 200
        refusal = await refused(keyed.jobs.ListJobs(everything, metadata=bearer(alice), timeout=60))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_REQUESTS")
        facts = {name: refusal.metadata[name] for name in ("limit", "window", "of")}
        assert facts == {"limit": "2", "window": "minute", "of": "user"}
        assert 1 <= refusal.retry_after_s <= 30
        await keyed.jobs.ListJobs(everything, metadata=bearer(bob), timeout=60)
        call.cancel()


async def test_audit_has_the_key_and_the_address(keyed: Replica, accounts: AccountStore, database_url: str) -> None:
    key = await key_of(accounts, "alice")
    job = (await keyed.jobs.CreateJob(gateway_pb2.CreateJobRequest(url=URL), metadata=bearer(key), timeout=60)).job
    rows = await execute(
        database_url, "SELECT owner, key_id, host(address::inet), target FROM audit WHERE action = 'job.created'"
    )
    assert rows == [("alice", id_of(key), "127.0.0.1", job.id)]


@pytest.mark.parametrize("listen", ["0.0.0.0:9090", "[::]:9090", "gateway:9090"])
def test_without_keys_only_this_machine_is_served(listen: str) -> None:
    with pytest.raises(ValidationError, match="SINGSCRIPT_GRPC_LISTEN must be a loopback"):
        api_settings("postgresql:///none", grpc_listen=listen)
    assert api_settings("postgresql:///none", grpc_listen=listen, auth="keys").grpc_listen == listen


# -- watching


def test_every_event_comes_back_as_it_was_said(objects: FolderStore, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"x")
    stored = objects.put("separate/x/vocals.flac", file, "audio/flac")
    levels = media_pb2.AudioLevels(peak_dbfs=-0.5, gain_db=-0.25)
    heard = {"start": duration(1.25), "end": duration(2.5), "text": "la"}
    word = aligner_pb2.AlignedWord(**heard, confidence=0.5, timing=aligner_pb2.WORD_TIMING_INTERPOLATED)
    said = [
        progress(media_pb2.STAGE_SEPARATE, 1.5),
        progress(media_pb2.STAGE_SEPARATE, 2.0, finished=True),
        aligner_pb2.AlignResponse(
            event=media_pb2.StageEvent(
                stage=media_pb2.STAGE_DOWNLOAD,
                progress=media_pb2.Progress(done=duration(0), done_bytes=1, total_bytes=2),
            )
        ),
        engine(media_pb2.STAGE_ALIGN, "ctc"),
        warning(media_pb2.STAGE_DOWNLOAD, "SOMETHING"),
        artifact(media_pb2.STAGE_SEPARATE, stored, levels),
        artifact(media_pb2.STAGE_ALIGN, stored),
        usage(),
        usage(None),
        aligner_pb2.AlignResponse(event=media_pb2.StageEvent(stage=media_pb2.STAGE_SEPARATE, resumed=resumed(60.0))),
        media(),
        aligner_pb2.AlignResponse(media=media_pb2.MediaInfo(title="Of no known length")),
        segment("hello"),
        line("hello"),
        aligner_pb2.AlignResponse(line=aligner_pb2.Line(**heard, words=[word], index=3, lyrics_line=0)),
        aligner_pb2.AlignResponse(
            dropped=transcriber_pb2.Dropped(**heard, reason="NO_VOICE", language="en", engine="e", model="m")
        ),
        aligner_pb2.AlignResponse(
            lyrics=aligner_pb2.LyricsFound(source="LRCLIB", url="u", artist="a", title="t", synced=True, text="la")
        ),
        aligner_pb2.AlignResponse(unmatched=aligner_pb2.Unmatched(unsung=aligner_pb2.Unsung(lyrics_line=2, text="la"))),
        aligner_pb2.AlignResponse(unmatched=aligner_pb2.Unmatched(unlisted=aligner_pb2.Unlisted(**heard))),
    ]
    names = {"event": "stage_event"}
    for response in said:
        update = read(response)
        assert update
        told = response_of(Event(seq=7, attempt=2, kind=update.kind, data=kept(update), at=datetime.now(UTC)))
        assert (told.seq, told.attempt) == (7, 2)
        payload = response.WhichOneof("payload")
        assert payload
        response.event.artifact.ClearField("key") if response.event.HasField("artifact") else None
        assert getattr(told, names.get(payload, payload)) == getattr(response, payload)


def resumed(from_s: float) -> media_pb2.Resumed:
    value = media_pb2.Resumed()
    getattr(value, "from").CopyFrom(duration(from_s))
    return value


def kept(update: Update) -> dict[str, Any]:
    """As the database keeps it."""
    return json.loads(json.dumps(update.data | of_usage(update, 1)))


def of_usage(update: Update, number: int) -> dict[str, int]:
    """What the dispatcher adds: reports of usage are counted once each."""
    return {"number": number} if update.kind == "usage" else {}


def test_kinds_of_the_gateway_itself() -> None:
    def told(kind: str, data: dict[str, Any]) -> gateway_pb2.WatchJobResponse:
        return response_of(Event(seq=1, attempt=1, kind=kind, data=data, at=datetime.now(UTC)))

    assert told("state", {"state": "running"}).state == gateway_pb2.JobStateChanged(state=gateway_pb2.JOB_STATE_RUNNING)
    queued = {"state": "queued", "reason": "BUSY", "message": "Full.", "stage": None, "delay_s": 0.5}
    assert told("state", queued).state == gateway_pb2.JobStateChanged(
        state=gateway_pb2.JOB_STATE_QUEUED,
        problem=gateway_pb2.Problem(reason="BUSY", message="Full."),
        delay=duration(0.5),
    )
    assert told("stage", {"stage": "align", "state": "skipped"}).stage == gateway_pb2.StageStateChanged(
        stage=media_pb2.STAGE_ALIGN, state=gateway_pb2.STAGE_STATE_SKIPPED
    )
    assert told("words", {"revision": 2}).words.revision == 2
    assert told("of a later version", {}).WhichOneof("event") is None


async def test_r45_watch_goes_on_without_gap_and_duplicate(replica: Replica, store: JobStore, queue: JobQueue) -> None:
    job = await begun(store, queue)
    singing = asyncio.create_task(sing(queue, job, 250))
    seen: list[int] = []
    while len(seen) < 60:
        seen += [one.seq for one in await watched(replica.jobs, job.id, seen[-1] if seen else 0, count=7)]
    rest = asyncio.create_task(watched(replica.jobs, job.id, seen[-1]))
    await singing
    await queue.succeed(job)
    seen += [one.seq for one in await rest]
    assert seen == [event.seq for event in await all_events(store, job)]
    assert await watched(replica.jobs, job.id, seen[-1]) == []
    refusal = await refused(watched(replica.jobs, job.id, -1))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["after_seq"])


async def test_r45_watch_across_restarts_of_the_server(processes: Processes, store: JobStore, queue: JobQueue) -> None:
    """Stopped, and killed: the client goes on from the last event that it saw."""
    job = await begun(store, queue)
    address, grpc_address = free_address(), free_address()
    seen: list[int] = []
    outcomes: list[grpc.StatusCode] = []

    def start() -> Any:
        return processes.start(
            "api", SINGSCRIPT_LISTEN=address, SINGSCRIPT_GRPC_LISTEN=grpc_address, SINGSCRIPT_ALIGNER=NOBODY
        )

    async def follow() -> None:
        async with dial(grpc_address) as channel:
            jobs = gateway_pb2_grpc.JobServiceStub(channel)
            while True:
                try:
                    request = gateway_pb2.WatchJobRequest(job_id=str(job.id), after_seq=seen[-1] if seen else 0)
                    async for response in jobs.WatchJob(request, wait_for_ready=True):
                        seen.append(response.seq)
                    return
                except grpc.aio.AioRpcError as error:
                    outcomes.append(error.code())

    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
        following = asyncio.create_task(follow())
        for stop in ("terminate", "kill"):
            server = start()
            await is_up(client)
            before = len(seen)
            await sing(queue, job, 20)
            await eventually(lambda count=before + 20: there(seen, count), "they are told")
            getattr(server, stop)()
            assert await asyncio.to_thread(server.wait, 30) == (0 if stop == "terminate" else -9)
            await sing(queue, job, 5)
        start()
        await queue.succeed(job)
        async with asyncio.timeout(90):
            await following
    assert seen == [event.seq for event in await all_events(store, job)]
    assert set(outcomes) == {grpc.StatusCode.UNAVAILABLE} and len(outcomes) >= 2


async def there(seen: Sized, count: int) -> bool:
    return len(seen) >= count


async def test_abandoned_watches_and_deadlines_leave_nothing(
    replica: Replica, store: JobStore, queue: JobQueue
) -> None:
    job = await begun(store, queue)
    calls = [replica.jobs.WatchJob(gateway_pb2.WatchJobRequest(job_id=str(job.id))) for _ in range(20)]
    for call in calls:
        await call.read()
    assert replica.watchers == 20
    for call in calls:
        call.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await read_all(replica.jobs.WatchJob(gateway_pb2.WatchJobRequest(job_id=str(job.id)), timeout=1.0))
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async def none() -> bool:
        return replica.watchers == 0

    await eventually(none, "no handler is left")


async def test_a_call_that_hangs_ends(
    replica: Replica, store: JobStore, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CALL_WITHIN_S", 0.5)
    job = await store.create(link(), LOCAL_OWNER)
    async with pool.connection() as connection:
        await connection.execute("SELECT 1 FROM jobs FOR UPDATE")
        refusal = await refused(replica.jobs.CancelJob(gateway_pb2.CancelJobRequest(job_id=str(job.id)), timeout=60))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "TIMED_OUT")
    cancelled = (await replica.jobs.CancelJob(gateway_pb2.CancelJobRequest(job_id=str(job.id)), timeout=60)).job
    assert cancelled.state == gateway_pb2.JOB_STATE_CANCELLED


async def test_a_job_that_is_deleted_ends_its_watch(
    replica: Replica, store: JobStore, queue: JobQueue, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "JUDGE_EVERY_S", 0.2)
    job = await begun(store, queue)
    call = replica.jobs.WatchJob(gateway_pb2.WatchJobRequest(job_id=str(job.id)), timeout=30)
    await call.read()
    await execute(database_url, "DELETE FROM jobs")
    refusal = await refused(read_all(call))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


# -- the server


async def test_no_database_is_unavailable(objects: FolderStore, tmp_path: Path) -> None:
    settings = api_settings(f"postgresql:///none?host={tmp_path}", grpc_listen=free_address())
    async with replica_of(settings, objects) as replica:
        refusal = await refused(replica.jobs.CreateJob(gateway_pb2.CreateJobRequest(url=URL), timeout=60))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


async def test_health_and_reflection(replica: Replica) -> None:
    name = "singscript.gateway.v1.JobService"
    health = health_pb2_grpc.HealthStub(replica.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=name))  # pyright: ignore[reportAttributeAccessIssue]  (not in the stubs)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    listed: set[str] = set()
    # Its stubs know nothing of asyncio.
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(replica.channel)  # pyright: ignore[reportArgumentType]  (typed for sync channels)
    asked: Any = reflection_pb2
    async for answer in reflection.ServerReflectionInfo(iter([asked.ServerReflectionRequest(list_services="")])):
        listed |= {one.name for one in answer.list_services_response.service}
    assert name in listed


async def test_an_address_that_is_taken_stops_the_start(database_url: str, objects: FolderStore) -> None:
    address = free_address()
    async with replica_of(api_settings(database_url, grpc_listen=address), objects):
        with pytest.raises(OSError, match="Cannot listen on"):
            async with replica_of(api_settings(database_url, grpc_listen=address), objects):
                pass
