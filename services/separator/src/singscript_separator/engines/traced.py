"""What of a Hybrid Transformer Demucs is traced for another runtime; imports torch, so import it late."""

from __future__ import annotations

from typing import Any

import torch
from demucs.demucs import DConv
from demucs.htdemucs import HTDemucs
from torch import Tensor, nn
from torch.nn import functional


class Core(nn.Module):
    """A network between its Fourier transforms. It takes the given network for its own: use it for nothing else.

    From a mix (1, channels, n) and its spectrum (1, 2 × channels, bins, frames) to the spectra of the sources
    (1, sources, 2 × channels, bins, frames) and the waves that are added to what they become (1, sources, channels, n).
    """

    def __init__(self, model: HTDemucs) -> None:
        super().__init__()
        self.model = model
        for layer in (*model.encoder, *model.decoder):
            branch = getattr(layer, "dconv", None)
            if isinstance(branch, DConv) and layer.freq and _is_plain(branch):
                layer.dconv = RowConvolutions(branch)

    def forward(self, mix: Tensor, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        found: list[Tensor] = []
        seams: dict[str, Any] = {  # the methods that do, or undo, the transforms
            "_spec": lambda _: spectrum,
            "_magnitude": lambda given: given,
            "_mask": lambda _, spectra: found.append(spectra),
            "_ispec": lambda _, length: torch.zeros(()),
        }
        vars(self.model).update(seams)
        try:
            waves = self.model(mix)
        finally:
            for name in seams:
                del vars(self.model)[name]
        return found[0], waves


class RowConvolutions(nn.Module):
    """Does what a `DConv` does to a batch of rows, without taking the rows apart.

    Demucs moves the frequency axis into the batch for it, and back; runtimes that keep the channels last then move all
    data twice. Here the rows stay where they are, convolutions have kernels of one row, and norms are over channels and
    time. The moves that are left cancel out with those of the caller.
    """

    def __init__(self, branch: DConv) -> None:
        super().__init__()
        self.layers = branch.layers

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of shape (rows, channels, time), of one sound."""
        y = rows[None].transpose(1, 2)  # (1, channels, rows, time)
        layers: Any = self.layers
        for narrow, norm_in, _, wide, norm_out, _, scale in layers:
            dilation, padding, channels = narrow.dilation[0], narrow.padding[0], scale.scale.shape[0]
            x = functional.conv2d(
                y, narrow.weight[:, :, None], narrow.bias, padding=(0, padding), dilation=(1, dilation)
            )
            mean, spread = _statistics(norm_in.eps, x)
            x = functional.gelu((x - mean) * spread * _wide(norm_in.weight) + _wide(norm_in.bias))
            # The halves of the gated linear unit are computed apart, which spares cutting them apart.
            weight = wide.weight[:, :, None]
            value = functional.conv2d(x, weight[:channels], wide.bias[:channels])
            gate = functional.conv2d(x, weight[channels:], wide.bias[channels:])
            mean, spread = _statistics(norm_out.eps, value, gate)
            value = (value - mean) * spread * _wide(norm_out.weight[:channels]) + _wide(norm_out.bias[:channels])
            gate = (gate - mean) * spread * _wide(norm_out.weight[channels:]) + _wide(norm_out.bias[channels:])
            y = y + value * torch.sigmoid(gate) * _wide(scale.scale)
        return y.transpose(1, 2)[0]


def _is_plain(branch: DConv) -> bool:
    """Whether its layers are what `RowConvolutions` knows, and nothing more."""
    kinds = (nn.Conv1d, nn.GroupNorm, nn.GELU, nn.Conv1d, nn.GroupNorm, nn.GLU, nn.Module)
    layers = [list(layer.children()) for layer in branch.layers]
    return all(
        len(layer) == len(kinds) and all(isinstance(part, kind) for part, kind in zip(layer, kinds, strict=True))
        for layer in layers
    )


def _statistics(eps: float, *halves: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation of each row, over channels and time, as `GroupNorm(1, channels)` has them."""
    mean = sum(half.mean((1, 3), keepdim=True) for half in halves) / len(halves)
    assert isinstance(mean, Tensor)
    variance = sum(((half - mean) ** 2).mean((1, 3), keepdim=True) for half in halves) / len(halves)
    assert isinstance(variance, Tensor)
    return mean, torch.rsqrt(variance + eps)


def _wide(values: Tensor) -> Tensor:
    return values[None, :, None, None]
