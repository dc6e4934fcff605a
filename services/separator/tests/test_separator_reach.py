"""A separator that cannot reach the hub says so, and still serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from singscript.separator.v1 import separator_pb2, separator_pb2_grpc


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Accepts connections, as the kernel does for any listener, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


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
    *demucs, passthrough = answer.models
    assert "htdemucs" in [one.model for one in demucs]
    for one in demucs:
        assert (one.engine, one.available) == ("demucs", False)
        assert "cannot be downloaded" in one.problem
    assert (passthrough.engine, passthrough.model, passthrough.available) == ("passthrough", "", True)
