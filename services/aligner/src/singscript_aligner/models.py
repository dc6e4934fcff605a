"""Gets weights before they are needed: `python -m singscript_aligner.models pull small`, or `list`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from singscript_models import command
from singscript_models.whisper.shelf import WhisperShelf


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 weights could not be had, 2 wrong usage, 130 interrupted."""
    return command.main(WhisperShelf, "Whisper", "small or large-v3-turbo", arguments)


if __name__ == "__main__":
    sys.exit(main())
