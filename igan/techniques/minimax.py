"""The minimax game of Goodfellow et al. (2014), equation 1.

With D(x) = sigmoid(logits(x)) the discriminator minimises -E log D(x) - E log(1 - D(G(z))), and the generator
minimises E log(1 - D(G(z))), which saturates when the discriminator wins: see `non_saturating` for the usual cure.

With a K-class discriminator, whose logits are logsumexp(class_logits), the discriminator's part is the unsupervised
loss of semi-supervised learning (Salimans et al. 2016, section 5), so `semi_supervised` adds the labelled part only.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import entr

from igan.game.technique import State, Technique
from igan.types import Array, Metrics, View


def make() -> Technique:
    """Returns the minimax objective of both players."""
    return Technique(
        discriminator_loss=discriminator_loss,
        generator_loss=generator_loss,
        reads_targets=frozenset({"real"}),
        objective=True,
    )


def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """KL(target || D(x)) - E log(1 - D(G(z))); with the target 1 the first part is -E log D(x)."""
    real = divergence(view.real.logits, view.targets.real)
    fake = divergence(view.fake.logits, 0.0)
    return real + fake, {"real": real, "fake": fake}


def generator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """E log(1 - D(G(z)))."""
    return -jnp.mean(jax.nn.softplus(view.fake.logits)), {}


def divergence(logits: Array, target: float) -> Array:
    """Returns E KL(target || sigmoid(logits)): the cross-entropy without the entropy of the target itself.

    Args:
      logits: D(x) before its sigmoid, float [n].
      target: a probability; 1 for real images and 0 for generated ones.

    >>> divergence(jnp.array([0.0]), 0.5)
    Array(0., dtype=float32)

    Example: the discriminator's step with logits weight * x, a real image at 3 and a generated one at 1, by any optax
    optimiser.

    >>> import jax, optax
    >>> from igan.techniques.minimax import divergence
    >>> def loss(weight):
    ...     return divergence(weight * jax.numpy.array([3.0]), 1.0) + divergence(weight * jax.numpy.array([1.0]), 0.0)
    >>> optimizer, weight = optax.sgd(0.5), jax.numpy.array(0.0)
    >>> updates, _ = optimizer.update(jax.grad(loss)(weight), optimizer.init(weight))
    >>> optax.apply_updates(weight, updates)
    Array(0.5, dtype=float32)
    """
    entropy = entr(target) + entr(1 - target)
    # Two softplus, because `softplus(logits) - target * logits` cancels where the logits are large.
    cross_entropy = target * jax.nn.softplus(-logits) + (1 - target) * jax.nn.softplus(logits)
    return jnp.mean(cross_entropy) - entropy
