"""Least squares GAN (Mao et al. 2017), section 3.2.

The discriminator minimises E (D(x) - b)^2 / 2 + E (D(G(z)) - a)^2 / 2, the generator E (D(G(z)) - c)^2 / 2: a is the
label of generated images, b that of real ones, and c what the generator wants its images to be called. D is linear,
with no sigmoid. Each E is a mean over the batch. The authors' code has sums, which matters where a step grows with the
gradient.

By default (a, b, c) = (0, 1, 1), which the authors train their large networks with. With (-1, 1, 0), or any labels of
b - c = 1 and b - a = 2, the generator minimises the Pearson divergence between p_data + p_model and twice p_model; with
(0, 1, 1) it does not.

The labels are all it aims at: `label_smoothing` sets probabilities, and is refused. Set `real_label=0.9` instead.

`discriminator_terms` and `generator_loss` are functions of arrays and work without the rest of igan.
"""

import numbers

import jax.numpy as jnp

from igan.errors import UserError
from igan.game.technique import State, Technique
from igan.techniques import wasserstein
from igan.types import Array, Metrics, View

LARGEST = 1e6


def make(generated_label: float = 0.0, real_label: float = 1.0, generator_label: float = 1.0) -> Technique:
    """Returns the least squares objective of both players.

    Args:
      generated_label: a, what the discriminator calls generated images.
      real_label: b, what it calls real ones; above a.
      generator_label: c, what the generator wants its images to be called; above a.

    Raises UserError for labels that are not numbers up to a million, or of which b or c is not above a.
    """
    labels = {"generated_label": generated_label, "real_label": real_label, "generator_label": generator_label}
    for field, label in labels.items():
        if not isinstance(label, numbers.Real) or not abs(label) <= LARGEST:
            raise UserError(f"techniques.least_squares.{field} is {label}, expected a number from -1e6 to 1e6, say 1.0")
        if field != "generated_label" and label <= generated_label:
            raise UserError(
                f"techniques.least_squares.{field} is {label}, expected more than generated_label={generated_label}:"
                f" set --config.techniques.least_squares.{field}={generated_label + 1}"
            )

    def on_discriminator(state: State, view: View) -> tuple[Array, Metrics]:
        real, fake = discriminator_terms(view.real.logits, view.fake.logits, generated_label, real_label)
        return real + fake, {"real": real, "fake": fake}

    return Technique(
        discriminator_loss=on_discriminator,
        generator_loss=lambda state, view: (generator_loss(view.fake.logits, generator_label), {}),
        objective=True,
        boundary=(generated_label + real_label) / 2,
        conflict=wasserstein.class_logits,
    )


def discriminator_terms(
    real: Array, fake: Array, generated_label: float = 0.0, real_label: float = 1.0
) -> tuple[Array, Array]:
    """Returns E (D(x) - b)^2 / 2 and E (D(G(z)) - a)^2 / 2, of which the discriminator minimises the sum.

    Args:
      real: D(x), float [n].
      fake: D(G(z)), float [m].
      generated_label: a.
      real_label: b.

    Example: a discriminator D(x) = weight * x learns the slope between 0, which is generated, and 2, with any optax
    optimiser.

    >>> import jax, optax
    >>> from igan.techniques.least_squares import discriminator_terms
    >>> def loss(weight):
    ...     return sum(discriminator_terms(weight * jax.numpy.array([2.0]), weight * jax.numpy.array([0.0])))
    >>> optimizer, weight = optax.sgd(0.25), jax.numpy.array(0.0)
    >>> updates, _ = optimizer.update(jax.grad(loss)(weight), optimizer.init(weight))
    >>> optax.apply_updates(weight, updates)
    Array(0.5, dtype=float32)
    """
    return _half_mean_square(real - real_label), _half_mean_square(fake - generated_label)


def generator_loss(fake: Array, generator_label: float = 1.0) -> Array:
    """Returns E (D(G(z)) - c)^2 / 2, what the generator minimises.

    Args:
      fake: D(G(z)), float [m].
      generator_label: c.

    >>> generator_loss(jnp.array([0.0, 3.0]))
    Array(1.25, dtype=float32)
    """
    return _half_mean_square(fake - generator_label)


def _half_mean_square(differences: Array) -> Array:
    return jnp.mean(differences**2) / 2
