"""DRAGAN (Kodali et al. 2017): the discriminator's slope is near 1 around the real images, whatever the generator does.

strength * E (|dD(x)/dx| - target)^2, where x is on the line from a real image to a perturbed one, at one share of it
for each image. As in the released notebook the perturbation is radius * std * U[0, 1) in each pixel, so to one side,
and std is one number, of all pixels of all images of the batch. The paper's objective is `non_saturating`.
"""

import jax
import jax.numpy as jnp

from igan.game.technique import State, Technique
from igan.techniques.gradient_penalty import (
    comparisons,
    critic_of,
    distance,
    held,
    interpolate,
    require_amount,
    slope_norms,
)
from igan.types import Array, Key, Metrics, View


def make(strength: float = 10.0, target: float = 1.0, radius: float = 0.5) -> Technique:
    """Returns the gradient penalty of the discriminator around real images.

    Args:
      strength: lambda, at least 0.
      target: k, the slope that is aimed at, at least 0.
      radius: c, the largest perturbation of a pixel, in standard deviations of the batch; to be matched to the data.

    Raises UserError naming the hyper-parameter that is off.
    """
    for field, value, released in (("strength", strength, 10.0), ("target", target, 1.0), ("radius", radius, 0.5)):
        require_amount("dragan", field, value, f"{released} is the released code's")

    def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        points = around(view.key, view.real.images, radius)
        norms = slope_norms(critic_of(view, view.real.labels), held(view, points))
        return strength * distance(norms, target), {"slope": jnp.mean(norms)}

    return Technique(
        discriminator_loss=discriminator_loss, needs=frozenset({"independent_examples"}), conflict=comparisons
    )


def around(key: Key, real: Array, radius: float = 0.5) -> Array:
    """Returns points around real examples, [n, ...] of any rank, in which DRAGAN measures slopes.

    Each is real + share * radius * std * noise, with a share of U[0, 1] for each example, noise of U[0, 1) for each
    feature, and the standard deviation of all of the batch.

    Example: the penalty without the rest of igan, for any optax optimiser of the critic's parameters.

    >>> import jax, optax
    >>> from igan.techniques.dragan import around
    >>> from igan.techniques.gradient_penalty import gradient_penalty
    >>> real = jax.random.normal(jax.random.key(0), (4, 2))
    >>> def loss(weights):
    ...     points = around(jax.random.key(1), real)
    ...     return 10 * gradient_penalty(lambda points: points @ weights, points)
    >>> optimizer, weights = optax.sgd(0.01), jax.numpy.array([3.0, 4.0])
    >>> updates, _ = optimizer.update(jax.grad(loss)(weights), optimizer.init(weights))
    >>> print(*(f"{weight:.2f}" for weight in optax.apply_updates(weights, updates)))
    2.52 3.36
    """
    noise, share = jax.random.split(key)
    perturbed = real + radius * jnp.std(real) * jax.random.uniform(noise, real.shape, real.dtype)
    return interpolate(share, real, perturbed)
