"""Weights: found by name wherever they may lie, and never run as code (R11)."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from demucs.hf import hf_repo_name
from safetensors.torch import save_file

from singscript_core.errors import EngineUnavailable
from singscript_separator.engines import weights
from singscript_separator.engines.demucs import Demucs
from singscript_separator.engines.reach import Reach

SIGNATURE = "955717e8"  # the one checkpoint of htdemucs


@pytest.fixture(autouse=True)
def _no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def engine_of(folder: Path) -> Demucs:
    return Demucs("tiny", folder, False, Reach())


def safetensors(package: dict[str, Any], path: Path, **metadata: str) -> None:
    """What Demucs' own export writes."""
    own = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": "[]",
        "kwargs": json.dumps(package["kwargs"] | {"segment": {"_type": "fraction", "numerator": 1, "denominator": 1}}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in package["state"].items()}, path, own | metadata)


def test_a_checkpoint_by_name(models_dir: Path) -> None:
    assert engine_of(models_dir).problem("tiny") == ""
    assert engine_of(models_dir).ready("tiny").chosen.model == "tiny"


def test_a_checkpoint_named_by_its_checksum(models_dir: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((models_dir / "tiny.th").read_bytes()).hexdigest()[:8]
    shutil.copy(models_dir / "tiny.th", tmp_path / f"tiny-{digest}.th")
    assert engine_of(tmp_path).ready("tiny").chosen.model == "tiny"


def test_a_wrong_checksum_is_refused(models_dir: Path, tmp_path: Path) -> None:
    shutil.copy(models_dir / "tiny.th", tmp_path / "tiny-00000000.th")
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        engine_of(tmp_path).ready("tiny")


def test_safetensors(package: dict[str, Any], tmp_path: Path) -> None:
    safetensors(package, tmp_path / "tiny.safetensors")
    assert engine_of(tmp_path).ready("tiny").chosen.model == "tiny"


def test_a_bag_of_ones_own(models_dir: Path, package: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(models_dir / "tiny.th", tmp_path / "one.th")
    safetensors(package, tmp_path / "two.safetensors")
    (tmp_path / "both.yaml").write_text("models: [one, two]\nweights: [[1, 1, 1, 0], [0, 0, 0, 1]]\n")
    recipe = weights.find_recipe("both", tmp_path)
    assert recipe is not None and recipe.weights == [[1, 1, 1, 0], [0, 0, 0, 1]]
    assert engine_of(tmp_path).ready("both").chosen.model == "both"


@pytest.mark.parametrize("text", ["models: [../../etc/passwd]", "models: []", "nonsense", "[", "models: 7"])
def test_a_broken_bag_is_no_model(tmp_path: Path, text: str) -> None:
    (tmp_path / "bag.yaml").write_text(text)
    assert weights.find_recipe("bag", tmp_path) is None


def test_a_released_model_from_the_models_folder(models_dir: Path, tmp_path: Path) -> None:
    shutil.copy(models_dir / "tiny.th", tmp_path / f"{SIGNATURE}.th")
    assert engine_of(tmp_path).ready("htdemucs").chosen.model == "htdemucs"


def test_a_released_model_from_the_cache_of_the_hub(package: dict[str, Any], tmp_path: Path) -> None:
    repo = tmp_path / "hub" / "models--adefossez--HTDemucs"
    safetensors(package, repo / "snapshots" / "abc" / f"{SIGNATURE}.safetensors")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    assert engine_of(tmp_path / "empty").ready("htdemucs").chosen.model == "htdemucs"


def test_a_released_model_from_the_cache_of_torch(models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    digest = hashlib.sha256((models_dir / "tiny.th").read_bytes()).hexdigest()[:8]
    shutil.copy(models_dir / "tiny.th", folder / f"{SIGNATURE}-{digest}.th")
    assert engine_of(tmp_path / "empty").ready("htdemucs").chosen.model == "htdemucs"


def test_the_hub_knows_released_models_by_the_names_that_demucs_uses() -> None:
    from demucs.pretrained import REMOTE_ROOT

    names = [file.stem for file in REMOTE_ROOT.glob("*.yaml")]
    assert "htdemucs_ft" in names
    for name in names:
        recipe = weights.find_recipe(name, Path("nowhere"))
        assert recipe is not None
        assert recipe.repo_id == f"adefossez/{hf_repo_name(name)}"


class _Payload:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._trace),)


@pytest.mark.parametrize("place", ["klass", "state", "training_args", "whole"])
def test_r11_a_pickle_with_a_payload_is_refused(package: dict[str, Any], tmp_path: Path, place: str) -> None:
    trace = tmp_path / "it-ran"
    forged = _Payload(trace) if place == "whole" else package | {place: _Payload(trace)}
    torch.save(forged, tmp_path / "evil.th")
    engine = engine_of(tmp_path)
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        engine.ready("evil")
    assert not trace.exists()
    assert "cannot be used" in engine.problem("evil")  # and is listed so from now on
    torch.load(tmp_path / "evil.th", weights_only=False)  # the payload is a real one
    assert trace.exists()


def test_r11_a_plain_pickle_with_a_payload_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    (tmp_path / "evil.th").write_bytes(pickle.dumps(_Payload(trace), protocol=2))
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        engine_of(tmp_path).ready("evil")
    assert not trace.exists()


def test_r11_safetensors_that_name_a_function_are_refused(package: dict[str, Any], tmp_path: Path) -> None:
    """Demucs calls whatever the metadata names."""
    trace = tmp_path / "it-ran"
    safetensors(package, tmp_path / "evil.safetensors", klass="os.mkdir", args=json.dumps([str(trace)]), kwargs="{}")
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        engine_of(tmp_path).ready("evil")
    assert not trace.exists()


def test_r11_safetensors_that_import_a_module_are_refused(
    package: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Demucs imports whatever the structure of a quantised state names."""
    (tmp_path / "singscript_evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'it-ran')!r})\nThing = int\n")
    monkeypatch.syspath_prepend(tmp_path)
    structure = json.dumps({"_dict": [["meta", {"_list": [{"_class": "singscript_evil.Thing"}]}]]})
    safetensors(package, tmp_path / "evil.safetensors", structure=structure)
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        engine_of(tmp_path).ready("evil")
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("suffix", ["th", "safetensors"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"bad.{suffix}").write_bytes(b"\x00\x01 not weights" * 50)
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        engine_of(tmp_path).ready("bad")


def test_a_repaired_file_is_taken(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.th").write_bytes(b"nonsense")
    engine = engine_of(tmp_path)
    with pytest.raises(EngineUnavailable):
        engine.ready("tiny")
    shutil.copy(models_dir / "tiny.th", tmp_path / "tiny.th")
    assert engine.ready("tiny").chosen.model == "tiny"
    assert engine.problem("tiny") == ""
