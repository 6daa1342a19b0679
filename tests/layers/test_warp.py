"""Maps of images and colours against NumPy in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.layers.warp import chained, color_matrix, quarter_turn, recolor, scaling, shifting, turning, warp


def mirrored(index: int, size: int) -> int:
    while size > 1 and not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index if size > 1 else 0


def resample(image: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """One image, pixel by pixel."""
    height, width, _ = image.shape
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y, _ = inverse @ [column - (width - 1) / 2, row - (height - 1) / 2, 1]
            x, y = x + (width - 1) / 2, y + (height - 1) / 2
            left, top = math.floor(x), math.floor(y)
            for i, across in ((left, 1 - (x - left)), (left + 1, x - left)):
                for j, along in ((top, 1 - (y - top)), (top + 1, y - top)):
                    result[row, column] += across * along * image[mirrored(j, height), mirrored(i, width)]
    return result


@pytest.mark.parametrize("shape", [(5, 5, 1), (4, 7, 3), (1, 3, 2)])
def test_bilinear_sampling_against_numpy(shape, random):
    images = random.normal(size=(4, *shape))
    maps = np.broadcast_to(np.eye(3), (4, 3, 3)) + random.normal(size=(4, 3, 3)) * [[[0.5, 0.5, 4.0]]]
    maps[:, 2] = [0, 0, 1]
    found = warp(jnp.float32(images), jnp.float32(maps))
    expected = np.stack([resample(image, each) for image, each in zip(images, maps, strict=True)])
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("inverse", "change"),
    [
        (jnp.eye(3)[None], lambda image: image),
        (scaling(-jnp.ones(1), jnp.ones(1)), lambda image: image[:, ::-1]),
        (quarter_turn(jnp.array([1])), lambda image: np.rot90(image, 1)),  # Its inverse turns x towards y.
        (quarter_turn(jnp.array([-1])), lambda image: np.rot90(image, -1)),
        (quarter_turn(jnp.array([2])), lambda image: np.rot90(image, 2)),
        (
            shifting(jnp.array([-2.0]), jnp.array([1.0])),
            lambda image: np.pad(image, ((0, 1), (2, 0), (0, 0)), "reflect")[1:, :-2],
        ),
    ],
    ids=["nothing", "flip", "quarter turn", "back", "half turn", "shift"],
)
@pytest.mark.parametrize("side", [4, 5])
def test_what_moves_pixels_to_pixels_rounds_nothing(inverse, change, side, random):
    image = random.normal(size=(side, side, 2)).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(warp)(image[None], inverse)[0], change(image))


def test_maps_follow_each_other_from_their_inverses(random):
    one, angle = jnp.ones(1), jnp.array([0.3])
    found = chained(None, scaling(2 * one, 3 * one), turning(angle), shifting(one, -one))[0]
    cos, sin = math.cos(0.3), math.sin(0.3)
    expected = np.diag([2, 3, 1]) @ [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]] @ [[1, 0, 1], [0, 1, -1], [0, 0, 1]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    back = turning(-angle)
    np.testing.assert_allclose(chained(found[None], back)[0], expected @ np.asarray(back[0]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(quarter_turn(jnp.arange(-4, 5)), np.rint(turning(jnp.arange(-4, 5) * math.pi / 2)))


def color_by_hand(
    pixel: np.ndarray, brightness: float, contrast: float, flip: int, hue: float, saturation: float
) -> np.ndarray:
    """One operation after the other, without matrices; the hue by Rodrigues' rotation."""
    axis = np.ones(3) / np.sqrt(3)
    pixel = (pixel + brightness) * contrast
    luma = axis * (pixel @ axis)
    pixel = pixel - 2 * flip * luma
    pixel = pixel * np.cos(hue) + np.cross(axis, pixel) * np.sin(hue) + axis * (axis @ pixel) * (1 - np.cos(hue))
    luma = axis * (pixel @ axis)
    return luma + (pixel - luma) * saturation


def drawn(random: np.random.Generator) -> tuple[np.ndarray, ...]:
    return (
        random.normal(0, 0.2, 4),
        random.uniform(0.5, 2, 4),
        np.array([0, 1, 0, 1]),
        random.uniform(-3, 3, 4),
        random.uniform(0, 2, 4),
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_against_one_operation_after_the_other(channels, random):
    numbers = drawn(random)
    images = random.uniform(-1, 1, (4, 2, 3, channels))
    found = recolor(jnp.float32(images), color_matrix(*map(jnp.float32, numbers)))
    for index, image in enumerate(images):
        for place in np.ndindex(2, 3):
            pixel = np.broadcast_to(image[place], 3)
            expected = color_by_hand(pixel, *(each[index] for each in numbers))
            np.testing.assert_allclose(found[index][place], expected[:channels], atol=1e-5)


def test_no_change_of_colours_is_the_identity_bit_for_bit(random):
    images = random.uniform(-1, 1, (2, 3, 3, 3)).astype(np.float32)
    zero, one = jnp.zeros(2), jnp.ones(2)
    matrix = color_matrix(zero, one, zero, zero, one)
    np.testing.assert_array_equal(matrix, np.broadcast_to(np.eye(4), (2, 4, 4)))
    np.testing.assert_array_equal(jax.jit(recolor)(images, matrix), images)
    np.testing.assert_array_equal(recolor(images[..., :1], matrix), images[..., :1])


def test_a_third_of_a_circle_swaps_the_channels(random):
    pixel = jnp.float32([[[[0.1, 0.5, -0.4]]]])
    turned = recolor(pixel, color_matrix(*(jnp.array([each]) for each in (0.0, 1.0, 0.0, 2 * math.pi / 3, 1.0))))
    np.testing.assert_allclose(turned[0, 0, 0], [-0.4, 0.1, 0.5], atol=1e-6)  # Red becomes green.


def test_slopes_are_those_of_a_linear_map_and_can_be_taken_twice(random):
    images = jnp.float32(random.normal(size=(2, 4, 4, 1)))
    maps = chained(None, turning(jnp.array([0.4, -1.0])), shifting(jnp.array([0.3, 1.2]), jnp.array([-0.1, 0.0])))
    direction = jnp.float32(random.normal(size=images.shape))

    def energy(images: jax.Array) -> jax.Array:
        return jnp.sum(warp(images, maps) ** 2)

    along = jax.jvp(jax.grad(energy), (images,), (direction,))[1]
    pulled = jax.vjp(lambda given: warp(given, maps), images)[1](warp(direction, maps))[0]
    np.testing.assert_allclose(along, 2 * pulled, rtol=1e-4, atol=1e-5)
