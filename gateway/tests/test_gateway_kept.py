"""What is kept of a job's work, and of the same work of other jobs: nothing is computed twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from gateway_testing import (
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
    serving,
    warning,
)
from singscript.aligner.v1 import aligner_pb2
from singscript.media.v1 import media_pb2

from singscript_core import errors
from singscript_gateway.auth.model import LOCAL_OWNER
from singscript_gateway.jobs.kept import content_of
from singscript_gateway.jobs.model import Job, JobRequest, Upload
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.jobs.upkeep import Upkeep
from singscript_serving.events import duration
from singscript_storage import FolderStore, StoredObject, artifact_key

Request = aligner_pb2.AlignRequest
Context = grpc.aio.ServicerContext
DOWNLOAD, SEPARATE, TRANSCRIBE, ALIGN = (
    media_pb2.STAGE_DOWNLOAD,
    media_pb2.STAGE_SEPARATE,
    media_pb2.STAGE_TRANSCRIBE,
    media_pb2.STAGE_ALIGN,
)
SOUND = b"the same sound"


def part(stage: media_pb2.Stage.ValueType, number: int, key: str) -> Response:
    value = media_pb2.Part(number=number, key=key, size_bytes=1, sha256="0" * 64, end=duration(60.0 * (number + 1)))
    return Response(event=media_pb2.StageEvent(stage=stage, part=value))


def resumed(stage: media_pb2.Stage.ValueType, from_s: float) -> Response:
    value = media_pb2.Resumed(**{"from": duration(from_s)})
    return Response(event=media_pb2.StageEvent(stage=stage, resumed=value))


def upload(name: str = "a.mp3", **options: Any) -> JobRequest:
    key = artifact_key("upload", {}, hashlib.sha256(SOUND).hexdigest(), "original")
    return JobRequest(upload=Upload(key=key, file_name=name, size_bytes=len(SOUND)), **options)


class Song:
    """A chain that really stores what it makes; `stop` is asked before each stage, and may wait or fail."""

    def __init__(self, objects: FolderStore, folder: Path, *, fallback: bool = False) -> None:
        self._objects, self._folder = objects, folder
        self._fallback = fallback
        self.stop: Callable[[int, str], Any] = lambda call, stage: None
        self.calls: list[aligner_pb2.AlignConfig] = []

    def put(self, key: str, content: bytes = b"x") -> StoredObject:
        path = self._folder / hashlib.sha256(key.encode()).hexdigest()
        path.write_bytes(content)
        return self._objects.put(key, path, "audio/flac")

    async def _pause(self, call: int, stage: str) -> None:
        waiting = self.stop(call, stage)
        if waiting is not None:
            await waiting

    @property
    def script(self) -> Script:
        async def script(request: Request, context: Context) -> AsyncIterator[Response]:
            self.calls.append(request.config)
            call = len(self.calls)
            transcribe = request.config.transcribe
            if transcribe.HasField("stems"):
                yield Response(media=transcribe.stems.media)
                for event in transcribe.stems.events:
                    yield Response(event=event)
            else:
                source = transcribe.separate.download
                yield Response(media=source.media) if source.HasField("media") else media(source.title or "From tags")
                yield engine(DOWNLOAD, "yt-dlp")
                await self._pause(call, "download")
                original = self.put(source.object.key or artifact_key("download", {}, _SHA, "original.mp3"), SOUND)
                yield artifact(DOWNLOAD, original)
                yield progress(DOWNLOAD, 2.0, finished=True)
                yield engine(SEPARATE, "demucs")
                if self._fallback:
                    yield warning(SEPARATE, "ENGINE_FALLBACK")
                for number in range(len(transcribe.separate.parts), 2):
                    yield part(SEPARATE, number, self.put(f"separate/p/{number}").key)
                await self._pause(call, "separate")
                for name in ("vocals", "instrumental"):
                    yield artifact(SEPARATE, self.put(f"separate/s/{name}.flac"))
                yield progress(SEPARATE, 2.0, finished=True)
            yield engine(TRANSCRIBE, "whisper")
            if transcribe.parts:
                yield resumed(TRANSCRIBE, 60.0 * len(transcribe.parts))
            for number in range(len(transcribe.parts), 2):
                yield part(TRANSCRIBE, number, self.put(f"transcribe/p/{number}").key)
            await self._pause(call, "transcribe")
            yield progress(TRANSCRIBE, 2.0, finished=True)
            yield engine(ALIGN, "sphinx")
            if request.config.parts:
                yield resumed(ALIGN, 120.0)
            else:
                yield part(ALIGN, 0, self.put(f"align/p/{call}").key)
            await self._pause(call, "files")
            yield artifact(ALIGN, self.put(f"align/{call}/words.json", b"{}"))
            yield progress(ALIGN, 2.0, finished=True)

        return script


_SHA = hashlib.sha256(SOUND).hexdigest()


def sources(song: Song) -> list[str | None]:
    return [call.transcribe.WhichOneof("source") for call in song.calls]


def keys(parts: Any) -> list[str]:
    return [one.key for one in parts]


async def reused(store: JobStore, job: Job) -> list[tuple[str, str, bool, float | None]]:
    stages, *_ = await store.details(job)
    return [(s.stage, s.state, s.reused, s.resumed_s) for s in stages]


async def removed(objects: FolderStore, key: str) -> bool:
    return key not in objects.list(key)


def refuse(*places: tuple[int, str]) -> Callable[[int, str], None]:
    def stop(call: int, stage: str) -> None:
        if (call, stage) in places:
            raise errors.Unavailable("Down.")

    return stop


async def test_r20_parts_go_to_the_next_attempt_and_are_dropped_when_they_are_needed_no_more(
    store: JobStore, upkeep: Upkeep, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = Song(objects, tmp_path)
    song.stop = refuse((1, "separate"), (2, "transcribe"))
    async with serving(song.script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await ended(store, await store.create(upload(), LOCAL_OWNER))
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 3)
    first, second, third = (call.transcribe for call in song.calls)
    assert first.keep_parts and first.separate.keep_parts
    assert (keys(first.separate.parts), keys(first.parts)) == ([], [])
    assert (keys(second.separate.parts), keys(second.parts)) == (["separate/p/0", "separate/p/1"], [])
    assert third.HasField("stems") and keys(third.parts) == ["transcribe/p/0", "transcribe/p/1"]
    assert await reused(store, job) == [
        ("download", "skipped", True, None),
        ("separate", "skipped", True, None),
        ("transcribe", "succeeded", False, 120.0),
        ("align", "succeeded", False, None),
    ]
    events = await all_events(store, job)
    assert [e.data for e in events if e.kind == "resumed"] == [{"stage": "transcribe", "from_s": 120.0}]
    assert not [e for e in events if e.kind == "part"]
    # Those of the separation are not needed beside its stems; those of the words serve the next job.
    assert {(await upkeep.begin_removal()).key for _ in range(2)} == {"separate/p/0", "separate/p/1"}  # pyright: ignore[reportOptionalMemberAccess]  (fails here if there is none)
    assert await upkeep.begin_removal() is None


async def test_r20_what_was_aligned_is_not_aligned_again(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = Song(objects, tmp_path)
    song.stop = refuse((1, "files"))
    async with serving(song.script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await ended(store, await store.create(upload(), LOCAL_OWNER))
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert all(call.keep_parts for call in song.calls)
    assert [keys(call.parts) for call in song.calls] == [[], ["align/p/1"]]
    assert (await reused(store, job))[-1] == ("align", "succeeded", False, 120.0)


async def test_parts_behind_one_that_is_made_anew_are_void(store: JobStore, processes: Processes) -> None:
    async def script(request: Request, context: Context) -> AsyncIterator[Response]:
        asked.append(keys(request.config.transcribe.separate.parts))
        for number in range(3) if len(asked) == 1 else (1,):
            yield part(SEPARATE, number, f"separate/{len(asked)}/{number}")
        raise errors.Unavailable("Down.")

    asked: list[list[str]] = []
    async with serving(script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        await ended(store, await store.create(link(), LOCAL_OWNER))
    assert asked == [
        [],
        ["separate/1/0", "separate/1/1", "separate/1/2"],
        ["separate/1/0", "separate/2/1"],
    ]


async def test_a_part_that_went_with_another_job_costs_only_itself(
    store: JobStore, processes: Processes, database_url: str
) -> None:
    async def script(request: Request, context: Context) -> AsyncIterator[Response]:
        asked.append(keys(request.config.transcribe.separate.parts))
        await execute(
            database_url,
            "INSERT INTO unused_objects (key, removed_at) VALUES ('separate/1', 'infinity') ON CONFLICT DO NOTHING",
        )
        for number in range(3):
            yield part(SEPARATE, number, f"separate/{number}")
        raise errors.Unavailable("Down.")

    asked: list[list[str]] = []
    async with serving(script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_MAX_ATTEMPTS="2")
        job = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert job.problem and job.problem.reason == errors.Unavailable.reason
    assert asked == [[], ["separate/0"]]


async def test_what_was_behind_a_link_is_fetched_once(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = Song(objects, tmp_path)
    song.stop = refuse((1, "separate"))
    async with serving(song.script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        job = await ended(store, await store.create(link(), LOCAL_OWNER))
    source = song.calls[1].transcribe.separate.download
    assert source.object.key == artifact_key("download", {}, _SHA, "original.mp3")
    assert source.media.title == "From tags" == (job.media or {})["title"]


async def test_r28_an_original_that_cannot_be_read_is_fetched_again(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = Song(objects, tmp_path)

    def stop(call: int, stage: str) -> None:
        if (call, stage) == (1, "separate"):
            raise errors.Unavailable("Down.")
        if (call, stage) == (2, "download"):
            raise errors.NotFound("There is no object.", metadata={"service": "downloader"})

    song.stop = stop
    errors_reason = errors.NotFound.reason
    errors.NotFound.reason = "OBJECT_NOT_FOUND"
    try:
        async with serving(song.script) as aligner:
            processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_MAX_ATTEMPTS="2")
            job = await ended(store, await store.create(link(), LOCAL_OWNER))
    finally:
        errors.NotFound.reason = errors_reason
    assert (job.state, job.attempt, job.failures) == (JobState.SUCCEEDED, 3, 1)
    downloads = [call.transcribe.separate.download.WhichOneof("source") for call in song.calls]
    assert downloads == ["url", "object", "url"]


async def test_the_same_work_is_done_once_for_many_jobs(
    store: JobStore, upkeep: Upkeep, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = Song(objects, tmp_path)
    async with serving(song.script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        first = await ended(store, await store.create(upload("first.mp3"), LOCAL_OWNER))
        second = await ended(store, await store.create(upload("second.mp3", formats=["vtt"]), LOCAL_OWNER))
        assert await store.delete(first.id, LOCAL_OWNER)
        third = await ended(store, await store.create(upload("third.mp3", language="en"), LOCAL_OWNER))
        anew = await ended(store, await store.create(upload(reuse=False), LOCAL_OWNER))
        mp3 = await ended(store, await store.create(upload(stem_format="wav"), LOCAL_OWNER))
        known = await ended(store, await store.create(upload(lyrics="Words that are known"), LOCAL_OWNER))
    assert sources(song) == ["separate", "stems", "stems", "separate", "separate", "stems"]
    assert [len(call.transcribe.parts) for call in song.calls] == [0, 2, 0, 0, 0, 2]
    # They may be old.
    assert [call.transcribe.recheck_engines for call in song.calls] == [False, True, False, False, False, True]
    assert [keys(call.parts) for call in song.calls] == [[], ["align/p/1"], [], [], [], []]
    assert await reused(store, second) == [
        ("download", "skipped", True, None),
        ("separate", "skipped", True, None),
        ("transcribe", "succeeded", False, 120.0),
        ("align", "succeeded", False, 120.0),
    ]
    assert (await reused(store, known))[-1] == ("align", "succeeded", False, None), "of other lyrics"
    # Each calls the sound as its own user did.
    assert [(j.media or {})["title"] for j in (second, third, anew, mp3)] == ["second", "third", "a", "a"]
    stages, _, artifacts, _ = await store.details(third)
    assert [(s.engine, s.model) for s in stages[:2]] == [("yt-dlp", "m"), ("demucs", "m")]
    assert {a.name for a in artifacts} >= {"vocals.flac", "instrumental.flac", "words.json"}
    while removal := await upkeep.begin_removal():
        assert removal.until is None or removal.key.startswith(("align/1/", "separate/p/")), removal


async def test_what_a_second_choice_made_is_not_handed_on(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = Song(objects, tmp_path, fallback=True)
    async with serving(song.script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        for _ in range(2):
            await ended(store, await store.create(upload(), LOCAL_OWNER))
    assert sources(song) == ["separate", "separate"]
    # What the transcriber makes of these is its own matter.
    assert len(song.calls[1].transcribe.parts) == 2


async def test_a_link_whose_sound_is_known_goes_on_from_there(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song = Song(objects, tmp_path)
    async with serving(song.script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address)
        await ended(store, await store.create(upload("first.mp3"), LOCAL_OWNER))
        job = await ended(store, await store.create(link(), LOCAL_OWNER))
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert sources(song) == ["separate", "separate", "stems"]
    assert len(song.calls[2].transcribe.parts) == 2
    assert await reused(store, job) == [
        ("download", "succeeded", False, None),
        ("separate", "skipped", True, None),
        ("transcribe", "succeeded", False, 120.0),
        ("align", "succeeded", False, 120.0),
    ]
    assert (job.media or {})["title"] == "From tags"


async def test_two_jobs_of_the_same_work_compute_once(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song, go_on = Song(objects, tmp_path), asyncio.Event()
    song.stop = lambda call, stage: go_on.wait() if stage == "transcribe" else None
    async with serving(song.script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_DISPATCHER_CONCURRENCY="4")
        same = [await store.create(upload(f"{n}.mp3"), LOCAL_OWNER) for n in range(2)]
        other = await store.create(upload(stem_format="wav"), LOCAL_OWNER)
        await in_state(store, same[0], JobState.RUNNING)
        await in_state(store, other, JobState.RUNNING)

        async def under_way() -> bool:
            return len(song.calls) == 2

        await eventually(under_way, "both that differ are under way")
        assert [j and j.state for j in [await store.get(same[1].id, LOCAL_OWNER)]] == [JobState.QUEUED]
        go_on.set()
        done = [await ended(store, job) for job in (*same, other)]
    assert [job.state for job in done] == [JobState.SUCCEEDED] * 3
    assert sorted(source or "" for source in sources(song)) == ["separate", "separate", "stems"]


async def test_of_two_links_to_the_same_sound_one_waits_for_the_other(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path
) -> None:
    song, go_on = Song(objects, tmp_path), asyncio.Event()
    song.stop = lambda call, stage: go_on.wait() if stage == "separate" else None
    async with serving(song.script) as aligner:
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, SINGSCRIPT_DISPATCHER_CONCURRENCY="4")
        jobs = [await store.create(JobRequest(url=f"https://example.org/{n}.mp3"), LOCAL_OWNER) for n in range(2)]

        async def stepped_back() -> list[Job]:
            now = [await store.get(job.id, LOCAL_OWNER) for job in jobs]
            return [j for j in now if j and j.state is JobState.QUEUED and j.attempt == 1]

        await eventually(stepped_back, "one has stepped back")
        go_on.set()
        done = [await ended(store, job) for job in jobs]
    assert sorted((job.state, job.attempt, job.failures) for job in done) == [
        (JobState.SUCCEEDED, 1, 0),
        (JobState.SUCCEEDED, 2, 0),
    ]
    assert sources(song) == ["separate", "separate", "stems"]


@pytest.mark.parametrize("share", ["owner", "all"])
async def test_results_of_another_user_are_used_only_where_the_operator_says_so(
    store: JobStore, processes: Processes, objects: FolderStore, tmp_path: Path, share: str
) -> None:
    """Neither waited for, nor gone on from."""
    song, go_on = Song(objects, tmp_path), asyncio.Event()
    song.stop = lambda call, stage: go_on.wait() if stage == "transcribe" else None
    async with serving(song.script) as aligner:
        settings = {"SINGSCRIPT_SHARE_RESULTS": share, "SINGSCRIPT_DISPATCHER_CONCURRENCY": "4"}
        processes.start("dispatcher", SINGSCRIPT_ALIGNER=aligner.address, **settings)
        jobs = [await store.create(upload(), owner) for owner in ("alice", "eve")]
        other = await store.create(upload(stem_format="wav"), "alice")

        async def under_way() -> bool:
            return len(song.calls) == (2 if share == "all" else 3)

        await eventually(under_way, "those that do not wait for another are under way")
        go_on.set()

        async def succeeded(owner: str, job: Job) -> bool:
            now = await store.get(job.id, owner)
            return now is not None and now.state is JobState.SUCCEEDED

        for owner, job in (("alice", jobs[0]), ("eve", jobs[1]), ("alice", other)):
            await eventually(lambda owner=owner, job=job: succeeded(owner, job), "it succeeds")
        last = await store.create(upload(), "mallory")
        await eventually(lambda: succeeded("mallory", last), "it succeeds")
    alone = ["separate", "separate", "separate"]
    assert sorted(source or "" for source in sources(song)) == (
        ["separate", "separate", "stems", "stems"] if share == "all" else [*alone, "separate"]
    )
    assert len(song.calls[-1].transcribe.parts) == (2 if share == "all" else 0)


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_a_sound_is_known_by_what_it_holds(digest: str) -> None:
    assert content_of(digest) == artifact_key("upload", {}, digest, "original")
