"""R3GAN's networks and losses in straightforward PyTorch: a reference for igan's `r3gan`.

It shares no code with igan, and has the layout of `gans_torch`. Filters and grouped convolutions are PyTorch's own.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def filtered(values: Tensor) -> Tensor:
    """(1, 3, 3, 1) / 8 along both axes, at the places that all of the filter covers."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=values.dtype) / 8
    channels = values.shape[1]
    kernel = torch.outer(line, line).expand(channels, 1, 4, 4)
    return functional.conv2d(values, kernel, groups=channels)


def larger(values: Tensor) -> Tensor:
    count, channels, height, width = values.shape
    between = values.new_zeros(count, channels, 2 * height, 2 * width)
    between[:, :, ::2, ::2] = values
    return 4 * filtered(functional.pad(between, (2, 1, 2, 1)))


def smaller(values: Tensor) -> Tensor:
    return filtered(functional.pad(values, (1, 1, 1, 1)))[:, :, ::2, ::2]


class Block(nn.Module):
    def __init__(self, width: int, group: int):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(width, 2 * width, 1),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width // group),
                nn.Conv2d(2 * width, width, 1, bias=False),
            ]
        )

    def forward(self, values: Tensor) -> Tensor:
        hidden = values
        for layer in list(self.layers)[:2]:
            hidden = functional.leaky_relu(layer(hidden), 0.2)
        return values + self.layers[2](hidden)


class Generator(nn.Module):
    def __init__(self, latent: int, widths: Sequence[int], blocks: int, group: int):
        super().__init__()
        self.blocks_of_a_stage = blocks
        self.basis = nn.Parameter(torch.zeros(4, 4, widths[0]))
        changes = [nn.Conv2d(*pair, 1, bias=False) for pair in itertools.pairwise(widths) if pair[0] != pair[1]]
        self.changes = [before != after for before, after in itertools.pairwise(widths)]
        first, last = nn.Linear(latent, widths[0], bias=False), nn.Conv2d(widths[-1], 3, 1, bias=False)
        self.layers = nn.ModuleList([first, *changes, last])
        self.blocks = nn.ModuleList(Block(width, group) for width in widths for _ in range(blocks))

    def forward(self, latents: Tensor) -> Tensor:
        first, *layers = self.layers
        blocks = list(self.blocks)
        values = self.basis.permute(2, 0, 1) * first(latents)[:, :, None, None]
        for change in [None, *self.changes]:
            if change is not None:
                values = larger(layers.pop(0)(values) if change else values)
            for _ in range(self.blocks_of_a_stage):
                values = blocks.pop(0)(values)
        return layers.pop(0)(values)


class Discriminator(nn.Module):
    def __init__(self, widths: Sequence[int], blocks: int, group: int):
        super().__init__()
        self.blocks_of_a_stage = blocks
        widths = widths[::-1]
        changes = [nn.Conv2d(*pair, 1, bias=False) for pair in itertools.pairwise(widths) if pair[0] != pair[1]]
        self.changes = [before != after for before, after in itertools.pairwise(widths)]
        whole = nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        ends = [whole, nn.Linear(widths[-1], 1, bias=False)]
        self.layers = nn.ModuleList([nn.Conv2d(3, widths[0], 1, bias=False), *changes, *ends])
        self.blocks = nn.ModuleList(Block(width, group) for width in widths for _ in range(blocks))

    def forward(self, images: Tensor) -> Tensor:
        first, *layers = self.layers
        blocks = list(self.blocks)
        values = first(images)
        for change in [None, *self.changes]:
            if change is not None:
                values = smaller(values)
                values = layers.pop(0)(values) if change else values
            for _ in range(self.blocks_of_a_stage):
                values = blocks.pop(0)(values)
        whole, last = layers
        return last(whole(values).flatten(1))[:, 0]


def discriminator_loss(gamma: float):
    """Relativistic pairs, and the slopes at both kinds of images."""

    def loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        ends = [images.detach().requires_grad_(True) for images in (real, fake)]
        logits = [discriminator(images) for images in ends]
        value = functional.softplus(logits[1] - logits[0]).mean()
        for said, images in zip(logits, ends, strict=True):
            (slopes,) = torch.autograd.grad(said.sum(), images, create_graph=True)
            value = value + gamma / 2 * slopes.square().sum((1, 2, 3)).mean()
        return value

    return loss


def generator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    return functional.softplus(discriminator(real) - discriminator(fake)).mean()
