"""The experiments: what each variant switches, and that small ones train, from memory and from a stream, and resume."""

import importlib.util
import json
import re
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from igan.config import validate
from igan.errors import UserError
from igan.game import technique
from igan.reporting.mixtures import left_out
from igan.run import experiment, train
from tests.outcome import assert_same_arrays, newest

FOLDER = Path(__file__).parents[1] / "experiments"
PAGE = Path(__file__).parents[1] / "docs" / "experiments.md"
ABLATION = ("ours", "-vbn+bn", "-l+ha", "-ls", "-l", "-mbf")
VARIANTS = [
    *(("mnist", variant) for variant in ("", "unsupervised")),
    *(("cifar10", variant) for variant in ("", "feature_matching", "minibatch_discrimination", *ABLATION)),
    *(("svhn", variant) for variant in ("", "feature_matching", "minibatch_discrimination")),
    ("imagenet", ""),
    ("gans", ""),  # The others are in tests/test_gans.py.
    ("stacked_mnist", ""),  # The others are in tests/test_stacked_mnist.py.
    *(("growing", variant) for variant in ("", "pggan", "stylegan", "a", "b", "c", "d", "e", "f")),
    *(("growing", f"{variant}_narrow") for variant in ("pggan", "stylegan", "a", "b", "c", "d", "e", "f")),
    *(
        ("mixture", variant)
        for variant in ("", "grid", "spiral", "unrolled_ring", "unrolled_figure", "pacgan_ring", "pacgan_grid", "r3")
    ),
]


def get_config(name: str, variant: str = ""):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_variant_is_valid_and_says_what_it_is(name: str, variant: str) -> None:
    config = get_config(name, variant)
    validate(config)
    assert config.experiment == name
    assert config.variant == variant or not variant


@pytest.mark.parametrize("variant", ["pggan_narrow", "b_narrow", "f_narrow"])
def test_narrow_networks_grow_to_padded_digits(variant: str) -> None:
    """Of the embedded ones, of which an epoch has 4,000, in three games."""
    config = get_config("growing", variant)
    config.data.update(name="mnist", source="embedded", image_size=32, crop="pad")
    config.devices = 1
    config.networks.update(train_images=500, fade_images=500)
    built = experiment.build(config)
    assert built.dataset.space.shape == (32, 32, 1) and built.plan.stages[-1].name == "32 px"
    for player in (built.engine.state_shape.generator, built.engine.state_shape.discriminator):
        assert 3 * 10_000 < sum(leaf.size for leaf in jax.tree.leaves(player.params)) < 3 * 200_000


def test_every_experiment_is_listed_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {name for name, _ in VARIANTS}


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn", "imagenet"])
def test_an_unknown_variant_is_refused_with_the_known(name: str) -> None:
    with pytest.raises(UserError) as caught:
        get_config(name, "-msf")
    known = [variant for each, variant in VARIANTS if each == name and variant]
    assert all(variant in str(caught.value) for variant in known) and "\n" not in str(caught.value)


def test_the_rows_of_the_ablation_switch_what_the_page_says() -> None:
    switches = ("label_smoothing", "virtual_batch_norm", "minibatch_discrimination", "historical_averaging")
    for variant in ABLATION:
        row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{variant}` |"))
        labels, *cells = [cell.strip() for cell in row.split("|")[2:-1]]
        config = get_config("cifar10", variant)
        assert config.techniques.semi_supervised.enabled == (labels == "all") and config.labels_per_class == 0
        assert [config.techniques[name].enabled for name in switches] == [cell == "yes" for cell in cells], variant
        # What the rows have in common.
        assert not config.techniques.feature_matching.enabled and config.techniques.minimax.enabled
        assert (config.generator.steps, config.networks.input_noise, config.networks.input_dropout) == (3, 0.2, 0.0)


def test_the_papers_numbers() -> None:
    cifar10, svhn, imagenet = get_config("cifar10"), get_config("svhn"), get_config("imagenet")
    assert (cifar10.epochs, cifar10.labels_per_class, cifar10.batch_size) == (1200, 400, 100)
    assert (svhn.epochs, svhn.labels_per_class, svhn.data.name) == (900, 100, "svhn_cropped")
    assert svhn.networks.discriminator_widths == (64, 128)
    assert get_config("svhn", "minibatch_discrimination").networks.discriminator_widths == (96, 192)
    for config in (cifar10, svhn):
        assert config.generator.learning_rate == config.discriminator.learning_rate == 3e-4
        assert config.generator.constant_share == pytest.approx(2 / 3)
        assert config.techniques.feature_matching.distance == "absolute"
    targets = technique.targets(technique.load(imagenet.techniques))
    assert targets == (0.75, 0.375)
    assert imagenet.generator.learning_rate == 4e-4 and imagenet.batch_size == 64
    assert imagenet.techniques.minibatch_discrimination.to_dict() == {
        "enabled": True,
        "kernels": 300,
        "dimensions": 50,
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of twenty images of 16 x 16 pixels: noise around a colour."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for label, colour in enumerate(np.eye(3) * 120 + 60):
        (folder / f"class{label}").mkdir()
        for index in range(20):
            pixels = np.clip(colour + random.normal(0, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{index}.png")
    return folder


def shrink(config, pictures: Path):
    config.data.name = f"folder:{pictures}"
    config.devices = 1
    config.batch_size = 9
    config.initial_images = 12
    config.epochs = 2
    config.steps_per_chunk = 2  # Metrics are means over a chunk: the same ones, wherever a run was cut.
    config.evaluation.interval = config.checkpoint.interval = config.reporting.samples_interval = 100
    config.reporting.samples = 4
    config.networks.latent_size = 5
    config.networks.generator_widths = (6, 4)
    config.techniques.virtual_batch_norm.reference_size = 5
    config.techniques.minibatch_discrimination.kernels = 4
    return config


def small_cifar10(pictures: Path):
    config = shrink(get_config("cifar10", "-l+ha"), pictures)
    config.techniques.semi_supervised.enabled = True
    config.networks.discriminator_widths = (4, 5)
    for player in (config.generator, config.discriminator):
        player.constant_share = 1.0
    return config


def small_imagenet(pictures: Path):
    config = shrink(get_config("imagenet"), pictures)
    config.data.image_size = 16
    config.networks.generator_widths = (6, 5, 4)
    config.networks.noise_channels = (2, 1, 1)
    config.networks.discriminator_widths, config.networks.discriminator_strides = (4, 5), (2, 2)
    config.networks.dense_width = 7
    return config


def losses(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    named = [{name: value for name, value in line.items() if re.match("[dg]/", name)} for line in lines]
    return [line for line in named if line]


IN_MEMORY = pytest.param(small_cifar10, id="in memory", marks=pytest.mark.long("as that of tests/run/test_resume.py"))


@pytest.mark.parametrize("small", [IN_MEMORY, pytest.param(small_imagenet, id="streamed")])
def test_a_small_game_trains_and_resumes_bit_for_bit(small, pictures: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    summary = train.run(small(pictures), whole)
    assert summary["finished"] and summary["classes"] == 3
    shorter = small(pictures)
    shorter.epochs = 1
    train.run(shorter, parts)
    train.run(small(pictures), parts)
    (step, uninterrupted), (step_of_parts, resumed) = newest(whole), newest(parts)
    assert step == step_of_parts
    assert_same_arrays(uninterrupted, resumed)
    assert losses(whole) == losses(parts) != []
    grids = [np.asarray(Image.open(path), int) for path in sorted((whole / "samples").glob("*.png"))]
    assert np.abs(grids[0] - grids[-1]).max() > 0, "the samples do not change"


def test_a_folder_of_one_class_is_refused_for_labels(pictures: Path) -> None:
    config = small_cifar10(pictures / "class0")
    with pytest.raises(UserError, match="one class"):
        experiment.build(config)


def test_points_have_no_left_and_right() -> None:
    config = get_config("mixture", "ring")
    config.data.mirror = True
    with pytest.raises(UserError, match=r"data\.mirror=False with ring"):
        experiment.build(config)


def test_some_labels_of_a_stream_are_refused(pictures: Path) -> None:
    config = small_imagenet(pictures)
    config.labels_per_class = 2
    with pytest.raises(UserError, match="labels_per_class=0"):
        experiment.build(config)


def test_joint_networks_refuse_labels_drawn_apart(pictures: Path) -> None:
    config = small_imagenet(pictures)
    config.data.stream, config.labels_per_class = False, 2
    with pytest.raises(UserError, match="labels_per_class=0"):
        experiment.build(config)


def test_every_technique_is_in_the_table_of_mixtures_or_cannot_be() -> None:
    """With one objective for each player, and as many updates of the generator as the others have."""
    listed = runpy.run_path(str(FOLDER / "mixture.py"))
    played = {variant.removeprefix("ring-") for variant in listed["VARIANTS"] if variant.startswith("ring-")}
    assert played | left_out().keys() == set(technique.known()) and not played & left_out().keys()
    for variant in listed["VARIANTS"]:
        config = listed["get_config"](variant)
        validate(config)
        _, name = variant.split("-")
        assert config.techniques[name].enabled and config.replicas == 10
        assert config.epochs == 3 * config.discriminator.steps
        if variant.startswith("grid-"):
            with config.unlocked():
                config.data.name, config.devices = "grid:train=500", 1
            experiment.build(config)  # The networks give it what it needs.


def test_r3_at_the_scale_of_points() -> None:
    """The laboratory's ring with the recipe's numbers, of the generators as they are."""
    config, plain = get_config("mixture", "r3"), get_config("mixture", "ring")
    enabled = {name: each for name, each in config.techniques.items() if each.enabled}
    assert sorted(enabled) == ["r1", "r2", "relativistic"] and enabled["relativistic"].comparison == "pairing"
    assert enabled["r1"].gamma == enabled["r2"].gamma == 0.05
    for player in (config.discriminator, config.generator):
        assert (player.learning_rate, player.b1, player.b2, player.steps) == (2e-4, 0.0, 0.99, 1)
    for field in ("data", "networks", "batch_size", "epochs", "replicas", "evaluation", "average_rate"):
        assert config[field] == plain[field], field
    assert config.average_half_life == 0
    assert ":r3 " in (FOLDER / "mixture.py").read_text().split('"""')[1]


def test_the_games_of_papers_on_mixtures() -> None:
    """Metz et al. (2017), the authors' demo and figure 1; Lin et al. (2018), section 4.1."""
    demo, pacgan = get_config("mixture", "unrolled_ring"), get_config("mixture", "pacgan_grid")
    assert (demo.batch_size, demo.networks.latent_size, demo.networks.gain) == (512, 256, 1.4)
    assert (demo.discriminator.learning_rate, demo.generator.learning_rate) == (1e-4, 1e-3)
    assert demo.epochs * (100_000 // 512) == 24_960 and demo.techniques.minimax.enabled
    assert (pacgan.batch_size, pacgan.epochs, pacgan.networks.latent_size, pacgan.data.name) == (100, 400, 2, "grid")
    assert (pacgan.discriminator.b1, pacgan.generator.learning_rate) == (0.8, 1e-4)
    figure = get_config("mixture", "unrolled_figure")
    assert (figure.networks.discriminator_layers, figure.networks.input_divisor) == ((128,), 4)
    assert (figure.networks.gain, figure.networks.generator_activation) == (0.8, "relu")
    assert (figure.data.name, figure.techniques.unrolled.steps) == ("ring:radius=2:std=0.02", 10)
    assert 2 * figure.epochs * (100_000 // 512) == 24_960  # The paper counts steps of either player.
    for config in (demo, figure, pacgan):  # They judge 2,500 samples of the generators as they are.
        assert (config.average_rate, config.evaluation.images) == (1.0, 2500)
        # 1e-8 beside the root, where igan's default is the 2016 paper's 1e-8 inside it.
        assert config.discriminator.epsilon**0.5 == config.generator.epsilon**0.5 == pytest.approx(1e-8)
