import os
from pathlib import Path

import numpy as np
import pytest

from igan.data import load, open_stream, tfds_source
from igan.errors import UserError
from tests.data.prepared import CLASSES, TEST, TRAIN, prepare, serialize, serialize_all, write_records


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """No test sees the machine's own data, cache, TensorFlow or network."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(tfds_source, "obstacle_to_preparing", lambda: tfds_source.NO_NETWORK)


def assert_is_the_small_set(dataset) -> None:
    parts = (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)
    for read, written in zip(parts, (*TRAIN, *TEST), strict=True):
        assert read.dtype == written.dtype
        np.testing.assert_array_equal(read, written)
    assert (dataset.classes, dataset.notice) == (CLASSES, None)


def cached_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "igan").iterdir())


# --- prepared data sets


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize("source", ["auto", "tfds"])
def test_prepared_data_are_read_exactly(tmp_path, source, file_format):
    folder = prepare(tmp_path / "data", file_format=file_format)
    dataset = load("mnist", source, str(tmp_path / "data"))
    assert_is_the_small_set(dataset)
    assert dataset.name == "mnist"
    assert str(folder) in dataset.origin and "3.0.1" in dataset.origin


def test_directory_comes_from_the_config_then_the_environment_then_the_default(tmp_path, monkeypatch):
    default = prepare(tmp_path / "home" / "tensorflow_datasets")
    assert str(default) in load("mnist", "tfds", "").origin
    environment = prepare(tmp_path / "environment")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "environment"))
    assert str(environment) in load("mnist", "tfds", "").origin
    typed = prepare(tmp_path / "typed")
    assert str(typed) in load("mnist", "tfds", str(tmp_path / "typed")).origin
    assert str(default) in load("mnist", "tfds", "~/tensorflow_datasets").origin


def test_newest_version_is_read_and_unfinished_ones_are_not(tmp_path):
    old = prepare(tmp_path)
    for other in ("3.0.9", "3.0.10", "9.9.9.incompleteABCDEF_3.0.1"):
        (tmp_path / "mnist" / other).mkdir()
        for file in old.iterdir():
            (tmp_path / "mnist" / other / file.name).write_bytes(
                file.read_bytes().replace(b'"3.0.1"', f'"{other}"'.encode())
            )
    assert "mnist 3.0.10" in load("mnist", "tfds", str(tmp_path)).origin


def test_second_load_decodes_nothing(tmp_path, monkeypatch):
    prepare(tmp_path / "data")
    load("mnist", "tfds", str(tmp_path / "data"))
    monkeypatch.setattr(tfds_source, "_decode", lambda *_: pytest.fail("decoded again"))
    assert_is_the_small_set(load("mnist", "tfds", str(tmp_path / "data")))
    assert [file.suffix for file in cached_files(tmp_path)] == [".npz"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_damaged_cache_is_rebuilt(tmp_path, damage):
    prepare(tmp_path / "data")
    load("mnist", "tfds", str(tmp_path / "data"))
    (cache,) = cached_files(tmp_path)
    sound = cache.read_bytes()
    middle = sound.index(TRAIN[0].tobytes()) + 5
    damaged = {
        "truncated": sound[:-100],
        "flipped": sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :],
        "empty": b"",
        "foreign": b"not an archive",
    }
    cache.write_bytes(damaged[damage])
    assert_is_the_small_set(load("mnist", "tfds", str(tmp_path / "data")))
    with np.load(cache) as rebuilt:
        np.testing.assert_array_equal(rebuilt["train_images"], TRAIN[0])


def test_changed_records_are_not_hidden_by_the_cache(tmp_path):
    folder = prepare(tmp_path / "data")
    load("mnist", "tfds", str(tmp_path / "data"))
    images, labels = TRAIN
    records = [serialize(255 - image, int(label)) for image, label in zip(images, labels, strict=True)]
    write_records(folder / "mnist-train.array_record-00000-of-00001", records)
    np.testing.assert_array_equal(load("mnist", "tfds", str(tmp_path / "data")).train_images, 255 - images)


def test_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    prepare(tmp_path / "data")
    (tmp_path / "occupied").write_text("a file where the cache's directory would go")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied"))
    assert_is_the_small_set(load("mnist", "tfds", str(tmp_path / "data")))


def test_full_disk_leaves_no_half_written_cache(tmp_path, monkeypatch):
    prepare(tmp_path / "data")

    def fill_up(file, **_):
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill_up)
    assert_is_the_small_set(load("mnist", "tfds", str(tmp_path / "data")))
    assert cached_files(tmp_path) == []


def test_what_can_be_prepared_is_prepared_and_read(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    class Builder:
        def __init__(self, name: str, data_dir: str):
            self.prepare = lambda file_format: prepare(Path(data_dir), name, file_format)

        def download_and_prepare(self, file_format: str) -> None:
            self.prepare(file_format)

    monkeypatch.setattr(tfds_source, "obstacle_to_preparing", lambda: None)
    monkeypatch.setattr(tfds, "builder", Builder)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "not" / "there" / "yet"))
    dataset = load("mnist", "auto", "")
    assert_is_the_small_set(dataset)
    assert list((tmp_path / "not/there/yet/mnist/3.0.1").glob("*.array_record-*"))


# --- what is wrong with a directory or a data set is said in one line that names it


TRAIN_FILE, TEST_FILE = (f"mnist-{split}.array_record-00000-of-00001" for split in ("train", "test"))
TOO_SMALL = [serialize(np.zeros((1, 1, 1), np.uint8), 0)] * len(TEST[0])


def replace_in(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


DAMAGES = {
    "missing records": lambda folder: (folder / TEST_FILE).unlink(),
    "truncated records": lambda folder: os.truncate(folder / TRAIN_FILE, 1000),
    "overwritten records": lambda folder: replace_in(folder / TRAIN_FILE, b"IDAT", bytes(4)),
    "images of another size": lambda folder: write_records(folder / TEST_FILE, TOO_SMALL),
    "half an information file": lambda folder: (folder / "dataset_info.json").write_text('{"name": '),
    "no information file": lambda folder: (folder / "dataset_info.json").unlink(),
    "empty features file": lambda folder: (folder / "features.json").write_text(""),
    "labels out of range": lambda folder: replace_in(folder / "features.json", b'Classes": "3"', b'Classes": "2"'),
}


@pytest.mark.parametrize("source", ["auto", "tfds"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_data_set_is_an_error_and_never_replaced(tmp_path, source, damage):
    folder = prepare(tmp_path)
    DAMAGES[damage](folder)
    with pytest.raises(UserError, match="damaged") as caught:
        load("mnist", source, str(tmp_path))
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [len(TRAIN[0]) - 1, len(TRAIN[0]) + 1])
def test_tfrecord_with_another_number_of_examples_is_damaged(tmp_path, kept):
    folder = prepare(tmp_path, file_format="tfrecord")
    records = [serialize(TRAIN[0][0], 0)] * kept
    write_records(folder / "mnist-train.tfrecord-00000-of-00001", records)
    with pytest.raises(UserError, match="damaged"):
        load("mnist", "tfds", str(tmp_path))
    os.truncate(folder / "mnist-train.tfrecord-00000-of-00001", 150)
    with pytest.raises(UserError, match="ends in the middle of a record"):
        load("mnist", "tfds", str(tmp_path))


@pytest.mark.parametrize("source", ["auto", "tfds"])
def test_directory_that_cannot_be_used(tmp_path, source, monkeypatch):
    with pytest.raises(UserError, match=f"{tmp_path}/nowhere does not exist"):
        load("mnist", source, str(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path}/file cannot be read"):
        load("mnist", source, str(tmp_path / "file"))
    with pytest.raises(UserError, match="gs://bucket/data is not a local one"):
        load("mnist", source, "gs://bucket/data")

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)  # tests may run as root, whom no permission stops
    with pytest.raises(UserError, match=f"{tmp_path} cannot be read .Permission denied"):
        load("mnist", source, str(tmp_path))


def test_data_set_without_class_labels_is_refused(tmp_path):
    folder = prepare(tmp_path)
    path = folder / "features.json"
    path.write_text(path.read_text().replace('"label"', '"caption"'))
    with pytest.raises(UserError, match=r"features 'image' .* and 'label'"):
        load("mnist", "tfds", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("mnist", "tdfs", "data.source='tdfs' is unknown. Did you mean 'tfds'?"),
        ("cifar10", "embedded", "only 'mnist', not 'cifar10'"),
        ("../mnist", "tfds", "data.name='../mnist'"),
        ("mnist/..", "auto", "data.name='mnist/..'"),
        ("", "auto", "data.name=''"),
        ("cifar10", "auto", "'cifar10' is not prepared in"),
        ("mnits", "auto", "Did you mean 'mnist'? Prepared there: mnist."),
        ("zzz", "auto", "--config.data.dir or TFDS_DATA_DIR. Prepared there: mnist."),
        ("cifar10", "tfds", "cannot be fetched (no network)"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(tmp_path, name, source, message):
    prepare(tmp_path)
    with pytest.raises(UserError) as caught:
        load(name, source, str(tmp_path))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_svhn_is_read_without_its_split_extra(tmp_path):
    generator = np.random.default_rng(4)
    train, test = (
        (generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count, dtype=np.int32) % 10)
        for count in (20, 10)
    )
    contents = {"train": serialize_all(train), "test": serialize_all(test), "extra": serialize_all(test)}
    folder = prepare(tmp_path, "svhn_cropped", contents=contents, shape=(32, 32, 3), classes=10)
    (folder / "svhn_cropped-extra.array_record-00000-of-00001").unlink()
    dataset = load("svhn_cropped", "auto", str(tmp_path))
    for read, written in zip(dataset[1:5], (*train, *test), strict=True):
        np.testing.assert_array_equal(read, written)
    assert (dataset.name, dataset.classes) == ("svhn_cropped", 10)


def test_prepared_data_are_not_resized_in_memory(tmp_path):
    prepare(tmp_path, "fashion_mnist")
    with pytest.raises(UserError, match=r"image_size=32 but the images of fashion_mnist are 6x6"):
        load("fashion_mnist", "tfds", str(tmp_path), image_size=32, crop="center")
    assert_is_the_small_set(load("fashion_mnist", "tfds", str(tmp_path), image_size=6))
    with pytest.raises(UserError, match=r"--config\.data\.image_size=0"):
        load("mnist", "embedded", "", image_size=32)


def test_padded_images_lie_in_the_middle_of_black_squares():
    plain, padded = (load("mnist", "embedded", "", *how) for how in ((0, "none"), (32, "pad")))
    for images, before in ((padded.train_images, plain.train_images), (padded.test_images, plain.test_images)):
        assert images.shape[1:] == (32, 32, 1) and images.dtype == np.uint8
        np.testing.assert_array_equal(images[:, 2:30, 2:30], before)
        assert images.sum(dtype=np.int64) == before.sum(dtype=np.int64)  # Nothing else.
    assert padded.name == "mnist5k_32px" != plain.name  # No score of one is beside a score of the other.
    np.testing.assert_array_equal(padded.train_labels, plain.train_labels)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("mnist", 31, "31x31 pixels, and those of mnist5k are 28x28"),
        ("mnist", 24, "24x24 pixels, and those of mnist5k are 28x28"),
        ("mnist", 0, "needs a size"),
        ("stacked_mnist", 32, "no place with stacked_mnist5k"),
        ("ring", 0, "needs a size"),
    ],
)
def test_what_cannot_be_padded_is_refused(name, size, message):
    with pytest.raises(UserError, match=message):
        load(name, "auto" if name == "ring" else "embedded", "", size, "pad")


def test_folders_and_streams_are_not_padded(tmp_path):
    for read in (load, open_stream):
        with pytest.raises(UserError, match="named data sets in memory"):
            read(f"folder:{tmp_path}", "auto", "", 32, "pad", "error")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "centre", "image_size": 6}, "data.crop='centre' is unknown. Did you mean 'center'?"),
        ({"corrupt": "ignore"}, "data.corrupt='ignore' is unknown"),
        ({"image_size": -1}, "data.image_size=-1"),
        ({"crop": "center"}, "set --config.data.image_size=32"),
        ({"crop": "random", "image_size": 6}, "--config.data.stream=True"),
        ({"source": "folder"}, "--config.data.name=folder:/path/to/images"),
        ({"name": "folder:"}, "--config.data.name=folder:/path/to/images"),
        ({"name": "folder:/tmp", "source": "tfds"}, "is an image folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError) as caught:
        load(**{"name": "mnist", "source": "auto", "directory": ""} | options)
    assert message in str(caught.value) and "\n" not in str(caught.value)
