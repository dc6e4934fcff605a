"""A web site on loopback that does what each test needs, sound to put on it, and the service itself."""

from __future__ import annotations

import io
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from singscript.downloader.v1 import downloader_pb2, downloader_pb2_grpc
from singscript.media.v1 import media_pb2

from singscript_audio.chunks import ChunkReader
from singscript_core.errors import StageError
from singscript_core.events import Progress, StageEvent, Stored, Warned
from singscript_downloader.service import service
from singscript_downloader.settings import DownloaderSettings
from singscript_serving.calls import responses
from singscript_serving.channel import dial
from singscript_serving.events import from_proto
from singscript_serving.server import running
from singscript_storage import FolderStore, ObjectStore

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """An HTTP server on a free port of 127.0.0.1. Routes are set by the test; hits and connections are kept."""

    def __init__(self) -> None:
        self.routes: dict[str, Answer] = {}
        self.hits: list[str] = []
        self.connections = 0
        self.stopping = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.hits.append(self.path)
                path = self.path.partition("?")[0]
                if path in site.routes:
                    site.routes[path](self)
                else:
                    self.send_error(404)

            def log_message(self, format: str, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            def verify_request(self, request: Any, client_address: Any) -> bool:
                site.connections += 1
                return True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that hang up in the middle are what these tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def serve(self, path: str, body: bytes, media_type: str = "audio/wav", *, length: bool = True) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Type", media_type)
            if length:
                request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

        self.routes[path] = answer
        return self.url(path)

    def stream(self, path: str, block: bytes, pause_s: float, media_type: str = "audio/wav") -> str:
        """A body without end: the block again and again."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Type", media_type)
            request.end_headers()
            while not self.stopping.wait(pause_s):
                request.wfile.write(block)

        self.routes[path] = answer
        return self.url(path)

    def hang(self, path: str, media_type: str = "audio/wav") -> str:
        """A body that begins and then neither goes on nor ends."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Type", media_type)
            request.end_headers()
            request.wfile.write(bytes(4096))
            self.stopping.wait()

        self.routes[path] = answer
        return self.url(path)

    def redirect(self, path: str, location: str) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(302)
            request.send_header("Location", location)
            request.send_header("Content-Length", "0")
            request.end_headers()

        self.routes[path] = answer
        return self.url(path)

    def fail(self, path: str, status: int, **headers: str) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()

        self.routes[path] = answer
        return self.url(path)

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    """The site that tests download from."""
    site = Site()
    yield site
    site.close()


@pytest.fixture
def internal() -> Iterator[Site]:
    """A site that nobody may reach."""
    internal = Site()
    internal.serve("/secret.wav", b"secret")
    yield internal
    internal.close()


def _sine(seconds: float, channels: int, sample_rate_hz: int) -> NDArray[np.float32]:
    t = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    left = 0.3 * np.sin(2 * np.pi * 440 * t)
    return np.stack([left, 0.5 * left][:channels]).astype(np.float32)


def encode(
    container: str,
    codec: str,
    seconds: float = 2.0,
    *,
    sample_rate_hz: int = 44_100,
    tags: dict[str, str] | None = None,
) -> bytes:
    """A 440 Hz sine, the right channel half as loud, in the given container."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        out.metadata.update(tags or {})
        stream: Any = out.add_stream(codec, rate=sample_rate_hz, layout="stereo")
        frame = av.AudioFrame.from_ndarray(_sine(seconds, 2, sample_rate_hz), format="fltp", layout="stereo")
        frame.sample_rate = sample_rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return file.getvalue()


def _silent_film() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream: Any = out.add_stream("mpeg4", rate=10, width=64, height=48, pix_fmt="yuv420p")
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@dataclass(frozen=True)
class Media:
    """Files that tests serve; each holds SECONDS of sound."""

    wav: bytes
    mp3: bytes
    segments: tuple[bytes, ...]
    aac: tuple[bytes, ...]
    film: bytes
    long_flac: bytes


@pytest.fixture(scope="session")
def media() -> Media:
    """Made once for each worker."""
    return Media(
        wav=encode("wav", "pcm_s16le", tags={"title": "Sine", "artist": "Nobody"}),
        mp3=encode("mp3", "libmp3lame"),
        segments=(encode("mpegts", "aac"), encode("mpegts", "aac")),
        aac=(encode("adts", "aac"), encode("adts", "aac")),
        film=_silent_film(),
        long_flac=encode("flac", "flac", 300.0, sample_rate_hz=8_000),
    )


@dataclass
class Downloaded:
    """All that one call answered, checked on the way."""

    order: list[str] = field(default_factory=list)
    events: list[StageEvent] = field(default_factory=list)
    media: media_pb2.MediaInfo | None = None
    blocks: list[NDArray[np.float32]] = field(default_factory=list)
    error: StageError | None = None

    @property
    def sound(self) -> NDArray[np.float32]:
        return np.concatenate(self.blocks)

    @property
    def stored(self) -> Stored:
        (stored,) = [e for e in self.events if isinstance(e, Stored)]
        return stored

    @property
    def progress(self) -> list[Progress]:
        return [e for e in self.events if isinstance(e, Progress)]

    @property
    def warnings(self) -> list[str]:
        return [e.reason for e in self.events if isinstance(e, Warned)]


class Client:
    """Talks to a downloader that serves on loopback."""

    def __init__(self, stub: downloader_pb2_grpc.DownloaderServiceAsyncStub) -> None:
        self.stub = stub

    async def download(self, url: str = "", **fields: Any) -> Downloaded:
        request = downloader_pb2.DownloadRequest(url=url, **fields) if url else downloader_pb2.DownloadRequest(**fields)
        return await self.send(request)

    async def send(self, request: downloader_pb2.DownloadRequest) -> Downloaded:
        """The whole answer, or as much of it as came before the error."""
        result, reader = Downloaded(), None
        try:
            async for response in responses(self.stub.Download(request, timeout=60), "downloader"):
                kind = response.WhichOneof("payload")
                result.order.append(str(kind))
                match kind:
                    case "event":
                        event = from_proto(response.event)
                        assert event is not None
                        assert response.event.stage == media_pb2.STAGE_DOWNLOAD
                        result.events.append(event)
                    case "media":
                        result.media = response.media
                    case "format":
                        assert response.format.sample_rate_hz == 44_100
                        assert response.format.channels == 2
                        assert response.format.encoding == media_pb2.SAMPLE_ENCODING_F32LE
                        reader = ChunkReader(response.format)
                    case "chunk":
                        assert reader is not None
                        result.blocks.append(reader.read(response.chunk))
                    case _:
                        assert reader is not None
                        reader.finish(response.trailer)
        except StageError as error:
            result.error = error
        else:
            assert reader is not None
            assert reader.finished
        return result

    async def refusal(self, url: str = "", **fields: Any) -> StageError:
        """The error that a download ends with; fails when it has none."""
        result = await self.download(url, **fields)
        assert result.error is not None, f"the download went through: {result.order}"
        return result.error


Start = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """Where the service keeps its temporary folders."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Object storage in a folder."""
    return FolderStore(tmp_path / "objects")


@pytest.fixture
def start(work_dir: Path) -> Start:
    """Starts a service: `async with start(store=..., max_download_bytes=...) as client`."""

    @asynccontextmanager
    async def start(store: ObjectStore | None = None, **settings: Any) -> AsyncIterator[Client]:
        settings = {"work_dir": work_dir, "disk_reserve_bytes": 0, "drain_s": 0.0, **settings}
        chosen = DownloaderSettings(**settings)
        async with running(service(chosen, store), chosen) as address, dial(address) as channel:
            yield Client(downloader_pb2_grpc.DownloaderServiceStub(channel))

    return start


@pytest.fixture
async def client(start: Start, site: Site) -> AsyncIterator[Client]:
    """A service without storage that may fetch from `site`."""
    async with start(download_allow_hosts=site.host) as client:
        yield client


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture
def children() -> Callable[[], set[int]]:
    """The child processes of this one that are alive."""
    return _children


@pytest.fixture(autouse=True)
def nothing_left(work_dir: Path) -> Generator[None]:
    """Whatever a test does: afterwards no child process and no temporary folder is left."""
    before = _children()
    yield
    assert _children() <= before
    assert list(work_dir.iterdir()) == []
