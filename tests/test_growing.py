"""The recipes of networks that grow: their papers' numbers."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import growing
from igan import recipes
from igan.config import validate
from igan.errors import UserError
from igan.game import optimizer
from igan.game.schedule import Schedule
from igan.game.stages import complete_stages
from igan.models import growth

PARTS = ["equalized_rate", "minibatch_stddev"]
WGAN = ["drift", "gradient_penalty", "pixel_norm", "wasserstein", *PARTS]
STYLE = ["non_saturating", "r1", *PARTS]
TECHNIQUES = {
    "pggan": WGAN,
    "stylegan": [*STYLE, "style_mixing"],
    "a": WGAN,
    "b": [*STYLE, "pixel_norm"],
    "c": STYLE,
    "d": STYLE,
    "e": STYLE,
    "f": [*STYLE, "style_mixing"],
}
# Mapping layers, styles, a constant, noise: each row of the table has one thing more.
ROWS = {
    "b": (0, False, False, False),
    "c": (8, True, False, False),
    "d": (8, True, True, False),
    "e": (8, True, True, True),
    "f": (8, True, True, True),
}
assert TECHNIQUES.keys() == growing.SETUPS.keys()


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_recipe_has_its_papers_numbers(name):
    config = growing.get_config(name)
    validate(config)
    for player in (config.discriminator, config.generator):
        assert (player.optimizer, player.learning_rate, player.b1, player.b2) == ("adam", 1e-3, 0.0, 0.99)
        assert player.steps == 1 and player.constant_share == 1.0
    assert sorted(key for key, each in config.techniques.items() if each.enabled) == sorted(TECHNIQUES[name])


def test_the_numbers_of_cifar10():
    config = growing.get_config("pggan")
    penalty = config.techniques.gradient_penalty
    assert penalty.strength == pytest.approx(10 / 750**2) and penalty.target == 750
    assert config.techniques.minibatch_stddev.group == 0 and config.techniques.drift.strength == 1e-3
    made = growth.stages(4, 32, config.networks.train_images, config.networks.fade_images, config.networks.batch_sizes)
    made = complete_stages(made, (config.batch_size,) * 2, (1, 1))
    assert [stage.consumed[0] for stage in made] == [400_000 * index for index in range(7)]
    assert config.epochs * 50_000 == 20_000_000 and config.average_rate == 1e-3


def test_the_batches_of_stylegan():
    config = growing.get_config("stylegan")
    made = growth.stages(8, 128, 600_000, 600_000, config.networks.batch_sizes)
    assert [stage.batch_sizes[0] for stage in made] == [256, 128, 128, 64, 64, 32, 32, 32, 32]
    assert config.techniques.r1.gamma == 10 and config.techniques.r1.interval == 16
    assert config.average_half_life == 10_000


def test_the_rates_of_stylegan_are_higher_for_larger_images():
    """1e-3; 1.5e-3 for 128 pixels, 2e-3 for 256, 3e-3 above: from the first update on in which these fade in."""
    config = growing.get_config("stylegan")
    factors, sizes = config.networks.rate_factors, config.networks.batch_sizes
    made = complete_stages(growth.stages(8, 1024, 600_000, 600_000, sizes, factors), (64, 64), (1, 1))
    descent = optimizer.make({**config.generator, "optimizer": "sgd"}, 10**6, Schedule(made))
    zero = {"weight": np.float32(0)}

    def rate(step: int) -> float:
        state = jax.tree.map(lambda leaf: leaf + step, descent.init(zero))
        return -float(descent.update({"weight": np.float32(1)}, state)[0]["weight"])

    expected = {8: 1e-3, 16: 1e-3, 32: 1e-3, 64: 1e-3, 128: 1.5e-3, 256: 2e-3, 512: 3e-3, 1024: 3e-3}
    for stage in made:
        wanted = expected[growth.side_at(stage, 8)]
        assert [rate(stage.start), rate(stage.start + 7)] == pytest.approx([wanted] * 2)


@pytest.mark.parametrize("name", ROWS)
def test_the_rows_of_the_table_take_one_step_each(name):
    networks = growing.get_config(name).networks
    found = (networks.mapping_layers, networks.styles_of_layers, networks.constant_input, networks.noise)
    assert found == ROWS[name]


def test_stylegan_is_row_f():
    one, other = growing.get_config("stylegan"), growing.get_config("f")
    other.variant = "stylegan"
    assert one == other


def test_the_docstring_lists_every_variant_and_the_page_knows_them():
    assert re.findall(r"^    (\w+) .*not yet$", growing.__doc__, re.MULTILINE) == list(growing.SETUPS)
    assert set(recipes.GROWING) == {setup.recipe for setup in growing.SETUPS.values()}
    text = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text()
    assert "`experiments/growing.py:pggan`, `:stylegan`, `:a` to `:f`" in text
    assert all(f"](../igan/models/{family}.py)" in text for family in ("progressive", "style"))


def test_an_unknown_variant_is_refused_with_the_known():
    with pytest.raises(UserError, match="stylegan") as caught:
        growing.get_config("styelgan")
    assert "\n" not in str(caught.value) and growing.get_config().variant == "pggan"
