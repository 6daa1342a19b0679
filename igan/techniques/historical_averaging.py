"""Historical averaging (Salimans et al. 2016, section 3.3): each player is drawn to the average of its own past.

Each player's cost gains strength * |theta - (1/t) * sum of theta[1..t]|^2. Players that chase each other in circles
around an equilibrium have an average inside the circle, so the pull towards it makes them spiral inwards.

`historical_averaging` is an ordinary optax wrapper and works without the rest of igan; `python -m igan.games` shows
what it does to games small enough to draw.
"""

import functools
import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from igan.errors import FLOAT32_MAX, UserError
from igan.game.technique import Technique
from igan.types import Params


def make(strength: float = 1.0) -> Technique:
    """Returns historical averaging of both players.

    Args:
      strength: factor of the penalty, at least 0; the paper's cost has 1. With it the pull is 2 * strength *
        (theta - average), in units of the gradient: a smaller one lets the average catch up sooner (see `igan.games`).

    Raises UserError for a strength that is negative or not finite.
    """
    _require_strength(strength)
    wrap = functools.partial(historical_averaging, strength=strength)
    return Technique(discriminator_optimizer=wrap, generator_optimizer=wrap)


class HistoricalAveragingState(NamedTuple):
    """What one player remembers: one copy of its parameters beside the inner optimiser's state."""

    count: jax.typing.ArrayLike  # int32 [], t: the updates so far, which is how many parameters are in the average.
    average: Params  # (theta[1] + ... + theta[t]) / t; zeros before the first update. At least float32.
    inner_state: optax.OptState


def historical_averaging(
    optimizer: optax.GradientTransformation, strength: float = 1.0
) -> optax.GradientTransformationExtraArgs:
    """Returns the optimiser of a cost that gains strength * |theta - average|^2 (Salimans et al. 2016, section 3.3).

    The t-th update is given theta[t]: theta[1] are the initial parameters, theta[t] the current ones, and the average
    is over theta[1..t], the current ones included. So the first update is the bare optimiser's. The history is held
    constant, also its newest entry, which makes the gradient of the penalty 2 * strength * (theta[t] - average). It
    belongs to the cost, so it is added before the inner optimiser sees the gradient: Adam scales it like the rest.

    The average is kept online, so the memory is one copy of the parameters. It is float32 for parameters of lower
    precision, in which 1/t would soon be too small to move it.

    Args:
      optimizer: any optax optimiser; extra arguments of `update` reach it. Gradient clipping belongs outside, in
        `optax.chain(optax.clip(1.0), historical_averaging(optax.adam(1e-3)))`, to leave the pull alone, and inside to
        clip it too.
      strength: factor of the penalty, at least 0. Gradient descent needs 2 * strength * learning_rate < 1 for a pull
        that does not overshoot.

    Example: x minimises x * y, y minimises -x * y. Plain gradient descent spirals away from the equilibrium (0, 0).

    >>> import jax, optax
    >>> from igan.techniques.historical_averaging import historical_averaging
    >>> optimizer = historical_averaging(optax.sgd(0.05), strength=0.1)
    >>> players = {"x": jax.numpy.ones(()), "y": jax.numpy.ones(())}
    >>> state = optimizer.init(players)
    >>> for _ in range(500):
    ...     gradients = {"x": players["y"], "y": -players["x"]}
    ...     updates, state = optimizer.update(gradients, state, players)
    ...     players = optax.apply_updates(players, updates)
    >>> float(jax.numpy.hypot(players["x"], players["y"])) < 0.03
    True

    Raises:
      UserError: the strength is negative or not finite.
      ValueError: `update` is called without the parameters.
    """
    _require_strength(strength)
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Params) -> HistoricalAveragingState:
        average = jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype=jnp.result_type(leaf, jnp.float32)), params)
        return HistoricalAveragingState(jnp.zeros((), jnp.int32), average, inner.init(params))

    def update(
        updates: Params, state: Any, params: Params | None = None, **extra_args: Any
    ) -> tuple[Params, HistoricalAveragingState]:
        if params is None:
            raise ValueError(
                "historical_averaging needs the parameters: call update(gradients, state, params), with params"
            )
        count = optax.safe_increment(state.count)
        average = jax.tree.map(lambda mean, param: mean + (param - mean) / count, state.average, params)
        pulled = jax.tree.map(
            lambda gradient, param, mean: gradient + (2 * strength * (param - mean)).astype(gradient.dtype),
            updates,
            params,
            average,
        )
        updates, inner_state = inner.update(pulled, state.inner_state, params, **extra_args)
        return updates, HistoricalAveragingState(count, average, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _require_strength(strength: float) -> None:
    # Comparisons with NaN are false, and what float32 cannot hold is infinite too.
    if not isinstance(strength, numbers.Real) or not 0 <= strength < FLOAT32_MAX:
        raise UserError(
            f"techniques.historical_averaging.strength is {strength}, expected a finite number of at least 0: "
            "0 switches the pull off, the paper's cost has 1.0"
        )
