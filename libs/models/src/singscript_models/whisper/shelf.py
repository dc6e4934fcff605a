"""What `models pull` and `models list` know of Whisper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from singscript_models import command
from singscript_models.reach import Reach
from singscript_models.whisper import released, weights
from singscript_models.whisper.weights import Fetching, Place


class WhisperShelf:
    """A `Shelf` of Whisper models for CTranslate2."""

    def __init__(self, models_dir: Path) -> None:
        self._place = Place(models_dir, allow_download=True, reach=Reach())

    def names(self) -> Sequence[str]:
        return weights.known_models(self._place)

    def knows(self, name: str) -> bool:
        return released.canonical(name) in self.names()

    def state(self, name: str) -> str:
        if weights.find(name, "ct2", self._place):
            return "here"
        if weights.find(name, "pt", self._place):
            return "here, to be converted"
        sizes = [source.size_bytes or 0 for source in released.pinned(name).values()]
        return f"{command.megabytes(sum(sizes))} to download" if sizes else "to download"

    def fetch(self, name: str) -> Fetching:
        return weights.fetch(name, "ct2", self._place)
