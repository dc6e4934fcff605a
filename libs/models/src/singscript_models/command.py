"""The command of a service with models: `pull` gets weights before they are needed, `list` says what there is."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from singscript_core.errors import StageError
from singscript_core.events import Progress
from singscript_core.settings import ModelSettings

LOG_S = 5.0  # between lines where nobody sees them grow
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class Shelf(Protocol):
    """The models of a service, over one models folder."""

    def names(self) -> Sequence[str]:
        """All that are worth to be listed."""
        ...

    def knows(self, name: str) -> bool:
        """Whether `state` and `fetch` may be asked for this name."""
        ...

    def state(self, name: str) -> str:
        """Whether it is on this machine, in some words."""
        ...

    def fetch(self, name: str) -> Generator[Progress, None, object]:
        """Downloads and converts what lacks of it; raises StageError."""
        ...


def main(shelf_of: Callable[[Path], Shelf], network: str, example: str, arguments: Sequence[str] | None) -> int:
    """Does what the arguments say, by default those of this process, for the models in SINGSCRIPT_MODELS_DIR.

    Args:
        network: what they are models of, for the user; such as "Demucs".
        example: names of some of them.
    Returns:
        The exit status: 0 done, 1 weights could not be had, 2 wrong usage, 130 interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="models", description=f"Weights of {network} models, in SINGSCRIPT_MODELS_DIR."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    pull = commands.add_parser("pull", help="download and convert what lacks; what is there is left alone")
    pull.add_argument("names", nargs="+", metavar="NAME", help=f"such as {example}")
    commands.add_parser("list", help="say which models there are, and which are on this machine")
    given = parser.parse_args(arguments)
    try:
        shelf = shelf_of(ModelSettings().models_dir)
        if given.command == "pull":
            return _pull(given.names, shelf, network)
        for name in shelf.names():
            print(f"{name:<28}{shelf.state(name)}")
        return 0
    except ValidationError as error:
        print(f"A setting is wrong.\n{error}", file=sys.stderr)
        return EXIT_USAGE
    except StageError as error:
        print(f"\n{error.message}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("\ninterrupted; what was downloaded so far is kept for the next time", file=sys.stderr)
        return EXIT_INTERRUPTED


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _pull(names: Sequence[str], shelf: Shelf, network: str) -> int:
    for name in names:
        if not shelf.knows(name):
            known = ", ".join(shelf.names())
            print(f"There is no {network} model named '{name}'. Choose from: {known}.", file=sys.stderr)
            return EXIT_USAGE
    for name in names:
        shown_s = 0.0
        for progress in shelf.fetch(name):
            if time.monotonic() - shown_s >= (0.0 if sys.stdout.isatty() else LOG_S):
                _show(f"{name}: {_words(progress)}", last=False)
                shown_s = time.monotonic()
        _show(f"{name}: here", last=True)
    return 0


def _show(text: str, last: bool) -> None:
    """On a terminal a line that is written over, elsewhere a line each time."""
    if sys.stdout.isatty():
        print(f"\r{text:<60}", end="\n" if last else "", flush=True)
    else:
        print(text, flush=True)


def _words(progress: Progress) -> str:
    if progress.done_bytes is None:
        return "waiting"  # for another process, or for the conversion
    total = f" of {megabytes(progress.total_bytes)}" if progress.total_bytes else ""
    return f"{megabytes(progress.done_bytes)}{total}"
