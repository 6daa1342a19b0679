"""PGGAN and StyleGAN in straightforward PyTorch: a reference for igan's `progressive`, `style` and their techniques.

It shares no code with igan. Networks are functions of their arrays by name; images are (n, channels, side, side), and
dense layers count height, width, channels. Kernels are as they are trained: (features, channels, height, width), or
(features, inputs) of dense layers.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Arrays = Mapping[str, Tensor]


def equalized(arrays: Arrays, name: str, values: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    kernel, bias = arrays[f"{name}.kernel"], arrays.get(f"{name}.bias")
    kernel = kernel * gain / math.sqrt(kernel[0].numel())
    if kernel.ndim == 2:
        return functional.linear(values, kernel, bias)
    return functional.conv2d(values, kernel, bias, padding=kernel.shape[-1] // 2)


def leaky(values: Tensor) -> Tensor:
    return functional.leaky_relu(values, 0.2)


def pixel_norm(values: Tensor) -> Tensor:
    return values / (values.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()


def larger(images: Tensor) -> Tensor:
    return functional.interpolate(images, scale_factor=2, mode="nearest")


def smaller(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, 2)


def generate(arrays: Arrays, latents: Tensor, side: int, alpha: float | None) -> Tensor:
    """`alpha`: the share of the last resolution while it fades in; None: it is there."""
    values = equalized(arrays, "first.0", pixel_norm(latents), math.sqrt(2) / 4)
    values = values.unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2) + arrays["first.bias"][:, None, None]
    values = pixel_norm(leaky(equalized(arrays, "first.1", pixel_norm(leaky(values)))))
    size, before = 4, values
    while size < side:
        size, before = 2 * size, values
        values = larger(values)
        for layer in (0, 1):
            values = pixel_norm(leaky(equalized(arrays, f"up_{size}.{layer}", values)))
    images = equalized(arrays, f"to_images_{side}.0", values, 1.0)
    if alpha is None:
        return images
    return torch.lerp(larger(equalized(arrays, f"to_images_{side // 2}.0", before, 1.0)), images, alpha)


def blur(values: Tensor) -> Tensor:
    channels = values.shape[1]
    line = torch.tensor([1.0, 2.0, 1.0], dtype=values.dtype) / 4
    kernel = torch.outer(line, line).expand(channels, 1, 3, 3)
    return functional.conv2d(values, kernel, padding=1, groups=channels)


def generate_styled(arrays: Arrays, latents: Tensor, side: int, alpha: float | None) -> Tensor:
    """StyleGAN's generator with a learning-rate multiplier of 0.01, and with noise where it has strengths."""
    w = pixel_norm(latents)
    for layer in range(sum(name.startswith("mapping.") and name.endswith(".kernel") for name in arrays)):
        slow = {name: 0.01 * array for name, array in arrays.items() if name.startswith(f"mapping.{layer}.")}
        w = leaky(equalized(slow, f"mapping.{layer}", w))

    def epilogue(number: int, values: Tensor) -> Tensor:
        if (strength := arrays.get(f"epilogue_{number}.strength")) is not None:
            values = values + strength[:, None, None] * torch.randn_like(values[:, :1])
        values = leaky(values + arrays[f"epilogue_{number}.bias"][:, None, None])
        values = functional.instance_norm(values, eps=1e-8)
        scale, shift = equalized(arrays, f"epilogue_{number}.Affine_0.0", w, 1.0)[:, :, None, None].chunk(2, 1)
        return values * (1 + scale) + shift

    values = epilogue(0, arrays["constant"].expand(len(latents), -1, -1, -1))
    values = epilogue(1, equalized(arrays, "conv_4.0", values))
    size, before, number = 4, values, 2
    while size < side:
        size, before = 2 * size, values
        values = epilogue(number, blur(equalized(arrays, f"up_{size}.0", larger(values))))
        values = epilogue(number + 1, equalized(arrays, f"conv_{size}.0", values))
        number += 2
    images = equalized(arrays, f"to_images_{side}.0", values, 1.0)
    if alpha is None:
        return images
    return torch.lerp(larger(equalized(arrays, f"to_images_{side // 2}.0", before, 1.0)), images, alpha)


def judge(arrays: Arrays, images: Tensor, alpha: float | None, group: int, blurs: bool = False) -> Tensor:
    side = images.shape[-1]
    values = leaky(equalized(arrays, f"from_images_{side}.0", images))
    size = side
    while size > 4:
        values = leaky(equalized(arrays, f"down_{size}.0", values))
        values = leaky(equalized(arrays, f"down_{size}.1", blur(values) if blurs else values))
        values = smaller(values)
        if size == side and alpha is not None:
            before = leaky(equalized(arrays, f"from_images_{side // 2}.0", smaller(images)))
            values = torch.lerp(before, values, alpha)
        size //= 2
    stride = len(values) // group
    deviations = [values[start::stride].var(0, correction=0).add(1e-8).sqrt().mean() for start in range(stride)]
    maps = torch.stack([deviations[index % stride] for index in range(len(values))])
    values = torch.cat([values, maps[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    values = leaky(equalized(arrays, "last.0", values))
    values = leaky(equalized(arrays, "last.1", values.permute(0, 2, 3, 1).flatten(1)))
    return equalized(arrays, "last.2", values, 1.0)[:, 0]


def shown(images: Tensor, side: int, alpha: float | None) -> Tensor:
    """Real images as a stage has them."""
    while images.shape[-1] > side:
        images = smaller(images)
    return images if alpha is None else torch.lerp(larger(smaller(images)), images, alpha)


def play(
    arrays: tuple[dict[str, Tensor], dict[str, Tensor]],
    images: Tensor,
    latents: tuple[Tensor, Tensor],
    shares: Tensor,
    rate: float,
    side: int,
    alpha: float | None,
    group: int,
) -> dict[str, float]:
    """One step of gradient descent of the critic, then of the generator, in place. Returns the losses before it.

    `shares`: how far each point of the gradient penalty is from its real image.
    """
    generator, critic = arrays
    real = shown(images, side, alpha)
    fake = generate(generator, latents[0], side, alpha).detach()
    points = torch.lerp(real, fake, shares.reshape(-1, 1, 1, 1)).requires_grad_()
    (slopes,) = torch.autograd.grad(judge(critic, points, alpha, group).sum(), points, create_graph=True)
    on_real = judge(critic, real, alpha, group)
    losses = {
        "wasserstein": judge(critic, fake, alpha, group).mean() - on_real.mean(),
        "gradient_penalty": 10 * (slopes.flatten(1).norm(dim=1) - 1).pow(2).mean(),
        "drift": 1e-3 * on_real.pow(2).mean(),
    }
    _descend(critic, torch.stack(list(losses.values())).sum(), rate)
    of_generator = -judge(critic, generate(generator, latents[1], side, alpha), alpha, group).mean()
    _descend(generator, of_generator, rate)
    return {f"d/{name}": loss.item() for name, loss in losses.items()} | {"g/wasserstein": of_generator.item()}


def play_styled(
    arrays: tuple[dict[str, Tensor], dict[str, Tensor]],
    images: Tensor,
    latents: tuple[Tensor, Tensor],
    rate: float,
    side: int,
    alpha: float | None,
    group: int,
) -> dict[str, float]:
    """The same with the non-saturating game and R1, gamma 10."""
    generator, critic = arrays
    real = shown(images, side, alpha).requires_grad_()
    fake = generate_styled(generator, latents[0], side, alpha).detach()
    on_real = judge(critic, real, alpha, group, blurs=True)
    (slopes,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
    on_fake = judge(critic, fake, alpha, group, blurs=True)
    losses = {
        "non_saturating": functional.softplus(on_fake).mean() + functional.softplus(-on_real).mean(),
        "r1": 5 * slopes.pow(2).flatten(1).sum(1).mean(),
    }
    _descend(critic, torch.stack(list(losses.values())).sum(), rate)
    made = generate_styled(generator, latents[1], side, alpha)
    of_generator = functional.softplus(-judge(critic, made, alpha, group, blurs=True)).mean()
    _descend(generator, of_generator, rate)
    return {f"d/{name}": loss.item() for name, loss in losses.items()} | {"g/non_saturating": of_generator.item()}


def _descend(arrays: dict[str, Tensor], loss: Tensor, rate: float) -> None:
    slopes = torch.autograd.grad(loss, list(arrays.values()), allow_unused=True)
    for array, slope in zip(arrays.values(), slopes, strict=True):
        if slope is not None:  # None of what is not reached yet.
            array.data -= rate * slope
