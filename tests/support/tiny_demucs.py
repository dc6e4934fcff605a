"""Small networks of every family of Demucs, what Demucs itself makes of a sound with them, and how near that is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demucs.apply import BagOfModels, Model, apply_model
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

from singscript_core.stopping import Stop
from singscript_separator.engines import Block, Separate

RATE_HZ = 8_000
SEGMENT_SAMPLES = 2_001  # odd: the middle of the transition weights is one sample
SEGMENT = Fraction(SEGMENT_SAMPLES, RATE_HZ)
SOURCES = ("drums", "bass", "other", "vocals")


def htdemucs(seed: int = 0, **changes: Any) -> HTDemucs:
    """A Hybrid Transformer Demucs (v4)."""
    arguments: dict[str, Any] = {
        "sources": list(SOURCES),
        "channels": 8,
        "nfft": 1024,
        "depth": 4,
        "bottom_channels": 16,
        "t_layers": 1,
        "t_heads": 2,
        "t_hidden_scale": 2.0,
        "dconv_mode": 3,
        "samplerate": RATE_HZ,
        "segment": SEGMENT,
    }
    return _lively(HTDemucs, seed, arguments | changes)


def hdemucs(seed: int = 0, **changes: Any) -> HDemucs:
    """A Hybrid Demucs (v3)."""
    arguments: dict[str, Any] = {
        "sources": list(SOURCES),
        "channels": 8,
        "samplerate": RATE_HZ,
        "segment": float(SEGMENT),
    }
    return _lively(HDemucs, seed, arguments | changes)


def demucs(seed: int = 0, **changes: Any) -> Demucs:
    """A Demucs that knows time only (v2 and v3); it sees more than the segment that it computes."""
    arguments: dict[str, Any] = {
        "sources": list(SOURCES),
        "channels": 4,
        "depth": 4,
        "samplerate": RATE_HZ,
        "segment": float(SEGMENT),
    }
    return _lively(Demucs, seed, arguments | changes)


def _lively(klass: Any, seed: int, arguments: dict[str, Any]) -> Any:
    """A network whose every part can be heard: the residual branches would start at a ten thousandth."""
    torch.manual_seed(seed)
    model = klass(**arguments).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".scale"):
                parameter.fill_(0.3)
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def keep(model: Model, path: Path) -> None:
    """Writes a network as Demucs' own export does."""
    arguments: Any = vars(model)["_init_args_kwargs"][1]  # which every network remembers
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    klass = type(model)
    metadata = {
        "klass": f"{klass.__module__}.{klass.__qualname__}",
        "args": "[]",
        "kwargs": json.dumps(arguments, default=_fraction),
    }
    save_file(state, path, metadata)


def _fraction(value: Fraction) -> dict[str, str | int]:
    return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}


def music(samples: int, channels: int = 2, seed: int = 0) -> Block:
    """Tones that come and go, in noise, shape (samples, channels), well below full scale."""
    time_s = np.arange(samples)[:, None] / RATE_HZ
    tones = np.sin(2 * np.pi * np.array([220.0, 331.0])[:channels] * time_s) * (1 + np.sin(9 * time_s)) / 2
    noise = np.random.default_rng(seed).standard_normal((samples, channels))
    return (0.2 * tones + 0.05 * noise).astype(np.float32)


def cut(sound: Block, sizes: Sequence[int]) -> Iterator[Block]:
    """The sound in blocks of these sizes, in turn."""
    start, turn = 0, 0
    while start < len(sound):
        end = start + sizes[turn % len(sizes)]
        yield sound[start:end]
        start, turn = end, turn + 1


def streamed(
    separate: Separate, sound: Block, sizes: Sequence[int] = (700,), rate_hz: int = RATE_HZ
) -> dict[str, Block]:
    """What an engine gives for a sound that comes in blocks; checks that it is told in order, and all of it."""
    parts: dict[str, list[Block]] = {}
    position = 0
    for stems in separate(cut(sound, sizes), sample_rate_hz=rate_hz, channels=sound.shape[1], stop=Stop()):
        assert stems.first_sample == position
        assert stems.samples > 0
        for name, part in stems.parts.items():
            assert part.shape == (stems.samples, sound.shape[1])
            assert part.dtype == np.float32
            parts.setdefault(name, []).append(part)
        position += stems.samples
    assert position == len(sound)
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def applied(
    model: Model | BagOfModels, sound: Block, overlap: float = 0.25, heard: Block | None = None
) -> dict[str, Block]:
    """What Demucs makes of a sound of two channels, all of it at once, each source of shape (n, 2).

    Args:
        heard: that which tells by how much to normalise; else all of the sound, as Demucs does it.
    """
    mono = torch.from_numpy(sound if heard is None else heard).mean(1)
    mean, deviation = mono.mean(), (mono.std() if len(mono) > 1 else torch.tensor(0.0)) + 1e-8
    mix = (torch.from_numpy(sound.T.copy()) - mean) / deviation
    found = apply_model(model, mix[None], shifts=0, overlap=overlap)[0] * deviation + mean
    return {source: found[row].numpy().T for row, source in enumerate(model.sources)}


def snr_db(expected: Block, found: Block) -> float:
    """How far below the expected sound its difference to the found one is; 200 where there is none."""
    assert expected.shape == found.shape
    noise = float(np.mean((expected.astype(np.float64) - found) ** 2))
    power = float(np.mean(expected.astype(np.float64) ** 2))
    assert power > 0
    return 10 * float(np.log10(power / max(noise, power * 1e-20)))
