"""LeCam regularisation against numbers by hand, its averages step by step, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.errors import UserError
from igan.game import step, technique
from igan.techniques import lecam
from tests.contexts import turn
from tests.techniques.probes import draw, look_at
from tests.techniques.test_objectives import DISCRIMINATOR_OF_MINIMAX, NON_SATURATING, RATE, begin, theirs

REAL, FAKE = jnp.float32([2.0, 0.0]), jnp.float32([-2.0, 0.0])


def test_the_penalty_by_hand():
    assert float(lecam.penalty(REAL, FAKE, 1.0, -1.0)) == 10.0  # (9 + 1) / 2 + (9 + 1) / 2
    assert float(lecam.penalty(REAL, FAKE, -1.0, 1.0)) != 10.0  # The averages are not interchangeable.
    assert float(lecam.penalty(REAL - 9, FAKE + 9, 1.0, -1.0)) == 0.0  # Of what is on the other side already nothing.


def test_no_gradient_into_the_averages():
    slopes = jax.grad(lecam.penalty, (2, 3))(REAL, FAKE, jnp.float32(1.0), jnp.float32(-1.0))
    assert slopes == (0.0, 0.0)


def view_at(number, real, fake):
    view = look_at(*draw())
    seen = [each._replace(logits=logits) for each, logits in ((view.real, real), (view.fake, fake))]
    return view._replace(real=seen[0], fake=seen[1], turn=turn(number))


def test_the_averages_follow_the_means_and_the_penalty_sees_them_moved():
    tested, decay = lecam.make(strength=0.5, decay=0.9, start=2), 0.9
    state = tested.init(jax.random.key(0), None)
    expected = np.zeros(2)
    for number in range(4):
        real, fake = REAL + number, FAKE - 2.0 * number
        view = view_at(number, real, fake)
        means = np.array([real.mean(), fake.mean()], np.float64)
        expected = means if number < 2 else decay * expected + (1 - decay) * means
        loss = tested.discriminator_loss(state, view)[0]
        above = np.maximum(0, np.float64(real) - expected[1]) ** 2
        below = np.maximum(0, expected[0] - np.float64(fake)) ** 2
        by_hand = 0.0 if number < 2 else 0.5 * (above.mean() + below.mean())
        np.testing.assert_allclose(loss, by_hand, rtol=1e-5)
        state = tested.update(state, view)
        np.testing.assert_allclose(np.array(state), expected, rtol=1e-6)


@pytest.mark.parametrize("number", [0, 7])
def test_an_update_is_that_of_pytorch(number):
    """Beside another objective: before the penalty begins, and with averages that have moved before."""
    strength, decay, before = 0.5, 0.9, (1.3, -0.4)
    settings = {"enabled": True, "strength": strength, "decay": decay, "start": 5}
    tx = optax.sgd(RATE)
    with jax.enable_x64(True):
        loaded = technique.load({"non_saturating": {"enabled": True}, "lecam": settings})
        game, state, batches = begin(loaded, tx)
        memory = lecam.Averages(*map(jnp.asarray, before))
        state = state._replace(step=jnp.int32(number), techniques=state.techniques | {"lecam": memory})
        after, metrics = jax.jit(functools.partial(step.update, game))(state, batches)
    averages = {}

    def discriminator_loss(torch, real, fake):
        rate = 1.0 if number < 5 else 1 - decay
        means = [each.mean().item() for each in (real, fake)]
        averages["after"] = real_then, fake_then = [
            old + rate * (new - old) for old, new in zip(before, means, strict=True)
        ]
        squares = torch.relu(real - fake_then) ** 2, torch.relu(real_then - fake) ** 2
        penalty = (strength if number >= 5 else 0.0) * (squares[0].mean() + squares[1].mean())
        averages["loss"] = penalty.item()
        return DISCRIMINATOR_OF_MINIMAX(torch, real, fake) + penalty

    generator, discriminator = theirs((discriminator_loss, NON_SATURATING), "sgd", None)
    for found, expected in ((after.generator, generator), (after.discriminator, discriminator)):
        for name, value in expected.items():
            np.testing.assert_allclose(found.params[name], value.detach().numpy(), rtol=1e-6, atol=1e-8, err_msg=name)
    np.testing.assert_allclose(after.techniques["lecam"], averages["after"], rtol=1e-6)
    assert float(metrics["d/lecam"]) == pytest.approx(averages["loss"], rel=1e-6)
    assert (averages["loss"] > 0) == (number > 5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("strength", -1.0), ("strength", float("nan")), ("decay", 1.0), ("decay", -0.1), ("start", 0), ("start", 1.5)],
)
def test_what_cannot_be_is_refused(field, value):
    with pytest.raises(UserError, match=rf"techniques\.lecam\.{field} is .*, expected .*: set --config\.techniques"):
        lecam.make(**{field: value})
