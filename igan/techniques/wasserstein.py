"""The Wasserstein GAN with weight clipping (Arjovsky et al. 2017), algorithm 1.

The critic minimises E D(G(z)) - E D(x) over weights in a box, [-clip, clip] each, and the generator minimises
-E D(G(z)). D has no sigmoid. Weights in a box bound the slope of D, and the best such D measures a multiple of the
distance W1 between the data and what is generated; minus the critic's loss, `d/wasserstein`, is the estimate to plot.

Weights are clipped after each step of the critic, as in the algorithm, so the generator's gradient is taken inside the
box. The authors' code clips before each step instead, so that the generator meets a critic slightly outside. Everything
that is trained is clipped, biases and the scales of normalisations included. What is not trained, say their running
statistics, is left alone.

The recipe's other parts are settings: `discriminator.steps=5`, and `optimizer=rmsprop` with `learning_rate=5e-5` for
both players, since momentum makes the critic unstable (section 4). That code also gives the critic 100 steps in each of
the first 25 updates and in every 500th. The paper does not mention it, and igan does not do it.

`weight_clipping` is an ordinary optax wrapper, and `discriminator_terms` and `generator_loss` are functions of arrays:
all of them work without the rest of igan.
"""

import functools
import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from igan.errors import FLOAT32_MAX, FLOAT32_TINY, UserError
from igan.game.technique import State, Technique
from igan.types import Array, Metrics, Params, View

SLOPE_PENALTIES = ("gradient_penalty", "dragan")


def make(clipping: bool = True, clip: float = 0.01) -> Technique:
    """Returns the Wasserstein objective of both players.

    Args:
      clipping: whether the critic's weights are kept in a box. Without, something else has to bound the slope of the
        critic, say `gradient_penalty`: otherwise its loss has no minimum.
      clip: half the side of the box, above 0.

    Raises UserError for a clip that is not a positive number.
    """
    _require_clip(clip)
    return Technique(
        discriminator_loss=_discriminator_loss,
        generator_loss=lambda state, view: (generator_loss(view.fake.logits), {}),
        discriminator_optimizer=functools.partial(weight_clipping, clip=clip) if clipping else None,
        objective=True,
        boundary=None,
        needs=frozenset({"plain_weights"} if clipping else ()),
        conflict=lambda techniques: (_two_bounds(techniques) if clipping else None) or class_logits(techniques),
    )


def discriminator_terms(real: Array, fake: Array) -> tuple[Array, Array]:
    """Returns -E D(x) and E D(G(z)), of which the critic minimises the sum.

    Args:
      real: D(x), float [n].
      fake: D(G(z)), float [m].

    >>> discriminator_terms(jnp.array([2.0, 0.5, -1.0]), jnp.array([-2.0, 0.0, 1.0]))
    (Array(-0.5, dtype=float32), Array(-0.33333334, dtype=float32))
    """
    return -jnp.mean(real), jnp.mean(fake)


def generator_loss(fake: Array) -> Array:
    """Returns -E D(G(z)), what the generator minimises.

    Args:
      fake: D(G(z)), float [m].

    >>> generator_loss(jnp.array([-2.0, 0.0, 1.0]))
    Array(0.33333334, dtype=float32)
    """
    return -jnp.mean(fake)


def weight_clipping(
    optimizer: optax.GradientTransformation, clip: float = 0.01
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimiser after whose steps every parameter is in [-clip, clip] (Arjovsky et al. 2017, algorithm 1).

    Parameters may start outside: the first step brings them in. The state is the inner optimiser's.

    Args:
      optimizer: any optax optimiser; extra arguments of `update` reach it. What is put around this wrapper can take the
        parameters out again, so it belongs outermost.
      clip: half the side of the box, above 0.

    Example: one step of a critic D(x) = weight * x + bias between the points 3 and 1.

    >>> import jax, optax
    >>> from igan.techniques.wasserstein import discriminator_terms, weight_clipping
    >>> optimizer = weight_clipping(optax.rmsprop(5e-5, decay=0.99), clip=0.01)
    >>> critic = {"weight": jax.numpy.float32(1.0), "bias": jax.numpy.float32(0.0)}
    >>> def loss(critic):
    ...     real, fake = (critic["weight"] * jax.numpy.array([x]) + critic["bias"] for x in (3.0, 1.0))
    ...     return sum(discriminator_terms(real, fake))
    >>> state = optimizer.init(critic)
    >>> updates, state = optimizer.update(jax.grad(loss)(critic), state, critic)
    >>> critic = optax.apply_updates(critic, updates)
    >>> print(f"{critic['weight']:.4f} {critic['bias']:.4f}")
    0.0100 0.0000

    Raises:
      UserError: the clip is not a positive number.
      ValueError: `update` is called without the parameters.
    """
    _require_clip(clip)
    inner = optax.with_extra_args_support(optimizer)

    def into_the_box(param: Array, change: Array) -> Array:
        within = jnp.clip(param + change, -clip, clip) - param
        # Adding this to the parameter may round to a value just outside the box: then by a unit in the last place less.
        rounded = jax.lax.stop_gradient(param + within)
        unit = jnp.finfo(change.dtype).eps * (jnp.abs(param) + clip)
        less = jnp.where(jnp.abs(rounded) > clip, jnp.sign(rounded) * unit, 0)
        return (within - jax.lax.stop_gradient(less)).astype(change.dtype)

    def update(
        updates: Params, state: Any, params: Params | None = None, **extra_args: Any
    ) -> tuple[Params, optax.OptState]:
        if params is None:
            raise ValueError("weight_clipping needs the parameters: call update(gradients, state, params), with params")
        updates, state = inner.update(updates, state, params, **extra_args)
        return jax.tree.map(into_the_box, params, updates), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def class_logits(techniques: Mapping[str, Technique]) -> str | None:
    """Returns why an objective that is not of Goodfellow et al. cannot work beside a technique that needs classes.

    Their logit is a log-sum-exp, whose zero is the logit of "generated" in a softmax of K + 1 classes: probabilities,
    which other objectives do not have.
    """
    name = next((name for name, each in techniques.items() if "class_logits" in each.needs), None)
    return name and (
        f"{name} makes the logit a log-sum-exp of class logits in a softmax with 'generated', which only minimax and"
        f" non_saturating read so: enable one of those instead, set --config.techniques.{name}.enabled=False"
    )


def _discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    real, fake = discriminator_terms(view.real.logits, view.fake.logits)
    return real + fake, {"real": real, "fake": fake}


def _two_bounds(techniques: Mapping[str, Technique]) -> str | None:
    name = next((name for name in SLOPE_PENALTIES if name in techniques), None)
    return name and f"{name} already bounds the critic's slope: set --config.techniques.wasserstein.clipping=False"


def _require_clip(clip: float) -> None:
    # Comparisons with NaN are false, and what float32 cannot hold is infinite, or zero.
    if not isinstance(clip, numbers.Real) or not FLOAT32_TINY < clip < FLOAT32_MAX:
        raise UserError(
            f"techniques.wasserstein.clip is {clip}, expected a positive number, 0.01 in the paper: set"
            " --config.techniques.wasserstein.clipping=False for weights that are not clipped"
        )
