"""Serves the transcriber until SIGTERM: `python -m singscript_transcriber`."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import closing

from pydantic import ValidationError

from singscript_core.errors import StageError
from singscript_core.logs import set_up_logging
from singscript_serving.server import serve
from singscript_storage import StorageSettings, open_store
from singscript_transcriber.all_engines import engine_chain
from singscript_transcriber.service import transcriber
from singscript_transcriber.settings import TranscriberSettings

# Read by OpenMP when PyTorch or CTranslate2 loads: its threads would spin while they wait, at the cost of other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> None:
    try:
        settings = TranscriberSettings()
        set_up_logging("transcriber", settings.log_level)
        store = open_store(StorageSettings())
        with closing(engine_chain(settings)) as chain:
            asyncio.run(serve(transcriber(settings, chain, store), settings))
    except ValidationError as error:
        sys.exit(f"transcriber: a setting is wrong.\n{error}")
    except (OSError, StageError) as error:
        sys.exit(f"transcriber: {error}")


if __name__ == "__main__":
    main()
