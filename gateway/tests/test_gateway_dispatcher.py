"""The dispatcher as a real process, against real Postgres and a scripted aligner."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import grpc
import httpx
import psycopg
import pytest
from gateway_testing import (
    NOBODY,
    SHOWN_LEVELS,
    STAGES,
    Processes,
    Response,
    Script,
    all_events,
    artifact,
    ended,
    engine,
    eventually,
    execute,
    in_state,
    link,
    media,
    progress,
    segment,
    serving,
    states,
    usage,
    warning,
    whole_song,
)
from singscript.aligner.v1 import aligner_pb2
from singscript.media.v1 import media_pb2
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_core import errors
from singscript_core.settings import ServiceSettings
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.model import JobRequest
from singscript_gateway.jobs.queue import JobQueue
from singscript_gateway.jobs.sql import SQL
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore
from singscript_serving.server import Service, running
from singscript_storage import FolderStore

Context = grpc.aio.ServicerContext
Request = aligner_pb2.AlignRequest


async def endless(request: Request, context: Context) -> AsyncIterator[Response]:
    """Begins, and then never comes to an end."""
    yield engine(media_pb2.STAGE_SEPARATE, "demucs")
    await asyncio.Event().wait()


async def test_whole_song(store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path) -> None:
    async with serving(whole_song(objects, tmp_path)) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await store.create(
            JobRequest(url="https://example.org/a.mp3", lyrics="hello", language="en"), LOCAL_OWNER
        )
        done = await ended(store, job)
    assert done.state is JobState.SUCCEEDED and done.attempt == 1
    config = aligner.requests[0].config
    assert config.transcribe.separate.download.url == "https://example.org/a.mp3"
    assert (config.lyrics, config.transcribe.language, config.transcribe.echo_audio) == ("hello", "en", True)
    stages, warnings, artifacts, spent = await store.details(done)
    assert [(s.stage, s.state, s.engine) for s in stages] == [
        ("download", "succeeded", "yt-dlp"),
        ("separate", "succeeded", "passthrough"),
        ("transcribe", "succeeded", "sphinx"),
        ("align", "succeeded", "sphinx"),
    ]
    assert [w["reason"] for w in warnings] == ["SEPARATION_SKIPPED"]
    assert [(a.name, a.levels and a.levels.model_dump()) for a in artifacts] == [
        ("vocals.flac", SHOWN_LEVELS),
        ("words.json", None),
    ]
    assert [(u.engine, u.model, u.audio_s, u.requests, u.cost_usd) for u in spent] == [
        ("openai", "whisper-1", 60.0, 1, 0.006)
    ]
    assert done.media and done.media["title"] == "Song"
    events = await all_events(store, done)
    assert {e.kind for e in events} == {
        *("state", "stage", "progress", "warning", "engine", "artifact", "media", "segment", "line", "usage")
    }
    assert events[-1].data == {"state": "succeeded"}


async def test_what_every_attempt_has_spent_is_counted(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = whole_song(objects, tmp_path)

    async def script(request: Request, context: Context) -> AsyncIterator[Response]:
        if len(aligner.requests) == 1:
            yield usage()
            yield usage(cost_usd=None)
            raise errors.Unavailable("Busy.")
        async for response in song(request, context):
            yield response

    async with serving(script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    *_, (spent,) = await store.details(job)
    assert (spent.requests, spent.audio_s, spent.output_tokens, spent.unpriced_requests) == (3, 180.0, 21, 1)
    assert spent.cost_usd == pytest.approx(0.012)


async def test_spend_that_is_being_written_when_the_dispatcher_is_stopped_is_counted(
    store: JobStore, processes: Processes
) -> None:
    async def script(request: Request, context: Context) -> AsyncIterator[Response]:
        yield usage()
        await asyncio.Event().wait()

    url = processes.environment["SINGSCRIPT_DATABASE_URL"]

    async def waits() -> bool:
        statement = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'usage'::regclass"
        return (await execute(url, statement))[0][0] == 1

    async with serving(script) as aligner, await psycopg.AsyncConnection.connect(url) as blocker:
        await blocker.execute("LOCK TABLE usage IN EXCLUSIVE MODE")
        dispatcher = processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await in_state(store, await store.create(link(), LOCAL_OWNER), JobState.RUNNING)
        await eventually(waits, "the report is being written")
        dispatcher.send_signal(signal.SIGTERM)

        async def hung_up() -> bool:
            return "stopping" in processes.logs()

        await eventually(hung_up, "the dispatcher stops")
        await blocker.rollback()
        assert await asyncio.to_thread(dispatcher.wait, 20) == 0
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and now.state is JobState.QUEUED
    *_, (spent,) = await store.details(now)
    assert spent.requests == 1


async def test_r20_killed_dispatchers_job_is_finished_by_another(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    async with serving(endless) as aligner:
        first = processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await in_state(store, await store.create(link(), LOCAL_OWNER), JobState.RUNNING)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        aligner.script = whole_song(objects, tmp_path)
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        done = await ended(store, job)
    assert done.state is JobState.SUCCEEDED and (done.attempt, done.failures) == (2, 1)
    events = await all_events(store, job)
    assert states(events) == ["queued", "running", "queued", "running", "succeeded"]
    assert [e.data["reason"] for e in events if e.data.get("reason") == "CRASHED"] == ["CRASHED"]


async def test_r30_job_whose_dispatcher_dies_every_time_is_given_up(store: JobStore, processes: Processes) -> None:
    async with serving(endless) as aligner:
        job = await store.create(link(), LOCAL_OWNER)
        for attempt in (1, 2):
            victim = processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_MAX_ATTEMPTS="2")

            async def running(attempt: int = attempt) -> bool:
                return len(aligner.requests) == attempt

            await eventually(running, f"attempt {attempt} runs")
            victim.kill()
            victim.wait(10)
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_MAX_ATTEMPTS="2")
        done = await ended(store, job)
    assert done.state is JobState.FAILED and done.problem and done.problem.reason == "CRASHED"
    assert len(aligner.requests) == 2


async def test_r26_sigterm_hands_back_and_exits_0(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    async with serving(endless) as aligner:
        first = processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await in_state(store, await store.create(link(), LOCAL_OWNER), JobState.RUNNING)
        first.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 20) == 0
        now = await store.get(job.id, LOCAL_OWNER)
        assert now and (now.state, now.failures) == (JobState.QUEUED, 0)
        assert await store.live_dispatchers(60) == 0

        async def call_ended() -> bool:
            return aligner.active == 0

        await eventually(call_ended, "the call was cancelled")
        aligner.script = whole_song(objects, tmp_path)
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        done = await ended(store, job)
    assert done.state is JobState.SUCCEEDED and (done.attempt, done.failures) == (2, 0)
    assert "HANDED_BACK" in [e.data.get("reason") for e in await all_events(store, job)]


def separated_song(objects: FolderStore, folder: Path, then: asyncio.Event | Exception) -> Script:
    """A chain whose first call stops after the separation; calls that name stems do only the rest."""
    song, path = whole_song(objects, folder), folder / "stem"
    path.write_bytes(b"sound")
    stems = [objects.put(f"separate/test/{name}.flac", path, "audio/flac") for name in ("vocals", "instrumental")]
    calls = 0

    async def script(request: Request, context: Context) -> AsyncIterator[Response]:
        nonlocal calls
        calls += 1
        if request.config.transcribe.HasField("stems"):
            yield Response(media=request.config.transcribe.stems.media)
            for event in request.config.transcribe.stems.events:
                yield Response(event=event)
        if calls > 1:
            async for response in song(request, context):
                if not (response.event.stage in STAGES[:2] or response.HasField("media")):
                    yield response
            return
        yield media()
        yield engine(STAGES[0], "yt-dlp")
        yield engine(STAGES[1], "demucs")
        yield warning(STAGES[1], "SEPARATION_SKIPPED")
        yield progress(STAGES[0], 2.0, finished=True)
        for stem in stems:
            yield artifact(STAGES[1], stem)
        yield progress(STAGES[1], 2.0, finished=True)
        yield engine(STAGES[2], "sphinx")
        if isinstance(then, Exception):
            raise then
        await then.wait()

    return script


def is_resumed(request: Request) -> bool:
    return request.config.transcribe.WhichOneof("source") == "stems"


async def test_r20_crash_after_the_separation_does_not_separate_again(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    async with serving(separated_song(objects, tmp_path, asyncio.Event())) as aligner:
        first = processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await store.create(link(), LOCAL_OWNER)

        async def transcribes() -> bool:
            now = await store.get(job.id, LOCAL_OWNER)
            stages = (await store.details(now))[0] if now else []
            return any(s.stage == "transcribe" and s.state == "running" for s in stages)

        await eventually(transcribes, "the separation is over")
        first.kill()
        first.wait(10)
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        done = await ended(store, job)
    assert done.state is JobState.SUCCEEDED and (done.attempt, done.failures) == (2, 1)
    assert [is_resumed(request) for request in aligner.requests] == [False, True]
    stems = aligner.requests[1].config.transcribe.stems
    assert stems.vocals.key == "separate/test/vocals.flac"
    assert [stem.key for stem in stems.rest] == ["separate/test/instrumental.flac"]
    stages, warnings, artifacts, _ = await store.details(done)
    assert [(s.stage, s.state, s.engine) for s in stages] == [
        ("download", "skipped", "yt-dlp"),
        ("separate", "skipped", "demucs"),
        ("transcribe", "succeeded", "sphinx"),
        ("align", "succeeded", "sphinx"),
    ]
    assert [w["reason"] for w in warnings] == ["SEPARATION_SKIPPED"]
    assert {a.name for a in artifacts} == {"vocals.flac", "instrumental.flac", "words.json"}
    assert done.media and (done.media["title"], done.media["duration_s"]) == ("Song", 2.0)
    announced = [e.data["name"] for e in await all_events(store, job) if e.kind == "artifact"]
    assert sorted(announced) == ["instrumental.flac", "vocals.flac", "words.json"], "none of them twice"


async def test_r28_stems_that_cannot_be_read_are_made_again(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    class Unreadable(errors.Rejected):
        reason = "STEMS_UNREADABLE"

    song = separated_song(objects, tmp_path, errors.Unavailable("Down."))

    async def script(request: Request, context: Context) -> AsyncIterator[Response]:
        if is_resumed(request):
            raise Unreadable("The stems cannot be read again: one was damaged.", metadata={"service": "transcriber"})
        async for response in song(request, context):
            yield response

    async with serving(script) as aligner:
        # That the stems are lost counts as no failure: with it there would be two.
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_MAX_ATTEMPTS="2")
        done = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert done.state is JobState.SUCCEEDED and (done.attempt, done.failures) == (3, 1)
    assert [is_resumed(request) for request in aligner.requests] == [False, True, False]
    told = [e for e in await all_events(store, done) if e.data.get("reason") == "STEMS_UNREADABLE"]
    assert [(e.kind, e.attempt, e.data["stage"]) for e in told] == [
        ("warning", 2, "separate"),
        ("state", 2, "transcribe"),
    ]
    assert {a.name for a in await store.artifacts(done.id, LOCAL_OWNER)} == {"words.json"}, (
        "what is lost is not offered"
    )


async def test_retry_of_a_failed_job_goes_on_where_it_failed(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    refused = errors.Rejected("No engine.", metadata={"service": "transcriber"})
    async with serving(separated_song(objects, tmp_path, refused)) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        failed = await ended(store, await store.create(link(), LOCAL_OWNER))
        assert failed.state is JobState.FAILED and failed.problem and failed.problem.stage == "transcribe"
        again = await store.restart(failed.id, LOCAL_OWNER)
        assert again and (again.state, again.failures, again.problem) == (JobState.QUEUED, 0, None)
        done = await ended(store, failed)
    assert done.state is JobState.SUCCEEDED and done.attempt == 2
    assert [is_resumed(request) for request in aligner.requests] == [False, True]
    assert states(await all_events(store, done)) == ["queued", "running", "failed", "queued", "running", "succeeded"]


async def test_r21_frozen_dispatcher_wakes_up_to_find_its_job_gone(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = whole_song(objects, tmp_path)
    woken = asyncio.Event()

    async def slow_then_song(request: Request, context: Context) -> AsyncIterator[Response]:
        if len(aligner.requests) == 1:
            yield media("of the zombie")
            await woken.wait()
            yield media("of the zombie, late")
        async for response in song(request, context):
            yield response

    async with serving(slow_then_song) as aligner:
        zombie = processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await in_state(store, await store.create(link(), LOCAL_OWNER), JobState.RUNNING)

        async def media_known() -> bool:
            now = await store.get(job.id, LOCAL_OWNER)
            return bool(now and now.media)

        await eventually(media_known, "the first attempt has begun")
        zombie.send_signal(signal.SIGSTOP)
        try:
            processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
            done = await ended(store, job)
            before = await all_events(store, job)
        finally:
            woken.set()
            zombie.send_signal(signal.SIGCONT)

        async def zombies_call_ended() -> bool:
            return aligner.active == 0

        await eventually(zombies_call_ended, "the zombie gave up its call")
    assert done.state is JobState.SUCCEEDED and done.attempt == 2
    assert await all_events(store, job) == before
    assert "of the zombie, late" not in str(before)


async def test_r21_lone_dispatcher_that_was_frozen_goes_on_with_its_own_job(
    store: JobStore, processes: Processes
) -> None:
    async with serving(endless) as aligner:
        frozen = processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_MAX_ATTEMPTS="99")
        job = await in_state(store, await store.create(link(), LOCAL_OWNER), JobState.RUNNING)
        frozen.send_signal(signal.SIGSTOP)
        # As if it had slept for longer than a lease.
        url = processes.environment["SINGSCRIPT_DATABASE_URL"]
        await execute(url, "UPDATE jobs SET heartbeat_at = now() - interval '1 hour'")
        frozen.send_signal(signal.SIGCONT)
        await store.cancel(job.id, LOCAL_OWNER)
        done = await ended(store, job)

        async def calls_ended() -> bool:
            return aligner.active == 0

        await eventually(calls_ended, "no call is left behind")
    assert (done.state, done.attempt) == (JobState.CANCELLED, 1)


async def test_job_waits_for_a_service_that_is_not_there(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    async with serving(endless) as aligner:
        address = aligner.address
    processes.start("dispatcher", SINGSCRIPT_ALIGNER=address)
    job = await store.create(link(), LOCAL_OWNER)

    async def has_waited() -> bool:
        now = await store.get(job.id, LOCAL_OWNER)
        return now is not None and now.attempt > 3

    await eventually(has_waited, "more attempts than may fail")
    async with serving(whole_song(objects, tmp_path), listen=address):
        done = await ended(store, job)
    assert (done.state, done.failures) == (JobState.SUCCEEDED, 0)
    waits = [e.data for e in await all_events(store, job) if "delay_s" in e.data]
    assert {(wait["reason"], wait["stage"]) for wait in waits} == {("UPSTREAM_UNAVAILABLE", "align")}
    assert 0 < waits[0]["delay_s"] <= 0.05 < waits[2]["delay_s"] <= 0.2


async def test_job_does_not_wait_for_ever_for_a_service_that_is_not_there(
    store: JobStore, processes: Processes
) -> None:
    # So long that four waits of the longest kind fit into the time that a job may take.
    limits = {"SINGSCRIPT_JOB_TIMEOUT_S": "0.4", "SINGSCRIPT_RETRY_CAP_S": "0.1"}
    processes.start("dispatcher", SINGSCRIPT_ALIGNER=NOBODY, **limits)
    done = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert done.state is JobState.FAILED and done.problem
    assert (done.problem.reason, done.attempt) == ("UPSTREAM_UNAVAILABLE", 4)


async def test_upstream_that_fails_is_retried_and_then_failed(store: JobStore, processes: Processes) -> None:
    async def broken(request: Request, context: Context) -> AsyncIterator[Response]:
        yield progress(media_pb2.STAGE_DOWNLOAD, 1.0)
        raise errors.Unavailable("The weights cannot be read.")

    async with serving(broken) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await store.create(link(), LOCAL_OWNER)
        done = await ended(store, job)
    assert done.state is JobState.FAILED and done.problem
    assert (done.problem.reason, done.problem.stage, done.attempt) == ("UNAVAILABLE", "align", 3)
    assert not done.problem.input_at_fault
    retries = [e.data for e in await all_events(store, job) if "delay_s" in e.data]
    assert [r["reason"] for r in retries] == ["UNAVAILABLE"] * 2
    assert 0 < retries[0]["delay_s"] <= 0.05 < retries[1]["delay_s"] * 2 <= 0.2


async def test_job_waits_for_a_full_service_as_long_as_it_takes(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = whole_song(objects, tmp_path)

    async def busy(request: Request, context: Context) -> AsyncIterator[Response]:
        match len(aligner.requests):
            case 1 | 2 | 3:
                yield progress(media_pb2.STAGE_DOWNLOAD, 1.0)
                raise errors.Busy("The separator is full. Try again later.", metadata={"service": "separator"})
            case 4:
                # What the service asks for wins.
                raise errors.Busy("Full.", retry_after_s=0.25)
            case _:
                async for response in song(request, context):
                    yield response

    async with serving(busy) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_MAX_ATTEMPTS="1")
        done = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert (done.state, done.failures, done.attempt) == (JobState.SUCCEEDED, 0, 5)
    waits = [e.data for e in await all_events(store, done) if "delay_s" in e.data]
    assert [(wait["reason"], wait["state"]) for wait in waits] == [("BUSY", "queued")] * 4
    assert 0 < waits[0]["delay_s"] <= 0.05 < waits[2]["delay_s"] <= 0.2
    assert (waits[0]["stage"], waits[3]["delay_s"]) == ("separate", 0.25)


class Separator(separator_pb2_grpc.SeparatorServiceServicer):
    """Only says how many streams it can work on at once."""

    async def GetLoad(
        self, request: separator_pb2.GetLoadRequest, context: grpc.aio.ServicerContext
    ) -> separator_pb2.GetLoadResponse:
        return separator_pb2.GetLoadResponse(parallel_streams=1)


@asynccontextmanager
async def separating() -> AsyncIterator[str]:
    separator = Separator()  # pyright: ignore[reportAbstractUsage]  (the dispatcher calls nothing else)
    service = Service(
        "singscript.separator.v1.SeparatorService",
        lambda server: separator_pb2_grpc.add_SeparatorServiceServicer_to_server(separator, server),
    )
    async with running(service, ServiceSettings(listen="127.0.0.1:0", drain_s=0)) as address:
        yield address


async def test_no_more_jobs_are_begun_than_the_separator_says(
    store: JobStore, queue: JobQueue, processes: Processes
) -> None:
    go_on = asyncio.Event()

    async def script(request: Request, context: Context) -> AsyncIterator[Response]:
        await go_on.wait()
        yield progress(STAGES[1], 2.0, finished=True)
        await asyncio.Event().wait()

    url = processes.environment["SINGSCRIPT_DATABASE_URL"]

    async def known() -> bool:
        return await execute(url, "SELECT stage, streams FROM stage_capacity") == [("separate", 1)]

    async def begun(count: int) -> bool:
        return aligner.active == count

    async with serving(script) as aligner, separating() as address:
        processes.start(
            "dispatcher",
            SINGSCRIPT_ALIGNER=aligner.address,
            SINGSCRIPT_SEPARATOR=address,
            # It does not answer, and so is no limit.
            SINGSCRIPT_TRANSCRIBER=NOBODY,
            SINGSCRIPT_DISPATCHER_CONCURRENCY="4",
        )
        await eventually(known, "the separator was asked")
        for _ in range(4):
            await store.create(link(), LOCAL_OWNER)
        await eventually(lambda: begun(2), "one computes, one waits in front of it")
        assert await queue.claim_next() is None, "there is room for no other"
        go_on.set()
        await eventually(lambda: begun(4), "their separations are over")


async def test_r26_claim_that_is_under_way_at_sigterm_is_handed_back(store: JobStore, processes: Processes) -> None:
    url = processes.environment["SINGSCRIPT_DATABASE_URL"]

    async def claims() -> bool:
        return (await execute(url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))[0][
            0
        ] > 0

    async def stopping() -> bool:
        return "stopping" in processes.logs()

    async with serving(endless) as aligner, await psycopg.AsyncConnection.connect(url) as blocker:
        await blocker.execute(SQL["hold_queue"])
        dispatcher = processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await store.create(link(), LOCAL_OWNER)
        await eventually(claims, "the dispatcher is about to claim the job")
        dispatcher.send_signal(signal.SIGTERM)
        await eventually(stopping, "the dispatcher stops")
        await blocker.rollback()
        assert await asyncio.to_thread(dispatcher.wait, 20) == 0
    now = await store.get(job.id, LOCAL_OWNER)
    assert now and (now.state, now.failures) == (JobState.QUEUED, 0)


async def test_message_that_is_too_large_is_no_refusal(store: JobStore, processes: Processes) -> None:
    """gRPC itself ends such a call with the code of a full service."""

    async def long(request: Request, context: Context) -> AsyncIterator[Response]:
        yield segment("la" * 3_000_000)

    async with serving(long) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_MAX_ATTEMPTS="2")
        done = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert done.problem and (done.problem.reason, done.attempt) == ("RESOURCE_EXHAUSTED", 2)


@pytest.mark.parametrize(
    ("error", "input_at_fault", "stage"),
    [
        (errors.Rejected("Too long.", metadata={"limit_s": "60", "service": "downloader"}), True, "download"),
        (errors.InvalidInput("No."), True, "align"),
        (errors.Internal("Broken."), False, "align"),
        (RuntimeError("secret details"), False, "align"),
        # It names no service that is known here: it is the first stage's that had not ended.
        (errors.Rejected("Odd.", metadata={"service": "somebody"}), True, "download"),
    ],
)
async def test_final_errors_are_not_tried_again(
    store: JobStore, processes: Processes, error: Exception, input_at_fault: bool, stage: str
) -> None:
    async def failing(request: Request, context: Context) -> AsyncIterator[Response]:
        yield progress(media_pb2.STAGE_DOWNLOAD, 1.0)
        raise error

    async with serving(failing) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        done = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert done.problem and done.attempt == 1
    reason = error.reason if isinstance(error, errors.StageError) else "INTERNAL"
    assert (done.problem.reason, done.problem.input_at_fault) == (reason, input_at_fault)
    assert "secret" not in done.problem.message
    stages, *_ = await store.details(done)
    assert [s.stage for s in stages if s.state == "failed"] == [stage]


async def test_cancel_reaches_a_running_call(store: JobStore, processes: Processes) -> None:
    async with serving(endless) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await in_state(store, await store.create(link(), LOCAL_OWNER), JobState.RUNNING)
        await store.cancel(job.id, LOCAL_OWNER)
        done = await ended(store, job)

        async def call_ended() -> bool:
            return aligner.active == 0

        await eventually(call_ended, "the call was cancelled")
    assert done.state is JobState.CANCELLED
    stages, *_ = await store.details(done)
    assert {s.state for s in stages} == {"skipped"}


async def test_job_that_takes_too_long_is_failed_and_not_tried_again(store: JobStore, processes: Processes) -> None:
    async with serving(endless) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_JOB_TIMEOUT_S="0.5")
        done = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert done.problem and (done.problem.reason, done.attempt) == ("JOB_TIMEOUT", 1)


async def test_chain_without_a_result_is_a_failure(store: JobStore, processes: Processes) -> None:
    async def empty(request: Request, context: Context) -> AsyncIterator[Response]:
        yield segment("hello")

    async with serving(empty) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        done = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert done.problem and done.problem.reason == "RESULT_MISSING"


async def test_two_dispatchers_run_each_job_once(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    async with serving(whole_song(objects, tmp_path)) as aligner:
        for _ in range(2):
            processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        jobs = [await store.create(link(), LOCAL_OWNER) for _ in range(12)]
        done = [await ended(store, job) for job in jobs]
    assert {(job.state, job.attempt) for job in done} == {(JobState.SUCCEEDED, 1)}
    assert len(aligner.requests) == len(jobs)


async def test_lyrics_and_links_credentials_stay_out_of_the_log(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    async with serving(whole_song(objects, tmp_path)) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_LOG_LEVEL="DEBUG")
        job = await store.create(
            JobRequest(url="https://me:hunter2@example.org/a.mp3", lyrics="a private verse"), LOCAL_OWNER
        )
        await ended(store, job)
    assert str(job.id) in processes.logs()
    assert "hunter2" not in processes.logs() and "private verse" not in processes.logs()


async def test_database_that_is_not_migrated_is_named(processes: Processes) -> None:
    url = processes.environment["SINGSCRIPT_DATABASE_URL"]
    await execute(url, "DELETE FROM schema_migrations WHERE name LIKE '0001%'")
    process = processes.start("dispatcher", SINGSCRIPT_ALIGNER="127.0.0.1:1")
    assert await asyncio.to_thread(process.wait, 30) == 1
    assert "singscript_gateway migrate" in processes.logs()


async def test_wrong_settings_are_named(processes: Processes) -> None:
    process = processes.start("dispatcher", SINGSCRIPT_LEASE_S="much")
    assert await asyncio.to_thread(process.wait, 30) == 2
    assert "SINGSCRIPT_ALIGNER" in processes.logs() and "SINGSCRIPT_LEASE_S" in processes.logs()


async def test_r22_no_accepted_job_is_lost_when_postgres_crashes(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path, api: httpx.AsyncClient
) -> None:
    """A backend killed with -9 makes Postgres drop every connection and recover, as after a crash."""
    song = whole_song(objects, tmp_path)

    async def slow_song(request: Request, context: Context) -> AsyncIterator[Response]:
        async for response in song(request, context):
            await asyncio.sleep(0.1)
            yield response

    url = processes.environment["SINGSCRIPT_DATABASE_URL"]
    accepted: list[str] = []
    async with serving(slow_song) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_DISPATCHER_CONCURRENCY="6")
        for _ in range(3):
            for _ in range(4):
                response = await api.post("/api/jobs", json={"url": "https://example.org/a.mp3"})
                if response.status_code == 202:
                    accepted.append(response.json()["id"])
            await asyncio.sleep(0.5)
            connection = await psycopg.AsyncConnection.connect(url)
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            await connection.close()

            async def answers() -> bool:
                try:
                    return await execute(url, "SELECT 1") == [(1,)]
                except psycopg.OperationalError:
                    return False

            await eventually(answers, "Postgres recovers")
        jobs = [
            await ended(store, job)
            for job in [await store.get(UUID(job_id), LOCAL_OWNER) for job_id in accepted]
            if job
        ]
    assert len(jobs) == len(accepted) > 0
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    for job in jobs:
        await all_events(store, job)
