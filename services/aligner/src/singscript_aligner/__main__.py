"""Serves the aligner until SIGTERM: `python -m singscript_aligner`."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import closing

from pydantic import ValidationError

from singscript_aligner.choice import EngineChoice
from singscript_aligner.service import aligner
from singscript_aligner.settings import AlignerSettings
from singscript_core.errors import StageError
from singscript_core.logs import set_up_logging
from singscript_serving.server import serve
from singscript_storage import StorageSettings, open_store

# Read by OpenMP when CTranslate2 loads: its threads would spin while they wait, at the cost of other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> None:
    try:
        settings = AlignerSettings()  # pyright: ignore[reportCallIssue]  (from the environment)
        set_up_logging("aligner", settings.log_level)
        store = open_store(StorageSettings())
        choice = EngineChoice(
            settings.aligner_engines, settings.models_dir, settings.whisper_model, settings.whisper_idle_s
        )
        with closing(choice):
            asyncio.run(serve(aligner(settings, choice, store), settings))
    except ValidationError as error:
        sys.exit(f"aligner: a setting is wrong.\n{error}")
    except (OSError, StageError) as error:
        sys.exit(f"aligner: {error}")


if __name__ == "__main__":
    main()
