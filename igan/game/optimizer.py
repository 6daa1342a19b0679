"""The optimiser of one player, from its config."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from igan.errors import UserError, did_you_mean
from igan.game.schedule import Schedule, moved
from igan.types import Array, Params, Turn

Ramp = Callable[[Array], Array | float]  # Steps of a player -> how far what has a last value is on its way.
STILL = Schedule()


def _adam(config: Mapping[str, Any], ramp: Ramp) -> optax.GradientTransformation:
    def adam(b2: Any) -> optax.GradientTransformation:
        # The released code adds epsilon inside the root of the bias-corrected second moment.
        return optax.scale_by_adam(b1=config["b1"], b2=b2, eps=0.0, eps_root=config["epsilon"])

    if not (last := config.get("final_b2", 0.0)):
        return adam(config["b2"])

    def init(params: Params) -> optax.OptState:
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32)), adam(config["b2"]).init(params)

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, optax.OptState]:
        clock, moments = state  # The clock goes on where the moments begin anew, as that of the learning rate does.
        updates, moments = adam(moved(config["b2"], last, ramp(clock.count))).update(updates, moments, params)
        return updates, (optax.ScaleByScheduleState(optax.safe_increment(clock.count)), moments)

    return optax.GradientTransformation(init, update)


def _rmsprop(config: Mapping[str, Any], ramp: Ramp) -> optax.GradientTransformation:
    # Without momentum, from a mean square of zero, and epsilon added outside the root: PyTorch's, which the WGAN was
    # published with. Clipped weights make gradients so small that an epsilon inside the root would rule the step.
    return optax.scale_by_rms(decay=config["decay"], eps=config["epsilon"], eps_in_sqrt=False)


KNOWN: dict[str, Callable[[Mapping[str, Any], Ramp], optax.GradientTransformation]] = {
    "adam": _adam,
    "rmsprop": _rmsprop,
    "sgd": lambda config, ramp: optax.identity(),
}


def make(
    config: Mapping[str, Any], total_steps: int, schedule: Schedule = STILL, steps: int = 1
) -> optax.GradientTransformation:
    """Returns the optimiser of `config.generator` or `config.discriminator`.

    The learning rate is constant for the share `constant_share` of `total_steps`, then falls linearly to zero. Or it
    goes to `final_learning_rate`, and Adam's second decay to `final_b2`, along the ramp of the schedule. Stages
    multiply it.

    Args:
      config: optimizer, learning_rate, constant_share, b1, b2, decay, epsilon; final_learning_rate and final_b2, 0 or
        missing for those that stay as they are.
      total_steps: steps of this player in the whole run.
      schedule: of the run.
      steps: of this player an update.

    Raises UserError for an unknown optimiser.
    """
    name = config["optimizer"]
    if name not in KNOWN:
        raise UserError(f"unknown optimizer '{name}'.{did_you_mean(name, KNOWN)}")
    begin = round(config["constant_share"] * total_steps)
    rate = config["learning_rate"]
    # A schedule even where it is constant: the optimiser's state has the same form, whatever the number of epochs.
    rates: Callable[[Any], Any] = optax.constant_schedule(rate)
    if begin < total_steps:
        rates = optax.linear_schedule(rate, 0.0, transition_steps=total_steps - begin, transition_begin=begin)
    last = config.get("final_learning_rate", 0.0)

    def ramp(count: Array) -> Array | float:
        return schedule.ramp(count // steps)

    def at(count: Any) -> Any:
        return moved(rates(count), last, ramp(count)) * schedule.rate(count // steps)

    moves = last or any(stage.rate != 1 for stage in schedule.stages)
    return optax.chain(KNOWN[name](config, ramp), optax.scale_by_learning_rate(at if moves else rates))


def average_rate(
    rate: float, start: int = 0, half_life: float = 0.0, schedule: Schedule = STILL
) -> Callable[[Turn], Array]:
    """Returns how far the averages of the parameters move in each step.

    They span at most `1 / rate` updates and at most a ninth of the stage so far, so that they are sensible early on;
    the released code starts them at zero and has the same averages in the long run. With a `start` they are the
    parameters themselves until that update, and move by `rate` from then on, as BigGAN's. With a `half_life`, in real
    images, the rate is 1 - 0.5^(images / half_life), as StyleGAN's, of those that the discriminator is shown from one
    step of the player to the next, whatever the batch of a stage is. Where the schedule has a ramp the half-life grows
    from nothing along it, as R3GAN's, and is no share of the stage.

    >>> at = average_rate(1e-4)
    >>> at(Turn(jnp.int32(890), jnp.int32(890), Stage()))
    Array(0.01, dtype=float32)
    """

    def forgotten(turn: Turn, half_life: Array | float) -> Array:
        images = turn.stage.batch_sizes[0] * schedule.discriminator_steps / turn.steps
        # In float32 1 - 0.5^x has nothing left of a small x.
        return -jnp.expm1(-jnp.log(2.0) * images / jnp.maximum(half_life, 1e-6))

    if half_life and schedule.ramp_images:
        return lambda turn: forgotten(turn, half_life * schedule.ramp(turn.step))
    if half_life:
        return lambda turn: jnp.maximum(forgotten(turn, half_life), 9.0 / (10.0 + (turn.step - turn.stage.start)))
    if start:
        return lambda turn: jnp.where(turn.step < start, 1.0, rate)
    return lambda turn: jnp.maximum(rate, 9.0 / (10.0 + (turn.step - turn.stage.start)))
