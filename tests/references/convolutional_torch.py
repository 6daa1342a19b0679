"""The CIFAR-10 games in straightforward PyTorch: igan's reference for values and for speed.

It shares no code with igan. In float64, with noise and dropout 0, SGD and the latents handed over, it is a reference to
compare one update against; without latents `Game.step` draws its own, and is what the benchmark times:

    game = Game(Generator(), Discriminator(classes=10), Rules(), optimizer=torch.optim.Adam)
    losses = game.step(batch)

Images are (n, channels, height, width), in memory with the channels last where they come so.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-6
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Batch(NamedTuple):
    """What one step of the discriminator and the steps of the generator see."""

    images: Tensor
    labelled_images: Tensor | None = None  # None where `labels` are those of `images`, or there are none.
    labels: Tensor | None = None
    generator_images: Sequence[Tensor] = ()  # A real batch for each step of the generator.


class Draws(NamedTuple):
    """The latents of one update."""

    discriminator: Tensor
    generator: Sequence[Tensor]


class Rules(NamedTuple):
    """What the variants differ in, beside their networks."""

    objective: str = "feature matching"  # Or "minimax".
    generator_steps: int = 1
    real_target: float = 1.0
    unsupervised_weight: float = 0.5
    historical_strength: float = 0.0


class WeightNorm(nn.Module):
    """A dense layer, a convolution or a transposed one with the kernel ``scale * direction / |direction|``."""

    def __init__(
        self, shape: Sequence[int], *, stride: int = 1, padding: int = 0, kind: str = "conv", scale: bool = False
    ):
        super().__init__()
        self.kind, self.stride, self.padding = kind, stride, padding
        self.axis = 1 if kind == "transposed" else 0  # Of the outputs.
        self.direction = nn.Parameter(0.05 * torch.randn(*shape))
        self.bias = nn.Parameter(torch.zeros(shape[self.axis]))
        ones = torch.ones(shape[self.axis])
        self.scale = nn.Parameter(ones) if scale else nn.Buffer(ones)

    def forward(self, inputs: Tensor) -> Tensor:
        broadcast = [-1 if axis == self.axis else 1 for axis in range(self.direction.dim())]
        kernel = torch._weight_norm(self.direction, self.scale.view(broadcast), self.axis)
        if self.kind == "dense":
            return functional.linear(inputs, kernel, self.bias)
        if self.kind == "conv":
            return functional.conv2d(inputs, kernel, self.bias, self.stride, self.padding)
        return functional.conv_transpose2d(inputs, kernel, self.bias, self.stride, self.padding, output_padding=1)


def batch_norm(values: Tensor) -> Tensor:
    return functional.batch_norm(values, None, None, training=True, eps=EPSILON)


def virtual_batch_norm(values: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """(examples, reference batch); examples: normalised with n / (n + 1) of it, 1 / (n + 1) of themselves."""
    size, space = len(reference), tuple(range(2, values.dim()))

    def moment(power: int) -> Tensor:
        of_reference = reference.pow(power).mean((0, *space), keepdim=True)
        own = values.pow(power).mean(space, keepdim=True) if space else values.pow(power)
        return (size * of_reference + own) / (size + 1)

    mean = moment(1)
    return (values - mean) / torch.sqrt(moment(2) - mean.square() + EPSILON), batch_norm(reference)


class Generator(nn.Module):
    """Latents ``(n, latent)`` to images in (-1, 1); the units of the dense layer count height, width, channels."""

    def __init__(
        self,
        latent: int = 100,
        widths: Sequence[int] = (512, 256, 128),
        smallest: tuple[int, int] = (4, 4),
        channels: int = 3,
        reference: Tensor | None = None,
    ):
        super().__init__()
        self.latent, self.smallest = latent, smallest
        units = math.prod(smallest) * widths[0]
        self.dense = nn.Parameter(0.05 * torch.randn(latent, units))
        self.kernels = nn.ParameterList(0.05 * torch.randn(*pair, 5, 5) for pair in itertools.pairwise(widths))
        self.shifts = nn.ParameterList(torch.zeros(units if not index else width) for index, width in enumerate(widths))
        self.last = WeightNorm((widths[-1], channels, 5, 5), stride=2, padding=2, kind="transposed", scale=True)
        self.register_buffer("reference", reference)

    def layer(self, index: int, values: Tensor) -> Tensor:
        if index == 0:
            return values @ self.dense
        return functional.conv_transpose2d(values, self.kernels[index - 1], None, 2, padding=2, output_padding=1)

    def activate(self, index: int, values: Tensor) -> Tensor:
        values = torch.relu(values + self.shifts[index].view(-1, *[1] * (values.dim() - 2)))
        return values if index else values.unflatten(1, (*self.smallest, -1)).permute(0, 3, 1, 2)

    def forward(self, latents: Tensor) -> Tensor:
        values, reference = latents, self.reference
        for index in range(len(self.shifts)):
            values = self.layer(index, values)
            if reference is None:
                values = self.activate(index, batch_norm(values))
            else:
                values, reference = virtual_batch_norm(values, self.layer(index, reference))
                values, reference = self.activate(index, values), self.activate(index, reference)
        return torch.tanh(self.last(values))


class MinibatchDiscrimination(nn.Module):
    """Features ``(n, a)`` to ``(n, a + b)``: for each of b kernels the sum of closeness to the others of the batch.

    With `halves`, ``(n, a + 2 b)``: the mean closeness to the first half of the batch, and to the second.
    """

    def __init__(self, inputs: int, kernels: int = 100, dimensions: int = 5, halves: bool = False):
        super().__init__()
        self.halves = halves
        self.direction = nn.Parameter(0.05 * torch.randn(inputs, kernels, dimensions))
        self.log_scale = nn.Parameter(torch.zeros(kernels, dimensions))
        self.bias = nn.Parameter(torch.zeros((1 + halves) * kernels))

    def forward(self, features: Tensor) -> Tensor:
        tensor = self.direction / self.direction.square().sum(0).sqrt() * self.log_scale.exp()
        embedding = torch.einsum("na,abc->nbc", features, tensor)
        closeness = torch.exp(-(embedding[:, None] - embedding[None]).abs().sum(dim=3))
        different = 1 - torch.eye(len(features), dtype=features.dtype, device=features.device)
        count = 1 + self.halves
        parts = zip(different.chunk(count, dim=1), closeness.chunk(count, dim=1), strict=True)
        sums = [torch.einsum("ij,ijb->ib", m, c) / (m.sum(1, keepdim=True) if self.halves else 1) for m, c in parts]
        return torch.cat([features, torch.cat(sums, dim=1) + self.bias], dim=1)


class Discriminator(nn.Module):
    """Images to (outputs ``(n, classes or 1)``, features ``(n, wide)``)."""

    def __init__(
        self,
        classes: int | None = 10,
        widths: tuple[int, int] = (96, 192),
        channels: int = 3,
        input_dropout: float = 0.2,
        input_noise: float = 0.0,
        dropout: float = 0.5,
        minibatch: MinibatchDiscrimination | None = None,
    ):
        super().__init__()
        self.classes, self.input_noise = classes, input_noise
        self.input_dropout, self.dropout = nn.Dropout(input_dropout), nn.Dropout(dropout)
        inputs, convolutions = channels, []
        for width in widths:
            for stride in (1, 1, 2):
                convolutions.append(WeightNorm((width, inputs, 3, 3), stride=stride, padding=1))
                inputs = width
        convolutions += [WeightNorm((inputs, inputs, side, side)) for side in (3, 1, 1)]
        self.convolutions = nn.ModuleList(convolutions)
        self.minibatch = minibatch
        inputs += 0 if minibatch is None else len(minibatch.bias)
        self.last = WeightNorm((classes or 1, inputs), kind="dense", scale=True)

    def features(self, images: Tensor) -> Tensor:
        values = self.input_dropout(images)
        if self.input_noise:
            values = torch.add(values, torch.randn_like(values), alpha=self.input_noise)
        for index, convolution in enumerate(self.convolutions):
            values = functional.leaky_relu(convolution(values), 0.2)
            if index in (2, 5):
                values = self.dropout(values)
        return values.mean(dim=(2, 3), dtype=torch.promote_types(values.dtype, torch.float32))

    def forward(self, *batches: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(outputs, features) of each batch. They go through the convolutions together, since those mix no examples."""
        features = self.features(torch.cat(batches)).split([len(batch) for batch in batches])
        return [(self.last(each if self.minibatch is None else self.minibatch(each)), each) for each in features]


def divergence(logits: Tensor, target: float) -> Tensor:
    """Mean Kullback-Leibler divergence of Bernoulli(target) to Bernoulli(sigmoid(logits))."""
    entropy = -sum(share * math.log(share) for share in (target, 1 - target) if share > 0)
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target)) - entropy


def logit(outputs: Tensor, classes: int | None) -> Tensor:
    return outputs[:, 0] if classes is None else torch.logsumexp(outputs, dim=1)


class Game:
    """Two networks, two optimisers and the moving averages of both networks' parameters.

    Args:
      rules: see `Rules`.
      optimizer: makes an optimiser from parameters.
      autocast: bfloat16 for what `torch.autocast` thinks fit.
      compile_options: None runs eagerly; else the losses go through `torch.compile` with these options.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        rules: Rules,
        *,
        optimizer: MakeOptimizer,
        average_rate: float = 1e-4,
        autocast: bool = False,
        compile_options: dict[str, Any] | None = None,
    ):
        self.generator, self.discriminator, self.rules = generator, discriminator, rules
        networks = {"discriminator": discriminator, "generator": generator}
        self.trained = {name: list(network.parameters()) for name, network in networks.items()}
        self.optimizers = {name: optimizer(trained) for name, trained in self.trained.items()}
        self.average_rate, self.autocast = average_rate, autocast
        self.average = {name: [each.detach().clone() for each in trained] for name, trained in self.trained.items()}
        self.history: dict[str, list[list[Tensor]]] = {name: [] for name in networks}
        if compile_options is not None:
            self.discriminator_loss = torch.compile(self.discriminator_loss, options=compile_options)
            self.generator_loss = torch.compile(self.generator_loss, options=compile_options)

    def discriminator_loss(self, batch: Batch, latents: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake_images = self.generator(latents)
        classes = self.discriminator.classes
        apart = [] if batch.labelled_images is None else [batch.labelled_images]
        (real, _), (fake, _), *others = self.discriminator(batch.images, fake_images, *apart)
        on_real = divergence(logit(real, classes), self.rules.real_target)
        losses = {"unsupervised": self.rules.unsupervised_weight * (on_real + divergence(logit(fake, classes), 0.0))}
        if batch.labels is not None:
            losses["supervised"] = functional.cross_entropy(others[0][0] if others else real, batch.labels)
        return losses

    def generator_loss(self, images: Tensor, latents: Tensor) -> dict[str, Tensor]:
        ((fake, fake_features),) = self.discriminator(self.generator(latents))
        if self.rules.objective == "minimax":
            return {"minimax": -functional.softplus(logit(fake, self.discriminator.classes)).mean()}
        with torch.no_grad():
            ((_, real_features),) = self.discriminator(images)
        return {"feature matching": (real_features.mean(dim=0) - fake_features.mean(dim=0)).abs().mean()}

    def descend(self, player: str, loss: Callable[..., dict[str, Tensor]], *arguments: Any) -> dict[str, Tensor]:
        """One step of a player; returns its losses, on the device."""
        trained, strength = self.trained[player], self.rules.historical_strength
        with torch.autocast(trained[0].device.type, torch.bfloat16, enabled=self.autocast):
            losses = loss(*arguments)
        gradients = torch.autograd.grad(sum(losses.values()), trained)
        if strength:
            # The mean of all parameters so far, as the paper writes it, and its penalty's gradient.
            self.history[player].append([each.detach().clone() for each in trained])
            means = [torch.stack(past).mean(dim=0) for past in zip(*self.history[player], strict=True)]
            pulls = [2 * strength * (each.detach() - mean) for each, mean in zip(trained, means, strict=True)]
            gradients = [gradient + pull for gradient, pull in zip(gradients, pulls, strict=True)]
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[player].step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average[player], trained, self.average_rate)
        # Copies: what a CUDA graph returns is overwritten by the next one.
        return {name: value.detach().clone() for name, value in losses.items()}

    def draw_latents(self, images: Tensor) -> Tensor:
        return torch.rand(len(images), self.generator.latent, device=images.device)

    def step(self, batch: Batch, draws: Draws | None = None) -> dict[str, Tensor]:
        """One update of the discriminator, then the generator's; returns the losses, on the device."""
        latents = self.draw_latents(batch.images) if draws is None else draws.discriminator
        losses = self.descend("discriminator", self.discriminator_loss, batch, latents)
        # The discriminator is a constant here: no time goes into gradients of its weights.
        self.discriminator.requires_grad_(False)
        for index in range(self.rules.generator_steps):
            images = batch.generator_images[index] if batch.generator_images else batch.images
            latents = self.draw_latents(images) if draws is None else draws.generator[index]
            losses |= self.descend("generator", self.generator_loss, images, latents)
        self.discriminator.requires_grad_(True)
        return losses
