"""Weights over real HTTP on loopback: what is fetched and kept, and what becomes of it when processes compete."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from webfiles import Web, serving

from singscript_models.command import EXIT_FAILED, EXIT_USAGE
from singscript_models.download import DownloadFailed, Source
from singscript_separator import models
from singscript_separator.engines import released, weights
from singscript_separator.engines.weights import Recipe, WeightsRefused

TINY = Recipe(("tiny",))


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving() as web:
        yield web


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


def fetched(signatures: tuple[str, ...], folder: Path) -> None:
    for _ in weights.fetch(signatures, Recipe(signatures), folder):
        pass


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
from singscript_models.download import Source
from singscript_separator.engines import released, weights
url, sha256, folder = sys.argv[1:]
released.sources = lambda signature: (Source(url, sha256),)
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
    assert models.main(["pull", "htdemucs"]) == EXIT_FAILED
    assert "answered 404" in capsys.readouterr().err
    assert models.main(["pull", "nonsense"]) == EXIT_USAGE
    assert "There is no Demucs model named 'nonsense'" in capsys.readouterr().err
