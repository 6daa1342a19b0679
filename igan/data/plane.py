"""Points of the plane in a picture: a square panel for each generator, with the density of its samples as colour."""

import numpy as np

from igan.data.grids import image_grid
from igan.types import Modes

ALONE, AMONG_OTHERS = 400, 200  # Pixels along the side of a panel.
MOST_PANELS = 50
MODE = np.array([235, 120, 110], np.float64)  # Of the circles around the real modes: red, quieter than the samples.
SMALLEST_RING, RING_WIDTH = 0.025, 1.4  # A share of the side; pixels.
FEW, MANY = np.array([158, 188, 218], np.float64), np.array([8, 29, 88], np.float64)  # Blue, pale and dark.
WHITE = 255.0


def picture(samples: np.ndarray, extent: float, modes: Modes | None = None) -> np.ndarray:
    """Returns a picture of the samples of R generators, a panel each.

    Blue dots are samples, the darker the more there are; a sample outside the picture is at its edge. Red circles
    are around the modes, at three standard deviations where that can be seen.

    Args:
      samples: float [R, n, 2].
      extent: the picture shows the square from minus this to this along both axes.
      modes: the real ones, where there are some.

    Returns: uint8 [height, width, 3].

    >>> picture(np.zeros((10, 2500, 2)), extent=1.5).shape
    (401, 1004, 3)
    """
    samples = np.asarray(samples)[:MOST_PANELS]
    side = ALONE if len(samples) == 1 else AMONG_OTHERS
    panels = np.stack([panel(each, extent, modes, side) for each in samples])
    return image_grid(panels, columns=_columns(len(panels)), value_range=(0, 255))


def panel(points: np.ndarray, extent: float, modes: Modes | None, side: int) -> np.ndarray:
    """Returns the panel of one generator, uint8 [side, side, 3]."""
    counts = np.zeros((side, side))
    finite = points[np.isfinite(points).all(axis=1)]
    np.add.at(counts, _pixels(finite, extent, side), 1.0)
    near = _blurred(counts)
    # Every sample is seen; how dark it is tells how many others are near it, on a scale that shows both one and all.
    shade = np.log1p(near) / np.log1p(max(near.max(), 20.0))
    image = np.full((side, side, 3), WHITE)
    if modes is not None:
        radius = max(3 * modes.std / extent * side / 2, SMALLEST_RING * side)
        image[_rings(_pixels(modes.centres, extent, side), radius, side)] = MODE
    dots = _dilated(counts > 0)
    image[dots] = (FEW + (MANY - FEW) * shade[..., None])[dots]
    return np.rint(image).astype(np.uint8)


def _pixels(points: np.ndarray, extent: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows and columns of points, the second axis upwards."""
    scaled = np.clip((points.astype(np.float64) / extent + 1) / 2, 0, 1)
    places = np.minimum((scaled * side).astype(int), side - 1)
    return side - 1 - places[:, 1], places[:, 0]


def _blurred(counts: np.ndarray, passes: int = 2, reach: int = 1) -> np.ndarray:
    """Returns sums over neighbourhoods of a few pixels."""
    for _ in range(passes):
        for axis in (0, 1):
            counts = np.sum([np.roll(counts, shift, axis) for shift in range(-reach, reach + 1)], axis=0)
    return counts


def _dilated(marked: np.ndarray) -> np.ndarray:
    return marked | np.roll(marked, 1, 0) | np.roll(marked, 1, 1) | np.roll(np.roll(marked, 1, 0), 1, 1)


def _rings(centres: tuple[np.ndarray, np.ndarray], radius: float, side: int) -> np.ndarray:
    """Returns where circles around some pixels are, bool [side, side]."""
    rows, columns = np.mgrid[:side, :side]
    marked = np.zeros((side, side), bool)
    for row, column in zip(*centres, strict=True):
        marked |= np.abs(np.hypot(rows - row, columns - column) - radius) < RING_WIDTH / 2
    return marked


def _columns(panels: int) -> int:
    """Returns how many panels stand in a row: twice as many as there are rows, or nearly so."""
    return max(1, min(panels, int(np.ceil(np.sqrt(2 * panels)))))
