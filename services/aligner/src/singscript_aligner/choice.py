"""The engines by name, and which of them can be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from singscript_aligner.engines import Engine
from singscript_aligner.engines.ctc import CtcEngine
from singscript_aligner.engines.sphinx import SphinxEngine
from singscript_aligner.engines.whisper import WhisperEngine
from singscript_core.errors import InvalidInput

NAMES = ("ctc", "sphinx", "whisper")


class UnknownEngine(InvalidInput):
    """A name that no engine has."""

    reason = "UNKNOWN_ENGINE"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no aligner engine {name!r}. Choose from {', '.join(NAMES)}.")


class EngineChoice:
    """Keeps what is dear to load and safe to share.

    Args:
        order: names, best first.
        whisper_model, whisper_idle_s: as for `WhisperEngine`.
    Raises:
        UnknownEngine.
    """

    def __init__(self, order: Sequence[str], models_dir: Path, whisper_model: str, whisper_idle_s: float) -> None:
        _check(order)
        self._order = tuple(order)
        self._ctc = CtcEngine(models_dir)
        self._whisper = WhisperEngine(models_dir, whisper_model, whisper_idle_s)

    def engines(self, order: Sequence[str] = ()) -> list[Engine]:
        """All engines named, or those of the settings; for the use of one stream.

        Of those of the settings, ctc is left out while nobody has given it weights and there is another.

        Raises:
            UnknownEngine.
        """
        _check(order)
        if not order:
            order = [name for name in self._order if name != "ctc" or self._ctc.has_weights] or self._order
        engines: dict[str, Engine] = {}
        for name in order:
            engines[name] = {"ctc": self._ctc, "whisper": self._whisper}.get(name) or SphinxEngine()
        return list(engines.values())

    def close(self) -> None:
        """Gives back what was loaded."""
        self._whisper.close()


def _check(order: Sequence[str]) -> None:
    for name in order:
        if name not in NAMES:
            raise UnknownEngine(name)
