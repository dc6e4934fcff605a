"""The real loader and the real `align` of CTranslate2, on a model that hears nothing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import toy_whisper
from aligner_testing import RATE_HZ

from singscript_aligner.choice import EngineChoice, UnknownEngine
from singscript_aligner.engines import Times
from singscript_aligner.engines.whisper import WhisperEngine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    folder = tmp_path_factory.mktemp("models")
    toy_whisper.save(folder / "faster-whisper-toy.en")
    return WhisperEngine(folder, "toy.en")


def align(engine: WhisperEngine, samples: np.ndarray, lines: list[list[str]]) -> Times | None:
    search = engine.align(samples, lines, "en")
    while True:
        try:
            next(search)
        except StopIteration as stop:
            return stop.value


def test_every_word_gets_a_place_in_the_window(engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singscript_aligner.engines.whisper._UNLIKELY", 0.0)
    samples = np.random.default_rng(0).normal(0, 0.1, 8 * RATE_HZ).astype(np.float32)
    lines = [["we", "go"], ["you", "stay", "here"]]
    times = align(engine, samples, lines)
    assert times and [len(line) for line in times] == [2, 3]
    flat = [time for line in times for time in line if time]
    assert len(flat) == 5
    assert all(0.0 <= t.start_s <= t.end_s <= 8.0 and 0.0 <= t.confidence <= 1.0 for t in flat)
    assert all(a.end_s == b.start_s for a, b in pairwise(flat))
    assert flat[-1].end_s > flat[0].start_s


def test_a_line_that_the_model_holds_for_unlikely_is_left_out(
    engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("singscript_aligner.engines.whisper._UNLIKELY", 1.1)
    assert align(engine, np.ones(RATE_HZ, np.float32), [["we", "go"]]) == [[None, None]]


def test_what_it_cannot_take_it_refuses(engine: WhisperEngine) -> None:
    assert align(engine, np.ones(RATE_HZ, np.float32), [[]]) is None
    assert align(engine, np.zeros(0, np.float32), [["we"]]) is None
    assert align(engine, np.ones(RATE_HZ, np.float32), [["word"] * 200]) is None


def test_its_weights_are_looked_for_on_this_machine(
    engine: WhisperEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.problem() == ""
    assert engine.device in ("cpu", "cuda")
    assert engine.speaks("en") and not engine.speaks("de")
    many = WhisperEngine(tmp_path, "no-such-model")
    assert many.speaks("de") and not many.speaks("xx")
    assert "faster-whisper-no-such-model/" in many.problem()


def test_engines_by_name(tmp_path: Path) -> None:
    choice = EngineChoice(("whisper", "sphinx"), tmp_path, "small")
    assert [engine.name for engine in choice.engines()] == ["whisper", "sphinx"]
    assert [engine.name for engine in choice.engines(["sphinx", "sphinx"])] == ["sphinx"]
    assert choice.engines()[0] is choice.engines()[0]
    with pytest.raises(UnknownEngine, match="whisper, sphinx"):
        choice.engines(["nonsense"])
