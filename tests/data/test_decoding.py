"""What becomes of one image file, against Pillow's pixel values and NumPy."""

import io

import numpy as np
import pytest
from PIL import Image

from igan.data.decoding import Unreadable, decode, read_header
from igan.errors import UserError


def encode(image: Image.Image, kind: str = "png", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def rgb(random) -> np.ndarray:
    return random.integers(0, 256, (5, 8, 3), dtype=np.uint8)


def test_plain_images_are_read_exactly(rgb):
    np.testing.assert_array_equal(decode(encode(Image.fromarray(rgb)), 3, 0, "none"), rgb)
    grey = rgb[..., 0]
    np.testing.assert_array_equal(decode(encode(Image.fromarray(grey)), 1, 0, "none"), grey[..., None])
    # Grey among coloured images, and the reverse (luminance by ITU-R 601).
    np.testing.assert_array_equal(decode(encode(Image.fromarray(grey)), 3, 0, "none"), np.stack([grey] * 3, -1))
    luminance = rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decode(encode(Image.fromarray(rgb)), 1, 0, "none")[..., 0], luminance, atol=1)


def test_transparent_pixels_are_laid_over_white(rgb):
    alpha = np.uint8([0, 255, 128, 64, 200, 1, 254, 32]) * np.ones((5, 1), np.uint8)
    share = alpha[..., None] / 255
    over_white = rgb * share + 255 * (1 - share)
    rgba = Image.fromarray(np.dstack([rgb, alpha]))
    np.testing.assert_allclose(decode(encode(rgba), 3, 0, "none"), over_white, atol=1)
    la = Image.merge("LA", (Image.fromarray(rgb[..., 0]), Image.fromarray(alpha)))
    assert read_header(encode(la)).grey
    np.testing.assert_allclose(decode(encode(la), 1, 0, "none")[..., 0], over_white[..., 0], atol=1)


def test_palettes_become_rgb_and_their_transparent_entry_white():
    palette = Image.fromarray(np.uint8([[0, 1, 2]]), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    assert not read_header(encode(palette)).grey
    colours = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert decode(encode(palette), 3, 0, "none").tolist() == [colours]
    assert decode(encode(palette, transparency=1), 3, 0, "none").tolist() == [[colours[0], [255] * 3, colours[2]]]


def test_sixteen_bits_are_scaled_and_one_bit_is_black_and_white():
    deep = np.uint16([[0, 257, 32896, 65535, 300]])
    for kind in ("png", "tiff"):
        data = encode(Image.fromarray(deep), kind)
        assert read_header(data) == (1, 5, True)
        assert decode(data, 1, 0, "none").ravel().tolist() == [0, 1, 128, 255, 1]
    bits = encode(Image.fromarray(np.array([[True, False]])))
    assert read_header(bits).grey and decode(bits, 1, 0, "none").ravel().tolist() == [255, 0]


def test_cmyk_becomes_rgb():
    # Pure cyan, and black ink: red gone, and everything gone.
    image = Image.fromarray(np.uint8([[[255, 0, 0, 0]] * 8, [[0, 0, 0, 255]] * 8]).repeat(8, axis=0), "CMYK")
    pixels = decode(encode(image, "jpeg", quality=100), 3, 0, "none").astype(int)
    assert np.abs(pixels[:8] - [0, 255, 255]).max() <= 3 and pixels[8:].max() <= 3


def test_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    animation = encode(frames[0], "gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(animation, 3, 0, "none"), np.full((3, 4, 3), [255, 0, 0]))


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_respected(kind, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16], upright[:8, 16:], upright[8:, :16] = 255, (255, 0, 0), (0, 255, 0)  # white, red / green, black
    # How the sensor must have seen it (EXIF 2.3, tag 0x0112), in terms of NumPy.
    seen = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }

    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    data = encode(Image.fromarray(np.ascontiguousarray(seen[orientation])), kind, exif=exif, **options)
    assert read_header(data)[:2] == (16, 32)
    decoded = decode(data, 3, 0, "none").astype(int)
    assert decoded.shape == (16, 32, 3)
    corners = decoded[4::8, 8::16]
    np.testing.assert_allclose(corners, upright[4::8, 8::16], atol=12)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # as on import, which pytest undoes
def test_broken_exif_data_do_not_cost_the_image(rgb):
    for exif in (b"Exif\x00\x00MM\x00*\x00\x00\xff\xff", b"Exif\x00\x00II", b"Exif\x00\x00no header"):
        data = encode(Image.fromarray(rgb), "jpeg", exif=exif)
        assert read_header(data)[:2] == (5, 8) and decode(data, 3, 0, "none").shape == (5, 8, 3)


@pytest.mark.parametrize(("height", "width"), [(20, 33), (33, 20), (16, 16), (8, 40), (7, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_center_crop_is_the_middle_of_the_resized_image(random, height, width, channels):
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    cropped = decode(encode(image), channels, 8, "center")
    scale = 8 / min(height, width)
    sides = max(8, round(width * scale)), max(8, round(height * scale))
    whole = np.asarray(image.resize(sides, Image.Resampling.BICUBIC)).reshape(sides[1], sides[0], channels)
    top, left = (sides[1] - 8) // 2, (sides[0] - 8) // 2
    np.testing.assert_allclose(cropped.astype(int), whole[top : top + 8, left : left + 8], atol=1)


def test_an_image_of_the_right_size_is_not_touched(rgb):
    square = rgb[:, :5]
    np.testing.assert_array_equal(decode(encode(Image.fromarray(square)), 3, 5, "center"), square)


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    small = decode(encode(Image.fromarray(stripes)), 1, 8, "center")
    assert np.abs(small[:, 1:-1].astype(float) - 127.5).max() < 10


def test_random_crop_draws_every_window_of_the_longer_side():
    ramp = np.arange(12, dtype=np.uint8)[None] * np.ones((8, 1), np.uint8)
    for pixels, axis in ((ramp, 1), (ramp.T, 0)):
        data = encode(Image.fromarray(np.ascontiguousarray(pixels)))
        windows = [decode(data, 1, 8, "random", np.random.default_rng(seed))[..., 0] for seed in range(60)]
        starts = [int(window[0, 0]) for window in windows]
        assert set(starts) == {0, 1, 2, 3, 4}
        for start, window in zip(starts, windows, strict=True):
            np.testing.assert_array_equal(window, np.take(pixels, range(start, start + 8), axis))


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_truncated_and_foreign_files_are_errors(random, kind):
    whole = encode(Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)), kind)
    for data in (whole[: len(whole) // 2], b"", b"no image at all"):
        with pytest.raises(Exception, match=r"truncated|cannot identify|broken"):
            decode(data, 3, 0, "none")


def test_floating_point_images_are_refused():
    with pytest.raises(ValueError, match="floating-point"):
        decode(encode(Image.fromarray(np.float32([[0.5]])), "tiff"), 1, 0, "none")


def test_unreadable_images_are_named_once_and_counted(capsys):
    unreadable = Unreadable("skip", 1204)
    assert unreadable.notice() is None
    for name in ("d.jpg", "b.jpg", "a.jpg", "b.jpg", "c.jpg"):
        unreadable.report(name, OSError("image file is\ntruncated"))
    assert unreadable.notice() == "4 of 1,204 images could not be read and were skipped: a.jpg, b.jpg, c.jpg, ..."
    assert capsys.readouterr().err.splitlines() == [f"Skipped {name}.jpg: OSError: image file is" for name in "dbac"]


def test_most_images_unreadable_is_an_error_in_any_case():
    unreadable = Unreadable("skip", 5)
    for name in ("a", "b", "a"):
        unreadable.report(name, OSError())
    with pytest.raises(UserError, match="more than half of the 5 images"):
        unreadable.report("c", OSError("bad"))
    with pytest.raises(UserError, match=r"a\.jpg cannot be read .*--config\.data\.corrupt=skip"):
        Unreadable("error", 100).report("a.jpg", OSError("bad"))
