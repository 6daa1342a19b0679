"""Whatever people keep images in, and whatever may be wrong with it."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from igan.data.folder import scan
from igan.errors import UserError
from igan.metrics import images as module
from igan.metrics.images import from_array, from_folder, from_path, read_once


@pytest.fixture
def pixels(random) -> np.ndarray:
    return random.integers(0, 256, (7, 9, 11, 3), np.uint8)


def write(folder, pixels, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index:03}.{suffix}")
    return folder


def test_folder_npy_and_npz_give_the_same_images(tmp_path, pixels):
    np.save(tmp_path / "a.npy", pixels)
    np.savez_compressed(tmp_path / "a.npz", pixels)
    np.savez(tmp_path / "b.npz", images=pixels, labels=np.arange(7))
    sources = [write(tmp_path / "a", pixels), tmp_path / "a.npy", tmp_path / "a.npz", tmp_path / "b.npz"]
    for source in sources:
        images = from_path(source)
        assert (images.name, images.count) == (source.name, 7)
        np.testing.assert_array_equal(images.read(0, 7), pixels)
        np.testing.assert_array_equal(images.read(2, 5), pixels[2:5])
        assert images.read(0, 1).dtype == np.uint8
    hashes = [from_path(source).content_hash() for source in sources]
    assert len(set(hashes[1:])) == 1
    np.save(tmp_path / "a.npy", pixels[::-1])
    assert from_path(tmp_path / "a.npy").content_hash() != hashes[1]


def test_folders_are_read_in_order_at_any_depth_and_skip_what_is_no_image(tmp_path, pixels):
    write(tmp_path / "set" / "b", pixels[:2])
    write(tmp_path / "set" / "a" / "deep", pixels[2:4], "PNG")
    write(tmp_path / "set" / ".hidden", pixels[4:])
    (tmp_path / "set" / "notes.txt").write_text("not an image")
    images = from_folder(tmp_path / "set")
    np.testing.assert_array_equal(images.read(0, images.count), pixels[[2, 3, 0, 1]])
    before = images.content_hash()
    Image.fromarray(pixels[6]).save(tmp_path / "set" / "b" / "001.png")
    assert from_folder(tmp_path / "set").content_hash() != before


def test_grey_is_repeated_and_opaque_alpha_dropped(tmp_path, pixels):
    grey = pixels[..., 0]
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(from_array("grey", array).read(0, 7), rgb)
    np.testing.assert_array_equal(from_folder(write(tmp_path / "grey", grey)).read(0, 7), rgb)
    opaque = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1)
    np.testing.assert_array_equal(from_array("opaque", opaque).read(0, 7), pixels)
    np.testing.assert_array_equal(from_folder(write(tmp_path / "opaque", opaque)).read(0, 7), pixels)
    opaque[3, 2, 2, 3] = 254
    for images in (from_array("clear", opaque), from_folder(write(tmp_path / "clear", opaque))):
        assert images.read(0, 3).shape == (3, 9, 11, 3)
        with pytest.raises(UserError, match=r"(clear|003\.png) has transparent pixels: compose it"):
            images.read(2, 5)


def test_palettes_are_looked_up(tmp_path, pixels):
    (tmp_path / "palette").mkdir()
    image = Image.fromarray(pixels[0]).quantize(16)
    image.save(tmp_path / "palette" / "0.png")
    np.testing.assert_array_equal(from_folder(tmp_path / "palette").read(0, 1)[0], np.asarray(image.convert("RGB")))


def test_mixed_sizes_name_both_files(tmp_path, pixels):
    folder = write(tmp_path / "mixed", pixels[:3])
    Image.fromarray(pixels[0, :8]).save(folder / "002.png")
    images = from_folder(folder)
    with pytest.raises(UserError, match=r"000.png is 11x9 and .*002.png is 11x8: scores need images of one size"):
        images.read(0, 3)


def test_damaged_and_deep_files_are_named(tmp_path, pixels):
    folder = write(tmp_path / "set", pixels[:2])
    content = (folder / "001.png").read_bytes()
    (folder / "001.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"001.png cannot be decoded \(.*\): remove or replace it"):
        from_folder(folder).read(0, 2)
    Image.fromarray(np.zeros((9, 11), np.uint16)).save(folder / "001.png")
    with pytest.raises(UserError, match=r"001\.png has more than 8 bits a channel"):
        from_folder(folder).read(0, 2)


def test_sixteen_bits_of_colour_and_several_frames_are_named(tmp_path, pixels):
    """Pillow cuts the former to 8 bits without a word, and shows the first of the latter."""
    folder = write(tmp_path / "set", pixels[:1])
    rows = b"".join(b"\0" + bytes(11 * 6) for _ in range(9))
    header = struct.pack(">IIBBBBB", 11, 9, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    deep = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (folder / "001.png").write_bytes(deep)
    with pytest.raises(UserError, match=r"001\.png has more than 8 bits a channel"):
        from_folder(folder).read(0, 2)
    (folder / "001.png").unlink()
    frames = [Image.fromarray(frame) for frame in pixels[:3]]
    frames[0].save(folder / "001.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"001\.tiff holds 3 images: save the one that is meant"):
        from_folder(folder).read(0, 2)


def test_a_folder_holds_what_training_takes_from_it(tmp_path, pixels):
    write(tmp_path / "elsewhere", pixels[:2])
    folder = write(tmp_path / "set" / "cat", pixels[2:4]).parent
    (folder / "dog").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "around").symlink_to(folder / "cat")
    Image.fromarray(pixels[4]).convert("P").save(folder / "cat" / "last.GIF")
    found = scan(str(folder))
    images = from_folder(folder)
    assert images.count == len(found.train) + len(found.test) == 5 and images.folders == 2
    np.testing.assert_array_equal(images.read(3, 5), pixels[:2])


NAN = np.zeros((2, 4, 4, 3), np.float32)
NAN[1, 2, 3, 0] = np.nan


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (NAN, "pixels, some of them NaN: images are integers in 0..255 of type uint8"),
        (np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 4, 4, 3), r"between -1 and 1: .*\(\(x \+ 1\) \* 127.5\)"),
        (np.linspace(0, 1, 96).reshape(2, 4, 4, 3), r"float64 pixels between 0 and 1: .*save \(x \* 255\)"),
        (np.linspace(0, 255, 96).reshape(2, 4, 4, 3), r"between 0 and 255: .*save \(x\)"),
        (np.zeros((2, 4, 4, 3), np.int64), "int64 pixels between 0 and 0: .*uint8"),
        (np.zeros((0, 4, 4, 3)), "values of type float64"),
        (np.zeros((2, 3, 4, 5), np.uint8), r"has the shape \(2, 3, 4, 5\)"),
        (np.zeros((2, 3), np.uint8), r"has the shape \(2, 3\)"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"has the shape \(0, 4, 4, 3\)"),
        (np.array([["a"]]), "values of type <U1"),
        (np.zeros((2, 4, 4), bool), r"values of type bool: .*save x \* np.uint8\(255\)"),
        (np.zeros((32, 32, 3), np.uint8), r"has the shape \(32, 32, 3\), as one image has"),
    ],
)
def test_arrays_that_are_no_images_say_what_was_seen(tmp_path, array, message):
    with pytest.raises(UserError, match=message):
        from_array("x.npy", array)
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=message):
        from_path(tmp_path / "x.npy")


def test_what_is_not_there_or_no_images_is_one_line(tmp_path, pixels):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "bad.npz").write_bytes(b"PK nonsense")
    (tmp_path / "bad.npy").write_bytes(b"nonsense")
    np.savez(tmp_path / "two.npz", a=pixels, b=pixels)
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    for name, message in {
        "empty": "holds no images",
        "nothing": "there is no .*nothing: give a folder",
        "text.txt": "neither a folder nor an .npy or .npz file",
        "bad.npz": "cannot be read as an array",
        "bad.npy": "cannot be read as an array",
        "two.npz": "holds a, b: keep one array, or name it 'images'",
        "object.npy": "cannot be read as an array",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            from_path(tmp_path / name)
        assert "\n" not in str(error.value)


def test_images_that_are_read_once_are_those_of_their_source(monkeypatch):
    array = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3)).astype(np.uint8)
    for limit, expected in ((module.MOST_KEPT_BYTES, [(0, 3), (3, 6), (6, 10)]), (100, None)):
        monkeypatch.setattr(module, "MOST_KEPT_BYTES", limit)
        asked = []

        def make(start: int, stop: int, asked=asked) -> np.ndarray:
            asked.append((start, stop))
            return array[start:stop]

        once = read_once(module.from_function("drawn", 10, make))
        for start, stop in ((0, 3), (3, 6), (6, 10), (0, 5), (2, 10)):
            np.testing.assert_array_equal(once.read(start, stop), array[start:stop])
        assert asked == (expected or [(0, 3), (3, 6), (6, 10), (0, 5), (2, 10)])
