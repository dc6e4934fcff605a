"""Child processes: started with a log file and a lifeline, watched, started again, stopped in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

STOP_S = 15.0


class ProcessFailed(Exception):
    """A process did not start, or ended when it should not have; the message ends with the last lines of its log."""


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Child:
    """One process of the system.

    Attributes:
        name: for people: "separator".
        arguments: the module to run, and its arguments.
        environment: what it gets beside this process's own environment.
        log: where its output goes.
    """

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Starts it in a session of its own, so that Ctrl-C reaches only the parent, which stops all in order."""
        self._close_lifeline()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "singscript_standalone.lifeline", *self.arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self, lines: int = 5) -> str:
        """The last lines of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def terminate(self) -> None:
        if self.process is not None and self.alive:
            self.process.terminate()

    def wait(self, deadline_s: float) -> None:
        """Waits for its end until `deadline_s` (monotonic clock), then kills it."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        finally:
            self._close_lifeline()

    def _close_lifeline(self) -> None:
        if self.process is not None and self.process.stdin:
            self.process.stdin.close()

    def run_to_end(self, timeout_s: float) -> None:
        """Starts it and waits for a good end; raises ProcessFailed otherwise."""
        self.start()
        assert self.process is not None
        self.wait(time.monotonic() + timeout_s)
        if self.process.returncode != 0:
            raise ProcessFailed(f"{self.name} failed (exit status {self.process.returncode}):\n{self.tail()}")


class Supervisor:
    """Starts a child again when it ends by itself: a service that crashed must not end the whole system.

    Attributes:
        restarted: the names of those that were started again, in order.
        max_restarts: of each child; one that ends again after that stays away.
    """

    def __init__(self, children: list[Child]) -> None:
        self._children = children
        self.max_restarts = 5
        self._restarts = {child.name: 0 for child in children}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self.restarted: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the watching, then the children: the last started first, each given time to drain."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        stop_in_order(self._children)

    def _watch(self) -> None:
        while not self._stop.wait(0.3):
            for child in self._children:
                if not child.alive and self._restarts[child.name] < self.max_restarts and not self._stop.is_set():
                    self._restarts[child.name] += 1
                    self.restarted.append(child.name)
                    child.start()


def stop_in_order(children: list[Child]) -> None:
    """Stops the last started first: callers before those that they call."""
    for child in reversed(children):
        child.terminate()
        child.wait(time.monotonic() + STOP_S)
