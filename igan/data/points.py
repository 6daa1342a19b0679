"""Points of the plane as data: mixtures of Gaussians and spirals, drawn and never stored on disk.

A name chooses the shape, and settings may follow, each after a colon: `ring`, `ring:radius=2:std=0.02`, `grid`,
`spiral:arms=2`. Without settings the ring and the grid are those of VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et
al. 2018): 100,000 points to train on, the same in every run as with any other data set.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from igan.data import plane
from igan.data.dataset import Dataset
from igan.errors import UserError, did_you_mean
from igan.types import Modes, Space

TRAIN, TEST = 100_000, 10_000


class Drawn(NamedTuple):
    """A way to draw points."""

    draw: Callable[[np.random.RandomState, int], tuple[np.ndarray, np.ndarray]]  # -> float [n, 2], labels [n].
    classes: int  # Of the labels: the mode, or the arm of the spiral.
    modes: Modes | None
    extent: float  # Pictures show the square from minus this to this along both axes.
    origin: str


def ring(modes: int = 8, radius: float = 1.0, std: float = 0.01) -> Drawn:
    """Returns Gaussians on a circle, mode i at the angle 2 pi i / modes.

    Args:
      modes: how many, at least 2.
      radius: of the circle; Metz et al. (2017) have 2.
      std: of each Gaussian along each axis; Metz et al. have 0.02.

    >>> ring().modes.centres.shape
    (8, 2)
    """
    _require("ring", "modes", modes, "a whole number from 2 to 1,000", isinstance(modes, int) and 2 <= modes <= 1000)
    _require_positive("ring", radius=radius, std=std)
    angles = 2 * np.pi * np.arange(modes) / modes  # Without the end of the circle, which is its beginning.
    centres = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _mixture(centres, std, f"{modes} Gaussians of std {std:g} on a circle of radius {radius:g}")


def grid(side: int = 5, spacing: float = 2.0, std: float = 0.05) -> Drawn:
    """Returns Gaussians on a square grid around the origin.

    Args:
      side: modes along each axis, at least 2.
      spacing: between neighbours.
      std: of each Gaussian along each axis.

    >>> grid().modes.centres.min(), grid().modes.centres.max()
    (-4.0, 4.0)
    """
    _require("grid", "side", side, "a whole number from 2 to 32", isinstance(side, int) and 2 <= side <= 32)
    _require_positive("grid", spacing=spacing, std=std)
    places = spacing * (np.arange(side) - (side - 1) / 2)
    centres = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
    return _mixture(centres, std, f"{side} x {side} Gaussians of std {std:g}, {spacing:g} apart")


def spiral(arms: int = 1, cycles: float = 1.0, noise: float = 0.02) -> Drawn:
    """Returns points along spirals that leave the origin: radius (2 t + 1) / 3 at the angle 2 pi t, t in [0, cycles].

    Args:
      arms: how many, turned evenly around the origin; the label of a point.
      cycles: turns of each.
      noise: standard deviation of what is added along each axis.
    """
    _require("spiral", "arms", arms, "a whole number from 1 to 100", isinstance(arms, int) and 1 <= arms <= 100)
    _require_positive("spiral", cycles=cycles)
    _require("spiral", "noise", noise, "a number from 0 to 1e6", 0 <= noise <= 1e6)

    def draw(random: np.random.RandomState, count: int) -> tuple[np.ndarray, np.ndarray]:
        arm, along = random.randint(arms, size=count), random.uniform(0, cycles, count)
        radius, angle = (2 * along + 1) / 3, 2 * np.pi * (along + arm / arms)
        line = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
        return line + noise * random.standard_normal((count, 2)), arm

    extent = 1.2 * ((2 * cycles + 1) / 3 + 3 * noise)
    return Drawn(draw, arms, None, extent, f"{arms} spiral arm(s) of {cycles:g} turn(s) with noise of std {noise:g}")


KINDS: dict[str, Callable[..., Drawn]] = {"ring": ring, "grid": grid, "spiral": spiral}


def is_name(name: str) -> bool:
    """Returns whether a data set of this name is of points.

    >>> is_name("ring"), is_name("ring:radius=2"), is_name("mnist")
    (True, True, False)
    """
    return name.partition(":")[0] in KINDS


def load(name: str) -> Dataset:
    """Draws a data set: training points and, of the same shape and apart from them, test points.

    Args:
      name: a shape of `KINDS` with its settings, and `train=N` for another number of training points.

    Returns:
      points float32 [n, 2] of a space of kind "points"; labels are the mode, or the arm of the spiral.

    Raises UserError for an unknown setting or a value that cannot be.

    >>> load("ring:radius=2:std=0.02").train_images.shape
    (100000, 2)
    """
    kind, *settings = name.split(":")
    values: dict[str, Any] = {}
    known = [*inspect.signature(KINDS[kind]).parameters, "train"]
    for setting in settings:
        field, _, text = setting.partition("=")
        if field not in known:
            raise UserError(f"data.name='{name}': '{kind}' has no setting '{field}'.{did_you_mean(field, known)}")
        if field in values:
            raise UserError(f"data.name='{name}' has {field} twice: leave one of them out")
        values[field] = _number(name, field, text)
    train = values.pop("train", TRAIN)
    _require(kind, "train", train, "a whole number from 1 to 10,000,000", isinstance(train, int) and 1 <= train <= 1e7)
    drawn = KINDS[kind](**values)
    random = np.random.RandomState(0)  # Its stream is frozen: the same points in every version of NumPy.
    parts = [drawn.draw(random, count) for count in (train, TEST)]
    (train_points, train_labels), (test_points, test_labels) = parts
    return Dataset(
        name=name,
        train_images=train_points.astype(np.float32),
        train_labels=train_labels.astype(np.int32),
        test_images=test_points.astype(np.float32),
        test_labels=test_labels.astype(np.int32),
        classes=drawn.classes,
        origin=f"drawn: {drawn.origin}",
        no_images=space(drawn.extent, drawn.modes),
    )


def space(extent: float, modes: Modes | None) -> Space:
    """Returns the space of points of the plane, which are kept, fed and scored as they are.

    Args:
      extent: pictures show the square from minus this to this along both axes.
      modes: of a mixture.
    """
    return Space(
        kind="points",
        shape=(2,),
        storage=np.dtype(np.float32),
        encode=lambda stored, _: jnp.asarray(stored),
        decode=lambda points, _: points,
        picture=lambda samples, _: plane.picture(samples, extent, modes),
        modes=modes,
    )


def _mixture(centres: np.ndarray, std: float, origin: str) -> Drawn:
    def draw(random: np.random.RandomState, count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.randint(len(centres), size=count)
        return centres[labels] + std * random.standard_normal((count, 2)), labels

    extent = 1.25 * (float(np.abs(centres).max()) + 3 * std)
    return Drawn(draw, len(centres), Modes(centres, float(std)), extent, origin)


def _number(name: str, field: str, text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise UserError(f"data.name='{name}': {field} is '{text}', expected a number, like {field}=2")


def _require_positive(kind: str, **values: float) -> None:
    for field, value in values.items():
        _require(kind, field, value, "a number from 1e-6 to 1e6", 1e-6 <= value <= 1e6)


def _require(kind: str, field: str, value: Any, expected: str, holds: bool) -> None:
    if not holds:
        raise UserError(f"{field} of the data '{kind}' is {value}, expected {expected}: type '{kind}:{field}=...'")
