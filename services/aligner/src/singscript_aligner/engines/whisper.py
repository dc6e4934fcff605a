"""Engine `whisper`: the cross-attention of a Whisper model on CTranslate2, by dynamic time warping.

The method is that of openai-whisper's `timing.py`, as CTranslate2's `Whisper.align` has it. Weights are looked for on
this machine only: the transcriber is who downloads them.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Generator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import SAMPLE_RATE_HZ, Times, WordTime

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_TOKENS_PER_S = 50
# The decoder has 448 places; some are taken by the task and the end.
_MAX_TOKENS = 440
# A line that the model holds for this unlikely is not sung there.
_UNLIKELY = 0.02


class WhisperEngine:
    """Loads its weights when it is first used and keeps them; may be shared by threads.

    Args:
        models_dir: holds `faster-whisper-<model>/model.bin`; otherwise the hub's cache is looked into.
        model: "small".
    """

    name = "whisper"
    max_window_s = 30.0

    def __init__(self, models_dir: Path, model: str) -> None:
        self.model = model
        self._models_dir = models_dir
        self._lock = threading.Lock()
        self._loaded: WhisperModel | None = None

    @property
    def device(self) -> str:
        import ctranslate2

        return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"

    def problem(self) -> str:
        if importlib.util.find_spec("faster_whisper") is None:
            return "It is not installed; install singscript-aligner[whisper]."
        if self._folder() is None:
            return (
                f"The weights of the model {self.model} are not on this machine; put them into "
                f"faster-whisper-{self.model}/ in SINGSCRIPT_MODELS_DIR, or let the transcriber download them there."
            )
        return ""

    def speaks(self, language: str) -> bool:
        from faster_whisper.tokenizer import _LANGUAGE_CODES

        return language == "en" if self.model.endswith(".en") else language in _LANGUAGE_CODES

    def align(
        self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str
    ) -> Generator[float, None, Times | None]:
        from faster_whisper.audio import pad_or_trim
        from faster_whisper.tokenizer import Tokenizer

        whisper = self._load()
        multilingual = whisper.model.is_multilingual
        tokenizer = Tokenizer(whisper.hf_tokenizer, multilingual, task="transcribe", language=language)
        tokens = [tokenizer.encode(f" {word}") for line in lines for word in line]
        text = [token for word in tokens for token in word]
        if not text or len(text) > _MAX_TOKENS or not len(samples):
            return None
        features = whisper.feature_extractor(samples)
        encoded = whisper.encode(pad_or_trim(features))
        yield 0.0
        result = whisper.model.align(encoded, tokenizer.sot_sequence, [text], features.shape[-1] - 1)[0]
        path = np.array(result.alignments)
        # The moment at which the path reaches each token, and at last the end of the text.
        first = np.searchsorted(path[:, 0], np.arange(len(text) + 1))
        reached_s = path[np.minimum(first, len(path) - 1), 1] / _TOKENS_PER_S
        likely = np.array(result.text_token_probs)
        bounds = [0, *accumulate(map(len, tokens))]
        end_s = len(samples) / SAMPLE_RATE_HZ
        flat = iter(
            WordTime(
                start_s=min(float(reached_s[a]), end_s),
                end_s=min(float(reached_s[b]), end_s),
                confidence=float(np.clip(likely[a:b].mean(), 0.0, 1.0)) if b > a else 0.0,
            )
            for a, b in pairwise(bounds)
        )
        times: Times = []
        for line in lines:
            row = [next(flat) for _ in line]
            sung = any(time.confidence >= _UNLIKELY for time in row)
            times.append([time if sung else None for time in row])
        return times

    def _load(self) -> WhisperModel:
        with self._lock:
            if self._loaded is None:
                from faster_whisper import WhisperModel

                kind = "float16" if self.device == "cuda" else "int8"
                self._loaded = WhisperModel(str(self._folder()), device=self.device, compute_type=kind)
            return self._loaded

    def _folder(self) -> Path | None:
        folder = self._models_dir / f"faster-whisper-{self.model}"
        if (folder / "model.bin").is_file():
            return folder
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(f"Systran/faster-whisper-{self.model}", "model.bin")
        return Path(cached).parent if isinstance(cached, str) else None
