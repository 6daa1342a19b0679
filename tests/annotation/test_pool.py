"""From images of any source to files in which only pixels differ."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from igan.annotation import pool
from igan.annotation.audit import chunks
from igan.errors import UserError
from igan.metrics import images


def test_all_files_have_one_length_one_header_and_no_other_chunks(tmp_path):
    random = np.random.default_rng(0)
    flat = np.zeros((30, 28, 28), np.uint8)
    flat[np.arange(30), 3, 3] = np.arange(30)
    noisy = random.integers(0, 256, (30, 28, 28)).astype(np.uint8)
    given = [
        pool.Source("real", True, "r", "", images.from_array("r", flat)),
        pool.Source("g", False, "g", "", images.from_array("g", noisy)),
    ]
    files = [picture.png for each in pool.gather(given, 30) for picture in each]
    assert len({len(file) for file in files}) == 1 and len({file[:33] for file in files}) == 1
    assert pool.decode(files[0]).shape == (28, 28)  # Grey, as all are.
    assert all(file.count(b"IDAT") >= 1 and b"tEXt" not in file and b"gAMA" not in file for file in files)


def test_pixels_are_kept_and_sizes_brought_together():
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    large = random.integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    given = [
        pool.Source("real", True, "r", "", images.from_array("r", large)),
        pool.Source("g", False, "g", "", images.from_array("g", small)),
    ]
    real, generated = pool.gather(given, 20)
    assert {pool.decode(each.png).tobytes() for each in generated} == {each.tobytes() for each in small}
    assert {pool.decode(each.png).shape for each in real} == {(8, 8, 3)}
    wide = pool.Source("real", True, "r", "", images.from_array("r", np.zeros((5, 8, 16, 3), np.uint8)))
    with pytest.raises(UserError, match="crop them to the same proportions"):
        pool.gather([wide, given[1]], 20)


def test_large_images_are_made_smaller_as_they_are_read(monkeypatch):
    """Never are more than a few of them in memory."""

    def photographs(start: int, stop: int) -> np.ndarray:
        return np.full((stop - start, 512, 512, 3), np.arange(start, stop)[:, None, None, None], np.uint8)

    large = images.from_function("photographs", 60, photographs)
    small = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    given = [
        pool.Source("real", True, "r", "", large),
        pool.Source("g", False, "g", "", images.from_array("g", small)),
    ]
    monkeypatch.setattr(pool, "BLOCK_BYTES", 1 << 22)
    tracemalloc.start()
    for most in (60, 10):  # All of them, and a few of many.
        real, _ = pool.gather(given, most)
        assert len(real) == most and {pool.decode(each.png).shape for each in real} == {(8, 8, 3)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    values = [int(pool.decode(each.png)[0, 0, 0]) for each in pool.gather(given, 60)[0]]
    assert sorted(values) == list(range(60)) != values  # Each once, in random order.
    assert peak < 60 * 512 * 512 * 3 * 0.6


def test_a_jpeg_before_the_png_is_one_and_leaves_nothing_of_itself():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    for mode, shape in (("RGB", (16, 16, 3)), ("L", (16, 16))):
        plain, through = pool.encode(pixels, (16, 16), mode), pool.encode(pixels, (16, 16), mode, jpeg=50)
        assert len(plain) == len(through) and plain != through and pool.decode(through).shape == shape
        assert [name for name, _ in chunks(through)] == [b"IHDR", b"IDAT", b"IEND"]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=50)
    expected = np.asarray(Image.open(buffer))
    assert (pool.decode(pool.encode(pixels, (16, 16), "RGB", jpeg=50)) == expected).all()


def test_what_files_say_beside_their_pixels_is_not_passed_on(tmp_path):
    """A colour profile, a place and a date, as cameras write them, and a resolution and a text, as programs do."""
    random = np.random.default_rng(0)
    exif, info = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x010F], exif[0x9003] = "A camera", "2016:06:10 00:00:00"
    info.add_text("Software", "A generator")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, suffix, options in (
        ("real", "jpg", {"exif": exif, "icc_profile": profile, "dpi": (300, 300)}),
        ("g", "png", {"pnginfo": info, "icc_profile": profile, "dpi": (72, 72)}),
    ):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.{suffix}", **options)
    given = [pool.Source(name, name == "real", name, "", images.from_folder(tmp_path / name)) for name in ("real", "g")]
    found = {chunks(picture.png) for each in pool.gather(given, 5) for picture in each}
    assert len(found) == 1 and [name for name, _ in found.pop()] == [b"IHDR", b"IDAT", b"IEND"]
