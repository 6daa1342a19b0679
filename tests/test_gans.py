"""The recipes of published GANs: their numbers, and that each of them plays."""

import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import gans
from igan import models, recipes
from igan.config import validate
from igan.errors import UserError
from igan.game import optimizer, step, technique
from igan.run import experiment
from igan.types import Batch, Batches, Examples

# Discriminator's and generator's rate, b1, b2, steps of the discriminator, batches of both, whether the rates fall.
PUBLISHED = {
    "dcgan": (1e-4, 1e-4, 0.5, 0.999, 1, (64, 64), False),
    "ttur": (1e-4, 5e-4, 0.5, 0.999, 1, (64, 64), False),
    "lsgan": (2e-4, 2e-4, 0.5, 0.999, 2, (64, 64), False),
    "wgan": (5e-5, 5e-5, None, None, 5, (64, 64), False),
    "wgan_gp": (1e-4, 1e-4, 0.5, 0.9, 5, (64, 64), False),
    "wgan_gp_resnet": (2e-4, 2e-4, 0.0, 0.9, 5, (64, 128), True),
    "dragan": (1e-4, 1e-4, 0.5, 0.9, 1, (64, 64), False),
    "sngan": (2e-4, 2e-4, 0.5, 0.999, 1, (64, 64), False),
    "sngan_resnet": (2e-4, 2e-4, 0.0, 0.9, 5, (64, 128), True),
    "began": (1e-4, 1e-4, 0.9, 0.999, 1, (16, 16), True),
    "unrolled": (2e-4, 1e-4, 0.5, 0.99, 1, (128, 128), False),
    "minibatch": (2e-4, 2e-4, 0.5, 0.999, 1, (64, 64), False),
    "r3": (2e-4, 2e-4, 0.0, 0.99, 1, (512, 512), False),
    "r3gan": (2e-4, 2e-4, 0.0, 0.9, 1, (512, 512), False),
    "sngan_projection": (2e-4, 2e-4, 0.0, 0.9, 5, (64, 128), True),
    "sagan": (2e-4, 2e-4, 0.5, 0.999, 5, (64, 64), False),
    "sagan_128": (4e-4, 1e-4, 0.0, 0.9, 1, (256, 256), False),
    "biggan": (2e-4, 2e-4, 0.5, 0.999, 5, (64, 64), False),
    "biggan_128": (2e-4, 5e-5, 0.0, 0.999, 2, (2048, 2048), False),
}
TECHNIQUES = {
    "dcgan": ["non_saturating"],
    "ttur": ["non_saturating"],
    "lsgan": ["least_squares"],
    "wgan": ["wasserstein"],
    "wgan_gp": ["gradient_penalty", "wasserstein"],
    "wgan_gp_resnet": ["gradient_penalty", "wasserstein"],
    "dragan": ["dragan", "non_saturating"],
    "sngan": ["hinge", "spectral_norm"],
    "sngan_resnet": ["hinge", "spectral_norm"],
    "began": ["boundary_equilibrium"],
    "unrolled": ["minimax", "unrolled"],
    "minibatch": ["minibatch_discrimination", "non_saturating"],
    "r3": ["r1", "r2", "relativistic"],
    "r3gan": ["adaptive_augment", "label_embedding", "r1", "r2", "relativistic"],
    "sngan_projection": ["conditional_batch_norm", "hinge", "projection", "spectral_norm"],
    "sagan": ["conditional_batch_norm", "hinge", "projection", "self_attention", "spectral_norm"],
    "sagan_128": ["conditional_batch_norm", "hinge", "projection", "self_attention", "spectral_norm"],
    "biggan": ["hinge", "orthogonal", "projection", "self_attention", "spectral_norm"],
    "biggan_128": ["hinge", "orthogonal", "projection", "self_attention", "spectral_norm"],
}
assert set(PUBLISHED) == set(TECHNIQUES) == set(gans.SETUPS) == set(recipes.KNOWN)
READY = [
    name
    for name, needed in TECHNIQUES.items()
    if set(needed) <= set(technique.known()) and gans.SETUPS[name].networks in models.known()
]
each_ready = pytest.mark.parametrize("name", READY)


@each_ready
def test_a_recipe_has_its_papers_numbers(name):
    config = gans.get_config(name)
    validate(config)
    discriminator, generator, b1, b2, steps, batches, falls = PUBLISHED[name]
    players = (config.discriminator, config.generator)
    assert [player.learning_rate for player in players] == [discriminator, generator]
    assert [player.steps for player in players] == [steps, 1]
    assert (config.batch_size, config.generator.batch_size or config.batch_size) == batches
    for player in players:
        assert player.optimizer == ("adam" if b1 is not None else "rmsprop")
        assert b1 is None or (player.b1, player.b2) == (b1, b2)
        assert player.constant_share == (0.0 if falls else 1.0)
    assert sorted(key for key, each in config.techniques.items() if each.enabled) == TECHNIQUES[name]
    assert config.average_rate == 1.0 or "biggan" in name
    assert config.average_half_life == (5e6 if name in ("r3", "r3gan") else 0)
    conditional = "projection" in TECHNIQUES[name]
    assert (config.generated_labels == "uniform") == conditional
    assert (config.labels_per_class == 0) == (conditional or name == "r3gan")


@each_ready
def test_epochs_are_the_papers_updates_to_half_an_epoch(name):
    config, setup = gans.get_config(name), gans.SETUPS[name]
    images = 1_281_167 if name.endswith("_128") else 50_000
    an_epoch = images // (config.batch_size * config.discriminator.steps)
    assert abs(config.epochs * an_epoch - setup.updates) <= an_epoch / 2


def test_variants_of_128_pixels_are_of_imagenet():
    for name in READY:
        data = gans.get_config(name).data
        expected = ("imagenet2012", True, 128) if name.endswith("_128") else ("cifar10", False, 0)
        assert (data.name, data.stream, data.image_size) == expected


def test_images_are_mirrored_where_the_published_numbers_are_of_such():
    assert [name for name in READY if gans.get_config(name).data.mirror] == ["r3gan", "sagan", "biggan"]


@pytest.mark.parametrize(
    ("updates", "batch_size", "steps", "images", "expected"),
    [
        (100_000, 64, 1, 50_000, 128),  # 781 updates an epoch.
        (100_000, 64, 5, 50_000, 641),  # 156, because the discriminator sees five batches in each.
        (3, 64, 5, 50_000, 1),
        (10, 64, 1, 20, 10),  # Fewer images than a batch are refused elsewhere.
    ],
)
def test_updates_become_epochs_of_the_discriminator(updates, batch_size, steps, images, expected):
    assert recipes.epochs(updates, batch_size, steps, images) == expected


def test_two_time_scales_are_in_the_order_of_the_paper():
    """b, of the discriminator, comes first: 1e-4, 5e-4."""
    config = gans.get_config("ttur")
    assert (config.discriminator.learning_rate, config.generator.learning_rate) == (1e-4, 5e-4)
    assert config.discriminator.steps == config.generator.steps == 1


def test_a_rate_that_falls_is_halved_in_the_middle_of_each_players_steps(pictures):
    """In the middle of a run it is 1e-4 for both, though one has done twice as many steps."""
    config = narrow("wgan_gp_resnet", pictures)
    config.epochs, config.steps_per_chunk = 50, 1
    config.discriminator.optimizer = config.generator.optimizer = "sgd"
    built = experiment.build(config)
    assert built.total_updates == 100 and built.plan.steps == (2, 1)
    for descent, steps in ((built.game.discriminator_optimizer, 2), (built.game.generator_optimizer, 1)):
        state = jax.tree.map(lambda leaf, steps=steps: leaf + 50 * steps, descent.init({"weight": np.float32(0)}))
        updates, _ = descent.update({"weight": np.float32(1)}, state)
        np.testing.assert_allclose(updates["weight"], -1e-4, rtol=1e-5)


def test_epsilon_is_that_of_the_released_codes():
    """Beside the root of the second moment they have 1e-8: a gradient of 1e-6 is far above it, and a whole step."""
    config = gans.get_config("dcgan")
    descent = optimizer.make(config.discriminator, 10)
    for size, expected in ((1e-6, 1.0), (1e-8, 1 / math.sqrt(2))):
        updates, _ = descent.update({"weight": np.float32(size)}, descent.init({"weight": np.float32(0)}))
        np.testing.assert_allclose(updates["weight"], -1e-4 * expected, rtol=0.02)


def test_the_average_of_r3_has_a_half_life_of_five_million_images():
    if "r3" in READY:
        assert gans.get_config("r3").average_half_life == 5_000_000


def test_the_docstring_lists_every_variant():
    rows = re.findall(r"^    (\w+) .* not yet$", gans.__doc__, re.MULTILINE)
    assert rows == list(gans.SETUPS)


def test_the_page_lists_every_variant_and_family():
    text = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `experiments/gans.py"))
    assert re.findall(r":(\w+)`", row) == list(gans.SETUPS)
    rows = re.findall(r"^\| \[`(\w+)`\]\(\.\./igan/models/(\w+)\.py\)", text, re.MULTILINE)
    assert sorted(rows) == [(family, family) for family in models.known()]


def test_an_unknown_variant_is_refused_with_the_known():
    with pytest.raises(UserError, match="sngan_resnet") as caught:
        gans.get_config("sgnan")
    assert "\n" not in str(caught.value) and gans.get_config().variant == "dcgan"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Twenty images of 8 x 8 pixels."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for index in range(20):
        path = folder / f"class_{index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return folder


NARROW = {
    "dcgan": {"generator_widths": (5, 4), "discriminator_widths": (4, 5)},
    "resnet": {"generator_widths": (4, 4), "discriminator_widths": (4, 4), "discriminator_halvings": 1},
    "r3gan": {"widths": (4, 4), "blocks": 1, "group_size": 4},
    "biggan": {
        "piece_size": 3,
        "embedding_size": 2,
        "generator_widths": (4, 8),
        "discriminator_widths": (8, 4),
        "discriminator_halvings": 1,
    },
}


def narrow(name: str, pictures: Path):
    config = gans.get_config(name)
    config.data.name = f"folder:{pictures}"
    config.devices, config.batch_size, config.initial_images, config.epochs = 1, 4, 6, 2
    config.generator.batch_size = 8 if config.generator.batch_size else 0
    config.accumulate, config.data.image_size, config.data.crop = 1, 0, "none"
    config.techniques.self_attention.update(generator_resolution=8, discriminator_resolution=4)
    config.techniques.adaptive_augment.policy = ("color",)  # Slopes through what moves pixels take long to compile.
    if config.networks.name != "biggan":
        config.networks.latent_size = 5
    config.networks.update(NARROW.get(config.networks.name, {}))
    config.discriminator.steps = min(2, config.discriminator.steps)
    return config


# The others have the networks of one of these, or half a minute of compiling and tests of their updates elsewhere.
PLAYED = ("dcgan", "wgan_gp", "sngan_resnet", "began", "unrolled", "minibatch")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long("ten seconds each")] * (name not in PLAYED)) for name in READY]
)
def test_a_recipe_plays_two_updates(name, pictures):
    config = narrow(name, pictures)
    game = experiment.build(config).game
    random = np.random.default_rng(0)

    def batch(size: int) -> Batch:
        labels = np.arange(size, dtype=np.int32) % 2 if game.networks.classes else None
        return Batch(Examples(random.uniform(-1, 1, (size, 8, 8, 3)).astype(np.float32), labels))

    batches = Batches((batch(4),) * config.discriminator.steps, (batch(config.generator.batch_size or 4),))
    start = jax.jit(lambda key, real: step.initialize(game, key, real))
    update = jax.jit(lambda state, batches: step.update(game, state, batches))
    state = before = start(jax.random.key(0), batch(6).real)
    for _ in range(2):
        state, metrics = update(state, batches)
        assert all(np.isfinite(each) for each in metrics.values()), metrics
    for player in ("generator", "discriminator"):
        old, new = (getattr(each, player) for each in (before, state))
        moved = [bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (old.params, new.params)), strict=True)]
        assert np.mean(moved) > 0.5, player
        if config.average_rate == 1.0 and not config.average_half_life:
            for one, other in zip(*map(jax.tree.leaves, (new.params, new.average)), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
