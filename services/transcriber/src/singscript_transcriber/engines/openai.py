"""Engine `openai`: OpenAI's API, or any server that speaks it (OPENAI_BASE_URL).

What the client does by itself: an answer that is lost, late or cut short, and the statuses 408, 409, 429 and 5xx are
asked for again, after what Retry-After says (up to two minutes; a longer wait is not worth it and ends the request) or
after 0.5 s, then 1 s.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Awaitable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from singscript_audio.flac import FlacWriter
from singscript_core.errors import Cancelled, Rejected
from singscript_core.events import Progress, Usage
from singscript_models.interruption import awaited
from singscript_transcriber.engines import EngineOut, Heard, Samples, Window, Wish, prices
from singscript_transcriber.engines.openai_answers import Answer, Used
from singscript_transcriber.languages import LANGUAGES

if TYPE_CHECKING:
    import httpx2
    import openai

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_MODEL = "whisper-1"
_RATE_HZ = 16_000
_CONNECT_S = 5.0
_ANSWER_S = 60.0
_RETRIES = 2
_CHECK_S = 4.0
# Money does not come back within a retry. The type is older than the codes.
_SPENT = ("insufficient_quota", "credit_balance_exhausted")
_FOREIGN = "the server does not answer as OpenAI's does; check OPENAI_BASE_URL."


class WindowRefused(Rejected):
    """The server does not take this window, or not with these wishes."""

    reason = "WINDOW_REFUSED"


class OpenAIEngine:
    """Sends windows as FLAC: nothing is lost, and 30 s are at most 1 MB where OpenAI takes 25.

    `whisper-1`, and every model that is not called gpt-*, gives words with their times. The gpt models give text, and
    `-diarize` its parts with their times. OpenAI shuts all of its own down on 2027-02-26 except `gpt-transcribe`.

    Args:
        api_key: empty when there is none.
        base_url: empty for OpenAI's own.
        model: of requests that name none.
        parallel: how many windows are sent at once.
        answer_s: how long the server may be silent; it is asked at most three times.
    """

    name = "openai"
    max_window_s = 30.0
    warnings = ()

    def __init__(
        self,
        api_key: str,
        base_url: str = "",
        model: str = DEFAULT_MODEL,
        parallel: int = 4,
        answer_s: float = _ANSWER_S,
    ) -> None:
        self._api_key = api_key.strip()  # a line end from a file would be refused together with the whole header
        self._base_url = base_url
        self._model = model
        self._parallel = parallel
        self._answer_s = answer_s
        self._lock = threading.Lock()
        self._opened: _Connection | None = None

    def model(self, wanted: str) -> str:
        return wanted or self._model

    def refusal(self, wish: Wish, model: str) -> str:
        if wish.language and wish.language not in LANGUAGES:
            return f'it does not know the language "{wish.language}".'
        if wish.task == "translate" and _bare(model).startswith("gpt-"):
            return f"{model} does not translate; ask for whisper-1."
        return ""

    def problem(self, model: str) -> str:
        import openai

        if problem := self._key_problem():
            return problem
        connection = self._connection()
        client = connection.client.with_options(timeout=_CHECK_S, max_retries=0)
        try:
            connection.run(client.models.with_raw_response.retrieve(model))
        except openai.APIStatusError as error:
            # Servers that only transcribe need not list models: what counts is what transcription would answer, too.
            is_unlisted = error.status_code == 404 and error.code != "model_not_found"
            return "" if is_unlisted or _is_about_the_request(error) else self._sentence(error, model)
        except openai.OpenAIError as error:
            return self._sentence(error, model)
        return ""

    def ready(self, model: str) -> Generator[Progress, None, _Remote]:
        if problem := self._key_problem():
            raise EngineOut(problem)
        yield from ()
        return _Remote(self, model, self._parallel)

    def hear(self, window: Window, model: str) -> Heard:
        """One window. Where it fails nothing is counted as spent, though the server may have been paid: nobody says.

        Raises:
            Cancelled: nobody wants it any more; the request is closed.
            EngineOut: no window can be served.
            WindowRefused: this one cannot.
        """
        import openai

        try:
            text = self._ask(window, model)
        except openai.OpenAIError as error:
            sentence = self._sentence(error, model)
            # The server's own words stay out of the chain: they may repeat the key, and the prompt.
            if isinstance(error, openai.APIStatusError) and _is_about_the_request(error):
                raise WindowRefused(sentence) from None
            raise EngineOut(sentence) from None
        try:
            answer = Answer.model_validate_json(text)
        except ValidationError:  # it holds what was sung
            raise EngineOut(_FOREIGN) from None
        length_s = len(window.samples) / _RATE_HZ
        # Translations are always said to be English.
        language = window.wish.language
        if window.wish.task == "transcribe":
            language = answer.spoken_language or language
        return Heard(answer.utterances(length_s), language, usage=self._usage(answer, length_s, model))

    def close(self) -> None:
        with self._lock:
            connection, self._opened = self._opened, None
        if connection is not None:
            connection.close()

    def _key_problem(self) -> str:
        if not self._api_key:
            return "there is no API key; set OPENAI_API_KEY."
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            return "OPENAI_API_KEY has characters that no key has; check it."
        return ""

    def _connection(self) -> _Connection:
        with self._lock:
            if self._opened is None:
                import openai

                client = openai.AsyncOpenAI(
                    api_key=self._api_key,
                    base_url=self._base_url or None,
                    timeout=openai.Timeout(self._answer_s, connect=min(_CONNECT_S, self._answer_s)),
                    max_retries=_RETRIES,
                    http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_do_not_retry_when_spent]}),
                )
                self._opened = _Connection(client)
            return self._opened

    def _ask(self, window: Window, model: str) -> bytes:
        """The body of the answer, as it came: servers differ more than the client's types."""
        connection = self._connection()
        audio = connection.client.audio
        ask = audio.transcriptions if window.wish.task == "transcribe" else audio.translations
        file = ("window.flac", _flac(window.samples), "audio/flac")
        return connection.run(
            ask.with_raw_response.create(file=file, model=model, **_options(window.wish, model))
        ).content

    def _usage(self, answer: Answer, length_s: float, model: str) -> Usage:
        used = answer.usage or Used()
        host = self._connection().client.base_url.host
        paid_s = length_s if used.seconds is None else used.seconds
        return Usage(
            self.name,
            model,
            length_s,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cost_usd=prices.cost_usd(host, model, paid_s, used.input_tokens, used.output_tokens),
        )

    def _sentence(self, error: openai.OpenAIError, model: str) -> str:
        """What went wrong and what to do. What the server wrote does not get into it, only its code into the log."""
        import openai

        if isinstance(error, openai.APIStatusError):
            code = str(error.code).replace(self._api_key, "[key]")
            log.warning("OpenAI's API: status %d, code %s, request %s", error.status_code, code, error.request_id)
        match error:
            case openai.AuthenticationError():
                return "the API key was refused; check OPENAI_API_KEY."
            case openai.PermissionDeniedError():
                return "the API key may not do this; check the rights of OPENAI_API_KEY."
            case openai.APIStatusError() if _is_spent(error):
                return "the account's quota is used up; check its plan and its limits."
            case openai.RateLimitError():
                return "the account's rate limit is reached; try again later."
            case openai.NotFoundError() if error.code == "model_not_found":
                return f"there is no model {model}; ask for another."
            case openai.NotFoundError():
                return "the server does not know the address; check OPENAI_BASE_URL."
            case openai.APIStatusError() if _is_about_the_request(error):
                return f"the server refused the request with the error {error.status_code}; check model and prompt."
            case openai.APIStatusError():
                return f"the server answered with the error {error.status_code}; try again later."
            case openai.APITimeoutError():
                return "the server did not answer in time; check the network and OPENAI_BASE_URL."
            case openai.APIConnectionError():
                return "the server cannot be reached; check the network and OPENAI_BASE_URL."
            case _:
                return "the client could not be set up; check OPENAI_API_KEY and OPENAI_BASE_URL."


class _Connection:
    """A client, and the event loop on which it works: there a request that waits can be closed.

    Attributes:
        client: its calls go to `run`.
    """

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self.client = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
        self._thread.start()

    def run(self, call: Awaitable[T]) -> T:
        """The result of a call of the client; from any thread.

        Raises:
            Cancelled: nobody wants it any more, and the request is closed.
            OpenAIError: as the call raises.
        """

        async def answer() -> T:
            return await call

        future = asyncio.run_coroutine_threadsafe(answer(), self._loop)
        try:
            return awaited(future)
        except Cancelled:
            future.cancel()
            raise

    def close(self) -> None:
        self.run(self.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(frozen=True, slots=True)
class _Remote:
    """The `Listener` for one model."""

    engine: OpenAIEngine
    model: str
    parallel: int
    device = "remote"
    batch = 1

    def times_words(self, wish: Wish) -> bool:
        return wish.task == "transcribe" and not _bare(self.model).startswith("gpt-")

    def estimate(self, windows: Sequence[Window]) -> list[Heard]:
        return [self.engine.hear(window, self.model) for window in windows]


def _bare(model: str) -> str:
    """Its name without that of the provider, which gateways put before it."""
    return model.rpartition("/")[2]


def _options(wish: Wish, model: str) -> dict[str, Any]:
    """What is sent beside the sound: no two kinds of models take the same.

    The language that a stream has had so far is not sent: a server would force it on a window in another one. Only
    gpt-transcribe has a field for hot words; the others get them after the prompt, of which Whisper keeps the end.
    """
    name = _bare(model)
    prompt = " ".join(part for part in (wish.prompt, ", ".join(wish.hot_words)) if part)
    if wish.task == "translate":
        options = {"response_format": "verbose_json", "prompt": prompt}
    elif name.startswith("gpt-") and "-diarize" in name:
        options = {"response_format": "diarized_json", "language": wish.language}
    elif name.startswith("gpt-4o-"):
        options = {"response_format": "json", "include": ["logprobs"], "language": wish.language, "prompt": prompt}
    elif name.startswith("gpt-"):
        options = {"response_format": "json", "prompt": wish.prompt, "keywords": list(wish.hot_words)}
        options["languages"] = [wish.language] if wish.language else []
    else:
        options = {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}
        options |= {"language": wish.language, "prompt": prompt}
    return {name: value for name, value in options.items() if value}


def _flac(samples: Samples) -> bytes:
    with tempfile.TemporaryDirectory(prefix="singscript-") as folder:
        path = Path(folder) / "window.flac"
        with FlacWriter(path, sample_rate_hz=_RATE_HZ, channels=1, bits=16) as writer:
            writer.write(samples.reshape(-1, 1))
        return path.read_bytes()


async def _do_not_retry_when_spent(response: httpx2.Response) -> None:
    """Tells the client, which would retry every 429."""
    if response.status_code == 429:
        await response.aread()
        if any(code in response.text for code in _SPENT):
            response.headers["x-should-retry"] = "false"


def _is_spent(error: openai.APIStatusError) -> bool:
    return error.status_code == 402 or error.code in _SPENT or error.type in _SPENT


def _is_about_the_request(error: openai.APIStatusError) -> bool:
    """Whether another request may be answered: not when it is about key, account, address or server."""
    return 400 <= error.status_code < 500 and error.status_code not in (401, 402, 403, 404, 408, 409, 429)
