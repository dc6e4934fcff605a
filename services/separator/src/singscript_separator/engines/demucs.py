"""Demucs (Défossez et al.): every released model and bag, or one of your own, as a stream."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from singscript_core.errors import EngineUnavailable
from singscript_core.events import EngineChosen, Progress
from singscript_models.reach import Reach
from singscript_models.scheduler import Scheduler
from singscript_models.store import store_dir
from singscript_separator.engines import Estimates, Ready, Split, weights
from singscript_separator.engines.backends import Backend
from singscript_separator.engines.bag import Bag, bag_of, needed
from singscript_separator.engines.separation import separate
from singscript_separator.engines.weights import Recipe, WeightsRefused

# Of every released model; those with more have them at the end.
RELEASED_SOURCES = ("drums", "bass", "other", "vocals")

# What the instrumental is: the input minus the vocals, which add up to it exactly; or the sum of all other stems.
Instrumental = Literal["mix-minus-vocals", "sum-of-others"]


@dataclass(frozen=True, slots=True)
class Options:
    """How separation is done, whatever the model.

    Attributes:
        overlap: of the segments, from 0 to 1. Demucs has 0.25; 0.1 takes five sixths of the time.
        instrumental: how it is made.
        backend: what computes.
        threads: see `backends.network`.
    """

    overlap: float = 0.25
    instrumental: Instrumental = "mix-minus-vocals"
    backend: Backend = "auto"
    threads: int = 0


class Demucs:
    """The real thing.

    Args:
        default_model: used when a request names none.
        models_dir: where weights are looked for first, and kept when downloaded.
        allow_download: whether weights may be fetched from the hub.
        reach: finds out whether the hub answers.
        scheduler: owns the compute.
    """

    name = "demucs"

    def __init__(
        self,
        default_model: str,
        models_dir: Path,
        allow_download: bool,
        reach: Reach,
        scheduler: Scheduler,
        options: Options = Options(),
    ) -> None:
        self.default_model = default_model
        self._models_dir = models_dir
        self._allow_download = allow_download
        self._reach = reach
        self._scheduler = scheduler
        self._options = options
        self._loading = threading.Lock()
        # The model that was used last; a second one takes its place, as each needs hundreds of megabytes.
        self._loaded: _Loaded | None = None
        self._refused: dict[str, str] = {}  # model -> why its weights could not be used when last tried

    @property
    def models(self) -> list[str]:
        return weights.known_models(self._models_dir)

    def problem(self, model: str) -> str:
        if model in self._refused:
            return self._refused[model]
        try:
            return self._missing(self._recipe(model, every_source=False))
        except EngineUnavailable as error:
            return error.message

    def ready(self, model: str, split: Split) -> Generator[Progress, None, Ready]:
        every_source = split == "all" or self._options.instrumental == "sum-of-others"
        recipe = self._recipe(model, every_source)
        if problem := self._missing(recipe):
            raise EngineUnavailable(problem, metadata={"engine": self.name})
        try:
            yield from weights.fetch(recipe.signatures, recipe, self._models_dir)
            with self._loading:
                if self._loaded is None or (self._loaded.model, self._loaded.every_source) != (model, every_source):
                    self._loaded = None  # before the next one is there: both may not fit into memory
                    self._loaded = self._load(model, recipe, every_source)
                bag, made_by = self._loaded.bag, self._loaded.made_by
        except EngineUnavailable as error:
            message = f"The Demucs model '{model}' cannot be used. {error.message}"
            self._refused[model] = message
            raise EngineUnavailable(message, metadata={"engine": self.name, "cause": error.reason}) from error
        self._refused.pop(model, None)
        stems = bag.sources if split == "all" else ("vocals", "instrumental")
        work = partial(separate, bag=bag, scheduler=self._scheduler, overlap=self._options.overlap, stems=stems)
        params = {"split": split, "overlap": f"{self._options.overlap:g}"}
        if split == "vocals":
            params["instrumental"] = self._options.instrumental
        estimates = Estimates(bag.sources, bag.channels, bag.sample_rate_hz, made_by)
        return Ready(EngineChosen(self.name, model, bag.device), stems, work, params, estimates=estimates)

    def _recipe(self, model: str, every_source: bool) -> Recipe:
        """What a model stands for; of a released bag only the models that count for what is wanted."""
        recipe = weights.find_recipe(model, self._models_dir)
        if recipe is None:
            raise EngineUnavailable(
                f"There is no Demucs model named '{model}', neither in SINGSCRIPT_MODELS_DIR nor among the "
                f"released ones. Choose another, such as htdemucs.",
                metadata={"engine": self.name},
            )
        if every_source or not recipe.repo_id:
            return recipe
        return _narrowed(recipe, [RELEASED_SOURCES.index("vocals")])

    def _missing(self, recipe: Recipe) -> str:
        missing = weights.missing(recipe, self._models_dir)
        if not missing:
            return ""
        put = f"put {' and '.join(f'{s}.safetensors or {s}.th' for s in missing)} into SINGSCRIPT_MODELS_DIR"
        lack = f"The weights {', '.join(missing)} of this Demucs model are not on this machine"
        if not recipe.repo_id:
            return f"{lack}: {put}."
        if not self._allow_download:
            return f"{lack} and may not be downloaded: {put}, or set SINGSCRIPT_ALLOW_MODEL_DOWNLOAD=true."
        if unreachable := self._reach.problem(*weights.download_urls(missing[0])):
            return f"{lack} and cannot be downloaded ({unreachable}): {put}, or let this machine reach the hub."
        return ""

    def _load(self, model: str, recipe: Recipe, every_source: bool) -> _Loaded:
        models = weights.load_models(recipe.signatures, recipe, self._models_dir)
        known = next(iter(models.values())).sources
        if "vocals" not in known:
            raise WeightsRefused("It does not know vocals. Choose another.")
        sources = tuple(known) if every_source else ("vocals",)
        for source in sources:
            if not needed(recipe.weights, len(recipe.signatures), [known.index(source)]):
                raise WeightsRefused(f"None of its networks counts for {source}. Correct the weights of the bag.")
        recipe = _narrowed(recipe, [known.index(source) for source in sources])
        found = (weights.checkpoint_path(s, recipe, self._models_dir) for s in recipe.signatures)
        paths = [path for path in found if path]
        bag = bag_of(
            [models[signature] for signature in recipe.signatures],
            recipe.weights or [[1.0] * len(known)] * len(recipe.signatures),
            paths,
            sources,
            self._options.backend,
            store_dir(self._models_dir) / "openvino",
            self._options.threads,
        )
        return _Loaded(model, every_source, bag, _made_by(bag, paths))


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model as it was loaded; `made_by` is that of its `Estimates`."""

    model: str
    every_source: bool
    bag: Bag
    made_by: str


def _narrowed(recipe: Recipe, places: list[int]) -> Recipe:
    """Of a bag those models that count for the sources at these places."""
    kept = needed(recipe.weights, len(recipe.signatures), places)
    rows = [recipe.weights[index] for index in kept] if recipe.weights else None
    return replace(recipe, signatures=tuple(recipe.signatures[index] for index in kept), weights=rows)


def _made_by(bag: Bag, checkpoints: list[Path]) -> str:
    """The device in words, versions of what computes there, and a digest of all weights and of how they are joined."""
    digest = hashlib.sha256()
    for checkpoint, member in zip(checkpoints, bag.members, strict=True):
        with checkpoint.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(f"{member.segment_samples} {member.shares.tolist()}".encode())
    return f"{bag.device}, torch {_version('torch')}, openvino {_version('openvino')}, {digest.hexdigest()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # OpenVINO is not there for every machine
        return "none"
