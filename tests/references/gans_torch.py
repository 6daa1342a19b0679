"""The networks of DCGAN, SNGAN and WGAN-GP in straightforward PyTorch: a reference for igan's `dcgan` and `resnet`.

It shares no code with igan. Images are (n, channels, height, width); dense layers count height, width, channels, so
that weights need no shuffling. Every normalisation is in training mode. `play` is one update of a game.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Of a transposed convolution that makes an image twice as large: padding, and what is added at the end.
TWICE = {3: (1, 1), 4: (1, 0), 5: (2, 1)}


class BatchNorm(nn.Module):
    def __init__(self, features: int, epsilon: float = 1e-5):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.epsilon = epsilon

    def forward(self, values: Tensor) -> Tensor:
        return functional.batch_norm(values, None, None, self.scale, self.shift, training=True, eps=self.epsilon)


class LayerNorm(nn.Module):
    """Over channels, height and width together; a scale and a shift for each channel."""

    def __init__(self, features: int):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))

    def forward(self, values: Tensor) -> Tensor:
        normalized = functional.layer_norm(values, values.shape[1:], eps=1e-5)
        return normalized * self.scale[:, None, None] + self.shift[:, None, None]


NORMS = {"batch": BatchNorm, "layer": LayerNorm, "none": lambda features: nn.Identity()}


def to_map(values: Tensor, height: int, width: int) -> Tensor:
    return values.unflatten(1, (height, width, -1)).permute(0, 3, 1, 2)


def flat(values: Tensor) -> Tensor:
    return values.permute(0, 2, 3, 1).flatten(1)


class Generator(nn.Module):
    """Dense layer, transposed convolutions; `norm` as igan names it; `sides`: of the images, the smallest first."""

    def __init__(
        self, latent: int, widths: Sequence[int], kernel: int, sides: Sequence[int], norm: str, ends_plain: bool
    ):
        super().__init__()
        self.sides, self.norm, self.ends_plain = sides, norm, ends_plain
        self.dense = nn.Linear(latent, sides[0] ** 2 * widths[0])
        channels = [*widths, 3]
        padding, added = TWICE[kernel]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1)
            if ends_plain and after == 3
            else nn.ConvTranspose2d(before, after, kernel, 2, padding, added)
            for before, after in itertools.pairwise(channels)
        )
        first = {"batch": widths[:1], "flat": [sides[0] ** 2 * widths[0]]}.get(norm, [])
        self.norms = nn.ModuleList(BatchNorm(features) for features in [*first, *widths[1:]])

    def forward(self, latents: Tensor) -> Tensor:
        norms = list(self.norms)
        values = self.dense(latents)
        if self.norm == "flat":
            values = norms.pop(0)(values)
        values = to_map(values, self.sides[0], self.sides[0])
        if self.norm == "batch":
            values = norms.pop(0)(values)
        values = torch.relu(values)
        for index, convolution in enumerate(self.convolutions):
            values = convolution(values)
            if not (is_last := index + 1 == len(self.convolutions)) or not self.ends_plain:
                side = self.sides[index + 1]
                values = values[:, :, :side, :side]
            if not is_last:
                values = torch.relu(norms.pop(0)(values))
        return torch.tanh(values)


class Discriminator(nn.Module):
    """Convolutions of (features, kernel, stride), padded by half of the kernel, and a dense layer."""

    def __init__(
        self, layers: Sequence[tuple[int, int, int]], side: int, norm: str, normalizes_first: bool, slope: float
    ):
        super().__init__()
        self.slope, self.normalizes_first = slope, normalizes_first
        channels = [3, *(features for features, _, _ in layers)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, features, kernel, stride, (kernel - 1) // 2)
            for before, (features, kernel, stride) in zip(channels, layers, strict=False)
        )
        self.norms = nn.ModuleList(NORMS[norm](each) for each in channels[1 if normalizes_first else 2 :])
        for _, kernel, stride in layers:
            side = (side + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
        self.last = nn.Linear(side**2 * channels[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        values, norms = images, list(self.norms)
        for index, convolution in enumerate(self.convolutions):
            values = convolution(values)
            if index or self.normalizes_first:
                values = norms.pop(0)(values)
            values = functional.leaky_relu(values, self.slope)
        return self.last(flat(values))[:, 0]


class UpBlock(nn.Module):
    """As SNGAN's authors released it: the shortcut repeats pixels first, and convolves then."""

    def __init__(self, before: int, features: int):
        super().__init__()
        self.norms = nn.ModuleList([BatchNorm(before), BatchNorm(features)])
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(before, features, 3, padding=1),
                nn.Conv2d(features, features, 3, padding=1),
                nn.Conv2d(before, features, 1),
            ]
        )

    def forward(self, values: Tensor) -> Tensor:
        first, second, shortcut = self.convolutions
        residual = first(self.larger(torch.relu(self.norms[0](values))))
        return second(torch.relu(self.norms[1](residual))) + shortcut(self.larger(values))

    def larger(self, values: Tensor) -> Tensor:
        return functional.interpolate(values, scale_factor=2, mode="nearest")


class DownBlock(nn.Module):
    """The shortcut convolves first and takes means then, but in the first block, as SNGAN's authors released it."""

    def __init__(self, before: int, features: int, halves: bool, first: bool, norm: str):
        super().__init__()
        self.halves, self.first = halves, first
        between = features if first else before
        norms = [] if first else [NORMS[norm](before), NORMS[norm](between)]
        self.norms = nn.ModuleList(norms or [nn.Identity(), nn.Identity()])
        convolutions = [nn.Conv2d(before, between, 3, padding=1), nn.Conv2d(between, features, 3, padding=1)]
        if halves or before != features:
            convolutions.append(nn.Conv2d(before, features, 1))
        self.convolutions = nn.ModuleList(convolutions)

    def forward(self, values: Tensor) -> Tensor:
        residual = values if self.first else torch.relu(self.norms[0](values))
        residual = self.convolutions[0](residual)
        residual = self.smaller(self.convolutions[1](torch.relu(self.norms[1](residual))))
        if len(self.convolutions) == 2:
            return residual + self.smaller(values)
        shortcut = self.convolutions[2]
        return residual + (shortcut(self.smaller(values)) if self.first else self.smaller(shortcut(values)))

    def smaller(self, values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, 2) if self.halves else values


class ResidualGenerator(nn.Module):
    def __init__(self, latent: int, widths: Sequence[int], side: int):
        super().__init__()
        self.side = side
        self.dense = nn.Linear(latent, side**2 * widths[0])
        self.blocks = nn.ModuleList(UpBlock(*pair) for pair in itertools.pairwise(widths))
        self.norm, self.last = BatchNorm(widths[-1]), nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        values = to_map(self.dense(latents), self.side, self.side)
        for block in self.blocks:
            values = block(values)
        return torch.tanh(self.last(torch.relu(self.norm(values))))


class ResidualDiscriminator(nn.Module):
    def __init__(self, widths: Sequence[int], halvings: int, norm: str, pooling: str, last_bias: bool):
        super().__init__()
        self.blocks = nn.ModuleList(
            DownBlock(before, after, index < halvings, index == 0, norm)
            for index, (before, after) in enumerate(itertools.pairwise([3, *widths]))
        )
        self.pooling, self.last = pooling, nn.Linear(widths[-1], 1, bias=last_bias)

    def forward(self, images: Tensor) -> Tensor:
        values = images
        for block in self.blocks:
            values = block(values)
        pooled = torch.relu(values).sum((2, 3))
        if self.pooling == "mean":
            pooled = pooled / math.prod(values.shape[2:])
        return self.last(pooled)[:, 0]


def non_saturating_of_discriminator(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    return functional.softplus(-discriminator(real)).mean() + functional.softplus(discriminator(fake)).mean()


def non_saturating_of_generator(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    return functional.softplus(-discriminator(fake)).mean()


Loss = Callable[[Any, Tensor, Tensor], Tensor]  # Of a discriminator, real and generated images.
NON_SATURATING: Sequence[Loss] = (non_saturating_of_discriminator, non_saturating_of_generator)


def play(
    generator: nn.Module,
    discriminator: nn.Module,
    rate: float,
    images: Sequence[Tensor],
    latents: Sequence[Tensor],
    losses: Sequence[Loss] = NON_SATURATING,
) -> dict[str, float]:
    """One step of gradient descent of the discriminator, then of the generator. Returns their losses before it.

    Args:
      images, latents, losses: of the discriminator's step and of the generator's.
    """
    first = losses[0](discriminator, images[0], generator(latents[0]).detach())
    _descend(discriminator, first, rate)
    second = losses[1](discriminator, images[1], generator(latents[1]))
    _descend(generator, second, rate)
    return {"discriminator": first.item(), "generator": second.item()}


def _descend(network: nn.Module, loss: Tensor, rate: float) -> None:
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.data -= rate * gradient
