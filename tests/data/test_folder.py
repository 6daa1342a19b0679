"""Image folders in memory: what is found, how it is split, and what is wrong with a folder, in one line."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igan.data import Dataset, folder, load
from igan.errors import UserError


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def grey(value: int, height: int = 6, width: int = 6) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def read(path: Path, **options) -> Dataset:
    return load(f"folder:{path}", "auto", "", **options)


def refusal(path: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def flowers(tmp_path) -> Path:
    """25 roses, of grey 0..24, and 9 daisies, of grey 100..108, with distractions."""
    for number in range(25):
        write(tmp_path / f"flowers/rose/{number:02}.png", grey(number))
    for number in range(9):
        write(tmp_path / f"flowers/daisy/{number}.PNG", grey(100 + number))
    (tmp_path / "flowers/README.txt").write_text("not an image")
    (tmp_path / "flowers/rose/notes.txt").write_text("nor this")
    (tmp_path / "flowers/rose/._00.png").write_text("hidden")
    (tmp_path / "flowers/.thumbnails").mkdir()
    return tmp_path / "flowers"


def truncate(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((60, 60)).resize((6, 6)).save(path.with_suffix(".jpg"))
    path.unlink()
    path.with_suffix(".jpg").write_bytes(path.with_suffix(".jpg").read_bytes()[:-40])


def test_every_tenth_image_of_a_class_is_held_out(flowers):
    dataset = read(flowers)
    assert (dataset.name, dataset.classes, dataset.notice) == ("folder:flowers", 2, None)
    counts = "32 train / 2 test images, every 10th of a class for testing"
    assert dataset.origin == f"{flowers} ({counts}; 2 classes from 0: daisy, rose)"
    assert dataset.train_images.shape == (32, 6, 6, 1) and dataset.test_images.shape == (2, 6, 6, 1)
    assert (
        dataset.train_images.dtype == np.uint8 and dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    )
    held_out = (9, 19)
    assert dataset.train_images[:, 3, 2, 0].tolist() == [
        *range(100, 109),
        *(value for value in range(25) if value not in held_out),
    ]
    assert dataset.train_labels.tolist() == [0] * 9 + [1] * 23
    assert dataset.test_images[:, 0, 0, 0].tolist() == [*held_out] and dataset.test_labels.tolist() == [1, 1]


@pytest.mark.parametrize("test", ["test", "val"])
def test_folders_of_a_split_are_the_split(flowers, tmp_path, test):
    (tmp_path / "set").mkdir()
    flowers.rename(tmp_path / "set/train")
    write(tmp_path / f"set/{test}/rose/a.png", grey(77))
    write(tmp_path / f"set/{test}/daisy/b.png", grey(78))
    dataset = read(tmp_path / "set")
    assert (len(dataset.train_labels), dataset.test_labels.tolist()) == (34, [0, 1])
    assert dataset.test_images[:, 0, 0, 0].tolist() == [78, 77]
    write(tmp_path / "set/train/tulip/c.png", grey(79))
    assert "the class 'tulip' of train is missing in " + test in refusal(tmp_path / "set")


def test_images_beside_the_folders_of_a_split_are_named(flowers, tmp_path):
    for part in ("train", "test"):
        write(tmp_path / f"set/{part}/rose/a.png", grey(77))
    write(tmp_path / "set/preview.png", grey(1))
    assert f"{tmp_path}/set/preview.png lies beside the folders train and test" in refusal(tmp_path / "set")


def test_one_class_without_a_folder_of_its_own(tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.png", grey(number))
    dataset = read(tmp_path)
    assert (dataset.classes, dataset.train_labels.tolist(), dataset.test_labels.tolist()) == (1, [0] * 9, [0])


def test_nested_folders_and_links_belong_to_their_class(tmp_path):
    write(tmp_path / "set/b/x/y/1.png", grey(1))
    write(tmp_path / "elsewhere/2.png", grey(2))
    write(tmp_path / "set/a/3.png", grey(3))
    (tmp_path / "set/a/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/a/4.png").symlink_to(tmp_path / "set/b/x/y/1.png")
    (tmp_path / "set/b/x/around").symlink_to(tmp_path / "set/b")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    dataset = read(tmp_path / "link")
    assert (dataset.name, len(dataset.test_labels)) == ("folder:link", 0)
    assert dataset.train_images[:, 0, 0, 0].tolist() == [3, 1, 2, 1] and dataset.train_labels.tolist() == [0, 0, 0, 1]


def test_home_and_relative_paths_are_understood(flowers, monkeypatch):
    monkeypatch.setenv("HOME", str(flowers.parent))
    monkeypatch.chdir(flowers)
    assert load("folder:~/flowers", "folder", "").name == load("folder:.", "folder", "").name == "folder:flowers"


def test_one_coloured_image_makes_all_of_them_rgb(flowers):
    write(flowers / "rose/99.png", np.full((6, 6, 3), [255, 0, 9], np.uint8))
    dataset = read(flowers)
    assert dataset.train_images.shape == (33, 6, 6, 3)
    assert dataset.train_images[[0, -1], 0, 0].tolist() == [[100] * 3, [255, 0, 9]]


def test_images_of_different_sizes_need_a_crop(flowers):
    write(flowers / "rose/00.png", grey(50, height=8, width=12))
    message = refusal(flowers)
    for part in ("daisy/0.PNG is 6x6", "rose/00.png is 12x8", "--config.data.image_size=32 --config.data.crop=center"):
        assert part in message
    assert "rose/00.png is 12x8 pixels but --config.data.image_size is 6x6" in refusal(flowers, image_size=6)
    dataset = read(flowers, image_size=4, crop="center")
    assert dataset.train_images.shape == (32, 4, 4, 1) and dataset.train_images[9].tolist() == [[[50]] * 4] * 4


def test_unreadable_image_is_fatal_unless_it_is_to_be_skipped(flowers, capsys):
    truncate(flowers / "rose/09.png")  # held out for testing
    truncate(flowers / "rose/12.png")
    (flowers / "daisy/5.PNG").write_bytes(b"")
    message = refusal(flowers)
    assert f"{flowers}/daisy/5.PNG cannot be read" in message and "--config.data.corrupt=skip" in message
    capsys.readouterr()
    dataset = read(flowers, corrupt="skip", image_size=6, crop="center")
    names = [f"{flowers}/{name}" for name in ("daisy/5.PNG", "rose/09.jpg", "rose/12.jpg")]
    assert dataset.notice == f"3 of 34 images could not be read and were skipped: {', '.join(names)}"
    written = capsys.readouterr().err
    assert all(written.count(f"Skipped {name}: ") == 1 for name in names) and "truncated" in written
    assert dataset.train_labels.tolist() == [0] * 8 + [1] * 22
    values = [100, 101, 102, 103, 104, 106, 107, 108, *(v for v in range(25) if v not in (9, 12, 19))]
    assert dataset.train_images[:, 0, 0, 0].tolist() == values
    assert dataset.test_images[:, 0, 0, 0].tolist() == [19] and dataset.test_labels.tolist() == [1]


def test_a_link_to_nothing_is_unreadable_not_overlooked(flowers):
    (flowers / "rose/30.png").symlink_to(flowers / "gone.png")
    assert "rose/30.png cannot be read" in refusal(flowers)


def test_skipping_does_not_hide_that_most_or_a_class_is_unreadable(flowers):
    for number in range(9):
        (flowers / f"daisy/{number}.PNG").write_bytes(b"broken")
    assert "no training image of class 'daisy' can be read" in refusal(flowers, corrupt="skip")
    for number in range(10):
        (flowers / f"rose/{number:02}.png").write_bytes(b"broken")
    assert "more than half of the 34 images cannot be read" in refusal(flowers, corrupt="skip")


def test_what_is_wrong_with_a_folder_is_named(flowers, tmp_path, monkeypatch):
    assert f"{tmp_path}/nowhere cannot be read (No such file" in refusal(tmp_path / "nowhere")
    (flowers / "tulip/empty").mkdir(parents=True)
    assert f"the class folder {flowers}/tulip holds no images" in refusal(flowers)
    (tmp_path / "nothing").mkdir()
    assert f"{tmp_path}/nothing holds no images" in refusal(tmp_path / "nothing")
    write(flowers / "preview.png", grey(0))
    assert f"{flowers}/preview.png lies beside class folders" in refusal(flowers)

    def scandir(path):
        if str(path).endswith("rose"):
            raise PermissionError(13, "Permission denied")
        return original(path)

    original = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)  # tests may run as root, whom no permission stops
    (flowers / "preview.png").unlink()
    assert f"{flowers}/rose cannot be read (Permission denied)" in refusal(flowers)


def test_more_than_half_of_the_free_memory_is_refused(flowers, monkeypatch):
    # 34 images of 36 bytes.
    monkeypatch.setattr(folder, "_free_memory", lambda: 34 * 36 * 2)
    read(flowers)
    monkeypatch.setattr(folder, "_free_memory", lambda: 34 * 36 * 2 - 2)
    assert "use --config.data.stream=True" in refusal(flowers)
