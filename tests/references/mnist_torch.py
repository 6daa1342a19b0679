"""The MNIST semi-supervised game in straightforward PyTorch: igan's reference for values and for speed.

It shares no code with igan. With `Draws` passed in (or noise of standard deviation 0), float64 and SGD it is a
reference to compare one update against; without them `Game.step` draws its own noise and is what the benchmark times:

    game = Game(initial_parameters(seed=0))
    for batch in batches:
        losses = game.step(batch)
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .mnist_numpy import EPSILON, NOISE_STDS, Batch, Draws

# Inductor's own random numbers are slow on a CPU, PyTorch's are not.
CPU_OPTIONS = {"fallback_random": True}
# What mode="reduce-overhead" stands for. A step's losses are overwritten by the next step: read them before it.
CUDA_OPTIONS = {"triton.cudagraphs": True}

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class WeightNormDense(nn.Module):
    """``inputs @ (kernel / |kernel| * scale) + bias``, the norm over the inputs of each unit."""

    def __init__(self, layer: Mapping[str, np.ndarray], *, train_scale: bool, epsilon: float = 0.0):
        super().__init__()
        self.epsilon = epsilon
        self.kernel = nn.Parameter(torch.tensor(layer["kernel"]))
        self.bias = nn.Parameter(torch.tensor(layer["bias"]))
        scale = torch.tensor(layer["scale"])
        if train_scale:
            self.scale = nn.Parameter(scale)
        else:
            self.register_buffer("scale", scale)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.epsilon:
            kernel = self.kernel * (self.scale / torch.sqrt(self.epsilon + self.kernel.square().sum(dim=0)))
        else:
            # The fused kernel behind torch.nn.utils.parametrizations.weight_norm: a fifth more steps a second, eagerly.
            kernel = torch._weight_norm(self.kernel, self.scale[None], 1)
        return torch.addmm(self.bias, inputs, kernel)


class ShiftBatchNormDense(nn.Module):
    """A dense layer without bias, batch norm with the batch's statistics and a trained shift, softplus."""

    def __init__(self, layer: Mapping[str, np.ndarray]):
        super().__init__()
        self.kernel = nn.Parameter(torch.tensor(layer["kernel"]))
        self.bias = nn.Parameter(torch.tensor(layer["bias"]))

    def forward(self, inputs: Tensor) -> Tensor:
        values = functional.batch_norm(inputs @ self.kernel, None, None, training=True, eps=EPSILON)
        return functional.softplus(values + self.bias)


class Generator(nn.Module):
    """Latents ``(n, 100)`` to images ``(n, 784)`` in [0, 1]."""

    def __init__(self, layers: Sequence[Mapping[str, np.ndarray]]):
        super().__init__()
        self.hidden = nn.Sequential(*(ShiftBatchNormDense(layer) for layer in layers[:-1]))
        self.last = WeightNormDense(layers[-1], train_scale=True, epsilon=EPSILON)

    def forward(self, latent: Tensor) -> Tensor:
        return torch.sigmoid(self.last(self.hidden(latent)))


class Discriminator(nn.Module):
    """Images ``(n, 784)`` to class logits ``(n, 10)`` and the last hidden layer's features ``(n, 250)``."""

    def __init__(self, layers: Sequence[Mapping[str, np.ndarray]], noise_stds: Sequence[float]):
        super().__init__()
        self.noise_stds = tuple(noise_stds)
        self.hidden = nn.ModuleList(WeightNormDense(layer, train_scale=False) for layer in layers[:-1])
        self.last = WeightNormDense(layers[-1], train_scale=True)

    def with_noise(self, values: Tensor, index: int, noises: Sequence[Tensor] | None) -> Tensor:
        if noises is not None:
            return values + noises[index]
        std = self.noise_stds[index]
        return torch.add(values, torch.randn_like(values), alpha=std) if std else values

    def forward(self, images: Tensor, noises: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        values = images
        for index, layer in enumerate(self.hidden):
            values = torch.relu(layer(self.with_noise(values, index, noises)))
        return self.last(self.with_noise(values, len(self.hidden), noises)), values


class AuthorsAdam(torch.optim.Optimizer):
    """Adam with epsilon inside the root of the bias-corrected second moment, as in the authors' code."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 3e-3, betas: tuple[float, float] = (0.5, 0.999)):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            parameters, (b1, b2) = group["params"], group["betas"]
            gradients = [parameter.grad for parameter in parameters]
            if "first" not in group:
                group.update(count=0, first=[torch.zeros_like(parameter) for parameter in parameters])
                group["second"] = [torch.zeros_like(parameter) for parameter in parameters]
            group["count"] += 1
            torch._foreach_lerp_(group["first"], gradients, 1 - b1)
            torch._foreach_mul_(group["second"], b2)
            torch._foreach_addcmul_(group["second"], gradients, gradients, 1 - b2)
            root = torch._foreach_div(group["second"], 1 - b2 ** group["count"])
            torch._foreach_add_(root, group["eps"])
            torch._foreach_sqrt_(root)
            torch._foreach_addcdiv_(parameters, group["first"], root, -group["lr"] / (1 - b1 ** group["count"]))


def fused_adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """PyTorch's own fused Adam, for benchmarks.

    Its epsilon is added to the root, not under it: the same arithmetic per element, but other numbers than
    `AuthorsAdam` wherever a gradient is not far above 1e-4. One kernel for all parameters, the fastest PyTorch has.
    """
    return torch.optim.Adam(parameters, lr=3e-3, betas=(0.5, 0.999), eps=1e-8, fused=True)


def sgd(learning_rate: float) -> MakeOptimizer:
    return lambda parameters: torch.optim.SGD(parameters, lr=learning_rate)


def semi_supervised_losses(
    labelled: Tensor, labels: Tensor, unlabelled: Tensor, generated: Tensor
) -> tuple[Tensor, Tensor]:
    """(supervised, unsupervised) from the class logits ``(n, K)`` of the three batches."""
    real, fake = torch.logsumexp(unlabelled, dim=1), torch.logsumexp(generated, dim=1)
    on_real = 0.5 * (functional.softplus(real) - real).mean()
    return functional.cross_entropy(labelled, labels), on_real + 0.5 * functional.softplus(fake).mean()


def feature_matching(real_features: Tensor, fake_features: Tensor) -> Tensor:
    return (real_features.mean(dim=0) - fake_features.mean(dim=0)).square().mean()


class Game:
    """Two networks, two optimisers and the moving averages of both networks' parameters.

    Args:
      parameters: plain arrays in the layout of `mnist_numpy`.
      noise_stds: one per discriminator layer; used where no `Draws` are passed in.
      optimizer: makes an optimiser from parameters: `fused_adam`, `AuthorsAdam`, `sgd(0.1)`.
      average_rate: of the moving averages, which start at zero as in the authors' code.
      compile_options: None runs eagerly; else the losses go through `torch.compile` with these options: `CPU_OPTIONS`,
        `CUDA_OPTIONS`, or {} for its defaults. Optimisers and averages are single fused calls either way.
    """

    def __init__(
        self,
        parameters: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
        *,
        noise_stds: Sequence[float] = NOISE_STDS,
        optimizer: MakeOptimizer = fused_adam,
        average_rate: float = 1e-4,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        compile_options: dict[str, Any] | None = None,
    ):
        self.generator = Generator(parameters["generator"]).to(device, dtype)
        self.discriminator = Discriminator(parameters["discriminator"], noise_stds).to(device, dtype)
        self.generator_optimizer = optimizer(self.generator.parameters())
        self.discriminator_optimizer = optimizer(self.discriminator.parameters())
        self.average_rate = average_rate
        self.trained: list[Tensor] = [*self.generator.parameters(), *self.discriminator.parameters()]
        self.average = [torch.zeros_like(parameter) for parameter in self.trained]
        self.latent_width = len(parameters["generator"][0]["kernel"])
        if compile_options is not None:
            self.discriminator_losses = torch.compile(self.discriminator_losses, options=compile_options)
            self.generator_loss = torch.compile(self.generator_loss, options=compile_options)

    def discriminator_losses(self, batch: Batch, draws: Draws | None) -> tuple[Tensor, Tensor]:
        size = len(batch.unlabelled_images)
        latent = self.draw_latent(batch.unlabelled_images) if draws is None else draws.discriminator_latent
        with torch.no_grad():
            generated = self.generator(latent)
        # Nothing in this discriminator mixes examples, so one pass over all three batches is the same and faster.
        noises = None
        if draws is not None and draws.labelled is not None:
            noises = [torch.cat(parts) for parts in zip(draws.labelled, draws.unlabelled, draws.generated, strict=True)]
        logits, _ = self.discriminator(torch.cat([batch.labelled_images, batch.unlabelled_images, generated]), noises)
        labelled, unlabelled, fake = logits.split([len(batch.labels), size, len(generated)])
        return semi_supervised_losses(labelled, batch.labels, unlabelled, fake)

    def generator_loss(self, batch: Batch, draws: Draws | None) -> Tensor:
        latent = self.draw_latent(batch.real_images) if draws is None else draws.generator_latent
        with torch.no_grad():
            _, real = self.discriminator(batch.real_images, None if draws is None else draws.real)
        _, fake = self.discriminator(self.generator(latent), None if draws is None else draws.fake)
        return feature_matching(real, fake)

    def draw_latent(self, images: Tensor) -> Tensor:
        return torch.rand(len(images), self.latent_width, dtype=images.dtype, device=images.device)

    def step(self, batch: Batch, draws: Draws | None = None) -> dict[str, Tensor]:
        """One discriminator and one generator update; returns the losses (on the device, so that nothing waits)."""
        supervised, unsupervised = self.discriminator_losses(batch, draws)
        self.discriminator_optimizer.zero_grad()
        (supervised + unsupervised).backward()
        self.discriminator_optimizer.step()

        # The discriminator is a constant here: no time goes into gradients of its weights.
        self.discriminator.requires_grad_(False)
        matching = self.generator_loss(batch, draws)
        self.generator_optimizer.zero_grad()
        matching.backward()
        self.generator_optimizer.step()
        self.discriminator.requires_grad_(True)

        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.trained, self.average_rate)
        losses = {"supervised": supervised, "unsupervised": unsupervised, "feature_matching": matching}
        return {name: loss.detach() for name, loss in losses.items()}

    def parameters(self) -> dict[str, list[dict[str, np.ndarray]]]:
        """The current parameters as plain arrays, in the layout they came in."""

        def layers(modules: Iterable[nn.Module]) -> list[dict[str, np.ndarray]]:
            return [
                {name: value.cpu().numpy().copy() for name, value in module.state_dict().items()} for module in modules
            ]

        generator, discriminator = self.generator, self.discriminator
        return {
            "generator": layers([*generator.hidden, generator.last]),
            "discriminator": layers([*discriminator.hidden, discriminator.last]),
        }


def to_torch(arrays: Any, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    """A `Batch` or `Draws` of NumPy arrays as one of tensors: integers stay integers (int64), None stays None."""
    if arrays is None:
        return None
    if isinstance(arrays, list | tuple):
        parts = [to_torch(part, dtype, device) for part in arrays]
        return type(arrays)(*parts) if hasattr(arrays, "_fields") else parts
    array = np.asarray(arrays)
    integers = np.issubdtype(array.dtype, np.integer)
    return torch.tensor(array, dtype=torch.int64 if integers else dtype, device=device)
