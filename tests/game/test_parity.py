"""Whole updates of the MNIST game agree with independent implementations in float64 NumPy and PyTorch.

Noise is off, since the references cannot draw igan's; latents are igan's own, from its named random streams.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import data, models
from igan.data import space
from igan.game import optimizer, step, technique
from igan.game.technique import Technique
from igan.randomness import stream
from igan.types import Batch, Batches, Examples, GameState, Player
from tests.references import mnist_numpy as reference

LOSSES = {"supervised": "d/semi_supervised", "unsupervised": "d/minimax", "feature_matching": "g/feature_matching"}
SGD = {"optimizer": "sgd", "learning_rate": 0.07, "constant_share": 1.0}
ADAM = {"optimizer": "adam", "learning_rate": 3e-3, "constant_share": 1.0, "b1": 0.5, "b2": 0.999, "epsilon": 1e-8}
TOLERANCE = 1e-5


class Trial(NamedTuple):
    """What igan did, in the references' layout, and what they need to do the same."""

    before: reference.Parameters
    after: reference.Parameters
    losses: list[dict[str, float]]
    batches: list[reference.Batch]
    draws: list[reference.Draws]


class Size(NamedTuple):
    image_shape: tuple[int, int, int]
    classes: int
    networks: dict[str, object]
    counts: tuple[int, int, int]  # Labelled images, as many unlabelled ones, and those of the generator's step.


SMALL = Size(
    image_shape=(5, 4, 1),
    classes=3,
    networks={"latent_size": 6, "generator_layers": (9, 8), "discriminator_layers": (12, 10, 7)},
    counts=(9, 9, 10),
)
PAPER = Size((28, 28, 1), 10, {}, (100, 100, 100))


def make_game(size, settings, changes):
    techniques = technique.load(
        {
            "semi_supervised": {"enabled": True},
            "feature_matching": {"enabled": True},
            "minimax": {"enabled": True, "discriminator_weight": 0.5, "generator_weight": 0.0},
        }
    )
    network = {"name": "fully_connected", "input_noise": 0.0, "hidden_noise": 0.0, **size.networks}
    return step.Game(
        networks=models.load(network, space.images(size.image_shape), size.classes, {}),
        techniques=techniques | changes,
        discriminator_optimizer=optimizer.make(settings, total_steps=100),
        generator_optimizer=optimizer.make(settings, total_steps=100),
        average_rate=optimizer.average_rate(1e-4),
    )


def draw_images(size, random):
    """Real digits where they fit, or else noise; and labels."""
    if size.image_shape == (28, 28, 1):
        digits = data.load("mnist", "embedded", "")
        return digits.train_images.astype(np.float32) / 255, digits.train_labels
    images = random.uniform(size=(200, *size.image_shape)).astype(np.float32)
    return images, random.integers(0, size.classes, 200).astype(np.int32)


def start(size: Size, images: np.ndarray, random: np.random.Generator) -> reference.Parameters:
    """Parameters at a generic point: nothing that is zero or one by default is so here."""
    pixels, networks = images[0].size, {**models.defaults("fully_connected"), **size.networks}
    generator = (networks["latent_size"], *networks["generator_layers"], pixels)
    parameters = reference.initial_parameters(0, generator, (pixels, *networks["discriminator_layers"], size.classes))
    flat = images[:300].reshape(-1, pixels)
    parameters["discriminator"] = reference.data_dependent_initialisation(parameters["discriminator"], flat)
    for layer in parameters["generator"]:
        layer["bias"] = random.normal(0, 0.1, layer["bias"].shape)
    parameters["generator"][-1]["scale"] = random.uniform(0.5, 1.5, pixels)
    return jax.tree.map(lambda array: np.float64(np.float32(array)), parameters)


def in_igan_layout(game: step.Game, parameters: reference.Parameters) -> GameState:
    """igan's state with these parameters, and otherwise as it starts."""

    def weight_norm(layer, *fields):
        return {field: jnp.float32(layer["kernel" if field == "direction" else field]) for field in fields}

    *hidden, last = parameters["generator"]
    generator, statistics = {"UnitNormDense_0": weight_norm(last, "direction", "scale", "bias")}, {}
    for index, layer in enumerate(hidden):
        generator[f"Dense_{index}"] = {"kernel": jnp.float32(layer["kernel"])}
        generator[f"ShiftBatchNorm_{index}"] = {"shift": jnp.float32(layer["bias"])}
        ones = jnp.ones(layer["bias"].shape)
        statistics[f"ShiftBatchNorm_{index}"] = {"mean": 0 * ones, "variance": ones}
    names = [f"WeightNormDense_{index}" for index in range(len(parameters["discriminator"]))]
    layers = dict(zip(names, parameters["discriminator"], strict=True))
    discriminator = {name: weight_norm(layer, "direction", "bias") for name, layer in layers.items()}
    constants = {name: weight_norm(layers[name], "scale") for name in names[:-1]}
    discriminator[names[-1]] |= weight_norm(layers[names[-1]], "scale")
    return GameState(
        step=jnp.int32(0),
        key=jax.random.key(4),
        generator=Player(generator, {"statistics": statistics}, game.generator_optimizer.init(generator), generator),
        discriminator=Player(
            discriminator, {"constants": constants}, game.discriminator_optimizer.init(discriminator), discriminator
        ),
        techniques=dict.fromkeys(game.techniques),
    )


def in_reference_layout(state: GameState) -> reference.Parameters:
    def convert(layer, kernel, bias):
        names = {"kernel": kernel, "bias": bias, "scale": "scale"}
        return {name: np.float64(layer[of]) for name, of in names.items() if of in layer}

    generator, discriminator = state.generator.params, state.discriminator.params
    scales = state.discriminator.variables["constants"]
    hidden = [
        convert(generator[f"Dense_{index}"] | generator[f"ShiftBatchNorm_{index}"], "kernel", "shift")
        for index in range(len(generator) // 2)
    ]
    names = [f"WeightNormDense_{index}" for index in range(len(discriminator))]
    return {
        "generator": [*hidden, convert(generator["UnitNormDense_0"], "direction", "bias")],
        "discriminator": [convert(discriminator[name] | scales.get(name, {}), "direction", "bias") for name in names],
    }


def play(size: Size, settings: dict, updates: int, **changes: Technique) -> Trial:
    """Plays igan's game and writes down everything that a reference needs to play it too."""
    random = np.random.default_rng(0)
    game, (images, labels) = make_game(size, settings, changes), draw_images(size, random)
    update = jax.jit(lambda state, batches: step.update(game, state, batches))
    batches, draws, losses = [], [], []
    with jax.default_matmul_precision("highest"):
        before = start(size, images, random)
        state = in_igan_layout(game, before)
        for number in range(updates):
            labelled, unlabelled, real = (random.choice(len(images), count, replace=False) for count in size.counts)
            discriminator_batch = Batch(Examples(images[unlabelled]), Examples(images[labelled], labels[labelled]))
            players = {"discriminator": len(unlabelled), "generator": len(real)}
            latents = [
                game.networks.sample_latents(stream(stream(state.key, f"{player}/0", number), "latents"), count)
                for player, count in players.items()
            ]
            draws.append(reference.Draws(*(np.float64(latent) for latent in latents)))
            flat = np.float64(images).reshape(len(images), -1)
            batches.append(reference.Batch(flat[labelled], labels[labelled], flat[unlabelled], flat[real]))
            state, metrics = update(state, Batches((discriminator_batch,), (Batch(Examples(images[real])),)))
            losses.append({name: float(metrics[of]) for name, of in LOSSES.items() if of in metrics})
    return Trial(before, in_reference_layout(state), losses, batches, draws)


def play_in_numpy(trial: Trial, learning_rate: float):
    parameters, losses = trial.before, []
    for batch, draws in zip(trial.batches, trial.draws, strict=True):
        parameters, loss = reference.sgd_update(parameters, batch, draws, learning_rate)
        losses.append(loss)
    return parameters, losses


def play_adam_in_numpy(trial: Trial):
    """Every parameter is moved from where it started by the sum of all of Adam's updates so far."""
    parameters, losses = trial.before, []
    history = {"discriminator": [], "generator": []}

    def move(player, gradients):
        history[player].append(gradients)
        return [
            layer
            | {name: layer[name] + reference.adam([past[index][name] for past in history[player]]) for name in now}
            for index, (layer, now) in enumerate(zip(trial.before[player], gradients, strict=True))
        ]

    for batch, draws in zip(trial.batches, trial.draws, strict=True):
        loss, gradients = reference.discriminator_step(parameters, batch, draws)
        parameters = parameters | {"discriminator": move("discriminator", gradients)}
        matching, gradients = reference.generator_step(parameters, batch, draws)
        parameters = parameters | {"generator": move("generator", gradients)}
        losses.append({**loss, "feature_matching": matching})
    return parameters, losses


@pytest.fixture
def mnist_torch():
    torch = pytest.importorskip("torch", reason="pip install igan[parity]")
    from tests.references import mnist_torch

    # Where all cores are busy, the threads of one operation wait for each other for ever.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield mnist_torch
    torch.set_num_threads(threads)


def play_in_torch(mnist_torch, trial: Trial, make_optimizer):
    float64 = mnist_torch.torch.float64
    stds = (0.0,) * len(trial.before["discriminator"])
    game = mnist_torch.Game(trial.before, noise_stds=stds, optimizer=make_optimizer, dtype=float64)
    losses = []
    for batch, draws in zip(trial.batches, trial.draws, strict=True):
        found = game.step(mnist_torch.to_torch(batch, float64), mnist_torch.to_torch(draws, float64))
        losses.append({name: loss.item() for name, loss in found.items()})
    return game.parameters(), losses


def test_the_state_built_here_is_one_of_igans():
    game = make_game(SMALL, ADAM, {})
    images = np.zeros((300, *SMALL.image_shape), np.float32)
    shapes = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    built = in_igan_layout(game, start(SMALL, images + np.arange(300)[:, None, None, None], np.random.default_rng(0)))
    real = jax.eval_shape(lambda: step.initialize(game, jax.random.key(4), Examples(images)))
    assert jax.tree.structure(built) == jax.tree.structure(real)
    assert shapes(built) == shapes(real)


def largest_difference(player: str, found, expected) -> float:
    """Over all parameters of a player."""
    layers = zip(found[player], expected[player], strict=True)
    return max(np.abs(layer[name] - wanted[name]).max() for layer, wanted in layers for name in wanted)


def assert_same(trial: Trial, parameters, losses) -> None:
    for found, expected in zip(trial.losses, losses, strict=True):
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=TOLERANCE, err_msg=name)
    for player in ("discriminator", "generator"):
        for index, before in enumerate(trial.before[player]):
            after, expected = trial.after[player][index], parameters[player][index]
            assert after.keys() == expected.keys()
            for name in expected:
                where = f"{player} {index} {name}"
                np.testing.assert_allclose(after[name], expected[name], rtol=0, atol=TOLERANCE, err_msg=where)
                if player == "discriminator" and name == "scale" and index < len(trial.before[player]) - 1:
                    np.testing.assert_array_equal(after[name], before[name], err_msg=where)
                else:
                    # An agreement means something only where the update moved far beyond the tolerance.
                    assert np.abs(expected[name] - before[name]).max() > 10 * TOLERANCE, where


@pytest.fixture(scope="module", params=[(SMALL, 2), (PAPER, 1)], ids=["small, twice", "paper"])
def trial(request):
    size, updates = request.param
    return play(size, SGD, updates)


def test_an_sgd_update_agrees_with_numpy(trial):
    assert_same(trial, *play_in_numpy(trial, SGD["learning_rate"]))


def test_an_sgd_update_agrees_with_torch(trial, mnist_torch):
    assert_same(trial, *play_in_torch(mnist_torch, trial, mnist_torch.sgd(SGD["learning_rate"])))


def per_sample_feature_matching(state, view):
    return jnp.mean(jnp.square(view.real.features - view.fake.features)), {}


def test_matching_sample_by_sample_would_be_told_apart():
    """A common bug of ports. The first update's discriminator knows nothing of it; the generator and its loss do."""
    trial = play(SMALL, SGD, 1, feature_matching=Technique(generator_loss=per_sample_feature_matching))
    parameters, losses = play_in_numpy(trial, SGD["learning_rate"])
    assert largest_difference("discriminator", trial.after, parameters) < TOLERANCE
    assert largest_difference("generator", trial.after, parameters) > 100 * TOLERANCE
    assert abs(trial.losses[0]["feature_matching"] - losses[0]["feature_matching"]) > 0.1
    with pytest.raises(AssertionError):
        assert_same(trial, parameters, losses)


@pytest.fixture(scope="module")
def adam_trial():
    return play(SMALL, ADAM, 8)


def assert_similar_losses(trial: Trial, losses) -> None:
    """Adam turns one rounding difference into a whole learning rate: only the losses are compared, and loosely."""
    for name in LOSSES:
        found, expected = ([loss[name] for loss in each] for each in (trial.losses, losses))
        np.testing.assert_allclose(found, expected, rtol=1e-2, err_msg=name)
        assert np.ptp(expected) > 0.1 * np.mean(expected), f"{name} hardly moves"


def test_adams_losses_agree_with_numpy(adam_trial):
    assert_similar_losses(adam_trial, play_adam_in_numpy(adam_trial)[1])


def test_adams_losses_agree_with_torch(adam_trial, mnist_torch):
    assert_similar_losses(adam_trial, play_in_torch(mnist_torch, adam_trial, mnist_torch.AuthorsAdam)[1])
