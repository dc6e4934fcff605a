"""Weights: found by name wherever they may lie, and never run as code (R11)."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from demucs.apply import BagOfModels, Model
from demucs.hf import hf_repo_name, load_safetensors_model
from demucs.htdemucs import HTDemucs
from demucs.pretrained import REMOTE_ROOT
from demucs.states import load_model
from safetensors.torch import load_file, save_file

from singscript_models.children import NotWeights
from singscript_models.download import DownloadFailed
from singscript_separator.engines import convert, released, weights
from singscript_separator.engines.weights import Recipe, WeightsRefused

SIGNATURE = "955717e8"  # the one checkpoint of htdemucs


@pytest.fixture(autouse=True)
def _no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def loaded(name: str, folder: Path) -> dict[str, Model]:
    """As an engine does it, the download left out: nothing here is anything that was released."""
    recipe = weights.find_recipe(name, folder)
    assert recipe is not None
    assert weights.missing(recipe, folder) == []
    for _ in weights.fetch(recipe.signatures, recipe, folder):
        pass
    return weights.load_models(recipe.signatures, recipe, folder)


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
    assert list(loaded("tiny", models_dir)) == ["tiny"]


def test_a_checkpoint_named_by_its_checksum(models_dir: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((models_dir / "tiny.th").read_bytes()).hexdigest()[:8]
    shutil.copy(models_dir / "tiny.th", tmp_path / f"tiny-{digest}.th")
    assert loaded("tiny", tmp_path)


def test_a_wrong_checksum_is_refused(models_dir: Path, tmp_path: Path) -> None:
    shutil.copy(models_dir / "tiny.th", tmp_path / "tiny-00000000.th")
    with pytest.raises(WeightsRefused, match="cannot be used"):
        loaded("tiny", tmp_path)


def test_safetensors(package: dict[str, Any], tmp_path: Path) -> None:
    safetensors(package, tmp_path / "tiny.safetensors")
    assert loaded("tiny", tmp_path)


def test_a_bag_of_ones_own(models_dir: Path, package: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(models_dir / "tiny.th", tmp_path / "one.th")
    safetensors(package, tmp_path / "two.safetensors")
    (tmp_path / "both.yaml").write_text("models: [one, two]\nweights: [[1, 1, 1, 0], [0, 0, 0, 1]]\n")
    recipe = weights.find_recipe("both", tmp_path)
    assert recipe is not None and recipe.weights == [[1, 1, 1, 0], [0, 0, 0, 1]]
    assert loaded("both", tmp_path)


@pytest.mark.parametrize("text", ["models: [../../etc/passwd]", "models: []", "nonsense", "[", "models: 7"])
def test_a_broken_bag_is_no_model(tmp_path: Path, text: str) -> None:
    (tmp_path / "bag.yaml").write_text(text)
    assert weights.find_recipe("bag", tmp_path) is None


def test_a_released_model_from_the_models_folder(models_dir: Path, tmp_path: Path) -> None:
    shutil.copy(models_dir / "tiny.th", tmp_path / f"{SIGNATURE}.th")
    assert loaded("htdemucs", tmp_path)


def test_a_released_model_from_the_cache_of_the_hub(package: dict[str, Any], tmp_path: Path) -> None:
    repo = tmp_path / "hub" / "models--adefossez--HTDemucs"
    safetensors(package, repo / "snapshots" / "abc" / f"{SIGNATURE}.safetensors")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    assert loaded("htdemucs", tmp_path / "empty")


def test_a_released_model_from_the_cache_of_torch(models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    digest = hashlib.sha256((models_dir / "tiny.th").read_bytes()).hexdigest()[:8]
    shutil.copy(models_dir / "tiny.th", folder / f"{SIGNATURE}-{digest}.th")
    assert loaded("htdemucs", tmp_path / "empty")


def test_the_hub_knows_released_models_by_the_names_that_demucs_uses() -> None:
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
    with pytest.raises(WeightsRefused, match="cannot be used"):
        loaded("evil", tmp_path)
    assert not trace.exists()
    torch.load(tmp_path / "evil.th", weights_only=False)  # the payload is a real one
    assert trace.exists()


def test_r11_a_plain_pickle_with_a_payload_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    (tmp_path / "evil.th").write_bytes(pickle.dumps(_Payload(trace), protocol=2))
    with pytest.raises(WeightsRefused, match="cannot be used"):
        loaded("evil", tmp_path)
    assert not trace.exists()


def test_r11_safetensors_that_name_a_function_are_refused(package: dict[str, Any], tmp_path: Path) -> None:
    """Demucs calls whatever the metadata names."""
    trace = tmp_path / "it-ran"
    safetensors(package, tmp_path / "evil.safetensors", klass="os.mkdir", args=json.dumps([str(trace)]), kwargs="{}")
    with pytest.raises(WeightsRefused, match="cannot be used"):
        loaded("evil", tmp_path)
    assert not trace.exists()


def test_r11_safetensors_that_import_a_module_are_refused(
    package: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Demucs imports whatever the structure of a quantised state names."""
    (tmp_path / "singscript_evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'it-ran')!r})\nThing = int\n")
    monkeypatch.syspath_prepend(tmp_path)
    structure = json.dumps({"_dict": [["meta", {"_list": [{"_class": "singscript_evil.Thing"}]}]]})
    safetensors(package, tmp_path / "evil.safetensors", structure=structure)
    with pytest.raises(WeightsRefused, match="cannot be used"):
        loaded("evil", tmp_path)
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("suffix", ["th", "safetensors"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"bad.{suffix}").write_bytes(b"\x00\x01 not weights" * 50)
    with pytest.raises(WeightsRefused, match="cannot be used"):
        loaded("bad", tmp_path)


def test_a_repaired_file_is_taken(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.th").write_bytes(b"nonsense")
    with pytest.raises(WeightsRefused):
        loaded("tiny", tmp_path)
    shutil.copy(models_dir / "tiny.th", tmp_path / "tiny.th")
    assert loaded("tiny", tmp_path)


def fetched(name: str, folder: Path) -> Path:
    """The safetensors of a checkpoint."""
    recipe = weights.find_recipe(name, folder) or Recipe((name,))
    for _ in weights.fetch(recipe.signatures, recipe, folder):
        pass
    path = weights.checkpoint_path(recipe.signatures[0], recipe, folder)
    assert path is not None
    return path


def test_a_pickle_is_converted_bit_by_bit(package: dict[str, Any], tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in package["state"].items()}  # as the released ones are
    torch.save(package | {"state": half}, tmp_path / "half.th")
    pickled = (tmp_path / "half.th").read_bytes()
    path = fetched("half", tmp_path)
    assert path == tmp_path / "half.safetensors"
    written = load_file(path)
    assert written.keys() == half.keys()
    assert all(written[name].dtype == torch.half and torch.equal(written[name], half[name]) for name in half)
    network = weights.load_models(["half"], Recipe(("half",)), tmp_path)["half"]
    assert not network.training
    assert network.segment == package["kwargs"]["segment"]
    assert all(torch.equal(own, half[name].float()) for name, own in network.state_dict().items())
    assert (tmp_path / "half.th").read_bytes() == pickled


def test_the_layout_is_what_demucs_itself_writes_and_reads(models_dir: Path, tmp_path: Path) -> None:
    shutil.copy(models_dir / "tiny.th", tmp_path)
    network = load_safetensors_model(fetched("tiny", tmp_path))
    expected = load_model(tmp_path / "tiny.th")
    assert all(torch.equal(own, expected.state_dict()[name]) for name, own in network.state_dict().items())


def test_a_pickle_is_converted_once(models_dir: Path, tmp_path: Path) -> None:
    shutil.copy(models_dir / "tiny.th", tmp_path)
    before = fetched("tiny", tmp_path).stat()
    assert fetched("tiny", tmp_path).stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o644  # whoever serves it may be another user


def test_a_pickle_that_was_replaced_is_converted_anew(package: dict[str, Any], tmp_path: Path) -> None:
    torch.save(package, tmp_path / "mine.th")
    old = load_file(fetched("mine", tmp_path))
    torch.save(package | {"state": {k: v + 1 for k, v in package["state"].items()}}, tmp_path / "mine.th")
    assert weights.checkpoint_path("mine", Recipe(("mine",)), tmp_path) is None
    assert weights.missing(Recipe(("mine",)), tmp_path) == []
    new = load_file(fetched("mine", tmp_path))
    assert all(torch.equal(new[name], old[name] + 1) for name in old)


def test_safetensors_of_ones_own_are_never_written_over(package: dict[str, Any], tmp_path: Path) -> None:
    safetensors(package, tmp_path / "mine.safetensors")
    before = (tmp_path / "mine.safetensors").read_bytes()
    torch.save(package, tmp_path / "mine.th")
    assert fetched("mine", tmp_path).read_bytes() == before


def test_a_read_only_folder_keeps_as_it_is(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(models_dir / "tiny.th", folder)
    real = os.access
    # Who runs the tests may be root, who may write everywhere but on a read-only disk.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and real(path, mode))
    path = fetched("tiny", folder)
    assert path.is_relative_to(tmp_path / "cache")
    assert [file.name for file in folder.iterdir()] == ["tiny.th"]
    assert weights.load_models(["tiny"], Recipe(("tiny",)), folder)["tiny"].samplerate == 44_100


def test_the_cache_of_torch_stays_as_it_is(models_dir: Path, tmp_path: Path) -> None:
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    digest = hashlib.sha256((models_dir / "tiny.th").read_bytes()).hexdigest()[:8]
    shutil.copy(models_dir / "tiny.th", cache / f"{SIGNATURE}-{digest}.th")
    assert fetched("htdemucs", tmp_path / "models") == tmp_path / "models" / f"{SIGNATURE}.safetensors"
    assert [file.name for file in cache.iterdir()] == [f"{SIGNATURE}-{digest}.th"]


def test_a_child_that_takes_too_long_is_ended(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(convert, "MAX_S", 0.1)
    with pytest.raises(NotWeights, match="damaged"):
        list(convert.convert(models_dir / "tiny.th", tmp_path / "tiny.safetensors"))


def test_a_disk_without_room_is_said(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk cannot be filled up by a test: the child is made to see a full one."""
    (tmp_path / "sitecustomize.py").write_text(
        "import collections, shutil\n"
        "shutil.disk_usage = lambda path: collections.namedtuple('Usage', 'total used free')(9, 9, 0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    shutil.copy(models_dir / "tiny.th", tmp_path)
    with pytest.raises(DownloadFailed, match="disk of SINGSCRIPT_MODELS_DIR is full"):
        fetched("tiny", tmp_path)
    assert not (tmp_path / "tiny.safetensors").exists()


def test_quantised_weights_say_what_they_need(
    package: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("diffq.diffq")
    quantizer = type("DiffQuantizer", (), {"__module__": "diffq.diffq"})
    module.DiffQuantizer = quantizer  # pyright: ignore[reportAttributeAccessIssue]  (made here)
    monkeypatch.setitem(sys.modules, "diffq", types.ModuleType("diffq"))
    monkeypatch.setitem(sys.modules, "diffq.diffq", module)
    state = {"__quantized": True, "quantized": [], "meta": {"klass": quantizer}}
    torch.save(package | {"state": state}, tmp_path / "quantised.th")
    with pytest.raises(WeightsRefused, match="Install the package diffq"):
        fetched("quantised", tmp_path)


@pytest.mark.parametrize(("segment", "expected"), [(0.5, 0.5), (2.0, 1.0)])
def test_a_bag_shortens_the_segment_of_a_transformer_and_never_lengthens_it(
    package: dict[str, Any], tmp_path: Path, segment: float, expected: float
) -> None:
    safetensors(package, tmp_path / "one.safetensors")
    (tmp_path / "bag.yaml").write_text(f"models: [one]\nsegment: {segment}\n")
    recipe = weights.find_recipe("bag", tmp_path)
    assert recipe is not None
    own = weights.load_models(["one"], recipe, tmp_path)["one"]
    of_demucs = BagOfModels([load_safetensors_model(tmp_path / "one.safetensors")], None, segment).models[0]
    assert float(own.segment) == float(of_demucs.segment) == expected  # pyright: ignore[reportArgumentType]  (none is None)


def test_models_that_do_not_fit_together_are_refused(package: dict[str, Any], tmp_path: Path) -> None:
    safetensors(package, tmp_path / "one.safetensors")
    other = HTDemucs(**(package["kwargs"] | {"samplerate": 22_050}))
    kwargs = package["kwargs"] | {"samplerate": 22_050}
    safetensors({"kwargs": kwargs, "state": other.state_dict()}, tmp_path / "two.safetensors")
    bag = Recipe(("one", "two"))
    with pytest.raises(WeightsRefused, match="do not fit together"):
        weights.load_models(bag.signatures, bag, tmp_path)
    with pytest.raises(WeightsRefused, match="do not fit together"):
        weights.load_models(["one"], Recipe(("one",), [[1.0, 0.0]]), tmp_path)
    assert list(weights.load_models(["two"], bag, tmp_path)) == ["two"]


def test_models_of_ones_own_are_known_beside_the_released_ones(package: dict[str, Any], tmp_path: Path) -> None:
    safetensors(package, tmp_path / "mine.safetensors")
    torch.save(package, tmp_path / "older-0123abcd.th")
    torch.save(package, tmp_path / "take-2.th")
    torch.save(package, tmp_path / f"{SIGNATURE}.th")  # of htdemucs, no model of one's own
    safetensors(package, tmp_path / "part.safetensors")
    (tmp_path / "bag.yaml").write_text("models: [part]\n")
    (tmp_path / "broken.yaml").write_text("models: 7\n")
    known = weights.known_models(tmp_path)
    assert known[:4] == ["bag", "mine", "older", "take-2"]
    assert {"htdemucs", "htdemucs_ft", "mdx_extra_q", "repro_mdx_a"} < set(known[4:])
    assert all(weights.find_recipe(name, tmp_path) for name in known)
    assert weights.known_models(tmp_path / "nowhere") == known[4:]


def test_every_released_checkpoint_is_pinned_where_demucs_has_it() -> None:
    root, urls = "", {}
    for line in (REMOTE_ROOT / "files.txt").read_text().splitlines():
        if line.startswith("root:"):
            root = line.removeprefix("root:").strip()
        elif line.endswith(".th"):
            urls[line.partition("-")[0]] = f"https://dl.fbaipublicfiles.com/demucs/{root}{line}"
    for name in weights.known_models(Path("nowhere")):
        recipe = weights.find_recipe(name, Path("nowhere"))
        assert recipe is not None
        for signature in recipe.signatures:
            *hub, pickle = released.sources(signature)
            assert pickle.url == urls[signature]
            digits = pickle.url.removesuffix(".th")[-8:]
            assert pickle.sha256.startswith(digits)
            assert len(pickle.sha256) == 64 or name == "mdx_q" or name.startswith("repro_")
            assert int(pickle.sha256, 16) >= 0
            for source in hub:
                assert f"/{recipe.repo_id}/resolve/" in source.url
                assert source.url.endswith(f"/{signature}.safetensors")
                assert len(source.sha256) == 64 and int(source.sha256, 16)


def test_another_hub_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    assert released.sources(SIGNATURE)[0].url.startswith("https://hub.example/adefossez/HTDemucs/resolve/")
    assert released.sources("mine") == ()
