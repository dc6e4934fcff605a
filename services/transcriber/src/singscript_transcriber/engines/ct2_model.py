"""A Whisper network in CTranslate2: windows in, what is heard in them out.

The steps are those of openai-whisper and faster-whisper, with these differences: many windows go through together,
nothing that was heard is dropped, and of what is unlikely at every temperature the likeliest is given.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singscript_core import stopping
from singscript_transcriber import language
from singscript_transcriber.engines import Heard, Samples, Window, whisper_words
from singscript_transcriber.engines.whisper_words import BEAMS, MAX_COMPRESSION_RATIO, MIN_LOG_PROBABILITY, TEMPERATURES
from singscript_transcriber.segments import Utterance

if TYPE_CHECKING:  # imported where a model is loaded: they take a second
    from ctranslate2 import StorageView
    from faster_whisper.tokenizer import Tokenizer

_FRAMES_A_SECOND = 100
_WINDOW_FRAMES = 3000
_TIME_TOKEN_S = 0.02
# What is left of a window after a pass holds no word when it is shorter than this.
_LEAST_REST_FRAMES = 50
# Each pass over a window goes on by this much at least, so there is a last one.
_LEAST_STEP_FRAMES = 100
# More threads to one window gain little, as most of its time goes into small steps, one a token: four windows at base's
# size take 6 to 20 % less CPU with one thread each than with two, but each takes longer and another 100 MB.
_WINDOW_THREADS = 2
_COMPUTE_TYPES = {"cpu": ("int8", "float32"), "cuda": ("float16", "int8_float32", "float32")}

# The mel spectrogram of a window: float32 of shape (mels, frames), 100 frames a second.
Mel = NDArray[np.float32]


@dataclass(slots=True)
class _Hearing:
    """A window while it is heard, which takes more than one pass where the text of a pass ends before the sound does.

    Attributes:
        mel: of the whole window.
        frame: heard up to here.
        tokenizer: set once the language is known.
        voice_end_s: where the last word ended.
    """

    window: Window
    mel: Mel
    frame: int = 0
    languages: dict[str, float] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None
    voice_end_s: float = 0.0
    utterances: list[Utterance] = field(default_factory=list)

    @property
    def done(self) -> bool:
        least = _LEAST_REST_FRAMES if self.frame else round(whisper_words.LEAST_WINDOW_S * _FRAMES_A_SECOND)
        return self.mel.shape[1] - self.frame < least

    def heard(self) -> Heard:
        code = self.tokenizer.language_code if self.tokenizer else self.window.wish.language or self.window.expected
        return Heard(tuple(self.utterances), code, self.languages)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """`tokens` are those of text and, from `Tokenizer.timestamp_begin` on, of times."""

    tokens: list[int]
    text: str
    log_probability: float
    no_speech: float

    @property
    def good(self) -> bool:
        raw = self.text.encode()
        repeats = len(raw) > MAX_COMPRESSION_RATIO * len(zlib.compress(raw))
        return not repeats and self.log_probability >= MIN_LOG_PROBABILITY


class Model:
    """A loaded model; it may be used from several threads at once.

    Args:
        folder: has model.bin, config.json, tokenizer.json and the vocabulary.
        device: "cpu" or "cuda".

    Raises:
        RuntimeError, ValueError, OSError: the folder holds something else.
    """

    def __init__(self, folder: Path, device: str) -> None:
        import ctranslate2
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        can = ctranslate2.get_supported_compute_types(device)
        self._whisper = WhisperModel(
            str(folder),
            device=device,
            compute_type=next(kind for kind in _COMPUTE_TYPES[device] if kind in can),
            # Twice as many as windows are heard at once: a window that nobody waits for any more keeps its worker until
            # its step is done, and the next one must not wait for that. The weights are there once.
            num_workers=2 * workers(device),
            cpu_threads=max(1, _cores() // workers("cpu")),
        )
        self._multilingual: bool = self._whisper.model.is_multilingual
        any_language = Tokenizer(self._whisper.hf_tokenizer, self._multilingual, task="transcribe", language="en")
        # Notes, brackets and the like, and what steers the network.
        self._never_said = get_suppressed_tokens(any_language, (-1,)) or ()

    def close(self) -> None:
        """Gives its memory back."""
        self._whisper.model.unload_model()

    def hear(self, windows: Sequence[Window]) -> list[Heard]:
        """What is heard in windows with the same wish; all of them are encoded at once, and decoded at once.

        CTranslate2 cannot be interrupted: between its calls `stopping.check` is asked.
        """
        hearings = [_Hearing(window, self._mel(window.samples)) for window in windows]
        while rest := [hearing for hearing in hearings if not hearing.done]:
            self._pass(rest)
        return [hearing.heard() for hearing in hearings]

    def _pass(self, hearings: Sequence[_Hearing]) -> None:
        """Hears up to 30 s of each window, from where the last pass came to."""
        from ctranslate2 import StorageView

        encoded = self._encode([hearing.mel[:, hearing.frame :] for hearing in hearings])
        together = StorageView.from_array(encoded)
        if hearings[0].tokenizer is None:  # the first pass
            self._choose_languages(together, hearings)
        firsts = self._decode(together, hearings, 0.0)
        for index, (hearing, first) in enumerate(zip(hearings, firsts, strict=True)):
            alone = StorageView.from_array(encoded[index : index + 1])
            self._take_in(hearing, alone, self._best(hearing, alone, first))

    def _mel(self, samples: Samples) -> Mel:
        """Of shape (mels, n // 160)."""
        mel = self._whisper.feature_extractor(samples)
        return mel[:, : min(len(samples) // 160, _WINDOW_FRAMES)].astype(np.float32)

    def _encode(self, mels: Sequence[Mel]) -> NDArray[Any]:
        """Of shape (windows, 1500, width), in the precision of the model."""
        from ctranslate2 import StorageView

        padded = []
        for mel in mels:
            # As if silence followed, which is how Whisper was trained: 8 decades below the loudest, or 1e-10.
            silence = max(mel.max() - 2.0, -1.5)
            padded.append(np.pad(mel, ((0, 0), (0, _WINDOW_FRAMES - mel.shape[1])), constant_values=silence))
        stopping.check()
        features = StorageView.from_array(np.ascontiguousarray(np.stack(padded)))
        return np.asarray(self._whisper.model.encode(features, to_cpu=True))

    def _choose_languages(self, encoded: StorageView, hearings: Sequence[_Hearing]) -> None:
        from faster_whisper.tokenizer import Tokenizer

        wish, multilingual = hearings[0].window.wish, self._multilingual
        if not multilingual and (wish.language not in ("", "en") or wish.task == "translate"):
            raise ValueError("this model knows only English, and cannot translate")
        if multilingual and not wish.language:
            for hearing, found in zip(hearings, self._whisper.model.detect_language(encoded), strict=True):
                hearing.languages = {token.strip("<|>"): probability for token, probability in found}
        for hearing in hearings:
            code = wish.language or "en"
            if hearing.languages:
                code = language.choose(hearing.languages, hearing.window.expected)
            hearing.tokenizer = Tokenizer(self._whisper.hf_tokenizer, multilingual, task=wish.task, language=code)
            if multilingual and hearing.tokenizer.language is None:
                raise ValueError(f"this model does not know the language {code}")

    def _decode(self, encoded: StorageView, hearings: Sequence[_Hearing], temperature: float) -> list[_Decoded]:
        """The likeliest text of each; the encoded windows are in the order of `hearings`."""
        how: dict[str, Any] = {"beam_size": BEAMS}
        if temperature:
            how = {"beam_size": 1, "num_hypotheses": BEAMS, "sampling_topk": 0, "sampling_temperature": temperature}
        tokenizers = [_tokenizer(hearing) for hearing in hearings]
        before = whisper_words.prompt(hearings[0].window.wish)
        previous = tokenizers[0].encode(f" {before}") if before else []
        stopping.check()
        results = self._whisper.model.generate(
            encoded,
            [self._whisper.get_prompt(tokenizer, previous) for tokenizer in tokenizers],
            max_length=self._whisper.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._never_said,
            **how,
        )
        return [
            _Decoded(
                result.sequences_ids[0],
                tokenizer.decode(result.sequences_ids[0]).strip(),
                # The score is a mean over the tokens without the end of the text, which is one more.
                result.scores[0] * len(result.sequences_ids[0]) / (len(result.sequences_ids[0]) + 1),
                result.no_speech_prob,
            )
            for tokenizer, result in zip(tokenizers, results, strict=True)
        ]

    def _best(self, hearing: _Hearing, encoded: StorageView, first: _Decoded) -> _Decoded:
        """`first`, or what is heard at a higher temperature where that is better."""
        tries = [first]
        for temperature in TEMPERATURES[1:]:
            if tries[-1].good:
                return tries[-1]
            tries += self._decode(encoded, [hearing], temperature)
        # A chorus repeats itself too: of what is left the guards tell it from a loop, so the likeliest is kept.
        return tries[-1] if tries[-1].good else max(tries, key=lambda decoded: decoded.log_probability)

    def _take_in(self, hearing: _Hearing, encoded: StorageView, decoded: _Decoded) -> None:
        """Adds what was heard in a pass, with the times of its words, and says where the next pass begins."""
        tokenizer = _tokenizer(hearing)
        frames = hearing.mel.shape[1] - hearing.frame
        length_s = len(hearing.window.samples) / 16_000
        offset_s = hearing.frame / _FRAMES_A_SECOND
        runs, is_whole = split(decoded.tokens, tokenizer.timestamp_begin, frames / _FRAMES_A_SECOND)
        segments: list[dict[str, Any]] = [
            {"seek": hearing.frame, "start": offset_s + run.start_s, "end": offset_s + run.end_s, "tokens": run.tokens}
            for run in runs
            if tokenizer.decode(run.tokens).strip()
        ]
        if segments:
            stopping.check()
            self._whisper.add_word_timestamps(
                [segments],  # pyright: ignore[reportArgumentType]  (annotated as those of one window, it takes many)
                tokenizer,
                encoded,
                frames,
                prepend_punctuations="\"'“¿([{-",
                append_punctuations="\"'.。,，!！?？:：”)]}、",
                last_speech_timestamp=hearing.voice_end_s,
            )
        for segment in segments:
            words = [
                whisper_words.word(word["word"], word["start"], word["end"], word["probability"], length_s)
                for word in segment["words"]
            ]
            text = tokenizer.decode(segment["tokens"])
            start_s, end_s = segment["start"], segment["end"]
            hearing.utterances.append(
                whisper_words.utterance(
                    text, words, start_s, end_s, decoded.log_probability, decoded.no_speech, length_s
                )
            )
            hearing.voice_end_s = hearing.utterances[-1].end_s
        if is_whole or not segments:
            hearing.frame = hearing.mel.shape[1]
        else:
            heard_to = round(hearing.voice_end_s * _FRAMES_A_SECOND)
            hearing.frame = max(heard_to, hearing.frame + _LEAST_STEP_FRAMES)


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens of text between two of time."""

    tokens: list[int]
    start_s: float
    end_s: float


def split(tokens: Sequence[int], first_time: int, length_s: float) -> tuple[list[Run], bool]:
    """Cuts the tokens of a pass where two times follow each other: there one run ends and the next begins.

    Args:
        tokens: of text, and from `first_time` on of times, 0.02 s each.
        length_s: of the sound.

    Returns:
        The runs, and whether they are all that is said: a last run without an end, after others, is left out, because
        it may have been cut off.
    """
    cuts = [i for i in range(1, len(tokens)) if tokens[i - 1] >= first_time and tokens[i] >= first_time]
    is_whole = len(tokens) > 1 and tokens[-2] < first_time <= tokens[-1]
    ends = [*cuts, len(tokens)] if is_whole or not cuts else cuts
    runs = []
    for start, end in zip([0, *ends], ends, strict=False):
        times = [token - first_time for token in tokens[start:end] if token >= first_time]
        text = [token for token in tokens[start:end] if token < first_time]
        # The end counts only when it is a time of its own.
        start_s = times[0] * _TIME_TOKEN_S if times else 0.0
        end_s = times[-1] * _TIME_TOKEN_S if len(times) > 1 else length_s
        runs.append(Run(text, start_s, end_s))
    return runs, is_whole


def _tokenizer(hearing: _Hearing) -> Tokenizer:
    assert hearing.tokenizer is not None
    return hearing.tokenizer


def workers(device: str) -> int:
    """How many windows a model decodes at once."""
    return 1 if device == "cuda" else max(1, _cores() // _WINDOW_THREADS)


def _cores() -> int:
    """Those that this process may use, where the system tells; OMP_NUM_THREADS counts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("OMP_NUM_THREADS") or cores)
