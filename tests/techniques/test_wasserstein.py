"""The Wasserstein objective and its box: what is clipped, when, and with what."""

import doctest
import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.config import default, validate
from igan.data import space
from igan.errors import UserError
from igan.game import optimizer, step, technique
from igan.game.technique import Game, Technique
from igan.layers.weights import WeightLayer
from igan.run import experiment
from igan.techniques.historical_averaging import historical_averaging
from igan.techniques.wasserstein import weight_clipping
from igan.types import Array, Batch, Batches, Critique, Examples, GameState, Metrics, Network, Networks, View
from tests.contexts import at
from tests.techniques.test_losses import judge, look_at, make

CLIP = 0.01
REAL, FAKE = np.float32([2, 0.5, -1]), np.float32([-2, 0, 1.5])


def test_the_losses_are_means_of_what_the_critic_says():
    tested, view = make("wasserstein"), look_at(judge(REAL), judge(FAKE))
    value, details = tested.discriminator_loss(None, view)
    found = [value, details["real"], details["fake"], tested.generator_loss(None, view)[0]]
    np.testing.assert_allclose(found, [-2 / 3, -0.5, -1 / 6, 1 / 6], rtol=1e-6)


# A critic that has all kinds of parameters, and statistics that are no parameter.


def init_critic(context: Any, inputs: Array) -> Any:
    params = {"kernel": jnp.linspace(-0.4, 0.3, 4), "scale": jnp.ones(()), "bias": jnp.zeros(())}
    return params, {"statistics": jnp.float32([5.0])}


def apply_critic(params: Any, variables: Any, context: Any, images: Array) -> tuple[Critique, Any]:
    features = images.reshape(len(images), 4)
    return Critique(features @ params["kernel"] * params["scale"] + params["bias"], features), variables


def init_generator(context: Any, latents: Array) -> Any:
    return {"shift": jnp.float32([0.4, -0.3, 0.2, 0.1])}, {}


def apply_generator(params: Any, variables: Any, context: Any, latents: Array) -> tuple[Array, Any]:
    return (latents + params["shift"]).reshape(-1, 2, 2, 1), variables


NETWORKS = Networks(
    Network(init_generator, apply_generator, lambda *_: ""),
    Network(init_critic, apply_critic, lambda *_: ""),
    lambda key, count: jax.random.normal(key, (count, 4)),
    (-1.0, 1.0),
)


def play(steps: int = 1, tx: Any = None, **others: Technique) -> tuple[GameState, GameState, Metrics]:
    """A state before and after one update, of so many steps of the critic."""
    techniques = {"wasserstein": make("wasserstein", clip=CLIP)} | others
    tx = tx or optax.sgd(0.5)
    wrapped = technique.wrap(tx, [each.discriminator_optimizer for each in techniques.values()])
    game = Game(NETWORKS, techniques, wrapped, tx, optimizer.average_rate(0.1))
    real = Examples(jnp.asarray(np.random.default_rng(0).normal(2, 1, (6, 2, 2, 1)), jnp.float32))
    before = step.initialize(game, jax.random.key(0), real)
    batches = Batches((Batch(real),) * steps, (Batch(real),))
    return before, *jax.jit(functools.partial(step.update, game))(before, batches)


def largest(params: Any) -> float:
    return float(max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(params)))


@pytest.mark.parametrize("steps", [1, 3])
def test_all_that_is_trained_is_in_the_box_and_nothing_else(steps):
    before, after, _ = play(steps)
    assert largest(before.discriminator.params) == 1
    for name, leaf in after.discriminator.params.items():  # Biases and scales too.
        np.testing.assert_array_less(np.abs(leaf), np.nextafter(np.float32(CLIP), 1), err_msg=name)
    np.testing.assert_array_equal(after.discriminator.variables["statistics"], [5])
    assert largest(after.generator.params) > 0.1


def test_the_generator_meets_a_critic_in_the_box():
    """Clipped after its step: this one has left the box by far before."""

    def spy(state: Any, view: View) -> tuple[Array, Metrics]:
        ones = Examples(jnp.zeros((1, 2, 2, 1)))
        return jnp.zeros(()), {"bias": view.judge(ones).logits[0], "scale": jnp.max(jnp.abs(view.fake.logits))}

    _, after, metrics = play(spy=Technique(generator_loss=spy))
    np.testing.assert_allclose(metrics["g/spy/bias"], after.discriminator.params["bias"])
    assert metrics["g/spy/scale"] < 4 * 5 * CLIP**2 + CLIP


def test_each_player_moves_the_estimate_its_own_way():
    """Small steps of sgd, on the batch that they are measured on: signs that are wrong for one player are found."""
    tested = make("wasserstein", clipping=False)
    real, latents = np.random.default_rng(1).normal(1, 1, (2, 9, 4)).astype(np.float32)
    critic, shift = {"kernel": jnp.ones(4), "scale": jnp.ones(()), "bias": jnp.zeros(())}, jnp.zeros(4)

    def judged(critic: Any, shift: Array) -> tuple[Array, Array]:
        return tuple(
            apply_critic(critic, None, None, images)[0].logits for images in (jnp.asarray(real), latents + shift)
        )  # type: ignore[return-value]

    def loss(player: str, critic: Any, shift: Array) -> Array:
        view = look_at(*map(judge, judged(critic, shift)))
        return getattr(tested, f"{player}_loss")(None, view)[0]

    def means(critic: Any, shift: Array) -> tuple[float, float]:
        return tuple(float(each.mean()) for each in judged(critic, shift))  # type: ignore[return-value]

    down = lambda value, slope: value - 0.01 * slope  # noqa: E731
    real_before, fake_before = means(critic, shift)
    real_after, fake_after = means(
        jax.tree.map(down, critic, jax.grad(loss, argnums=1)("discriminator", critic, shift)), shift
    )
    assert real_after - fake_after > real_before - fake_before + 1e-3
    _, fake_after = means(critic, down(shift, jax.grad(loss, argnums=2)("generator", critic, shift)))
    assert fake_after > fake_before + 1e-3


def test_the_critic_is_linear_in_its_last_layer():
    """No sigmoid at the end: the last weights, times k, are the outputs times k."""
    layers = {"discriminator_layer": lambda asked: WeightLayer(asked)}
    networks = models.load(
        models.defaults("fully_connected") | {"discriminator_layers": (8,)}, space.images((3, 3, 1)), None, layers
    )
    images = jax.random.uniform(jax.random.key(1), (5, 3, 3, 1))
    params, variables = networks.discriminator.init(at(), images)
    last = sorted(params)[-1]
    assert params[last]["kernel"].shape == (8, 1)
    more = params | {last: jax.tree.map(lambda leaf: 1e3 * leaf, params[last])}
    once, often = (
        networks.discriminator.apply(each, variables, at(train=False), images)[0].logits for each in (params, more)
    )
    np.testing.assert_allclose(often, 1e3 * once, rtol=1e-4)


# The wrapper.


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("clip", [CLIP, 0.3, 1e-6])
def test_every_parameter_is_in_the_box_whatever_is_rounded(dtype, clip, random):
    """Also those that start far outside, as far as their own last place is finer than the box."""
    with jax.enable_x64(True):
        unit = float(jnp.finfo(dtype).eps)
        sizes = clip * np.geomspace(1e-3, 0.1 / unit, 20_000)
        params, gradients = (
            jnp.asarray(random.uniform(-1, 1, 20_000) * each, dtype) for each in (sizes, random.permutation(sizes))
        )
        wrapped = weight_clipping(optax.sgd(1.0), clip)
        updates, _ = wrapped.update(gradients, wrapped.init(params), params)
        after = optax.apply_updates(params, updates)
        assert after.dtype == dtype
        numbers = (after, params, gradients, jnp.asarray(clip, dtype))
        found, given, slopes, side = (np.asarray(each, np.float64) for each in numbers)
    assert np.abs(found).max() <= side
    near = 4 * unit * (np.abs(given) + np.abs(slopes) + clip)
    assert np.all(np.abs(found - np.clip(given - slopes, -clip, clip)) <= near)


def test_the_first_step_brings_in_what_starts_outside():
    params = {"kernel": jnp.float32([3.0, -2.0, 0.004]), "scale": jnp.float32(1)}
    wrapped = weight_clipping(optax.sgd(0.1), CLIP)
    updates, _ = wrapped.update(jax.tree.map(jnp.zeros_like, params), wrapped.init(params), params)
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["kernel"], [CLIP, -CLIP, 0.004], rtol=1e-4)
    np.testing.assert_allclose(after["scale"], CLIP, rtol=1e-4)


def test_inside_the_box_it_is_the_inner_optimiser_and_so_is_its_state(random):
    params, inner = jnp.asarray(random.uniform(-0.5, 0.5, 20)), optax.adam(1e-3)
    wrapped = weight_clipping(inner, 1.0)
    state = bare_state = inner.init(params)
    assert jax.tree.structure(wrapped.init(params)) == jax.tree.structure(state)
    for _ in range(3):
        updates, state = wrapped.update(params, state, params)
        bare, bare_state = inner.update(params, bare_state, params)
        np.testing.assert_allclose(updates, bare, rtol=1e-3)
        jax.tree.map(np.testing.assert_array_equal, state, bare_state)


def test_it_holds_around_another_wrapper():
    params = {"weight": jnp.float32([0.5, -0.5])}
    wrapped = weight_clipping(historical_averaging(optax.sgd(1.0), 0.4), CLIP)
    state = wrapped.init(params)
    for _ in range(3):
        updates, state = wrapped.update({"weight": jnp.float32([1, -3])}, state, params)
        params = optax.apply_updates(params, updates)
        assert largest(params) <= np.float32(CLIP)


def test_of_igans_wrappers_it_is_the_outermost():
    """The first technique is the innermost, and their order is that of their names."""
    wrapping = [
        name
        for name in technique.known()
        if technique.load({name: {"enabled": True}})[name].discriminator_optimizer is not None
    ]
    assert "historical_averaging" in wrapping and wrapping[-1] == "wasserstein"


def test_a_lookahead_can_be_differentiated_through_it():
    """The slope is the step's inside the box and zero where it is held at the side."""
    wrapped = weight_clipping(optax.sgd(0.1), 1.0)

    def after(gradient: Array) -> Array:
        params = jnp.float32([0.5, 0.95])
        updates, _ = wrapped.update(gradient, wrapped.init(params), params)
        return jnp.sum(optax.apply_updates(params, updates))

    np.testing.assert_allclose(jax.grad(after)(jnp.float32([-1, -1])), [-0.1, 0], atol=1e-7)


def test_extra_arguments_reach_the_inner_optimiser():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    wrapped = weight_clipping(optax.chain(optax.sgd(1.0), plateau), 10.0)
    params = jnp.ones(())
    state = wrapped.init(params)
    for _ in range(4):
        updates, state = wrapped.update(jnp.ones(()), state, params, value=jnp.ones(()))
    assert -1 < updates < 0


def test_an_update_without_parameters_says_what_to_write():
    wrapped = weight_clipping(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"call update\(gradients, state, params\)"):
        wrapped.update(jnp.ones(2), wrapped.init(jnp.ones(2)))


# What is refused.


@pytest.mark.parametrize("clip", [0.0, -0.01, float("nan"), float("inf"), 1e-50, 1e39, "1", None])
def test_a_box_that_cannot_be_is_one_line(clip):
    for build in (lambda clip: make("wasserstein", clip=clip), lambda clip: weight_clipping(optax.sgd(0.1), clip)):
        with pytest.raises(UserError, match=r"^techniques\.wasserstein\.clip is .*, expected a positive") as error:
            build(clip)
        assert "\n" not in str(error.value) and "clipping=False" in str(error.value)


@pytest.mark.parametrize("penalty", ["gradient_penalty", "dragan"])
def test_two_bounds_of_the_slope_are_refused(penalty):
    others = {penalty: Technique()}
    assert make("wasserstein").conflict({}) is None
    reason = make("wasserstein").conflict(others)
    assert reason == f"{penalty} already bounds the critic's slope: set --config.techniques.wasserstein.clipping=False"
    assert make("wasserstein", clipping=False).conflict(others) is None


def test_clipping_weights_that_are_normalised_is_refused(small):
    for name in ("semi_supervised", "feature_matching", "minimax"):
        small.techniques[name].enabled = False
    small.techniques.wasserstein.enabled = True
    with pytest.raises(UserError, match=r"wasserstein needs a discriminator whose outputs grow with its weights"):
        experiment.build(small)
    small.techniques.wasserstein.clipping = False
    validate(small)
    assert not make("wasserstein", clipping=False).needs
    assert make("wasserstein", clipping=False).discriminator_optimizer is None


def test_its_settings():
    config = default()
    assert config.techniques.wasserstein.clipping and config.techniques.wasserstein.clip == CLIP


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(importlib.import_module("igan.techniques.wasserstein"))
    assert found.attempted >= 10 and found.failed == 0
