"""The game of boundary equilibrium GANs in straightforward PyTorch: a reference for igan's `autoencoder`.

It shares no code with igan, and has the layout of `gans_torch`.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from .gans_torch import flat, to_map


def convolution(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1)


class Encoder(nn.Module):
    def __init__(self, code: int, width: int, smallest: int, levels: int):
        super().__init__()
        layers: list[nn.Module] = [convolution(3, width)]
        before = width
        for level in range(1, levels + 1):
            features = level * width
            layers += [convolution(before, features), convolution(features, features)]
            if level < levels:
                layers.append(convolution(features, features, stride=2))
            before = features
        self.layers = nn.ModuleList([*layers, nn.Linear(smallest**2 * before, code)])

    def forward(self, images: Tensor) -> Tensor:
        values = images
        for layer in list(self.layers)[:-1]:
            values = functional.elu(layer(values))
        return self.layers[-1](flat(values))


class Decoder(nn.Module):
    def __init__(self, code: int, width: int, smallest: int, levels: int):
        super().__init__()
        self.smallest = smallest
        convolutions = [convolution(width, width) for _ in range(2 * levels)]
        self.layers = nn.ModuleList([nn.Linear(code, smallest**2 * width), *convolutions, convolution(width, 3)])

    def forward(self, codes: Tensor) -> Tensor:
        first, *hidden, last = self.layers
        values = to_map(first(codes), self.smallest, self.smallest)
        for index, layer in enumerate(hidden):
            if index and index % 2 == 0:
                values = functional.interpolate(values, scale_factor=2, mode="nearest")
            values = functional.elu(layer(values))
        return last(values)


class Autoencoder(nn.Module):
    def __init__(self, code: int, width: int, smallest: int, levels: int):
        super().__init__()
        self.encoder = Encoder(code, width, smallest, levels)
        self.decoder = Decoder(code, width, smallest, levels)

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))


class Equilibrium:
    """Both losses, and k, which moves when the discriminator's is asked for."""

    def __init__(self, share: float, diversity: float, gain: float):
        self.share, self.diversity, self.gain = share, diversity, gain

    def discriminator_loss(self, autoencoder: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        errors = [functional.l1_loss(autoencoder(images), images) for images in (real, fake)]
        loss = errors[0] - self.share * errors[1]
        moved = self.share + self.gain * (self.diversity * errors[0].item() - errors[1].item())
        self.share = min(max(moved, 0.0), 1.0)
        return loss

    def generator_loss(self, autoencoder: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return functional.l1_loss(autoencoder(fake), fake)
