"""The real loader and the real `align` of CTranslate2, on a model that hears nothing; no words are found."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import toy_whisper
from aligner_testing import RATE_HZ

from singscript_aligner import models
from singscript_aligner.choice import EngineChoice, UnknownEngine
from singscript_aligner.engines import Times
from singscript_aligner.engines.whisper import WhisperEngine


@pytest.fixture(autouse=True)
def _no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "faster-whisper-toy.en"
    toy_whisper.save(folder)
    return folder


@pytest.fixture
def engine(toy: Path) -> WhisperEngine:
    return WhisperEngine(toy.parent, "toy.en", 0.0)


def align(engine: WhisperEngine, samples: np.ndarray, lines: list[list[str]]) -> Times | None:
    search = engine.align(samples, lines, "en")
    while True:
        try:
            next(search)
        except StopIteration as stop:
            return stop.value


def test_every_word_gets_a_place_in_the_window(engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singscript_aligner.engines.pieces._SUNG", 0.0)
    monkeypatch.setattr("singscript_aligner.engines.pieces._LEAST_WORD_S", 0.0)
    samples = np.random.default_rng(0).normal(0, 0.1, 8 * RATE_HZ).astype(np.float32)
    lines = [["we", "go", "–"], ["you", "stay", "here"]]
    times = align(engine, samples, lines)
    assert times and [len(line) for line in times] == [3, 3]
    assert times[0].pop() is None  # has no sound
    flat = [time for line in times for time in line if time]
    assert len(flat) == 5
    assert all(0.0 <= t.start_s <= t.end_s <= 8.0 and 0.0 <= t.confidence <= 1.0 for t in flat)
    assert all(a.end_s <= b.start_s for a, b in pairwise(flat))


def test_lines_that_the_model_holds_for_unlikely_are_left_out(engine: WhisperEngine) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 8 * RATE_HZ).astype(np.float32)
    assert align(engine, samples, [["we", "go"], ["stay"]]) is None


def test_what_holds_no_words_or_no_sound(engine: WhisperEngine) -> None:
    assert align(engine, np.ones(RATE_HZ, np.float32), [[]]) is None
    assert align(engine, np.zeros(0, np.float32), [["we"]]) is None
    assert align(engine, np.zeros(40 * RATE_HZ, np.float32), [["we"]]) is None
    assert align(engine, np.ones(10, np.float32), [["we"]]) is None
    assert align(engine, np.ones(RATE_HZ, np.float32), [["word" * 500] * 200]) is None


def test_its_weights_are_looked_for_on_this_machine(engine: WhisperEngine, tmp_path: Path) -> None:
    assert engine.problem() == ""
    assert engine.model == "toy.en"
    assert engine.device in ("cpu", "cuda")
    assert engine.speaks("en") and not engine.speaks("de")
    none = WhisperEngine(tmp_path / "nothing", "small", 0.0)
    assert none.speaks("de") and not none.speaks("xx")
    assert "singscript models pull small" in none.problem() and "faster-whisper-small/" in none.problem()


def test_another_model_serves_where_the_wanted_one_is_not_here(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "faster-whisper-large.en")
    (tmp_path / "faster-whisper-large.en" / "model.bin").write_bytes(bytes(9000))
    assert WhisperEngine(tmp_path, "small", 0.0).model == "large.en"
    for name, size_bytes in (("base", 500), ("medium", 2000)):
        folder = tmp_path / f"faster-whisper-{name}"
        folder.mkdir()
        (folder / "model.bin").write_bytes(bytes(size_bytes))
    assert WhisperEngine(tmp_path, "small", 0.0).model == "medium"
    assert WhisperEngine(tmp_path, "base", 0.0).model == "base"


def test_weights_that_cannot_be_loaded_are_told_and_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"no checkpoint")
    engine = WhisperEngine(tmp_path, "mine", 0.0)
    assert engine.problem() == ""
    with pytest.raises(RuntimeError, match="The weights mine cannot be used"):
        align(engine, np.ones(RATE_HZ, np.float32), [["we"]])
    assert "the file is damaged" in engine.problem()


def test_engines_by_name(tmp_path: Path) -> None:
    choice = EngineChoice(("whisper", "ctc", "sphinx"), tmp_path, "small", 0.0)
    assert [engine.name for engine in choice.engines()] == ["whisper", "sphinx"], "ctc has no weights"
    assert [engine.name for engine in choice.engines(["ctc", "sphinx", "sphinx"])] == ["ctc", "sphinx"]
    assert choice.engines()[0] is choice.engines()[0]
    only = EngineChoice(("ctc",), tmp_path, "small", 0.0)
    assert [engine.name for engine in only.engines()] == ["ctc"], "what it lacks is said"
    (tmp_path / "ctc-en").mkdir()
    for name in ("config.json", "vocab.json", "model.safetensors"):
        (tmp_path / "ctc-en" / name).write_bytes(b"{}")
    assert [engine.name for engine in choice.engines()] == ["whisper", "ctc", "sphinx"]
    with pytest.raises(UnknownEngine, match="ctc, sphinx, whisper"):
        choice.engines(["nonsense"])


def test_models_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SINGSCRIPT_MODELS_DIR", str(tmp_path))
    (tmp_path / "mine.pt").write_bytes(b"")
    assert models.main(["list"]) == 0
    assert capsys.readouterr().out.startswith("mine ")
