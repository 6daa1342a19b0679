"""R2 (Mescheder et al. 2018, equation 10): the discriminator is flat at the generated images.

(gamma / 2) E |dD(x)/dx|^2 over generated images x, which are held constant: `r1` at the other end of the game. Huang
et al. (2025) find that with their relativistic objective it takes both.
"""

from igan.game.technique import Technique
from igan.techniques.r1 import zero_centred


def make(gamma: float = 10.0, interval: int = 1, final_gamma: float = 0.0) -> Technique:
    """Returns the penalty of the discriminator's slopes at generated images.

    Args:
      gamma: twice the strength, at least 0.
      interval: k, for every k-th step of the discriminator, at k times the strength; see `igan.techniques.r1`.
      final_gamma: where gamma is at the end of the run's ramp; 0: it stays as it is.

    Raises UserError naming the hyper-parameter that is off.

    Example: the penalty without the rest of igan, for any optax optimiser of the critic's parameters. Images that a
    generator made are held constant.

    >>> import jax, optax
    >>> from igan.techniques.r1 import slope_penalty
    >>> def loss(weights, scale):
    ...     fake = jax.lax.stop_gradient(scale * jax.numpy.ones((4, 2)))
    ...     return slope_penalty(lambda points: points**2 @ weights / 2, fake, gamma=10.0)
    >>> weights = jax.numpy.array([3.0, 4.0])
    >>> slope, of_generator = jax.grad(loss, argnums=(0, 1))(weights, 1.0)
    >>> optimizer = optax.sgd(0.01)
    >>> updates, _ = optimizer.update(slope, optimizer.init(weights))
    >>> print(*(f"{weight:.2f}" for weight in optax.apply_updates(weights, updates)), float(of_generator))
    2.70 3.60 0.0
    """
    return zero_centred("r2", (gamma, final_gamma), interval, lambda view: view.fake)
