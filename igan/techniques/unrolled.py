"""Unrolled GANs (Metz et al. 2017): the generator plays against what the discriminator is about to become.

The discriminator's parameters theta_D take K steps ahead, by its own optimiser, its moments and its learning rate
included, on the generator's batch. The generator minimises its loss at theta_D^K, and its gradient goes through those
steps (equations 6 to 11). Then they are forgotten: the discriminator's own step starts from theta_D, and neither its
optimiser nor what its layers remember has moved. The K steps see the same images, as in section 3, with noise of their
own in each, and count as the discriminator's next steps: a penalty of every k-th step (`r1`) is due where it will be.
Their cost is linear in K.

The paper's game is `minimax`: the generator minimises f(theta_G, theta_D^K) = E log D(x) + E log(1 - D(G(z))). Its
first part depends on the generator too, through the K steps, which an objective without them need not know: this
technique adds it to the generator's loss, and together with that of `minimax` it is f. Beside `non_saturating`, whose
discriminator is the same, the generator's own part is the non-saturating one. Beside other objectives, where this part
would belong to another game, `generator_weight` has to be 0.

`unroll` works with any optax optimiser and without the rest of igan.
"""

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from igan.errors import UserError
from igan.game.technique import State, Technique
from igan.techniques import minimax
from igan.types import Array, Metrics, Params, Player, View

MOST_STEPS = 50
LOGISTIC = ("minimax", "non_saturating")  # Objectives whose discriminator plays the paper's game.


def make(steps: int = 5, recompute: bool = False) -> Technique:
    """Returns the unrolled discriminator.

    Args:
      steps: K, how many steps it looks ahead, 1 to 50. All that they computed is kept for the generator's gradient: K
        times the discriminator's parameters and moments, and K times what a step of its own needs.
      recompute: whether the latter is computed again instead of kept, which takes longer, by a quarter or so, and
        needs the memory of one step of the discriminator beside K times its parameters and moments.

    Raises UserError for another number of steps.
    """
    if not isinstance(steps, numbers.Integral) or isinstance(steps, bool) or not 1 <= steps <= MOST_STEPS:
        raise UserError(
            f"techniques.unrolled.steps is {steps}, expected a whole number from 1 to {MOST_STEPS}, since each takes"
            " the memory of a discriminator's step: set --config.techniques.unrolled.steps=5, or"
            " --config.techniques.unrolled.enabled=False for none"
        )

    def lookahead(player: Player, objective: Callable[..., Array], optimizer: optax.GradientTransformation) -> Params:
        return unroll(objective, player.params, player.opt_state, optimizer, steps, recompute)

    def notice(player: Player) -> str:
        kept = jax.tree.leaves((player.params, player.opt_state))
        megabytes = steps * sum(leaf.size * leaf.dtype.itemsize for leaf in kept) / 1e6
        times, hint = steps, "; --config.techniques.unrolled.recompute=True keeps the latter once"
        if recompute or steps == 1:
            times, hint = 1, ""
        return (
            f"the steps ahead keep {steps} times the discriminator's parameters and moments, {megabytes:,.3g} MB, and"
            f" {times} times what one of its steps computes{hint}"
        )

    return Technique(generator_loss=generator_loss, lookahead=lookahead, notice=notice, conflict=_no_part_of_it)


def generator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """E log D(x), the part of f that the generator moves through the steps ahead alone; see `minimax`."""
    return -minimax.divergence(view.real.logits, view.targets.real), {}


def unroll(
    objective: Callable[[Params, Array], Array],
    params: Params,
    opt_state: optax.OptState,
    optimizer: optax.GradientTransformation,
    steps: int,
    recompute: bool = False,
) -> Params:
    """Returns parameters after `steps` steps of an optimiser; differentiable by all that the objective depends on.

    Where a gradient is exactly zero and so is its second moment, optimisers that take the root of that have no
    derivative (optax's Adam and RMSProp with epsilon outside the root; igan's Adam has it inside). It counts as zero.

    Args:
      objective: (params, index of the step) -> the scalar that is minimised.
      params: of the first step.
      opt_state: the optimiser's, from which the steps go on; `optimizer.init(params)` for new ones.
      optimizer: any of optax's, differentiable.
      steps: K, at least 0.
      recompute: whether to compute each step again for the gradient, instead of keeping what it computed.

    Example: psi maximises theta * psi - psi^2 / 2 from 0, and theta sees where it goes.

    >>> import jax, optax
    >>> from igan.techniques.unrolled import unroll
    >>> def game(theta, psi):
    ...     return theta * psi - psi**2 / 2
    >>> def surrogate(theta):
    ...     optimizer, psi = optax.sgd(0.5), jax.numpy.zeros(())
    ...     ahead = unroll(lambda psi, index: -game(theta, psi), psi, optimizer.init(psi), optimizer, steps=2)
    ...     return game(theta, ahead)
    >>> float(jax.grad(surrogate)(1.0))  # Without the steps it is 0, with their end held constant 0.75.
    0.9375
    """

    def step(carry: tuple[Params, Any], index: Array) -> tuple[tuple[Params, Any], None]:
        params, state = carry
        slope = jax.tree.map(_guard, jax.grad(objective)(params, index))
        updates, after = optimizer.update(slope, state, params)
        return (optax.apply_updates(params, updates), after), None

    step = jax.checkpoint(step) if recompute else step
    return jax.lax.scan(step, (params, opt_state), jnp.arange(steps))[0][0]


@jax.custom_vjp
def _guard(slope: Array) -> Array:
    """Returns a gradient whose own gradient is zero where it would be undefined: d sqrt(v) / dv at v = 0 times 0."""
    return slope


def _guard_backward(slope: Array, cotangent: Array) -> tuple[Array]:
    return (jnp.where((slope == 0) & jnp.isnan(cotangent), 0, cotangent),)


_guard.defvjp(lambda slope: (slope, slope), _guard_backward)


def _no_part_of_it(techniques: Mapping[str, Technique]) -> str | None:
    """Returns why another technique's loss cannot be part of this game, if there is one."""
    mine = techniques["unrolled"]
    if (name := next((name for name, each in techniques.items() if "labeled" in each.needs), None)) is not None:
        return (
            f"{name} looks at labelled images, of which the generator's batch has none for the steps ahead: set"
            f" --config.techniques.{name}.enabled=False"
        )
    name = next((name for name, each in techniques.items() if each.objective and name not in LOGISTIC), None)
    if mine.generator_loss is None or name is None:
        return None
    return (
        f"it adds E log D(x) to the generator's loss, which belongs to {' or '.join(LOGISTIC)} and not to {name}: set"
        " --config.techniques.unrolled.generator_weight=0"
    )
