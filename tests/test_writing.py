"""Images on disk: in parts, with little memory, and whole or not there, whatever goes wrong meanwhile."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from igan import writing
from igan.errors import UserError
from igan.metrics.images import Images, from_array, from_function

FORMS = ("grid.png", "array.npz", "folder")


def noise(count: int, side: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, writing.BATCH, 2 * writing.BATCH + 1])
def test_an_array_written_in_parts_is_the_array(tmp_path: Path, count: int, channels: int) -> None:
    pixels = noise(count, channels=channels)
    writing.write(from_array("noise", pixels), channels, tmp_path / "deep" / "images.npz")
    with np.load(tmp_path / "deep" / "images.npz", allow_pickle=False) as archive:
        assert archive.files == ["images"]
        np.testing.assert_array_equal(archive["images"], pixels)
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["images.npz"]


def test_a_large_array_needs_little_memory(tmp_path: Path) -> None:
    batch = noise(writing.BATCH, 32)
    images = from_function("noise", 20_000, lambda start, stop: batch[: stop - start])
    tracemalloc.start()
    writing.write(images, 3, tmp_path / "images.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 20_000 * 32 * 32 * 3 > 60e6 > 10e6 > peak
    assert (tmp_path / "images.npz").stat().st_size <= writing.size(20_000, (32, 32, 3), tmp_path / "images.npz")


def broken(error: BaseException) -> Images:
    """Images of which the second batch cannot be made."""

    def read(start: int, stop: int) -> np.ndarray:
        if start:
            raise error
        return noise(stop - start)

    return from_function("noise", 2 * writing.BATCH, read)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_ctrl_c_leaves_nothing(tmp_path: Path, form: str, error: BaseException) -> None:
    with pytest.raises(type(error)):
        writing.write(broken(error), 3, tmp_path / form)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()
    (tmp_path / "array.npz").write_text("of yesterday")
    with pytest.raises(type(error)):
        writing.write(broken(error), 3, tmp_path / form)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["array.npz", "folder"]
    assert (tmp_path / "array.npz").read_text() == "of yesterday"


def test_a_folder_has_its_images_in_their_order(tmp_path: Path) -> None:
    pixels = noise(300)
    (tmp_path / "there").mkdir()
    for folder in ("there", "new/one"):
        writing.write(from_array("noise", pixels), 3, tmp_path / folder)
        names = sorted(each.name for each in (tmp_path / folder).iterdir())
        assert names == [f"{number:06d}.png" for number in range(300)]


@pytest.mark.parametrize(
    ("count", "shape", "output", "size"),
    [
        (1000, (28, 28, 1), "images.npz", 813_512),
        (1000, (28, 28, 1), "folder", 4_096_000),
        (10, (128, 128, 3), "folder", 10 * 13 * 4096),
        (10**11, (32, 32, 3), "images.npz", 310_800_000_000_512),
    ],
)
def test_the_size_is_that_without_compression(count: int, shape, output: str, size: int) -> None:
    assert writing.size(count, shape, Path(output)) == size


def test_a_folder_takes_no_more_than_was_said(tmp_path: Path) -> None:
    writing.write(from_array("noise", noise(20, 64)), 3, tmp_path / "folder")
    used = sum(each.stat().st_blocks * 512 for each in (tmp_path / "folder").iterdir())
    assert used <= writing.size(20, (64, 64, 3), tmp_path / "folder")


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch) -> None:
    asked = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage._replace(free=5_000))
    writing.check_room(tmp_path / "not" / "yet" / "images.npz", 5_000)
    with pytest.raises(UserError, match=r"takes up to 5\.1 kB, and 5 kB are free there: give a smaller --count"):
        writing.check_room(tmp_path / "images.npz", 5_100)
    assert asked == [tmp_path, tmp_path]


def test_numbers_of_bytes_are_written_for_people() -> None:
    for number, text in ((784, "784 bytes"), (999_999, "1,000 kB"), (4_096_000, "4.1 MB"), (10**30, "1,000,000,000")):
        assert writing.in_bytes(number).startswith(text)
