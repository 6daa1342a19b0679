"""What all objectives are asked: an update as PyTorch would do it, players that do not mix, and what they refuse."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.config import default, validate
from igan.errors import UserError
from igan.game import optimizer, step, technique
from igan.game.technique import Game, Technique
from igan.types import Array, Batch, Batches, Critique, Examples, GameState, Network, Networks, Player
from tests.contexts import turn
from tests.techniques.suite import enable

COUNT, LATENT, HIDDEN, PIXELS = 5, 3, 6, 4
RATE = 0.3
PLAYERS = ("discriminator", "generator")
OBJECTIVES = [name for name in technique.known() if technique.load(enable(name))[name].objective]

# Two small networks, whose latents are always the same.


def draw(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(len(shapes))
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def layer(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}_kernel": (inputs, outputs), f"{name}_bias": (outputs,)}


GENERATOR = draw(**layer("hidden", LATENT, HIDDEN), **layer("last", HIDDEN, PIXELS), shift=(PIXELS,))
DISCRIMINATOR = draw(**layer("hidden", PIXELS, HIDDEN), **layer("last", HIDDEN, 1))
LATENTS = np.random.default_rng(7).normal(size=(COUNT, LATENT))
REAL = np.random.default_rng(8).normal(0.5, 1, size=(2, COUNT, PIXELS))  # Of each player's step.


def through(params: Any, inputs: Any, tanh: Callable[[Any], Any]) -> Any:
    hidden = tanh(inputs @ params["hidden_kernel"] + params["hidden_bias"])
    return hidden @ params["last_kernel"] + params["last_bias"]


def generate(params: Any, variables: Any, context: Any, latents: Array) -> tuple[Array, Any]:
    return (through(params, latents, jnp.tanh) + params["shift"]).reshape(-1, 2, 2, 1), variables


def discriminate(params: Any, variables: Any, context: Any, images: Array) -> tuple[Critique, Any]:
    pixels = images.reshape(len(images), PIXELS)
    return Critique(through(params, pixels, jnp.tanh)[:, 0], pixels), variables


NETWORKS = Networks(
    Network(lambda *_: ({}, {}), generate, lambda *_: ""),
    Network(lambda *_: ({}, {}), discriminate, lambda *_: ""),
    lambda key, count: jnp.asarray(LATENTS),
    (-1.0, 1.0),
)


def begin(techniques: dict[str, Technique], tx: optax.GradientTransformation) -> tuple[Game, GameState, Batches]:
    wrapped = technique.wrap(tx, [each.discriminator_optimizer for each in techniques.values()])
    game = Game(NETWORKS, techniques, wrapped, tx, optimizer.average_rate(0.1))
    real = [Examples(jnp.asarray(each.reshape(-1, 2, 2, 1))) for each in REAL]
    players = [
        Player(params, {}, each.init(params), params)
        for params, each in (
            (jax.tree.map(jnp.asarray, GENERATOR), tx),
            (jax.tree.map(jnp.asarray, DISCRIMINATOR), wrapped),
        )
    ]
    memories = {name: each.init(jax.random.key(1), real[0]) for name, each in techniques.items()}
    state = GameState(jnp.int32(0), jax.random.key(0), *players, memories)
    return game, state, Batches(*((Batch(each),) for each in real))


def ours(name: str, settings: dict[str, Any], kind: str) -> tuple[Any, Any]:
    """Both players' parameters after one update by igan."""
    config = {"optimizer": kind, "learning_rate": RATE, "constant_share": 1.0, "decay": 0.9, "epsilon": 1e-8}
    tx = optimizer.make(config, total_steps=10)
    with jax.enable_x64(True):
        game, state, batches = begin(technique.load({name: {"enabled": True} | settings}), tx)
        after, _ = jax.jit(functools.partial(step.update, game))(state, batches)
    return after.generator.params, after.discriminator.params


def theirs(losses: tuple[Callable, Callable], kind: str, clip: float | None) -> tuple[Any, Any]:
    """The same by PyTorch: automatic differentiation, its optimisers, and clamping in place."""
    torch = pytest.importorskip("torch")
    generator, discriminator = (
        {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
        for params in (GENERATOR, DISCRIMINATOR)
    )

    def descend(params: Any, loss: Any) -> None:
        kinds = {"sgd": torch.optim.SGD, "rmsprop": functools.partial(torch.optim.RMSprop, alpha=0.9, eps=1e-8)}
        stepper = kinds[kind](params.values(), lr=RATE)
        stepper.zero_grad()
        loss.backward()
        stepper.step()

    latents, real = torch.tensor(LATENTS), torch.tensor(REAL)
    for player, params, index in ((0, discriminator, 0), (1, generator, 1)):
        images = through(generator, latents, torch.tanh) + generator["shift"]
        logits = [through(discriminator, each, torch.tanh)[:, 0] for each in (real[index], images)]
        descend(params, losses[player](torch, *logits))
        if clip is not None and player == 0:
            with torch.no_grad():
                for leaf in discriminator.values():
                    leaf.clamp_(-clip, clip)
    return generator, discriminator


def least_squares(a: float, b: float, c: float) -> tuple[Callable, Callable]:
    return (
        lambda torch, real, fake: 0.5 * ((real - b) ** 2).mean() + 0.5 * ((fake - a) ** 2).mean(),
        lambda torch, real, fake: 0.5 * ((fake - c) ** 2).mean(),
    )


def entropy(torch: Any, logits: Any, target: float) -> Any:
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


DISCRIMINATOR_OF_MINIMAX = lambda torch, real, fake: entropy(torch, real, 1.0) + entropy(torch, fake, 0.0)  # noqa: E731
NON_SATURATING = lambda torch, real, fake: entropy(torch, fake, 1.0)  # noqa: E731
WASSERSTEIN = lambda torch, real, fake: fake.mean() - real.mean(), lambda torch, real, fake: -fake.mean()
PAIRS = (
    lambda torch, real, fake: entropy(torch, real - fake, 1.0),
    lambda torch, real, fake: entropy(torch, fake - real, 1.0),
)
AVERAGES = tuple(
    lambda torch, real, fake, target=target: (
        0.5 * (entropy(torch, real - fake.mean(), target) + entropy(torch, fake - real.mean(), 1 - target))
    )
    for target in (1.0, 0.0)
)
HINGE = (
    lambda torch, real, fake: torch.relu(1 - real).mean() + torch.relu(1 + fake).mean(),
    lambda torch, real, fake: -fake.mean(),
)
# Technique, its settings, the optimiser, both losses in PyTorch, and the side of the box.
ROWS: list[tuple[str, dict[str, Any], str, Any, float | None]] = [
    ("minimax", {}, "sgd", (DISCRIMINATOR_OF_MINIMAX, lambda torch, real, fake: -entropy(torch, fake, 0.0)), None),
    ("non_saturating", {}, "sgd", (DISCRIMINATOR_OF_MINIMAX, NON_SATURATING), None),
    ("wasserstein", {"clipping": False}, "sgd", WASSERSTEIN, None),
    ("wasserstein", {"clip": 0.7}, "rmsprop", WASSERSTEIN, 0.7),
    ("least_squares", {}, "sgd", least_squares(0, 1, 1), None),
    (
        "least_squares",
        {"generated_label": -1.0, "real_label": 1.0, "generator_label": 0.0},
        "sgd",
        least_squares(-1, 1, 0),
        None,
    ),
    ("hinge", {}, "sgd", HINGE, None),
    ("relativistic", {}, "sgd", PAIRS, None),
    ("relativistic", {"comparison": "average"}, "sgd", AVERAGES, None),
]


@pytest.mark.parametrize(("name", "settings", "kind", "losses", "clip"), ROWS)
def test_an_update_is_that_of_pytorch(name, settings, kind, losses, clip):
    for found, expected in zip(ours(name, settings, kind), theirs(losses, kind, clip), strict=True):
        for each, value in expected.items():
            np.testing.assert_allclose(found[each], value.detach().numpy(), rtol=1e-6, atol=1e-8, err_msg=each)


def test_every_objective_has_a_row():
    # An autoencoder's objective is of other numbers than logits: it is in tests/models/test_torch_parity.py.
    judging = {name for name in OBJECTIVES if not technique.load(enable(name))[name].needs & {"reconstruction"}}
    assert {row[0] for row in ROWS} == judging


# Players.


def same(one: Any, other: Any) -> bool:
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(first, second) for first, second in leaves)


def fits(name: str) -> bool:
    """Whether a technique has a loss, and these networks all that it needs."""
    tested = technique.load(enable(name))[name]
    has_loss = tested.discriminator_loss is not None or tested.generator_loss is not None
    return has_loss and not tested.layers and tested.needs <= {"plain_weights", "independent_examples"}


@pytest.mark.parametrize("name", filter(fits, technique.known()))
def test_a_step_of_one_player_leaves_the_other_as_it_is(name):
    """Whatever its losses depend on: parameters, the optimiser's state and averages, to the last bit."""
    game, before, batches = begin(technique.load(enable(name)), optax.adam(1e-2))

    @jax.jit
    def play(state: GameState) -> list[GameState]:
        given = [(turn(), jax.random.key(1), batch) for (batch,) in batches]
        return [
            each(game, state, *arguments)[0]
            for each, arguments in zip((step.update_discriminator, step.update_generator), given, strict=True)
        ]

    for after, mover, other in zip(play(before), PLAYERS, reversed(PLAYERS), strict=True):
        assert not same(getattr(before, mover).params, getattr(after, mover).params)
        assert same(getattr(before, other), getattr(after, other))


# What is refused.


@pytest.mark.parametrize("name", ["wasserstein", "least_squares", "hinge", "relativistic"])
def test_logits_of_classes_are_refused(name):
    config = default()
    for each in (name, "semi_supervised"):
        config.techniques[each].enabled = True
    with pytest.raises(UserError, match=rf"^{name}: semi_supervised makes the logit a log-sum-exp of class l") as error:
        validate(config)
    assert "\n" not in str(error.value)
    assert all(f"--config.techniques.{each}.enabled=False" in str(error.value) for each in (name, "semi_supervised"))
    config.techniques.semi_supervised.enabled = False
    validate(config)


def test_the_objectives_are_those_that_are_meant():
    assert {"minimax", "non_saturating", "wasserstein", "least_squares", "hinge", "relativistic"} <= set(OBJECTIVES)
