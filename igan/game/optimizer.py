"""The optimiser of one player, from its config."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from igan.errors import UserError, did_you_mean
from igan.types import Array, Turn


def _adam(config: Mapping[str, Any]) -> optax.GradientTransformation:
    # The released code adds epsilon inside the root of the bias-corrected second moment.
    return optax.scale_by_adam(b1=config["b1"], b2=config["b2"], eps=0.0, eps_root=config["epsilon"])


def _rmsprop(config: Mapping[str, Any]) -> optax.GradientTransformation:
    # Without momentum, from a mean square of zero, and epsilon added outside the root: PyTorch's, which the WGAN was
    # published with. Clipped weights make gradients so small that an epsilon inside the root would rule the step.
    return optax.scale_by_rms(decay=config["decay"], eps=config["epsilon"], eps_in_sqrt=False)


KNOWN: dict[str, Callable[[Mapping[str, Any]], optax.GradientTransformation]] = {
    "adam": _adam,
    "rmsprop": _rmsprop,
    "sgd": lambda config: optax.identity(),
}


def make(config: Mapping[str, Any], total_steps: int) -> optax.GradientTransformation:
    """Returns the optimiser of `config.generator` or `config.discriminator`.

    The learning rate is constant for the share `constant_share` of `total_steps`, then falls linearly to zero.

    Args:
      config: optimizer, learning_rate, constant_share, b1, b2, decay, epsilon.
      total_steps: steps of this player in the whole run.

    Raises UserError for an unknown optimiser.
    """
    name = config["optimizer"]
    if name not in KNOWN:
        raise UserError(f"unknown optimizer '{name}'.{did_you_mean(name, KNOWN)}")
    begin = round(config["constant_share"] * total_steps)
    rate = config["learning_rate"]
    # A schedule even where it is constant: the optimiser's state has the same form, whatever the number of epochs.
    schedule = optax.constant_schedule(rate)
    if begin < total_steps:
        schedule = optax.linear_schedule(rate, 0.0, transition_steps=total_steps - begin, transition_begin=begin)
    return optax.chain(KNOWN[name](config), optax.scale_by_learning_rate(schedule))


def average_rate(rate: float, start: int = 0) -> Callable[[Turn], Array]:
    """Returns how far the averages of the parameters move in each step.

    They span at most `1 / rate` updates and at most a ninth of the stage so far, so that they are sensible early on;
    the released code starts them at zero and has the same averages in the long run. With a `start` they are the
    parameters themselves until that update, and move by `rate` from then on, as BigGAN's.

    >>> at = average_rate(1e-4)
    >>> at(Turn(jnp.int32(890), jnp.int32(890), Stage()))
    Array(0.01, dtype=float32)
    """
    if start:
        return lambda turn: jnp.where(turn.step < start, 1.0, rate)
    return lambda turn: jnp.maximum(rate, 9.0 / (10.0 + (turn.step - turn.stage.start)))
