"""Engine `whisper`: the cross-attention of a Whisper model on CTranslate2, by dynamic time warping.

The method is that of openai-whisper's `timing.py`, as CTranslate2's `Whisper.align` has it. Weights are looked for on
this machine only: nothing is downloaded while words are aligned.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Generator, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singscript_aligner.engines import Times, WordTime, pieces
from singscript_aligner.text.words import join_words
from singscript_aligner.text.words import pieces as with_gaps
from singscript_core import stopping
from singscript_core.errors import StageError
from singscript_core.events import Progress
from singscript_models.interruption import let_go
from singscript_models.keeper import Keeper
from singscript_models.reach import Reach
from singscript_models.whisper import weights
from singscript_models.whisper.weights import Place

if TYPE_CHECKING:
    from ctranslate2 import StorageView
    from faster_whisper.tokenizer import Tokenizer

_TOKENS_PER_S = 50
_FRAMES = 3000  # of 10 ms, in a window
_SAMPLES_PER_FRAME = 160
# The decoder has 448 places; some are taken by the task and the end.
_MAX_TOKENS = 440
_COMPUTE_TYPES = {"cpu": ("int8", "float32"), "cuda": ("float16", "int8_float32", "float32")}
# Whisper writes these languages without spaces.
_UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
_WORD = re.compile(r"([\W_]*)(.*?)([\W_]*)", re.DOTALL)
_SIGNS = re.compile(r"[^\w'’]|_")


class WhisperEngine:
    """Keeps the model that was used last, until it has been idle for a while; may be shared by threads.

    Args:
        models_dir: where weights are, besides the caches of their owners.
        model: "small"; where that is not on this machine, the largest one that is.
        idle_s: after which the model's memory is given back; 0: never.
    """

    name = "whisper"
    max_window_s = float("inf")

    def __init__(self, models_dir: Path, model: str, idle_s: float) -> None:
        self._wanted = model
        self._place = Place(models_dir, allow_download=False, reach=Reach())
        self._keeper = Keeper(_Model, _Model.close, idle_s)
        self._unusable: dict[str, str] = {}  # model: why, until the process ends

    @property
    def model(self) -> str:
        return self._chosen() or self._wanted

    @property
    def device(self) -> str:
        return _device()

    def problem(self) -> str:
        if importlib.util.find_spec("faster_whisper") is None:
            return "It is not installed; install singscript-aligner[whisper]."
        if self._chosen():
            return ""
        if reason := next(iter(self._unusable.values()), ""):
            return f"{reason} Then start the aligner again."
        return (
            f"No Whisper model is on this machine; get one with `singscript models pull {self._wanted}` or "
            f"`python -m singscript_aligner.models pull {self._wanted}`, or put it into SINGSCRIPT_MODELS_DIR as "
            f"faster-whisper-{self._wanted}/."
        )

    def speaks(self, language: str) -> bool:
        from faster_whisper.tokenizer import _LANGUAGE_CODES

        return language == "en" if self.model.endswith(".en") else language in _LANGUAGE_CODES

    def align(
        self, samples: NDArray[np.float32], lines: Sequence[Sequence[str]], language: str
    ) -> Generator[float, None, Times | None]:
        """As `Engine` says; a checkpoint of OpenAI's kind is converted before its first use.

        Raises:
            RuntimeError: the weights cannot be used, or the memory does not suffice.
        """
        model = self.model
        yield 0.0
        try:
            fetching = weights.fetch(model, "ct2", self._place)
            folder = yield from _waiting(fetching)
        except StageError as error:
            self._unusable[model] = error.message
            raise RuntimeError(error.message) from error

        def listen(window: NDArray[np.float32]) -> pieces.Fit:
            def hear() -> _Listening:
                with self._keeper.use(folder) as loaded:
                    return _Listening(loaded, window, language)

            try:
                listening = let_go(hear)
            except OSError as error:
                self._unusable[model] = f"The weights of {model} cannot be loaded; remove them and get them again."
                raise RuntimeError(self._unusable[model]) from error

            def fit(words: Sequence[str]) -> pieces.Row | None:
                with self._keeper.use(folder) as loaded:
                    return listening.fit(loaded, words)

            return lambda words: let_go(partial(fit, words))

        return (yield from pieces.search(samples, lines, listen))

    def close(self) -> None:
        self._keeper.close()

    def _chosen(self) -> str:
        """The model that is wanted, or the best of those that are here; empty while there are none."""
        if self._size_bytes(self._wanted):
            return self._wanted
        here = {name: size for name in weights.known_models(self._place) if (size := self._size_bytes(name))}
        return max(here, key=lambda name: (not name.endswith(".en"), here[name]), default="")

    def _size_bytes(self, model: str) -> int:
        """0 for a model that cannot be used as it lies there."""
        if model in self._unusable or weights.problem(model, "ct2", self._place):
            return 0
        if folder := weights.find(model, "ct2", self._place):
            return (folder / "model.bin").stat().st_size
        checkpoint = weights.find(model, "pt", self._place)
        return checkpoint.stat().st_size if checkpoint else 0


class _Model:
    """A loaded model.

    Raises:
        RuntimeError, ValueError, OSError: the folder holds something else.
    """

    def __init__(self, folder: Path) -> None:
        import ctranslate2
        from faster_whisper import WhisperModel

        can = ctranslate2.get_supported_compute_types(_device())
        kind = next(kind for kind in _COMPUTE_TYPES[_device()] if kind in can)
        self._whisper = WhisperModel(str(folder), device=_device(), compute_type=kind)

    def close(self) -> None:
        """Gives its memory back."""
        self._whisper.model.unload_model()

    def tokenizer(self, language: str) -> Tokenizer:
        from faster_whisper.tokenizer import Tokenizer

        whisper = self._whisper
        return Tokenizer(whisper.hf_tokenizer, whisper.model.is_multilingual, task="transcribe", language=language)

    def encode(self, samples: NDArray[np.float32]) -> tuple[StorageView, int]:
        """A window of up to 30 s as the decoder hears it, and how many frames of it are sound."""
        from ctranslate2 import StorageView

        mel = self._whisper.feature_extractor(samples)
        mel = mel[:, : max(2, min(len(samples) // _SAMPLES_PER_FRAME, _FRAMES))].astype(np.float32)
        # As if silence followed, which is how Whisper was trained: 8 decades below the loudest, or 1e-10.
        silence = max(mel.max() - 2.0, -1.5)
        padded = np.pad(mel, ((0, 0), (0, _FRAMES - mel.shape[1])), constant_values=silence)
        encoded = self._whisper.model.encode(StorageView.from_array(np.ascontiguousarray(padded[None])))
        return encoded, mel.shape[1]

    def align(self, encoded: StorageView, frames: int, start: list[int], text: list[int]) -> Any:
        """What CTranslate2 finds: `alignments`, pairs of token and place, and `text_token_probs`."""
        stopping.check()
        return self._whisper.model.align(encoded, start, [text], frames, median_filter_width=7)[0]


class _Listening:
    """A window that was heard once, to be searched for words as often as is needed."""

    def __init__(self, model: _Model, samples: NDArray[np.float32], language: str) -> None:
        self._tokenizer = model.tokenizer(language)
        self._encoded, self._frames = model.encode(samples)
        self._reading: bool | None = None

    def fit(self, model: _Model, words: Sequence[str]) -> pieces.Row | None:
        """As `pieces.Fit`: of the ways to read a text, that which is likelier in the first words is kept.

        Whisper knows most lyrics as they are written, but those in capital letters hardly.
        """
        if self._reading is None:
            written, bare = (self._fit(model, words, is_bare=is_bare) for is_bare in (False, True))
            if written is None or bare is None:
                return None
            self._reading = _sum(bare) > _sum(written)
            return bare if self._reading else written
        return self._fit(model, words, is_bare=self._reading)

    def _fit(self, model: _Model, words: Sequence[str], *, is_bare: bool) -> pieces.Row | None:
        tokens, spans = self._tokens(words, is_bare=is_bare)
        if len(tokens) > _MAX_TOKENS:
            return None
        if not tokens:
            return [None for _ in words]
        found = model.align(self._encoded, self._frames, self._tokenizer.sot_sequence, tokens)
        path = np.array(found.alignments)
        # The moment at which the path reaches each token, and at last the end of the text.
        reached = np.minimum(np.searchsorted(path[:, 0], np.arange(len(tokens) + 1)), len(path) - 1)
        reached_s = path[reached, 1] / _TOKENS_PER_S
        log_likely = np.log(np.maximum(found.text_token_probs, 1e-10))
        return [
            # Of a wrong word of many tokens the last ones may be likely, so the geometric mean.
            WordTime(float(reached_s[a]), float(reached_s[b]), float(np.exp(log_likely[a:b].mean()).clip(0, 1)))
            if b > a
            else None
            for a, b in spans
        ]

    def _tokens(self, words: Sequence[str], *, is_bare: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens of all words, and from which to which one each of them sounds: punctuation takes up the pauses."""
        tokens: list[int] = []
        spans: list[tuple[int, int]] = []
        between = "" if self._tokenizer.language_code in _UNSPACED else " "
        for gap, word in with_gaps(join_words(words), words):
            gap = gap if tokens else between
            before, sound, after = self._split(word)
            if is_bare:
                before, sound, after = "", _SIGNS.sub("", sound).lower(), ""
            if not sound:
                spans.append((0, 0))
                continue
            head, body, tail = (
                self._tokenizer.encode(text) if text else []
                for text in ((gap + before, sound, after) if before else ("", gap + sound, after))
            )
            spans.append((len(tokens) + len(head), len(tokens) + len(head) + len(body)))
            tokens += chain(head, body, tail)
        return tokens, spans

    @staticmethod
    def _split(word: str) -> tuple[str, str, str]:
        match = _WORD.fullmatch(word)
        assert match
        return match[1], match[2], match[3]


def _sum(row: pieces.Row) -> float:
    return sum(time.confidence for time in row if time)


def _waiting(fetching: Generator[Progress, None, Path]) -> Generator[float, None, Path]:
    """The same, as seconds of the sound that are done."""
    while True:
        try:
            next(fetching)
        except StopIteration as end:
            return end.value
        yield 0.0


@cache
def _device() -> str:
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
