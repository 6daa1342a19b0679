"""The Fréchet distance against a matrix root, torch-fidelity, closed forms and its properties."""

import warnings

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from igan.errors import UserError
from igan.metrics.frechet_distance import Moments, frechet_distance, intra_distance, moments


def distance(generated: np.ndarray, real: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return frechet_distance(moments([generated]), moments([real])).value


def test_agrees_with_torch_fidelity_and_a_general_matrix_root(two_sets, fidelity):
    generated, real = two_sets
    reference = fidelity("metric_fid")
    statistics = [{"mu": x.mean(axis=0, dtype=np.float64), "sigma": np.cov(x.astype(np.float64).T)} for x in two_sets]
    theirs = reference.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert distance(generated, real) == pytest.approx(theirs, rel=1e-6)
    (one, other) = statistics
    root = scipy.linalg.sqrtm(one["sigma"] @ other["sigma"])
    expected = np.square(one["mu"] - other["mu"]).sum() + np.trace(one["sigma"] + other["sigma"] - 2 * root.real)
    assert distance(generated, real) == pytest.approx(expected, rel=1e-9)


def test_within_classes_it_is_the_mean_over_them_each_by_a_general_matrix_root(random):
    """However many images a class has."""
    sides = [
        [random.normal(size=(count, 3)) @ random.normal(size=(3, 3)) + random.normal(size=3) for count in counts]
        for counts in ((50, 50), (40, 200))
    ]
    expected = []
    for one, other in zip(*sides, strict=True):
        root = scipy.linalg.sqrtm(np.cov(one.T) @ np.cov(other.T)).real
        trace = np.trace(np.cov(one.T) + np.cov(other.T) - 2 * root)
        expected.append(np.square(one.mean(axis=0) - other.mean(axis=0)).sum() + trace)
    with pytest.warns(UserWarning, match="classes with only 40 images"):
        score = intra_distance(*[[moments([each]) for each in side] for side in sides], "a label")
    assert score.value == pytest.approx(np.mean(expected), rel=1e-9) and score.std is None
    assert score.protocol == ("mean over 2 classes, each of 50 against 40 to 200 images, float64 moments; a label")


def test_classes_that_are_exchanged_are_seen_within_them_alone(random):
    one, other = random.normal(size=(300, 2)), random.normal(5, 1, size=(300, 2))
    assert distance(np.concatenate([other, one]), np.concatenate([one, other])) == pytest.approx(0, abs=1e-9)
    found = [moments([each]) for each in (one, other)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert intra_distance(found, found).value == pytest.approx(0, abs=1e-9)
        assert intra_distance(found, found[::-1]).value > 40


def test_closed_form_of_two_gaussians():
    first = Moments(5000, np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    second = Moments(4000, np.array([3.0, 2.0]), np.diag([1.0, 25.0]))
    score = frechet_distance(first, second, "a label")
    assert score.value == pytest.approx(2.0**2 + (2 - 1) ** 2 + (3 - 5) ** 2, rel=1e-14)
    assert score.std is None and score.protocol == "5,000 against 4,000 images, float64 moments; a label"


@pytest.mark.parametrize("batch", [1, 7, 64, 400])
def test_moments_do_not_depend_on_the_batches(two_sets, batch):
    features = two_sets[0] + np.float32(1000)  # A large mean, which naive sums of squares would lose digits to.
    streamed = moments(features[start : start + batch] for start in range(0, 400, batch))
    assert streamed.count == 400
    np.testing.assert_allclose(streamed.mean, features.astype(np.float64).mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(streamed.covariance, np.cov(features.astype(np.float64).T), rtol=0, atol=1e-11)


@pytest.mark.parametrize("count", [3, 20, 400])
def test_zero_for_identical_sets_even_when_singular(two_sets, count):
    features = two_sets[0][:count] * 10
    features[:, 5] = 0  # A unit that never fires.
    assert distance(features, features.copy()) < 1e-9 * np.square(features).sum(axis=1).mean()


def test_two_halves_of_one_set_come_nearer_with_its_size(random):
    """By about the number of features, squared, over the number of images: what few images add to every distance."""
    features = random.normal(size=(40_000, 16))
    found = [distance(features[:count], features[count : 2 * count]) for count in (50, 500, 20_000)]
    assert found[0] > 5 * found[1] > 25 * found[2] > 0 and found[2] < 0.02


def test_disjoint_singular_sets_are_exact(random):
    # Covariances with no common direction: the root vanishes, and what rounding leaves of it must not show.
    basis = np.linalg.qr(random.normal(size=(60, 60)))[0]
    first, second = random.normal(size=(500, 30)) @ basis[:30], random.normal(size=(500, 30)) @ basis[30:]
    shift = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    expected = shift + first.var(axis=0, ddof=1).sum() + second.var(axis=0, ddof=1).sum()
    assert distance(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("smallest", [1e-6, 1e-8, 1e-12])
def test_many_small_variances_count(random, smallest):
    """Covariances with common axes, whose distance is known: most of their variances are far below the largest."""
    axes = np.linalg.qr(random.normal(size=(400, 400)))[0]
    first, second = np.geomspace(10, smallest, 400), random.permutation(np.geomspace(10, smallest, 400))
    ours = [Moments(5000, np.zeros(400), (axes * variances) @ axes.T) for variances in (first, second)]
    expected = np.square(np.sqrt(first) - np.sqrt(second)).sum()
    assert frechet_distance(*ours).value == pytest.approx(expected, rel=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30), st.floats(1e-3, 1e3))
def test_symmetric_not_negative_and_blind_to_order(seed, count, other_count, scale):
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(count, 6)) * scale, np.abs(random.normal(size=(other_count, 6)))
    value = distance(first, second)
    assert np.isfinite(value) and value >= 0
    assert distance(second, first) == pytest.approx(value, rel=1e-6, abs=1e-6 * scale**2)
    assert distance(random.permutation(first), second) == pytest.approx(value, rel=1e-6, abs=1e-6 * scale**2)


def test_warns_below_2048_images():
    few, enough = Moments(2047, np.zeros(1), np.eye(1)), Moments(2048, np.zeros(1), np.eye(1))
    with pytest.warns(UserWarning, match="only 2,047 images is far too large"):
        frechet_distance(few, enough)
    frechet_distance(enough, enough)  # Warnings are errors here.


def test_bad_input_is_one_line(two_sets):
    with pytest.raises(UserError, match="at least two images on each side, here is 1"):
        moments([np.ones((1, 4))])
    with pytest.raises(UserError, match="here is 0"):
        moments([])
    with pytest.raises(UserError, match="not finite"):
        moments([np.full((3, 4), np.nan)])
    with pytest.raises(UserError, match="of 24 and of 23 dimensions"):
        frechet_distance(moments([two_sets[0]]), moments([two_sets[1][:, 1:]]))
