"""From images to scores and their protocols, on a small stand-in for the network."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from igan import cache
from igan.errors import UserError
from igan.metrics import compute as module
from igan.metrics import reference_cache
from igan.metrics.compute import SCORES, Settings, complete, compute, intra_fid
from igan.metrics.extract import FeatureNetwork
from igan.metrics.frechet_distance import frechet_distance, intra_distance, moments
from igan.metrics.images import from_array
from igan.metrics.inception_score import inception_score
from igan.metrics.kernel_distance import kernel_distance
from igan.metrics.precision_recall import density_coverage, precision_recall

LOOKS = []


def apply(params, images, levels):
    flat = images.reshape(len(images), -1).astype(jnp.float32)
    outputs = {"2048": flat[:, :6], "768": flat[:, :3], "logits_unbiased": flat[:, 6:16] / 16}
    return {level: outputs[level] for level in levels}


def watched(name: str, pixels: np.ndarray):
    images = from_array(name, pixels)
    return images._replace(read=lambda start, stop: (LOOKS.append((name, start)), images.read(start, stop))[1])


WHOLE = FeatureNetwork("toy net, weights 01234567", ("768", "2048", "logits_unbiased"), {}, apply)
TRUNK = FeatureNetwork("toy trunk", ("768",), {}, apply)


@pytest.fixture
def sets(random):
    LOOKS.clear()
    generated = random.integers(0, 256, (60, 4, 4, 3), np.uint8)
    real = random.integers(20, 256, (50, 4, 4, 3), np.uint8)
    return watched("samples", generated), watched("cifar10 train", real)


@pytest.fixture(autouse=True)
def few_images_are_fine():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a Fréchet distance of only")
        warnings.filterwarnings("ignore", "Fréchet distances of classes with only")
        warnings.filterwarnings("ignore", "an Inception score of only")
        yield


def flat(images, count: int) -> np.ndarray:
    return images.read(0, images.count).reshape(images.count, -1).astype(np.float32)[:, :count]


def test_all_scores_from_one_look_at_each_set(sets):
    scores = compute(SCORES, *sets, WHOLE)
    assert list(scores) == ["inception_score", "fid", "kid", "precision", "recall", "density", "coverage"]
    assert sorted(LOOKS) == sorted(set(LOOKS))
    generated, real = flat(sets[0], 6), flat(sets[1], 6)
    logits = flat(sets[0], 16)[:, 6:] / 16
    expected = {
        "inception_score": inception_score(logits, "ten-splits"),
        "fid": frechet_distance(moments([generated]), moments([real])),
        "kid": kernel_distance(generated, real, subset_size=25),
        **precision_recall(generated, real, 3),
        **density_coverage(generated, real, 5),
    }
    for name, score in scores.items():
        assert score.value == pytest.approx(expected[name].value, rel=1e-9), name
        assert score.std == (None if expected[name].std is None else pytest.approx(expected[name].std, rel=1e-9))


def test_protocols_say_everything_another_number_must_share(sets):
    scores = compute(SCORES, *sets, WHOLE, Settings(shuffle_seed=4, kid_subsets=7, kid_subset_size=20))
    assert scores["inception_score"].protocol == (
        "ten-splits: 60 images shuffled by seed 4, 10 splits; toy net, weights 01234567, samples"
    )
    for name in ("fid", "kid", "precision", "recall", "density", "coverage"):
        protocol = scores[name].protocol
        assert protocol.startswith("60 against 50 images")
        assert protocol.endswith("; toy net, weights 01234567, 2048-d features; reference cifar10 train")
    assert "7 subsets of 20" in scores["kid"].protocol
    assert "k = 3" in scores["recall"].protocol and "k = 5" in scores["coverage"].protocol


def test_other_features_carry_their_number(sets):
    scores = compute(["fid", "precision_recall"], *sets, TRUNK)
    assert list(scores) == ["fid_768", "precision_768", "recall_768"]
    assert "toy trunk, 768-d features" in scores["fid_768"].protocol
    assert compute(["fid"], *sets, WHOLE, Settings(level="768"))["fid_768"].value == pytest.approx(
        scores["fid_768"].value
    )


@pytest.mark.parametrize("names", [["fid"], ["inception_score", "fid"]])
def test_reference_moments_are_computed_once_for_the_same_images_and_protocol(sets, cache, names):
    first = compute(names, *sets, WHOLE)
    assert len(list((cache / "moments").iterdir())) == 1
    LOOKS.clear()
    assert compute(names, *sets, WHOLE)["fid"].value == pytest.approx(first["fid"].value, rel=1e-9)
    assert {name for name, _ in LOOKS} == {"samples"}
    compute(names, *sets, WHOLE._replace(label="another net"))
    compute(names, sets[0], from_array("other", sets[1].read(0, 49)), WHOLE)
    assert len(list((cache / "moments").iterdir())) == 3


@pytest.mark.parametrize("names", [["kid"], ["fid", "precision_recall"]])
def test_reference_features_are_computed_once_too(sets, cache, names):
    first = compute(names, *sets, WHOLE)
    LOOKS.clear()
    again = compute(names, *sets, WHOLE)
    assert {name: score.value for name, score in again.items()} == {name: score.value for name, score in first.items()}
    assert {name for name, _ in LOOKS} == {"samples"}
    compute(names, *sets, WHOLE, Settings(level="768"))
    assert len(list((cache / "features").iterdir())) == 2


def test_features_of_too_large_a_reference_are_not_kept(sets, cache, monkeypatch):
    monkeypatch.setattr(module, "MOST_CACHED_BYTES", 50 * 6 * 4 - 1)
    compute(["kid"], *sets, WHOLE)
    assert not (cache / "features").exists()


@pytest.mark.parametrize("names", [["fid"], ["kid"], ["inception_score"]])
def test_images_are_looked_at_in_batches_of_the_size_asked_for(sets, names):
    compute(names, *sets, WHOLE, Settings(batch_size=16))
    assert {start for name, start in LOOKS if name == "samples"} == {0, 16, 32, 48}
    of_reference = {start for name, start in LOOKS if name != "samples"}
    assert of_reference == (set() if names == ["inception_score"] else {0, 16, 32, 48})


def test_the_protocol_of_the_inception_score_is_that_of_the_paper_from_50_000_images_on():
    for count, expected in ((50_000, "openai-is"), (49_999, "ten-splits")):
        settings = complete(["inception_score"], count, None, WHOLE, Settings())
        assert settings.inception_score_protocol == expected


def test_images_that_are_sorted_by_class_are_told(sets):
    sorted_by_class = sets[0]._replace(folders=10)
    with pytest.warns(UserWarning, match="samples is read folder by folder: .*set --shuffle_seed=1"):
        compute(["inception_score"], sorted_by_class, None, WHOLE)
    compute(["inception_score"], sorted_by_class, None, WHOLE, Settings(shuffle_seed=1))


def test_a_cache_of_another_protocol_is_refused_and_a_damaged_one_replaced(sets):
    compute(["fid"], *sets, WHOLE)
    (path,) = (cache.directory() / "moments").iterdir()
    content = sets[1].content_hash()
    other = reference_cache._path("moments", content, "toy trunk, 768-d features")
    path.rename(other)
    with pytest.raises(
        UserError, match=r"holds moments of another protocol \('toy net.*2048-d.*', not 'toy trunk, 768"
    ):
        compute(["fid"], *sets, TRUNK)
    other.write_bytes(b"PK damaged")
    value = compute(["fid"], *sets, TRUNK)["fid_768"].value
    assert value == pytest.approx(frechet_distance(moments([flat(sets[0], 3)]), moments([flat(sets[1], 3)])).value)


@pytest.mark.parametrize(
    ("names", "reference", "network", "settings", "message"),
    [
        (["fud"], True, WHOLE, Settings(), r"unknown score 'fud'\. Did you mean 'fid'"),
        (["fid"], False, WHOLE, Settings(), "fid compare two sets of images: give a reference too"),
        (
            ["inception_score"],
            False,
            TRUNK,
            Settings(),
            "needs the whole network, .* run 'python -m igan.metrics.fetch'",
        ),
        (["fid"], True, TRUNK, Settings(level="2048"), "toy trunk has no features '2048': it has 768"),
        (["fid"], True, WHOLE, Settings(level="logits_unbiased"), "has no features 'logits_unbiased'"),
        (["kid"], True, WHOLE, Settings(kid_subset_size=51), "cannot be drawn from 50 images"),
        (["precision_recall"], True, WHOLE, Settings(precision_recall_neighbours=50), "need at least 51 images"),
        (["density_coverage"], True, WHOLE, Settings(density_coverage_neighbours=0), "0 nearest neighbours need"),
        (
            ["inception_score"],
            False,
            WHOLE,
            Settings(inception_score_protocol="openai-is"),
            "defined for 50,000 images, here are 60",
        ),
        (["inception_score"], False, WHOLE, Settings(shuffle_seed=-1), "--shuffle_seed=-1: expected a number from 0"),
        (["fid"], True, WHOLE, Settings(batch_size=-5), "--batch_size=-5: expected 1 or more, or 0"),
    ],
)
def test_what_cannot_be_computed_is_said_before_any_image_is_looked_at(
    sets, names, reference, network, settings, message
):
    with pytest.raises(UserError, match=message):
        compute(names, sets[0], sets[1] if reference else None, network, settings)
    assert LOOKS == []


@pytest.mark.parametrize("names", [["fid"], ["kid"], ["precision_recall"], ["inception_score"]])
def test_one_image_is_too_few(sets, names):
    one = from_array("one", np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"at least two images|cannot be divided"):
        compute(names, one, sets[1], WHOLE)


def test_permuting_images_never_changes_fid_or_precision_and_recall(sets, random):
    generated, real = sets
    shuffled = from_array("shuffled", random.permutation(generated.read(0, 60)))
    before, after = (compute(["fid", "precision_recall"], images, real, WHOLE) for images in (generated, shuffled))
    for name, score in before.items():
        assert after[name].value == pytest.approx(score.value, rel=1e-9)


def test_within_classes_images_are_told_apart_by_their_labels(sets, random, cache):
    """In any order, on either side; features of the reference are kept."""
    labels = random.integers(0, 3, 60), random.integers(0, 3, 50)
    settings = complete(["fid"], 60, 50, WHOLE, Settings())
    (found,) = intra_fid(sets[0], labels[0], sets[1], labels[1], WHOLE, settings).items()
    sides = [
        [moments([flat(images, 6)[of == each]]) for each in range(3)] for images, of in zip(sets, labels, strict=True)
    ]
    expected = intra_distance(*sides, "toy net, weights 01234567, 2048-d features; reference cifar10 train")
    assert found[0] == "intra_fid" and found[1].protocol == expected.protocol
    assert found[1].value == pytest.approx(expected.value, rel=1e-6)
    LOOKS.clear()
    intra_fid(sets[0], labels[0], sets[1], labels[1], WHOLE, settings)
    assert {name for name, _ in LOOKS} == {"samples"}
    other = complete(["fid"], 60, 50, TRUNK, Settings())
    assert list(intra_fid(sets[0], labels[0], sets[1], labels[1], TRUNK, other)) == ["intra_fid_768"]


def test_a_class_of_one_image_is_refused_in_one_line(sets):
    labels, settings = np.arange(60) % 3, complete(["fid"], 60, 50, WHOLE, Settings())
    real = np.minimum(np.arange(50) % 3, 1)
    with pytest.raises(UserError, match="two images or more, and class 2 has 0 real"):
        intra_fid(sets[0], labels, sets[1], real, WHOLE, settings)
    real[7] = 2
    with pytest.raises(UserError, match="two images or more, and class 2 has 1 real") as refused:
        intra_fid(sets[0], labels, sets[1], real, WHOLE, settings)
    assert "\n" not in str(refused.value)
