"""The embedded Postgres as a process: it outlives being killed, and is stopped in the end."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from singscript_standalone.processes import Child, stop_in_order

pytestmark = pytest.mark.xdist_group("standalone-postgres")


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.05)


@pytest.fixture
def postgres() -> Iterator[Child]:
    # Not below pytest's own folder: as root Postgres runs as another user, whom those are closed to.
    with tempfile.TemporaryDirectory(prefix="singscript-tests-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        arguments = ("singscript_standalone.postgres", str(folder / "data"), str(folder / "uri"))
        child = Child("postgres", arguments, {}, folder / "log")
        child.start()
        eventually((folder / "uri").exists)
        yield child
        stop_in_order([child])


def folder(child: Child) -> Path:
    return Path(child.arguments[1])


def server_pid(child: Child) -> int:
    return int((folder(child) / "postmaster.pid").read_text().splitlines()[0])


def ask(child: Child, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(Path(child.arguments[2]).read_text(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def answers(child: Child) -> bool:
    try:
        return ask(child, "SELECT 1") == [(1,)]
    except psycopg.OperationalError:
        return False


def test_r22_a_server_that_was_killed_is_started_again_with_what_it_had(postgres: Child) -> None:
    ask(postgres, "CREATE TABLE kept AS SELECT 7 AS number")
    for _ in range(3):
        killed = server_pid(postgres)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda killed=killed: not psutil.pid_exists(killed) and answers(postgres))
        assert ask(postgres, "SELECT number FROM kept") == [(7,)]
    assert postgres.alive


def test_a_process_that_follows_a_killed_one_takes_over_its_server_and_stops_it(postgres: Child) -> None:
    assert postgres.process is not None
    server = server_pid(postgres)
    postgres.process.kill()
    postgres.process.wait()
    Path(postgres.arguments[2]).unlink()
    postgres.start()
    eventually(Path(postgres.arguments[2]).exists)
    assert server_pid(postgres) == server and answers(postgres)
    stop_in_order([postgres])
    eventually(lambda: not psutil.pid_exists(server))
