"""Boundary equilibrium (Berthelot et al. 2017): the discriminator is an autoencoder, and its error is the game.

With L the mean absolute error of a reconstruction, the discriminator minimises L(x) - k L(G(z)) and the generator
L(G(z)). A share k in [0, 1] is steered so that L(G(z)) is gamma times L(x) in the end: after each step of the
discriminator k moves by gain * (gamma L(x) - L(G(z))), from 0 on. gamma trades the diversity of images for their
sharpness. M = L(x) + |gamma L(x) - L(G(z))| measures convergence: it is reported beside k, as
`d/boundary_equilibrium/convergence`. At the start L(G(z)) is below L(x): blurred images are easy to reconstruct.

L is the mean over all numbers of an image, of whatever size, and compares with what the discriminator was shown. The
rule takes the errors of the discriminator's step. In the paper L(G(z)) is that of the generator's, with latents of its
own; its later implementations use one batch for both. With `accumulate`, k moves after each part of a batch.

`errors`, `next_share` and `convergence` are functions of arrays and work without the rest of igan.
"""

import jax.numpy as jnp

from igan.errors import require_number
from igan.game.technique import State, Technique
from igan.types import Array, Metrics, Seen, View

TESTED_ON = "autoencoder"


def make(diversity: float = 0.5, gain: float = 0.001) -> Technique:
    """Returns boundary equilibrium, an objective of both players.

    Args:
      diversity: gamma, the ratio of both errors that is aimed at, in (0, 1]; a low one for sharp and similar images.
      gain: by which k moves, lambda in the paper, in (0, 1].

    Raises UserError for what is outside.
    """
    for field, value, usual in (("diversity", diversity, 0.5), ("gain", gain, 0.001)):
        name = f"techniques.boundary_equilibrium.{field}"
        require_number(name, value, "a number above 0, at most 1", lambda number: 0 < number <= 1, usual)

    def discriminator_loss(share: State, view: View) -> tuple[Array, Metrics]:
        real, fake = _mean_error(view.real), _mean_error(view.fake)
        return real - share * fake, {"real": real, "fake": fake}

    def update(share: State, view: View) -> State:
        return next_share(share, _mean_error(view.real), _mean_error(view.fake), diversity, gain)

    def report(share: State, view: View) -> Metrics:
        return {"k": share, "convergence": convergence(_mean_error(view.real), _mean_error(view.fake), diversity)}

    return Technique(
        init=lambda key, real: jnp.zeros(()),
        update=update,
        report=report,
        discriminator_loss=discriminator_loss,
        generator_loss=lambda share, view: (_mean_error(view.fake), {}),
        objective=True,
        boundary=None,
        needs=frozenset({"reconstruction"}),
    )


def errors(images: Array, reconstructions: Array) -> Array:
    """Returns the mean absolute error of each image, float32 [n].

    Args:
      images: float [n, ...].
      reconstructions: of the same shape.

    >>> errors(jnp.zeros((1, 4, 4, 3)), jnp.full((1, 4, 4, 3), -0.25))
    Array([0.25], dtype=float32)
    """
    return jnp.mean(jnp.abs(images - reconstructions), axis=tuple(range(1, images.ndim)))


def next_share(share: Array, real: Array, fake: Array, diversity: float = 0.5, gain: float = 0.001) -> Array:
    """Returns k after a step: nearer to where the error of generated images is `diversity` times that of real ones.

    Args:
      share: k before it, float [], in [0, 1].
      real, fake: mean errors, float [].
      diversity: gamma.
      gain: by which k moves.

    Example: one step of an autoencoder that multiplies by a weight, with any optax optimiser.

    >>> import jax, optax
    >>> from igan.techniques.boundary_equilibrium import errors, next_share
    >>> real, fake = jax.numpy.float32([[0.2], [-0.2]]), jax.numpy.float32([[0.05], [0.05]])
    >>> def losses(weight):
    ...     return errors(real, weight * real).mean(), errors(fake, weight * fake).mean()
    >>> optimizer, weight, share = optax.sgd(0.1), jax.numpy.zeros(()), jax.numpy.zeros(())
    >>> slope = jax.grad(lambda weight: losses(weight)[0] - share * losses(weight)[1])(weight)
    >>> updates, _ = optimizer.update(slope, optimizer.init(weight))
    >>> share = next_share(share, *losses(weight), diversity=0.5)
    >>> print(f"{optax.apply_updates(weight, updates):.2f} {share:.0e}")
    0.02 5e-05
    """
    return jnp.clip(share + gain * (diversity * real - fake), 0, 1)


def convergence(real: Array, fake: Array, diversity: float = 0.5) -> Array:
    """Returns M, which falls as both players get better.

    >>> print(f"{convergence(jnp.float32(0.2), jnp.float32(0.05), 0.5):.2f}")
    0.25
    """
    return real + jnp.abs(diversity * real - fake)


def _mean_error(seen: Seen) -> Array:
    assert seen.reconstruction is not None  # Of networks that give it.
    return jnp.mean(errors(seen.inputs, seen.reconstruction))
