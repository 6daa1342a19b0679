"""The Inception score against its definition in float64, torch-fidelity and its bounds."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igan.errors import UserError
from igan.metrics.inception_score import PROTOCOLS, exponentiated_divergence, inception_score


def definition(probabilities) -> float:
    """exp of the mean KL divergence from the marginal, with plain loops and exact sums."""
    count, classes = len(probabilities), len(probabilities[0])
    marginal = [math.fsum(row[k] for row in probabilities) / count for k in range(classes)]
    pairs = [(row[k], marginal[k]) for row in probabilities for k in range(classes) if row[k] > 1e-300]
    terms = [probability * (math.log(probability) - math.log(mean)) for probability, mean in pairs]
    return math.exp(math.fsum(terms) / count)


def test_agrees_with_torch_fidelity(random, fidelity):
    import torch

    logits = (random.normal(size=(1003, 40)) * 3).astype(np.float32)
    reference = fidelity("metric_isc").isc_features_to_metric
    ours = inception_score(logits, "ten-splits")
    theirs = reference(torch.tensor(logits), splits=10, shuffle=False)
    assert ours.value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert ours.std == pytest.approx(theirs["inception_score_std"], rel=1e-6)
    shuffled = inception_score(logits, "ten-splits", shuffle_seed=2020)
    theirs = reference(torch.tensor(logits), splits=10, shuffle=True, rng_seed=2020)
    assert shuffled.value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert shuffled.value != ours.value


def test_openai_protocol_is_ten_splits_of_fifty_thousand_in_order():
    logits = np.zeros((50_100, 10), np.float32)
    logits[np.arange(50_000), np.arange(50_000) // 5_000] = 100.0  # Sorted by class: every split has one class only.
    logits[50_000:, 0] = np.nan
    score = inception_score(logits[:50_000])
    assert (score.value, score.std) == (1.0, 0.0)
    assert score.protocol == "openai-is: 50,000 images in order, 10 splits; unnamed logits"
    shuffled = inception_score(logits[:50_000], shuffle_seed=0, label="a network")
    assert shuffled.value == pytest.approx(10, rel=1e-3)
    assert shuffled.protocol == "openai-is: 50,000 images shuffled by seed 0, 10 splits; a network"
    logits[50_000:] = 0.0
    assert inception_score(logits) == (
        1.0,
        0.0,
        "openai-is: 50,000 of 50,100 images in order, 10 splits; unnamed logits",
    )


@pytest.mark.filterwarnings("ignore:an Inception score of only")
def test_value_and_deviation_are_mean_and_population_deviation_over_splits(random):
    logits = random.normal(size=(57, 6))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    bounds = [i * 57 // 10 for i in range(11)]
    parts = [definition(probabilities[start:stop].tolist()) for start, stop in itertools.pairwise(bounds)]
    score = inception_score(logits, "ten-splits")
    mean = sum(parts) / 10
    assert score.value == pytest.approx(mean, rel=1e-12)
    assert score.std == pytest.approx(math.sqrt(sum((part - mean) ** 2 for part in parts) / 10), rel=1e-9)
    whole = inception_score(logits, "one-split")
    assert whole.std is None and whole.value == pytest.approx(definition(probabilities.tolist()), rel=1e-12)


EXTREMES = st.sampled_from([0.0, 1.0, 5e-324, 1e-300, 1e-17, 1 - 1e-16])
ROWS = st.lists(st.lists(st.one_of(EXTREMES, st.floats(0, 1)), min_size=3, max_size=3), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_equals_its_definition_on_any_probabilities(rows):
    rows = np.array(rows) + np.where(np.sum(rows, axis=1, keepdims=True) == 0, 1.0, 0.0)
    probabilities = rows / rows.sum(axis=1, keepdims=True)
    score = exponentiated_divergence(probabilities)
    assert 1 <= score <= 3 * (1 + 1e-12)
    assert score == pytest.approx(max(definition(probabilities.tolist()), 1), rel=1e-9)


@pytest.mark.filterwarnings("ignore:an Inception score of only")
@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-1e30, 1e30), min_size=4, max_size=4), min_size=1, max_size=6))
def test_lies_between_one_and_the_number_of_classes_for_any_logits(rows):
    assert 1 <= inception_score(np.array(rows), "one-split").value <= 4 * (1 + 1e-12)


def test_permuting_images_changes_nothing_within_a_split(random):
    logits = random.normal(size=(200, 7)) * 4
    value = inception_score(logits, "one-split").value
    assert inception_score(random.permutation(logits), "one-split").value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("logits", "protocol", "message"),
    [
        (
            np.zeros((49_999, 2)),
            "openai-is",
            "defined for 50,000 images, here are 49,999: use the protocol 'ten-splits'",
        ),
        (np.zeros((9, 2)), "ten-splits", "9 images cannot be divided into 10 splits"),
        (np.zeros((0, 2)), "one-split", "0 images cannot be divided"),
        (np.full((20, 2), np.nan), "ten-splits", "finite logits"),
        (np.zeros((20, 2)), "openai", "unknown Inception score protocol 'openai'. Did you mean 'openai-is'"),
    ],
)
def test_bad_input_is_one_line(logits, protocol, message):
    with pytest.raises(UserError, match=message):
        inception_score(logits, protocol)
    assert set(PROTOCOLS) == {"openai-is", "ten-splits", "one-split"}


def test_warns_of_fewer_images_a_split_than_classes(random):
    logits = random.normal(size=(70, 8))
    with pytest.warns(UserWarning, match="only 7 images a split for 8 classes is far too low"):
        inception_score(logits, "ten-splits")
    inception_score(np.concatenate([logits, logits[:10]]), "ten-splits")  # Warnings are errors here.
