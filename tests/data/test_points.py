"""Points as data: where the modes are, how far points lie from them, and what is refused."""

import numpy as np
import pytest

from igan import data
from igan.data import plane, points
from igan.errors import UserError
from igan.types import Modes


def distances(centres: np.ndarray) -> np.ndarray:
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    return apart[~np.eye(len(centres), dtype=bool)]


def test_no_mode_of_the_ring_is_there_twice():
    """As it is with both ends of the circle: then the smallest distance is 0."""
    modes = data.load("ring:radius=2:std=0.02", "auto", "").space.modes
    assert modes.centres.shape == (8, 2)
    assert distances(modes.centres).min() == pytest.approx(2 * 2 * np.sin(np.pi / 8), abs=1e-12)
    assert distances(modes.centres).min() == pytest.approx(1.5307, abs=5e-5)
    np.testing.assert_allclose(np.linalg.norm(modes.centres, axis=1), 2)


def test_the_modes_of_the_grid():
    modes = data.load("grid", "points", "").space.modes
    expected = {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    assert {tuple(centre) for centre in modes.centres} == expected and len(modes.centres) == 25


@pytest.mark.parametrize(("name", "std"), [("ring", 0.01), ("grid", 0.05), ("ring:radius=2:std=0.02", 0.02)])
def test_points_lie_around_the_mode_of_their_label(name: str, std: float):
    """A standard deviation for each axis, and neither its square nor that of the distance."""
    dataset = data.load(name, "auto", "")
    modes = dataset.space.modes
    assert modes.std == std and dataset.classes == len(modes.centres)
    assert dataset.train_images.shape == (100_000, 2) and dataset.train_images.dtype == np.float32
    for drawn, labels in (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        rest = drawn - modes.centres[labels]
        standard_error = std / np.sqrt(2 * len(rest))
        np.testing.assert_allclose(rest.std(axis=0), std, atol=5 * standard_error)
        np.testing.assert_allclose(rest.mean(axis=0), 0, atol=5 * std / np.sqrt(len(rest)))
        shares = np.bincount(labels, minlength=dataset.classes) / len(labels)
        np.testing.assert_allclose(shares, 1 / dataset.classes, atol=5 / np.sqrt(len(labels) * dataset.classes))


def test_test_points_are_others_and_every_run_has_the_same():
    one, again = data.load("ring", "auto", ""), data.load("ring", "auto", "")
    assert not set(map(tuple, one.train_images)) & set(map(tuple, one.test_images))
    assert one.fingerprint() == again.fingerprint() != data.load("ring:std=0.011", "auto", "").fingerprint()


def test_the_spiral_winds_outwards():
    dataset = data.load("spiral:arms=2:noise=0", "auto", "")
    radius = np.linalg.norm(dataset.train_images, axis=1)
    along = (3 * radius - 1) / 2
    assert radius.min() == pytest.approx(1 / 3, abs=1e-3) and radius.max() == pytest.approx(1, abs=1e-3)
    angle = np.arctan2(dataset.train_images[:, 0], dataset.train_images[:, 1]) / (2 * np.pi)
    turned = (angle - along - dataset.train_labels / 2 + 0.5) % 1 - 0.5
    np.testing.assert_allclose(turned, 0, atol=1e-4)
    assert dataset.space.modes is None and dataset.classes == 2


def test_a_smaller_set():
    assert len(data.load("ring:train=50", "auto", "").train_images) == 50


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("ring:radios=2", "auto", "no setting 'radios'. Did you mean 'radius'?"),
        ("ring:radius=far", "auto", "radius is 'far', expected a number, like radius=2"),
        ("ring:radius", "auto", "radius is '', expected a number, like radius=2"),
        ("ring:modes=2:std=1:modes=3", "auto", "data.name='ring:modes=2:std=1:modes=3' has modes twice: leave one of"),
        ("ring:train=5:train=5", "auto", "has train twice"),
        ("ring:std=0", "auto", "std of the data 'ring' is 0, expected a number from 1e-6 to 1e6: type 'ring:std=...'"),
        ("ring:std=nan", "auto", "std of the data 'ring' is nan"),
        ("ring:radius=inf", "auto", "radius of the data 'ring' is inf"),
        ("ring:modes=1", "auto", "modes of the data 'ring' is 1, expected a whole number from 2"),
        ("ring:modes=2.5", "auto", "modes of the data 'ring' is 2.5"),
        ("grid:side=1", "auto", "side of the data 'grid' is 1"),
        ("spiral:noise=-1", "auto", "noise of the data 'spiral' is -1"),
        ("spiral:arms=0", "auto", "arms of the data 'spiral' is 0"),
        ("ring:train=0", "auto", "train of the data 'ring' is 0"),
        ("rings", "points", "data.source=points holds ring, grid, spiral, not 'rings'. Did you mean 'ring'?"),
        ("ring", "tfds", "data.name='ring' is of points, not of data.source=tfds: leave that at 'auto'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(name: str, source: str, said: str):
    with pytest.raises(UserError) as error:
        data.load(name, source, "")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_points_are_neither_resized_nor_streamed():
    with pytest.raises(UserError, match="image_size=32 but 'ring' is of points"):
        data.load("ring", "auto", "", image_size=32)
    with pytest.raises(UserError, match="points are not streamed"):
        data.open_stream("ring", "auto", "", 0, "none", "error")


def test_points_take_the_way_there_and_back():
    space = points.space(1.5, None)
    stored = np.float32([[-7.0, 0.25], [3.0, 1e-3]])
    np.testing.assert_array_equal(space.decode(space.encode(stored, (-1.0, 1.0)), (-1.0, 1.0)), stored)


class TestPicture:
    def test_samples_are_where_they_are(self):
        """The second axis upwards; what lies outside is at the edge."""
        panel = plane.panel(np.array([[0.5, 0.5], [-9.0, 0.0]]), 1.0, None, 100)
        blue = (panel < 250).any(axis=2)
        assert blue[25, 75] and blue[50, 0] and blue.sum() <= 8

    def test_more_samples_are_darker(self):
        panel = plane.panel(np.array([[-0.5, 0.0]] + [[0.5, 0.0]] * 500), 1.0, None, 100)
        assert panel[49, 75].sum() < panel[49, 25].sum()

    def test_modes_are_ringed(self):
        empty = np.zeros((0, 2))
        panel = plane.panel(empty, 1.0, Modes(np.array([[0.0, 0.0]]), 0.1), 100)
        red = (panel != 255).any(axis=2)
        rows, columns = np.nonzero(red)
        radius = np.hypot(rows - 49.5, columns - 49.5)  # Three standard deviations of 0.1 are 15 pixels of 100.
        assert red.any() and not red[49, 50] and radius.min() > 13 and radius.max() < 17

    @pytest.mark.parametrize(("replicas", "shape"), [(1, (400, 400, 3)), (2, (200, 401, 3)), (10, (401, 1004, 3))])
    def test_each_replica_has_a_panel(self, replicas: int, shape: tuple[int, ...]):
        assert points.space(1.5, None).picture(np.zeros((replicas, 5, 2)), (0, 1)).shape == shape

    def test_numbers_that_are_not_finite_are_left_out(self):
        assert (plane.panel(np.full((3, 2), np.nan), 1.0, None, 50) == 255).all()
