"""A class-conditional run: two replicas, stopped and resumed; images by class."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from igan import evaluate, sample
from igan.config import default
from igan.data import embedded
from igan.errors import UserError
from igan.evaluate import restore
from igan.game import inference
from igan.metrics.extract import FeatureNetwork
from igan.metrics.frechet_distance import intra_distance, moments
from igan.metrics.score import Score
from igan.run import drawing, experiment, scoring, train

pytestmark = pytest.mark.filterwarnings("ignore:Fréchet distances of classes with only")


def game(epochs=2):
    config = default("resnet")
    config.data.source = "embedded"
    config.devices, config.replicas = 2, 2
    config.batch_size, config.initial_images, config.epochs, config.steps_per_chunk = 20, 20, epochs, 2
    config.networks.update(
        latent_size=3, generator_widths=(2, 2), discriminator_widths=(2,), discriminator_halvings=1, last_bias=True
    )
    config.average_rate, config.generator.learning_rate = 1.0, 0.05  # So that classes differ soon.
    config.labels_per_class, config.generated_labels = 0, "uniform"
    for name in ("hinge", "conditional_batch_norm", "projection"):
        config.techniques[name].enabled = True
    config.checkpoint.interval = config.reporting.samples_interval = 4
    config.evaluation.interval = 1000
    config.reporting.samples = 10
    config.evaluation.images, config.evaluation.scores_interval = 45, 1000  # The last update alone.
    return config


def judge_of_pixels(params, images, levels):
    """Instead of a classifier that takes its time to learn."""
    return dict.fromkeys(levels, images.reshape(len(images), -1)[:, 1000:1005].astype(jnp.float32))


JUDGE = FeatureNetwork("a judge", ("logits", "classifier"), {}, judge_of_pixels)


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setattr(scoring.image_classifier, "load", lambda name, images, labels: JUDGE)


@pytest.fixture(scope="module", autouse=True)
def few_digits():
    """Eight of each class to train on, which are four updates an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "TRAIN_PER_CLASS", 8)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, few_digits):
    folder = tmp_path_factory.mktemp("conditional")
    train.run(game(epochs=1), folder / "run")
    train.run(game(), folder / "run")
    whole = game()
    whole.evaluation.scores = ("intra_fid_classifier",)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Fréchet distances of classes")
        patch.setattr(scoring.image_classifier, "load", lambda name, images, labels: JUDGE)
        train.run(whole, folder / "whole")
    return folder


def test_a_run_that_was_resumed_is_the_same(run):
    states = [restore(run / name, experiment.build(game()), best=False) for name in ("run", "whole")]
    assert states[0][0] == states[1][0] == 8
    one, other = (jax.tree.leaves(state._replace(key=jax.random.key_data(state.key))) for _, state in states)
    for leaf, twin in zip(one, other, strict=True):
        np.testing.assert_array_equal(leaf, twin)


def test_a_picture_has_a_row_for_each_class(run, tmp_path):
    command = [f"--workdir={run / 'run'}", "--count=19", "--class=all", "--truncation=0.5", "--standing_passes=2"]
    assert sample.main(command) == 0
    assert sample.main([*command[:1], "--count=20", *command[2:], f"--output={tmp_path / 'all.npz'}"]) == 0
    with Image.open(run / "run" / "classes.png") as picture, np.load(tmp_path / "all.npz") as archive:
        assert picture.size == (2 * 29 - 1, 10 * 29 - 1)  # As many of each: 20.
        # The second image of class 3 is image 13, and stands in its row.
        np.testing.assert_array_equal(np.asarray(picture)[3 * 29 : 3 * 29 + 28, 29:], archive["images"][13, ..., 0])


def test_an_image_of_a_class_is_the_same_alone_and_among_others(run, tmp_path):
    drawn = {}
    for classes in ("3", "3,5", "4"):
        path = tmp_path / f"{classes}.npz"
        assert sample.main([f"--workdir={run / 'run'}", "--count=4", f"--class={classes}", f"--output={path}"]) == 0
        with np.load(path) as archive:
            drawn[classes] = archive["images"].astype(int)
    assert np.abs(drawn["3"][::2] - drawn["3,5"][::2]).max() <= 1
    assert np.abs(drawn["3"] - drawn["4"]).max() > 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--class=10", "there is no class 10: use --class=0 to 9"),
        ("--class=cat", "--class=cat: expected the number of a class"),
        ("--truncation=0", "--truncation=0: expected a number above 0"),
        ("--truncation=nan", "--truncation=nan: expected a number above 0"),
        ("--standing_passes=0", "--standing_passes=0: expected a whole number"),
        ("--psi=0.7", "have normal latents, which --truncation=0.5 draws again, and no --psi, which is of styles"),
        ("--psi=-1", "--psi=-1: expected a number from 0 to 10"),
        ("--psi=half", "--psi=half: expected a number from 0 to 10"),
        ("--psi_layers=8", "--psi_layers=8: expected a number of layers from 1 to 100, beside --psi=0.7"),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_a_line(run, capsys, argument, message):
    assert sample.main([f"--workdir={run / 'run'}", "--count=1", argument]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and error[-1].startswith("error: ")


def test_scores_at_several_truncations_are_a_table_a_curve_and_no_summary(run, capsys, monkeypatch):
    def make(config, built, options):
        return lambda state, is_stopping, *_: {
            name: scoring._together([Score(options["truncation"] * factor, None, "of 2 images")], options, 20)
            for name, factor in (("fid", 2.0), ("inception_score", -1.0))
        }

    monkeypatch.setattr(scoring, "make", make)
    before = (run / "run" / "summary.json").read_text()
    command = [f"--workdir={run / 'run'}", "--scores=fid,inception_score", "--truncation=0.5,1", "--standing_passes=3"]
    assert evaluate.main(command) == 0
    printed = capsys.readouterr().out
    assert "truncation=0.5 standing_passes=3  fid 1  inception_score -0.5" in printed
    assert "fid: of 2 images; batch statistics, if any, of 20 latents; standing_passes=3; truncation=1" in printed
    written = json.loads((run / "run" / "tradeoff.json").read_text())
    assert [row["truncation"] for row in written["rows"]] == [0.5, 1.0]
    with Image.open(run / "run" / "tradeoff.png") as picture:
        assert picture.format == "PNG"
    assert (run / "run" / "summary.json").read_text() == before


def test_each_class_is_scored_by_itself_while_training_and_afterwards(run, judge, capsys):
    """45 images are four of each of ten classes, against all training images of each."""
    trained = json.loads((run / "whole" / "summary.json").read_text())["scores"]["intra_fid_classifier"]
    assert evaluate.main([f"--workdir={run / 'whole'}", "--scores=intra_fid_classifier", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]["intra_fid_classifier"]
    assert found["protocol"] == trained["protocol"]
    assert found["value"] == pytest.approx(trained["value"], rel=1e-3)  # On eight devices, not two.
    built = experiment.build(game())
    _, state = restore(run / "whole", built, best=False)
    labels = built.dataset.train_labels
    real = built.dataset.train_images.repeat(3, axis=3)
    for replica in range(2):
        images = drawing.make_draw(built, {}, tuple(range(10)))(state, replica, 40).read(0, 40)
        sides = [
            [moments([np.asarray(judge_of_pixels({}, each[of == label], ["one"])["one"])]) for label in range(10)]
            for each, of in ((images, np.arange(40) % 10), (real, labels))
        ]
        expected = intra_distance(*sides, "a judge, features of its last hidden layer; reference mnist5k train")
        assert found["value"][replica] == pytest.approx(expected.value, rel=1e-4)
    assert found["protocol"] == f"{expected.protocol}; batch statistics, if any, of 20 latents"
    assert "mean over 10 classes, each of 4 against " in found["protocol"]


def test_scores_within_classes_are_refused_without_labels_or_with_too_few_images(small):
    small.labels_per_class, small.evaluation.scores = 8, ("intra_fid_classifier",)
    with pytest.raises(UserError, match="networks of this run are given no labels: leave it out, or") as refused:
        scoring.check(small, experiment.build(small))
    assert "\n" not in str(refused.value)
    config = game()
    config.evaluation.scores, config.evaluation.images = ("intra_fid",), 19
    built = experiment.build(config)
    with pytest.raises(UserError, match=r"19 are not that for 10 classes: set --config.evaluation.images=20"):
        scoring.check(config, built)
    config.evaluation.images, config.evaluation.reference_images = 20, 12
    with pytest.raises(UserError, match=r"class \d has [01]: set --config.evaluation.reference_images=0"):
        scoring.check(config, built)


def test_a_row_between_two_images_is_of_one_class(monkeypatch):
    """The class of its first image, or the classes asked for in turn: half of a row must not change its kind."""
    built = experiment.build(game())
    state, seen = built.engine.initialize(1), []

    def draw(networks, params, variables, turn, key, latents, labels, options):
        jax.debug.callback(lambda labels: seen.append(np.asarray(labels)), labels)
        return jnp.zeros((len(latents), 28, 28, 1))

    def labels_of(count, *arguments):
        seen.clear()
        drawing.make_draw(built, {}, *arguments)(state, 0, count).read(0, count)
        jax.effects_barrier()
        return np.concatenate(seen)[:count]

    monkeypatch.setattr(inference, "freeze", lambda networks, params, variables, *rest: variables)
    monkeypatch.setattr(inference, "sample", draw)
    own = labels_of(24)
    assert np.any(own[::2] != own[1::2])
    np.testing.assert_array_equal(labels_of(36, (), 3).reshape(12, 3), own[::2, None].repeat(3, 1))
    np.testing.assert_array_equal(labels_of(12, (3, 5), 3), [3, 3, 3, 5, 5, 5] * 2)
