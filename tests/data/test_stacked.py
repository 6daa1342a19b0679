"""Stacked digits: what is in which channel, by which label, and that everybody has the same."""

import functools

import numpy as np
import pytest

from igan import data
from igan.data import embedded, sources, stacked
from igan.errors import UserError


@pytest.fixture(scope="module")
def digits():
    return embedded.load()


def test_each_channel_is_a_digit_that_the_label_names(digits):
    made = stacked.stack(digits, train=300, test=40)
    assert made.name == "stacked_mnist5k" and made.classes == 1000
    assert made.train_images.shape == (300, 28, 28, 3) and made.test_images.shape == (40, 28, 28, 3)
    for images, labels, of, known in (
        (made.train_images, made.train_labels, digits.train_images, digits.train_labels),
        (made.test_images, made.test_labels, digits.test_images, digits.test_labels),
    ):
        by_content = {image.tobytes(): label for image, label in zip(of, known, strict=True)}
        for image, label in zip(images, labels, strict=True):
            found = [by_content[np.ascontiguousarray(image[:, :, [channel]]).tobytes()] for channel in range(3)]
            assert label == 100 * found[0] + 10 * found[1] + found[2]


def test_the_modes_are_about_equally_frequent(digits):
    """All thousand, and no more uneven than independent draws are: the KL to uniform is about 999 / (2 n)."""
    labels = stacked.stack(digits, train=26_000, test=1).train_labels
    shares = np.bincount(labels, minlength=1000) / 26_000
    assert len(np.unique(labels)) == 1000
    assert 0.015 < np.sum(shares * np.log(1000 * shares)) < 0.024


def test_it_is_the_same_every_time_and_has_a_fingerprint_of_its_own(digits):
    first, second = (stacked.stack(digits, train=30, test=10) for _ in range(2))
    np.testing.assert_array_equal(first.train_images, second.train_images)
    assert first.fingerprint() == second.fingerprint() != digits.fingerprint()


def test_it_is_asked_for_by_name(monkeypatch):
    few = functools.partial(stacked.stack, train=50, test=5)
    monkeypatch.setattr(sources.stacked, "stack", few)
    found = data.load("stacked_mnist", source="embedded", directory="")
    assert found.name == "stacked_mnist5k" and len(found.train_images) == 50


def test_colour_and_streams_are_refused(digits):
    colour = digits._replace(train_images=np.zeros((4, 28, 28, 3), np.uint8))
    with pytest.raises(UserError, match="made of grey ones, and mnist5k has 3 channels"):
        stacked.stack(colour)
    with pytest.raises(UserError, match=r"not streamed.*--config\.data\.stream=False"):
        data.open_stream("stacked_mnist", "auto", "", 0, "none", "error")
