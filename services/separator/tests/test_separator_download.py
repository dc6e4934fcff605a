"""A download over real HTTP on loopback: whole, cut, resumed, wrong; and what becomes of it when processes compete."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from singscript_separator import models
from singscript_separator.engines import released, weights
from singscript_separator.engines.download import DownloadFailed, disk_trouble, download
from singscript_separator.engines.released import Source
from singscript_separator.engines.weights import Recipe, WeightsRefused

CONTENT = bytes(range(256)) * 3000
TINY = Recipe(("tiny",))


@dataclass
class Web:
    """What the server has and does, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # after how many bytes each of the next answers ends
    ranges: bool = True
    stall: threading.Event | None = None  # an answer stops half-way until this is set
    asked: list[str] = field(default_factory=list)  # "PATH RANGE" of each GET
    url: str = ""

    def source(self, name: str, content: bytes = CONTENT, **changes: Any) -> Source:
        """Serves `content` and says where it is."""
        self.files[f"/{name}"] = content
        about = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        return Source(f"{self.url}/{name}", **(about | changes))


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, web: Web, *args: Any) -> None:
        self._web = web
        super().__init__(*args)

    def do_GET(self) -> None:
        web, wanted = self._web, self.headers.get("Range", "")
        web.asked.append(f"{self.path} {wanted}".strip())
        content = web.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and web.ranges else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if web.stall:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            web.stall.wait(60)
            return
        self.wfile.write(body[: web.cuts.pop(0)] if web.cuts else body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    web = Web()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, web)) as server:
        web.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield web
        if web.stall:
            web.stall.set()
        server.shutdown()
        thread.join()


Release = Callable[[str, Source], None]


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Release:
    """`release("tiny", source, ...)`: as if Demucs had released it."""
    table: dict[str, list[Source]] = {}
    monkeypatch.setattr(released, "sources", lambda signature: tuple(table.get(signature, ())))
    return lambda signature, source: table.setdefault(signature, []).append(source)


@pytest.fixture(scope="module")
def pickled(models_dir: Path) -> bytes:
    return (models_dir / "tiny.th").read_bytes()


@pytest.fixture(scope="module")
def safe_tiny(package: dict[str, Any]) -> bytes:
    """The tiny network as the hub would have it."""
    segment = {"_type": "fraction", "numerator": 1, "denominator": 1}
    about = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": "[]",
        "kwargs": json.dumps(package["kwargs"] | {"segment": segment}),
    }
    return save({name: tensor.contiguous() for name, tensor in package["state"].items()}, about)


def got(source: Source, part: Path) -> bytes:
    for _ in download(source, part):
        pass
    return part.read_bytes()


def fetched(signatures: tuple[str, ...], folder: Path) -> None:
    for _ in weights.fetch(signatures, Recipe(signatures), folder):
        pass


def test_a_file_arrives_whole_and_tells_how_far_it_is(web: Web, tmp_path: Path) -> None:
    reports = list(download(web.source("x"), tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == CONTENT
    done = [report.done_bytes or 0 for report in reports]
    assert done == sorted(done)
    assert (reports[-1].done_bytes, reports[-1].total_bytes) == (len(CONTENT), len(CONTENT))
    assert web.asked == ["/x"]


def test_a_cut_transfer_goes_on_where_it_ended(web: Web, tmp_path: Path) -> None:
    web.cuts = [100_000]
    assert got(web.source("x"), tmp_path / "x") == CONTENT
    assert web.asked == ["/x", "/x bytes=100000-"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    left=st.integers(0, len(CONTENT) + 1),
    cuts=st.lists(st.integers(0, len(CONTENT) - 1), max_size=2),
    ranges=st.booleans(),
    known=st.booleans(),
)
def test_whatever_was_there_and_wherever_it_is_cut(
    web: Web, tmp_path: Path, left: int, cuts: list[int], ranges: bool, known: bool
) -> None:
    part = tmp_path / "x"
    part.write_bytes((CONTENT + b"!")[:left])
    web.cuts, web.ranges = list(cuts) if left < len(CONTENT) else [], ranges
    source = web.source("x") if known else web.source("x", size_bytes=None)
    assert got(source, part) == CONTENT


def test_what_a_killed_process_left_is_not_fetched_again(web: Web, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT[:123_456])
    assert got(web.source("x"), tmp_path / "x") == CONTENT
    assert web.asked == ["/x bytes=123456-"]


def test_a_whole_file_that_was_left_is_only_checked(web: Web, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    assert got(web.source("x"), tmp_path / "x") == CONTENT
    assert web.asked == []


def test_garbage_that_was_left_is_thrown_away(web: Web, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"garbage")
    assert got(web.source("x"), tmp_path / "x") == CONTENT
    assert web.asked == ["/x bytes=7-", "/x"]


@pytest.mark.parametrize("known", [True, False])
def test_other_content_is_refused_and_removed(web: Web, tmp_path: Path, known: bool) -> None:
    source = web.source("x", size_bytes=len(CONTENT) if known else None)
    web.files["/x"] = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadFailed, match="sent something other than x") as raised:
        got(source, tmp_path / "x")
    assert raised.value.reason == "DOWNLOAD_FAILED"
    assert not (tmp_path / "x").exists()


def test_the_digits_of_a_name_are_a_pin_too(web: Web, tmp_path: Path) -> None:
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert got(web.source("x", sha256=digits), tmp_path / "x") == CONTENT
    with pytest.raises(DownloadFailed, match="something other"):
        got(web.source("y", sha256="00000000"), tmp_path / "y")


def test_more_than_was_pinned_is_refused(web: Web, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="something other"):
        got(web.source("x", CONTENT + b"more", size_bytes=len(CONTENT)), tmp_path / "x")


def test_a_transfer_that_is_always_cut_fails_and_keeps_what_it_has(web: Web, tmp_path: Path) -> None:
    web.cuts = [10, 10, 10]
    with pytest.raises(DownloadFailed, match="cut the transfer of x"):
        got(web.source("x"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT[:30]


def test_a_file_that_is_not_there_is_not_asked_for_again(web: Web, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"127.0.0.1 answered 404 for x\."):
        got(Source(f"{web.url}/x", "00"), tmp_path / "x")
    assert web.asked == ["/x"]
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(web: Web, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DownloadFailed, match=r"127.0.0.1 cannot be reached"):
        got(Source(f"http://127.0.0.1:{port}/x", "00"), tmp_path / "x")


def test_a_full_disk_is_said(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:  # a disk cannot be filled up by a test
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadFailed, match=r"is full\. Make room"):
        got(web.source("x"), tmp_path / "x")
    assert "Let this user do both" in disk_trouble(PermissionError(errno.EACCES, "")).message


def test_released_safetensors_are_kept_as_they_came(
    web: Web, release: Release, tmp_path: Path, safe_tiny: bytes
) -> None:
    release("tiny", web.source("a/tiny.safetensors", safe_tiny))
    fetched(("tiny",), tmp_path / "models")
    assert (tmp_path / "models" / "tiny.safetensors").read_bytes() == safe_tiny
    fetched(("tiny",), tmp_path / "models")
    assert web.asked == ["/a/tiny.safetensors"]
    assert weights.load_models(["tiny"], TINY, tmp_path / "models")["tiny"].sources[3] == "vocals"


def test_a_released_pickle_is_converted_and_not_kept(
    web: Web, release: Release, tmp_path: Path, pickled: bytes
) -> None:
    digits = hashlib.sha256(pickled).hexdigest()[:8]
    release("tiny", web.source(f"tiny-{digits}.th", pickled))
    fetched(("tiny",), tmp_path)
    kept = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(kept) == ["tiny.lock", "tiny.safetensors"]
    assert weights.load_models(["tiny"], TINY, tmp_path)["tiny"].samplerate == 44_100


def test_the_second_place_is_asked_when_the_first_has_nothing(
    web: Web, release: Release, tmp_path: Path, safe_tiny: bytes
) -> None:
    release("tiny", Source(f"{web.url}/nothing.safetensors", "00"))
    release("tiny", web.source("tiny.safetensors", safe_tiny))
    fetched(("tiny",), tmp_path)
    assert web.asked == ["/nothing.safetensors", "/tiny.safetensors"]


def test_all_failures_are_told_with_what_to_do(web: Web, release: Release, tmp_path: Path) -> None:
    release("tiny", Source(f"{web.url}/one.safetensors", "00"))
    release("tiny", Source(f"{web.url}/two.th", "00"))
    with pytest.raises(DownloadFailed, match=r"404 for one.safetensors.*404 for two.th.*Put tiny.safetensors or"):
        fetched(("tiny",), tmp_path)


def test_only_what_is_asked_for_is_fetched_and_counted_together(
    web: Web, release: Release, tmp_path: Path, safe_tiny: bytes
) -> None:
    for name in ("one", "two", "three"):
        release(name, web.source(f"{name}.safetensors", safe_tiny))
    bag = Recipe(("one", "two", "three"))
    reports = list(weights.fetch(["one", "three"], bag, tmp_path))
    assert web.asked == ["/one.safetensors", "/three.safetensors"]
    done = [report.done_bytes or 0 for report in reports]
    assert done == sorted(done)
    assert {report.total_bytes for report in reports} == {2 * len(safe_tiny)}
    assert done[-1] == 2 * len(safe_tiny)
    assert weights.missing(bag, tmp_path) == ["two"]


def test_r11_a_downloaded_payload_is_refused_and_removed(web: Web, release: Release, tmp_path: Path) -> None:
    """Also where its checksum is the pinned one."""
    trace = tmp_path / "it-ran"
    torch.save(_Payload(trace), tmp_path / "evil")
    release("evil", web.source("evil.th", (tmp_path / "evil").read_bytes()))
    with pytest.raises(WeightsRefused, match="cannot be used"):
        fetched(("evil",), tmp_path / "models")
    assert not trace.exists()
    assert [p.name for p in (tmp_path / "models").rglob("*") if p.is_file()] == ["evil.lock"]


class _Payload:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._trace),)


def test_threads_at_once_download_once(web: Web, release: Release, tmp_path: Path, safe_tiny: bytes) -> None:
    release("tiny", web.source("tiny.safetensors", safe_tiny))
    threads = [threading.Thread(target=fetched, args=(("tiny",), tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert web.asked == ["/tiny.safetensors"]


FETCHER = """
import sys
from pathlib import Path
from singscript_separator.engines import released, weights
url, sha256, folder = sys.argv[1:]
released.sources = lambda signature: (released.Source(url, sha256),)
print("started", flush=True)
for progress in weights.fetch(["tiny"], weights.Recipe(("tiny",)), Path(folder)):
    print(progress.done_bytes, flush=True)
"""


def fetcher(source: Source, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCHER, source.url, source.sha256, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_at_once_download_and_convert_once(web: Web, tmp_path: Path, pickled: bytes) -> None:
    source = web.source("tiny.th", pickled)
    processes = [fetcher(source, tmp_path) for _ in range(2)]
    for process in processes:
        with process:
            process.communicate(timeout=60)
        assert process.returncode == 0
    assert web.asked == ["/tiny.th"]
    assert weights.checkpoint_path("tiny", TINY, tmp_path) == tmp_path / "tiny.safetensors"


def test_a_killed_process_leaves_no_lock_and_its_part_is_used(
    web: Web, release: Release, tmp_path: Path, safe_tiny: bytes
) -> None:
    source = web.source("tiny.safetensors", safe_tiny)
    web.stall = threading.Event()
    with fetcher(source, tmp_path) as process:
        assert process.stdout is not None
        half = next(line for line in process.stdout if line.strip().isdecimal())
        process.send_signal(signal.SIGKILL)
    web.stall.set()
    web.stall = None
    assert 0 < int(half) < len(safe_tiny)
    release("tiny", source)
    fetched(("tiny",), tmp_path)
    assert (tmp_path / "tiny.safetensors").read_bytes() == safe_tiny
    assert "bytes=" in web.asked[1]


def test_pull_gets_a_model_and_list_shows_it(
    web: Web,
    release: Release,
    tmp_path: Path,
    safe_tiny: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SINGSCRIPT_MODELS_DIR", str(tmp_path))
    release("955717e8", web.source("955717e8.safetensors", safe_tiny))
    assert models.main(["list"]) == 0
    assert f"{len(safe_tiny) / 1e6:.1f} MB to download" in capsys.readouterr().out
    assert models.main(["pull", "htdemucs"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "htdemucs: here"
    assert models.main(["list"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines() if "here" in line] == [["htdemucs", "here"]]


def test_pull_says_what_went_wrong(
    web: Web, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SINGSCRIPT_MODELS_DIR", str(tmp_path))
    release("955717e8", Source(f"{web.url}/955717e8.th", "00"))
    assert models.main(["pull", "htdemucs"]) == models.EXIT_FAILED
    assert "answered 404" in capsys.readouterr().err
    assert models.main(["pull", "nonsense"]) == models.EXIT_USAGE
    assert "There is no Demucs model named 'nonsense'" in capsys.readouterr().err
