"""Serves the separator until SIGTERM: `python -m singscript_separator`."""

from __future__ import annotations

import asyncio
import os
import sys

from pydantic import ValidationError

from singscript_core.errors import StageError
from singscript_core.logs import set_up_logging
from singscript_core.settings import ModelSettings
from singscript_separator.service import separator
from singscript_separator.settings import SeparatorSettings
from singscript_serving.server import serve
from singscript_storage import StorageSettings, open_store

# Read when torch loads. Its threads spin while they wait for each other, and the transcriber works at the same time: on
# a busy machine of 4 cores, 4 threads took 4 to 10 times the processor time of 2.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))


def main() -> None:
    try:
        settings = SeparatorSettings()  # pyright: ignore[reportCallIssue]  (from the environment)
        set_up_logging("separator", settings.log_level)
        store = open_store(StorageSettings())
        asyncio.run(serve(separator(settings, ModelSettings(), store), settings))
    except ValidationError as error:
        sys.exit(f"separator: a setting is wrong.\n{error}")
    except (OSError, StageError) as error:
        sys.exit(f"separator: {error}")


if __name__ == "__main__":
    main()
