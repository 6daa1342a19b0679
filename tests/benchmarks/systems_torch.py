"""One update of SNGAN, BigGAN, PGGAN and StyleGAN in straightforward PyTorch: what `systems.py` measures igan against.

It is built of the references beside the tests and shares no code with igan. Images are (n, channels, side, side).
"""

# pyright: reportPrivateImportUsage=false
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from tests.references import gans_torch, growing_torch

Update = Callable[[], float]
CLASSES = 10


def sngan_resnet(device: str, batch: int, config: Any, layout: Any) -> tuple[Update, int]:
    """Hinge and spectral norm, several steps of the discriminator; the generator's batches are twice as large."""
    networks = config.networks
    generator = gans_torch.ResidualGenerator(networks.latent_size, networks.generator_widths, 4)
    discriminator = gans_torch.ResidualDiscriminator(
        networks.discriminator_widths, networks.discriminator_halvings, "none", "sum", networks.last_bias
    )
    normalize(discriminator)
    generator, discriminator = (each.to(device, memory_format=layout) for each in (generator, discriminator))
    real = images(device, batch, layout)

    def of_discriminator() -> Tensor:
        with torch.no_grad():
            fake = generator(torch.randn(batch, networks.latent_size, device=device))
        return hinge(discriminator(real), discriminator(fake))

    def of_generator() -> Tensor:
        return -discriminator(generator(torch.randn(2 * batch, networks.latent_size, device=device))).mean()

    players = (list(discriminator.parameters()), list(generator.parameters()))
    return alternate(players, (of_discriminator, of_generator), config, averages=False), count(players)


def biggan(device: str, batch: int, config: Any, layout: Any) -> tuple[Update, int]:
    """The same told the class, with attention in both players and orthogonal regularisation of the generator."""
    generator = BigGenerator(config.networks).to(device, memory_format=layout)
    discriminator = BigDiscriminator(config.networks).to(device, memory_format=layout)
    real, labels = images(device, batch, layout), torch.arange(batch, device=device) % CLASSES
    latent_size = config.networks.piece_size * len(config.networks.generator_widths)

    def fake() -> tuple[Tensor, Tensor]:
        drawn = torch.randint(CLASSES, (batch,), device=device)
        return generator(torch.randn(batch, latent_size, device=device), drawn), drawn

    def of_discriminator() -> Tensor:
        with torch.no_grad():
            generated, drawn = fake()
        return hinge(discriminator(real, labels), discriminator(generated, drawn))

    def of_generator() -> Tensor:
        return -discriminator(*fake()).mean()

    kernels = [each.parametrizations.weight.original for each in layers(generator)]  # Before the spectral norm.

    def regularize() -> None:
        for kernel in kernels:
            matrix = kernel.detach().flatten(1)
            others = matrix @ matrix.T
            others.fill_diagonal_(0)
            kernel.grad += 4e-4 * (others @ matrix).view_as(kernel)

    players = (list(discriminator.parameters()), list(generator.parameters()))
    return alternate(players, (of_discriminator, of_generator), config, regularize), count(players)


def pggan(
    device: str, batch: int, config: Any, arrays: Sequence[Mapping[str, Tensor]], layout: Any
) -> tuple[Update, int]:
    """WGAN-GP with drift at 32 pixels, no fade; `arrays`: of generator and critic, as igan begins."""
    generator, critic = trained(device, arrays)
    settings = config.techniques.gradient_penalty
    real = images(device, batch, layout)

    def generate() -> Tensor:
        latents = torch.randn(batch, config.networks.latent_size, device=device)
        return growing_torch.generate(generator, latents, 32, None)

    def judge(shown: Tensor) -> Tensor:
        return growing_torch.judge(critic, shown, None, len(shown))

    def of_critic() -> Tensor:
        with torch.no_grad():
            fake = generate()
        points = torch.lerp(real, fake, torch.rand(batch, 1, 1, 1, device=device)).requires_grad_()
        (slopes,) = torch.autograd.grad(judge(points).sum(), points, create_graph=True)
        penalty = settings.strength * (slopes.flatten(1).norm(dim=1) - settings.target).pow(2).mean()
        on_real = judge(real)
        return judge(fake).mean() - on_real.mean() + penalty + 1e-3 * on_real.pow(2).mean()

    players = (list(critic.values()), list(generator.values()))
    return alternate(players, (of_critic, lambda: -judge(generate()).mean()), config), count(players)


def stylegan(
    device: str, batch: int, config: Any, arrays: Sequence[Mapping[str, Tensor]], layout: Any
) -> tuple[Update, int]:
    """Styles with noise, unmixed, at 32 pixels, no fade: the non-saturating game with R1 in every step."""
    generator, critic = trained(device, arrays)
    group = min(4, batch)
    real = images(device, batch, layout).requires_grad_()

    def generate() -> Tensor:
        latents = torch.randn(batch, config.networks.latent_size, device=device)
        return growing_torch.generate_styled(generator, latents, 32, None)

    def judge(shown: Tensor) -> Tensor:
        return growing_torch.judge(critic, shown, None, group, blurs=True)

    def of_critic() -> Tensor:
        with torch.no_grad():
            fake = generate()
        on_real = judge(real)
        (slopes,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
        losses = functional.softplus(judge(fake)).mean() + functional.softplus(-on_real).mean()
        return losses + 5 * slopes.pow(2).flatten(1).sum(1).mean()

    def of_generator() -> Tensor:
        return functional.softplus(-judge(generate())).mean()

    players = (list(critic.values()), list(generator.values()))
    return alternate(players, (of_critic, of_generator), config), count(players)


def alternate(
    players: Sequence[Sequence[Tensor]],
    losses: Sequence[Callable[[], Tensor]],
    config: Any,
    regularize: Callable[[], None] = lambda: None,
    averages: bool = True,
) -> Update:
    """Returns an update: the discriminator's steps, one of the generator with its average, by the fused Adam."""
    settings = (config.discriminator, config.generator)
    optimizers = [
        torch.optim.Adam(parameters, lr=player.learning_rate, betas=(player.b1, player.b2), fused=True)
        for parameters, player in zip(players, settings, strict=True)
    ]
    average = [parameter.detach().clone() for parameter in players[1]]

    def descend(which: int) -> Tensor:
        loss = losses[which]()
        slopes = torch.autograd.grad(loss, players[which], allow_unused=True)
        for parameter, slope in zip(players[which], slopes, strict=True):
            parameter.grad = slope
        if which:
            regularize()
        optimizers[which].step()
        return loss

    def update() -> float:
        for _ in range(config.discriminator.steps):
            descend(0)
        loss = descend(1)
        if averages:
            torch._foreach_lerp_(average, [parameter.detach() for parameter in players[1]], 1e-3)
        return loss.item()

    return update


def images(device: str, batch: int, layout: Any) -> Tensor:
    return (torch.rand(batch, 3, 32, 32, device=device) * 2 - 1).contiguous(memory_format=layout)


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()


def count(players: Iterable[Sequence[Tensor]]) -> int:
    return sum(parameter.numel() for parameters in players for parameter in parameters)


def trained(device: str, arrays: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{name: each.to(device).requires_grad_() for name, each in player.items()} for player in arrays]


def layers(network: nn.Module) -> list[Any]:
    return [each for each in network.modules() if isinstance(each, (nn.Conv2d, nn.Linear))]


def normalize(network: nn.Module) -> None:
    for layer in layers(network):
        spectral_norm(layer)


class Attention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        narrow, inner = channels // 8, channels // 2
        shapes = ((channels, narrow), (channels, narrow), (channels, inner), (inner, channels))
        self.convolutions = nn.ModuleList(nn.Conv2d(*shape, 1, bias=False) for shape in shapes)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        query, key, value, output = self.convolutions
        keys, taken = (functional.max_pool2d(each(values), 2).flatten(2) for each in (key, value))
        shares = torch.softmax(torch.bmm(query(values).flatten(2).transpose(1, 2), keys), dim=2)
        shown = torch.bmm(taken, shares.transpose(1, 2)).unflatten(2, values.shape[2:])
        return values + self.gamma * output(shown)


class ConditionalNorm(nn.Module):
    def __init__(self, condition: int, features: int):
        super().__init__()
        self.scale, self.shift = (nn.Linear(condition, features, bias=False) for _ in range(2))

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        values = functional.batch_norm(values, None, None, training=True, eps=1e-4)
        return values * (1 + self.scale(condition)[:, :, None, None]) + self.shift(condition)[:, :, None, None]


class BigBlock(nn.Module):
    def __init__(self, before: int, features: int, condition: int):
        super().__init__()
        self.norms = nn.ModuleList([ConditionalNorm(condition, before), ConditionalNorm(condition, features)])
        self.first = nn.Conv2d(before, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)
        self.shortcut = nn.Conv2d(before, features, 1)

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        residual = self.first(growing_torch.larger(torch.relu(self.norms[0](values, condition))))
        residual = self.second(torch.relu(self.norms[1](residual, condition)))
        # The shortcut before the upsampling is the same, at a quarter of the cost.
        return residual + growing_torch.larger(self.shortcut(values))


class BigGenerator(nn.Module):
    def __init__(self, settings: Any):
        super().__init__()
        widths, piece = settings.generator_widths, settings.piece_size
        self.pieces = len(widths)
        condition = settings.embedding_size + piece
        self.embedding = nn.Parameter(torch.randn(CLASSES, settings.embedding_size) * 0.02)
        self.dense = nn.Linear(piece, 16 * widths[0])
        self.blocks = nn.ModuleList(BigBlock(*pair, condition) for pair in itertools.pairwise(widths))
        self.attention = Attention(widths[2])
        self.norm, self.last = gans_torch.BatchNorm(widths[-1], 1e-4), nn.Conv2d(widths[-1], 3, 3, padding=1)
        normalize(self)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        first, *pieces = latents.chunk(self.pieces, 1)
        values = gans_torch.to_map(self.dense(first), 4, 4)
        for block, piece in zip(self.blocks, pieces, strict=True):
            values = block(values, torch.cat([self.embedding[labels], piece], 1))
            if values.shape[-1] == 16:
                values = self.attention(values)
        return torch.tanh(self.last(torch.relu(self.norm(values))))


class BigDiscriminator(nn.Module):
    def __init__(self, settings: Any):
        super().__init__()
        widths = settings.discriminator_widths
        self.blocks = nn.ModuleList(
            gans_torch.DownBlock(before, after, index < settings.discriminator_halvings, index == 0, "none")
            for index, (before, after) in enumerate(zip((3, *widths), widths, strict=False))
        )
        self.attention, self.last = Attention(widths[0]), nn.Linear(widths[-1], 1)
        self.classes = nn.Linear(CLASSES, widths[-1], bias=False)
        normalize(self)

    def forward(self, values: Tensor, labels: Tensor) -> Tensor:
        for index, block in enumerate(self.blocks):
            values = block(values)
            if index == 0:
                values = self.attention(values)
        features = torch.relu(values).sum((2, 3))
        known = functional.one_hot(labels, CLASSES).to(features.dtype)
        return self.last(features)[:, 0] + (self.classes(known) * features).sum(1)
