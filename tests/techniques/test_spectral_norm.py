"""Spectral normalisation in a game: whose layers, when its vectors move, and one update against PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.config import default, validate
from igan.data import space
from igan.errors import UserError
from igan.game import inference, optimizer, step, technique
from igan.game.technique import Game, Technique
from igan.game.view import look
from igan.layers.spectral_norm import power_iteration
from igan.randomness import stream
from igan.techniques.spectral_norm import make
from igan.types import Batch, Batches, Examples
from tests.contexts import turn
from tests.models.inspection import shapes

# Layers with weights of the discriminator and of the generator, counted by hand, and the images that the family takes.
COUNTS = {
    "fully_connected": (5 + 1, 2 + 1, (28, 28, 1)),
    "convolutional": (3 + 3 + 3 + 1, 1 + 2 + 1, (32, 32, 3)),
    "imagenet": (7 + 1 + 1, 1 + 5 + 1, (128, 128, 3)),
    # The encoder's first convolution, two a level, two between levels, the code; and the decoder's.
    "autoencoder": (1 + 3 * 2 + 2 + 1 + (1 + 3 * 2 + 1), 1 + 3 * 2 + 1, (32, 32, 3)),
    "resnet": (3 + 3 + 2 + 2 + 1, 1 + 3 * 3 + 1, (32, 32, 3)),
}
# How kernels are drawn: standard deviations of the families' own layers.
STDS = {"fully_connected": {0.1}, "convolutional": {0.05}, "imagenet": {0.02, 0.075}}
NARROW = {
    "latent_size": 4,
    "generator_layers": (5,),
    "discriminator_layers": (7, 6),
    "input_noise": 0.0,
    "hidden_noise": 0.0,
}
COUNT, RATE = 6, 4.0


def load(family, players, image_shape, **settings):
    return models.load({"name": family, **settings}, space.images(image_shape), None, make(players).layers)


def by_layer(tree):
    """Kernels, or the vectors of normalised layers, by the layer's place in the network."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        *place, field = [each.key for each in path]
        if field in ("kernel", "u"):
            found["/".join(name for name in place if name != "averages")] = leaf
    return found


@functools.cache
def game(*penalties: str) -> Game:
    techniques = technique.load({name: {"enabled": True} for name in ("non_saturating", *penalties)})
    techniques["spectral_norm"] = make("both")
    networks = load("fully_connected", "both", (3, 3, 1), **NARROW)
    return Game(networks, techniques, optax.sgd(RATE), optax.sgd(RATE), optimizer.average_rate(0.1))


@functools.cache
def batches() -> Batches:
    images = np.random.default_rng(0).uniform(size=(2, COUNT, 3, 3, 1)).astype(np.float32)
    return Batches(*((Batch(Examples(jnp.asarray(each))),) for each in images))


@functools.cache
def start(*penalties):
    begin = jax.jit(functools.partial(step.initialize, game(*penalties)))
    return begin(jax.random.key(0), batches().discriminator[0].real)


def moved(state, phase, batch, *penalties):
    key = stream(state.key, f"{phase.__name__.removeprefix('update_')}/0", 0)
    return jax.jit(lambda state: phase(game(*penalties), state, turn(), key, batch)[0])(state)


@pytest.mark.parametrize("family", [name for name in COUNTS if name in models.known()])
def test_each_layer_of_the_player_has_a_vector_and_nothing_else_has(family):
    *counts, image_shape = COUNTS[family]
    for players, expected in (("discriminator", (1, 0)), ("generator", (0, 1)), ("both", (1, 1))):
        networks = load(family, players, image_shape)
        latents = jax.eval_shape(lambda networks=networks: networks.sample_latents(jax.random.key(0), 4)).shape
        of_discriminator = shapes(networks.discriminator, 4, *image_shape)[1]
        of_generator = shapes(networks.generator, *latents)[1]
        for variables, count, share in zip((of_discriminator, of_generator), counts, expected, strict=True):
            assert len(by_layer(variables)) == count * share, players


@pytest.mark.parametrize("family", STDS)
def test_kernels_start_as_those_of_the_family(family):
    *_, image_shape = COUNTS[family]
    asked = []

    def spy(layer):
        asked.append(layer)
        return make("both").layers["discriminator_layer"](layer)

    places = {"discriminator_layer": spy} | ({} if family == "fully_connected" else {"generator_layer": spy})
    networks = models.load({"name": family}, space.images(image_shape), None, places)
    latents = jax.eval_shape(lambda: networks.sample_latents(jax.random.key(0), 4)).shape
    shapes(networks.discriminator, 4, *image_shape)
    shapes(networks.generator, *latents)
    found = {round(float(np.std(each.kernel_init(jax.random.key(0), (300, 300)))), 3) for each in asked}
    assert found == STDS[family]


def test_a_step_of_the_discriminator_is_one_power_iteration_and_one_of_the_generator_none():
    """Though real and generated images go through it, in both steps, and the penalties of others."""
    before = start("r1")  # Whose pass is one more through the discriminator.
    after = moved(before, step.update_discriminator, batches().discriminator[0], "r1")
    assert_one_iteration(before.discriminator, after.discriminator, layers=3)
    jax.tree.map(np.testing.assert_array_equal, after.generator.variables, before.generator.variables)
    last = moved(after, step.update_generator, batches().generator[0], "r1")
    jax.tree.map(np.testing.assert_array_equal, last.discriminator.variables, after.discriminator.variables)
    assert_one_iteration(after.generator, last.generator, layers=2)


def assert_one_iteration(before, after, layers):
    kernels, vectors, found = map(by_layer, (before.params, before.variables, after.variables))
    assert len(vectors) == layers
    for name, u in vectors.items():
        np.testing.assert_allclose(found[name], power_iteration(kernels[name], u)[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("together", [True, False])
def test_real_and_generated_images_meet_the_same_weights(together):
    real = batches().discriminator[0].real

    def twice(state):
        view, _ = look(game(), state, turn(), jax.random.key(3), batches().discriminator[0], real, together)
        return view.real.logits, view.fake.logits, view.judge(real).logits

    ones, others, again = jax.jit(twice)(start())
    np.testing.assert_allclose(ones, others, rtol=1e-6)
    np.testing.assert_allclose(ones, again, rtol=1e-6)


def test_passes_in_training_lead_to_the_singular_value(random):
    """After a hundred, every layer's estimate is that of NumPy's decomposition."""
    networks, player, images = game().networks, start().discriminator, batches().discriminator[0].real.images

    @jax.jit
    def a_hundred(params, variables):
        context = step.context(networks, jax.random.key(0), turn())
        again = lambda variables, _: (networks.discriminator.apply(params, variables, context, images)[1], None)  # noqa: E731
        return jax.lax.scan(again, variables, length=100)[0]

    for name, u in by_layer(a_hundred(player.params, player.variables)).items():
        kernel = by_layer(player.params)[name]
        np.testing.assert_allclose(power_iteration(kernel, u)[0], np.linalg.svd(kernel, compute_uv=False)[0], rtol=1e-4)


def test_sampling_leaves_the_vectors_as_training_has_left_them():
    player, networks = start().generator, game().networks
    frozen = inference.freeze(networks, player.average, player.variables, turn(), jax.random.key(0), 5)
    jax.tree.map(np.testing.assert_array_equal, frozen["averages"], player.variables["averages"])
    latents = networks.sample_latents(jax.random.key(1), 5)
    many = inference.sample(networks, player.average, frozen, turn(), jax.random.key(0), latents)
    one = inference.sample(networks, player.average, frozen, turn(), jax.random.key(0), latents[2:3])
    np.testing.assert_allclose(one[0], many[2], rtol=1e-5)


@pytest.mark.parametrize("players", ["", "Both", "critic", None])
def test_an_unknown_player_is_refused(players):
    with pytest.raises(UserError, match=r"players=discriminator.*Known: both, discriminator, generator") as caught:
        make(players)
    assert "\n" not in str(caught.value)


def test_what_bounds_the_weights_is_refused_for_the_discriminator_alone():
    """Clipping a kernel bounds nothing where the kernel is divided by its norm afterwards."""
    clipping = Technique(needs=frozenset({"plain_weights"}))
    for players, refused in (("discriminator", True), ("both", True), ("generator", False)):
        reason = make(players).conflict({"wasserstein": clipping, "spectral_norm": make(players)})
        assert (reason is not None) == refused
        assert reason is None or "--config.techniques.wasserstein.clipping=False" in reason
    if "wasserstein" in technique.known():
        config = default()
        config.techniques.wasserstein.enabled = config.techniques.spectral_norm.enabled = True
        with pytest.raises(UserError, match=r"wasserstein\.clipping=False"):
            validate(config)
        config.techniques.wasserstein.clipping = False
        validate(config)


def test_an_update_is_that_of_pytorch():
    """Both players spectrally normalised, in float64 there."""
    torch = pytest.importorskip("torch", reason="pip install igan[parity]")
    functional = torch.nn.functional

    def tensor(leaf):
        return torch.tensor(np.float64(leaf))

    class Player:
        """Parameters and vectors by the layer's number; a pass with `keep` leaves the next vectors."""

        def __init__(self, player):
            self.params = {
                f"{name}/{field}": tensor(leaf).requires_grad_()
                for name, each in player.params.items()
                for field, leaf in each.items()
            }
            self.vectors = {name: tensor(each["u"]) for name, each in player.variables["averages"].items()}

        def layer(self, number, values, keep):
            name = f"SpectralNormLayer_{number}"
            weight, u = self.params[f"{name}/kernel"].T, self.vectors[name]
            v = functional.normalize(weight.detach().T @ u, dim=0)
            u = functional.normalize(weight.detach() @ v, dim=0)
            if keep:
                self.after[name] = u
            bias = self.params.get(f"{name}/bias")
            return functional.linear(values, weight / (u @ weight @ v), bias)

        def descend(self, loss):
            slopes = torch.autograd.grad(loss, list(self.params.values()))
            with torch.no_grad():
                for param, slope in zip(self.params.values(), slopes, strict=True):
                    param -= RATE * slope
            self.vectors = self.after

    def generate(latents, keep=False):
        generator.after = {}
        values = generator.layer(0, latents, keep)
        values = values - values.mean(0)
        values = values / torch.sqrt(values.square().mean(0) + 1e-6) + generator.params["ShiftBatchNorm_0/shift"]
        return torch.sigmoid(generator.layer(1, functional.softplus(values), keep))

    def judge(images):
        values = images
        for number in range(2):
            values = torch.relu(discriminator.layer(number, values, keep=True))
        return discriminator.layer(2, values, keep=True)[:, 0]

    state = start()
    generator, discriminator = Player(state.generator), Player(state.discriminator)
    discriminator.after = {}
    real = tensor(batches().discriminator[0].real.images).reshape(COUNT, -1)
    latents = [
        tensor(game().networks.sample_latents(stream(stream(state.key, f"{player}/0", 0), "latents"), COUNT))
        for player in ("discriminator", "generator")
    ]
    fake = generate(latents[0]).detach()
    loss = functional.softplus(-judge(real)).mean() + functional.softplus(judge(fake)).mean()
    discriminator.descend(loss)
    found = generate(latents[1], keep=True)
    kept = dict(discriminator.vectors)
    expected = functional.softplus(-judge(found)).mean()
    generator.descend(expected)
    with jax.default_matmul_precision("highest"):
        after, metrics = jax.jit(functools.partial(step.update, game()))(state, batches())
    losses = metrics["d/non_saturating"], metrics["g/non_saturating"]
    np.testing.assert_allclose(losses, [loss.item(), expected.item()], rtol=1e-4)
    for ours, theirs, vectors, before in (
        (after.discriminator, discriminator, kept, state.discriminator),
        (after.generator, generator, generator.vectors, state.generator),
    ):
        for name, each in theirs.params.items():
            layer, field = name.split("/")
            np.testing.assert_allclose(ours.params[layer][field], each.detach(), atol=1e-4, err_msg=name)
            if field == "kernel":
                assert np.abs(ours.params[layer][field] - before.params[layer][field]).max() > 1e-3
        for name, u in vectors.items():
            np.testing.assert_allclose(ours.variables["averages"][name]["u"], u, atol=1e-4)
