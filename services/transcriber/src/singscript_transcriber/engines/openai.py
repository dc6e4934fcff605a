"""Engine `openai`: OpenAI's API, or any server that speaks it (OPENAI_BASE_URL)."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singscript_audio.flac import FlacWriter
from singscript_transcriber.engines import EngineOut
from singscript_transcriber.engines.guards import Guards
from singscript_transcriber.languages import BY_NAME, LANGUAGES
from singscript_transcriber.segments import Segment, Word

if TYPE_CHECKING:
    from openai import OpenAI

_DEFAULT_MODEL = "whisper-1"
_CONNECT_S = 5.0
_ANSWER_S = 60.0
_RETRIES = 2
_CHECK_S = 4.0


class OpenAIEngine:
    """Sends windows as FLAC.

    Args:
        api_key: empty when there is none.
        base_url: empty for OpenAI's own.
        answer_s: how long one answer may take; it is asked for at most three times.
    """

    name = "openai"
    max_window_s = 30.0
    warnings = ()

    def __init__(
        self, api_key: str, base_url: str = "", guards: Guards | None = None, answer_s: float = _ANSWER_S
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._guards = guards or Guards()
        self._answer_s = answer_s
        self._lock = threading.Lock()
        self._opened: OpenAI | None = None

    def device(self) -> str:
        return "remote"

    def model(self, wanted: str) -> str:
        return wanted or _DEFAULT_MODEL

    def refusal(self, language: str) -> str:
        return "" if not language or language in LANGUAGES else f'it does not know the language "{language}".'

    def problem(self, model: str) -> str:
        if not self._api_key:
            return "there is no API key; set OPENAI_API_KEY."
        import openai

        try:
            self._client().with_options(timeout=_CHECK_S, max_retries=0).models.retrieve(model)
        except openai.NotFoundError as error:
            # Servers that only transcribe may not list models: only a 404 that is about the model counts.
            return f"there is no model {model}; ask for another." if error.code == "model_not_found" else ""
        except openai.OpenAIError as error:
            return _sentence(error)
        return ""

    def transcribe(self, samples: NDArray[np.float32], model: str, language: str) -> list[Segment]:
        import openai

        try:
            answer = self._ask(samples, model, language)
        except (
            openai.APIConnectionError,
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.RateLimitError,
            openai.InternalServerError,
        ) as error:
            raise EngineOut(_sentence(error)) from error
        length_s = len(samples) / 16_000
        language = BY_NAME.get(str(answer.get("language", "")).lower(), language)
        if "segments" not in answer:
            text = str(answer.get("text", "")).strip()
            return [Segment(0.0, length_s, text, (), language, self.name, model)] if text else []
        return self._segments(answer, length_s, language, model)

    def close(self) -> None:
        with self._lock:
            client, self._opened = self._opened, None
        if client is not None:
            client.close()

    def _client(self) -> OpenAI:
        with self._lock:
            if self._opened is None:
                import openai

                timeout = openai.Timeout(self._answer_s, connect=min(_CONNECT_S, self._answer_s))
                self._opened = openai.OpenAI(
                    api_key=self._api_key,
                    base_url=self._base_url or None,
                    timeout=timeout,
                    max_retries=_RETRIES,
                )
            return self._opened

    def _ask(self, samples: NDArray[np.float32], model: str, language: str) -> dict[str, Any]:
        # The newer models give neither times nor this format.
        timed = not model.startswith("gpt-")
        options: dict[str, Any] = {"response_format": "verbose_json" if timed else "json"}
        if timed:
            options["timestamp_granularities"] = ["word", "segment"]
        if language:
            options["language"] = language
        answer = self._client().audio.transcriptions.create(
            file=("window.flac", _flac(samples), "audio/flac"), model=model, **options
        )
        return answer.model_dump()

    def _segments(self, answer: dict[str, Any], length_s: float, language: str, model: str) -> list[Segment]:
        words = [
            Word(w["word"].strip(), min(w["start"], length_s), min(w["end"], length_s))
            for w in answer.get("words") or ()
            if w["word"].strip()
        ]
        segments: list[Segment] = []
        for one in answer.get("segments") or ():
            # The words come apart from the segments: each belongs to the segment that its middle is in.
            until_s = one["end"] if one is not answer["segments"][-1] else float("inf")
            own = [word for word in words if (word.start_s + word.end_s) / 2 < until_s]
            words = words[len(own) :]
            text = one["text"].strip()
            sure = self._guards.passes(
                compression_ratio=one.get("compression_ratio") or 0.0,
                log_probability=one.get("avg_logprob") or 0.0,
                no_speech=one.get("no_speech_prob") or 0.0,
            )
            if sure and text:
                start_s = own[0].start_s if own else min(one["start"], length_s)
                end_s = own[-1].end_s if own else min(one["end"], length_s)
                segments.append(Segment(start_s, end_s, text, tuple(own), language, self.name, model))
        return segments


def _flac(samples: NDArray[np.float32]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="singscript-") as folder:
        path = Path(folder) / "window.flac"
        with FlacWriter(path, sample_rate_hz=16_000, channels=1, bits=16) as writer:
            writer.write(samples.reshape(-1, 1))
        return path.read_bytes()


def _sentence(error: Exception) -> str:
    """What went wrong and what to do; the details of the server's answer stay in the log."""
    import openai

    match error:
        case openai.AuthenticationError():
            return "the API key was refused; check OPENAI_API_KEY."
        case openai.PermissionDeniedError():
            return "the API key may not do this; check the rights of OPENAI_API_KEY."
        case openai.RateLimitError():
            return "the account's limit or quota is used up; try again later or check its plan."
        case openai.APITimeoutError():
            return "the server did not answer in time; check the network and OPENAI_BASE_URL."
        case openai.APIConnectionError():
            return "the server cannot be reached; check the network and OPENAI_BASE_URL."
        case openai.APIStatusError():
            return f"the server answered with the error {error.status_code}; try again later."
        case _:
            return "the client could not be set up; check OPENAI_API_KEY and OPENAI_BASE_URL."
