"""A tiny HTDemucs with random weights, and a running separator that uses it."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: tests share their cores

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demucs.htdemucs import HTDemucs

from singscript_core.settings import ModelSettings
from singscript_separator.engines import Block
from singscript_separator.service import separator
from singscript_separator.settings import SeparatorSettings
from singscript_serving.server import running
from singscript_storage import ObjectStore

TINY_ARGUMENTS: dict[str, Any] = {
    "sources": ["drums", "bass", "other", "vocals"],
    "channels": 12,
    "depth": 4,
    "bottom_channels": 0,
    "t_layers": 1,
    "t_heads": 4,
    "t_hidden_scale": 2,
    "dconv_mode": 1,
    "segment": Fraction(1),
}

Served = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def tiny_network() -> HTDemucs:
    """An HTDemucs of random weights."""
    torch.manual_seed(0)
    return HTDemucs(**TINY_ARGUMENTS).eval()


@pytest.fixture(scope="session")
def package() -> dict[str, Any]:
    """What Demucs keeps in a .th file."""
    network = tiny_network()
    return {
        "klass": HTDemucs,
        "args": (),
        "kwargs": dict(TINY_ARGUMENTS),
        "state": network.state_dict(),
        "training_args": {},
    }


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory, package: dict[str, Any]) -> Path:
    """Holds the model `tiny`."""
    folder = tmp_path_factory.mktemp("models")
    torch.save(package, folder / "tiny.th")
    return folder


@pytest.fixture(scope="session")
def tones() -> Callable[..., Block]:
    """`tones(samples, channels=2)`: tones in noise, well below full scale."""

    def make(samples: int, channels: int = 2) -> Block:
        rng = np.random.default_rng(0)
        time_s = np.arange(samples)[:, None] / 44_100
        pure = 0.2 * np.sin(2 * np.pi * np.array([220.0, 331.0])[:channels] * time_s)
        return (pure + 0.05 * rng.standard_normal((samples, channels))).astype(np.float32)

    return make


@pytest.fixture
def served(models_dir: Path) -> Served:
    """`async with served(store=..., **settings) as address:`; the default model is `tiny`."""

    @asynccontextmanager
    async def serve(
        store: ObjectStore | None = None, models: Path = models_dir, download: bool = False, **settings: Any
    ) -> AsyncIterator[str]:
        usual = {"separator_model": "tiny", "separator_backend": "torch", "drain_s": 0.2}
        own = SeparatorSettings(**(usual | settings))
        where = ModelSettings(models_dir=models, allow_model_download=download)
        async with running(separator(own, where, store), own) as address:
            yield address

    return serve
