"""Whether a host answers: found out within a bound, once for all its files, and kept for a while."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from singscript_models import reach
from singscript_models.reach import Reach


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Accepts connections, as the kernel does for any listener, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class _Host(BaseHTTPRequestHandler):
    """Answers everything with one status."""

    def __init__(self, status: list[int], asked: list[str], *args: Any) -> None:
        self._status, self._asked = status, asked
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self._asked.append(f"{self.command} {self.path}")
        self.send_response(self._status[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Host:
    """A host on loopback, what it answers and what it was asked."""

    url: str
    status: list[int]
    asked: list[str]


@pytest.fixture
def host() -> Iterator[Host]:
    status, asked = [404], []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Host, status, asked)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Host(f"http://127.0.0.1:{server.server_port}", status, asked)
        server.shutdown()
        thread.join()


def test_a_network_that_swallows_everything_gives_a_finding(black_hole: str) -> None:
    assert Reach(timeout_s=0.3).problem(f"{black_hole}/x") in (
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


@pytest.mark.parametrize(("status", "problem"), [(200, ""), (404, ""), (403, ""), (503, "127.0.0.1 answered 503")])
def test_a_host_that_answers_is_there_whatever_its_first_page(host: Host, status: int, problem: str) -> None:
    host.status[0] = status
    assert Reach().problem(f"{host.url}/x") == problem


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert Reach().problem(f"http://127.0.0.1:{port}/") == "127.0.0.1 cannot be reached"


def test_a_host_is_asked_once_for_all_its_files_and_its_answer_kept(host: Host) -> None:
    kept, forgotten = Reach(keep_s=60), Reach(keep_s=0)
    for number in range(10):
        assert kept.problem(f"{host.url}/{number}.th", f"{host.url}/{number}.safetensors") == ""
    assert len(host.asked) == 1
    for _ in range(3):
        forgotten.problem(host.url)
    assert len(host.asked) == 4


def test_one_host_that_answers_is_enough(host: Host, black_hole: str) -> None:
    assert Reach(timeout_s=0.3).problem(f"{black_hole}/x", f"{host.url}/x") == ""


def test_hosts_that_are_silent_are_waited_for_together(black_hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one is asked before the first one has been given up."""
    asked, all_asked = [], threading.Event()

    def silent(url: str, timeout_s: float) -> str:
        asked.append(url)
        if len(asked) == 10:
            all_asked.set()
        return "met" if all_asked.wait(60) else "never"

    monkeypatch.setattr(reach, "_head", silent)
    assert Reach(timeout_s=60).problem(*(f"http://{n}.test/x" for n in range(10))) == " and ".join(["met"] * 10)
