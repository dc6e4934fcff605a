"""Gets weights before they are needed: `python -m singscript_separator.models pull htdemucs`, or `list`."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from singscript_core.events import Progress
from singscript_models import command
from singscript_separator.engines import released, weights
from singscript_separator.engines.weights import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 weights could not be had, 2 wrong usage, 130 interrupted."""
    return command.main(_Demucs, "Demucs", "htdemucs or htdemucs_ft", arguments)


class _Demucs:
    """A `Shelf` of Demucs models."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir

    def names(self) -> Sequence[str]:
        return weights.known_models(self._models_dir)

    def knows(self, name: str) -> bool:
        return weights.find_recipe(name, self._models_dir) is not None

    def state(self, name: str) -> str:
        missing = weights.missing(self._recipe(name), self._models_dir)
        if not missing:
            return "here"
        sizes = [sources[0].size_bytes for signature in missing if (sources := released.sources(signature))]
        if len(sizes) < len(missing):
            return f"lacks {', '.join(missing)}"
        known = [size for size in sizes if size is not None]
        return f"{command.megabytes(sum(known))} to download" if len(known) == len(sizes) else "to download"

    def fetch(self, name: str) -> Generator[Progress]:
        recipe = self._recipe(name)
        return weights.fetch(recipe.signatures, recipe, self._models_dir)

    def _recipe(self, name: str) -> Recipe:
        recipe = weights.find_recipe(name, self._models_dir)
        assert recipe is not None  # it is known
        return recipe


if __name__ == "__main__":
    sys.exit(main())
