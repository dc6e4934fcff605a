"""Where the weights of Demucs models are, and how to load them without running what a file says.

`demucs` 4.1.0 itself unpickles with `weights_only=False`, and calls any class that the metadata of a safetensors file
names; a forged checkpoint of either kind runs code. So the files are found, checked and opened here, and only what is
proven to be weights for one of Demucs' own networks is handed to `demucs`.

Looked for, in this order: the models folder, the cache of the Hugging Face hub (where 4.1.0 downloads to), the cache of
torch.hub (where Demucs before 4.1 did). Only safetensors are ever downloaded, never a pickle.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:  # torch and demucs take seconds and 200 MB; only `load` needs them
    from demucs.apply import BagOfModels, Model

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_NETWORKS = {"demucs.demucs.Demucs", "demucs.hdemucs.HDemucs", "demucs.htdemucs.HTDemucs"}


class WeightsRefused(Exception):
    """A checkpoint is damaged, or holds something other than the weights of a Demucs network."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the name of a model stands for.

    Attributes:
        signatures: names of the checkpoints that make up the model.
        weights: for each checkpoint, how much it counts for each source; None: all the same.
        segment_s: length of the stretches that are computed at once; None: what the checkpoints say.
        repo_id: where the hub has them; empty for a model of one's own.
    """

    signatures: tuple[str, ...]
    weights: list[list[float]] | None = None
    segment_s: float | None = None
    repo_id: str = ""


def find_recipe(name: str, models_dir: Path) -> Recipe | None:
    """The recipe of a model: a checkpoint or a bag (NAME.yaml) of one's own, or one that Demucs has released."""
    if not _NAME.fullmatch(name):
        return None
    if _in_folder(models_dir, name):
        return Recipe((name,))
    if (models_dir / f"{name}.yaml").is_file():
        return _bag(models_dir / f"{name}.yaml", "")
    released = _released_dir() / f"{name}.yaml"
    if released.is_file():
        return _bag(released, f"adefossez/{hub_repo_name(name)}")
    return None


def find_checkpoint(signature: str, recipe: Recipe, models_dir: Path) -> Path | None:
    """Where the checkpoint lies on this machine, if it does."""
    return _in_folder(models_dir, signature) or _in_hub_cache(signature, recipe) or _in_folder(_torch_dir(), signature)


def download_url(signature: str, recipe: Recipe) -> str:
    """Where the hub has a checkpoint; HF_ENDPOINT is honoured."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(recipe.repo_id, f"{signature}.safetensors")


def download(signature: str, recipe: Recipe, models_dir: Path) -> Path:
    """Fetches a checkpoint from the hub into the models folder; processes that do so at once share one download.

    Raises:
        Exception: of many types, as the hub's client has it: the hub or the disk failed.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # standard error is for the log
    models_dir.mkdir(parents=True, exist_ok=True)
    return Path(hf_hub_download(recipe.repo_id, f"{signature}.safetensors", local_dir=models_dir))


def load(recipe: Recipe, checkpoints: list[Path]) -> BagOfModels:
    """Builds the model, on the CPU, ready for inference.

    Raises:
        WeightsRefused: a checkpoint is damaged, or not the weights of a Demucs network.
    """
    from demucs.apply import BagOfModels

    models = [_load_checkpoint(path) for path in checkpoints]
    try:
        bag = BagOfModels(models, recipe.weights, recipe.segment_s)
    except AssertionError:
        raise WeightsRefused("the models of this bag do not fit together") from None
    bag.eval()
    return bag


def hub_repo_name(name: str) -> str:
    """The repository of a released model, as `demucs.hf.hf_repo_name` has it (which would import torch)."""
    if name == "htdemucs":
        return "HTDemucs"
    if name.startswith("htdemucs_"):
        return "HTDemucs-" + name.removeprefix("htdemucs_")
    return "Demucs-" + name


def _bag(file: Path, repo_id: str) -> Recipe | None:
    try:
        bag = yaml.safe_load(file.read_text())
        signatures = tuple(str(signature) for signature in bag["models"])
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
        return None
    if not signatures or not all(_NAME.fullmatch(signature) for signature in signatures):
        return None
    return Recipe(signatures, bag.get("weights"), bag.get("segment"), repo_id)


def _released_dir() -> Path:
    spec = find_spec("demucs")  # finds the package without importing it
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "remote"


def _torch_dir() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _in_folder(folder: Path, signature: str) -> Path | None:
    for name in (f"{signature}.safetensors", f"{signature}.th"):
        if (folder / name).is_file():
            return folder / name
    named_by_checksum = re.compile(re.escape(signature) + r"-[0-9a-f]+\.th")
    if not folder.is_dir():
        return None
    return next((path for path in sorted(folder.iterdir()) if named_by_checksum.fullmatch(path.name)), None)


def _in_hub_cache(signature: str, recipe: Recipe) -> Path | None:
    if not recipe.repo_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(recipe.repo_id, f"{signature}.safetensors")
    return Path(cached) if isinstance(cached, str) else None


def _load_checkpoint(path: Path) -> Model:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Demucs drops arguments that its networks no longer have, with a warning
            return _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    except WeightsRefused:
        raise
    except SystemExit:  # how Demucs says that a package is missing
        raise WeightsRefused("these quantised weights need the package diffq") from None
    except Exception as error:  # what a damaged file raises has no common type
        raise WeightsRefused("the file is damaged, or holds something other than weights") from error


def _load_pickle(path: Path) -> Model:
    import torch
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs
    from demucs.repo import check_checksum
    from demucs.states import load_model

    if "-" in path.stem:
        check_checksum(path, path.stem.rpartition("-")[2])
    # The restricted unpickler refuses every name but tensors' own and these.
    with torch.serialization.safe_globals([Demucs, HDemucs, HTDemucs, Fraction]):
        package: Any = torch.load(path, map_location="cpu", weights_only=True)
    if package["klass"] not in (Demucs, HDemucs, HTDemucs):
        raise WeightsRefused("the file does not hold a Demucs network")
    return load_model(package)


def _load_safetensors(path: Path) -> Model:
    from demucs.hf import load_safetensors_model
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
    if metadata["klass"] not in _NETWORKS:
        raise WeightsRefused("the file does not hold a Demucs network")
    if not all(name.startswith("diffq.") for name in _class_names(json.loads(metadata.get("structure", "null")))):
        raise WeightsRefused("the file names classes that no weights need")
    return load_safetensors_model(path)


def _class_names(node: Any) -> list[str]:
    """Every class that the structure of a quantised state names; Demucs imports them all."""
    if isinstance(node, dict):
        own = [str(node["_class"])] if "_class" in node else []
        return own + [name for value in node.values() for name in _class_names(value)]
    if isinstance(node, list):
        return [name for value in node for name in _class_names(value)]
    return []
