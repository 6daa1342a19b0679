"""The probes tell right from wrong: the mutants here pass the conformance suite."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from igan.game import technique
from igan.game.technique import Technique
from igan.types import Array, Examples, Metrics, Player, View
from tests.techniques import probes

RIGHT_OR_WRONG = pytest.mark.parametrize("is_right", [True, False], ids=["right", "mutant"])


def gradient_penalty(key_of: Callable[[Any, View], Any], axes: tuple[int, ...], **seams: Any) -> Technique:
    """Two-sided, between real and generated images."""

    def penalty(state: Any, view: View) -> tuple[Array, Metrics]:
        share = jax.random.uniform(key_of(state, view), (len(view.real.images), 1, 1, 1))
        between = share * view.real.images + (1 - share) * view.fake.images
        slopes = jax.grad(lambda images: jnp.sum(view.judge(Examples(images)).logits))(between)
        return jnp.mean((jnp.sqrt(jnp.sum(slopes**2, axis=axes)) - 1) ** 2), {}

    return Technique(discriminator_loss=penalty, **seams)


EACH, ALL = (1, 2, 3), (0, 1, 2, 3)


def expect(is_right: bool) -> Any:
    return pytest.raises(AssertionError) if not is_right else contextlib.nullcontext()


@RIGHT_OR_WRONG
def test_a_frozen_key_is_found(is_right):
    tested = gradient_penalty(lambda state, view: view.key, EACH)
    if not is_right:
        tested = gradient_penalty(lambda state, view: state, EACH, init=lambda key, real: key)
    with expect(is_right):
        probes.assert_noise_is_fresh(tested, lambda images: jnp.sum(images**3, axis=(1, 2, 3)))


@RIGHT_OR_WRONG
def test_a_norm_over_the_batch_is_found(is_right):
    tested = gradient_penalty(lambda state, view: view.key, EACH if is_right else ALL)
    with expect(is_right):
        probes.assert_norm_is_per_example(tested)


@RIGHT_OR_WRONG
def test_a_lookahead_with_a_fresh_adam_is_found(is_right):
    def unroll(player: Player, objective: Callable[..., Array], optimizer: optax.GradientTransformation) -> Any:
        params, state = player.params, player.opt_state if is_right else optimizer.init(player.params)
        for index in range(5):
            updates, state = optimizer.update(jax.grad(objective)(params, index), state, params)
            params = optax.apply_updates(params, updates)
        return params

    with expect(is_right):
        probes.assert_lookahead_goes_on_from_the_optimizer(Technique(lookahead=unroll), steps=5)


@RIGHT_OR_WRONG
def test_a_flipped_sign_of_the_generator_is_found(is_right):
    sign = -1 if is_right else 1
    hinge = Technique(generator_loss=lambda state, view: (sign * jnp.mean(view.fake.logits), {}))
    with expect(is_right):
        probes.assert_generator_wants_to_be_called_real(hinge)


LOADED = technique.load({name: {"enabled": True} for name in technique.known()})


@pytest.mark.parametrize(
    "name", [name for name, each in LOADED.items() if each.objective and "reconstruction" not in each.needs]
)
def test_every_objective_wants_its_images_called_real(name):
    probes.assert_generator_wants_to_be_called_real(LOADED[name])
