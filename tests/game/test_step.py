"""One update of a game small enough to be worked out by hand: D(x) = slope x, G(z) = scale z, images of one pixel."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.game import step
from igan.game.optimizer import average_rate as average_rate_of
from igan.game.step import Game
from igan.game.technique import Technique
from igan.game.view import look
from igan.types import (
    Array,
    Batch,
    Batches,
    Context,
    Critique,
    Examples,
    GameState,
    Key,
    Metrics,
    Network,
    Networks,
    Player,
    View,
)
from tests.contexts import turn

RATE, COUNT = 0.1, 4


def tiny_networks(noise: float = 0.0) -> Networks:
    """Two networks with one parameter each. Their variables count how often they ran in training mode."""

    def generate(params: Any, variables: Any, context: Context, latents: Array) -> tuple[Array, Any]:
        return params["scale"] * latents, {"runs": variables["runs"] + context.train}

    def judge(params: Any, variables: Any, context: Context, images: Array) -> tuple[Critique, Any]:
        logits = params["slope"] * images[:, 0, 0, 0] + noise * jax.random.normal(context.key, images.shape[:1])
        return Critique(logits, logits[:, None]), {"runs": variables["runs"] + context.train}

    def start(name: str, value: float) -> Callable[[Context, Array], Any]:
        return lambda context, inputs: ({name: jnp.float32(value)}, {"runs": jnp.int32(0)})

    return Networks(
        generator=Network(start("scale", 0.7), generate, lambda context, inputs: ""),
        discriminator=Network(start("slope", 1.3), judge, lambda context, inputs: ""),
        sample_latents=lambda key, count: jax.random.uniform(key, (count, 1, 1, 1)),
        image_range=(0.0, 1.0),
    )


def mean_logit(state: Any, view: View) -> tuple[Array, Metrics]:
    """The generator's loss of these tests: it wants small logits."""
    return jnp.mean(view.fake.logits), {"fake_images": view.fake.images, "logits": view.fake.logits}


def squares(state: Any, view: View) -> tuple[Array, Metrics]:
    """The discriminator's loss of these tests: logits of 1 for real images and of 0 for generated ones."""
    loss = jnp.mean((view.real.logits - 1) ** 2) + jnp.mean(view.fake.logits**2)
    return loss, {"fake_images": view.fake.images, "real": view.real.logits, "logits": view.fake.logits}


OBJECTIVE = Technique(discriminator_loss=squares, generator_loss=mean_logit)


def tiny_game(rate: float = RATE, noise: float = 0.0, average_rate: float = 0.5, **techniques: Technique) -> Game:
    optimizer = optax.sgd(rate)
    rate_of_average = average_rate_of(average_rate)
    return Game(tiny_networks(noise), {"objective": OBJECTIVE} | techniques, optimizer, optimizer, rate_of_average)


def start(game: Game, seed: int = 0) -> GameState:
    return step.initialize(game, jax.random.key(seed), Examples(jnp.zeros((1, 1, 1, 1))))


def real(*pixels: float) -> Batch:
    return Batch(Examples(jnp.float32(pixels).reshape(-1, 1, 1, 1)))


BATCH = real(0.2, 0.4, 0.5, 0.9)
ONE_OF_EACH = Batches((BATCH,), (BATCH,))


def pixels(images: Array) -> np.ndarray:
    return np.asarray(images, np.float64).ravel()


def descend_by_hand(slope: float, images: Array, fake_images: Array) -> float:
    """One step of the discriminator: `squares` has the slope 2 mean((slope x - 1) x) + 2 mean(slope z^2)."""
    x, fake = pixels(images), pixels(fake_images)
    return slope - RATE * (2 * np.mean((slope * x - 1) * x) + 2 * np.mean(slope * fake**2))


def test_noise_depends_on_the_step_and_the_seed_but_not_on_what_was_played_before():
    game = tiny_game(rate=0.0, noise=1.0)
    played, seen = start(game), []
    for _ in range(3):
        played, metrics = step.update(game, played, ONE_OF_EACH)
        seen.append(metrics)
    _, jumped = step.update(game, start(game)._replace(step=jnp.int32(2)), ONE_OF_EACH)
    _, other_seed = step.update(game, start(game, seed=1), ONE_OF_EACH)
    for name in ("d/objective/fake_images", "d/objective/real", "d/objective/logits", "g/objective/logits"):
        np.testing.assert_array_equal(jumped[name], seen[2][name])
        draws = [*(metrics[name] for metrics in seen), other_seed[name]]
        assert len({np.asarray(draw).tobytes() for draw in draws}) == 4


def test_every_step_of_either_player_has_noise_of_its_own():
    recorded = []

    def record(state: Any, view: View) -> tuple[Array, Metrics]:
        jax.debug.callback(lambda images: recorded.append(images.tobytes()), view.fake.images)
        return jnp.zeros(()), {}

    game = tiny_game(rate=0.0, spy=Technique(discriminator_loss=record, generator_loss=record))
    step.update(game, start(game), Batches((BATCH,) * 3, (BATCH,) * 2))
    jax.effects_barrier()
    assert len(set(recorded)) == 5


def test_real_and_generated_images_meet_different_noise():
    game = tiny_game(rate=0.0, noise=1.0)
    state = start(game)
    _, metrics = step.update(game, state, ONE_OF_EACH)
    slope = state.discriminator.params["slope"]
    noise_on_real = metrics["d/objective/real"] - slope * BATCH.real.images.ravel()
    noise_on_fake = metrics["d/objective/logits"] - slope * metrics["d/objective/fake_images"].ravel()
    assert np.abs(noise_on_real - noise_on_fake).min() > 1e-3


# Phases.


def test_the_discriminator_phase_changes_the_discriminator_only():
    game = tiny_game()
    before = start(game)
    after, metrics = step.update_discriminator(game, before, turn(), jax.random.key(1), BATCH)
    jax.tree.map(np.testing.assert_array_equal, after.generator, before.generator)
    assert (after.step, after.techniques) == (before.step, before.techniques)
    expected = descend_by_hand(1.3, BATCH.real.images, metrics["d/objective/fake_images"])
    np.testing.assert_allclose(after.discriminator.params["slope"], expected, rtol=1e-6)
    assert after.discriminator.variables["runs"] == 1


def test_the_generator_phase_changes_the_generator_only():
    game = tiny_game()
    before = start(game)
    after, metrics = step.update_generator(game, before, turn(), jax.random.key(1), BATCH)
    jax.tree.map(np.testing.assert_array_equal, after.discriminator, before.discriminator)
    assert (after.step, after.techniques) == (before.step, before.techniques)
    latents = pixels(metrics["g/objective/fake_images"]) / 0.7
    np.testing.assert_allclose(after.generator.params["scale"], 0.7 - RATE * 1.3 * latents.mean(), rtol=1e-6)
    assert after.generator.variables["runs"] == 1


def test_several_steps_of_each_player_follow_each_other():
    batches = Batches((real(0.1, 0.3), real(0.9, 0.8), real(0.5, 0.1)), (real(0.2, 0.2), real(0.3, 0.3)))
    recorded = {"d": [], "g": []}

    def record(player: str) -> Callable:
        def loss(state: Any, view: View) -> tuple[Array, Metrics]:
            jax.debug.callback(
                lambda *images: recorded[player].append(images), view.fake.images, view.real.images, ordered=True
            )
            return jnp.zeros(()), {}

        return loss

    game = tiny_game(spy=Technique(discriminator_loss=record("d"), generator_loss=record("g")))
    after, _ = step.update(game, start(game), batches)
    jax.effects_barrier()
    slope, scale = 1.3, 0.7
    for (fake_images, images), batch in zip(recorded["d"], batches.discriminator, strict=True):
        np.testing.assert_array_equal(images, batch.real.images)
        slope = descend_by_hand(slope, images, fake_images)
    for (fake_images, images), batch in zip(recorded["g"], batches.generator, strict=True):
        np.testing.assert_array_equal(images, batch.real.images)
        scale -= RATE * slope * np.mean(pixels(fake_images) / scale)  # Against the discriminator that has moved.
    np.testing.assert_allclose(after.discriminator.params["slope"], slope, rtol=1e-5)
    np.testing.assert_allclose(after.generator.params["scale"], scale, rtol=1e-5)
    assert (after.step, after.discriminator.variables["runs"], after.generator.variables["runs"]) == (1, 3, 2)


@pytest.mark.parametrize("average_rate", [0.5, 0.01])
def test_the_moving_average(average_rate):
    game = tiny_game(average_rate=average_rate)
    update = jax.jit(lambda state: step.update(game, state, ONE_OF_EACH)[0])
    state = start(game)
    expected = {"discriminator": 1.3, "generator": 0.7}
    for index in range(15):
        state = update(state)
        rate = max(average_rate, 9 / (10 + index))
        for name, parameter in (("discriminator", "slope"), ("generator", "scale")):
            player = getattr(state, name)
            expected[name] += rate * (float(player.params[parameter]) - expected[name])
            np.testing.assert_allclose(player.average[parameter], expected[name], rtol=1e-5, atol=1e-6)
    assert abs(expected["generator"] - float(state.generator.params["scale"])) > 0.01


# Seams.


def test_losses_are_added_up_and_reported_one_by_one():
    def constant(value: float) -> Callable:
        return lambda state, view: (jnp.float32(value) * jnp.mean(view.fake.logits), {"twice": jnp.float32(2 * value)})

    game = tiny_game(a=Technique(generator_loss=constant(3)), b=Technique(generator_loss=constant(-1)))
    after, metrics = step.update_generator(game, start(game), turn(), jax.random.key(1), BATCH)
    logit = float(np.mean(metrics["g/objective/logits"]))
    np.testing.assert_allclose([metrics[f"g/{name}"] for name in ("objective", "a", "b")], [logit, 3 * logit, -logit])
    assert (metrics["g/a/twice"], metrics["g/b/twice"]) == (6, -2)
    slope_of_loss = 3 * np.mean(pixels(metrics["g/objective/fake_images"])) / 0.7 * 1.3
    np.testing.assert_allclose(after.generator.params["scale"], 0.7 - RATE * slope_of_loss, rtol=1e-5)


@pytest.mark.parametrize("together", [True, False])
def test_a_technique_may_change_what_the_discriminator_sees(together):
    changes = {
        "double": Technique(discriminator_input=lambda state, key, images: 2 * images),
        "plus_noise": Technique(
            discriminator_input=lambda state, key, images: images + jax.random.uniform(key, images.shape)
        ),
    }
    game = tiny_game(**changes)
    state = start(game)
    batch = BATCH._replace(labeled=BATCH.real._replace(labels=jnp.zeros(COUNT, jnp.int32)))
    view, variables = look(game, state, turn(), jax.random.key(1), batch, BATCH.real, together)
    critiques = [view.labeled, view.real, view.fake, view.judge(BATCH.real)]
    noise = [pixels(each.logits) / 1.3 - 2 * pixels(BATCH.real.images) for each in critiques if each is not None]
    # The config's order: doubled first, then the noise, of which each look has its own.
    assert len(noise) == 4
    assert np.min(noise) >= -1e-6
    assert np.max(noise) <= 1 + 1e-6
    assert len({tuple(np.round(each, 5)) for each in noise}) == 4
    assert variables["runs"] == 1
    # What the techniques see are the images themselves.
    np.testing.assert_array_equal(view.fake.images, BATCH.real.images)
    np.testing.assert_array_equal(view.real.images, BATCH.real.images)


def test_the_gradient_runs_through_what_a_technique_changes():
    game = tiny_game(double=Technique(discriminator_input=lambda state, key, images: 2 * images))
    after, metrics = step.update_generator(game, start(game), turn(), jax.random.key(1), BATCH)
    latents = pixels(metrics["g/objective/fake_images"]) / 0.7
    np.testing.assert_allclose(after.generator.params["scale"], 0.7 - RATE * 1.3 * 2 * latents.mean(), rtol=1e-5)


def test_batches_side_by_side_are_judged_as_if_apart():
    # Minibatch statistics belong to one batch: this discriminator subtracts the mean of its batch.
    def judge(params: Any, variables: Any, context: Context, images: Array) -> tuple[Critique, Any]:
        noisy = images.ravel() + jax.random.normal(context.key, images.shape[:1])
        centred = params["slope"] * (noisy - noisy.mean())
        return Critique(centred, jnp.stack([centred, noisy], axis=1)), {
            "runs": variables["runs"] + jnp.int32(context.train)
        }

    game = tiny_game()
    networks = game.networks._replace(discriminator=game.networks.discriminator._replace(apply=judge))
    game = game._replace(networks=networks)
    state = start(game)
    batch = BATCH._replace(labeled=Examples(BATCH.real.images * 2, jnp.zeros(COUNT, jnp.int32)))
    looks = [
        look(game, state, turn(), jax.random.key(1), batch, Examples(3 * BATCH.real.images + 5), together)
        for together in (True, False)
    ]
    for name in ("labeled", "real", "fake"):
        together, apart = (getattr(view, name) for view, _ in looks)
        assert together.features.shape == (COUNT, 2)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5), together, apart)
    assert looks[0][1] == looks[1][1]


def test_a_technique_may_ask_about_other_images_and_differentiate_the_answer():
    def gradient_penalty(state: Any, view: View) -> tuple[Array, Metrics]:
        slopes = jax.grad(lambda images: jnp.sum(view.judge(Examples(images)).logits))(view.real.images + 5)
        return jnp.mean(slopes**2), {}

    game = tiny_game(penalty=Technique(discriminator_loss=gradient_penalty))
    after, metrics = step.update_discriminator(game, start(game), turn(), jax.random.key(1), BATCH)
    np.testing.assert_allclose(metrics["d/penalty"], 1.3**2, rtol=1e-6)
    without = descend_by_hand(1.3, BATCH.real.images, metrics["d/objective/fake_images"])
    np.testing.assert_allclose(after.discriminator.params["slope"], without - RATE * 2 * 1.3, rtol=1e-5)


def test_a_technique_with_memory():
    def remember(state: Any, view: View) -> Any:
        return {"times": state["times"] + 1, "real": view.real.logits.mean(), "key": state["key"]}

    def loss(state: Any, view: View) -> tuple[Array, Metrics]:
        return state["real"] * jnp.mean(view.fake.logits), {"times": state["times"]}

    def begin(key: Key, real: Examples) -> Any:
        return {"times": jnp.int32(0), "real": jnp.float32(0), "key": jax.random.key_data(key)}

    memory = Technique(begin, remember, discriminator_loss=loss, generator_loss=loss)
    game = tiny_game(first=memory, second=memory)
    state = start(game)
    assert not np.array_equal(state.techniques["first"]["key"], state.techniques["second"]["key"])
    slope = 1.3
    after, metrics = step.update(game, state, Batches((BATCH, BATCH), (BATCH,)))
    assert after.techniques["first"]["times"] == 2  # It remembers what the discriminator's steps saw.
    np.testing.assert_array_equal(after.techniques["first"]["key"], state.techniques["first"]["key"])
    assert (metrics["d/first/times"], metrics["g/first/times"]) == (1, 2)  # A loss sees what was remembered before.
    once, metrics = step.update_discriminator(game, state, turn(), jax.random.key(1), BATCH)
    np.testing.assert_allclose(once.techniques["first"]["real"], slope * pixels(BATCH.real.images).mean(), rtol=1e-6)
    # What it remembers has no gradient: the step is the objective's alone.
    expected = descend_by_hand(slope, BATCH.real.images, metrics["d/objective/fake_images"])
    np.testing.assert_allclose(once.discriminator.params["slope"], expected, rtol=1e-6)


@pytest.mark.parametrize("through", [True, False], ids=["differentiated", "stopped"])
def test_the_generator_may_play_against_the_discriminator_of_the_next_step(through):
    """Unrolling one step of gradient descent, against the derivatives written out."""

    def unroll(player: Player, objective: Callable[..., Array], optimizer: Any) -> Any:
        gradient = jax.grad(objective)(player.params, 0)
        if not through:
            gradient = jax.lax.stop_gradient(gradient)
        return jax.tree.map(lambda param, slope: param - RATE * slope, player.params, gradient)

    game = tiny_game(unrolled=Technique(lookahead=unroll))
    after, metrics = step.update_generator(game, start(game), turn(), jax.random.key(1), BATCH)
    slope, scale = 1.3, 0.7
    latents = pixels(metrics["g/objective/fake_images"]) / scale
    next_slope = descend_by_hand(slope, BATCH.real.images, metrics["g/objective/fake_images"])
    np.testing.assert_allclose(metrics["g/objective"], next_slope * scale * latents.mean(), rtol=1e-5)
    # loss = next_slope(scale) * scale * mean(z), where next_slope falls by RATE * 2 slope scale^2 mean(z^2).
    gradient = next_slope * latents.mean()
    if through:
        gradient -= RATE * 4 * slope * scale * np.mean(latents**2) * scale * latents.mean()
    np.testing.assert_allclose(after.generator.params["scale"], scale - RATE * gradient, rtol=1e-5)
    # It is a look ahead: the discriminator itself stays, and its own step is not concerned.
    assert after.discriminator.params["slope"] == jnp.float32(1.3)
    moved, metrics = step.update_discriminator(game, start(game), turn(), jax.random.key(1), BATCH)
    expected = descend_by_hand(slope, BATCH.real.images, metrics["d/objective/fake_images"])
    np.testing.assert_allclose(moved.discriminator.params["slope"], expected, rtol=1e-6)
