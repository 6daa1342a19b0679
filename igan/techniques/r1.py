"""R1 (Mescheder et al. 2018, equation 9): the discriminator is flat at the real images, where the game then converges.

(gamma / 2) E |dD(x)/dx|^2 over real images x, of the logit D(x). The released code leaves out the half, so that its
`reg_param` of 10 is a gamma of 20 here.

gamma can fall or rise along the ramp of the run (`igan.game.schedule`), as R3GAN's does (Huang et al. 2024).

Every k-th step of the discriminator only, it is multiplied by k (the lazy regularisation of Karras et al. 2020,
appendix B, within the ordinary step): the same on average, at nearly a k-th of the cost.
"""

import numbers
from collections.abc import Callable

import jax
import jax.numpy as jnp

from igan.errors import UserError
from igan.game.schedule import moved
from igan.game.technique import State, Technique
from igan.techniques.gradient_penalty import Critic, comparisons, critic_of, held, require_amount, slopes, squared_norms
from igan.types import Array, Metrics, Seen, View


def make(gamma: float = 10.0, interval: int = 1, final_gamma: float = 0.0) -> Technique:
    """Returns the penalty of the discriminator's slopes at real images.

    Args:
      gamma: twice the strength, at least 0.
      interval: k, for every k-th step of the discriminator; 16 in StyleGAN2.
      final_gamma: where gamma is at the end of the run's ramp, `config.ramp_share`; 0: it stays as it is.

    Raises UserError naming the hyper-parameter that is off.
    """
    return zero_centred("r1", (gamma, final_gamma), interval, lambda view: view.real)


def zero_centred(name: str, gammas: tuple[float, float], interval: int, at: Callable[[View], Seen]) -> Technique:
    """Returns the penalty of the discriminator's slopes at these images, which are held constant."""
    for field, value in zip(("gamma", "final_gamma"), gammas, strict=True):
        require_amount(name, field, value, "10.0 is the paper's")
    require_interval(name, interval)

    def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        seen = at(view)
        critic, images = critic_of(view, seen.labels), held(view, seen.images)
        gamma = moved(*gammas, view.ramp)
        return lazily(interval, view, lambda: slope_penalty(critic, images, gamma)), {}

    return Technique(
        discriminator_loss=discriminator_loss, needs=frozenset({"independent_examples"}), conflict=comparisons
    )


def slope_penalty(critic: Critic, points: Array, gamma: Array | float = 10.0) -> Array:
    """Returns (gamma / 2) E |slope at a point|^2 (Mescheder et al. 2018, equation 9).

    Args:
      critic: points [n, ...] -> logits [n], each of which depends on its own point alone.
      points: float [n, ...] of any rank: real examples for R1, generated ones, held constant by
        `jax.lax.stop_gradient`, for R2.
      gamma: twice the strength.

    Example: any optax optimiser of the critic's parameters can take it.

    >>> import jax, optax
    >>> from igan.techniques.r1 import slope_penalty
    >>> weights, real = jax.numpy.array([3.0, 4.0]), jax.numpy.ones((4, 2))
    >>> def loss(weights):
    ...     return slope_penalty(lambda points: points @ weights, real, gamma=10.0)
    >>> float(loss(weights))
    125.0
    >>> optimizer = optax.sgd(0.01)
    >>> updates, state = optimizer.update(jax.grad(loss)(weights), optimizer.init(weights))
    >>> optax.apply_updates(weights, updates)
    Array([2.7, 3.6], dtype=float32)
    """
    return gamma / 2 * jnp.mean(squared_norms(slopes(critic, points)))


def lazily(interval: int, view: View, penalty: Callable[[], Array]) -> Array:
    """Returns `interval` times the penalty in every so many steps of the player, and zero in the others, at no cost.

    The step is asked for, not a memory, so that it stays a branch where several games are played at once.
    """
    if interval == 1:
        return penalty()
    dtype = view.real.logits.dtype

    # Made anew on the way back: what is kept for that, both branches would have to write, the idle one as zeros.
    @jax.checkpoint
    def due() -> Array:
        return (interval * penalty()).astype(dtype)

    return jax.lax.cond(view.turn.count % interval == 0, due, lambda: jnp.zeros((), dtype))


def require_interval(name: str, interval: int) -> None:
    """Raises UserError unless a hyper-parameter counts steps."""
    if not isinstance(interval, numbers.Integral) or not 1 <= interval <= 1_000_000:
        raise UserError(
            f"techniques.{name}.interval is {interval}, expected a whole number of steps from 1 to a million:"
            f" set --config.techniques.{name}.interval=1 for every step"
        )
