"""One update of conditional residual networks and of BigGAN agrees with PyTorch: hinge, spectral norm, attention.

Also where BigGAN looks at its batch in two parts, as it does at a batch of 2,048 on one device.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.data import space
from igan.game import optimizer, step, technique
from igan.randomness import stream
from igan.techniques.orthogonal import penalty
from igan.types import Batch, Batches, Examples

torch = pytest.importorskip("torch", reason="pip install igan[parity]")

from tests.references import conditional_torch as reference  # noqa: E402

CLASSES, COUNT, SIDE, RATE, STRENGTH, TOLERANCE = 3, 6, 8, 0.05, 0.01, 1e-4
WIDTHS = {"generator_widths": (8, 8), "discriminator_widths": (8, 8), "discriminator_halvings": 1}
FAMILIES = {
    "resnet": ({"latent_size": 4, "last_bias": True}, ["conditional_batch_norm"], "discriminator", 1e-5, 0),
    "biggan": ({"piece_size": 2, "embedding_size": 3}, ["orthogonal"], "both", 1e-4, 2),
}


def make_game(family, parts):
    settings, own, players, _, _ = FAMILIES[family]
    names = ["hinge", "projection", "spectral_norm", "self_attention", *own]
    configs = {name: technique.defaults(name) | {"enabled": True} for name in names}
    configs["spectral_norm"]["players"] = players
    configs["self_attention"].update(generator_resolution=8, discriminator_resolution=4)
    if "orthogonal" in configs:
        configs["orthogonal"]["strength"] = STRENGTH
    techniques = technique.load(configs)
    settings = {"name": family, **WIDTHS, **settings}
    networks = models.load(settings, space.images((SIDE, SIDE, 3)), None, technique.layers(techniques))
    descent = [
        technique.wrap(optax.sgd(RATE), [getattr(each, f"{player}_optimizer") for each in techniques.values()])
        for player in ("discriminator", "generator")
    ]
    uniform = technique.GENERATED_LABELS["uniform"](CLASSES)
    networks = networks._replace(classes=CLASSES)
    return step.Game(networks, techniques, *descent, optimizer.average_rate(1e-4), parts, uniform)


def by_path(tree, drop=0):
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        "/".join(each.key for each in path[: len(path) - drop]): torch.tensor(np.float64(leaf)) for path, leaf in paths
    }


def tensor(images):
    return torch.tensor(np.float64(images).transpose(0, 3, 1, 2))


@pytest.mark.parametrize(("family", "parts"), [("resnet", 1), ("biggan", 1), ("biggan", 2)])
def test_an_update_agrees_with_pytorch(family, parts, monkeypatch):
    """In parts: every k-th image, statistics of the part, a power iteration for each, and the mean of the slopes.

    The orthogonal penalty comes once.
    """
    game, random = make_game(family, parts), np.random.default_rng(0)
    images = [random.uniform(-1, 1, (COUNT, SIDE, SIDE, 3)).astype(np.float32) for _ in range(2)]
    labels = [jnp.asarray(random.integers(0, CLASSES, COUNT), jnp.int32) for _ in range(2)]
    batches = Batches(
        *[(Batch(Examples(jnp.asarray(image), label)),) for image, label in zip(images, labels, strict=True)]
    )
    state = jax.jit(lambda: step.initialize(game, jax.random.key(0), batches.discriminator[0].real))()

    def away(path, leaf):  # Nothing is zero or one by default.
        return leaf + jnp.asarray(random.uniform(0.1, 0.4, leaf.shape), jnp.float32) * (path[-1].key != "kernel")

    for player in ("generator", "discriminator"):
        mine = getattr(state, player)
        moved = jax.tree_util.tree_map_with_path(away, mine.params)
        state = state._replace(**{player: mine._replace(params=moved)})
    with jax.default_matmul_precision("highest"):
        after, metrics = jax.jit(lambda state: step.update(game, state, batches))(state)

    generator, discriminator = (
        reference.Weights(
            {name: value.requires_grad_() for name, value in by_path(player.params).items()},
            by_path(player.variables.get("averages", {}), drop=1),
        )
        for player in (state.generator, state.discriminator)
    )
    _, _, _, epsilon, pieces = FAMILIES[family]
    statistics, batch_norm = [], reference.batch_norm

    def watched(values, epsilon):
        statistics.append(torch.var_mean(values, dim=(0, 2, 3), unbiased=False)[::-1])
        return batch_norm(values, epsilon)

    monkeypatch.setattr(reference, "batch_norm", watched)

    def hot(label):
        return torch.nn.functional.one_hot(torch.tensor(np.int64(label)), CLASSES).double()

    def fakes(player, part, label):
        key = stream(state.key, f"{player}/0", 0)
        key = key if parts == 1 else jax.random.fold_in(key, part)
        drawn = game.generated_labels(stream(key, "labels"), label)
        latents = torch.tensor(np.float64(game.networks.sample_latents(stream(key, "latents"), len(label))))
        return reference.generate(generator, latents, hot(drawn), SIDE, epsilon, pieces), hot(drawn)

    def descend(weights, loss):
        slopes = torch.autograd.grad(loss, list(weights.params.values()))
        for value, slope in zip(weights.params.values(), slopes, strict=True):
            value.data -= RATE * slope

    loss = torch.zeros(())
    for part in range(parts):
        real, label = images[0][part::parts], labels[0][part::parts]
        fake, drawn = fakes("discriminator", part, label)
        loss = loss + torch.relu(1 - reference.judge(discriminator, tensor(real), hot(label))).mean() / parts
        loss = loss + torch.relu(1 + reference.judge(discriminator, fake.detach(), drawn)).mean() / parts
        discriminator.vectors.update(discriminator.moved)
    np.testing.assert_allclose(metrics["d/hinge"], loss.item(), rtol=TOLERANCE)
    descend(discriminator, loss)
    loss = torch.zeros(())
    for part in range(parts):
        fake, drawn = fakes("generator", part, labels[1][part::parts])
        loss = loss - reference.judge(discriminator, fake, drawn).mean() / parts
        generator.vectors.update(generator.moved)
    np.testing.assert_allclose(metrics["g/hinge"], loss.item(), rtol=TOLERANCE, atol=TOLERANCE)
    if family == "biggan":
        for name, kernel in generator.params.items():
            if name.endswith("/kernel"):
                matrix = kernel.reshape(-1, kernel.shape[-1])
                products = matrix.T @ matrix
                off = (products * (1 - torch.eye(len(products)))).square().sum()
                np.testing.assert_allclose(
                    penalty(jnp.float32(kernel.detach().numpy())), off.item(), rtol=1e-3, atol=1e-5
                )
                loss = loss + STRENGTH * off
    descend(generator, loss)

    for weights, player in ((generator, after.generator), (discriminator, after.discriminator)):
        found = by_path(player.params)
        assert found.keys() == weights.params.keys()
        for name, value in found.items():
            np.testing.assert_allclose(
                value, weights.params[name].detach(), rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
            )
        for name, vector in by_path(player.variables.get("averages", {}), drop=1).items():
            np.testing.assert_allclose(vector, weights.vectors[name], atol=TOLERANCE, err_msg=name)
    # What it leaves behind are those of the last part.
    left = by_path(after.generator.variables["statistics"])
    places = [
        f"UpBlock_0/{'Linear' if pieces else 'Conditional'}BatchNorm_{index}/PlainBatchNorm_0" for index in (0, 1)
    ]
    for place, (mean, variance) in zip([*places, "BatchNorm_0"], statistics[-3:], strict=True):
        np.testing.assert_allclose(left[f"{place}/mean"], mean.detach(), rtol=TOLERANCE, atol=TOLERANCE)
        np.testing.assert_allclose(left[f"{place}/variance"], variance.detach(), rtol=TOLERANCE, atol=TOLERANCE)
