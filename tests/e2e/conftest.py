"""The whole system, as `singscript up` runs it, shared by the tests that submit jobs to it."""

from __future__ import annotations

import functools
import http.server
import shutil
import tempfile
import threading
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest

from singscript_audio.decode import decode
from singscript_audio.flac import FlacWriter
from singscript_client import Client
from singscript_standalone.system import System, running

DEMO = Path(__file__).resolve().parents[2] / "demo"
MODELS = Path(__file__).resolve().parents[1] / "support" / "models"
RATE_HZ = 44_100


@pytest.fixture(scope="session")
def outside() -> Iterator[Path]:
    """A folder that any user may pass through: as root, Postgres runs as another one, and pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="singscript-tests-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings for a machine without keys or hubs: the same here as on a developer's machine.

    The only weights are those of the small separator that the repository trains, by its name.
    """
    models = tmp_path_factory.mktemp("models")
    shutil.copy(MODELS / "nano-htdemucs.safetensors", models)
    return {
        "SINGSCRIPT_MODELS_DIR": str(models),
        "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD": "false",
        "SINGSCRIPT_TRANSCRIBER_ENGINES": "sphinx",
        "SINGSCRIPT_ALIGNER_ENGINES": "sphinx",
        "SINGSCRIPT_SEPARATOR_ENGINES": "passthrough",
        "SINGSCRIPT_MAX_DURATION_S": "1800",
    }


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A web server on loopback: its address as host:port, and the folder that it serves."""
    folder = tmp_path_factory.mktemp("web")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def system(outside: Path, offline: dict[str, str], web: tuple[str, Path]) -> Iterator[System]:
    settings = offline | {"SINGSCRIPT_DOWNLOAD_ALLOW_HOSTS": web[0]}
    with running(outside / "system", extra=settings) as started:
        yield started


@pytest.fixture
def client(system: System) -> Iterator[Client]:
    with Client(system.url) as made:
        yield made


@pytest.fixture(scope="session")
def five_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's mix again and again, five minutes long."""
    path, left = tmp_path_factory.mktemp("long") / "five-minutes.flac", 300 * RATE_HZ
    with FlacWriter(path, sample_rate_hz=RATE_HZ, channels=2, bits=16) as writer:
        for block in chain.from_iterable(
            decode(file, sample_rate_hz=RATE_HZ, channels=2) for file in repeat(DEMO / "demo.flac")
        ):
            writer.write(block[:left])
            left -= len(block)
            if left <= 0:
                return path
    raise AssertionError("the demo is empty")


@pytest.fixture(scope="session")
def silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("silence") / "silence.flac"
    with FlacWriter(path, sample_rate_hz=RATE_HZ, channels=2, bits=16) as writer:
        writer.write(np.zeros((5 * RATE_HZ, 2), np.float32))
    return path
