"""Networks for points in straightforward PyTorch: a reference for igan's `points`, with which it shares no code."""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Norm(nn.Module):
    """Batch normalisation in training mode, with a shift and no scale."""

    def __init__(self, features: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, values: Tensor) -> Tensor:
        return functional.batch_norm(values, None, None, None, self.shift, training=True, eps=1e-6)


class Network(nn.Module):
    """Dense layers; `activation` as igan names it, maxout of so many neighbouring pieces; `divisor` of the inputs."""

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        outputs: int,
        activation: str = "relu",
        pieces: int = 1,
        norm: bool = False,
        divisor: float = 1.0,
    ):
        super().__init__()
        self.activation, self.pieces, self.divisor = activation, pieces, divisor
        self.layers = nn.ModuleList(
            nn.Linear(before, after * pieces, bias=not norm) for before, after in itertools.pairwise([inputs, *widths])
        )
        self.norms = nn.ModuleList(Norm(width * pieces) if norm else nn.Identity() for width in widths)
        self.last = nn.Linear(widths[-1], outputs)

    def forward(self, values: Tensor) -> Tensor:
        values = values / self.divisor
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values = norm(layer(values))
            if self.activation == "maxout":
                values = torch.stack([values[:, piece :: self.pieces] for piece in range(self.pieces)]).max(0).values
            else:
                values = getattr(torch, self.activation)(values)
        return self.last(values)


class Discriminator(Network):
    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values)[:, 0]
