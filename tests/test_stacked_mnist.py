"""The games of stacked MNIST: their numbers, their networks' sizes, and that each plays and is scored."""

import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import stacked_mnist
from igan import evaluate, models
from igan.config import validate
from igan.data import space
from igan.errors import UserError
from igan.game import step
from igan.metrics.extract import FeatureNetwork
from igan.run import experiment, scoring, train
from igan.types import Batch, Batches, Examples
from tests.models.inspection import count, shapes

each_variant = pytest.mark.parametrize("variant", stacked_mnist.VARIANTS)


def enabled(config) -> dict[str, dict]:
    return {name: fields.to_dict() for name, fields in config.techniques.items() if fields.enabled}


@pytest.mark.parametrize(("variant", "packs"), [("dcgan", 1), ("pacgan2", 2), ("pacgan3", 3), ("pacgan4", 4)])
def test_veegans_game_has_its_numbers(variant, packs):
    """50 epochs of 2,000 updates of 64 packs, and two steps of the generator in each."""
    config = stacked_mnist.get_config(variant)
    validate(config)
    assert (config.batch_size, config.generator.batch_size) == (64 * packs, 0)
    assert config.epochs * (128_000 // config.batch_size) == pytest.approx(100_000, rel=2e-3)
    for player, steps in ((config.discriminator, 1), (config.generator, 2)):
        assert (player.learning_rate, player.b1, player.b2, player.steps) == (2e-4, 0.5, 0.999, steps)
    assert set(enabled(config)) == {"non_saturating"} | ({"packing"} if packs > 1 else set())
    assert packs == 1 or config.techniques.packing.images == packs
    assert config.evaluation.images == 26_000 and config.average_rate == 1.0


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize(
    ("ahead", "techniques"),
    [
        ("", {"non_saturating"}),
        ("-k0", {"minimax"}),
        ("-k1", {"minimax", "unrolled"}),
        ("-k5", {"minimax", "unrolled"}),
        ("-k10", {"minimax", "unrolled"}),
    ],
)
def test_the_unrolled_game_has_its_numbers(size, ahead, techniques):
    config = stacked_mnist.get_config(size + ahead)
    validate(config)
    assert config.batch_size == 128 and config.epochs * (128_000 // 128) == 500_000
    assert (config.discriminator.learning_rate, config.generator.learning_rate) == (2e-4, 1e-4)
    for player in (config.discriminator, config.generator):
        assert (player.b1, player.b2, player.steps) == (0.5, 0.99, 1)
    assert set(enabled(config)) == techniques
    assert "unrolled" not in techniques or config.techniques.unrolled.steps == int(ahead.removeprefix("-k"))
    assert config.evaluation.images == 25_600 and config.average_rate == 1.0


@pytest.mark.parametrize(
    ("variant", "generator", "discriminator"),
    [
        ("tiny-k5", 287_875, 585),
        ("small-k0", 287_875, 1_889),
        ("dcgan", 4_514_819, 4_310_401),  # As of 32 pixels: 28, 14, 7, 4 and 2 end as small.
    ],
)
def test_networks_have_the_papers_numbers_of_parameters(variant, generator, discriminator):
    config = stacked_mnist.get_config(variant)
    networks = models.load(config.networks.to_dict(), space.images((28, 28, 3)), None, {})
    params, _, images = shapes(networks.generator, 2, config.networks.latent_size)
    assert (count(params), images.shape) == (generator, (2, 28, 28, 3))
    params, _, critique = shapes(networks.discriminator, 2, 28, 28, 3)
    assert (count(params), critique.logits.shape) == (discriminator, (2,))


def test_packs_are_channels_of_the_first_layer_alone():
    config = stacked_mnist.get_config("pacgan4")
    networks = models.load(config.networks.to_dict(), space.images((28, 28, 3)), None, {})
    params, _, _ = shapes(networks.discriminator, 2, 28, 28, 12)
    assert count(params) == 4_310_401 + 9 * 25 * 64


def test_every_variant_is_listed_with_what_was_published():
    rows = re.findall(r"^    ([\w-]+) {2,}\S.*?  +([\d.]+(?: ± [\d.]+)?) +[\d.]+", stacked_mnist.__doc__, re.MULTILINE)
    assert [name for name, _ in rows] == list(stacked_mnist.VARIANTS)
    assert dict(rows)["small-k5"] == "732.0 ± 44.98" and dict(rows)["pacgan2"] == "1000.0 ± .00"
    text = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `experiments/stacked_mnist.py"))
    assert re.findall(r":([\w-]+)`", row) == list(stacked_mnist.VARIANTS)


@pytest.mark.parametrize("variant", ["small-k3", "small_k5", "pacgan5", "small-k", "k5"])
def test_an_unknown_variant_is_refused_with_the_known(variant):
    with pytest.raises(UserError, match="small-k5") as caught:
        stacked_mnist.get_config(variant)
    assert "\n" not in str(caught.value) and stacked_mnist.get_config().variant == "dcgan"


def narrow(variant: str):
    """The game with narrow networks for small images, and batches of four packs."""
    config = stacked_mnist.get_config(variant)
    packs = stacked_mnist.PACKS.get(variant, 1)
    config.devices, config.batch_size, config.initial_images, config.epochs = 1, 4 * packs, 6 * packs, 2
    config.networks.latent_size = 5
    config.networks.generator_widths = (6, 5, 4) if config.networks.generator_ends_plain else (5, 4)
    config.networks.discriminator_widths = (4, 5)
    return config


# What the others differ in from these, once networks are narrow, is a number: of a pack's images, or of steps ahead.
PLAYED = ("dcgan", "pacgan3", "tiny", "tiny-k0", "small-k5")


@each_variant
def test_a_variant_plays_two_updates(variant, pictures):
    config = narrow(variant)
    config.data.name, config.evaluation.scores = f"folder:{pictures}", ()
    game = experiment.build(config).game
    random = np.random.default_rng(0)

    def batch(size: int) -> Batch:
        return Batch(Examples(random.uniform(-1, 1, (size, 8, 8, 3)).astype(np.float32)))

    size = config.batch_size
    batches = Batches((batch(size),), (batch(size),) * config.generator.steps)
    start = jax.jit(lambda key, real: step.initialize(game, key, real))
    update = jax.jit(lambda state, batches: step.update(game, state, batches))
    real = batch(config.initial_images).real
    if variant not in PLAYED:
        before = jax.eval_shape(start, jax.random.key(0), real)
        assert jax.tree.structure(jax.eval_shape(update, before, batches)[0]) == jax.tree.structure(before)
        return
    state = before = start(jax.random.key(0), real)
    for _ in range(2):
        state, metrics = update(state, batches)
        assert all(np.isfinite(each) for each in metrics.values()), metrics
    for player in ("generator", "discriminator"):
        old, new = (getattr(each, player).params for each in (before, state))
        moved = [bool((a != b).any()) for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)]
        assert np.mean(moved) > 0.5, player


def shade(params, images, levels):
    """The digit that the brightest column of pixels says."""
    assert images.shape[1:] == (28, 28, 1)
    return dict.fromkeys(levels, images.astype(jnp.float32).mean(axis=(1, 3))[:, :10])


@pytest.fixture
def few(monkeypatch):
    """Stacked digits, a few of them, and a judge that is quick."""
    stack = scoring.data.sources.stacked.stack
    monkeypatch.setattr("igan.data.sources.stacked.stack", functools.partial(stack, train=40, test=5))
    asked = []

    def load(name, images, labels):
        asked.append((name, images.shape, labels.max()))
        return FeatureNetwork("shade", ("logits", "classifier"), {}, shade)

    monkeypatch.setattr(scoring.image_classifier, "load", load)
    return asked


def small_run():
    config = narrow("tiny-k0")
    config.data.source = "embedded"
    config.networks.generator_widths = (6, 5, 4, 3)
    config.replicas, config.epochs, config.batch_size, config.steps_per_chunk = 2, 2, 8, 5
    config.evaluation.scores_interval, config.evaluation.images = 5, 70
    config.reporting.samples = 4
    return config


def by_hand(images: np.ndarray) -> tuple[int, float]:
    """Modes and the divergence of images, one after the other."""
    seen: dict[tuple[int, ...], int] = {}
    for image in images:
        mode = tuple(int(np.argmax(image[:, :10, channel].astype(float).mean(axis=0))) for channel in range(3))
        seen[mode] = seen.get(mode, 0) + 1
    shares = [times / len(images) for times in seen.values()]
    return len(seen), sum(share * np.log(1000 * share) for share in shares)


@pytest.mark.long("half a minute")
def test_a_run_is_scored_by_a_judge_of_single_digits(few, tmp_path, capsys):
    summary = train.run(small_run(), tmp_path)
    assert summary["finished"] and summary["dataset"] == "stacked_mnist5k"
    assert few == [("mnist5k", (4000, 28, 28, 1), 9)]  # Of the digits, not of a thousand classes.
    assert set(summary["scores"]) == {"modes", "reverse_kl"}
    protocol = summary["scores"]["modes"]["protocol"]
    assert re.fullmatch(
        r"70 samples, 1,000 modes, each channel's digit by shade, which errs in \d+ of 1,000 test digits"
        r"; batch statistics, if any, of \d+ latents",
        protocol,
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "scores/modes" in line] == [5, 10]
    # It goes on with the digits that it began with, and is opened with them.
    assert json.loads((tmp_path / "config.json").read_text())["data"]["source"] == "embedded"
    capsys.readouterr()
    command = [f"--workdir={tmp_path}", "--scores=modes,reverse_kl", "--json"]
    assert evaluate.main(command) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == summary["scores"]
    config = small_run()
    built = experiment.build(config)
    _, state = evaluate.restore(tmp_path, built, best=False)
    draw = scoring.make_draw(built)
    for replica in range(2):
        modes, divergence = by_hand(draw(state, replica, 70).read(0, 70))
        assert summary["scores"]["modes"]["value"][replica] == modes > 1
        assert summary["scores"]["reverse_kl"]["value"][replica] == pytest.approx(divergence)


def test_scores_of_other_data_are_refused(few, small):
    config = small_run()
    built = experiment.build(config)
    config.evaluation.scores = ("modes", "high_quality")
    with pytest.raises(
        UserError, match="high_quality is a score of points, and the data are stacked_mnist5k: use modes,reverse_kl"
    ):
        scoring.check(config, built)
    config.evaluation.scores, config.evaluation.best = ("modes",), "reverse_kl"
    with pytest.raises(UserError, match=r"evaluation\.best=reverse_kl is not among the scores"):
        scoring.check(config, built)
    small.evaluation.scores = ("modes",)
    with pytest.raises(UserError, match=r"modes is a score of mixtures, and mnist5k is none: .*=stacked_mnist"):
        scoring.check(small, experiment.build(small))
    assert few == []  # Nothing was trained for it.
