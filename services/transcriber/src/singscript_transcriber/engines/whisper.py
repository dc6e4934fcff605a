"""Engine `whisper`: the reference implementation, openai-whisper, on PyTorch. An optional extra of this package."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
import warnings
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from singscript_core.errors import Cancelled, EngineUnavailable
from singscript_core.events import Progress
from singscript_models.interruption import interruptible
from singscript_models.keeper import Keeper
from singscript_models.whisper import weights
from singscript_models.whisper.weights import Place
from singscript_transcriber import language
from singscript_transcriber.engines import EngineOut, Heard, Window, Wish, whisper_words

if TYPE_CHECKING:
    from whisper import Whisper


class WhisperEngine:
    """Keeps the model that was used last, until it has been idle for a while.

    Args:
        place: where weights are.
        default_model: serves requests that name none.
        idle_s: after which the model's memory is given back; 0: never.
    """

    name = "whisper"
    max_window_s = whisper_words.MAX_WINDOW_S
    warnings = ()

    def __init__(self, place: Place, default_model: str, idle_s: float) -> None:
        self._place = place
        self._default_model = default_model
        self._keeper = Keeper(_load, _unload, idle_s)
        self._lock = threading.Lock()
        self._listeners: dict[Path, _Listener] = {}

    def model(self, wanted: str) -> str:
        return wanted or self._default_model

    def refusal(self, wish: Wish, model: str) -> str:
        return whisper_words.refusal(wish, model)

    def problem(self, model: str) -> str:
        # Looked for, not imported: importing PyTorch takes seconds.
        if importlib.util.find_spec("whisper") is None or importlib.util.find_spec("torch") is None:
            return "it is not installed; install the package openai-whisper."
        return weights.problem(model, "pt", self._place)

    def ready(self, model: str) -> Generator[Progress, None, _Listener]:
        try:
            checkpoint = yield from weights.fetch(model, "pt", self._place)
        except EngineUnavailable as error:
            raise EngineOut(error.message) from error
        with self._keeper.use(checkpoint):
            pass  # weights that cannot be loaded are found here, not in the middle of a job
        with self._lock:
            return self._listeners.setdefault(checkpoint, _Listener(self._keeper, checkpoint))

    def close(self) -> None:
        self._keeper.close()


class _Listener:
    """Hears with the model of one checkpoint, one window at a time: the model is not safe for threads."""

    parallel = 1
    batch = 1

    def __init__(self, keeper: Keeper[Path, Whisper], checkpoint: Path) -> None:
        self._keeper = keeper
        self._checkpoint = checkpoint
        self.device = _device()

    def times_words(self, wish: Wish) -> bool:
        return True

    def estimate(self, windows: Sequence[Window]) -> list[Heard]:
        with self._keeper.use(self._checkpoint) as model:
            try:
                return [_hear(model, window) for window in windows]
            except Cancelled:
                for module in model.decoder.modules():  # whisper takes its own hooks away only where nothing is raised
                    module._forward_hooks.clear()
                raise


def _hear(model: Whisper, window: Window) -> Heard:
    import torch

    wish = window.wish
    if not model.is_multilingual and (wish.language not in ("", "en") or wish.task == "translate"):
        raise ValueError("this model knows only English, and cannot translate")
    samples = np.ascontiguousarray(window.samples)
    length_s = len(samples) / 16_000
    if length_s < whisper_words.LEAST_WINDOW_S:
        return Heard((), wish.language or window.expected)
    languages: dict[str, float] = {}
    code = wish.language or "en"
    if model.is_multilingual and not wish.language:
        languages = _languages(model, window)
        code = language.choose(languages, window.expected)
    # At the higher temperatures it draws lots: by the window alone, so that it is heard again as it was.
    torch.manual_seed(crc32(samples.tobytes()))
    with warnings.catch_warnings():
        # Words of a translation have no times of their own; those of what they stand for are better than none.
        warnings.filterwarnings("ignore", "Word-level timestamps on translations")
        # Nothing is dropped here: no threshold for silence.
        result: dict[str, Any] = model.transcribe(
            samples,
            verbose=None,
            language=code,
            task=wish.task,
            initial_prompt=whisper_words.prompt(wish) or None,
            condition_on_previous_text=False,
            word_timestamps=True,
            temperature=whisper_words.TEMPERATURES,
            beam_size=whisper_words.BEAMS,
            best_of=whisper_words.BEAMS,
            compression_ratio_threshold=whisper_words.MAX_COMPRESSION_RATIO,
            logprob_threshold=whisper_words.MIN_LOG_PROBABILITY,
            no_speech_threshold=None,
            hallucination_silence_threshold=None,
            fp16=model.device.type == "cuda",
        )
    utterances = []
    for segment in result["segments"]:
        words = [
            whisper_words.word(word["word"], word["start"], word["end"], word["probability"], length_s)
            for word in segment["words"]
        ]
        if segment["text"].strip():
            utterances.append(
                whisper_words.utterance(
                    segment["text"],
                    words,
                    segment["start"],
                    segment["end"],
                    segment["avg_logprob"],
                    segment["no_speech_prob"],
                    length_s,
                )
            )
    return Heard(tuple(utterances), code, languages)


def _languages(model: Whisper, window: Window) -> dict[str, float]:
    import whisper

    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(window.samples), model.dims.n_mels)
    if model.device.type == "cuda":
        mel = mel.half()
    _, languages = whisper.detect_language(model, mel.to(model.device))
    assert isinstance(languages, dict)  # of one window
    return languages


def _load(checkpoint: Path) -> Whisper:
    import whisper

    try:
        # It reads with weights_only=True, which runs no code of the pickle.
        model = whisper.load_model(str(checkpoint), device=_device())
    except Exception as error:  # whatever a damaged file makes of it
        raise EngineOut("its weights cannot be loaded; remove them and get them again.") from error
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = next((name for name, url in whisper._MODELS.items() if url.split("/")[-2] == digest), "")
    if name:  # OpenAI says of its own models which heads follow the sound
        model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])
    interruptible(model)
    return model


def _unload(model: Whisper) -> None:
    import torch

    model.to("meta")  # whoever still holds the object, its weights are gone
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@cache
def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
