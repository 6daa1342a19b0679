import io
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igan.data import load, tfds_source
from igan.errors import UserError

CLASSES, SIDE = 3, 6


def draw_examples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)
    return images, generator.integers(0, CLASSES, count, dtype=np.int32)


TRAIN, TEST = draw_examples(23, seed=1), draw_examples(9, seed=2)


def serialize(image: np.ndarray, label: int) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2

    png = io.BytesIO()
    Image.fromarray(image[..., 0]).save(png, "png")
    example = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
    example.features.feature["image"].bytes_list.value.append(png.getvalue())
    example.features.feature["label"].int64_list.value.append(label)
    return example.SerializeToString()


def write_records(path: Path, records: list[bytes]) -> None:
    if ".tfrecord" in path.name:
        path.write_bytes(b"".join(struct.pack("<Q4x", len(record)) + record + bytes(4) for record in records))
        return
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def prepare(directory: Path, name: str = "mnist", file_format: str = "array_record") -> Path:
    """Writes a small data set the way tensorflow-datasets lays it out; returns the folder of its version."""
    folder = directory / name / "3.0.1"
    folder.mkdir(parents=True)
    splits = []
    for split, (images, labels) in (("train", TRAIN), ("test", TEST)):
        records = [serialize(image, int(label)) for image, label in zip(images, labels, strict=True)]
        write_records(folder / f"{name}-{split}.{file_format}-00000-of-00001", records)
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append({"filepathTemplate": template, "name": split, "shardLengths": [str(len(records))]})
    information = {"fileFormat": file_format, "name": name, "version": "3.0.1", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(information))
    package = "tensorflow_datasets.core.features."
    shape = {"dimensions": [str(SIDE), str(SIDE), "1"]}
    features = {
        "image": {"image": {"dtype": "uint8", "shape": shape}, "pythonClassName": package + "image_feature.Image"},
        "label": {
            "classLabel": {"numClasses": str(CLASSES)},
            "pythonClassName": package + "class_label_feature.ClassLabel",
        },
    }
    root = {"featuresDict": {"features": features}, "pythonClassName": package + "features_dict.FeaturesDict"}
    (folder / "features.json").write_text(json.dumps(root))
    return folder


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
        ("mnits", "auto", "Did you mean 'mnist'?"),
        ("cifar10", "tfds", "cannot be fetched (no network)"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(tmp_path, name, source, message):
    prepare(tmp_path)
    with pytest.raises(UserError) as caught:
        load(name, source, str(tmp_path))
    assert message in str(caught.value) and "\n" not in str(caught.value)
