"""Forced alignment by a real, if small, wav2vec2 network, on speech whose word times are known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aligner_testing import RATE_HZ

from singscript_aligner.engines import Times
from singscript_aligner.engines.ctc import CtcEngine
from singscript_aligner.engines.network import UnusableNetwork, Vocabulary
from singscript_audio.decode import decode

SUPPORT = Path(__file__).parents[3] / "tests" / "support"
NANO = SUPPORT / "models" / "nano-ctc"

UNSUNG = ["The", "music", "troubles", "my", "green", "window", "at", "night"]
OTHERS = ["Ten", "thousand", "horses", "running", "through", "a", "valley"]


class Spoken:
    """A file of tests/support/spoken: its sound, and its words (text, start_s, end_s), a line for each phrase."""

    def __init__(self, name: str) -> None:
        blocks = list(decode(SUPPORT / "spoken" / f"{name}.flac", sample_rate_hz=RATE_HZ, channels=1))
        self.samples: np.ndarray = np.concatenate(blocks)[:, 0]
        told = json.loads((SUPPORT / "spoken" / f"{name}.json").read_text("utf-8"))["words"]
        words = [(word["text"], word["start_s"], word["end_s"]) for word in told]
        self.lines = [[words[0]]]
        for before, word in pairwise(words):
            if word[1] - before[2] > 0.3:
                self.lines.append([])
            self.lines[-1].append(word)

    @property
    def texts(self) -> list[list[str]]:
        return [[text for text, _, _ in line] for line in self.lines]


@pytest.fixture(scope="module")
def english() -> Spoken:
    return Spoken("english")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> CtcEngine:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(NANO, folder / "ctc-en")
    return CtcEngine(folder)


def align(engine: CtcEngine, samples: np.ndarray, lines: list[list[str]]) -> Times | None:
    search: Generator[float, None, Any] = engine.align(samples, lines, "en")
    while True:
        try:
            assert 0 < next(search) <= len(samples) / RATE_HZ
        except StopIteration as stop:
            return stop.value


def start_errors(times: Times | None, truth: list[list[tuple[str, float, float]]]) -> np.ndarray:
    """Of all words, which must have been found."""
    assert times
    pairs = [
        (time, word) for line, known in zip(times, truth, strict=True) for time, word in zip(line, known, strict=True)
    ]
    assert all(time for time, _ in pairs), [word for time, word in pairs if not time]
    return np.array([abs(time.start_s - start_s) for time, (_, start_s, _) in pairs if time])


@pytest.mark.parametrize("name", ["english", "sung"])
def test_each_word_is_found_on_its_moment(engine: CtcEngine, name: str) -> None:
    assert (engine.problem(), engine.speaks("en")) == ("", True)
    spoken = Spoken(name)
    times = align(engine, spoken.samples, spoken.texts)
    errors = start_errors(times, spoken.lines)
    assert np.median(errors) < 0.03
    assert np.mean(errors < 0.1) > 0.9
    assert times
    flat = [time for line in times for time in line if time]
    assert all(0.0 <= time.start_s < time.end_s <= len(spoken.samples) / RATE_HZ for time in flat)
    assert all(a.end_s <= b.start_s for a, b in pairwise(flat))
    assert np.median([time.confidence for time in flat]) > 0.6


def test_a_line_that_is_not_said_is_left_out(engine: CtcEngine, english: Spoken) -> None:
    words = english.texts
    times = align(engine, english.samples, [*words[:3], UNSUNG, *words[3:]])
    assert times
    assert times[3] == [None] * len(UNSUNG)
    assert np.quantile(start_errors(times[:3] + times[4:], english.lines), 0.9) < 0.1


def test_lines_that_are_not_given_do_not_move_the_others(engine: CtcEngine, english: Spoken) -> None:
    times = align(engine, english.samples, english.texts[2:4] + english.texts[6:-1])
    assert np.quantile(start_errors(times, english.lines[2:4] + english.lines[6:-1]), 0.9) < 0.1


def test_other_words_than_those_said_are_not_found(engine: CtcEngine, english: Spoken) -> None:
    times = align(engine, english.samples, [UNSUNG, OTHERS])
    assert times
    assert not any(time for line in times for time in line)


def test_a_long_sound_is_searched_in_pieces(
    engine: CtcEngine, english: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line is longer than a piece."""
    monkeypatch.setattr("singscript_aligner.engines.ctc._PIECE_S", 6.0)
    monkeypatch.setattr("singscript_aligner.engines.ctc._MARGIN_S", 1.0)
    monkeypatch.setattr("singscript_aligner.engines.ctc._WORDS_A_PIECE", 20)
    monkeypatch.setattr("singscript_aligner.engines.network._WINDOW_S", 4.0)
    lines = [*english.lines[:2], [word for line in english.lines[2:6] for word in line], *english.lines[6:]]
    times = align(engine, english.samples, [[text for text, _, _ in line] for line in lines])
    assert np.quantile(start_errors(times, lines), 0.9) < 0.1


def test_a_word_in_unknown_letters_may_sound_like_anything(engine: CtcEngine, english: Spoken) -> None:
    words = english.texts
    line, place = max((len(line), i) for i, line in enumerate(words))[1], 1
    words[line][place] = "слово"
    times = align(engine, english.samples, words)
    assert np.quantile(start_errors(times, english.lines), 0.9) < 0.1
    assert times
    found = times[line][place]
    assert found and abs(found.start_s - english.lines[line][place][1]) < 0.15


def test_words_without_a_sound_have_no_time(engine: CtcEngine, english: Spoken) -> None:
    times = align(engine, english.samples, [[], ["♪", *english.texts[0], "—"], ["♪"]])
    assert times
    assert (times[0], times[1][0], times[1][-1], times[2]) == ([], None, None, [None])
    assert np.quantile(start_errors([times[1][1:-1]], english.lines[:1]), 0.9) < 0.1


@pytest.mark.parametrize("seconds", [0.0, 0.01, 5.0])
def test_nothing_is_found_in_silence(engine: CtcEngine, seconds: float) -> None:
    assert align(engine, np.zeros(round(seconds * RATE_HZ), np.float32), [["hello", "there"]]) is None


def test_a_very_short_sound_has_no_place_for_words(engine: CtcEngine) -> None:
    sound = np.random.default_rng(0).normal(0.0, 0.1, 100).astype(np.float32)
    assert align(engine, sound, [["hello", "there"]]) == [[None, None]]


def test_letters_are_spelt_as_the_network_has_them() -> None:
    small = Vocabulary(30, {letter: i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz'", start=2)}, 0, 1)
    large = Vocabulary(30, {letter.upper(): i for letter, i in small.letters.items()}, 0, 1)
    for vocabulary in (small, large):
        assert vocabulary.spelt("schön") == vocabulary.spelt("schon") == [20, 4, 9, 16, 15]
        assert vocabulary.spelt("weiß") == vocabulary.spelt("weiss")
        assert vocabulary.spelt("a5b-") == vocabulary.spelt("ab")
        assert vocabulary.spelt("слово") == []
    assert Vocabulary(3, {"o": 1, "ö": 2}, 0, 0).spelt("ÖO") == [2, 1]


def test_without_weights_it_says_where_to_put_them(tmp_path: Path) -> None:
    engine = CtcEngine(tmp_path)
    assert "ctc-en/ in SINGSCRIPT_MODELS_DIR" in engine.problem()
    assert not engine.speaks("en")
    (tmp_path / "ctc-en").mkdir()
    assert "ctc-en/ in SINGSCRIPT_MODELS_DIR" in engine.problem()


def test_one_network_may_serve_all_languages_in_its_letters(tmp_path: Path) -> None:
    shutil.copytree(NANO, tmp_path / "ctc")
    engine = CtcEngine(tmp_path)
    assert engine.problem() == ""
    assert [language for language in ("en", "de", "tr", "ru", "ja", "ko", "ar", "hi") if engine.speaks(language)] == [
        *("en", "de", "tr"),
    ]


def test_cut_weights_are_a_problem_before_anything_is_loaded(tmp_path: Path) -> None:
    shutil.copytree(NANO, tmp_path / "ctc-en")
    weights = tmp_path / "ctc-en" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    engine = CtcEngine(tmp_path)
    assert "ctc-en/" in engine.problem()
    with pytest.raises(UnusableNetwork):
        align(engine, np.ones(RATE_HZ, np.float32), [["hello"]])


@pytest.mark.parametrize("vocabulary", ["{", "[]", '{"eng": {"a": 1}}', '{"a": 400}'])
def test_a_vocabulary_that_is_no_list_of_letters_is_a_problem(tmp_path: Path, vocabulary: str) -> None:
    shutil.copytree(NANO, tmp_path / "ctc-en")
    (tmp_path / "ctc-en" / "vocab.json").write_text(vocabulary)
    engine = CtcEngine(tmp_path)
    assert "vocab.json" in engine.problem()
    assert not engine.speaks("en")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(NANO, tmp_path / "ctc-en")
    weights = tmp_path / "ctc-en" / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if "lm_head" not in name}, weights)
    with pytest.raises(UnusableNetwork):
        align(CtcEngine(tmp_path), np.ones(RATE_HZ, np.float32), [["hello"]])


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(NANO, tmp_path / "ctc-en")
    weights = tmp_path / "ctc-en" / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"lm_head.bias": np.full_like(tensors["lm_head.bias"], np.nan)}, weights)
    with pytest.raises(UnusableNetwork):
        align(CtcEngine(tmp_path), np.ones(RATE_HZ, np.float32), [["hello"]])


class _Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._file,)


def test_a_pickled_checkpoint_runs_no_code(tmp_path: Path) -> None:
    import torch

    shutil.copytree(NANO, tmp_path / "ctc-en")
    (tmp_path / "ctc-en" / "model.safetensors").unlink()
    ran = tmp_path / "ran"
    torch.save({"lm_head.bias": _Payload(ran)}, tmp_path / "ctc-en" / "pytorch_model.bin")
    with pytest.raises(UnusableNetwork):
        align(CtcEngine(tmp_path), np.ones(RATE_HZ, np.float32), [["hello"]])
    assert not ran.exists()


def test_plain_weights_in_the_older_layout_are_read(tmp_path: Path, english: Spoken) -> None:
    import torch
    from safetensors.torch import load_file

    shutil.copytree(NANO, tmp_path / "ctc-en")
    weights = tmp_path / "ctc-en" / "model.safetensors"
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    tensors = load_file(weights)
    for name in list(tensors):
        for new, old in names.items():
            if name.endswith(new):
                tensors[name.replace(new, old)] = tensors.pop(name)
    del tensors["wav2vec2.masked_spec_embed"]
    torch.save(tensors, tmp_path / "ctc-en" / "pytorch_model.bin")
    weights.unlink()
    times = align(CtcEngine(tmp_path), english.samples, english.texts)
    assert np.median(start_errors(times, english.lines)) < 0.03
