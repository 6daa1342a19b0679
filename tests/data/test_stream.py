"""Streams: batches as a pure function of (seed, name, batch size, number), from folders and prepared data sets."""

import gc
import os
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igan.data import Stream, open_stream, tfds_source
from igan.data.decoding import THREADS
from igan.data.stream import BATCHES_AHEAD
from igan.errors import UserError
from tests.command import PATIENCE
from tests.data.prepared import TRAIN, prepare, serialize, serialize_all

SIZE = 37  # of the folder `numbers`: image i is grey i in its middle, of class i // 20
SHARED = [os.environ.get("IGAN_SHARED"), Path(__file__).resolve().parents[3] / "shared"]
PHOTOS = [Path(shared, "data/imagenet_sample128") for shared in SHARED if shared]


@pytest.fixture
def numbers(tmp_path) -> Path:
    for number in range(SIZE):
        path = tmp_path / f"numbers/train/{'ab'[number // 20]}/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 12), number, np.uint8)
        pixels[:, :4] += 100  # tells where a window was cut
        Image.fromarray(pixels).save(path)
    for name in "ab":
        (tmp_path / f"numbers/test/{name}").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / f"numbers/test/{name}/1.png")
    return tmp_path / "numbers"


def open_folder(path: Path, image_size: int = 4, crop: str = "center", corrupt: str = "error") -> Stream:
    return open_stream(f"folder:{path}", "auto", "", image_size, crop, corrupt)


def take(stream: Stream, count: int, seed: int = 3, name: str = "real", batch_size: int = 5, start: int = 0) -> list:
    """Returns `count` batches, and closes the iterator."""
    batches = stream.batches(seed, name, batch_size, start * batch_size)
    taken = list(islice(batches, count))
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]
    return taken


def drawn(stream: Stream, count: int, **arguments) -> np.ndarray:
    """Returns the numbers of the first `count` images that a stream of `numbers` draws."""
    batches = take(stream, -(-count // arguments.get("batch_size", 5)), **arguments)
    return np.concatenate([images[:, 0, 3, 0] for images, _ in batches])[:count].astype(int)


def assert_same(first: list, second: list) -> None:
    assert len(first) == len(second) > 0
    for (images, labels), (other_images, other_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def are_threads_running(for_at_most: float = 0.0) -> bool:
    deadline = time.monotonic() + for_at_most
    while any(thread.name.startswith("grain-prefetch") for thread in threading.enumerate()):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("rows", [range(2), range(2, 5), range(5)])
def test_some_rows_of_every_batch_are_those_of_the_whole(numbers, rows):
    stream = open_stream(f"folder:{numbers}", "auto", "", 4, "random", "error")
    read = []
    counted = stream._replace(example=lambda index, random: (read.append(index), stream.example(index, random))[1])
    batches = counted.batches(3, "real", 5, 7 * 5, rows)
    some = list(islice(batches, 20))
    batches.close()
    assert_same(some, [(images[rows], labels[rows]) for images, labels in take(stream, 20, start=7)])
    most = 20 + BATCHES_AHEAD + THREADS  # batches that were read, with those that nobody waited for
    assert 20 * len(rows) <= len(read) <= most * len(rows)


def test_a_stream_of_a_folder(numbers):
    stream = open_folder(numbers)
    assert (stream.name, stream.image_shape, stream.classes) == ("folder:numbers", (4, 4, 1), 2)
    assert (stream.size, stream.notice) == (SIZE, None)
    counts = "37 train / 2 test images, of the folders 'train' and 'test'"
    assert stream.origin == f"{numbers} ({counts}; 2 classes from 0: a, b)"
    ((images, labels),) = take(stream, 1, batch_size=64)  # more than there are
    assert images.shape == (64, 4, 4, 1) and images.dtype == np.uint8
    assert labels.shape == (64,) and labels.dtype == np.int32
    np.testing.assert_array_equal(labels, images[:, 0, 0, 0] // 20)


def test_every_epoch_is_a_permutation_of_its_own(numbers):
    epochs = drawn(open_folder(numbers), 5 * SIZE).reshape(5, SIZE)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(SIZE), (5, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()} | {tuple(range(SIZE))}) == 6


def test_other_names_and_seeds_are_other_orders(numbers):
    stream = open_folder(numbers)
    orders = [drawn(stream, 3 * SIZE, seed=seed, name=name) for seed, name in ((3, "real"), (3, "fake"), (4, "real"))]
    # Not even an epoch in common: seed 4 must not begin with the second epoch of seed 3.
    epochs = [tuple(epoch) for order in orders for epoch in order.reshape(3, SIZE).tolist()]
    assert len(set(epochs)) == 9


@pytest.mark.parametrize("crop", ["center", "random"])
def test_a_resumed_stream_goes_on_exactly(numbers, crop):
    stream = open_folder(numbers, crop=crop)
    whole = take(stream, 20)  # 100 images: across two epoch boundaries
    for start in (1, 6, 7, 8, 15, 19):
        assert_same(take(open_folder(numbers, crop=crop), 20 - start, start=start), whole[start:])


def test_a_stream_is_the_same_far_along(numbers):
    stream, start = open_folder(numbers, crop="random"), 10**9
    later = take(stream, 9, start=start * SIZE)
    assert_same(take(stream, 2, start=start * SIZE + 7), later[7:])
    epoch = np.concatenate([labels for _, labels in take(stream, 8, start=start * SIZE)])[:SIZE]
    assert np.bincount(epoch).tolist() == [20, 17]


def test_random_windows_are_drawn_anew_every_epoch(numbers):
    batches = take(open_folder(numbers, crop="random"), 20, batch_size=SIZE)
    # How many of a window's four columns are of the first four of the image's twelve.
    marked = np.stack([(images[..., 0] // 100 > 0).sum(axis=(1, 2)) // 4 for images, _ in batches])
    assert set(marked.ravel().tolist()) == {0, 1, 2, 3, 4}
    assert len({tuple(epoch) for epoch in marked.tolist()}) == 20
    # Nine windows, equally likely: 5/9 of them without a marked column.
    assert abs((marked == 0).mean() - 5 / 9) < 5 * np.sqrt(20 / 81 / marked.size)


# --- what can be wrong with images


def test_an_unreadable_image_stops_the_consumer(numbers):
    stream = open_folder(numbers)
    path = numbers / "train/a/07.png"
    path.write_bytes(path.read_bytes()[:-30])
    batches = stream.batches(seed=0, name="real", batch_size=5, place=0)
    with pytest.raises(UserError, match=r"07\.png cannot be read .*--config\.data\.corrupt=skip") as caught:
        list(islice(batches, 8))
    assert "\n" not in str(caught.value)
    del caught
    assert not are_threads_running(for_at_most=10)
    with pytest.raises(UserError, match=r"07\.png cannot be read"):
        path.write_bytes(b"no image")
        open_folder(numbers)


def test_next_readable_image_comes_in_the_place_of_a_skipped_one(numbers, capsys):
    sound = drawn(open_folder(numbers), 2 * SIZE)
    for number in (7, 8, SIZE - 1):
        (numbers / f"train/{'ab'[number // 20]}/{number:02}.png").write_bytes(b"no image")
    stream = open_folder(numbers, corrupt="skip")
    assert stream.notice is not None and stream.notice.startswith("3 of 37 images could not be read and were skipped")
    expected = [{7: 9, 8: 9, SIZE - 1: 0}.get(number, number) for number in sound.tolist()]
    batches = take(stream, 15)
    assert np.concatenate([images[:, 0, 3, 0] for images, _ in batches])[: 2 * SIZE].tolist() == expected
    for images, labels in batches:
        np.testing.assert_array_equal(labels, images[:, 0, 3, 0] // 20)
    named = sorted(line.split(": ") for line in capsys.readouterr().err.splitlines())
    bad = ("a/07.png", "a/08.png", "b/36.png")
    assert named == [[f"Skipped {numbers}/train/{name}", "not an image of a known format"] for name in bad]


def test_most_images_unreadable_is_an_error(numbers):
    stream = open_folder(numbers, corrupt="skip")
    for number in range(19):
        (numbers / f"train/a/{number:02}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="more than half of the 37 images"):
        take(stream, 100)


def test_sizes_must_agree_unless_images_are_cropped(numbers):
    assert open_folder(numbers, image_size=0, crop="none").image_shape == (4, 12, 1)
    with pytest.raises(UserError, match=r"00\.png is 12x4 pixels but --config\.data\.image_size is 4x4"):
        open_folder(numbers, image_size=4, crop="none")
    stream = open_folder(numbers, image_size=0, crop="none")
    Image.new("L", (5, 6)).save(numbers / "train/b/30.png")
    with pytest.raises(UserError, match=r"30\.png is 5x6 pixels but the first one is 12x4.*crop=center"):
        take(stream, 8)
    with pytest.raises(UserError, match=r"30\.png is 5x6 pixels but .*00\.png is 12x4"):
        open_folder(numbers, image_size=0, crop="none")


def test_a_coloured_folder_is_rgb(numbers):
    Image.new("RGB", (4, 4), "red").save(numbers / "train/b/30.png")
    stream = open_folder(numbers)
    assert stream.image_shape == (4, 4, 3)
    ((images, _),) = take(stream, 1, batch_size=SIZE)
    assert (images[:, 0, 0] == [255, 0, 0]).all(axis=-1).sum() == 1


def test_closing_or_dropping_the_iterator_stops_its_threads(numbers):
    stream = open_folder(numbers)
    closed, dropped = (stream.batches(0, name, 5, 0) for name in ("closed", "dropped"))
    next(closed), next(dropped)
    assert are_threads_running()
    closed.close()  # pyright: ignore[reportAttributeAccessIssue]
    del dropped
    gc.collect()
    assert not are_threads_running(for_at_most=10)


def test_a_program_that_leaves_its_iterator_open_ends(numbers):
    program = (
        "from igan.data import open_stream\n"
        f"stream = open_stream('folder:{numbers}', 'auto', '', 4, 'center', 'error')\n"
        "batches = stream.batches(0, 'real', 64, 0)\n"
        "print(next(batches)[0].shape)\n"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, cwd=root)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "(64, 4, 4, 1)\n", "")


# --- data sets of tensorflow-datasets


def test_a_prepared_data_set_is_streamed_as_it_is(tmp_path):
    folder = prepare(tmp_path)
    stream = open_stream("mnist", "auto", str(tmp_path), 0, "none", "error")
    assert (stream.name, stream.image_shape, stream.classes, stream.size) == ("mnist", (6, 6, 1), 3, len(TRAIN[1]))
    assert str(folder) in stream.origin
    ((images, labels),) = take(stream, 1, batch_size=stream.size)
    read = sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
    assert read == sorted((image.tobytes(), int(label)) for image, label in zip(*TRAIN, strict=True))


def prepare_photos(directory: Path, labels: list[int], damaged: int | None = None) -> Path:
    """Writes coloured images of differing sizes, as in imagenet2012, where image i is of the colour (i, i, 255)."""
    contents = [
        serialize(np.full((8 + number, 20, 3), (number, number, 255), np.uint8), label)
        for number, label in enumerate(labels)
    ]
    if damaged is not None:
        contents[damaged] = serialize(b"no image", labels[damaged])
    return prepare(directory, "photos", contents={"train": contents}, shape=(None, None, 3), classes=4)


def test_images_of_a_prepared_data_set_are_cropped(tmp_path):
    labels = [number % 4 for number in range(11)]
    prepare_photos(tmp_path, labels)
    stream = open_stream("photos", "tfds", str(tmp_path), 8, "random", "error")
    assert (stream.image_shape, stream.size) == ((8, 8, 3), 11)
    ((images, read),) = take(stream, 1, batch_size=11)
    assert sorted(images[:, 0, 0, 0].tolist()) == list(range(11)) and (images[..., 2] == 255).all()
    np.testing.assert_array_equal(read, images[:, 0, 0, 0] % 4)
    with pytest.raises(UserError, match=r"record 1 of .* is 20x9 pixels but .*record 0 of .* is 20x8"):
        open_stream("photos", "tfds", str(tmp_path), 0, "none", "error")


def test_a_coloured_data_set_is_rgb_even_if_its_first_images_are_grey(tmp_path):
    contents = {"train": [serialize(np.full((8, 8, 1), 9, np.uint8), 0)] * 3}
    prepare(tmp_path, "photos", contents=contents, shape=(None, None, 3))
    stream = open_stream("photos", "tfds", str(tmp_path), 8, "center", "error")
    ((images, _),) = take(stream, 1, batch_size=3)
    assert stream.image_shape == (8, 8, 3) and (images == np.full((3, 8, 8, 3), 9)).all()


def test_damaged_records_and_labels_out_of_range(tmp_path):
    folder = prepare_photos(tmp_path / "damaged", [0] * 11, damaged=4)
    with pytest.raises(UserError, match=rf"{folder}: record 4 of the split 'train' cannot be read"):
        open_stream("photos", "tfds", str(tmp_path / "damaged"), 8, "center", "error")
    stream = open_stream("photos", "tfds", str(tmp_path / "damaged"), 8, "center", "skip")
    ((images, _),) = take(stream, 1, batch_size=11)
    assert sorted(images[:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 5, 5, 6, 7, 8, 9, 10]
    prepare_photos(tmp_path / "labels", [0, 1, 4, 2])
    stream = open_stream("photos", "tfds", str(tmp_path / "labels"), 8, "center", "skip")
    with pytest.raises(UserError, match=r"record 2 .* has the label 4, outside 0\.\.3"):
        take(stream, 1)


def test_what_cannot_be_streamed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "obstacle_to_preparing", lambda: tfds_source.NO_NETWORK)

    def refuse(name: str, source: str, crop: str = "none") -> str:
        with pytest.raises(UserError) as caught:
            open_stream(name, source, str(tmp_path), 0, crop, "error")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "'mnist' is not prepared in" in refuse("mnist", "auto")  # and the embedded digits do not stand in
    assert "--config.data.stream=False" in refuse("mnist", "embedded")
    assert "set --config.data.image_size=32" in refuse("mnist", "auto", crop="random")
    prepare(tmp_path, "old", file_format="tfrecord")
    assert "only array_record files can be streamed" in refuse("old", "tfds")
    prepare(tmp_path, "headless", contents={"test": serialize_all(TRAIN)})
    assert "igan needs the split 'train'" in refuse("headless", "tfds")
    folder = prepare(tmp_path, "torn")
    os.truncate(folder / "torn-train.array_record-00000-of-00001", 1000)
    assert f"{folder}: the prepared data set is damaged" in refuse("torn", "tfds")


# --- real photographs


def test_photographs_stream(tmp_path):
    found = [path for path in PHOTOS if path.is_dir()]
    if not found:
        pytest.skip("no shared photographs: neither $IGAN_SHARED nor ../shared holds data/imagenet_sample128")
    stream = open_folder(found[0], image_size=64, crop="random")
    assert (stream.image_shape, stream.size, stream.classes) == ((64, 64, 3), 1000, 1000)
    batches = take(stream, 4, batch_size=32)
    assert_same(take(stream, 1, batch_size=32, start=3), batches[3:])
    assert len(np.unique(np.concatenate([labels for _, labels in batches]))) == 128  # one image a class
    assert 80 < np.mean([images.mean() for images, _ in batches]) < 150
