"""A network of Demucs, computed by PyTorch: on an NVIDIA GPU, on Apple's, or on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from singscript_models.interruption import interruptible
from singscript_separator.engines.overlap_add import Planes

if TYPE_CHECKING:  # torch and demucs take seconds and 200 MB; they are imported by the first separation
    import torch
    from demucs.apply import Model

GPU_BATCH = 8  # 8 segments of htdemucs take about 6 GB


class TorchNetwork:
    """Any network of Demucs; `Network` of the scheduler.

    Args:
        model: in evaluation mode.
        device: where it shall compute.
    """

    parallel = 1  # torch itself uses all the threads it was given

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model = model.to(device)
        interruptible(self._model)
        self._device = device
        self.batch = 1 if device.type == "cpu" else GPU_BATCH

    @property
    def device(self) -> str:
        return self._device.type

    def estimate(self, mixes: Sequence[Planes]) -> list[Planes]:
        import torch

        with torch.inference_mode():
            sources = self._model(torch.from_numpy(np.stack(mixes)).to(self._device))
            return list(sources.cpu().numpy())


def best_device() -> torch.device:
    """CUDA, else MPS, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
