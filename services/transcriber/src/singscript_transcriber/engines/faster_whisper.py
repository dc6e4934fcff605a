"""Engine `faster-whisper`: Whisper by CTranslate2, int8 on a CPU, float16 on a GPU."""

from __future__ import annotations

import importlib.util
import logging
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singscript_transcriber.engines import EngineOut
from singscript_transcriber.engines.guards import Guards
from singscript_transcriber.engines.reach import unreachable
from singscript_transcriber.engines.weights import WeightsPlace, catalogue, missing
from singscript_transcriber.languages import LANGUAGES
from singscript_transcriber.segments import Segment, Word

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

log = logging.getLogger(__name__)


class FasterWhisperEngine:
    """Keeps the model that was used last.

    Weights: `<models_dir>/faster-whisper-<model>/` with model.bin, the hub's cache, or the hub (HF_ENDPOINT counts).
    """

    name = "faster-whisper"
    max_window_s = 30.0
    warnings = ()

    def __init__(self, place: WeightsPlace, default_model: str, guards: Guards | None = None) -> None:
        self._place = place
        self._default_model = default_model
        self._guards = guards or Guards()
        self._lock = threading.Lock()
        self._loaded: tuple[str, WhisperModel] | None = None

    def device(self) -> str:
        import ctranslate2

        return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"

    def model(self, wanted: str) -> str:
        return wanted or self._default_model

    def refusal(self, language: str) -> str:
        return "" if not language or language in LANGUAGES else f'it does not know the language "{language}".'

    def problem(self, model: str) -> str:
        if importlib.util.find_spec("faster_whisper") is None:
            return "it is not installed; install the package faster-whisper."
        if self._local(model):
            return ""
        return self._undownloadable(model)

    def transcribe(self, samples: NDArray[np.float32], model: str, language: str) -> list[Segment]:
        whisper = self._load(model)
        guards = self._guards
        found, info = whisper.transcribe(
            samples,
            language=language or None,
            beam_size=5,
            temperature=list(guards.temperatures),
            compression_ratio_threshold=guards.max_compression_ratio,
            log_prob_threshold=guards.min_log_probability,
            no_speech_threshold=guards.max_no_speech,
            condition_on_previous_text=False,
            word_timestamps=True,
            hallucination_silence_threshold=2.0,
        )
        length_s = len(samples) / 16_000
        segments: list[Segment] = []
        for one in found:
            sure = guards.passes(
                compression_ratio=one.compression_ratio,
                log_probability=one.avg_logprob,
                no_speech=one.no_speech_prob,
            )
            words = tuple(
                Word(w.word.strip(), min(w.start, length_s), min(w.end, length_s), _probability(w.probability))
                for w in one.words or ()
                if w.word.strip()
            )
            if sure and words:
                segments.append(
                    Segment(words[0].start_s, words[-1].end_s, one.text.strip(), words, info.language, self.name, model)
                )
        return segments

    def close(self) -> None:
        with self._lock:
            self._loaded = None

    def _load(self, model: str) -> WhisperModel:
        with self._lock:
            if self._loaded is None or self._loaded[0] != model:
                self._loaded = None  # the old one's memory first
                from faster_whisper import WhisperModel

                folder = self._local(model) or self._download(model)
                device = self.device()
                compute_type = "float16" if device == "cuda" else "int8"
                self._loaded = model, WhisperModel(str(folder), device=device, compute_type=compute_type)
            return self._loaded[1]

    def _folder(self, model: str) -> Path:
        return self._place.models_dir / f"faster-whisper-{model}"

    def _local(self, model: str) -> Path | None:
        """The folder that holds these weights, if they are on this machine."""
        folder = self._folder(model)
        if (folder / "model.bin").is_file():
            return folder
        from huggingface_hub import try_to_load_from_cache

        repository = _repository(model)
        cached = [try_to_load_from_cache(repository, name) for name in ("model.bin", "config.json", "tokenizer.json")]
        return Path(cached[0]).parent if all(isinstance(path, str) for path in cached) else None  # pyright: ignore[reportArgumentType]

    def _undownloadable(self, model: str) -> str:
        """Why the weights cannot be downloaded; empty when they can."""
        what, where = f"the model {model}", f"faster-whisper-{model}/"
        if not self._place.allow_download:
            return missing(what, where, "downloads are switched off")
        from huggingface_hub import constants, hf_hub_url

        if constants.HF_HUB_OFFLINE:
            return missing(what, where, "HF_HUB_OFFLINE is set")
        reason = unreachable(hf_hub_url(_repository(model), "config.json"))
        return missing(what, where, reason) if reason else ""

    def _download(self, model: str) -> Path:
        if reason := self._undownloadable(model):
            raise EngineOut(reason)
        from huggingface_hub import snapshot_download

        log.info("downloading weights", extra={"engine": self.name, "model": model})
        files = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]
        folder = self._folder(model)
        try:
            snapshot_download(_repository(model), local_dir=folder, allow_patterns=files)
        except Exception as error:
            log.warning("weights could not be downloaded", exc_info=True, extra={"model": model})
            raise EngineOut(missing(f"the model {model}", f"{folder.name}/", "its download failed")) from error
        return folder


def _repository(model: str) -> str:
    known = catalogue("faster_whisper", "utils.py")
    return known.get(model, f"Systran/faster-whisper-{model}")


def _probability(value: float) -> float | None:
    return None if math.isnan(value) else min(1.0, max(0.0, float(value)))
