"""Augmentations of images in straightforward PyTorch, given their random numbers; shares no code with igan.

Images are (n, height, width, channels), numbers are (n,).
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional


def diff_augment(images: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
    """Colour, translation and cutout (Zhao et al. 2020)."""
    height, width = images.shape[1:3]
    result = []
    for index, image in enumerate(images):
        each = {name: values[index] for name, values in numbers.items()}
        image = image + each["brightness"]
        grey = image.mean(2, keepdim=True)
        image = grey + (image - grey) * each["saturation"]
        image = image.mean() + (image - image.mean()) * each["contrast"]
        down, right = int(each["down"]), int(each["right"])
        padded = functional.pad(image, (0, 0, width, width, height, height))
        image = padded[height - down : 2 * height - down, width - right : 2 * width - right]
        kept = torch.ones(height, width, 1, dtype=image.dtype)
        tall, wide = math.floor(height / 2 + 0.5), math.floor(width / 2 + 0.5)
        top, left = int(each["row"]) - tall // 2, int(each["column"]) - wide // 2
        kept[max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = 0
        result.append(image * kept)
    return torch.stack(result)


def adaptive_augment(images: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
    """Pixel blitting, geometry and colour (Karras et al. 2020), with mirrored borders and bilinear sampling."""
    height, width = images.shape[1:3]
    result = []
    for index, image in enumerate(images):
        each = {name: float(values[index]) for name, values in numbers.items()}
        forward = torch.eye(3, dtype=torch.float64)
        for linear, shift in (
            (scaled(1 - 2 * each["flip"], 1), (0, 0)),
            (turned(math.pi / 2 * each["quarter_turns"]), (round(each["shift_x"]), round(each["shift_y"]))),
            (scaled(2 ** each["scale"], 2 ** each["scale"]), (0, 0)),
            (turned(each["turn_before"]), (0, 0)),
            (scaled(2 ** each["stretch"], 2 ** -each["stretch"]), (0, 0)),
            (turned(each["turn_after"]), (width * each["fraction_x"], height * each["fraction_y"])),
        ):
            step = torch.eye(3, dtype=torch.float64)
            step[:2, :2], step[:2, 2] = linear, torch.tensor(shift)
            forward = step @ forward
        result.append(recolored(resampled(image, torch.linalg.inv(forward)), each))
    return torch.stack(result)


def scaled(x: float, y: float) -> Tensor:
    return torch.diag(torch.tensor([x, y], dtype=torch.float64))


def turned(angle: float) -> Tensor:
    return torch.linalg.matrix_exp(angle * torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64))


def resampled(image: Tensor, inverse: Tensor) -> Tensor:
    """At the places that a map from the result's pixels to the image's says, both counted from the middle."""
    height, width = image.shape[:2]
    half = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = (torch.stack([columns, rows], 2) - half) @ inverse[:2, :2].T + inverse[:2, 2]
    grid = (places / half)[None]  # From -1 to 1 between the middles of the outermost pixels.
    batch = image.permute(2, 0, 1)[None]
    sampled = functional.grid_sample(batch, grid, "bilinear", padding_mode="reflection", align_corners=True)
    return sampled[0].permute(1, 2, 0)


def recolored(image: Tensor, each: Mapping[str, float]) -> Tensor:
    image = (image + each["brightness"]) * 2 ** each["contrast"]
    image = image - 2 * each["luma_flip"] * image.mean(2, keepdim=True)
    axis = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], dtype=torch.float64) / math.sqrt(3)
    image = image @ torch.linalg.matrix_exp(each["hue"] * axis).T
    grey = image.mean(2, keepdim=True)
    return grey + (image - grey) * 2 ** each["saturation"]
