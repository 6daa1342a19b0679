"""The Dirac-GAN (Mescheder et al. 2018): two numbers, played by igan's own losses, penalties, steps and optimisers in
float64.

The data are a point at 0, the generator's one image is theta, and D(x) = psi * x. The paper calls generated images
positive, so its psi is ours with the other sign.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.game import optimizer, step, technique
from igan.game.technique import Game
from igan.types import Array, Batch, Critique, Examples, GameState, Player
from tests.contexts import turn
from tests.techniques.probes import scalar_networks

RATE, START, STEPS, MEASURED = 0.2, (1.0, -1.0), 500, (50, 200, 500)


def apply_generator(theta: Array, variables: Any, context: Any, latents: Array) -> tuple[Array, Any]:
    return theta * jnp.ones((len(latents), 1, 1, 1)), variables


def apply_discriminator(psi: Array, variables: Any, context: Any, images: Array) -> tuple[Critique, Any]:
    return Critique(psi * images[:, 0, 0, 0], images[:, 0, 0]), variables


NETWORKS = scalar_networks(apply_generator, apply_discriminator)


def r1(gamma: float) -> dict[str, dict[str, float]]:
    return {"r1": {"gamma": gamma}}


# Of this game, where the slope is the same everywhere. The paper's strength of 0.7 is of half a square.
SLOPE_OF_ONE = {"gradient_penalty": {"strength": 0.35}}


def game_of(name: str, penalty: dict[str, dict[str, float]] | None = None, **settings: Any) -> Game:
    configs = {name: settings} | (penalty or {})
    techniques = technique.load({each: {"enabled": True, **fields} for each, fields in configs.items()})
    tx = optax.sgd(RATE)
    wrapped = technique.wrap(tx, [each.discriminator_optimizer for each in techniques.values()])
    return Game(NETWORKS, techniques, wrapped, tx, optimizer.average_rate(1.0))


def begin(game: Game, theta: Any = START[0], psi: Any = START[1]) -> GameState:
    players = [
        Player(value, {}, tx.init(value), value)
        for value, tx in (
            (jnp.float64(theta), game.generator_optimizer),
            (jnp.float64(psi), game.discriminator_optimizer),
        )
    ]
    return GameState(jnp.int32(0), jax.random.key(0), *players, dict.fromkeys(game.techniques))


def simultaneously(game: Game, state: GameState) -> GameState:
    moves = [slope(game, state, *given()) for slope in (step.generator_slope, step.discriminator_slope)]
    generator, discriminator = (
        step.descend(tx, jnp.ones(()), player, move.gradients)
        for tx, player, move in zip(
            (game.generator_optimizer, game.discriminator_optimizer),
            (state.generator, state.discriminator),
            moves,
            strict=True,
        )
    )
    return state._replace(generator=generator, discriminator=discriminator)


def alternating(game: Game, state: GameState) -> GameState:
    """The generator first."""
    state, _ = step.update_generator(game, state, *given())
    return step.update_discriminator(game, state, *given())[0]


def given() -> tuple[Any, ...]:
    return turn(), jax.random.key(1), Batch(Examples(jnp.zeros((1, 1, 1, 1), jnp.float64)))


def path(game: Game, move: Callable[[Game, GameState], GameState]) -> np.ndarray:
    """Returns (theta, psi) after each step, float64 [steps, 2]."""

    def once(state: GameState, _: None) -> tuple[GameState, Array]:
        state = move(game, state)
        return state, jnp.stack([state.generator.params, state.discriminator.params])

    return np.asarray(jax.jit(lambda state: jax.lax.scan(once, state, length=STEPS)[1])(begin(game)))


# With the only real image at 0, where D is 0, the relativistic game is the non-saturating one.
NON_SATURATING = (0.853788, 1.053788), (0.8595, 0.6778, 0.6402), (0.7264, 0.4180, 0.2839)
# The first step (theta, psi), and the distances after 50, 200 and 500 steps of both ways to play.
ROWS = {
    "minimax": (lambda: game_of("minimax"), (0.946212, 1.053788), (1.6795, 2.6446, 3.0970), (1.3828, 1.3745, 1.4210)),
    "non_saturating": (lambda: game_of("non_saturating"), *NON_SATURATING),
    "relativistic": (lambda: game_of("relativistic"), *NON_SATURATING),
    "wasserstein without a box": (
        lambda: game_of("wasserstein", clipping=False),
        (0.8, 1.2),
        (3.7701, 71.425, 25636),
        (1.3736, 1.3500, 1.3979),
    ),
    "wasserstein": (
        lambda: game_of("wasserstein", clip=1.0),
        (0.8, 1.0),
        (1.2653, 1.1525, 1.0022),
        (1.0328, 0.9846, 1.0241),
    ),
    "wasserstein with a slope of 1": (
        lambda: game_of("wasserstein", SLOPE_OF_ONE, clipping=False),
        (0.8, 1.2),
        (1.8945, 1.6198, 1.8018),
        (1.4356, 1.4064, 1.2211),
    ),
    "minimax with R1 of 0.3": (
        lambda: game_of("minimax", r1(0.3)),
        (0.946212, 0.993788),
        (0.2796, 0.0076, 2.64e-6),
        (0.2184, 0.0028, 2.30e-7),
    ),
    "minimax with R1 of 1": (
        lambda: game_of("minimax", r1(1.0)),
        (0.946212, 0.853788),
        (0.0364, 0, 9.5e-22),
        (0.0468, 0, 7.5e-17),
    ),
    "non_saturating with R1 of 0.3": (
        lambda: game_of("non_saturating", r1(0.3)),
        (0.853788, 0.993788),
        (0.2237, 0.0053, 2.21e-6),
        (0.1702, 0.0021, 1.50e-7),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_game_goes_as_it_must(name):
    make, first, *distances = ROWS[name]
    with jax.enable_x64(True):
        game = make()
        for move, expected in zip((simultaneously, alternating), distances, strict=True):
            positions = path(game, move)
            assert positions.dtype == np.float64
            if move is simultaneously:
                np.testing.assert_allclose(positions[0] * (1, -1), first, atol=6e-7)
            found = np.hypot(*positions[np.array(MEASURED) - 1].T)
            for one, other in zip(found, expected, strict=True):
                assert_close(one, other)


def assert_close(found: float, expected: float) -> None:
    """As closely as there are digits."""
    tolerance = {"rtol": 5e-3} if 0 < expected < 1e-3 else {"rtol": 2e-5, "atol": 5.1e-5}
    np.testing.assert_allclose(found, expected, **tolerance)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [(0.0, 0.5j), (0.3, -0.15 + 0.47697j), (1.0, -0.5), (2.0, -0.13397), (2.0, -1.86603)],
)
def test_the_eigenvalues_at_the_equilibrium(gamma, expected):
    """A strength of 1 damps as fast as can be: below it the game turns, above it one direction is slow."""
    with jax.enable_x64(True):
        game = game_of("minimax", r1(gamma))

        def velocity(position: Array) -> Array:
            state = begin(game, *position)
            moves = [slope(game, state, *given()) for slope in (step.generator_slope, step.discriminator_slope)]
            return -jnp.stack([move.gradients for move in moves])

        jacobian = jax.jit(jax.jacfwd(velocity))(jnp.zeros(2))
    found = np.linalg.eigvals(jacobian)
    assert np.abs(found - expected).min() < 1e-5, found
