"""The ImageNet game in straightforward PyTorch, float64: a reference for one update's values. No code of igan's."""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .convolutional_torch import MinibatchDiscrimination, batch_norm, divergence, virtual_batch_norm


class Generator(nn.Module):
    """Latents ``(n, latent + noise)`` to images; the noise maps follow the latent, smallest first, channels last."""

    def __init__(self, latent: int, widths: Sequence[int], noise: Sequence[int], channels: int, reference: Tensor):
        super().__init__()
        self.latent, self.noise = latent, noise
        self.dense = nn.Parameter(torch.zeros(latent, 16 * widths[0]))
        self.kernels = nn.ParameterList(
            torch.zeros(widths[index] + noise[index], widths[index + 1], 5, 5) for index in range(len(widths) - 1)
        )
        self.shifts = nn.ParameterList(torch.zeros(width) for width in widths)
        self.last = nn.Conv2d(widths[-1] + noise[-1], channels, 5, padding=2)
        self.register_buffer("reference", reference)

    def level(self, index: int, values: Tensor) -> Tensor:
        if index == 0:
            return (values[:, : self.latent] @ self.dense).unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2)
        return functional.conv_transpose2d(values, self.kernels[index - 1], None, 2, padding=2, output_padding=1)

    def activate(self, index: int, values: Tensor, latents: Tensor) -> Tensor:
        """Adds the shift, and concatenates the noise map of this level."""
        sizes = [channels * (4 * 2**level) ** 2 for level, channels in enumerate(self.noise)]
        maps = latents[:, self.latent :].split(sizes, dim=1)[index]
        side = 4 * 2**index
        maps = maps.unflatten(1, (side, side, -1)).permute(0, 3, 1, 2)
        return torch.cat([torch.relu(values + self.shifts[index][:, None, None]), maps], dim=1)

    def forward(self, latents: Tensor) -> Tensor:
        values, reference = latents, self.reference
        for index in range(len(self.shifts)):
            values, reference = virtual_batch_norm(self.level(index, values), self.level(index, reference))
            values = self.activate(index, values, latents)
            reference = self.activate(index, reference, self.reference)
        return torch.tanh(self.last(values))


class Discriminator(nn.Module):
    """A joint batch, real half first, to outputs ``(n, classes + 1)``; the last output is that of "generated"."""

    def __init__(
        self,
        widths: Sequence[int],
        strides: Sequence[int],
        dense_inputs: int,
        dense_width: int,
        classes: int,
        minibatch: MinibatchDiscrimination,
    ):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, width, 3, stride, padding=1, bias=index == 0)
            for index, (inputs, width, stride) in enumerate(zip((3, *widths), widths, strides, strict=False))
        )
        self.shifts = nn.ParameterList(torch.zeros(width) for width in (*widths[1:], dense_width))
        self.dense = nn.Parameter(torch.zeros(dense_inputs, dense_width))
        self.minibatch = minibatch
        self.last = nn.Linear(dense_width + len(minibatch.bias), classes + 1)

    def forward(self, images: Tensor) -> Tensor:
        values = images
        for index, convolution in enumerate(self.convolutions):
            values = convolution(values)
            if index:
                values = batch_norm(values) + self.shifts[index - 1][:, None, None]
            values = functional.leaky_relu(values, 0.2)
        # The units of the dense layer count height, width, channels.
        values = batch_norm(values.permute(0, 2, 3, 1).flatten(1) @ self.dense) + self.shifts[-1]
        return self.last(self.minibatch(functional.leaky_relu(values, 0.2)))


def logit(outputs: Tensor) -> Tensor:
    """log of p(any class) / p(generated)."""
    return torch.logsumexp(outputs[:, :-1], dim=1) - outputs[:, -1]


class Game:
    """One step of each player with plain gradient descent."""

    def __init__(self, generator: Generator, discriminator: Discriminator, learning_rate: float):
        self.generator, self.discriminator, self.learning_rate = generator, discriminator, learning_rate

    def step(self, images: Tensor, labels: Tensor, latents: Tensor, more_images: Tensor, more_latents: Tensor) -> dict:
        """Returns the losses; `more_images` and `more_latents` are what the generator's step sees."""
        outputs = self.discriminator(torch.cat([images, self.generator(latents).detach()]))
        real, fake = outputs.chunk(2)
        classes_of_real = real[:, :-1]
        losses = {
            "supervised": functional.cross_entropy(classes_of_real, labels),
            "adversarial": divergence(logit(real), 0.75) + divergence(logit(fake), 0.0),
        }
        self.descend(self.discriminator, losses["supervised"] + losses["adversarial"])
        _, fake = self.discriminator(torch.cat([more_images, self.generator(more_latents)])).chunk(2)
        losses["generator"] = divergence(logit(fake), 0.375)
        self.descend(self.generator, losses["generator"])
        return {name: loss.detach() for name, loss in losses.items()}

    def descend(self, player: nn.Module, loss: Tensor) -> None:
        trained = list(player.parameters())
        gradients = torch.autograd.grad(loss, trained)
        with torch.no_grad():
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter -= self.learning_rate * gradient
