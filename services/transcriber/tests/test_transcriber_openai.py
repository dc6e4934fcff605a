"""The engine `openai` against a stand-in for OpenAI's server: there is none here to ask."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from singscript_transcriber.engines import EngineOut
from singscript_transcriber.engines.openai import OpenAIEngine

WORDS = [{"word": "Hello", "start": 0.1, "end": 0.5}, {"word": "world", "start": 0.6, "end": 9.0}]
SEGMENT = {"start": 0.0, "end": 1.0, "avg_logprob": -0.2, "compression_ratio": 0.9, "no_speech_prob": 0.01}
ANSWER = {"text": "Hello, world.", "language": "english", "duration": 1.0, "words": WORDS}
ANSWER |= {"segments": [SEGMENT | {"id": 0, "text": " Hello, world."}]}
SOUND = np.zeros(16_000, np.float32)


class Server(ThreadingHTTPServer):
    """Answers what it is told to, in turn; the last answer is repeated."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = [(200, ANSWER)]
        self.requests: list[bytes] = []
        self.model_answer: tuple[int, Any] = (200, {"id": "whisper-1", "object": "model"})
        self.hang = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        self.server.requests.append(self.rfile.read(int(self.headers["Content-Length"])))
        answers = self.server.answers
        self._answer(*(answers.pop(0) if len(answers) > 1 else answers[0]))

    def do_GET(self) -> None:
        self._answer(*self.server.model_answer)

    def _answer(self, status: int, body: Any) -> None:
        if body == "hang":
            self.server.hang.wait(20)
            return
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.hang.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def engine(server: Server) -> Iterator[OpenAIEngine]:
    engine = OpenAIEngine("key", server.url)
    yield engine
    engine.close()


def error(code: str) -> dict[str, Any]:
    return {"error": {"message": code, "type": code, "code": code, "param": None}}


def test_words_and_times(server: Server, engine: OpenAIEngine):
    (segment,) = engine.transcribe(SOUND, "whisper-1", "en")
    assert segment.text == "Hello, world."
    assert [(word.text, word.start_s, word.end_s) for word in segment.words] == [
        ("Hello", 0.1, 0.5),
        ("world", 0.6, 1.0),
    ]
    assert all(word.confidence is None for word in segment.words)
    assert (segment.language, segment.engine, segment.model) == ("en", "openai", "whisper-1")
    (request,) = server.requests
    assert b"fLaC" in request
    for part in (b"whisper-1", b"verbose_json", b"word", b"segment", b'name="language"'):
        assert part in request


def test_junk_is_dropped(server: Server, engine: OpenAIEngine):
    server.answers = [(200, ANSWER | {"segments": [SEGMENT | {"text": " la la la", "compression_ratio": 9.0}]})]
    assert engine.transcribe(SOUND, "whisper-1", "") == []


def test_models_without_times_give_text(server: Server, engine: OpenAIEngine):
    server.answers = [(200, {"text": " Hello. "})]
    (segment,) = engine.transcribe(SOUND, "gpt-4o-transcribe", "en")
    assert (segment.text, segment.words, segment.start_s, segment.end_s) == ("Hello.", (), 0.0, 1.0)
    assert b"verbose_json" not in server.requests[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_errors_are_retried(server: Server, engine: OpenAIEngine, status: int):
    server.answers = [(status, error("busy")), (status, error("busy")), (200, ANSWER)]
    assert engine.transcribe(SOUND, "whisper-1", "")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "code", "sentence", "asked"),
    [
        (401, "invalid_api_key", "key was refused", 1),
        (403, "forbidden", "may not do this", 1),
        (429, "insufficient_quota", "quota is used up", 3),
        (500, "server_error", "error 500", 3),
    ],
)
def test_lasting_errors_rule_the_engine_out(
    server: Server, engine: OpenAIEngine, status: int, code: str, sentence: str, asked: int
):
    server.answers = [(status, error(code))]
    with pytest.raises(EngineOut, match=sentence):
        engine.transcribe(SOUND, "whisper-1", "")
    assert len(server.requests) == asked


def test_a_server_that_hangs_is_given_up(server: Server):
    server.answers = [(200, "hang")]
    engine = OpenAIEngine("key", server.url, answer_s=0.1)
    with pytest.raises(EngineOut, match="did not answer in time"):
        engine.transcribe(SOUND, "whisper-1", "")
    engine.close()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, {"id": "whisper-1", "object": "model"}), ""),
        ((404, error("model_not_found")), "no model whisper-1"),
        ((404, {"detail": "Not Found"}), ""),
        ((401, error("invalid_api_key")), "OPENAI_API_KEY"),
        ((500, error("server_error")), "error 500"),
    ],
)
def test_the_check(server: Server, engine: OpenAIEngine, answer: tuple[int, Any], sentence: str):
    server.model_answer = answer
    problem = engine.problem("whisper-1")
    assert sentence in problem
    assert bool(problem) == bool(sentence)


def test_the_check_without_key_or_server(server: Server):
    assert "OPENAI_API_KEY" in OpenAIEngine("", server.url).problem("whisper-1")
    assert server.requests == []
    engine = OpenAIEngine("key", "http://127.0.0.1:9/v1")
    assert "cannot be reached" in engine.problem("whisper-1")
    engine.close()
