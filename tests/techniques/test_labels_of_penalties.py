"""Which class an image has at which a slope is measured, in a game whose generated images are of other classes.

The discriminator is linear, D(x, y) = <w + V[y], x>, so that its slope tells the class it was asked about: w + V[y].
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.game import optimizer, step, technique
from igan.game.technique import Game, Technique
from igan.randomness import stream
from igan.types import Batch, Context, Critique, Examples, Network, Networks
from tests.contexts import turn

CLASSES, COUNT, RATE = 3, 8, 0.01
REAL = np.array([1, 1, 1, 1, 1, 0, 0, 2], np.int32)
SLOPES = np.float32([[3, 4], [0, 1], [-2, 5]])  # w + V[y], by hand: w is (1, 2) below.


def judge(params: dict, variables: dict, context: Context, points: jax.Array) -> tuple:
    assert context.labels is not None
    return Critique(jnp.sum((params["w"] + context.labels @ params["v"]) * points, axis=1), points), variables


def make_game(**tested: Technique) -> Game:
    w = jnp.float32([1, 2])
    networks = Networks(
        Network(lambda *_: (jnp.ones(2), {}), lambda params, variables, *more: (more[1] * params, variables), str),
        Network(lambda *_: ({"w": w, "v": SLOPES - w}, {}), judge, str),
        lambda key, count: jax.random.normal(key, (count, 2)),
        image_range=(-1.0, 1.0),
        classes=CLASSES,
    )
    other = Technique(generator_loss=lambda state, view: (-jnp.mean(view.fake.logits), {}))
    tx, uniform = optax.sgd(RATE), technique.GENERATED_LABELS["uniform"](CLASSES)
    return Game(networks, {"other": other} | tested, tx, tx, optimizer.average_rate(1.0), 1, uniform)


def expected(name: str, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """The penalty and its gradient by V, in NumPy's float64."""
    slopes = np.float64(SLOPES)[labels]
    norms = np.linalg.norm(slopes, axis=1, keepdims=True)
    if name in ("r1", "r2"):
        value, each = 5 * np.mean(norms**2), 10 * slopes / COUNT
    else:
        value, each = 10 * np.mean((norms - 1) ** 2), 20 * (norms - 1) * slopes / norms / COUNT
    gradient = np.zeros((CLASSES, 2))
    np.add.at(gradient, labels, each)
    return value, gradient


@pytest.mark.parametrize(
    ("name", "between"),
    [("r1", ""), ("r2", ""), ("dragan", "")]
    + [("gradient_penalty", place) for place in ("real", "generated", "real_and_generated")],
)
def test_generated_images_keep_their_own_labels_and_points_between_have_those_of_the_real_ones(random, name, between):
    """The line from a real image of a class to a generated one of another is of the real one's class.

    So it is in StudioGAN, and in WGAN-GP's code, where both have the same label.
    """
    settings = {"enabled": True} | ({"between": between} if between else {})
    game = make_game(**technique.load({name: settings}))
    batch = Batch(Examples(jnp.float32(random.normal(size=(COUNT, 2))), jnp.asarray(REAL)))
    state = step.initialize(game, jax.random.key(5), batch.real)
    key = jax.random.key(6)
    drawn = np.asarray(game.generated_labels(stream(key, "labels"), batch.real.labels))
    assert set(drawn.tolist()) == set(range(CLASSES))
    after, metrics = jax.jit(lambda state: step.update_discriminator(game, state, turn(), key, batch))(state)
    right, wrong = (drawn, REAL) if name == "r2" or between == "generated" else (REAL, drawn)
    value, gradient = expected(name, right)
    assert abs(value - expected(name, wrong)[0]) > 0.1 * value
    np.testing.assert_allclose(metrics[f"d/{name}"], value, rtol=1e-5)
    moved = np.asarray(state.discriminator.params["v"] - after.discriminator.params["v"])
    np.testing.assert_allclose(moved, RATE * gradient, rtol=1e-3, atol=1e-6)
