"""The classifier score on classifiers one can calculate by hand, and the digit classifier on real digits."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.errors import UserError
from igan.metrics import image_classifier
from igan.metrics.classifier_score import classifier_score, from_function
from igan.metrics.images import from_array

pytestmark = pytest.mark.usefixtures("optimized")  # Classifiers are trained.
USERS_CACHE = os.environ.get("XDG_CACHE_HOME", "")  # That of a test is empty.
BRIGHTNESS = from_function("brightness", lambda images: 100.0 * (images[:, 0, 0, 0, None] // 64 == jnp.arange(4)))


@pytest.mark.parametrize(("levels", "expected"), [((10, 100, 150, 250), 4.0), ((10, 100), 2.0), ((7,), 1.0)])
def test_counts_the_classes_that_are_equally_frequent_and_certain(levels, expected):
    pixels = np.tile(np.array(levels, np.uint8), 40 // len(levels))[:, None, None] * np.ones((1, 2, 2), np.uint8)
    score = classifier_score(from_array("shades", pixels), BRIGHTNESS)
    assert score.value == pytest.approx(expected, rel=1e-9) and score.std == pytest.approx(0, abs=1e-9)
    assert score.protocol == "ten-splits: 40 images in order, 10 splits; classifier brightness, shades"


@pytest.mark.filterwarnings("ignore:an Inception score of only")
def test_undecided_classifiers_score_one_and_too_few_images_are_refused(random):
    pixels = random.integers(0, 256, (20, 2, 2), np.uint8)
    undecided = from_function("undecided", lambda images: jnp.zeros((len(images), 10)))
    assert classifier_score(from_array("noise", pixels), undecided).value == 1.0
    with pytest.raises(UserError, match="9 images cannot be divided into 10 splits"):
        classifier_score(from_array("noise", pixels[:9]), undecided)
    with pytest.raises(UserError, match="finite logits"):
        not_a_number = from_function("nan", lambda images: jnp.full((len(images), 10), jnp.nan))
        classifier_score(from_array("noise", pixels), not_a_number)


def accuracy(judge, images: np.ndarray, labels: np.ndarray) -> float:
    logits = jax.jit(lambda images: judge.apply(judge.params, images, ("logits",))["logits"])(images)
    return float((np.argmax(logits, axis=-1) == labels).mean())


def test_the_digit_classifier_learns_is_cached_and_judges(cache, monkeypatch):
    from igan.data import load

    digits = load("mnist", "embedded", "")
    trainings = []
    train = image_classifier.train
    monkeypatch.setattr(image_classifier, "train", lambda *data: trainings.append(data) or train(*data))
    judge = image_classifier.load("digits", digits.train_images, digits.train_labels)
    assert accuracy(judge, digits.test_images, digits.test_labels) > 0.93
    again = image_classifier.load("digits", digits.train_images, digits.train_labels)
    assert len(trainings) == 1 and again.label == judge.label and len(list(cache.glob("classifier-*"))) == 1
    # Real digits are many and clear; one digit alone is neither.
    everything = classifier_score(from_array("digits", digits.test_images), judge, "one-split")
    zeros = classifier_score(from_array("zeros", digits.test_images[digits.test_labels == 0]), judge, "one-split")
    assert 8 < everything.value < 10 and 1 <= zeros.value < 1.8
    features = np.asarray(judge.apply(judge.params, digits.test_images, ("classifier",))["classifier"])
    last, logits = judge.params["Dense_1"], judge.apply(judge.params, digits.test_images, ("logits",))["logits"]
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"], logits, atol=1e-3)
    assert "small-cnn trained on 4,000 images of digits, weights" in everything.protocol
    (file,) = cache.glob("classifier-*")
    file.write_bytes(file.read_bytes()[:1000])
    monkeypatch.setattr(image_classifier, "train", lambda *data: trainings.append(data) or judge.params)
    image_classifier.load("digits", digits.train_images, digits.train_labels)
    image_classifier.load("digits", digits.train_images, digits.train_labels[::-1])
    assert len(trainings) == 3  # A damaged file is replaced, and other data are other weights.


def test_the_judge_of_colour_images_reads_all_channels(random):
    """Two classes that differ in their blue channel alone, and little of it at first."""
    labels = np.arange(400) % 2
    images = random.integers(0, 256, (400, 16, 16, 3)).astype(np.uint8)
    images[..., 2] = images[..., 2] // 2 + 100 * labels[:, None, None].astype(np.uint8)
    judge = image_classifier.load("blue", images, labels)
    assert accuracy(judge, images, labels) > 0.95
    assert "small-cnn trained on 400 images of blue" in judge.label


def test_images_that_it_is_not_made_for_are_refused():
    for images, labels, message in (
        (np.zeros((200, 32, 32), np.uint8), np.arange(200) % 2, "a classifier learns from 100 or more uint8 images"),
        (np.zeros((200, 28, 28, 1)), np.arange(200) % 2, "not float64"),
        (np.zeros((5, 28, 28, 1), np.uint8), np.arange(5) % 2, "a classifier learns from 100 or more"),
        (np.zeros((200, 128, 128, 3), np.uint8), np.arange(200) % 2, "made for 16 to 64 pixels a side"),
        (np.zeros((200, 28, 28, 1), np.uint8), np.zeros(200, int), "two classes or more, and things has one"),
    ):
        with pytest.raises(UserError, match=message):
            image_classifier.load("things", images, labels)


def test_shifted_digits_are_the_same_digits_elsewhere(random):
    images = random.integers(1, 256, (50, 6, 6, 1), np.uint8)
    shifted = np.asarray(image_classifier.shift(jax.random.key(0), jnp.asarray(images)))
    offsets = set()
    for before, after in zip(images[..., 0], shifted[..., 0], strict=True):
        found = [
            (row, column)
            for row in range(-2, 3)
            for column in range(-2, 3)
            if np.array_equal(np.pad(before, 2)[2 + row : 8 + row, 2 + column : 8 + column], after)
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 12


@pytest.mark.long("trains for a minute or two")
def test_more_than_99_percent_on_the_full_data(mnist, monkeypatch):
    """Trains for a minute when it is run for the first time; the weights stay in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", USERS_CACHE)
    judge = image_classifier.load("mnist", mnist.train_images, mnist.train_labels)
    assert accuracy(judge, mnist.test_images, mnist.test_labels) > 0.99
