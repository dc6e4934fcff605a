"""`python -m singscript_downloader`: serves until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import sys

from pydantic import ValidationError

from singscript_core.errors import StageError
from singscript_core.logs import set_up_logging
from singscript_downloader.service import service
from singscript_downloader.settings import DownloaderSettings
from singscript_serving.server import serve
from singscript_storage import StorageSettings, open_store


def main() -> None:
    """Reads the settings and serves."""
    try:
        settings, storage = DownloaderSettings(), StorageSettings()  # pyright: ignore[reportCallIssue]  (filled from the environment)
        set_up_logging("downloader", settings.log_level)
        asyncio.run(serve(service(settings, open_store(storage)), settings))
    except ValidationError as error:
        sys.exit(str(error))
    except (OSError, StageError) as error:
        sys.exit(f"downloader: {error}")


if __name__ == "__main__":
    main()
