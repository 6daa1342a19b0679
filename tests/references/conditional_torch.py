"""Conditional residual networks with attention in PyTorch, as functions of parameters in igan's layout, in float64.

Written from the papers and the sheet of their released codes; nothing of igan is used.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional


class Weights:
    """The parameters of a network by their paths, and its vectors of the power iteration."""

    def __init__(self, params: Mapping[str, Tensor], vectors: Mapping[str, Tensor]) -> None:
        self.params, self.vectors, self.moved = dict(params), dict(vectors), {}

    def layer(self, path: str, name: int, values: Tensor) -> Tensor:
        """A dense layer or a convolution, normalised if it has a vector."""
        place = next(
            each
            for each in (f"{path}SpectralNormLayer_{name}", f"{path}WeightLayer_{name}")
            if f"{each}/kernel" in self.params
        )
        kernel, bias = self.params[f"{place}/kernel"], self.params.get(f"{place}/bias")
        if place in self.vectors:
            matrix = kernel.reshape(-1, kernel.shape[-1])
            with torch.no_grad():
                left = functional.normalize(matrix @ self.vectors[place], dim=0)
                right = functional.normalize(left @ matrix, dim=0)
            self.moved[place] = right
            kernel = kernel / (left @ matrix @ right)
        if kernel.ndim == 2:
            return functional.linear(values, kernel.T, bias)
        return functional.conv2d(values, kernel.permute(3, 2, 0, 1), bias, padding=kernel.shape[0] // 2)


def batch_norm(values: Tensor, epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(values, dim=(0, 2, 3), unbiased=False, keepdim=True)
    return (values - mean) / torch.sqrt(variance + epsilon)


def over_space(vectors: Tensor) -> Tensor:
    return vectors[:, :, None, None]


def attention(weights: Weights, values: Tensor) -> Tensor:
    query, key, value = (weights.layer("SelfAttention_0/", index, values) for index in range(3))
    key, value = functional.max_pool2d(key, 2), functional.max_pool2d(value, 2)
    energy = torch.bmm(query.flatten(2).transpose(1, 2), key.flatten(2))  # [n, places, sources]
    taken = torch.bmm(value.flatten(2), torch.softmax(energy, dim=2).transpose(1, 2))
    taken = taken.reshape(len(values), -1, *values.shape[2:])
    return values + weights.params["SelfAttention_0/gamma"] * weights.layer("SelfAttention_0/", 3, taken)


def generate(weights: Weights, latents: Tensor, labels: Tensor, side: int, epsilon: float, pieces: int) -> Tensor:
    """One block from 1/2 of the side, with attention behind it; `pieces` of a latent, 0 for tables of classes."""
    first, condition = latents, labels
    if pieces:
        first, piece = torch.chunk(latents, pieces, dim=1)
        condition = torch.cat([labels @ weights.params["embedding"], piece], dim=1)

    def norm(index: int, values: Tensor) -> Tensor:
        if pieces:
            path = f"UpBlock_0/LinearBatchNorm_{index}/"
            scale, shift = 1 + weights.layer(path, 0, condition), weights.layer(path, 1, condition)
        else:
            path = f"UpBlock_0/ConditionalBatchNorm_{index}/"
            scale, shift = (condition @ weights.params[f"{path}{name}"] for name in ("scale", "shift"))
        return torch.relu(batch_norm(values, epsilon) * over_space(scale) + over_space(shift))

    hidden = weights.layer("", 0, first).reshape(len(latents), side // 2, side // 2, -1).permute(0, 3, 1, 2)
    up = lambda values: functional.interpolate(values, scale_factor=2, mode="nearest")  # noqa: E731
    inner = weights.layer("UpBlock_0/", 0, up(norm(0, hidden)))
    inner = weights.layer("UpBlock_0/", 1, norm(1, inner))
    hidden = attention(weights, inner + weights.layer("UpBlock_0/", 2, up(hidden)))
    scale, shift = (weights.params[f"BatchNorm_0/{name}"][None] for name in ("scale", "shift"))
    hidden = torch.relu(batch_norm(hidden, epsilon) * over_space(scale) + over_space(shift))
    return torch.tanh(weights.layer("", 1, hidden))


def judge(weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
    """Two blocks, the first of which halves the image and has attention behind it; logits [n]."""
    inner = torch.relu(weights.layer("DownBlock_0/", 0, images))
    inner = functional.avg_pool2d(weights.layer("DownBlock_0/", 1, inner), 2)
    hidden = attention(weights, inner + weights.layer("DownBlock_0/", 2, functional.avg_pool2d(images, 2)))
    inner = weights.layer("DownBlock_1/", 0, torch.relu(hidden))
    hidden = hidden + weights.layer("DownBlock_1/", 1, torch.relu(inner))
    features = torch.relu(hidden).sum((2, 3))
    projected = (weights.layer("ProjectionHead_0/", 0, labels) * features).sum(1)
    return weights.layer("", 0, features)[:, 0] + projected
