"""Whole updates of the CIFAR-10 and ImageNet games agree with independent implementations in float64 PyTorch.

Noise and dropout are off, since the references cannot draw igan's; latents are igan's own, from its named streams.
"""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cifar10, imagenet
from igan import models
from igan.data import space
from igan.game import optimizer, step, technique
from igan.randomness import stream
from igan.types import Batch, Batches, Examples, GameState

torch = pytest.importorskip("torch", reason="pip install igan[parity]")

from tests.references import convolutional_torch as reference  # noqa: E402
from tests.references import imagenet_torch  # noqa: E402

TOLERANCE = 1e-4
LEARNING_RATE = 0.1
COUNT = 6  # Images of a kind in a batch.
CLASSES = 4
SIDE = 16
HISTORICAL_STRENGTH = 0.5
# The programs are small, and compiling them is what takes time.
# (a layer's field in igan, its name in the references), first match.
GENERATOR_NAMES = [
    (r"Dense_0/kernel", "dense"),
    (r"TransposedConv_(\d)/kernel", r"kernels.\1"),
    (r"(?:Shift|Virtual)BatchNorm_(\d)/shift", r"shifts.\1"),
    (r"WeightNormConv_0/(\w+)", r"last.\1"),
    (r"Conv_0/kernel", "last.weight"),
    (r"Conv_0/bias", "last.bias"),
    (r"reference/latents", "reference"),
]
DISCRIMINATOR_NAMES = [
    (r"WeightNormConv_(\d)/(\w+)", r"convolutions.\1.\2"),
    (r"WeightNormDense_0/(\w+)", r"last.\1"),
    (r"MinibatchDiscrimination_0/(\w+)", r"minibatch.\1"),
    (r"Conv_(\d)/kernel", r"convolutions.\1.weight"),
    (r"Conv_0/bias", "convolutions.0.bias"),
    (r"ShiftBatchNorm_(\d)/shift", r"shifts.\1"),
    (r"Dense_0/kernel", "dense"),
    (r"Dense_1/kernel", "last.weight"),
    (r"Dense_1/bias", "last.bias"),
]


class Trial(NamedTuple):
    """What igan did, in the references' layout, and what they need to do the same."""

    before: dict[str, dict[str, np.ndarray]]  # By player, then by name.
    after: dict[str, dict[str, np.ndarray]]
    metrics: list[dict[str, float]]
    batches: list[Batches]
    latents: list[list[np.ndarray]]  # Of the discriminator's step, then of each of the generator's.


def cifar10_config(variant):
    config = cifar10.get_config(variant)
    config.networks.update(
        {"latent_size": 7, "generator_widths": (8, 6, 5), "discriminator_widths": (5, 7)}
        | {"input_dropout": 0.0, "input_noise": 0.0, "dropout": 0.0}
    )
    return shrink(config)


def imagenet_config():
    config = imagenet.get_config()
    config.networks.latent_size = 7
    config.networks.generator_widths, config.networks.noise_channels = (8, 6, 5), (3, 2, 1)
    config.networks.discriminator_widths, config.networks.discriminator_strides = (5, 6, 7), (2, 1, 2)
    config.networks.dense_width, config.networks.input_noise = 9, 0.0
    return shrink(config)


def shrink(config):
    config.techniques.virtual_batch_norm.reference_size = 5
    config.techniques.minibatch_discrimination.kernels = 4
    config.techniques.minibatch_discrimination.dimensions = 3
    config.techniques.historical_averaging.strength = HISTORICAL_STRENGTH
    for player in (config.discriminator, config.generator):
        player.optimizer, player.learning_rate, player.constant_share = "sgd", LEARNING_RATE, 1.0
    return config


def make_game(config):
    techniques = technique.load(config.techniques)
    classes = CLASSES if config.techniques.semi_supervised.enabled else None
    networks = models.load(config.networks, space.images((SIDE, SIDE, 3)), classes, technique.layers(techniques))
    wrap = lambda player: [getattr(each, f"{player}_optimizer") for each in techniques.values()]  # noqa: E731
    optimizers = [technique.wrap(optimizer.make(config[player], 100), wrap(player)) for player in PLAYERS]
    return step.Game(networks, techniques, *optimizers, average_rate=optimizer.average_rate(1e-4))


PLAYERS = ("discriminator", "generator")


def start(
    game: step.Game, images: np.ndarray, random: np.random.Generator, log_scale: float, scales: tuple[float, float]
) -> GameState:
    """A state at a generic point: nothing that is zero or one by default is so here."""
    shapes = jax.eval_shape(lambda: step.initialize(game, jax.random.key(4), Examples(images)))

    def draw(path, leaf):
        field = path[-1].key
        if field == "latents":
            return jnp.float32(random.uniform(size=leaf.shape))
        if field in ("mean", "variance"):  # Of no batch yet: training must not read them.
            return jnp.full(leaf.shape, jnp.nan)
        if field == "scale":
            return jnp.float32(random.uniform(*scales, leaf.shape))
        return jnp.float32(random.normal(log_scale if field == "log_scale" else 0.0, 0.1, leaf.shape))

    players = {}
    for name, tx in zip(PLAYERS, (game.discriminator_optimizer, game.generator_optimizer), strict=True):
        player = getattr(shapes, name)
        params, variables = jax.tree_util.tree_map_with_path(draw, (player.params, player.variables))
        players[name] = player._replace(params=params, variables=variables, opt_state=tx.init(params), average=params)
    return shapes._replace(step=jnp.int32(0), key=jax.random.key(4), **players)


def in_reference_layout(state: GameState) -> dict[str, dict[str, np.ndarray]]:
    """Every parameter, fixed scale and reference latent under its name in the references."""
    found = {}
    for player, names in (("generator", GENERATOR_NAMES), ("discriminator", DISCRIMINATOR_NAMES)):
        of_player, found[player] = getattr(state, player), {}
        kept = {name: of for name, of in of_player.variables.items() if name != "statistics"}
        for path, leaf in jax.tree_util.tree_leaves_with_path((of_player.params, kept)):
            place = jax.tree_util.keystr(path, simple=True, separator="/")
            pattern, name = next(each for each in names if re.search(f"/{each[0]}$", place))
            name = re.search(f"/{pattern}$", place).expand(name)
            transposed = player == "generator" and name != "last.weight"
            found[player][name] = to_torch_kernel(name, np.float64(leaf), transposed)
    return found


def to_torch_kernel(name: str, array: np.ndarray, transposed: bool) -> np.ndarray:
    """PyTorch has the channels before height and width, and mirrors the kernel of a transposed convolution."""
    if array.ndim == 4:
        return array[::-1, ::-1].transpose(2, 3, 0, 1) if transposed else array.transpose(3, 2, 0, 1)
    return array.T if name in ("last.weight", "last.direction") else array


def play(config, updates: int, log_scale: float, scales: tuple[float, float] = (0.8, 1.4)) -> Trial:
    """Plays igan's game and writes down everything that a reference needs to play it too."""
    random = np.random.default_rng(0)
    game = make_game(config)
    update = jax.jit(lambda state, batches: step.update(game, state, batches))
    draw_images = lambda: random.uniform(-1, 1, (COUNT, SIDE, SIDE, 3)).astype(np.float32)  # noqa: E731
    trial = Trial({}, {}, [], [], [])
    with jax.default_matmul_precision("highest"):
        state = start(game, draw_images(), random, log_scale, scales)
        trial.before.update(in_reference_layout(state))
        for number in range(updates):
            labels = random.integers(0, CLASSES, COUNT).astype(np.int32)
            batch = Batch(Examples(draw_images()))
            if config.techniques.semi_supervised.enabled and config.labels_per_class:
                batch = batch._replace(labeled=Examples(draw_images(), labels))
            elif config.techniques.semi_supervised.enabled:
                batch = Batch(batch.real._replace(labels=labels))
            batches = Batches((batch,), tuple(Batch(Examples(draw_images())) for _ in range(config.generator.steps)))
            names = ["discriminator/0", *(f"generator/{index}" for index in range(config.generator.steps))]
            keys = [stream(stream(state.key, name, number), "latents") for name in names]
            trial.latents.append([np.float64(game.networks.sample_latents(key, COUNT)) for key in keys])
            trial.batches.append(batches)
            state, metrics = update(state, batches)
            trial.metrics.append({name: float(value) for name, value in metrics.items()})
    trial.after.update(in_reference_layout(state))
    return trial


def tensor(images: np.ndarray):
    """Images with the channels before height and width, float64."""
    return torch.tensor(np.float64(images).transpose(0, 3, 1, 2))


@pytest.fixture(autouse=True)
def one_thread():
    # Where all cores are busy, the threads of one operation wait for each other for ever.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fill(network, values: dict[str, np.ndarray]):
    """The network in float64, with these values for all it holds."""
    network.double().load_state_dict(
        {name: torch.tensor(np.ascontiguousarray(value)) for name, value in values.items()}
    )
    return network


def play_cifar10_in_torch(trial: Trial, config):
    techniques = config.techniques
    minibatch = reference.MinibatchDiscrimination(7, 4, 3) if techniques.minibatch_discrimination.enabled else None
    classes = CLASSES if techniques.semi_supervised.enabled else None
    latents = torch.zeros(5, 7) if techniques.virtual_batch_norm.enabled else None
    rules = reference.Rules(
        objective="feature matching" if techniques.feature_matching.enabled else "minimax",
        generator_steps=config.generator.steps,
        real_target=0.9 if techniques.label_smoothing.enabled else 1.0,
        historical_strength=HISTORICAL_STRENGTH if techniques.historical_averaging.enabled else 0.0,
    )
    game = reference.Game(
        fill(reference.Generator(7, (8, 6, 5), (2, 2), 3, latents), trial.before["generator"]),
        fill(reference.Discriminator(classes, (5, 7), 3, 0.0, 0.0, 0.0, minibatch), trial.before["discriminator"]),
        rules,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=LEARNING_RATE),
    )
    losses = []
    for (discriminator, generator), latents in zip(trial.batches, trial.latents, strict=True):
        (batch,) = discriminator
        labels = (batch.labeled or batch.real).labels
        found = game.step(
            reference.Batch(
                tensor(batch.real.images),
                None if batch.labeled is None else tensor(batch.labeled.images),
                None if labels is None else torch.tensor(np.int64(labels)),
                [tensor(each.real.images) for each in generator],
            ),
            reference.Draws(torch.tensor(latents[0]), [torch.tensor(each) for each in latents[1:]]),
        )
        losses.append({name: loss.item() for name, loss in found.items()})
    return game, losses


def assert_same(trial: Trial, game) -> None:
    for player in PLAYERS:
        expected = {name: value.numpy() for name, value in getattr(game, player).state_dict().items()}
        assert trial.after[player].keys() == expected.keys()
        for name, before in trial.before[player].items():
            after, where = trial.after[player][name], f"{player} {name}"
            np.testing.assert_allclose(after, expected[name], rtol=0, atol=TOLERANCE, err_msg=where)
            if name == "reference" or re.fullmatch(r"convolutions\.\d\.scale", name):
                np.testing.assert_array_equal(after, before, err_msg=where)
            else:
                # An agreement means something only where the update moved far beyond the tolerance.
                assert np.abs(expected[name] - before).max() > 3 * TOLERANCE, where


METRICS = {
    "supervised": "d/semi_supervised",
    "unsupervised": "d/minimax",
    "feature matching": "g/feature_matching",
    "minimax": "g/minimax",
}


# The second of the three steps of the generator is the first that historical averaging pulls back.
@pytest.mark.parametrize(
    ("variant", "updates"), [("feature_matching", 1), ("minibatch_discrimination", 1), ("ours", 1), ("-l+ha", 1)]
)
def test_sgd_updates_of_the_cifar10_games_agree_with_torch(variant, updates):
    config = cifar10_config(variant)
    # Large enough that one update moves every parameter far, small enough that float32 rounding does not grow too much.
    scales = {"feature_matching": (1.0, 2.0), "-l+ha": (1.0, 1.5)}.get(variant, (0.8, 1.4))
    trial = play(config, updates, log_scale=1.0, scales=scales)
    game, losses = play_cifar10_in_torch(trial, config)
    for found, expected in zip(trial.metrics, losses, strict=True):
        for name, loss in expected.items():
            np.testing.assert_allclose(found[METRICS[name]], loss, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
        assert {METRICS[name] for name in expected} == {name for name in found if name.count("/") == 1}
    assert_same(trial, game)


def test_an_sgd_update_of_the_imagenet_game_agrees_with_torch():
    trial = play(imagenet_config(), 1, log_scale=-1.0)
    minibatch = reference.MinibatchDiscrimination(9, 4, 3, halves=True)
    latents = [torch.tensor(each) for each in trial.latents[0]]
    game = imagenet_torch.Game(
        fill(
            imagenet_torch.Generator(7, (8, 6, 5), (3, 2, 1), 3, torch.zeros(5, latents[0].shape[1])),
            trial.before["generator"],
        ),
        fill(
            imagenet_torch.Discriminator((5, 6, 7), (2, 1, 2), 4 * 4 * 7, 9, CLASSES, minibatch),
            trial.before["discriminator"],
        ),
        LEARNING_RATE,
    )
    ((batch,), (own,)) = trial.batches[0]
    labels = torch.tensor(np.int64(batch.real.labels))
    losses = game.step(tensor(batch.real.images), labels, latents[0], tensor(own.real.images), latents[1])
    names = {"supervised": "d/semi_supervised", "adversarial": "d/non_saturating", "generator": "g/non_saturating"}
    for name, loss in losses.items():
        np.testing.assert_allclose(trial.metrics[0][names[name]], loss.item(), rtol=0, atol=TOLERANCE, err_msg=name)
    assert_same(trial, game)
