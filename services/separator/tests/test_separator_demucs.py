"""The engine `demucs`: models by name, from their files to the stems; nothing is loaded or computed in vain."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demucs.api import Separator
from demucs.htdemucs import HTDemucs
from tiny_demucs import RATE_HZ, SEGMENT_SAMPLES, SOURCES, applied, htdemucs, keep, music, snr_db, streamed

from singscript_core.errors import EngineUnavailable
from singscript_models.reach import Reach
from singscript_models.scheduler import Scheduler
from singscript_separator.engines import Ready, Split, weights
from singscript_separator.engines.demucs import Demucs, Options

FINE_TUNED = ("f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d")  # of htdemucs_ft: one for each source
EACH_ITS_OWN = "[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]"


@pytest.fixture(autouse=True)
def _no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the models `tiny` and `bag`, which is made of four."""
    folder = tmp_path_factory.mktemp("models")
    keep(htdemucs(), folder / "tiny.safetensors")
    for seed in range(4):
        keep(htdemucs(seed), folder / f"part{seed}.safetensors")
    (folder / "bag.yaml").write_text(f"models: [part0, part1, part2, part3]\nweights: {EACH_ITS_OWN}\n")
    return folder


def engine_on(folder: Path, **options: Any) -> Demucs:
    return Demucs("tiny", folder, False, Reach(), Scheduler(), Options(backend="torch", **options))


def made_ready(engine: Demucs, model: str = "tiny", split: Split = "vocals") -> Ready:
    steps = engine.ready(model, split)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Counter[HTDemucs]:
    """How often each network was computed."""
    counted: Counter[HTDemucs] = Counter()
    forward = HTDemucs.forward

    def counting(self: HTDemucs, mix: torch.Tensor) -> torch.Tensor:
        counted[self] += 1
        return forward(self, mix)

    monkeypatch.setattr(HTDemucs, "forward", counting)
    return counted


class TestStems:
    @pytest.mark.parametrize("samples", [100, SEGMENT_SAMPLES])
    def test_a_short_sound_is_what_demucs_itself_gives(self, folder: Path, tmp_path: Path, samples: int) -> None:
        """Up to one segment the normalisation is the same, too."""
        sound = music(samples)
        model = htdemucs()
        package = {"klass": HTDemucs, "args": (), "kwargs": vars(model)["_init_args_kwargs"][1]}
        torch.save(package | {"state": model.state_dict(), "training_args": {}}, tmp_path / "tiny.th")
        own = Separator("tiny", tmp_path, device="cpu", shifts=0)
        _, expected = own.separate_tensor(torch.from_numpy(sound.T.copy()), RATE_HZ)
        found = streamed(made_ready(engine_on(folder), split="all").separate, sound)
        for name in SOURCES:
            assert snr_db(expected[name].numpy().T, found[name]) > 110.0

    def test_vocals_and_the_rest(self, folder: Path) -> None:
        sound = music(5_000)
        ready = made_ready(engine_on(folder))
        assert ready.stems == ("vocals", "instrumental")
        assert ready.params == {"split": "vocals", "overlap": "0.25", "instrumental": "mix-minus-vocals"}
        assert (ready.chosen.engine, ready.chosen.model, ready.chosen.device) == ("demucs", "tiny", "cpu")
        stems = streamed(ready.separate, sound)
        np.testing.assert_allclose(stems["vocals"] + stems["instrumental"], sound, rtol=0, atol=1e-6)
        expected = applied(htdemucs(), sound, heard=sound[:SEGMENT_SAMPLES])
        assert snr_db(expected["vocals"], stems["vocals"]) > 110.0

    def test_all(self, folder: Path) -> None:
        sound = music(5_000)
        ready = made_ready(engine_on(folder, overlap=0.1), split="all")
        assert ready.stems == SOURCES
        assert ready.params == {"split": "all", "overlap": "0.1"}
        stems = streamed(ready.separate, sound)
        assert tuple(stems) == SOURCES
        expected = applied(htdemucs(), sound, 0.1, heard=sound[:SEGMENT_SAMPLES])
        assert all(snr_db(expected[name], stems[name]) > 110.0 for name in SOURCES)

    def test_an_instrumental_that_is_the_sum_of_the_others(self, folder: Path) -> None:
        sound = music(5_000)
        ready = made_ready(engine_on(folder, instrumental="sum-of-others"))
        assert ready.stems == ("vocals", "instrumental")
        assert ready.params["instrumental"] == "sum-of-others"
        stems = streamed(ready.separate, sound)
        expected = applied(htdemucs(), sound, heard=sound[:SEGMENT_SAMPLES])
        assert snr_db(expected["drums"] + expected["bass"] + expected["other"], stems["instrumental"]) > 110.0

    def test_a_model_without_vocals(self, tmp_path: Path) -> None:
        keep(htdemucs(sources=["left", "right"]), tmp_path / "sides.safetensors")
        with pytest.raises(EngineUnavailable, match="does not know vocals"):
            made_ready(engine_on(tmp_path), "sides")


class TestBags:
    def test_of_which_one_model_is_enough(self, folder: Path, forwards: Counter[HTDemucs]) -> None:
        sound = music(SEGMENT_SAMPLES)
        stems = streamed(made_ready(engine_on(folder), "bag").separate, sound)
        assert len(forwards) == 1
        assert forwards.total() == len(range(0, SEGMENT_SAMPLES, int(0.75 * SEGMENT_SAMPLES)))
        assert snr_db(applied(htdemucs(3), sound)["vocals"], stems["vocals"]) > 110.0

    def test_of_which_all_are_wanted(self, folder: Path, forwards: Counter[HTDemucs]) -> None:
        sound = music(SEGMENT_SAMPLES)
        stems = streamed(made_ready(engine_on(folder), "bag", "all").separate, sound)
        assert len(forwards) == 4
        for seed, name in enumerate(SOURCES):
            assert snr_db(applied(htdemucs(seed), sound)[name], stems[name]) > 110.0

    @pytest.mark.parametrize(
        ("options", "split", "asked"),
        [
            ({}, "vocals", FINE_TUNED[3:]),
            ({}, "all", FINE_TUNED),
            ({"instrumental": "sum-of-others"}, "vocals", FINE_TUNED),
        ],
    )
    def test_a_released_one_asks_for_no_more_than_it_needs(
        self, folder: Path, options: dict[str, Any], split: Split, asked: tuple[str, ...]
    ) -> None:
        with pytest.raises(EngineUnavailable) as raised:
            made_ready(engine_on(folder, **options), "htdemucs_ft", split)
        assert tuple(s for s in FINE_TUNED if f"{s}.safetensors" in raised.value.message) == asked

    def test_that_is_lacking_names_what_vocals_need(self, folder: Path) -> None:
        problem = engine_on(folder).problem("htdemucs_ft")
        assert [s for s in FINE_TUNED if s in problem] == [FINE_TUNED[3]]

    def test_a_released_one_loads_no_more_than_it_needs(self, tmp_path: Path, forwards: Counter[HTDemucs]) -> None:
        keep(htdemucs(3), tmp_path / f"{FINE_TUNED[3]}.safetensors")  # the others are not there
        engine, sound = engine_on(tmp_path), music(SEGMENT_SAMPLES)
        assert engine.problem("htdemucs_ft") == ""
        stems = streamed(made_ready(engine, "htdemucs_ft").separate, sound)
        assert snr_db(applied(htdemucs(3), sound)["vocals"], stems["vocals"]) > 110.0


class TestLoading:
    @pytest.fixture
    def loads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        loads: list[str] = []
        real: Callable[..., Any] = weights.load_models

        def counting(signatures: tuple[str, ...], *rest: Any) -> Any:
            loads.append("+".join(signatures))
            return real(signatures, *rest)

        monkeypatch.setattr(weights, "load_models", counting)
        return loads

    def test_once_also_for_threads_at_once(self, folder: Path, loads: list[str]) -> None:
        engine = engine_on(folder)
        threads = [threading.Thread(target=made_ready, args=(engine,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert loads == ["tiny"]

    def test_again_for_another_model_or_for_more_of_it(self, folder: Path, loads: list[str]) -> None:
        engine = engine_on(folder)
        made_ready(engine)
        made_ready(engine, split="all")
        made_ready(engine, "part1", "all")
        assert loads == ["tiny", "tiny", "part1"]

    def test_a_stream_keeps_its_model_when_another_one_is_loaded(self, folder: Path) -> None:
        sound = music(3_000)
        engine = engine_on(folder)
        first = made_ready(engine)
        made_ready(engine, "part1", "all")
        expected = applied(htdemucs(), sound, heard=sound[:SEGMENT_SAMPLES])
        assert snr_db(expected["vocals"], streamed(first.separate, sound)["vocals"]) > 110.0

    def test_weights_that_cannot_be_used_are_remembered(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "broken.safetensors").write_bytes(b"nothing")
        engine = engine_on(tmp_path)
        assert engine.problem("broken") == ""  # nobody has looked yet
        with pytest.raises(EngineUnavailable, match=r"'broken' cannot be used"):
            made_ready(engine, "broken")
        assert "cannot be used" in engine.problem("broken")
        keep(htdemucs(), tmp_path / "broken.safetensors")
        made_ready(engine, "broken")
        assert engine.problem("broken") == ""

    def test_a_bag_in_which_nothing_counts_for_the_vocals(self, folder: Path, tmp_path: Path) -> None:
        keep(htdemucs(), tmp_path / "one.safetensors")
        (tmp_path / "deaf.yaml").write_text("models: [one]\nweights: [[1, 1, 1, 0]]\n")
        with pytest.raises(EngineUnavailable, match="None of its networks counts for vocals"):
            made_ready(engine_on(tmp_path), "deaf")


class TestReadOnlyFolders:
    def test_weights_that_are_there_serve_and_nothing_is_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = tmp_path / "models"
        folder.mkdir()
        keep(htdemucs(), folder / "tiny.safetensors")
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        # Who runs the tests may be root, who may write everywhere but on a read-only disk.
        access, mkdir = os.access, Path.mkdir
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and access(path, mode))

        def refuse(path: Path, *args: Any, **kwargs: Any) -> None:
            if folder in path.parents:
                raise OSError(errno.EROFS, "Read-only file system")
            mkdir(path, *args, **kwargs)

        monkeypatch.setattr(Path, "mkdir", refuse)
        engine = Demucs("tiny", folder, False, Reach(), Scheduler(), Options(backend="openvino"))
        assert made_ready(engine).chosen.device == "cpu (openvino)"
        assert "the converted network cannot be kept" in caplog.text
        assert [file.name for file in folder.iterdir()] == ["tiny.safetensors"]


class TestNames:
    @pytest.mark.parametrize("name", ["nothing", "../tiny", "hf://someone/model", "", "a/b", "tiny\n"])
    def test_that_are_no_models(self, folder: Path, name: str) -> None:
        engine = engine_on(folder)
        assert "There is no Demucs model" in engine.problem(name)
        with pytest.raises(EngineUnavailable) as raised:
            made_ready(engine, name)
        assert raised.value.reason == "ENGINE_UNAVAILABLE"

    def test_that_are_known(self, folder: Path) -> None:
        models = engine_on(folder).models
        assert models[:2] == ["bag", "tiny"]
        assert {"htdemucs", "htdemucs_ft", "htdemucs_6s", "hdemucs_mmi", "mdx", "mdx_extra_q"} <= set(models)

    def test_of_missing_weights_say_what_to_put_where(self, folder: Path) -> None:
        problem = engine_on(folder).problem("htdemucs")
        assert "955717e8.safetensors" in problem
        assert "SINGSCRIPT_MODELS_DIR" in problem
        assert "SINGSCRIPT_ALLOW_MODEL_DOWNLOAD=true" in problem
