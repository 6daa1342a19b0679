"""LeCam regularisation against numbers by hand, its averages step by step, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.errors import UserError
from igan.techniques import lecam
from tests.contexts import turn
from tests.techniques.probes import draw, look_at

REAL, FAKE = jnp.float32([2.0, 0.0]), jnp.float32([-2.0, 0.0])


def test_the_penalty_by_hand():
    assert float(lecam.penalty(REAL, FAKE, 1.0, -1.0)) == 10.0  # (9 + 1) / 2 + (9 + 1) / 2
    assert float(lecam.penalty(REAL, FAKE, -1.0, 1.0)) != 10.0  # The averages are not interchangeable.
    assert float(lecam.penalty(REAL - 9, FAKE + 9, 1.0, -1.0)) == 0.0  # Of what is on the other side already nothing.


def test_no_gradient_into_the_averages():
    slopes = jax.grad(lecam.penalty, (2, 3))(REAL, FAKE, jnp.float32(1.0), jnp.float32(-1.0))
    assert slopes == (0.0, 0.0)


def view_at(step, real, fake):
    view = look_at(*draw())
    seen = [each._replace(logits=logits) for each, logits in ((view.real, real), (view.fake, fake))]
    return view._replace(real=seen[0], fake=seen[1], turn=turn(step))


def test_the_averages_follow_the_means_and_the_penalty_sees_them_moved():
    technique, decay = lecam.make(strength=0.5, decay=0.9, start=2), 0.9
    state = technique.init(jax.random.key(0), None)
    expected = np.zeros(2)
    for step in range(4):
        real, fake = REAL + step, FAKE - 2.0 * step
        view = view_at(step, real, fake)
        means = np.array([real.mean(), fake.mean()], np.float64)
        expected = means if step < 2 else decay * expected + (1 - decay) * means
        loss = technique.discriminator_loss(state, view)[0]
        above = np.maximum(0, np.float64(real) - expected[1]) ** 2
        below = np.maximum(0, expected[0] - np.float64(fake)) ** 2
        by_hand = 0.0 if step < 2 else 0.5 * (above.mean() + below.mean())
        np.testing.assert_allclose(loss, by_hand, rtol=1e-5)
        state = technique.update(state, view)
        np.testing.assert_allclose(np.array(state), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("strength", -1.0), ("strength", float("nan")), ("decay", 1.0), ("decay", -0.1), ("start", 0), ("start", 1.5)],
)
def test_what_cannot_be_is_refused(field, value):
    with pytest.raises(UserError, match=rf"techniques\.lecam\.{field} is .*, expected .*: set --config\.techniques"):
        lecam.make(**{field: value})
