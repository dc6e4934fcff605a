from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from transcriber_sound import RATE, Sound, Speech

from singscript_transcriber.engines import EngineOut
from singscript_transcriber.engines.faster_whisper import FasterWhisperEngine
from singscript_transcriber.engines.guards import Guards
from singscript_transcriber.engines.sphinx import SphinxEngine
from singscript_transcriber.engines.weights import WeightsPlace, catalogue
from singscript_transcriber.engines.whisper import WhisperEngine

WHISPERS = [WhisperEngine, FasterWhisperEngine]
Whisper = type[WhisperEngine] | type[FasterWhisperEngine]


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
    segments = sphinx.transcribe(speech.samples[: 9 * RATE], "en-us", "")
    heard = [word for segment in segments for word in segment.words]
    assert word_errors([word for word, _, _ in said], [word.text for word in heard]) <= 0.25
    starts = {word.text: word.start_s for word in heard}
    errors = [abs(starts[word] - start_s) for word, start_s, _ in said if word in starts and word not in ("the", "to")]
    assert np.median(errors) < 0.1
    for segment in segments:
        assert segment.language == "en"
        assert segment.text == " ".join(word.text for word in segment.words)
        assert all(word.confidence is not None and 0 <= word.confidence <= 1 for word in segment.words)
        assert segment.start_s == segment.words[0].start_s < segment.words[-1].end_s == segment.end_s


def test_sphinx_does_not_depend_on_what_came_before(sphinx: SphinxEngine, speech: Speech, music: Sound):
    once = sphinx.transcribe(speech.samples[: 5 * RATE], "en-us", "")
    sphinx.transcribe(music[: 3 * RATE], "en-us", "")
    assert sphinx.transcribe(speech.samples[: 5 * RATE], "en-us", "") == once


def test_sphinx_takes_a_window_that_is_shorter_than_a_frame(sphinx: SphinxEngine):
    assert sphinx.transcribe(np.zeros(10, np.float32), "en-us", "") == []


def test_sphinx_knows_only_english(sphinx: SphinxEngine):
    assert sphinx.refusal("de")
    assert not sphinx.refusal("en")
    assert not sphinx.refusal("")


def test_sphinx_goes_on_after_its_process_was_killed(speech: Speech):
    engine = SphinxEngine(processes=1)
    try:
        engine.transcribe(speech.samples[:RATE], "en-us", "")
        engine._idle[0]._process.kill()
        with pytest.raises((RuntimeError, BrokenPipeError)):
            engine.transcribe(speech.samples[:RATE], "en-us", "")
        assert engine.transcribe(speech.samples[RATE : 5 * RATE], "en-us", "")
    finally:
        engine.close()


@pytest.mark.parametrize("kind", WHISPERS)
def test_whisper_gives_words_with_times_inside_the_window(kind: Whisper, models_dir: Path, speech: Speech):
    engine = kind(WeightsPlace(models_dir, allow_download=False), "nano")
    assert engine.problem("nano") == ""
    (segment,) = engine.transcribe(speech.samples[: 3 * RATE], "nano", "")
    assert [word.text for word in segment.words] == ["the", "morning", "train"]
    assert (segment.text, segment.language) == ("the morning train", "en")
    assert (segment.engine, segment.model) == (engine.name, "nano")
    times = [time for word in segment.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= 3
    assert all(word.confidence is not None and word.confidence > 0.9 for word in segment.words)


@pytest.mark.parametrize("kind", WHISPERS)
def test_whisper_never_goes_beyond_a_short_window(kind: Whisper, models_dir: Path, speech: Speech):
    engine = kind(WeightsPlace(models_dir, allow_download=False), "nano")
    for segment in engine.transcribe(speech.samples[: RATE // 2], "nano", "en"):
        assert segment.end_s <= 0.5


@pytest.mark.parametrize("kind", WHISPERS)
def test_whisper_drops_repetition(kind: Whisper, models_dir: Path, speech: Speech):
    place = WeightsPlace(models_dir, allow_download=False)
    sound = speech.samples[: 3 * RATE]
    once = (0.0,)  # no second try at a higher temperature
    assert kind(place, "babble", Guards(temperatures=once)).transcribe(sound, "babble", "en") == []
    lax = Guards(max_compression_ratio=1e9, temperatures=once)
    (segment,) = kind(place, "babble", lax).transcribe(sound, "babble", "en")
    assert segment.text.startswith("la la la")


@pytest.mark.parametrize("kind", WHISPERS)
def test_missing_weights_are_told_with_what_to_do(kind: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = kind(WeightsPlace(tmp_path, allow_download=False), "no-such-model")
    problem = engine.problem("no-such-model")
    assert "SINGSCRIPT_MODELS_DIR" in problem
    assert "switched off" in problem
    with pytest.raises(EngineOut, match="no-such-model"):
        engine.transcribe(np.zeros(RATE, np.float32), "no-such-model", "")


def test_a_pickle_with_a_payload_is_not_executed(tmp_path: Path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    with Path(tmp_path / "evil.pt").open("wb") as file:
        pickle.dump({"dims": Payload()}, file, protocol=2)
    engine = WhisperEngine(WeightsPlace(tmp_path, allow_download=False), "evil")
    with pytest.raises(pickle.UnpicklingError):
        engine.transcribe(np.zeros(RATE, np.float32), "evil", "en")
    assert not (tmp_path / "executed").exists()


def test_the_catalogues_of_both_packages_are_found():
    assert catalogue("whisper", "__init__.py")["small"].endswith("/small.pt")
    assert catalogue("faster_whisper", "utils.py")["small"] == "Systran/faster-whisper-small"


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({}, True),
        ({"compression_ratio": 2.5}, False),
        ({"log_probability": -1.1}, False),
        ({"no_speech": 0.9}, True),
        ({"no_speech": 0.9, "log_probability": -0.8}, False),
    ],
)
def test_guards(values: dict[str, float], passes: bool):
    sure = {"compression_ratio": 1.0, "log_probability": -0.3, "no_speech": 0.1}
    assert Guards().passes(**(sure | values)) is passes
