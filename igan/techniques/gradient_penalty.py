"""The gradient penalty of WGAN-GP (Gulrajani et al. 2017, equation 3): a discriminator whose slope is near 1.

strength * E (|dD(x)/dx| - target)^2, where x is on the line from a real image to a generated one, at one share of it
for each image. D(x) is the logit, and the slope's length is that of all pixels of one image. With any objective: with
`wasserstein` it is WGAN-GP, with `non_saturating` GAN-GP. A target of 0 is the zero-centred penalty (Thanh-Tung et al.
2019).

The functions here work without the rest of igan; `dragan`, `r1` and `r2` are made of them too. A slope is that of the
images before what other techniques let the discriminator see, so it goes through an augmentation. It is of each image
alone, which makes no sense where the discriminator compares the images of a batch.

In a class-conditional game each image is judged with its own label, and one on a line with that of its real end, as in
StudioGAN and in WGAN-GP's code, whose generated images have the labels of the real ones (`generated_labels="data"`).
"""

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from igan.errors import FLOAT32_MAX, UserError
from igan.game.technique import State, Technique
from igan.types import Array, Examples, Key, Metrics, View

SIDES = ("two", "one")
PLACES = ("real_and_generated", "real", "generated")
# Comparisons of images that the papers have beside a penalty: the slope of the sum of all logits at each image.
PENALIZED = ("minibatch_stddev",)
Critic = Callable[[Array], Array]  # [n, ...] -> [n], each of its own example alone.


def make(
    strength: float = 10.0, target: float = 1.0, sides: str = "two", between: str = "real_and_generated"
) -> Technique:
    """Returns the gradient penalty of the discriminator.

    Args:
      strength: lambda, at least 0; 10 in the paper, 0.1 in its code for points of the plane.
      target: the slope that is aimed at, at least 0: 1 in the paper, 0 for a zero-centred penalty.
      sides: "two" to draw every slope to the target, "one" to leave alone those that are smaller (the paper's
        appendix C; Petzka et al. 2018).
      between: where the slope is measured: "real_and_generated", on the lines between them, or at the images
        themselves, "real" or "generated".

    Raises UserError naming the hyper-parameter that is off.
    """
    require_amount("gradient_penalty", "strength", strength, "10.0 is the paper's")
    require_amount("gradient_penalty", "target", target, "1.0 is the paper's, 0 is zero-centred")
    require_one_of("gradient_penalty", "sides", sides, SIDES)
    require_one_of("gradient_penalty", "between", between, PLACES)

    def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        real, fake = view.real.images, view.fake.images
        ends = {"real_and_generated": (real, fake), "real": (real, real), "generated": (fake, fake)}[between]
        points, labels = interpolate(view.key, *ends), (view.fake if between == "generated" else view.real).labels
        norms = slope_norms(critic_of(view, labels), held(view, points))
        return strength * distance(norms, target, sides), {"slope": jnp.mean(norms)}

    return Technique(
        discriminator_loss=discriminator_loss, needs=frozenset({"independent_examples"}), conflict=comparisons
    )


def gradient_penalty(critic: Critic, points: Array, target: float = 1.0, sides: str = "two") -> Array:
    """Returns E (|slope at a point| - target)^2, without its strength (Gulrajani et al. 2017, equation 3).

    Args:
      critic: points [n, ...] -> logits [n], each of which depends on its own point alone.
      points: float [n, ...] of any rank, see `interpolate`; generated ones are to be held constant by
        `jax.lax.stop_gradient`.
      target: the slope that is aimed at.
      sides: "two", or "one" to leave alone slopes that are smaller.

    Example: a linear critic is drawn to a slope of 1, with any optax optimiser.

    >>> import jax, optax
    >>> from igan.techniques.gradient_penalty import gradient_penalty, interpolate
    >>> real, generated = jax.numpy.ones((4, 2)), jax.numpy.zeros((4, 2))
    >>> points = interpolate(jax.random.key(0), real, generated)
    >>> def loss(weights):
    ...     return 10 * gradient_penalty(lambda points: points @ weights, points)
    >>> weights, optimizer = jax.numpy.array([3.0, 4.0]), optax.sgd(0.01)
    >>> float(loss(weights))
    160.0
    >>> state = optimizer.init(weights)
    >>> for _ in range(100):
    ...     updates, state = optimizer.update(jax.grad(loss)(weights), state)
    ...     weights = optax.apply_updates(weights, updates)
    >>> round(float(jax.numpy.linalg.norm(weights)), 4)
    1.0
    """
    return distance(slope_norms(critic, points), target, sides)


def interpolate(key: Key, real: Array, generated: Array) -> Array:
    """Returns real + share * (generated - real), with a share of U[0, 1] for each example: [n, ...] of any rank.

    >>> interpolate(jax.random.key(0), jnp.zeros((5, 8, 8, 3)), jnp.ones((5, 8, 8, 3))).shape
    (5, 8, 8, 3)
    """
    share = jax.random.uniform(key, (len(real), *[1] * (real.ndim - 1)), real.dtype)
    return real + share * (generated - real)


def slopes(critic: Critic, points: Array) -> Array:
    """Returns the gradient of each point's logit with respect to the point: [n, ...] like the points.

    >>> slopes(lambda points: points @ jnp.array([3.0, 4.0]), jnp.zeros((1, 2)))
    Array([[3., 4.]], dtype=float32)
    """
    return jax.grad(lambda points: jnp.sum(critic(points)))(points)


def slope_norms(critic: Critic, points: Array) -> Array:
    """Returns the length of each point's slope, [n]: over all axes but the first.

    Where a slope is zero the length has the gradient zero, instead of the root's infinite one.

    >>> slope_norms(lambda points: points @ jnp.array([3.0, 4.0]), jnp.zeros((2, 2)))
    Array([5., 5.], dtype=float32)
    """
    squares = squared_norms(slopes(critic, points))
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def squared_norms(vectors: Array) -> Array:
    """Returns the squared length of each vector, [n, ...] -> [n].

    >>> squared_norms(jnp.array([[3.0, 4.0]]))
    Array([25.], dtype=float32)
    """
    return jnp.sum(jnp.square(vectors), axis=range(1, vectors.ndim))


def distance(norms: Array, target: float, sides: str = "two") -> Array:
    """Returns the mean squared distance of lengths to the target, or of those only that are larger.

    >>> distance(jnp.array([0.0, 3.0]), target=1.0, sides="one")
    Array(2., dtype=float32)
    """
    excess = norms - target
    return jnp.mean(jnp.square(jnp.maximum(excess, 0) if sides == "one" else excess))


def critic_of(view: View, labels: Array | None) -> Critic:
    """Returns the logits of this step's discriminator as a function of images, which have these labels, if any."""
    return lambda images: view.judge(Examples(images, labels)).logits


def held(view: View, images: Array) -> Array:
    """Returns images held constant, in the precision of the logits, which is then that of the slopes."""
    return jax.lax.stop_gradient(images).astype(view.real.logits.dtype)


def comparisons(techniques: Mapping[str, Technique]) -> str | None:
    """Returns why slopes of single images make no sense beside these techniques, or None: a `Technique.conflict`."""
    for name, each in techniques.items():
        compares = "discriminator_features" in each.layers and name not in PENALIZED
        if compares or each.images_per_input > 1:
            return (
                f"{name} lets the discriminator compare the images of a batch, so that the slope of one alone makes no"
                f" sense: set --config.techniques.{name}.enabled=False"
            )
    return None


def require_amount(technique: str, field: str, value: float, hint: str) -> None:
    """Raises UserError unless a hyper-parameter is a finite number of at least 0."""
    # Comparisons with NaN are false, and what float32 cannot hold is infinite too.
    if not isinstance(value, numbers.Real) or not 0 <= value < FLOAT32_MAX:
        raise UserError(
            f"techniques.{technique}.{field} is {value}, expected a finite number of at least 0: {hint},"
            f" --config.techniques.{technique}.{field}=..."
        )


def require_one_of(technique: str, field: str, value: Any, known: tuple[str, ...]) -> None:
    """Raises UserError unless a hyper-parameter is one of these names."""
    if value not in known:
        raise UserError(
            f"techniques.{technique}.{field} is {value!r}, expected {' or '.join(known)}:"
            f" set --config.techniques.{technique}.{field}={known[0]}"
        )
