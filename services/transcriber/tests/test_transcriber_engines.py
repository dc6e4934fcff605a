from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nano_whisper
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transcriber_sound import RATE, Sound, Speech

from singscript_core.events import Progress
from singscript_models.reach import Reach
from singscript_models.whisper.weights import Place
from singscript_transcriber.engines import (
    Engine,
    EngineOut,
    Heard,
    Listener,
    Window,
    Wish,
    ct2_model,
    faster_whisper,
    whisper,
    whisper_words,
)
from singscript_transcriber.engines.faster_whisper import FasterWhisperEngine
from singscript_transcriber.engines.sphinx import SphinxEngine
from singscript_transcriber.engines.whisper import WhisperEngine

WHISPERS = [WhisperEngine, FasterWhisperEngine]
Whisper = type[WhisperEngine] | type[FasterWhisperEngine]
NEVER = 0.0


@pytest.fixture(scope="module")
def make(models_dir: Path) -> Iterator[Callable[[Whisper], Engine]]:
    """An engine of each kind for the toy models, the same for all tests, so that models are not loaded again."""
    nano_whisper.save_openai(models_dir / "open.pt", " the morning train", end_s=2.0, has_end=False)
    nano_whisper.convert(models_dir / "open.pt", models_dir / "faster-whisper-open")
    engines: dict[Whisper, Engine] = {}
    place = Place(models_dir, allow_download=False, reach=Reach())

    def engine(kind: Whisper) -> Engine:
        return engines.setdefault(kind, kind(place, "nano", NEVER))

    yield engine
    for one in engines.values():
        one.close()


def ready(engine: Engine, model: str = "") -> Listener:
    return _result(engine.ready(engine.model(model)))


def _result(working: Generator[Progress, None, Listener]) -> Listener:
    while True:
        try:
            next(working)
        except StopIteration as end:
            return end.value


def hear(engine: Engine, samples: Sound, model: str = "", wish: Wish = Wish(), expected: str = "") -> Heard:  # noqa: B008  (frozen)
    (heard,) = ready(engine, model).estimate([Window(samples, wish, expected)])
    return heard


def word_errors(truth: list[str], heard: list[str]) -> float:
    """Word error rate by edit distance."""
    row = list(range(len(heard) + 1))
    for i, expected in enumerate(truth, 1):
        previous, row[0] = row[:], i
        for j, word in enumerate(heard, 1):
            row[j] = min(row[j - 1] + 1, previous[j] + 1, previous[j - 1] + (word != expected))
    return row[-1] / len(truth)


def test_sphinx_hears_the_words_at_their_times(sphinx: SphinxEngine, speech: Speech):
    said = speech.words[:20]
    heard = hear(sphinx, speech.samples[: 9 * RATE])
    words = [word for utterance in heard.utterances for word in utterance.words]
    assert word_errors([word for word, _, _ in said], [word.text for word in words]) <= 0.25
    starts = {word.text: word.start_s for word in words}
    errors = [abs(starts[word] - start_s) for word, start_s, _ in said if word in starts and word not in ("the", "to")]
    assert np.median(errors) < 0.1
    assert heard.language == "en"
    for utterance in heard.utterances:
        assert utterance.text == " ".join(word.text for word in utterance.words)
        assert all(word.confidence is not None and 0 <= word.confidence <= 1 for word in utterance.words)
        assert utterance.log_probability is None  # so the guards go by its words
        assert utterance.start_s == utterance.words[0].start_s < utterance.words[-1].end_s == utterance.end_s <= 9


def test_sphinx_does_not_depend_on_what_came_before(sphinx: SphinxEngine, speech: Speech, music: Sound):
    """A process that has decoded loud, quiet and noisy windows hears the next one as a new process does."""
    asked = speech.samples[: 5 * RATE]
    new = SphinxEngine(processes=1)
    try:
        once = hear(new, asked)
    finally:
        new.close()
    rng = np.random.default_rng(0)
    for before in (music[: 3 * RATE], 0.02 * speech.samples[4 * RATE : 8 * RATE], 0.1 * rng.standard_normal(2 * RATE)):
        hear(sphinx, before.astype(np.float32))
        assert hear(sphinx, asked) == once


def test_sphinx_takes_a_window_that_is_shorter_than_a_frame(sphinx: SphinxEngine):
    assert hear(sphinx, np.zeros(10, np.float32)).utterances == ()


def test_sphinx_knows_only_english(sphinx: SphinxEngine):
    assert sphinx.refusal(Wish(language="de"), "en-us")
    assert sphinx.refusal(Wish(language="en", task="translate"), "en-us")
    assert not sphinx.refusal(Wish(language="en"), "en-us")
    assert not sphinx.refusal(Wish(prompt="a song", hot_words=("Ann",)), "en-us")


def test_sphinx_goes_on_after_its_process_was_killed(speech: Speech):
    engine = SphinxEngine(processes=1)
    try:
        hear(engine, speech.samples[:RATE])
        engine._idle[0]._process.kill()
        with pytest.raises((RuntimeError, BrokenPipeError)):
            hear(engine, speech.samples[:RATE])
        assert hear(engine, speech.samples[RATE : 5 * RATE]).utterances
    finally:
        engine.close()


@pytest.mark.parametrize("kind", WHISPERS)
def test_whisper_gives_words_with_times_inside_the_window(
    kind: Whisper, make: Callable[[Whisper], Engine], speech: Speech
):
    engine = make(kind)
    assert engine.problem("nano") == ""
    heard = hear(engine, speech.samples[: 3 * RATE])
    (utterance,) = heard.utterances
    assert [word.text for word in utterance.words] == ["the", "morning", "train"]
    assert utterance.text == "the morning train"
    times = [time for word in utterance.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert 0 <= times[0] == utterance.start_s < utterance.end_s == times[-1] <= 3
    assert all(word.confidence is not None and word.confidence > 0.9 for word in utterance.words)
    assert utterance.log_probability == pytest.approx(0, abs=0.01)
    assert utterance.no_speech is not None and utterance.no_speech < 0.01


@pytest.mark.parametrize("kind", WHISPERS)
@pytest.mark.parametrize("length", [0, 1, 159, 160, 1599, 1600, RATE // 2])
def test_whisper_takes_a_window_of_any_length(
    kind: Whisper, make: Callable[[Whisper], Engine], speech: Speech, length: int
):
    for utterance in hear(make(kind), speech.samples[RATE : RATE + length]).utterances:
        assert 0 <= utterance.start_s <= utterance.end_s <= length / RATE
        assert all(0 <= word.start_s <= word.end_s <= length / RATE for word in utterance.words)


@pytest.mark.parametrize("model", ["nano", "open"])
@pytest.mark.parametrize("length_s", [3.0, 7.5, 30.0])
def test_both_whispers_hear_the_same_words_at_the_same_times(
    make: Callable[[Whisper], Engine], speech: Speech, model: str, length_s: float
):
    """On the same weights; a model that leaves the end open is asked again about the rest."""
    samples = np.resize(speech.samples, round(length_s * RATE))
    reference, ours = (hear(make(kind), samples, model).utterances for kind in WHISPERS)
    assert [utterance.text for utterance in ours] == [utterance.text for utterance in reference]
    for one, other in zip(ours, reference, strict=True):
        times, expected = ([t for word in u.words for t in (word.start_s, word.end_s)] for u in (one, other))
        assert times == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("kind", WHISPERS)
def test_whisper_gives_what_repeats_itself_for_the_guards_to_judge(
    kind: Whisper, make: Callable[[Whisper], Engine], speech: Speech
):
    utterance = hear(make(kind), speech.samples[: 3 * RATE], "babble").utterances[0]
    assert utterance.text.startswith("la la la la la")  # openai-whisper gives its last try, which draws lots
    if kind is FasterWhisperEngine:
        assert [word.text for word in utterance.words] == ["la"] * 25


@pytest.mark.parametrize("kind", WHISPERS)
def test_whisper_says_how_likely_each_language_is(kind: Whisper, make: Callable[[Whisper], Engine], speech: Speech):
    heard = hear(make(kind), speech.samples[: 2 * RATE])
    assert len(heard.languages) == 99
    assert sum(heard.languages.values()) == pytest.approx(1, abs=1e-3)
    assert heard.language == "en" == max(heard.languages, key=lambda code: heard.languages[code])


@pytest.mark.parametrize("kind", WHISPERS)
def test_whisper_hears_in_the_language_that_is_wished_or_expected(
    kind: Whisper, make: Callable[[Whisper], Engine], speech: Speech, monkeypatch: pytest.MonkeyPatch
):
    samples = speech.samples[: 2 * RATE]
    wished = hear(make(kind), samples, wish=Wish(language="de"))
    assert (wished.language, wished.languages) == ("de", {})
    monkeypatch.setattr("singscript_transcriber.language.SURE", 2.0)  # no window is
    expected = hear(make(kind), samples, expected="fr")
    assert expected.language == "fr"
    assert expected.languages["en"] > 0.9


@pytest.mark.parametrize("kind", WHISPERS)
def test_whisper_translates_with_a_prompt_and_hot_words(
    kind: Whisper, make: Callable[[Whisper], Engine], speech: Speech
):
    wish = Wish(language="de", task="translate", prompt="a song", hot_words=("Ann",) * 400)
    assert make(kind).refusal(wish, "nano") == ""
    assert hear(make(kind), speech.samples[: 2 * RATE], wish=wish).language == "de"


@pytest.mark.parametrize(
    ("wish", "model", "part"),
    [
        (Wish(), "small.en", ""),
        (Wish(language="en"), "small.en", ""),
        (Wish(language="de"), "small.en", "only English"),
        (Wish(task="translate"), "small.en", "cannot translate"),
        (Wish(task="translate"), "large-v3-turbo", "cannot translate"),
        (Wish(language="de", task="translate"), "small", ""),
        (Wish(language="xx"), "small", "xx"),
    ],
)
def test_whisper_refuses_what_a_model_cannot_do(wish: Wish, model: str, part: str):
    refusal = whisper_words.refusal(wish, model)
    assert part in refusal if part else not refusal


def test_the_prompt_stands_last_where_it_is_not_cut_off():
    assert whisper_words.prompt(Wish(prompt=" a song ", hot_words=("Ann", "Bo"))) == "Ann, Bo a song"
    assert whisper_words.prompt(Wish()) == ""


@pytest.mark.parametrize("kind", WHISPERS)
def test_an_english_model_is_known_by_its_weights(kind: Whisper, tmp_path: Path, speech: Speech):
    nano_whisper.save_openai(tmp_path / "mine.pt", " the morning train", end_s=2.0, english_only=True)
    engine = kind(Place(tmp_path, allow_download=False, reach=Reach()), "mine", NEVER)
    samples = speech.samples[: 3 * RATE]
    try:
        heard = hear(engine, samples)
        assert (heard.language, heard.languages, heard.utterances[0].text) == ("en", {}, "the morning train")
        for wish in (Wish(language="de"), Wish(task="translate")):
            with pytest.raises(ValueError, match="only English"):
                hear(engine, samples, wish=wish)
    finally:
        engine.close()


def test_windows_that_are_heard_together_give_what_each_gives_alone(
    tmp_path: Path, music: Sound, speech: Speech, monkeypatch: pytest.MonkeyPatch
):
    nano_whisper.save_random(tmp_path / "random.pt")
    nano_whisper.convert(tmp_path / "random.pt", tmp_path / "random")
    monkeypatch.setattr(ct2_model, "TEMPERATURES", (0.0,))  # higher ones draw lots
    model = ct2_model.Model(tmp_path / "random", "cpu")
    monkeypatch.setattr(model._whisper, "max_length", 24)  # it would babble on
    sounds = [music[: 3 * RATE], speech.samples[: 9 * RATE], np.zeros(50, np.float32), music[: 13 * RATE], music[:RATE]]
    windows = [Window(sound, Wish()) for sound in sounds]
    alone = [model.hear([window])[0] for window in windows]
    together = model.hear(windows)
    model.close()
    assert len({heard.language for heard in alone}) > 2
    assert len({utterance.text for heard in alone for utterance in heard.utterances}) > 2
    for one, other in zip(alone, together, strict=True):
        assert [utterance.text for utterance in one.utterances] == [utterance.text for utterance in other.utterances]
        assert one.language == other.language
        assert one.languages == pytest.approx(other.languages, abs=1e-4)
        for heard, expected in zip(one.utterances, other.utterances, strict=True):
            assert heard.words == expected.words
            assert heard.log_probability == pytest.approx(expected.log_probability, abs=1e-4)


def test_whisper_draws_the_same_lots_for_the_same_window(speech: Speech):
    class Drawing:
        """A model that says what it draws."""

        is_multilingual, device = False, torch.device("cpu")

        def transcribe(self, samples: Sound, **how: Any) -> dict[str, Any]:
            text = str(torch.rand(1).item())
            segment = {"start": 0.0, "end": 1.0, "avg_logprob": -0.1, "no_speech_prob": 0.0}
            return {"segments": [{**segment, "text": text, "words": []}]}

    windows = [Window(speech.samples[second * RATE : (second + 1) * RATE], Wish()) for second in (0, 1, 0)]
    first, other, again = (whisper._hear(Drawing(), window) for window in windows)  # pyright: ignore[reportArgumentType]  (has what is used)
    assert first == again != other


def test_windows_heard_at_the_same_time_give_what_each_gives_alone(make: Callable[[Whisper], Engine], speech: Speech):
    """To the last bit: with other streams' windows in other threads."""
    listener = ready(make(FasterWhisperEngine))
    windows = [Window(speech.samples[second * RATE : (second + 3) * RATE], Wish()) for second in range(10)]
    alone = [listener.estimate([window])[0] for window in windows]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            assert [heard for [heard] in threads.map(lambda window: listener.estimate([window]), windows)] == alone


@given(st.lists(st.integers(0, 20), max_size=30), st.floats(1, 30))
def test_tokens_are_cut_between_two_times_and_none_is_lost(tokens: list[int], length_s: float):
    first_time = 10
    runs, is_whole = ct2_model.split(tokens, first_time, length_s)
    text = [token for token in tokens if token < first_time]
    kept = [token for run in runs for token in run.tokens]
    assert kept == text[: len(kept)]
    if is_whole or len(runs) < 2:
        pairs = [i for i in range(1, len(tokens)) if tokens[i - 1] >= first_time and tokens[i] >= first_time]
        assert kept == text or (not is_whole and pairs)


def test_the_times_of_runs_are_those_around_them():
    at = 100
    said = [at, 1, 2, at + 50, at + 60, 3, at + 100]
    (first, second), is_whole = ct2_model.split(said, at, 30.0)
    assert (first.tokens, first.start_s, first.end_s) == ([1, 2], 0.0, 1.0)
    assert (second.tokens, second.start_s, second.end_s) == ([3], 1.2, 2.0)
    assert is_whole
    runs, is_whole = ct2_model.split([*said[:5], 3], at, 30.0)
    assert [run.tokens for run in runs] == [[1, 2]]
    assert not is_whole
    runs, is_whole = ct2_model.split([at, 1, 2], at, 30.0)
    assert [(run.tokens, run.start_s, run.end_s) for run in runs] == [([1, 2], 0.0, 30.0)]
    assert not is_whole


def test_what_is_bad_at_every_temperature_is_given_as_the_likeliest_of_it(
    models_dir: Path, speech: Speech, monkeypatch: pytest.MonkeyPatch
):
    tried: list[float] = []
    decode = ct2_model.Model._decode

    def worse_each_time(self: ct2_model.Model, encoded: Any, hearings: Any, temperature: float):
        tried.append(temperature)
        return [
            ct2_model._Decoded(one.tokens, one.text, -1.5 - temperature, one.no_speech)
            for one in decode(self, encoded, hearings, 0.0)
        ]

    monkeypatch.setattr(ct2_model.Model, "_decode", worse_each_time)
    model = ct2_model.Model(models_dir / "faster-whisper-nano", "cpu")
    (heard,) = model.hear([Window(speech.samples[: 2 * RATE], Wish())])
    model.close()
    assert tried == list(whisper_words.TEMPERATURES)
    assert [utterance.log_probability for utterance in heard.utterances] == [-1.5]


@pytest.mark.parametrize("kind", WHISPERS)
def test_streams_of_one_model_share_a_listener_which_serves_after_its_memory_was_given_back(
    kind: Whisper, make: Callable[[Whisper], Engine], speech: Speech
):
    engine = make(kind)
    listener = ready(engine)
    assert ready(engine) is listener
    assert ready(engine, "babble") is not listener
    engine.close()
    (heard,) = listener.estimate([Window(speech.samples[: 2 * RATE], Wish())])
    assert heard.utterances


def test_windows_are_heard_in_threads_at_the_same_time(make: Callable[[Whisper], Engine], speech: Speech):
    listener = ready(make(FasterWhisperEngine))
    heard: list[Heard] = []
    window = Window(speech.samples[: 2 * RATE], Wish())
    threads = [threading.Thread(target=lambda: heard.extend(listener.estimate([window]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(heard) == 4
    assert all(one == heard[0] for one in heard)


@pytest.mark.parametrize("kind", WHISPERS)
def test_missing_weights_are_told_with_what_to_do(kind: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = kind(Place(tmp_path, allow_download=False, reach=Reach()), "no-such-model", NEVER)
    problem = engine.problem("no-such-model")
    assert "SINGSCRIPT_MODELS_DIR" in problem
    assert "switched off" in problem
    with pytest.raises(EngineOut, match="no-such-model"):
        ready(engine)


@pytest.mark.parametrize("load", [faster_whisper._load, whisper._load])
def test_damaged_weights_put_the_engine_out(load: Callable[[Path], object], tmp_path: Path):
    checkpoint = tmp_path / "bad.pt"
    checkpoint.write_bytes(b"PK\x03\x04 and then nothing")
    (tmp_path / "model.bin").write_bytes(b"\x06\x00\x00\x00")
    with pytest.raises(EngineOut, match="get them again"):
        load(tmp_path if load is faster_whisper._load else checkpoint)


def test_a_pickle_with_a_payload_is_not_executed(tmp_path: Path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    with Path(tmp_path / "evil.pt").open("wb") as file:
        pickle.dump({"dims": Payload()}, file, protocol=2)
    engine = WhisperEngine(Place(tmp_path, allow_download=False, reach=Reach()), "evil", NEVER)
    with pytest.raises(EngineOut):
        ready(engine)
    assert not (tmp_path / "executed").exists()
