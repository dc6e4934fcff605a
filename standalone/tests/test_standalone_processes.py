"""Children of the command, with real processes and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from singscript_standalone.processes import Child, ProcessFailed, Supervisor, stop_in_order

# Leaves a mark when it is told to stop, as a service that drains would.
WAITER = """
import signal, sys, time, pathlib
mark = pathlib.Path(sys.argv[1])
def stop(*_):
    mark.with_suffix('.stopped').touch(); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
mark.touch()
while True: time.sleep(0.05)
"""


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.02)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that children can run."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "waiter.py").write_text(WAITER)
    (folder / "failing.py").write_text("raise SystemExit('the reason stands here')")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def child(tmp_path: Path, *arguments: str) -> Child:
    return Child(arguments[0], arguments, {}, tmp_path / f"{arguments[0]}.log")


def test_a_child_is_asked_to_stop_before_it_is_killed(tmp_path: Path, modules: Path) -> None:
    mark = tmp_path / "mark"
    waiter = child(tmp_path, "waiter", str(mark))
    waiter.start()
    eventually(mark.exists)
    stop_in_order([waiter])
    assert not waiter.alive
    assert mark.with_suffix(".stopped").exists()


def test_children_stop_when_their_parent_is_killed(tmp_path: Path, modules: Path) -> None:
    mark = tmp_path / "mark"
    parent_code = (
        "import sys, time; from pathlib import Path; from singscript_standalone.processes import Child\n"
        f"c = Child('waiter', ('waiter', {str(mark)!r}), {{}}, Path({str(tmp_path / 'log')!r})); c.start()\n"
        "print(c.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        eventually(mark.exists)
        os.kill(parent.pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert mark.with_suffix(".stopped").exists()


def test_a_child_that_crashes_is_started_again_and_named(tmp_path: Path, modules: Path) -> None:
    mark = tmp_path / "mark"
    waiter = child(tmp_path, "waiter", str(mark))
    waiter.start()
    eventually(mark.exists)
    supervisor = Supervisor([waiter])
    supervisor.start()
    try:
        assert waiter.process is not None
        first_pid = waiter.process.pid
        mark.unlink()
        os.kill(first_pid, signal.SIGKILL)
        eventually(mark.exists)
        assert waiter.process.pid != first_pid
        assert supervisor.restarted == ["waiter"]
    finally:
        supervisor.stop()
    assert not waiter.alive


def test_a_step_that_fails_says_why(tmp_path: Path, modules: Path) -> None:
    with pytest.raises(ProcessFailed, match="the reason stands here"):
        child(tmp_path, "failing").run_to_end(30)
