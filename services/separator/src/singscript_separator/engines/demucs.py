"""Demucs (Défossez et al.), any released model or bag, window after window.

Each window is split, computed and joined by `demucs.apply.apply_model`; only two windows are ever held. The network
wants its input normalised by the mean and deviation of the whole track, which a stream does not know yet: here they
are those of everything up to the end of the window, so an input no longer than one window comes out just as Demucs has
it. The instrumental is the mix minus the vocals.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from singscript_audio.resample import Resampler
from singscript_core.errors import EngineUnavailable
from singscript_core.events import EngineChosen
from singscript_separator.engines import Block, Ready, Stems, weights
from singscript_separator.engines.reach import Reach
from singscript_separator.engines.windows import cross_faded

if TYPE_CHECKING:  # torch and demucs take seconds and 200 MB; they are imported by the first separation
    import torch
    from demucs.apply import BagOfModels

# Longer windows cost less overlap; shorter ones answer, and notice a cancelled call, sooner.
WINDOW_S = 20.0
FADE_S = 1.5
OVERLAP = 0.25  # of the segments within a window, Demucs' own default


class Demucs:
    """The real thing.

    Args:
        default_model: used when a request names none.
        models_dir: where weights are looked for first, and kept when downloaded.
        allow_download: whether weights may be fetched from the hub.
        reach: finds out whether the hub answers.
    """

    name = "demucs"

    def __init__(self, default_model: str, models_dir: Path, allow_download: bool, reach: Reach) -> None:
        self.default_model = default_model
        self._models_dir = models_dir
        self._allow_download = allow_download
        self._reach = reach
        self._loading = threading.Lock()
        self._computing = threading.Lock()
        # The model that was used last; a second one takes its place, as each needs hundreds of megabytes.
        self._loaded: tuple[str, BagOfModels] | None = None
        self._refused: dict[str, str] = {}  # model -> why its weights could not be used when last tried

    def problem(self, model: str) -> str:
        return self._refused.get(model) or self._missing(model)

    def ready(self, model: str) -> Ready:
        if problem := self._missing(model):
            raise EngineUnavailable(problem, metadata={"engine": self.name})
        with self._loading:
            if self._loaded is None or self._loaded[0] != model:
                self._loaded = (model, self._load(model))
            bag = self._loaded[1]
        device = next(bag.parameters()).device
        return Ready(EngineChosen(self.name, model, device.type), partial(separate, bag=bag, computing=self._computing))

    def _missing(self, model: str) -> str:
        recipe = weights.find_recipe(model, self._models_dir)
        if recipe is None:
            return (
                f"There is no Demucs model named '{model}', neither in SINGSCRIPT_MODELS_DIR nor among the "
                f"released ones. Choose another, such as htdemucs."
            )
        missing = weights.missing(recipe, self._models_dir)
        if not missing:
            return ""
        put = f"put {' and '.join(f'{s}.safetensors or {s}.th' for s in missing)} into SINGSCRIPT_MODELS_DIR"
        lack = f"The weights of the Demucs model '{model}' are not on this machine"
        if not recipe.repo_id:
            return f"{lack}: {put}."
        if not self._allow_download:
            return f"{lack} and may not be downloaded: {put}, or set SINGSCRIPT_ALLOW_MODEL_DOWNLOAD=true."
        if unreachable := self._reach.problem(*weights.download_urls(missing[0])):
            return f"{lack} and cannot be downloaded ({unreachable}): {put}, or let this machine reach the hub."
        return ""

    def _load(self, model: str) -> BagOfModels:
        recipe = weights.find_recipe(model, self._models_dir)
        assert recipe is not None  # `_missing` has just found it
        try:
            for _ in weights.fetch(recipe.signatures, recipe, self._models_dir):
                pass
            paths = [weights.checkpoint_path(s, recipe, self._models_dir) for s in recipe.signatures]
            bag = weights.load(recipe, [path for path in paths if path])
        except EngineUnavailable as error:
            self._refused[model] = error.message
            raise
        if "vocals" not in bag.sources:
            raise self._refusal(model, "cannot be used: this model does not know vocals. Choose another")
        self._refused.pop(model, None)
        return bag.to(_device())

    def _refusal(self, model: str, why: str) -> EngineUnavailable:
        self._refused[model] = f"The weights of the Demucs model '{model}' {why}."
        return EngineUnavailable(self._refused[model], metadata={"engine": self.name})


def separate(
    blocks: Iterator[Block], *, sample_rate_hz: int, channels: int, bag: BagOfModels, computing: threading.Lock
) -> Iterator[Stems]:
    """Splits a sound of any rate; holds at most two windows of it.

    Args:
        blocks: shape (n, channels).
        sample_rate_hz, channels: of the blocks, and of the stems.
        bag: the model.
        computing: held while the network computes, so that streams take turns.
    """
    waiting: list[Block] = []  # what came in, and whose vocals are not known yet

    def heard() -> Iterator[Block]:
        for block in blocks:
            waiting.append(block)
            yield block

    rate_hz, wide = int(bag.samplerate), int(bag.audio_channels)
    mix = _resampled(heard(), Resampler(sample_rate_hz, channels, rate_hz, wide))
    window_samples, fade_samples = _window_samples(bag), round(FADE_S * rate_hz)
    estimate = _estimator(bag, fade_samples, computing)
    voice = cross_faded(mix, estimate, window_samples=window_samples, fade_samples=fade_samples)
    first_sample = 0
    for vocals in _resampled(voice, Resampler(rate_hz, wide, sample_rate_hz, channels)):
        if not len(vocals):
            continue
        sound = _take(waiting, len(vocals))
        vocals = vocals[: len(sound)]
        yield Stems(first_sample, vocals, sound - vocals)
        first_sample += len(sound)
    # Two resamplings may end a sample or two early.
    for rest in filter(len, waiting):
        yield Stems(first_sample, np.zeros_like(rest), rest)
        first_sample += len(rest)


def _device() -> torch.device:
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _window_samples(bag: BagOfModels) -> int:
    """About WINDOW_S: as many strides of the longest segment as fit, so that no segment is computed for a remnant."""
    segment_samples = max(int(bag.samplerate * model.segment) for model in bag.models)  # pyright: ignore
    stride_samples = int((1 - OVERLAP) * segment_samples)
    return max(1, math.floor(WINDOW_S * bag.samplerate / stride_samples)) * stride_samples


def _estimator(bag: BagOfModels, fade_samples: int, computing: threading.Lock) -> Callable[[Block], Block]:
    """From a window of the mix to its vocals, both of shape (n, channels)."""
    import torch
    from demucs.apply import apply_model

    vocals_index = bag.sources.index("vocals")
    device = next(bag.parameters()).device
    count, total, squares = 0, 0.0, 0.0

    def estimate(window: Block) -> Block:
        nonlocal count, total, squares
        fresh = (window if count == 0 else window[fade_samples:]).mean(axis=1, dtype=np.float64)
        count, total, squares = count + len(fresh), total + fresh.sum(), squares + np.square(fresh).sum()
        mean = total / count
        deviation = math.sqrt(max(squares - count * mean**2, 0.0) / max(count - 1, 1)) + 1e-8
        mix = torch.from_numpy(np.ascontiguousarray((window.T - mean) / deviation, dtype=np.float32))
        with computing:
            stems = apply_model(bag, mix[None], shifts=0, split=True, overlap=OVERLAP, device=device)
        return (stems[0, vocals_index].T * deviation + mean).numpy()

    return estimate


def _resampled(blocks: Iterator[Block], resampler: Resampler) -> Iterator[Block]:
    for block in blocks:
        yield resampler.push(block)
    yield resampler.flush()


def _take(waiting: list[Block], count: int) -> Block:
    """Removes the first `count` samples, or as many as there are."""
    sound = np.concatenate(waiting)
    waiting[:] = [sound[count:]]
    return sound[:count]
