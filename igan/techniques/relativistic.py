"""Relativistic GANs (Jolicoeur-Martineau 2019): D(x) - D(G(z)) is judged, how much more real a real image looks.

With `comparison="pairing"` each real image is compared with one generated image, that of the same place in its batch:
the discriminator minimises E loss(D(x) - D(G(z))), and the generator E loss(D(G(z)) - D(x)). With the softplus loss
this is RSGAN, or RpGAN (Huang et al. 2024, who show that it need not converge without `r1` or `r2`).

With `comparison="average"` each image is compared with the mean of the other kind, E' D, in both directions: the
discriminator minimises E loss(D(x) - E' D(G(z))) / 2 + E loss(E' D(x) - D(G(z))) / 2 and the generator the same with
the roles swapped (RaSGAN, RaLSGAN and RaHingeGAN). The means are of a batch, or of a part of it under `accumulate`, and
are differentiated as well.

`pairing` and `average` are functions of arrays and work without the rest of igan.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from igan.errors import UserError, did_you_mean
from igan.game.technique import State, Technique
from igan.techniques import wasserstein
from igan.types import Array, Metrics, View

# Of how much more real the images look that should: each falls as that grows, least squares up to 1.
LOSSES: dict[str, Callable[[Array], Array]] = {
    "softplus": lambda lead: jax.nn.softplus(-lead),
    "least_squares": lambda lead: (lead - 1) ** 2,
    "hinge": lambda lead: jax.nn.relu(1 - lead),
}


def make(comparison: str = "pairing", loss: str = "softplus") -> Technique:
    """Returns the relativistic objective of both players.

    Args:
      comparison: "pairing", of each real image with one generated image; "average", with the mean of the batch.
      loss: "softplus", "least_squares" or "hinge".

    Raises UserError for another comparison or loss.
    """
    for field, value, known in (("comparison", comparison, COMPARISONS), ("loss", loss, LOSSES)):
        if value not in known:
            raise UserError(f"techniques.relativistic.{field}: unknown '{value}'.{did_you_mean(value, known)}")
    compare = COMPARISONS[comparison]

    def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        return compare(view.real.logits, view.fake.logits, loss), {}

    def generator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        return compare(view.fake.logits, view.real.logits, loss), {}

    return Technique(
        discriminator_loss=discriminator_loss,
        generator_loss=generator_loss,
        objective=True,
        boundary=None,
        conflict=wasserstein.class_logits,
    )


def pairing(ahead: Array, behind: Array, loss: str = "softplus") -> Array:
    """Returns E loss(ahead - behind), over pairs of the same place.

    Args:
      ahead: what D says of the images that should look more real, float [n] or [n, 1]: real ones in the discriminator's
        loss, generated ones in the generator's.
      behind: what it says of the others, of the same shape.
      loss: "softplus", "least_squares" or "hinge".

    >>> real, fake = jnp.array([2.0, 0.5, -1.0]), jnp.array([-2.0, 0.0, 1.0])
    >>> print(f"discriminator {pairing(real, fake):.6f}, generator {pairing(fake, real):.6f}")
    discriminator 0.873052, generator 1.706385

    Example: a step of a discriminator D(x) = weight * x between 3 and 1, with any optax optimiser.

    >>> import jax, optax
    >>> from igan.techniques.relativistic import pairing
    >>> optimizer, weight = optax.sgd(0.1), jax.numpy.array(0.0)
    >>> gradient = jax.grad(lambda weight: pairing(weight * jnp.array([3.0]), weight * jnp.array([1.0])))(weight)
    >>> updates, _ = optimizer.update(gradient, optimizer.init(weight))
    >>> optax.apply_updates(weight, updates)
    Array(0.1, dtype=float32)

    Raises ValueError for other shapes, which would be broadcast to all pairs.
    """
    if ahead.shape != behind.shape:
        raise ValueError(f"pairs of shapes {ahead.shape} and {behind.shape}, expected two of the same shape")
    return jnp.mean(LOSSES[loss](ahead - behind))


def average(ahead: Array, behind: Array, loss: str = "softplus") -> Array:
    """Returns E loss(ahead - E behind) / 2 + E loss(E ahead - behind) / 2.

    Args:
      ahead: what D says of the images that should look more real, float [n]: real ones in the discriminator's loss,
        generated ones in the generator's.
      behind: what it says of the others, float [m].
      loss: "softplus", "least_squares" or "hinge".

    >>> real, fake = jnp.array([2.0, 0.5, -1.0]), jnp.array([-2.0, 0.0, 1.0])
    >>> print(f"discriminator {average(real, fake):.6f}")
    discriminator 0.510253
    """
    one, other = ahead - jnp.mean(behind), jnp.mean(ahead) - behind
    return (jnp.mean(LOSSES[loss](one)) + jnp.mean(LOSSES[loss](other))) / 2


COMPARISONS = {"pairing": pairing, "average": average}
