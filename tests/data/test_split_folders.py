"""What is split by hand is taken so, whatever its folders are called, or refused: never as classes of those names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igan.data import Dataset, folder, load
from igan.errors import UserError


def make(root: Path, *images: str) -> Path:
    for number, image in enumerate(images):
        path = root / f"{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(path)
    return root


def read(path: Path) -> Dataset:
    return load(f"folder:{path}", "auto", "")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *(("train", test) for test in ("test", "testing", "eval", "val", "valid", "validation", "dev")),
        *(("training", test) for test in ("testing", "test", "validation")),
        *(("Train", test) for test in ("Test", "VALID", "test")),
        ("TRAINING", "Evaluation"),
    ],
)
def test_known_names_are_splits_whatever_their_case(tmp_path, train, test):
    classes = ("daisy", "rose")
    dataset = read(make(tmp_path / "set", *(f"{part}/{name}/1" for part in (train, test) for name in classes)))
    assert (dataset.classes, dataset.train_labels.tolist(), dataset.test_labels.tolist()) == (2, [0, 1], [0, 1])
    assert dataset.train_images[:, 0, 0, 0].tolist() == [0, 1] and dataset.test_images[:, 0, 0, 0].tolist() == [2, 3]
    assert f"of the folders '{train}' and '{test}'; 2 classes from 0: daisy, rose" in dataset.origin


def test_of_three_parts_the_one_that_is_not_used_is_named(tmp_path):
    dataset = read(make(tmp_path, "train/a/1", "valid/a/2", "test/a/3", "notes/.hidden"))
    assert dataset.test_images[:, 0, 0, 0].tolist() == [2]
    assert "of the folders 'train' and 'test' (not used: 'valid')" in dataset.origin


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            ["train/a/1", "train/b/1"],
            ["there is no 'test' beside 'train'", "{0}/train, of which every tenth"],
        ),
        (["Train/1", "Train/2"], ["there is no 'test' beside 'Train'", "--config.data.name=folder:{0}/Train"]),
        (["test/a/1"], ["there is no 'train' beside 'test'"]),
        (["valid/a/1", "test/a/1"], ["'test', 'valid'", "there is no 'train'"]),
        (["cat/1", "dog/1", "test/1"], ["'cat', 'dog', 'test'", "there is no 'train' beside 'test'"]),
        (["train/a/1", "holdout/a/1"], ["'holdout', 'train'", "there is no 'test' beside 'train'"]),
        (["train/a/1", "test/a/1", "extra/a/1"], ["rename or remove 'extra', which is no split"]),
        (["train/a/1", "Train/a/1", "test/a/1"], ["'Train' and 'train' say the same"]),
        (["train/a/1", "test/a/1", "testing/a/1"], ["'test' and 'testing' say the same"]),
        (["train2017/1", "val2017/1"], ["'train2017', 'val2017'", "rename them"]),
        (["trainA/1", "trainB/1", "testA/1", "testB/1"], ["'testA', 'testB', 'trainA', 'trainB'"]),
        (["seg_train/a/1", "seg_test/a/1", "seg_pred/1"], ["'seg_pred', 'seg_test', 'seg_train'"]),
        (["training_set/a/1", "test_set/a/1"], ["'test_set', 'training_set'"]),
        (
            ["mnist/training/a/1", "mnist/testing/a/1"],
            ["is split again", "--config.data.name=folder:{0}/mnist"],
        ),
        (["cat/train/1", "cat/test/1", "dog/train/1"], ["'cat' is split again", "put the splits above the classes"]),
    ],
)
def test_what_looks_like_splits_and_is_not_understood_is_refused(tmp_path, images, words):
    make(tmp_path, *images)
    with pytest.raises(UserError) as caught:
        folder.scan(str(tmp_path))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word.format(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "images",
    [
        ["bus/1", "car/1", "train/1"],
        ["bus/old/1", "car/1", "train/1"],
        ["train_station/1", "test_tube/1", "car/1", "bus/1", "tree/1"],
        ["airport/1", "train_station/1"],
        ["cat/1/2", "cat/train/1", "dog/1"],
    ],
)
def test_classes_are_classes_though_one_has_the_name_of_a_split(tmp_path, images):
    names = sorted({image.partition("/")[0] for image in images})
    assert folder.scan(str(make(tmp_path, *images))).classes == names


def test_the_line_that_announces_the_data_names_the_first_classes_in_their_order(tmp_path):
    assert "10 classes from 0: 1, 10, 2, 3, 4, ...)" in read(make(tmp_path, *(f"{n + 1}/1" for n in range(10)))).origin
    assert folder.describe_classes(["a"]) == "1 class from 0: a" and folder.describe_classes([""]) == "1 class"
    strange = folder.describe_classes(["two\nlines", "x" * 300, "\udcff"])
    assert strange.isprintable() and len(strange) < 100


def test_a_stream_takes_the_same_folders(tmp_path):
    records = folder.records(str(make(tmp_path, "training/a/1", "training/b/2", "testing/a/3", "testing/b/4")))
    assert (records.size, records.classes) == (2, 2)
