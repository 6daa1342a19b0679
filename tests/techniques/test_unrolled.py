"""Unrolling: the scalar game by hand, through a whole update, finite where moments are zero, and nothing is moved."""

import doctest
import functools
import importlib

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
from igan.run import experiment, summary
from igan.techniques.historical_averaging import historical_averaging
from igan.techniques.unrolled import make, unroll
from igan.types import Batch, Critique, Examples, GameState, Player
from tests.contexts import turn
from tests.run.test_mixture import tiny
from tests.techniques import probes
from tests.techniques import test_objectives as toy

ADAM = {"optimizer": "adam", "learning_rate": 0.1, "constant_share": 1.0, "b1": 0.5, "b2": 0.999, "epsilon": 1e-8}


def ahead(steps, theta, psi=0.0, tx=None, recompute=False, offset=0.0):
    """Where psi is after steps that maximise theta psi - psi^2 / 2, through the technique's seam."""
    tx = tx or optax.sgd(0.5)
    player = Player(jnp.asarray(psi), {}, tx.init(jnp.asarray(psi)), jnp.asarray(psi))
    objective = lambda psi, index: -(theta * psi - psi**2 / 2) + offset * psi  # noqa: E731
    return make(steps, recompute).lookahead(player, objective, tx)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("steps", "whole", "first_term"), [(1, 0.75, 0.5), (2, 0.9375, 0.75), (5, 0.999023, 0.96875)])
def test_the_scalar_game_by_hand(steps, whole, first_term, recompute):
    """f_K(theta) = theta psi_K - psi_K^2 / 2. With psi_K held constant only the first term would be left."""

    def surrogate(theta):
        psi = ahead(steps, theta, recompute=recompute)
        return theta * psi - psi**2 / 2, psi

    (value, psi), slope = jax.value_and_grad(surrogate, has_aux=True)(1.0)
    np.testing.assert_allclose([slope, psi], [whole, first_term], atol=1e-6)
    assert steps > 1 or value == 0.375


def test_no_steps_are_the_game_itself():
    def surrogate(theta):
        psi = jnp.zeros(())
        psi = unroll(lambda psi, index: -theta * psi, psi, optax.sgd(0.5).init(psi), optax.sgd(0.5), steps=0)
        return theta * psi - psi**2 / 2

    assert jax.grad(surrogate)(1.0) == 0


@pytest.mark.parametrize("steps", [1, 3])
def test_it_goes_on_from_where_the_optimiser_is(steps):
    probes.assert_lookahead_goes_on_from_the_optimizer(make(steps), steps)


def test_each_step_has_an_index_of_its_own():
    tx = optax.sgd(1.0)
    player = Player(jnp.zeros(4), {}, tx.init(jnp.zeros(4)), jnp.zeros(4))
    found = make(3).lookahead(player, lambda params, index: -params[index], tx)
    np.testing.assert_array_equal(found, [1, 1, 1, 0])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda: optimizer.make(ADAM, 100),
        lambda: optimizer.make(ADAM | {"optimizer": "sgd", "constant_share": 0.0}, 100),
        lambda: historical_averaging(optimizer.make(ADAM, 100), strength=0.3),
        lambda: optax.adam(0.1, b1=0.5),
        lambda: optax.rmsprop(0.1, eps_in_sqrt=False),
    ],
    ids=["adam", "falling sgd", "historical averaging", "epsilon outside", "rmsprop"],
)
def test_the_gradient_goes_through_the_moments_of_any_optimiser(wrap):
    """Against central differences in float64, from moments of an earlier step."""
    with jax.enable_x64(True):
        tx, psi = wrap(), jnp.asarray([0.3, -0.2])
        _, state = tx.update(jnp.asarray([0.5, 0.1]), tx.init(psi), psi)

        @jax.jit
        def surrogate(theta):
            objective = lambda psi, index: jnp.sum(jnp.cosh(psi - theta) + 0.1 * psi[0] * psi[1])  # noqa: E731
            return jnp.sum(jnp.sin(unroll(objective, psi, state, tx, 4)))

        theta = jnp.asarray([1.0, -0.7])
        slopes, size = jax.grad(surrogate)(theta), 1e-6
        ends = [[surrogate(theta + sign * each) for each in size * np.eye(2)] for sign in (1, -1)]
        expected = (np.array(ends[0]) - np.array(ends[1])) / (2 * size)
        assert np.abs(expected).min() > 1e-4
        np.testing.assert_allclose(slopes, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "tx",
    [optimizer.make(ADAM, 9), optax.adam(0.1), optax.rmsprop(0.1, eps_in_sqrt=False), optax.rmsprop(0.1, momentum=0.9)],
    ids=["igan's adam", "optax's adam", "rmsprop", "rmsprop with momentum"],
)
def test_a_gradient_of_exactly_zero_from_new_moments_is_no_nan(tx):
    """d sqrt(v) / dv is infinite at 0. One parameter has no gradient in the first step, another one never has."""
    psi = jnp.asarray([0.5, 1.0, 2.0])

    def surrogate(theta):
        def objective(psi, index):
            return (
                (psi[0] - theta) ** 2 + (psi[1] - 1) ** 2 * (1 + theta * (psi[0] - 0.5)) + jax.nn.relu(-psi[2] * theta)
            )

        return jnp.sum(unroll(objective, psi, tx.init(psi), tx, 3) * jnp.arange(1.0, 4))

    slope = jax.grad(surrogate)(jnp.asarray(1.5))
    assert jnp.isfinite(slope) and slope != 0


def test_a_zero_gradient_counts_where_the_optimiser_has_a_derivative_there():
    """Plain descent from the optimum, and Adam with epsilon inside the root: 0.1 / sqrt(epsilon)."""
    for tx, expected in ((optax.sgd(0.5), 0.5), (optimizer.make(ADAM, 9), 0.1 / 1e-4)):
        slope = jax.grad(lambda theta, tx=tx: ahead(1, theta, psi=1.0, tx=tx))(1.0)
        np.testing.assert_allclose(slope, expected, rtol=1e-4)


# In a game: D(x) = psi x, all generated images are theta, and the real ones are 2.


def play(techniques: dict[str, Technique], tx: optax.GradientTransformation, **variables: float) -> tuple:
    """One step of the generator: the game, and the states before and after it."""
    variables = {"statistics": jnp.zeros(())} | variables

    def generate(theta, variables, context, latents):
        return theta * jnp.ones((len(latents), 1, 1, 1)), variables

    def judge(psi, variables, context, images):
        said = Critique(psi * images[:, 0, 0, 0], images[:, 0, 0])
        return said, {"statistics": variables["statistics"] + 1}

    game = Game(probes.scalar_networks(generate, judge), techniques, tx, optax.sgd(1.0), optimizer.average_rate(1.0))
    theta, psi = jnp.asarray(0.5), jnp.asarray(0.3)
    moments = tx.update(jnp.asarray(0.7), tx.init(psi), psi)[1]
    players = Player(theta, {}, optax.sgd(1.0).init(theta), theta), Player(psi, variables, moments, psi)
    state = GameState(jnp.int32(0), jax.random.key(0), *players, dict.fromkeys(techniques))
    batch = Batch(Examples(2 * jnp.ones((3, 1, 1, 1))))
    generator_step = jax.jit(lambda state: step.update_generator(game, state, turn(), jax.random.key(1), batch))
    return game, state, *generator_step(state)


def logistic(steps: int) -> dict[str, Technique]:
    return technique.load({"minimax": {"enabled": True}, "unrolled": {"enabled": True, "steps": steps}})


def surrogate(theta, psi, state, tx, steps):
    """f(theta, psi_K) of the paper's game, step by step, in the simplest words."""
    value = lambda theta, psi: jnp.log(jax.nn.sigmoid(2 * psi)) + jnp.log(1 - jax.nn.sigmoid(theta * psi))  # noqa: E731
    for _ in range(steps):
        updates, state = tx.update(jax.grad(lambda psi: -value(theta, psi))(psi), state, psi)
        psi = psi + updates
    return value(theta, psi)


@pytest.mark.parametrize("steps", [1, 5])
def test_the_generators_step_descends_the_papers_surrogate(steps):
    """Also its part of the real images, which depends on theta through the discriminator's steps alone."""
    with jax.enable_x64(True):
        tx = optimizer.make(ADAM, 100)
        _, before, after, metrics = play(logistic(steps), tx)
        psi, state = before.discriminator.params, before.discriminator.opt_state
        value, slope = jax.value_and_grad(surrogate)(before.generator.params, psi, state, tx, steps)
        np.testing.assert_allclose(after.generator.params, before.generator.params - slope, rtol=1e-9)
        np.testing.assert_allclose(metrics["g/minimax"] + metrics["g/unrolled"], value, rtol=1e-6)
        half = play({"minimax": logistic(steps)["minimax"], "unrolled": make(steps)._replace(generator_loss=None)}, tx)
        assert abs(half[2].generator.params - after.generator.params) > 1e-3


def test_what_depends_on_the_real_images_alone_moves_the_generator():
    """The discriminator maximises psi (x - theta), and the generator minimises psi_1 x alone."""

    def value(state, view):
        return -jnp.mean(view.real.logits) + jnp.mean(view.fake.logits), {}

    def of_real(state, view):
        return jnp.mean(view.real.logits), {}

    techniques = {"game": Technique(discriminator_loss=value, generator_loss=of_real), "unrolled": make(1)}
    techniques["unrolled"] = techniques["unrolled"]._replace(generator_loss=None)
    _, before, after, _ = play(techniques, optax.sgd(0.5))
    # psi_1 = psi + 0.5 (2 - theta), and d (2 psi_1) / d theta is -1.
    np.testing.assert_allclose(after.generator.params - before.generator.params, 1.0, rtol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True], ids=["adam", "historical averaging"])
def test_the_discriminator_its_optimiser_and_its_variables_stay_as_they_are(wrapped):
    tx = optimizer.make(ADAM, 100)
    _, before, after, _ = play(logistic(4), historical_averaging(tx) if wrapped else tx)
    jax.tree.map(np.testing.assert_array_equal, after.discriminator, before.discriminator)
    assert after.generator.params != before.generator.params


def test_through_convolutions_spectral_norm_and_batch_statistics():
    """Whose vectors the steps ahead leave alone; and a gradient that is finite from an Adam that has not moved."""
    techniques = logistic(2) | technique.load({"spectral_norm": {"enabled": True}})
    sizes = {"latent_size": 3, "generator_widths": (3,), "noise_channels": (1,), "dense_width": 3}
    sizes |= {"discriminator_widths": (2,), "discriminator_strides": (2,)}
    networks = models.load({"name": "imagenet"} | sizes, space.images((4, 4, 1)), None, technique.layers(techniques))
    tx = optimizer.make(ADAM, 100)
    game = Game(networks, techniques, tx, tx, optimizer.average_rate(0.1))
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, 4, 4, 1)), jnp.float32)
    state = jax.jit(functools.partial(step.initialize, game))(jax.random.key(0), Examples(images))
    key, batch = jax.random.key(1), Batch(Examples(images))
    slope = jax.jit(lambda state: step.generator_slope(game, state, turn(), key, batch))(state)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(slope.gradients))
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(slope.gradients))
    jax.tree.map(np.testing.assert_array_equal, slope.state.discriminator, state.discriminator)


def test_an_update_is_that_of_pytorch():
    """Three steps ahead by an Adam that has moved, written out there: PyTorch's own is not differentiable."""
    torch = pytest.importorskip("torch", reason="pip install igan[parity]")
    steps, rate, adam = 3, 0.5, ADAM | {"learning_rate": 0.05, "b2": 0.9, "epsilon": 1e-4}
    with jax.enable_x64(True):
        game, state, batches = toy.begin(logistic(steps), optimizer.make(adam, 100))
        descent = optax.sgd(rate)
        game = game._replace(generator_optimizer=descent)
        of_generator = state.generator._replace(opt_state=descent.init(state.generator.params))
        after, metrics = jax.jit(functools.partial(step.update, game))(state._replace(generator=of_generator), batches)
    made, judging = (
        {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
        for params in (toy.GENERATOR, toy.DISCRIMINATOR)
    )
    latents, real = torch.tensor(toy.LATENTS), torch.tensor(toy.REAL)

    def logits(params, images):
        return toy.through(params, images, torch.tanh)[:, 0]

    def loss(params, real, fake):
        return toy.DISCRIMINATOR_OF_MINIMAX(torch, logits(params, real), logits(params, fake))

    def descend(params, moments, value, count):
        slopes = torch.autograd.grad(value, list(params.values()), create_graph=True)
        for name, slope in zip(params, slopes, strict=True):
            mean, square = moments[name]
            mean, square = 0.5 * mean + 0.5 * slope, 0.9 * square + 0.1 * slope**2
            root = torch.sqrt(square / (1 - 0.9**count) + adam["epsilon"])
            moments = moments | {name: (mean, square)}
            params = params | {name: params[name] - adam["learning_rate"] * mean / (1 - 0.5**count) / root}
        return params, moments

    def fake():
        return toy.through(made, latents, torch.tanh) + made["shift"]

    moments = {name: (torch.zeros_like(each), torch.zeros_like(each)) for name, each in judging.items()}
    params, moments = descend(judging, moments, loss(judging, real[0], fake().detach()), 1)
    params, moments = (jax.tree.map(lambda leaf: leaf.detach().requires_grad_(), each) for each in (params, moments))
    for name, each in params.items():
        np.testing.assert_allclose(after.discriminator.params[name], each.detach(), rtol=1e-7, atol=1e-9, err_msg=name)
    images = fake()
    for count in range(2, 2 + steps):
        params, moments = descend(params, moments, loss(params, real[1], images), count)
    value = -loss(params, real[1], images)
    np.testing.assert_allclose(metrics["g/minimax"] + metrics["g/unrolled"], value.item(), rtol=1e-7)
    for name, slope in zip(made, torch.autograd.grad(value, list(made.values())), strict=True):
        expected = (made[name] - rate * slope).detach()
        np.testing.assert_allclose(after.generator.params[name], expected, rtol=1e-7, atol=1e-9, err_msg=name)
        assert rate * slope.abs().max() > 1e-2


# What is said in advance, and what is refused.


@pytest.mark.parametrize(("steps", "recompute", "times"), [(7, False, 7), (7, True, 1), (1, False, 1)])
def test_a_run_says_in_advance_how_much_memory_the_steps_need(capsys, steps, recompute, times):
    config = tiny()
    config.steps_per_chunk = 1
    for name, each in config.techniques.items():
        each.enabled = name in ("minimax", "unrolled")
    config.techniques.unrolled.update(steps=steps, recompute=recompute)
    built = experiment.build(config)
    summary.announce(built, config)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("unrolled: ")]
    params = sum(leaf.size for leaf in jax.tree.leaves(built.engine.state_shape.discriminator.params))
    # Of both replicas, Adam's two moments, and some counts beside.
    assert float(line.split(" moments, ")[1].split(" MB")[0]) == pytest.approx(steps * 3 * 4 * params / 1e6, rel=0.05)
    assert f"keep {steps} times" in line and f"and {times} times what one of its steps computes" in line
    assert ("recompute=True" in line) == (times > 1)


@pytest.mark.parametrize("steps", [0, -1, 51, 10**20, 2.5, float("nan"), "5", True, None])
def test_steps_that_are_none_or_too_many_are_refused(steps):
    with pytest.raises(UserError, match="whole number from 1 to 50, since each takes the memory") as caught:
        make(steps)
    assert f"steps is {steps}," in str(caught.value) and "\n" not in str(caught.value)


def test_the_part_of_the_papers_game_is_refused_beside_another_and_can_be_left_out():
    config = default()
    techniques = technique.load({"unrolled": {"enabled": True}})
    other = {"hinge": Technique(discriminator_loss=lambda state, view: None, objective=True)}
    assert "unrolled.generator_weight=0" in techniques["unrolled"].conflict(techniques | other)
    for weight, objective in ((0.0, other), (1.0, technique.load({"non_saturating": {"enabled": True}}))):
        mine = technique.load({"unrolled": {"enabled": True, "generator_weight": weight}})
        assert mine["unrolled"].conflict(mine | objective) is None
    config.techniques.minimax.enabled = config.techniques.unrolled.enabled = True
    validate(config)
    config.techniques.semi_supervised.enabled = True
    with pytest.raises(UserError, match=r"labelled images.*semi_supervised\.enabled=False"):
        validate(config)


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(importlib.import_module("igan.techniques.unrolled"))
    assert found.attempted >= 5 and found.failed == 0
