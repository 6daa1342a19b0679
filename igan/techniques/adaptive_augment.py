"""Adaptive discriminator augmentation (Karras et al. 2020a, "ADA", sections 2 and 3, appendix B).

Each of several transformations stands before the discriminator with the same probability p, in the steps of both
players. p follows how far the discriminator overfits: r = E[sign D(T(x))] of real images, which is 0 where it cannot
tell and 1 where it knows them all. Every few steps p moves by a fixed amount per image, up where r is above its target
and down where it is below. As long as p stays below about 0.8 the generator does not learn the augmentations.

With a final probability p asks nobody: it goes there along the run's ramp (`igan.game.schedule`), as in R3GAN (Huang et
al. 2024), where signs of logits say nothing. A step has the p that the discriminator's step before has left.

What differs from the paper: images are resampled bilinearly where they are, without the wavelet filter that the paper
puts around it, so that strong shrinking aliases; nothing is padded, the mirror image goes on for ever; band filters and
noise are left out. The transformations are computed for every image, also while p is 0, when they change nothing, not
a bit: p is memory, of each replica, and a branch on it would compute both sides with several of them.

Images are in [-1, 1], as in `diff_augment`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from igan.errors import UserError, require_number
from igan.game import schedule
from igan.game.technique import Technique
from igan.layers.warp import chained, color_matrix, quarter_turn, recolor, scaling, shifting, turning, warp
from igan.randomness import stream
from igan.techniques.diff_augment import IMAGE_RANGE, check_policy, cut_out, draw_centres
from igan.types import Array, Examples, Key, Metrics, View


class Memory(NamedTuple):
    """What is remembered from one step of the discriminator to the next."""

    probability: Array  # float32 [], p.
    overfitting: Array  # float32 [], r as it was when p was moved last.
    signs: Array  # float32 [], sum of the signs of the real images' logits since then,
    logits: Array  # float32 [], their number,
    images: Array  # float32 [], and that of the images.
    moved: Array  # int32 [], the step in which p was moved last; -1 before.


def make(
    target: float = 0.6,
    interval: int = 4,
    ramp_images: float = 500_000.0,
    initial: float = 0.0,
    policy: tuple[str, ...] = ("pixel_blitting", "geometry", "color"),
    color_share: float = 1.0,
    final_probability: float = 0.0,
) -> Technique:
    """Returns adaptive augmentation of what the discriminator is shown.

    Args:
      target: r that p is moved towards, between -1 and 1.
      interval: steps of the discriminator from one move of p to the next.
      ramp_images: real images in which p goes from 0 to 1, at its constant speed; the paper takes 100,000 for
        fine-tuning.
      initial: p at the beginning, 0 to 1.
      policy: which groups of transformations, in their order: "pixel_blitting" (flip, quarter turns, whole pixels),
        "geometry" (scale, turn, stretch, shift), "color" (brightness, contrast, luma flip, hue, saturation), "cutout".
      color_share: of p, that of the transformations of "color"; 0.5 in R3GAN.
      final_probability: p at the end of the ramp, `config.ramp_share`, on its way from `initial`; 0: p adapts.

    Raises UserError naming the setting that is off.
    """
    is_probability: Callable[[float], bool] = lambda value: 0 <= value <= 1  # noqa: E731
    for name, value, usual, expected, holds in (
        ("target", target, 0.6, "a number from -1 to 1", lambda value: -1 <= value <= 1),
        ("initial", initial, 0.0, "a probability, 0 to 1", is_probability),
        ("color_share", color_share, 0.5, "a share, 0 to 1", is_probability),
        ("final_probability", final_probability, 0.55, "a probability, 0 to 1", is_probability),
        ("ramp_images", ramp_images, 500_000, "a finite number of images, at least 1", lambda value: 1 <= value < 1e30),
        (
            "interval",
            interval,
            4,
            "a whole number of steps, 1 to 10,000",
            lambda value: isinstance(value, int) and 1 <= value <= 10_000,
        ),
    ):
        require_number(f"techniques.adaptive_augment.{name}", value, expected, holds, usual)
    check_policy("adaptive_augment", policy, GROUPS)

    def init(key: Key, real: Examples) -> Memory:
        if real.images.shape[-1] not in (1, 3):
            raise UserError(
                f"adaptive_augment is for images of 1 or 3 channels, and these have {real.images.shape[-1]}: set"
                " --config.techniques.adaptive_augment.enabled=False"
            )
        nothing = jnp.zeros((), jnp.float32)
        return Memory(jnp.float32(initial), nothing, nothing, nothing, nothing, jnp.int32(-1))

    def update(memory: Memory, view: View) -> Memory:
        """After each part of a step that is looked at in parts: p is moved in the first one of a step that is due."""
        if final_probability:
            return memory._replace(probability=jnp.float32(schedule.moved(initial, final_probability, view.ramp)))
        memory = memory._replace(
            signs=memory.signs + jnp.sum(jnp.sign(view.real.logits)),
            logits=memory.logits + view.real.logits.size,
            images=memory.images + len(view.real.images),
        )
        due = ((view.turn.count + 1) % interval == 0) & (view.turn.count != memory.moved)
        after = moved(memory, view.turn.count, target, ramp_images)
        return jax.tree.map(lambda new, old: jnp.where(due, new, old), after, memory)

    def report(memory: Memory, view: View) -> Metrics:
        return {"probability": memory.probability, "overfitting": memory.overfitting}

    def conflict(techniques: Mapping[str, Technique]) -> str | None:
        for name, each in techniques.items():
            # Least squares has its zero there with labels on both sides of it, and a critic nowhere.
            plays = each.objective and each.discriminator_loss is not None
            if plays and each.boundary != 0 and not final_probability:
                return (
                    f"the sign of a logit says nothing with {name}, whose zero is not where the discriminator is"
                    " undecided: use another objective, say non_saturating, or diff_augment"
                )
        return None

    return Technique(
        init=init,
        update=update,
        report=report,
        discriminator_input=lambda memory, key, images: augment(key, images, memory.probability, policy, color_share),
        input_range=IMAGE_RANGE,
        needs=frozenset({"images"}),
        conflict=conflict,
    )


def moved(memory: Memory, step: Array | int, target: float = 0.6, ramp_images: float = 500_000.0) -> Memory:
    """Returns the memory with p moved by the images seen since the last move, and begun anew.

    Args:
      step: the step of the discriminator that this is.
      target, ramp_images: see `make`.

    >>> seen = Memory(jnp.zeros(()), jnp.zeros(()), jnp.float32(200), jnp.float32(256), jnp.float32(256), jnp.int32(-1))
    >>> moved(seen, 3).probability  # 256 / 500,000
    Array(0.000512, dtype=float32)
    """
    overfitting = memory.signs / jnp.maximum(memory.logits, 1)
    move = jnp.sign(overfitting - target) * memory.images / ramp_images
    nothing = jnp.zeros_like(memory.signs)
    return Memory(
        probability=jnp.clip(memory.probability + move, 0, 1),
        overfitting=overfitting,
        signs=nothing,
        logits=nothing,
        images=nothing,
        moved=jnp.asarray(step, jnp.int32),
    )


def augment(
    key: Key,
    images: Array,
    probability: Array | float,
    policy: Sequence[str] = ("pixel_blitting", "geometry", "color"),
    color_share: float = 1.0,
) -> Array:
    """Returns the images after the transformations of a policy, each of them with this probability; differentiable.

    Args:
      key: of all draws of this call; each image has its own.
      images: float [n, height, width, channels] in [-1, 1], of 1 or 3 channels; nothing is clipped.
      probability: p, [] or a number.
      policy: names of `GROUPS`, in their order. Neighbours among "pixel_blitting" and "geometry" are resampled at once.
      color_share: of p, that of the transformations of "color".

    Example: with p = 0 nothing changes.

    >>> images = jnp.ones((2, 8, 8, 3))
    >>> bool(jnp.all(augment(jax.random.key(0), images, 0.0) == images))
    True
    """
    draws = Draws(key, len(images), jnp.asarray(probability, jnp.float32))
    inverse = None
    for name in policy:
        if name in PLACES:
            inverse = PLACES[name](draws, inverse, *images.shape[1:3])
            continue
        if inverse is not None:
            images, inverse = warp(images, inverse), None
        own = draws._replace(probability=draws.probability * color_share) if name == "color" else draws
        images = LOOKS[name](own, images)
    return images if inverse is None else warp(images, inverse)


class Draws(NamedTuple):
    """The random numbers of one call, by name, for each image."""

    key: Key
    count: int
    probability: Array

    def of(self, name: str, draw: Callable[[Key, tuple[int]], Array], share: Array | None = None) -> Array:
        """Returns one draw for each image: zero where the transformation of this name is left out.

        Args:
          share: the probability that it is not; p, if not given.
        """
        applied = jax.random.bernoulli(
            stream(self.key, f"{name}/applied"), self.probability if share is None else share, (self.count,)
        )
        return jnp.where(applied, draw(stream(self.key, name), (self.count,)), 0)

    def normal(self, name: str, std: float) -> Array:
        """Returns draws from N(0, std^2)."""
        return self.of(name, lambda key, shape: std * jax.random.normal(key, shape))

    def uniform(self, name: str, most: float, share: Array | None = None) -> Array:
        """Returns draws from U(-most, most)."""
        return self.of(name, lambda key, shape: jax.random.uniform(key, shape, minval=-most, maxval=most), share)

    def one_of(self, name: str, count: int) -> Array:
        """Returns draws from 0..count - 1."""
        return self.of(name, lambda key, shape: jax.random.randint(key, shape, 0, count))


def blit(draws: Draws, inverse: Array | None, height: int, width: int) -> Array:
    """Flips half of the images, turns them by any number of quarters, shifts them by up to an eighth."""
    mirror, quarters = 1.0 - 2 * draws.one_of("flip", 2), draws.one_of("quarter_turns", 4)
    x, y = (jnp.round(draws.uniform(name, size / 8)) for name, size in (("shift_x", width), ("shift_y", height)))
    return chained(inverse, scaling(mirror, jnp.ones_like(mirror)), quarter_turn(-quarters), shifting(-x, -y))


def deform(draws: Draws, inverse: Array | None, height: int, width: int) -> Array:
    """Scales by 2^N(0, 0.2^2), turns, stretches by 2^N(0, 0.2^2), turns again, and shifts by N(0, 0.125^2) of a side.

    Of the two turns, by U(-pi, pi) each, at least one is made with probability p.
    """
    each_turn = 1 - jnp.sqrt(1 - draws.probability)
    scale, stretch = (jnp.exp2(draws.normal(name, 0.2)) for name in ("scale", "stretch"))
    before, after = (draws.uniform(name, math.pi, each_turn) for name in ("turn_before", "turn_after"))
    x, y = (size * draws.normal(name, 1 / 8) for name, size in (("fraction_x", width), ("fraction_y", height)))
    return chained(
        inverse,
        scaling(1 / scale, 1 / scale),
        turning(-before),
        scaling(1 / stretch, stretch),
        turning(-after),
        shifting(-x, -y),
    )


def color(draws: Draws, images: Array) -> Array:
    """Brightness + N(0, 0.2^2), contrast * 2^N(0, 0.5^2), luma flip, hue + U(-pi, pi), saturation * 2^N(0, 1)."""
    return recolor(
        images,
        color_matrix(
            brightness=draws.normal("brightness", 0.2),
            contrast=jnp.exp2(draws.normal("contrast", 0.5)),
            flip=draws.one_of("luma_flip", 2),
            hue=draws.uniform("hue", math.pi),
            saturation=jnp.exp2(draws.normal("saturation", 1.0)),
        ),
    )


def hole(draws: Draws, images: Array) -> Array:
    """A hole of half the side, as in `diff_augment`."""
    cut = cut_out(images, *draw_centres(stream(draws.key, "cutout"), images))
    chosen = draws.of("cutout", lambda key, shape: jnp.ones(shape, bool))
    return jnp.where(chosen[:, None, None, None], cut, images)


PLACES = {"pixel_blitting": blit, "geometry": deform}
LOOKS = {"color": color, "cutout": hole}
GROUPS = PLACES | LOOKS
