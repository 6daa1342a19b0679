"""Drift (Karras et al. 2018, appendix A.1): the discriminator's logits of real images stay near zero.

strength * E D(x)^2 over real images, beside `wasserstein`, whose losses do not change if a constant is added to all
logits. Without it they wander off, and lose precision.

`penalty` is a function of arrays and works without the rest of igan.
"""

import jax.numpy as jnp

from igan.game.technique import State, Technique
from igan.techniques.gradient_penalty import require_amount
from igan.types import Array, Metrics, View


def make(strength: float = 1e-3) -> Technique:
    """Returns the penalty of the discriminator's logits of real images.

    Args:
      strength: at least 0; 0.001 in the paper.

    Raises UserError for another number.
    """
    require_amount("drift", "strength", strength, "0.001 is the paper's")

    def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        return strength * penalty(view.real.logits), {}

    return Technique(discriminator_loss=discriminator_loss)


def penalty(real: Array) -> Array:
    """Returns E D(x)^2 over real images, without its strength.

    Args:
      real: D(x), float [n].

    Example: a critic D(x) = weight is drawn to zero, with any optax optimiser.

    >>> import jax, optax
    >>> from igan.techniques.drift import penalty
    >>> optimizer, weight = optax.sgd(0.25), jax.numpy.array(2.0)
    >>> slope = jax.grad(lambda weight: penalty(weight * jax.numpy.ones(3)))(weight)
    >>> updates, _ = optimizer.update(slope, optimizer.init(weight))
    >>> optax.apply_updates(weight, updates)
    Array(1., dtype=float32)
    """
    return jnp.mean(jnp.square(real))
