"""Whether weights can be had: found out within a bound, kept for a while; and the download, from a hub on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from safetensors.torch import save
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc

from singscript_core.errors import EngineUnavailable
from singscript_separator.engines.demucs import Demucs
from singscript_separator.engines.reach import Reach


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Accepts connections, as the kernel does for any listener, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class _Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for files of a repository."""

    def __init__(self, files: dict[str, bytes], asked: list[str], *args: Any) -> None:
        self._files, self._asked = files, asked
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self._asked.append(f"{self.command} {self.path}")
        content = self._files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        if content is not None:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self._files.get(self.path, b""))

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[dict[str, bytes], list[str]]]:
    """Files by path, and what was asked for."""
    files: dict[str, bytes] = {}
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Hub, files, asked)) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield files, asked
        server.shutdown()
        thread.join()


def test_a_network_that_swallows_everything_gives_a_finding(black_hole: str) -> None:
    assert Reach(timeout_s=0.3).problem(black_hole) in (
        "127.0.0.1 did not answer within 0.3 s",
        "127.0.0.1 cannot be reached",
    )


def test_a_name_look_up_that_hangs_gives_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: release.wait(60) and [])
    try:
        assert Reach(timeout_s=0.2).problem("http://hub.test/x") == "hub.test did not answer within 0.2 s"
    finally:
        release.set()


def test_what_is_not_there_is_said(hub: tuple[dict[str, bytes], list[str]]) -> None:
    from huggingface_hub import constants

    assert Reach().problem(f"{constants.ENDPOINT}/missing") == "127.0.0.1 answered 404"


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert Reach().problem(f"http://127.0.0.1:{port}/") == "127.0.0.1 cannot be reached"


def test_a_finding_is_kept_for_a_while(hub: tuple[dict[str, bytes], list[str]]) -> None:
    from huggingface_hub import constants

    _, asked = hub
    url = f"{constants.ENDPOINT}/missing"
    kept, forgotten = Reach(keep_s=60), Reach(keep_s=0)
    assert {kept.problem(url) for _ in range(3)} == {"127.0.0.1 answered 404"}
    assert len(asked) == 1
    for _ in range(3):
        forgotten.problem(url)
    assert len(asked) == 4


def test_weights_are_downloaded_once_and_kept(
    hub: tuple[dict[str, bytes], list[str]], package: dict[str, Any], tmp_path: Path
) -> None:
    files, asked = hub
    metadata = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": "[]",
        "kwargs": json.dumps(package["kwargs"] | {"segment": 1}),
    }
    content = save({k: v.contiguous() for k, v in package["state"].items()}, metadata)
    files["/adefossez/HTDemucs/resolve/main/955717e8.safetensors"] = content
    folder = tmp_path / "models"
    engine = Demucs("htdemucs", folder, True, Reach())
    assert engine.problem("htdemucs") == ""
    assert engine.ready("htdemucs").chosen.model == "htdemucs"
    assert (folder / "955717e8.safetensors").read_bytes() == content
    asked.clear()
    again = Demucs("htdemucs", folder, True, Reach())
    assert again.ready("htdemucs").chosen.model == "htdemucs"
    assert asked == []


def test_a_hub_without_the_file_rules_the_engine_out(hub: tuple[dict[str, bytes], list[str]], tmp_path: Path) -> None:
    engine = Demucs("htdemucs", tmp_path / "models", True, Reach())
    with pytest.raises(EngineUnavailable, match=r"cannot be downloaded \(127.0.0.1 answered 404\)"):
        engine.ready("htdemucs")


def test_the_process_behind_a_black_hole_says_so_and_still_serves(black_hole: str, tmp_path: Path) -> None:
    """The whole service, as it is started; every way to the hub leads into the black hole."""
    environment = os.environ | {
        "SINGSCRIPT_LISTEN": "127.0.0.1:0",
        "SINGSCRIPT_MODELS_DIR": str(tmp_path / "models"),
        "HF_HOME": str(tmp_path / "hub"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "HF_ENDPOINT": black_hole,
        "http_proxy": black_hole,
        "https_proxy": black_hole,
        "no_proxy": "",
    }
    command = [sys.executable, "-m", "singscript_separator"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            listening = next(entry for line in process.stderr if (entry := json.loads(line))["message"] == "listening")
            with grpc.insecure_channel(listening["address"], options=[("grpc.enable_http_proxy", 0)]) as channel:
                stub = separator_pb2_grpc.SeparatorServiceStub(channel)
                answer = stub.ListModels(separator_pb2.ListModelsRequest(), timeout=60)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    demucs, passthrough = answer.models
    assert (demucs.engine, demucs.model, demucs.available) == ("demucs", "htdemucs", False)
    assert "cannot be downloaded" in demucs.problem
    assert (passthrough.engine, passthrough.model, passthrough.available) == ("passthrough", "", True)
