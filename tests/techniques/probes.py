"""What a technique's own test should ask where the conformance suite cannot see: the classical mistakes.

Each of these takes a technique, or a part of one, and fails where it is wrong. `test_probes.py` shows each of them
telling a right version from a wrong one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from igan.game.technique import Technique
from igan.types import Array, Critique, Examples, Network, Networks, Player, Seen, View
from tests.contexts import turn

SLOPE = np.float32([[0.3, -0.5], [0.7, 0.2]])  # Of the discriminator below, in each pixel.


def judge(examples: Examples, plain: bool = False) -> Seen:
    """A discriminator whose gradient is `SLOPE` for every image, whatever the others are."""
    logits = jnp.sum(examples.images[..., 0] * SLOPE, axis=(1, 2))
    return Seen(*examples, examples.images, *Critique(logits, logits[:, None]))


def look_at(real: Any, fake: Any, seed: int = 0) -> View:
    """What a technique sees of these images, float [n, 2, 2, 1], by the discriminator above."""
    seen = [judge(Examples(jnp.asarray(images, jnp.float32))) for images in (real, fake)]
    return View(
        seen[0], seen[1], None, turn(), jax.random.key(seed), judge, lambda latents, labels=None: seen[1].images
    )


def scalar_networks(generate: Callable[..., Any], discriminate: Callable[..., Any]) -> Networks:
    """Networks of one parameter each, 0 at the start, for games that can be played by hand.

    Args:
      generate, discriminate: (parameter, variables, context, latents or images) -> (what it says, variables).
    """
    generator, discriminator = (
        Network(lambda context, inputs: (jnp.zeros(()), {}), apply, lambda *_: "") for apply in (generate, discriminate)
    )
    return Networks(generator, discriminator, lambda key, count: jnp.zeros((count, 1)), (-1.0, 1.0))


def draw(count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, count, 2, 2, 1)).astype(np.float32)


def assert_noise_is_fresh(technique: Technique, curved: Callable[[Array], Array]) -> None:
    """The discriminator's loss draws something new in every step, from images that stay the same.

    Args:
      curved: a discriminator, images -> logits [n], whose gradient is another one elsewhere.
    """

    def ask(examples: Examples, plain: bool = False) -> Seen:
        logits = curved(examples.images)
        return Seen(*examples, examples.images, *Critique(logits, logits[:, None]))

    images, values = draw(), []
    state = technique.init(jax.random.key(9), Examples(jnp.asarray(images[0])))
    for seed in range(3):  # As in three steps: another key, and the memory that the step before has left.
        view = look_at(*images, seed)._replace(judge=ask)
        values.append(float(technique.discriminator_loss(state, view)[0]))
        state = technique.update(state, view)
    assert len(set(values)) == 3, values


def assert_norm_is_per_example(technique: Technique) -> None:
    """A penalty of gradients is the mean over the examples: that of a batch, twice over, is that of the batch."""
    images = draw()
    state = technique.init(jax.random.key(9), Examples(jnp.asarray(images[0])))
    once, twice = (
        technique.discriminator_loss(state, look_at(*np.concatenate([images] * times, axis=1)))[0] for times in (1, 2)
    )
    np.testing.assert_allclose(twice, once, rtol=1e-5)


def assert_lookahead_goes_on_from_the_optimizer(technique: Technique, steps: int) -> None:
    """Its steps are those that the discriminator's optimiser would take next, moments included."""
    tx = optax.adam(0.1)
    params = {"weight": jnp.float32([1.0, -2.0])}
    _, state = tx.update({"weight": jnp.float32([3.0, 0.1])}, tx.init(params), params)  # Moments from an earlier step.

    def objective(params: Any, index: Array | int) -> Array:
        return jnp.sum((params["weight"] - 0.3) ** 2)

    found = technique.lookahead(Player(params, {}, state, params), objective, tx)
    for _ in range(steps):
        updates, state = tx.update(jax.grad(objective)(params, 0), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(found["weight"], params["weight"], rtol=1e-6)


def assert_generator_wants_to_be_called_real(technique: Technique) -> None:
    """The generator's step raises the logits of its images: positive means "real"."""

    def loss(logits: Array) -> Array:
        view = look_at(*draw())
        return technique.generator_loss(None, view._replace(fake=view.fake._replace(logits=logits)))[0]

    # Below 1, beyond which least squares pull back.
    slopes = jax.grad(loss)(jnp.float32([-2.0, -0.5, 0.0, 0.4, 0.9, 0.95]))
    assert np.all(slopes <= 0) and np.any(slopes < 0), slopes
