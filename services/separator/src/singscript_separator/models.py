"""Gets weights before they are needed: `python -m singscript_separator.models pull htdemucs`, or `list`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from singscript_core.errors import StageError
from singscript_core.events import Progress
from singscript_core.settings import ModelSettings
from singscript_separator.engines import released, weights

LOG_S = 5.0  # between lines where nobody sees them grow
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 weights could not be had, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="models", description="Weights of Demucs models, in SINGSCRIPT_MODELS_DIR.")
    commands = parser.add_subparsers(dest="command", required=True)
    pull = commands.add_parser("pull", help="download and convert what lacks; what is there is left alone")
    pull.add_argument("names", nargs="+", metavar="NAME", help="such as htdemucs or htdemucs_ft")
    commands.add_parser("list", help="say which models there are, and which are on this machine")
    given = parser.parse_args(arguments)
    try:
        models_dir = ModelSettings().models_dir
        if given.command == "list":
            _list(models_dir)
            return 0
        return _pull(given.names, models_dir)
    except ValidationError as error:
        print(f"A setting is wrong.\n{error}", file=sys.stderr)
        return EXIT_USAGE
    except StageError as error:
        print(f"\n{error.message}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("\ninterrupted; what was downloaded so far is kept for the next time", file=sys.stderr)
        return EXIT_INTERRUPTED


def _list(models_dir: Path) -> None:
    for name in weights.known_models(models_dir):
        print(f"{name:<28}{_state(name, models_dir)}")


def _state(name: str, models_dir: Path) -> str:
    recipe = weights.find_recipe(name, models_dir)
    assert recipe is not None  # it is known
    missing = weights.missing(recipe, models_dir)
    if not missing:
        return "here"
    sizes = [sources[0].size_bytes for signature in missing if (sources := released.sources(signature))]
    if len(sizes) < len(missing):
        return f"lacks {', '.join(missing)}"
    known = [size for size in sizes if size is not None]
    return f"{_megabytes(sum(known))} to download" if len(known) == len(sizes) else "to download"


def _pull(names: Sequence[str], models_dir: Path) -> int:
    recipes = {name: weights.find_recipe(name, models_dir) for name in names}
    for name, recipe in recipes.items():
        if recipe is None:
            known = ", ".join(weights.known_models(models_dir))
            print(f"There is no Demucs model named '{name}'. Choose from: {known}.", file=sys.stderr)
            return EXIT_USAGE
    for name, recipe in recipes.items():
        assert recipe is not None
        shown_s = 0.0
        for progress in weights.fetch(recipe.signatures, recipe, models_dir):
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
    total = f" of {_megabytes(progress.total_bytes)}" if progress.total_bytes else ""
    return f"{_megabytes(progress.done_bytes)}{total}"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
