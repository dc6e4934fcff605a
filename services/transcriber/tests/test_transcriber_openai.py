"""The engine `openai` against a stand-in for OpenAI's server: there is none here to ask."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_server import ANSWER, KEY, SEGMENTS, WORDS, Reply, Server, fails, serving

from singscript_audio.decode import decode
from singscript_models.scheduler import Scheduler
from singscript_transcriber.engines import Engine, EngineOut, Heard, Listener, Samples, Window, Wish
from singscript_transcriber.engines.openai import OpenAIEngine, WindowRefused
from singscript_transcriber.engines.openai_answers import Answer
from singscript_transcriber.engines.prices import HOST
from singscript_transcriber.segments import Utterance, Word

SOUND: Samples = np.sin(np.arange(32_000, dtype=np.float32) / 8)  # 2 s
UTTERANCES = (
    Utterance(0.1, 0.96, "Hello, world.", (Word("Hello", 0.1, 0.5), Word("world", 0.6, 0.96)), -0.2, 0.01),
    Utterance(0.96, 2.0, "Good night.", (Word("Good", 0.96, 1.2), Word("night", 1.2, 2.0)), -0.4, 0.02),
)
TOKENS = {"usage": {"type": "tokens", "input_tokens": 20, "output_tokens": 8, "total_tokens": 28}}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Server, OpenAIEngine]]:
    with serving() as server:
        engine = OpenAIEngine(KEY, server.url)
        yield server, engine
        engine.close()


@pytest.fixture
def server(running: tuple[Server, OpenAIEngine]) -> Iterator[Server]:
    server, _ = running
    server.forget()
    yield server
    server.gate.set()


@pytest.fixture
def engine(running: tuple[Server, OpenAIEngine]) -> OpenAIEngine:
    """Shared: to open a client takes longer than most tests."""
    return running[1]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)


def finish(steps: Generator[Any, None, Listener]) -> Listener:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def hear(engine: Engine, model: str = "whisper-1", wish: Wish | None = None, sound: Samples = SOUND) -> Heard:
    (heard,) = finish(engine.ready(model)).estimate([Window(sound, wish or Wish(), expected="fr")])
    return heard


# What each kind of model is asked, and what becomes of its answer


def test_words_with_their_times(server: Server, engine: OpenAIEngine):
    heard = hear(engine, wish=Wish("en", prompt="A lullaby.", hot_words=("Anna", "Bo")))
    assert heard.utterances == UTTERANCES
    assert (heard.language, heard.languages) == ("en", {})
    (asked,) = server.asked
    assert (asked.path, asked.key) == ("/v1/audio/transcriptions", f"Bearer {KEY}")
    assert asked.fields == {
        "model": ["whisper-1"],
        "response_format": ["verbose_json"],
        "timestamp_granularities[]": ["word", "segment"],
        "language": ["en"],
        "prompt": ["A lullaby. Anna, Bo"],
    }


def test_the_language_is_detected_when_nobody_names_one(server: Server, engine: OpenAIEngine):
    server.replies = [Reply(body=ANSWER | {"language": "german"})]
    assert hear(engine).language == "de"
    assert "language" not in server.asked[0].fields
    assert "prompt" not in server.asked[0].fields


@pytest.mark.parametrize(
    "model", ["gpt-4o-transcribe", "gpt-4o-mini-transcribe-2025-12-15", "openai/gpt-4o-transcribe"]
)
def test_models_without_times(server: Server, engine: OpenAIEngine, model: str):
    scores = [{"token": "Hello", "logprob": -0.1, "bytes": [72]}, {"token": ".", "logprob": -0.5}, {"logprob": None}]
    server.replies = [Reply(body={"text": " Hello. ", "logprobs": scores} | TOKENS)]
    heard = hear(engine, model, Wish("en", hot_words=("Anna",)))
    (utterance,) = heard.utterances
    assert replace(utterance, log_probability=None) == Utterance(0.0, 2.0, "Hello.")
    assert utterance.log_probability == pytest.approx(-0.3)
    assert heard.language == "en"
    assert server.asked[0].fields == {
        "model": [model],
        "response_format": ["json"],
        "include[]": ["logprobs"],
        "language": ["en"],
        "prompt": ["Anna"],
    }


def test_gpt_transcribe_has_fields_of_its_own(server: Server, engine: OpenAIEngine):
    server.replies = [Reply(body={"text": "Hallo.", "languages": [{"code": "de"}, {"code": "en"}]})]
    heard = hear(engine, "gpt-transcribe", Wish("de", prompt="A song.", hot_words=("Anna", "Bo")))
    assert heard.utterances == (Utterance(0.0, 2.0, "Hallo."),)
    assert heard.language == "de"
    assert server.asked[0].fields == {
        "model": ["gpt-transcribe"],
        "response_format": ["json"],
        "languages[]": ["de"],
        "prompt": ["A song."],
        "keywords[]": ["Anna", "Bo"],
    }


def test_speakers_are_utterances(server: Server, engine: OpenAIEngine):
    said = [("A", 0.1, 0.8, " Hello."), ("B", 1.0, 2.2, " Good night.")]
    segments = [
        {"id": f"seg_{speaker}", "type": "transcript.text.segment", "speaker": speaker}
        | {"start": start_s, "end": end_s, "text": text}
        for speaker, start_s, end_s, text in said
    ]
    server.replies = [Reply(body={"task": "transcribe", "duration": 2.0, "text": "x", "segments": segments} | TOKENS)]
    heard = hear(engine, "gpt-4o-transcribe-diarize", Wish("en", prompt="A song.", hot_words=("Anna",)))
    assert heard.utterances == (Utterance(0.1, 0.8, "Hello."), Utterance(1.0, 2.0, "Good night."))
    # It takes no prompt and gives no scores.
    assert server.asked[0].fields == {
        "model": ["gpt-4o-transcribe-diarize"],
        "response_format": ["diarized_json"],
        "language": ["en"],
    }


# OpenAI ends it together with whisper-1; the client says so with every call.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translation(server: Server, engine: OpenAIEngine):
    server.replies = [Reply(body={name: value for name, value in ANSWER.items() if name != "words"})]
    heard = hear(engine, wish=Wish("de", "translate", prompt="A song."))
    assert [(one.start_s, one.end_s, one.text, one.words) for one in heard.utterances] == [
        (0.0, 0.9, "Hello, world.", ()),
        (0.9, 2.0, "Good night.", ()),
    ]
    assert heard.language == "de"  # the answer always says English
    (asked,) = server.asked
    assert asked.path == "/v1/audio/translations"
    assert asked.fields == {"model": ["whisper-1"], "response_format": ["verbose_json"], "prompt": ["A song."]}


@pytest.mark.parametrize(
    ("wish", "model", "sentence"),
    [
        (Wish("de", "translate"), "whisper-1", ""),
        (Wish("de", "translate"), "large-v3", ""),
        (Wish("de", "translate"), "gpt-transcribe", "does not translate"),
        (Wish("de", "translate"), "openai/gpt-4o-transcribe", "does not translate"),
        (Wish("xx"), "whisper-1", 'language "xx"'),
        (Wish("yue"), "gpt-transcribe", ""),
    ],
)
def test_what_it_cannot_do(wish: Wish, model: str, sentence: str):
    refusal = OpenAIEngine(KEY).refusal(wish, model)
    assert sentence in refusal
    assert bool(refusal) == bool(sentence)


def test_the_sound_arrives_whole(server: Server, engine: OpenAIEngine, tmp_path: Path):
    noise = np.random.default_rng(0).uniform(-1, 1, 30 * 16_000).astype(np.float32)
    hear(engine, sound=noise)
    (asked,) = server.asked
    assert asked.media_type == "audio/flac"
    assert len(asked.file) < 1_000_000  # noise cannot be compressed: no window is larger
    (tmp_path / "window.flac").write_bytes(asked.file)
    sent = np.concatenate(list(decode(tmp_path / "window.flac", sample_rate_hz=16_000, channels=1)))[:, 0]
    np.testing.assert_allclose(sent, noise, atol=1 / 32_768)


# Servers that answer less, or more


@pytest.mark.parametrize(
    ("answer", "utterances"),
    [
        ({"text": " Hello. "}, (Utterance(0.0, 2.0, "Hello."),)),
        ({"text": "  "}, ()),
        ({"text": "", "segments": [], "words": None}, ()),
        ({"text": "Hello.", "segments": []}, (Utterance(0.0, 2.0, "Hello."),)),
        (
            {"text": "Hello world", "words": WORDS[:2]},
            (Utterance(0.1, 0.96, "Hello world", (Word("Hello", 0.1, 0.5), Word("world", 0.6, 0.96))),),
        ),
        (
            {"text": "", "segments": [{"text": " Hello.", "start": 0.1, "end": 30.0, "avg_logprob": None}]},
            (Utterance(0.1, 2.0, "Hello."),),
        ),
        (
            {"text": "Hi", "segments": [SEGMENTS[0] | {"words": [WORDS[0] | {"probability": 0.75}]}]},
            (Utterance(0.1, 0.5, "Hello, world.", (Word("Hello", 0.1, 0.5, 0.75),), -0.2, 0.01),),
        ),
        ({"text": "Hi", "segments": SEGMENTS[::-1], "words": WORDS[::-1]}, UTTERANCES),
        (
            {"text": "Hi", "segments": [SEGMENTS[0] | {"words": WORDS[:2]}, SEGMENTS[1]], "words": WORDS},
            (UTTERANCES[0], Utterance(0.9, 2.0, "Good night.", (), -0.4, 0.02)),
        ),
        ({"text": "Hi", "segments": [SEGMENTS[0], SEGMENTS[1] | {"end": 1.0}], "words": WORDS}, UTTERANCES),
    ],
)
def test_what_is_there_is_used(
    server: Server, engine: OpenAIEngine, answer: dict[str, Any], utterances: tuple[Utterance, ...]
):
    server.replies = [Reply(body=answer)]
    heard = hear(engine)
    assert heard.utterances == utterances
    assert heard.language == ""


@pytest.mark.parametrize(
    ("said", "language"), [("English", "en"), ("de", "de"), ("pt-BR", "pt"), ("klingon", ""), (None, ""), ("", "")]
)
def test_languages_by_name_and_by_code(said: str | None, language: str):
    assert Answer(text="", language=said).spoken_language == language


times_s = st.floats(-10, 50)
spans = st.tuples(times_s, times_s)


@settings(deadline=None)
@given(st.lists(spans, max_size=6), st.lists(spans, max_size=12), st.floats(0.1, 30))
def test_times_stay_within_the_window_and_no_word_is_lost(
    segments: list[tuple[float, float]], words: list[tuple[float, float]], length_s: float
):
    body = {
        "text": "all of it",
        "segments": [{"text": f"part {at}", "start": start, "end": end} for at, (start, end) in enumerate(segments)],
        "words": [{"word": f"{at}", "start": start, "end": end} for at, (start, end) in enumerate(words)],
    }
    utterances = Answer.model_validate(body).utterances(length_s)
    found = [word for one in utterances for word in one.words]
    assert sorted(int(word.text) for word in found) == list(range(len(words)))
    assert len(utterances) == max(1, len(segments))
    for part in (*utterances, *found):
        assert 0 <= part.start_s <= part.end_s <= length_s
    for one in utterances:
        assert all(one.start_s <= word.start_s and word.end_s <= one.end_s for word in one.words)


# What it costs


def test_spend_is_counted(server: Server, engine: OpenAIEngine, monkeypatch: pytest.MonkeyPatch):
    server.replies = [fails(500), Reply(body=ANSWER), Reply(body={"text": "Hello."} | TOKENS)]
    first, second = hear(engine).usage, hear(engine, "gpt-4o-transcribe").usage
    assert first and second
    assert (first.engine, first.model, first.audio_s, first.requests) == ("openai", "whisper-1", 2.0, 1)
    assert (second.model, second.input_tokens, second.output_tokens) == ("gpt-4o-transcribe", 20, 8)
    # This server's prices are its own business.
    assert first.cost_usd is None
    assert second.cost_usd is None
    # The sentence where OpenAI itself has answered.
    monkeypatch.setattr("singscript_transcriber.engines.prices.HOST", "127.0.0.1")
    server.replies = [Reply(body=ANSWER | {"usage": {"type": "duration", "seconds": 3}})]
    rounded = hear(engine).usage
    assert rounded
    assert (rounded.audio_s, rounded.cost_usd) == (2.0, pytest.approx(3 / 60 * 0.006))


def test_openai_itself_is_where_prices_are_known():
    engine = OpenAIEngine(KEY)
    assert engine._connection().client.base_url.host == HOST
    engine.close()


# Errors


@pytest.mark.parametrize(
    "reply", [fails(429), fails(500), fails(503), fails(408), Reply(end="closed"), Reply(body=ANSWER, end="cut")]
)
def test_passing_errors_are_asked_again(server: Server, engine: OpenAIEngine, reply: Reply):
    server.replies = [reply, reply, Reply(body=ANSWER)]
    assert hear(engine).utterances == UTTERANCES
    assert len(server.asked) == 3
    assert len({asked.file for asked in server.asked}) == 1


@pytest.mark.parametrize(
    ("reply", "sentence", "asked"),
    [
        (fails(401, "invalid_api_key"), "key was refused; check OPENAI_API_KEY", 1),
        (fails(403, "forbidden"), "may not do this", 1),
        (fails(429, "rate_limit_exceeded"), "rate limit is reached; try again later", 3),
        (fails(429, "insufficient_quota", "insufficient_quota"), "quota is used up", 1),
        (fails(429, "credit_balance_exhausted", "insufficient_quota"), "quota is used up", 1),
        (fails(429, None, "insufficient_quota"), "quota is used up", 1),
        (fails(402), "quota is used up", 1),
        (fails(404, "model_not_found"), "no model whisper-1", 1),
        (fails(404), "check OPENAI_BASE_URL", 1),
        (fails(500), "error 500; try again later", 3),
        (fails(503), "error 503", 3),
        (Reply(502, b"<html>Bad gateway</html>"), "error 502", 3),
        (Reply(end="closed"), "cannot be reached", 3),
        (Reply(body=ANSWER, end="cut"), "cannot be reached", 3),
        (Reply(body=b"<html>Log in, please</html>"), "does not answer as OpenAI's does", 1),
        (Reply(body=b'{"text": "Hel'), "does not answer as OpenAI's does", 1),
        (Reply(body=b"\xff\xfe"), "does not answer as OpenAI's does", 1),
        (Reply(body={"error": {"message": "busy"}}), "does not answer as OpenAI's does", 1),
        (Reply(body=["Hello."]), "does not answer as OpenAI's does", 1),
        (Reply(body=ANSWER | {"words": [{"word": "Hello", "start": None}]}), "does not answer as OpenAI's does", 1),
    ],
)
def test_lasting_errors_rule_the_engine_out(
    server: Server, engine: OpenAIEngine, reply: Reply, sentence: str, asked: int
):
    server.replies = [reply]
    with pytest.raises(EngineOut, match=sentence):
        hear(engine)
    assert len(server.asked) == asked


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_window_that_is_refused_is_no_fault_of_the_engine(server: Server, engine: OpenAIEngine, status: int):
    server.replies = [fails(status, "unsupported_value"), Reply(body=ANSWER)]
    with pytest.raises(WindowRefused, match=f"error {status}"):
        hear(engine)
    assert hear(engine).utterances == UTTERANCES
    assert len(server.asked) == 2


@pytest.mark.parametrize(("header", "value"), [("Retry-After", "0.02"), ("Retry-After-Ms", "20")])
def test_retry_after_is_honoured(
    server: Server, engine: OpenAIEngine, caplog: pytest.LogCaptureFixture, header: str, value: str
):
    server.replies = [fails(429, headers=((header, value),)), Reply(body=ANSWER)]
    with caplog.at_level(logging.INFO, "openai"):
        assert hear(engine).utterances == UTTERANCES
    assert len(server.asked) == 2
    waits_s = [record.args for record in caplog.records if "Retrying request in" in record.msg]
    assert waits_s == [(0.02, 1, 2)]


def test_a_wait_of_an_hour_is_not_waited_for(server: Server, engine: OpenAIEngine):
    server.replies = [fails(429, headers=(("Retry-After", "3600"),))]
    with pytest.raises(EngineOut, match="rate limit is reached"):
        hear(engine)
    assert len(server.asked) == 1


def test_a_server_that_is_slow_is_waited_for(server: Server, engine: OpenAIEngine):
    server.replies = [Reply(body=ANSWER, end="late")]
    with Scheduler().lane() as lane:
        future = lane.submit(finish(engine.ready("whisper-1")), Window(SOUND, Wish()))
        assert server.arrived.acquire(timeout=20)
        assert not future.done()
        server.gate.set()
        assert future.result(20).utterances == UTTERANCES


@pytest.mark.parametrize("times", [1, 3])
def test_a_server_that_hangs_is_asked_again_and_then_given_up(times: int):
    with serving() as server:  # requests that were given up may still arrive
        server.replies = [*[Reply(end="hang")] * times, Reply(body=ANSWER)]
        engine = OpenAIEngine(KEY, server.url, answer_s=0.5)
        if times == 1:
            assert hear(engine).utterances == UTTERANCES
        else:
            with pytest.raises(EngineOut, match="did not answer in time"):
                hear(engine)
        engine.close()


def test_windows_are_sent_at_once_up_to_the_limit(server: Server):
    server.replies = [Reply(body=ANSWER, end="late")]
    engine = OpenAIEngine(KEY, server.url, parallel=3)
    listener = finish(engine.ready("whisper-1"))
    scheduler = Scheduler()
    with scheduler.lane() as lane:
        futures = [lane.submit(listener, Window(SOUND, Wish())) for _ in range(8)]
        for _ in range(3):
            assert server.arrived.acquire(timeout=20)
        # Nothing has been answered yet: whatever is sent is here.
        load = scheduler.load()
        assert (load.computing, load.queued) == (3, 5)
        assert len(server.asked) == 3
        server.gate.set()
        assert [future.result(20).utterances for future in futures] == [UTTERANCES] * 8
    assert len(server.asked) == 8
    engine.close()


def test_nothing_secret_is_written_down(server: Server, engine: OpenAIEngine, caplog: pytest.LogCaptureFixture):
    wish = Wish(prompt="Rosebud")
    leak = f"Incorrect key {KEY} for the prompt {wish.prompt}"
    server.replies = [
        Reply(body=ANSWER),
        fails(429, message=leak),
        fails(401, code=KEY, message=leak),
        fails(400, code=KEY, message=leak),
        Reply(body={"text": ["Hello"], "key": KEY}),
    ]
    caplog.set_level(logging.DEBUG)
    written = [repr(hear(engine, wish=wish).usage)]
    for _ in range(3):
        with pytest.raises((EngineOut, WindowRefused)) as caught:
            hear(engine, wish=wish)
        written += traceback.format_exception(caught.value)
    server.model_reply = fails(401, code=KEY, message=leak)
    written += [engine.problem("whisper-1"), repr(engine), caplog.text]
    assert len(server.asked) == 5
    assert "status 401" in caplog.text
    for secret in (KEY, wish.prompt, "Hello"):
        assert secret not in "".join(written)


# The check, and the life of the engine


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(body={"id": "whisper-1", "object": "model"}), ""),
        (Reply(body=b"{"), ""),
        (fails(404, "model_not_found"), "no model whisper-1"),
        (Reply(404, {"detail": "Not Found"}), ""),
        (Reply(405, b"Method not allowed"), ""),
        (fails(401, "invalid_api_key"), "OPENAI_API_KEY"),
        (fails(429, "insufficient_quota"), "quota"),
        (fails(500), "error 500"),
    ],
)
def test_the_check(server: Server, engine: OpenAIEngine, reply: Reply, sentence: str):
    server.model_reply = reply
    problem = engine.problem("whisper-1")
    assert sentence in problem
    assert bool(problem) == bool(sentence)


@pytest.mark.parametrize(("key", "sentence"), [("", "no API key"), (" \n", "no API key"), ("schlüssel", "no key has")])
def test_without_a_key_nothing_is_sent(server: Server, key: str, sentence: str):
    engine = OpenAIEngine(key, server.url)
    server.model_reply = fails(500)
    assert sentence in engine.problem("whisper-1")
    with pytest.raises(EngineOut, match="OPENAI_API_KEY"):
        finish(engine.ready("whisper-1"))


def test_a_line_end_after_the_key_does_not_matter(server: Server):
    engine = OpenAIEngine(f"{KEY}\n", server.url)
    assert hear(engine).utterances == UTTERANCES
    assert server.asked[0].key == f"Bearer {KEY}"
    engine.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "localhost:9/v1"])
def test_nobody_there(url: str):
    engine = OpenAIEngine(KEY, url)
    assert "cannot be reached" in engine.problem("whisper-1")
    with pytest.raises(EngineOut, match="cannot be reached"):
        hear(engine)
    engine.close()


def test_the_model(server: Server):
    assert OpenAIEngine(KEY, server.url).model("") == "whisper-1"
    assert OpenAIEngine(KEY, server.url, model="gpt-transcribe").model("") == "gpt-transcribe"
    assert OpenAIEngine(KEY, server.url).model("gpt-transcribe") == "gpt-transcribe"


def test_it_may_be_used_again_after_it_was_closed(server: Server, engine: OpenAIEngine):
    first = hear(engine)
    engine.close()
    assert hear(engine) == first
    assert len(server.asked) == 2
    listener = finish(engine.ready("whisper-1"))
    assert (listener.device, listener.batch) == ("remote", 1)
