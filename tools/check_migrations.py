"""Checks that the migrations bring an empty database up to date, and that a second run finds nothing to do."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from singscript_gateway.database import expected_migrations, migrate
from singscript_standalone.postgres import start_server


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="singscript-migrations-") as folder:
        server = start_server(Path(folder) / "data")
        try:
            first = asyncio.run(migrate(server.get_uri()))
            second = asyncio.run(migrate(server.get_uri()))
        finally:
            server.cleanup()
    if set(first) != expected_migrations() or second:
        sys.exit(f"from empty: {first}; again: {second}; expected: {sorted(expected_migrations())}, then nothing")


if __name__ == "__main__":
    main()
