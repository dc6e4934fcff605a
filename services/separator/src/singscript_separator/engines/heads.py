"""Networks with only the outputs that are wanted: the last layer, the inverse transform and the copies get smaller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds; whoever has a network has imported it
    from demucs.apply import Model
    from torch import nn


def keep_sources(model: Model, wanted: Sequence[str]) -> None:
    """Removes, in place, the outputs for all sources but `wanted`; what a network gives for those stays the same.

    A network whose sources depend on each other to the end (a Wiener filter, a norm on the output) is left as it is;
    `model.sources` tells what comes out.
    """
    import torch

    layers = _last_layers(model)
    kept = [source for source in model.sources if source in wanted]
    for layer in layers:
        each = layer.out_channels // len(model.sources)  # those of one source stand together
        places = [model.sources.index(source) * each for source in kept]
        channels = torch.tensor([place + channel for place in places for channel in range(each)])
        layer.weight = torch.nn.Parameter(layer.weight.detach()[:, channels])
        if layer.bias is not None:
            layer.bias = torch.nn.Parameter(layer.bias.detach()[channels])
        layer.out_channels = len(channels)
    if layers:
        model.sources = kept


def _last_layers(model: Model) -> list[nn.ConvTranspose1d | nn.ConvTranspose2d]:
    """The layers that make the output, one for each branch; none where the sources cannot be told apart there."""
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDecLayer
    from torch import nn

    if isinstance(model, Demucs):
        return [layer for layer in list(model.decoder[-1].children())[-1:] if isinstance(layer, nn.ConvTranspose1d)]
    branches = [branch for name in ("decoder", "tdecoder") if (branch := getattr(model, name, None))]
    ends = [branch[-1] for branch in branches]
    if model.cac and all(isinstance(end, HDecLayer) and isinstance(end.norm2, nn.Identity) for end in ends):
        return [end.conv_tr for end in ends]
    return []
