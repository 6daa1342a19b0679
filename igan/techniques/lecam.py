"""LeCam regularisation (Tseng et al. 2021): the discriminator's logits are drawn to where the other kind's have been.

The discriminator's loss gains strength * (E max(0, D(x) - a_fake)^2 + E max(0, a_real - D(G(z)))^2), where a_real and
a_fake are moving averages of the mean logits of real and of generated images. With few images to learn from this keeps
it from being too sure. The paper writes the squares without the maximum; its released codes have it.

The averages move in each step of the discriminator, before the loss looks at them, and are constants to the gradient.
In the first `start` updates they are the means of the very batch, and there is no penalty. Means are over the whole
batch, however many devices share it; each replica has averages of its own.

`penalty` is a function of arrays and works without the rest of igan.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from igan.errors import FLOAT32_MAX, require_number
from igan.game.technique import State, Technique
from igan.types import Array, Metrics, View


class Averages(NamedTuple):
    """What is remembered: moving averages of the mean logits."""

    real: Array  # float32 []
    fake: Array  # float32 []


def make(strength: float = 0.3, decay: float = 0.99, start: int = 1000) -> Technique:
    """Returns LeCam regularisation.

    Args:
      strength: factor of the penalty, at least 0. With the logits of a hinge 0.3 is usual; beside the adaptive
        augmentation of a style network 1e-6.
      decay: of the averages in a step, in [0, 1).
      start: the update from which on there is a penalty, 1 or later: until then the averages begin.

    Raises UserError for what is outside.
    """
    for field, value, usual, expected, holds in (
        ("strength", strength, 0.3, "a finite number of at least 0", lambda number: 0 <= number < FLOAT32_MAX),
        ("decay", decay, 0.99, "a number of at least 0 and below 1", lambda number: 0 <= number < 1),
        (
            "start",
            start,
            1000,
            "a whole number from 1 to 2^31 - 1",
            lambda number: 1 <= number < 2**31 and number % 1 == 0,
        ),
    ):
        require_number(f"techniques.lecam.{field}", value, expected, holds, usual)

    def update(averages: State, view: View) -> State:
        means = Averages(jnp.mean(view.real.logits), jnp.mean(view.fake.logits))
        rate = jnp.where(view.turn.step < start, 1.0, 1.0 - decay)
        return jax.tree.map(lambda old, new: old + rate * (new - old), averages, jax.lax.stop_gradient(means))

    def discriminator_loss(averages: State, view: View) -> tuple[Array, Metrics]:
        value = penalty(view.real.logits, view.fake.logits, *update(averages, view))
        return jnp.where(view.turn.step < start, 0.0, strength * value), {}

    return Technique(
        init=lambda key, real: Averages(jnp.zeros(()), jnp.zeros(())),
        update=update,
        report=lambda averages, view: {"average_real": averages.real, "average_fake": averages.fake},
        discriminator_loss=discriminator_loss,
    )


def penalty(real: Array, fake: Array, average_real: Array, average_fake: Array) -> Array:
    """Returns E max(0, real - average_fake)^2 + E max(0, average_real - fake)^2.

    Args:
      real: the discriminator's logits of real images, float [n].
      fake: of generated ones, float [m].
      average_real, average_fake: moving averages of both means, float []; constants to the gradient.

    Example: a step of a discriminator D(x) = weight * x with any optax optimiser.

    >>> import jax, optax
    >>> from igan.techniques.lecam import penalty
    >>> real, fake = jax.numpy.float32([2.0, 0.0]), jax.numpy.float32([-2.0, 0.0])
    >>> def loss(weight):
    ...     return penalty(weight * real, weight * fake, average_real=1.0, average_fake=-1.0)
    >>> optimizer, weight = optax.sgd(0.01), jax.numpy.float32(1.0)
    >>> value, slope = jax.value_and_grad(loss)(weight)
    >>> updates, _ = optimizer.update(slope, optimizer.init(weight))
    >>> print(f"{value} {optax.apply_updates(weight, updates):.2f}")
    10.0 0.88
    """
    average_real, average_fake = jax.lax.stop_gradient((average_real, average_fake))
    above, below = jax.nn.relu(real - average_fake), jax.nn.relu(average_real - fake)
    return jnp.mean(jnp.square(above)) + jnp.mean(jnp.square(below))
