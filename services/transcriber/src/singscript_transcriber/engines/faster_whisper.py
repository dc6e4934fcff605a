"""Engine `faster-whisper`: Whisper by CTranslate2, int8 on a CPU, float16 on a GPU."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path

from singscript_core.errors import EngineUnavailable
from singscript_core.events import Progress
from singscript_models.interruption import let_go
from singscript_models.keeper import Keeper
from singscript_models.whisper import weights
from singscript_models.whisper.weights import Place
from singscript_transcriber.engines import EngineOut, Heard, Window, Wish, whisper_words
from singscript_transcriber.engines.ct2_model import Model, workers

# A GPU hears many windows in one call; on a CPU they would only wait for the longest of them.
_BATCH = {"cpu": 1, "cuda": 8}


class FasterWhisperEngine:
    """Keeps the model that was used last, until it has been idle for a while.

    Args:
        place: where weights are.
        default_model: serves requests that name none.
        idle_s: after which the model's memory is given back; 0: never.
    """

    name = "faster-whisper"
    max_window_s = whisper_words.MAX_WINDOW_S
    warnings = ()

    def __init__(self, place: Place, default_model: str, idle_s: float) -> None:
        self._place = place
        self._default_model = default_model
        self._keeper = Keeper(_load, Model.close, idle_s)
        self._lock = threading.Lock()
        self._listeners: dict[Path, _Listener] = {}

    def model(self, wanted: str) -> str:
        return wanted or self._default_model

    def refusal(self, wish: Wish, model: str) -> str:
        return whisper_words.refusal(wish, model)

    def problem(self, model: str) -> str:
        if importlib.util.find_spec("faster_whisper") is None:
            return "it is not installed; install the package faster-whisper."
        return weights.problem(model, "ct2", self._place)

    def ready(self, model: str) -> Generator[Progress, None, _Listener]:
        try:
            folder = yield from weights.fetch(model, "ct2", self._place)
        except EngineUnavailable as error:
            raise EngineOut(error.message) from error
        with self._keeper.use(folder):
            pass  # weights that cannot be loaded are found here, not in the middle of a job
        with self._lock:
            return self._listeners.setdefault(folder, _Listener(self._keeper, folder))

    def close(self) -> None:
        self._keeper.close()


class _Listener:
    """Hears with the model of one folder, which is loaded again where it had been idle."""

    def __init__(self, keeper: Keeper[Path, Model], folder: Path) -> None:
        self._keeper = keeper
        self._folder = folder
        self.device = _device()
        self.parallel = workers(self.device)
        self.batch = _BATCH[self.device]

    def times_words(self, wish: Wish) -> bool:
        return True

    def estimate(self, windows: Sequence[Window]) -> list[Heard]:
        def hear() -> list[Heard]:
            with self._keeper.use(self._folder) as model:
                return model.hear(windows)

        return let_go(hear)


def _load(folder: Path) -> Model:
    try:
        return Model(folder, _device())
    except (RuntimeError, ValueError, OSError) as error:
        raise EngineOut("its weights cannot be loaded; remove them and get them again.") from error


@cache
def _device() -> str:
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
