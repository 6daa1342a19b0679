"""Differentiable augmentation (Zhao et al. 2020, "DiffAugment", section 3 and appendix): the discriminator sees T(x).

One random transformation T, whose draws are each image's own and new in every call, stands before the discriminator for
real and generated images, in the steps of both players, always. The generator learns through it. Real images that are
augmented alone would teach the generator the augmentation.

The operations are plain functions of images and draws. Images are in [-1, 1]; igan takes those of networks with another
range there and back (`Technique.input_range`), so that a brightness or a hole is the same for all of them.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from igan.errors import UserError, did_you_mean
from igan.game.technique import Technique
from igan.randomness import stream
from igan.types import Array, Key

IMAGE_RANGE = (-1.0, 1.0)
SHIFT = 1 / 8  # The largest translation, of an image's side.


def make(policy: tuple[str, ...] = ("color", "translation", "cutout")) -> Technique:
    """Returns differentiable augmentation of what the discriminator is shown.

    Args:
      policy: names of the operations, in their order: "color", "translation", "cutout". The paper's BigGAN on CIFAR-10
        has the last two, its StyleGAN2 "color" and "cutout", with few data all three.

    Raises UserError for an unknown name, one given twice, or none at all.
    """
    check_policy("diff_augment", policy, OPERATIONS)
    return Technique(
        discriminator_input=lambda state, key, images: augment(key, images, policy),
        input_range=IMAGE_RANGE,
        needs=frozenset({"images"}),
    )


def augment(key: Key, images: Array, policy: Sequence[str] = ("color", "translation", "cutout")) -> Array:
    """Returns the images after one random transformation each; differentiable.

    Args:
      key: of all draws of this call.
      images: float [n, height, width, channels] in [-1, 1]; nothing is clipped.
      policy: names of `OPERATIONS`, in their order.

    Example: the loss of any discriminator, whose logit is the mean pixel here, with any optax optimiser.

    >>> import jax, optax
    >>> from igan.techniques.diff_augment import augment
    >>> def loss(weight, key, real, fake):
    ...     of_real, of_fake = jax.random.split(key)
    ...     real_logits = weight * augment(of_real, real, ["cutout"]).mean(axis=(1, 2, 3))
    ...     fake_logits = weight * augment(of_fake, fake, ["cutout"]).mean(axis=(1, 2, 3))
    ...     return jax.nn.softplus(-real_logits).mean() + jax.nn.softplus(fake_logits).mean()
    >>> real, fake = jax.numpy.ones((4, 8, 8, 3)), -jax.numpy.ones((4, 8, 8, 3))
    >>> optimizer, weight = optax.sgd(0.1), jax.numpy.array(0.0)
    >>> slope = jax.grad(loss)(weight, jax.random.key(0), real, fake)
    >>> updates, _ = optimizer.update(slope, optimizer.init(weight))
    >>> bool(optax.apply_updates(weight, updates) > 0)  # Bright images are real.
    True
    """
    for name in policy:
        images = OPERATIONS[name](stream(key, name), images)
    return images


def check_policy(technique: str, policy: Sequence[str], known: Sequence[str] | dict) -> None:
    """Raises UserError unless a policy is a list of different known names, one at least.

    >>> check_policy("diff_augment", ("color",), ["color", "cutout"])
    """
    field = f"techniques.{technique}.policy"
    if not isinstance(policy, tuple | list) or not all(isinstance(name, str) for name in policy):
        raise UserError(f"{field} is {policy}, expected names in brackets, like ('{next(iter(known))}',)")
    if not policy:
        raise UserError(
            f"{field} is empty, which changes nothing: set --config.techniques.{technique}.enabled=False, or name"
            f" operations, like --config.{field}=\"('{next(iter(known))}',)\""
        )
    for name in policy:
        if name not in known:
            raise UserError(f"{field} has an unknown operation '{name}'.{did_you_mean(name, known)}")
    if len(set(policy)) < len(policy):
        raise UserError(f"{field} is {policy}, expected each operation once at most")


def brighten(images: Array, shift: Array) -> Array:
    """Returns images with `shift` added to all pixels of each: [n, h, w, c] and [n].

    >>> brighten(jnp.zeros((1, 1, 1, 1)), jnp.array([0.25]))
    Array([[[[0.25]]]], dtype=float32)
    """
    return images + _of_each(shift)


def saturate(images: Array, factor: Array) -> Array:
    """Returns images whose channels differ `factor` times as much from their mean in each pixel: [n, h, w, c] and [n].

    Grey images stay as they are.

    >>> saturate(jnp.array([[[[0.0, 0.5, 1.0]]]]), jnp.array([0.0]))
    Array([[[[0.5, 0.5, 0.5]]]], dtype=float32)
    """
    mean = jnp.mean(images, axis=3, keepdims=True)
    return mean + (images - mean) * _of_each(factor)


def contrast(images: Array, factor: Array) -> Array:
    """Returns images whose pixels differ `factor` times as much from the mean of their image: [n, h, w, c] and [n].

    >>> contrast(jnp.array([[[[0.0], [1.0]]]]), jnp.array([2.0]))[0, 0, :, 0]
    Array([-0.5,  1.5], dtype=float32)
    """
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    return mean + (images - mean) * _of_each(factor)


def translate(images: Array, down: Array, right: Array) -> Array:
    """Returns images moved by whole pixels, with zeros where nothing was: [n, h, w, c] and int32 [n] twice.

    >>> translate(jnp.array([[[[1.0], [2.0], [3.0]]]]), jnp.array([0]), jnp.array([1]))[0, 0, :, 0]
    Array([0., 1., 2.], dtype=float32)
    """
    for axis, shift in ((1, down), (2, right)):
        size = images.shape[axis]
        source = jnp.arange(size) - shift[:, None]
        place = (..., None, None) if axis == 1 else (slice(None), None, slice(None), None)
        moved = jnp.take_along_axis(images, jnp.clip(source, 0, size - 1)[place], axis=axis)
        images = jnp.where(((source >= 0) & (source < size))[place], moved, 0)
    return images


def cut_out(images: Array, row: Array, column: Array) -> Array:
    """Returns images with a hole of zeros, half as high and as wide as they are: [n, h, w, c] and int32 [n] twice.

    Args:
      row, column: the hole's centre; half of it may lie outside of the image.

    >>> cut_out(jnp.ones((1, 2, 2, 1)), jnp.array([1]), jnp.array([0]))[0, :, :, 0]
    Array([[1., 1.],
           [0., 1.]], dtype=float32)
    """
    inside = []
    for size, centre in ((images.shape[1], row), (images.shape[2], column)):
        side = rounded(size / 2)
        from_start = jnp.arange(size) - (centre[:, None] - side // 2)
        inside.append((from_start >= 0) & (from_start < side))
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    return jnp.where(hole[..., None], 0, images)


def draw_color(key: Key, images: Array) -> Array:
    """Brightness + U(-0.5, 0.5), then saturation * U(0, 2), then contrast * U(0.5, 1.5)."""

    def uniform(name: str, low: float, high: float) -> Array:
        return jax.random.uniform(stream(key, name), (len(images),), images.dtype, low, high)

    images = brighten(images, uniform("brightness", -0.5, 0.5))
    images = saturate(images, uniform("saturation", 0.0, 2.0))
    return contrast(images, uniform("contrast", 0.5, 1.5))


def draw_translation(key: Key, images: Array) -> Array:
    """By up to an eighth of the side to both sides, each number of pixels as likely as another."""
    down, right = (
        jax.random.randint(stream(key, name), (len(images),), -farthest, farthest + 1)
        for name, farthest in zip(("down", "right"), (rounded(SHIFT * size) for size in images.shape[1:3]), strict=True)
    )
    return translate(images, down, right)


def draw_cutout(key: Key, images: Array) -> Array:
    """A hole somewhere."""
    return cut_out(images, *draw_centres(key, images))


def draw_centres(key: Key, images: Array) -> tuple[Array, Array]:
    """Returns centres for `cut_out`, each place as likely as another: int32 [n] twice.

    An even hole lies around the corner between pixels, of which there are one more than pixels.
    """
    row, column = (
        jax.random.randint(stream(key, name), (len(images),), 0, size + (rounded(size / 2) % 2 == 0))
        for name, size in zip(("row", "column"), images.shape[1:3], strict=True)
    )
    return row, column


OPERATIONS = {"color": draw_color, "translation": draw_translation, "cutout": draw_cutout}


def rounded(number: float) -> int:
    """Returns the nearest whole number of one that is not negative, the upper one of two: 3.5 pixels are 4.

    >>> rounded(2.5)
    3
    """
    return int(number + 0.5)


def _of_each(values: Array) -> Array:
    return values[:, None, None, None]
