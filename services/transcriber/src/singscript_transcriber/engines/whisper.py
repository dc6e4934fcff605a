"""Engine `whisper`: the reference implementation, openai-whisper, on PyTorch. An optional extra of this package."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singscript_transcriber.engines import EngineOut
from singscript_transcriber.engines.guards import Guards
from singscript_transcriber.engines.reach import unreachable
from singscript_transcriber.engines.weights import WeightsPlace, catalogue, download, missing
from singscript_transcriber.languages import LANGUAGES
from singscript_transcriber.segments import Segment, Word

if TYPE_CHECKING:
    from whisper import Whisper

log = logging.getLogger(__name__)


class WhisperEngine:
    """Keeps the model that was used last, and serves one window at a time: the model is not safe for threads.

    Weights: `<models_dir>/<model>.pt`, openai-whisper's own cache, or OpenAI's server. Checkpoints are pickles:
    `whisper.load_model` reads them with `weights_only=True`, which runs no code of theirs.
    """

    name = "whisper"
    max_window_s = 30.0
    warnings = ()

    def __init__(self, place: WeightsPlace, default_model: str, guards: Guards | None = None) -> None:
        self._place = place
        self._default_model = default_model
        self._guards = guards or Guards()
        self._lock = threading.Lock()
        self._loaded: tuple[str, Whisper] | None = None

    def device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def model(self, wanted: str) -> str:
        return wanted or self._default_model

    def refusal(self, language: str) -> str:
        return "" if not language or language in LANGUAGES else f'it does not know the language "{language}".'

    def problem(self, model: str) -> str:
        # Looked for, not imported: importing PyTorch takes seconds.
        if importlib.util.find_spec("whisper") is None or importlib.util.find_spec("torch") is None:
            return "it is not installed; install the package openai-whisper."
        if self._local(model):
            return ""
        return self._undownloadable(model)

    def transcribe(self, samples: NDArray[np.float32], model: str, language: str) -> list[Segment]:
        guards = self._guards
        with self._lock:
            whisper = self._load(model)
            result: dict[str, Any] = whisper.transcribe(
                np.ascontiguousarray(samples),
                verbose=None,
                language=language or None,
                beam_size=5,
                fp16=whisper.device.type == "cuda",
                temperature=guards.temperatures,
                compression_ratio_threshold=guards.max_compression_ratio,
                logprob_threshold=guards.min_log_probability,
                no_speech_threshold=guards.max_no_speech,
                condition_on_previous_text=False,
                word_timestamps=True,
                hallucination_silence_threshold=2.0,
            )
        length_s = len(samples) / 16_000
        segments: list[Segment] = []
        for one in result["segments"]:
            sure = guards.passes(
                compression_ratio=one["compression_ratio"],
                log_probability=one["avg_logprob"],
                no_speech=one["no_speech_prob"],
            )
            words = tuple(
                Word(
                    w["word"].strip(),
                    min(float(w["start"]), length_s),
                    min(float(w["end"]), length_s),
                    min(1.0, float(w["probability"])),
                )
                for w in one["words"]
                if w["word"].strip()
            )
            if sure and words:
                text = one["text"].strip()
                segments.append(
                    Segment(words[0].start_s, words[-1].end_s, text, words, result["language"], self.name, model)
                )
        return segments

    def close(self) -> None:
        with self._lock:
            self._loaded = None

    def _load(self, model: str) -> Whisper:
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # the old one's memory first
            import whisper

            path = self._local(model) or self._download(model)
            loaded = whisper.load_model(str(path), device=self.device())
            heads = whisper._ALIGNMENT_HEADS.get(model)
            if heads is not None and _is_official(path, model):
                loaded.set_alignment_heads(heads)
            self._loaded = model, loaded
        return self._loaded[1]

    def _path(self, model: str) -> Path:
        return self._place.models_dir / f"{model}.pt"

    def _local(self, model: str) -> Path | None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
        return next((path for path in (self._path(model), cache / f"{model}.pt") if path.is_file()), None)

    def _undownloadable(self, model: str) -> str:
        """Why the weights cannot be downloaded; empty when they can."""
        what, where = f"the model {model}", f"{model}.pt"
        if not self._place.allow_download:
            return missing(what, where, "downloads are switched off")
        url = _urls().get(model)
        if url is None:
            return missing(what, where, "OpenAI offers no model of that name")
        reason = unreachable(url)
        return missing(what, where, reason) if reason else ""

    def _download(self, model: str) -> Path:
        if reason := self._undownloadable(model):
            raise EngineOut(reason)
        log.info("downloading weights", extra={"engine": self.name, "model": model})
        url, path = _urls()[model], self._path(model)
        try:
            download(url, path, sha256=_checksum(url))
        except OSError as error:
            log.warning("weights could not be downloaded", exc_info=True, extra={"model": model})
            raise EngineOut(missing(f"the model {model}", path.name, "its download failed")) from error
        return path


def _urls() -> dict[str, str]:
    return catalogue("whisper", "__init__.py")


def _checksum(url: str) -> str:
    return url.split("/")[-2]


def _is_official(path: Path, model: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == _checksum(_urls()[model])
