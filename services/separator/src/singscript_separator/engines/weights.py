"""Where the weights of Demucs models are, how they get there, and how to load them without running what a file says.

`demucs` 4.1.0 itself unpickles with `weights_only=False`, and calls any class that the metadata of a safetensors file
names; a forged checkpoint of either kind runs code. So the files are found, checked and opened here, and only what is
proven to be weights for one of Demucs' own networks is handed to `demucs`.

Only safetensors are opened. They are looked for in the models folder and in the cache of the Hugging Face hub (where
4.1.0 downloads to). A pickle, in the models folder or in the cache of torch.hub (where Demucs before 4.1 downloaded
to), is converted once; what is nowhere is downloaded once. Both results are kept in the models folder, or where that is
read-only in the user's cache.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from singscript_core.errors import EngineUnavailable
from singscript_core.events import Progress
from singscript_models.children import NotWeights
from singscript_models.download import DownloadFailed, disk_trouble, download
from singscript_models.store import cache_dir, exclusive, store_dir
from singscript_separator.engines import released
from singscript_separator.engines.convert import (
    DAMAGED,
    NEEDS_DIFFQ,
    NO_NETWORK,
    convert,
    origin,
    origin_of,
)

if TYPE_CHECKING:  # torch and demucs take seconds and 200 MB; only loading needs them
    from demucs.apply import Model

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_CHECKSUM = re.compile(r"-[0-9a-f]{8,64}$")
_NETWORKS = {"demucs.demucs.Demucs", "demucs.hdemucs.HDemucs", "demucs.htdemucs.HTDemucs"}


class WeightsRefused(EngineUnavailable):
    """A checkpoint is damaged, or holds something other than the weights of a Demucs network."""

    reason = "WEIGHTS_REFUSED"


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
    if (models_dir / f"{name}.safetensors").is_file() or _pickle_in(models_dir, name):
        return Recipe((name,))
    if (models_dir / f"{name}.yaml").is_file():
        return _bag(models_dir / f"{name}.yaml", "")
    if (_released_dir() / f"{name}.yaml").is_file():
        return _bag(_released_dir() / f"{name}.yaml", f"adefossez/{hub_repo_name(name)}")
    return None


def known_models(models_dir: Path) -> list[str]:
    """Names of models: those of one's own first, then those that Demucs has released, whether or not they are here."""
    released_names = sorted(file.stem for file in _released_dir().glob("*.yaml"))
    files = sorted(models_dir.iterdir()) if models_dir.is_dir() else []
    bags = {file.stem: _bag(file, "") for file in files if file.suffix == ".yaml"}
    parts = {signature for bag in bags.values() if bag for signature in bag.signatures}
    for name in released_names:
        bag = _bag(_released_dir() / f"{name}.yaml", "")
        parts.update(bag.signatures if bag else ())
    single = {file.stem for file in files if file.suffix == ".safetensors"}
    single |= {_CHECKSUM.sub("", file.stem) for file in files if file.suffix == ".th"}
    own = {name for name, bag in bags.items() if bag} | (single - parts)
    return [name for name in sorted(own) if _NAME.fullmatch(name) and name not in released_names] + released_names


def checkpoint_path(signature: str, recipe: Recipe, models_dir: Path) -> Path | None:
    """The safetensors that are loaded for a checkpoint; None while there are none."""
    pickle = _pickle_in(models_dir, signature)
    for folder in (models_dir, cache_dir(models_dir)):
        path = folder / f"{signature}.safetensors"
        # A conversion of a pickle that has been replaced since does not count.
        if path.is_file() and (pickle is None or origin_of(path) in (None, origin(pickle))):
            return path
    return None if pickle else _in_hub_cache(signature, recipe)


def missing(recipe: Recipe, models_dir: Path) -> list[str]:
    """The checkpoints that are not on this machine, neither as safetensors nor as a pickle."""
    return [
        signature
        for signature in dict.fromkeys(recipe.signatures)
        if checkpoint_path(signature, recipe, models_dir) is None and _pickle(signature, models_dir) is None
    ]


def download_urls(signature: str) -> list[str]:
    """Where a checkpoint can be downloaded from, if anywhere; one place is enough."""
    return [source.url for source in released.sources(signature)]


def fetch(signatures: Sequence[str], recipe: Recipe, models_dir: Path) -> Generator[Progress]:
    """Makes `checkpoint_path` find these checkpoints: downloads and converts what lacks, and nothing else.

    Of processes and of threads that do so at once, one works and the others wait for it.

    Yields:
        About twice a second, bytes done and in all while something is downloaded.
    Raises:
        DownloadFailed: the network or the disk failed, or nobody has released these weights.
        WeightsRefused: a pickle is damaged, or not the weights of a Demucs network.
    """
    wanted = [s for s in dict.fromkeys(signatures) if checkpoint_path(s, recipe, models_dir) is None]
    sizes = [_download_bytes(s, models_dir) for s in wanted]
    before_bytes = 0
    try:
        for index, signature in enumerate(wanted):
            own_bytes = 0
            for progress in _fetch(signature, recipe, models_dir):
                if progress.done_bytes is None:
                    yield progress
                    continue
                rest = [progress.total_bytes, *sizes[index + 1 :]]
                total_bytes = before_bytes + sum(s for s in rest if s is not None) if None not in rest else None
                own_bytes = progress.done_bytes
                yield Progress(0.0, done_bytes=before_bytes + own_bytes, total_bytes=total_bytes)
            before_bytes += own_bytes
    except OSError as error:
        raise disk_trouble(error) from error


def load_models(signatures: Sequence[str], recipe: Recipe, models_dir: Path) -> dict[str, Model]:
    """The networks of these checkpoints, on the CPU, ready for inference, with the segment that the recipe wants.

    Raises:
        WeightsRefused: a checkpoint is not there, damaged, not the weights of a Demucs network, or of another kind than
            the rest of its bag.
    """
    models: dict[str, Model] = {}
    for signature in dict.fromkeys(signatures):
        path = checkpoint_path(signature, recipe, models_dir)
        if path is None:
            raise WeightsRefused(f"The weights {signature} are not there. Get them again.")
        models[signature] = _load(signature, path)
    _fit_together(list(models.values()), recipe)
    return models


def hub_repo_name(name: str) -> str:
    """The repository of a released model, as `demucs.hf.hf_repo_name` has it (which would import torch)."""
    if name == "htdemucs":
        return "HTDemucs"
    if name.startswith("htdemucs_"):
        return "HTDemucs-" + name.removeprefix("htdemucs_")
    return "Demucs-" + name


def _fetch(signature: str, recipe: Recipe, models_dir: Path) -> Generator[Progress]:
    """One checkpoint; bytes are those of its own file."""
    store = store_dir(models_dir)
    with (yield from exclusive(store, signature)) as work:
        if checkpoint_path(signature, recipe, models_dir):
            return  # another one has just got it
        target = store / f"{signature}.safetensors"
        if pickle := _pickle(signature, models_dir):
            yield from _convert(signature, pickle, target, work)
            return
        part = yield from _download(signature, work)
        if part.suffix == ".safetensors":
            part.replace(target)
        else:
            try:
                yield from _convert(signature, part, target, work)
            except WeightsRefused:
                part.unlink()
                raise
            part.unlink()


def _download(signature: str, work: Path) -> Generator[Progress, None, Path]:
    """From the first place that has it."""
    failures: list[str] = []
    for source in released.sources(signature):
        part = work / Path(urlsplit(source.url).path).name
        try:
            yield from download(source, part)
            return part
        except DownloadFailed as failure:
            failures.append(failure.message)
    put = f"Put {signature}.safetensors or {signature}.th into SINGSCRIPT_MODELS_DIR"
    if not failures:
        raise DownloadFailed(f"The weights {signature} are not on this machine, and nobody has released them. {put}.")
    raise DownloadFailed(f"{' '.join(dict.fromkeys(failures))} {put}, or try again later.")


def _convert(signature: str, pickle: Path, target: Path, work: Path) -> Generator[Progress]:
    part = work / f"{signature}.converted"
    try:
        for _ in convert(pickle, part):
            yield Progress(0.0)
        part.replace(target)
    except NotWeights as error:
        raise _refusal(signature, error) from error
    finally:
        part.unlink(missing_ok=True)


def _download_bytes(signature: str, models_dir: Path) -> int | None:
    """How much has to be downloaded for a checkpoint; None where that is not known."""
    sources = released.sources(signature)
    return 0 if _pickle(signature, models_dir) or not sources else sources[0].size_bytes


def _bag(file: Path, repo_id: str) -> Recipe | None:
    try:
        bag = yaml.safe_load(file.read_text())
        signatures = tuple(str(signature) for signature in bag["models"])
        weights = [[float(x) for x in row] for row in bag["weights"]] if bag.get("weights") else None
        segment_s = float(bag["segment"]) if bag.get("segment") else None
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError, AttributeError):
        return None
    if not signatures or not all(_NAME.fullmatch(signature) for signature in signatures):
        return None
    if weights is not None and len(weights) != len(signatures):
        return None
    return Recipe(signatures, weights, segment_s, repo_id)


def _released_dir() -> Path:
    spec = find_spec("demucs")  # finds the package without importing it
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "remote"


def _torch_dir() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _pickle(signature: str, models_dir: Path) -> Path | None:
    return _pickle_in(models_dir, signature) or _pickle_in(_torch_dir(), signature)


def _pickle_in(folder: Path, signature: str) -> Path | None:
    if (folder / f"{signature}.th").is_file():
        return folder / f"{signature}.th"
    if not folder.is_dir():
        return None
    named = (path for path in sorted(folder.glob("*.th")) if _CHECKSUM.search(path.stem))
    return next((path for path in named if _CHECKSUM.sub("", path.stem) == signature), None)


def _in_hub_cache(signature: str, recipe: Recipe) -> Path | None:
    if not recipe.repo_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(recipe.repo_id, f"{signature}.safetensors")
    return Path(cached) if isinstance(cached, str) else None


def _refusal(signature: str, why: NotWeights) -> WeightsRefused:
    return WeightsRefused(f"The weights {signature} cannot be used: {why}")


def _load(signature: str, path: Path) -> Model:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Demucs drops arguments that its networks no longer have, with a warning
            return _load_safetensors(path).eval()
    except NotWeights as error:
        raise _refusal(signature, error) from error
    except SystemExit:  # how Demucs says that a package is missing
        raise _refusal(signature, NotWeights(NEEDS_DIFFQ)) from None
    except Exception as error:  # what a damaged file raises has no common type
        raise _refusal(signature, NotWeights(DAMAGED)) from error


def _load_safetensors(path: Path) -> Model:
    from demucs.hf import load_safetensors_model
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
    if metadata["klass"] not in _NETWORKS:
        raise NotWeights(NO_NETWORK)
    if not all(name.startswith("diffq.") for name in _class_names(json.loads(metadata.get("structure", "null")))):
        raise NotWeights(NO_NETWORK)
    return load_safetensors_model(path)


def _class_names(node: Any) -> list[str]:
    """Every class that the structure of a quantised state names; Demucs imports them all."""
    if isinstance(node, dict):
        own = [str(node["_class"])] if "_class" in node else []
        return own + [name for value in node.values() for name in _class_names(value)]
    if isinstance(node, list):
        return [name for value in node for name in _class_names(value)]
    return []


def _fit_together(models: list[Model], recipe: Recipe) -> None:
    """Checks the models of a bag against each other, and gives them its segment, as `demucs.apply.BagOfModels` does."""
    from demucs.htdemucs import HTDemucs

    kinds = {(tuple(model.sources), model.samplerate, model.audio_channels) for model in models}
    sources = len(models[0].sources)
    if len(kinds) > 1 or any(len(row) != sources for row in recipe.weights or []):
        raise WeightsRefused("The models of this bag do not fit together. Correct its yaml file.")
    for model in models:
        # A transformer cannot take more than it was made for.
        if recipe.segment_s is not None and (not isinstance(model, HTDemucs) or recipe.segment_s <= model.segment):
            model.segment = recipe.segment_s  # pyright: ignore[reportAttributeAccessIssue]  (declared as a fraction)
