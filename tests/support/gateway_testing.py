"""Helpers of the gateway's tests: processes, waiting, and the scripted aligner, the only stand-in."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import httpx
import psycopg
from singscript.aligner.v1 import aligner_pb2, aligner_pb2_grpc
from singscript.media.v1 import media_pb2
from singscript.transcriber.v1 import transcriber_pb2

from singscript_core.settings import ServiceSettings
from singscript_gateway.api.server import make_app
from singscript_gateway.auth.model import LOCAL_OWNER, SCOPES, Scope
from singscript_gateway.auth.store import AccountStore
from singscript_gateway.jobs.model import Event, Job, JobRequest
from singscript_gateway.jobs.queue import Claim, JobQueue
from singscript_gateway.jobs.states import JobState
from singscript_gateway.jobs.store import JobStore
from singscript_gateway.settings import ApiSettings
from singscript_serving.events import duration
from singscript_serving.server import Service, running
from singscript_storage import FolderStore, StoredObject

Response = aligner_pb2.AlignResponse
Script = Callable[[aligner_pb2.AlignRequest, grpc.aio.ServicerContext], AsyncIterator[Response]]

# Short, so that a dead dispatcher is noticed in a second; the same relations as the defaults.
QUICK = {
    "SINGSCRIPT_HEARTBEAT_S": "0.3",
    "SINGSCRIPT_LEASE_S": "1.5",
    "SINGSCRIPT_SWEEP_S": "0.2",
    "SINGSCRIPT_RETRY_BASE_S": "0.05",
    # Tests of keys set it.
    "SINGSCRIPT_AUTH": "off",
}

# Where nothing listens.
NOBODY = "127.0.0.1:1"


async def execute(url: str, statement: str) -> list[Any]:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


def api_settings(database_url: str, aligner: str = NOBODY, **changes: Any) -> ApiSettings:
    """Without keys, unless `auth` is set."""
    return ApiSettings(
        database_url=database_url, aligner=aligner, **{"auth": "off", "heartbeat_s": 0.3, "lease_s": 1.5} | changes
    )


@asynccontextmanager
async def client_of(settings: ApiSettings, objects: FolderStore) -> AsyncIterator[httpx.AsyncClient]:
    """The application without a socket. It buffers streams: for event streams see the `api` fixture."""
    app = make_app(settings, objects)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


# -- processes


@dataclass
class Processes:
    """Real processes of the gateway; what still runs at the end of the test is killed."""

    environment: dict[str, str]
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, process: str, **environment: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{process}-{len(self.running)}.log").open("wb")
        with log:
            started = subprocess.Popen(
                [sys.executable, "-m", "singscript_gateway", process],
                env=self.environment | environment,
                stderr=log,
                stdout=log,
            )
        self.running.append(started)
        return started

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.wait(10)


async def eventually(condition: Callable[[], Awaitable[Any]], what: str, within_s: float = 90.0) -> Any:
    """The first true answer of `condition`."""
    async with asyncio.timeout(within_s):
        while True:
            if answer := await condition():
                return answer
            await asyncio.sleep(0.05)
    raise AssertionError(what)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


async def is_up(client: httpx.AsyncClient) -> None:
    """Returns when the API answers."""

    async def lives() -> bool:
        try:
            return (await client.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(lives, "the API answers")


async def ended(store: JobStore, job: Job) -> Job:
    """The job in its final state."""

    async def final() -> Job | None:
        now = await store.get(job.id, LOCAL_OWNER)
        return now if now and now.state.final else None

    return await eventually(final, "the job ends")


async def in_state(store: JobStore, job: Job, state: JobState) -> Job:
    async def there() -> Job | None:
        now = await store.get(job.id, LOCAL_OWNER)
        return now if now and now.state is state else None

    return await eventually(there, f"the job is {state}")


async def claim_of(queue: JobQueue, job_id: UUID) -> Claim:
    """A claim of the job, which must be the next one of the queue."""
    claim = await queue.claim_next()
    assert claim and claim.job.id == job_id
    return claim


async def all_events(store: JobStore, job: Job) -> list[Event]:
    events = await store.events_after(job.id, LOCAL_OWNER, 0, 10_000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return events


def states(events: list[Event]) -> list[str]:
    return [event.data["state"] for event in events if event.kind == "state"]


_NUMBERS = itertools.count(1)


def link() -> JobRequest:
    """One that no other job has."""
    return JobRequest(url=f"https://example.org/song-{next(_NUMBERS)}.mp3")


# -- the aligner


class ScriptedAligner(aligner_pb2_grpc.AlignerServiceServicer):
    """Answers each call with `script`, renders files that only say what was asked, and remembers what was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[aligner_pb2.AlignRequest] = []
        self.rendered: list[aligner_pb2.RenderRequest] = []
        # Called before a file is rendered: may wait, or fail.
        self.before_render: Callable[[], Awaitable[None]] | None = None
        self.active = 0
        self.address = ""

    async def Align(
        self, request_iterator: AsyncIterator[aligner_pb2.AlignRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Response]:
        self.requests.append(await anext(aiter(request_iterator)))
        self.active += 1
        try:
            async for response in self.script(self.requests[-1], context):
                yield response
        finally:
            self.active -= 1

    async def Render(
        self, request: aligner_pb2.RenderRequest, context: grpc.aio.ServicerContext
    ) -> aligner_pb2.RenderResponse:
        self.rendered.append(request)
        if self.before_render:
            await self.before_render()
        name = aligner_pb2.SubtitleFormat.Name(request.format).removeprefix("SUBTITLE_FORMAT_").lower()
        return aligner_pb2.RenderResponse(
            content=str(request).encode(), media_type="text/plain", name=f"lyrics.{name.replace('_', '.')}"
        )


async def nothing(request: aligner_pb2.AlignRequest, context: grpc.aio.ServicerContext) -> AsyncIterator[Response]:
    """The script of an aligner that is only to render."""
    return
    yield


@asynccontextmanager
async def serving(script: Script = nothing, listen: str = "127.0.0.1:0") -> AsyncIterator[ScriptedAligner]:
    aligner = ScriptedAligner(script)  # pyright: ignore[reportAbstractUsage]  (the gateway calls nothing else)
    service = Service(
        "singscript.aligner.v1.AlignerService",
        lambda server: aligner_pb2_grpc.add_AlignerServiceServicer_to_server(aligner, server),
    )
    async with running(service, ServiceSettings(listen=listen, drain_s=0)) as address:
        aligner.address = address
        yield aligner


STAGES = (media_pb2.STAGE_DOWNLOAD, media_pb2.STAGE_SEPARATE, media_pb2.STAGE_TRANSCRIBE, media_pb2.STAGE_ALIGN)


def engine(stage: media_pb2.Stage.ValueType, name: str) -> Response:
    chosen = media_pb2.EngineChosen(engine=name, model="m", device="cpu")
    return Response(event=media_pb2.StageEvent(stage=stage, engine=chosen))


def progress(stage: media_pb2.Stage.ValueType, done_s: float, *, finished: bool = False) -> Response:
    value = media_pb2.Progress(done=duration(done_s), total=duration(2.0), finished=finished)
    return Response(event=media_pb2.StageEvent(stage=stage, progress=value))


def usage(cost_usd: float | None = 0.006) -> Response:
    """What one request for a minute of sound has cost."""
    value = media_pb2.Usage(
        engine="openai", model="whisper-1", audio=duration(60.0), requests=1, output_tokens=7, cost_usd=cost_usd
    )
    return Response(event=media_pb2.StageEvent(stage=media_pb2.STAGE_TRANSCRIBE, usage=value))


def warning(stage: media_pb2.Stage.ValueType, reason: str) -> Response:
    value = media_pb2.Warning(reason=reason, message="A sentence.")
    return Response(event=media_pb2.StageEvent(stage=stage, warning=value))


def artifact(
    stage: media_pb2.Stage.ValueType, stored: StoredObject, levels: media_pb2.AudioLevels | None = None
) -> Response:
    value = media_pb2.Artifact(
        name=stored.key.rpartition("/")[2],
        key=stored.key,
        media_type=stored.media_type,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        levels=levels,
    )
    return Response(event=media_pb2.StageEvent(stage=stage, artifact=value))


def media(title: str = "Song") -> Response:
    info = media_pb2.MediaInfo(title=title, artist="Someone", duration=duration(2.0), format="mp3")
    return Response(media=info)


def segment(text: str) -> Response:
    word = transcriber_pb2.Word(text=text, start=duration(0.1), end=duration(0.5), confidence=0.5)
    value = transcriber_pb2.Segment(
        start=duration(0.1), end=duration(0.5), text=text, words=[word], language="en", confidence=0.75
    )
    return Response(segment=value)


def line(text: str) -> Response:
    word = aligner_pb2.AlignedWord(
        text=text, start=duration(0.1), end=duration(0.5), timing=aligner_pb2.WORD_TIMING_ACOUSTIC
    )
    return Response(line=aligner_pb2.Line(start=duration(0.1), end=duration(0.5), text=text, words=[word]))


# Clipped, and silent enough to have no loudness: both kinds of fields.
LEVELS = media_pb2.AudioLevels(peak_dbfs=0.12345, gain_db=-0.21)
SHOWN_LEVELS = {"loudness_lufs": None, "peak_dbfs": 0.12, "gain_db": -0.21}
WORDS = b'{"version": 1, "lines": [{"text": "hello"}]}'


def whole_song(objects: FolderStore, folder: Path, content: bytes = WORDS) -> Script:
    """A chain that goes well, with its vocals and its words.json, which is `content`, really stored."""
    path = folder / "words.json"
    path.write_bytes(content)
    words = objects.put("align/test/words.json", path, "application/json")
    vocals = objects.put("separate/test/vocals.flac", path, "audio/flac")

    async def script(request: aligner_pb2.AlignRequest, context: grpc.aio.ServicerContext) -> AsyncIterator[Response]:
        yield media()
        for stage, name in zip(STAGES, ("yt-dlp", "passthrough", "sphinx", "sphinx"), strict=True):
            yield engine(stage, name)
        yield warning(media_pb2.STAGE_SEPARATE, "SEPARATION_SKIPPED")
        for stage in STAGES[:2]:
            yield progress(stage, 2.0, finished=True)
        yield artifact(media_pb2.STAGE_SEPARATE, vocals, LEVELS)
        yield usage()
        yield segment("hello")
        yield progress(STAGES[2], 2.0, finished=True)
        yield line("hello")
        yield artifact(media_pb2.STAGE_ALIGN, words)
        yield progress(STAGES[3], 2.0, finished=True)

    return script


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def key_of(accounts: AccountStore, user: str, *scopes: Scope) -> str:
    """A new key of a user, who is made where there is none; with all scopes, where none is named."""
    if user not in {one.id for one in await accounts.list_users(before=None, limit=100)}:
        await accounts.add_user(user, user, by=None)
    return (await accounts.add_key(user, "test", scopes or SCOPES, None, by=None))[1]


def administer(processes: Processes, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The command of operators; it ends with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "singscript_gateway", *arguments],
        env=processes.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done
