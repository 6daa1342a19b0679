"""Statistics of whole studies: by hand, of simulated people, and of studies too small for any."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import scipy.stats

from igan.annotation import estimates
from igan.annotation.exclusions import CHECKS, UNFINISHED
from igan.annotation.summary import Design, design, summarise, verdict
from tests.annotation.people import answer, study


def said(person, sources, words, **rest):
    """Answers of one person: `g` and `r` are generated and real images, `+` and `-` right and wrong answers."""
    return [
        answer(person, place, f"{source}{place}", "real" if source == "r" else "dcgan",
               (source == "r") == (word == "+"), **rest)
        for place, (source, word) in enumerate(zip(sources, words, strict=True))
    ]  # fmt: skip


SMALL = [*said("a", "ggrr", "++++"), *said("b", "grrr", "+--+", feedback=False), *said("c", "gggr", "+-++")]


def test_a_study_by_hand():
    found = summarise(SMALL, Design(questions=4))
    assert found.accuracy is not None and found.accuracy.mean == pytest.approx((1 + 0.5 + 0.75) / 3)
    expected = scipy.stats.ttest_1samp([1, 0.5, 0.75], 0.5)
    interval = expected.confidence_interval()
    assert found.accuracy[1:] == (pytest.approx(interval.low), 1.0, 3)
    assert found.test is not None and found.test.p == pytest.approx(expected.pvalue)
    assert found.pooled is not None and found.pooled[:3] == (9, 12, 0.75)
    assert found.hit_rate is not None and found.hit_rate.mean == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert found.false_alarm_rate is not None and found.false_alarm_rate.mean == pytest.approx((0 + 2 / 3 + 0) / 3)
    z = NormalDist().inv_cdf
    expected = [z(2.5 / 3) - z(0.5 / 3), z(1.5 / 2) - z(2.5 / 4), z(2.5 / 4) - z(0.5 / 2)]
    assert [each.dprime for each in found.people] == pytest.approx(expected)
    assert found.dprime is not None and found.dprime.mean == pytest.approx(sum(expected) / 3)
    assert [(each.name, each.answers) for each in found.generators] == [("dcgan", 6), ("real", 6)]
    assert [arm.feedback for arm in found.arms] == [True, False]
    assert found.arms[0].accuracy is not None and found.arms[0].accuracy.mean == pytest.approx(0.875)


def test_the_headline_is_of_people_and_not_of_answers():
    """Who answers more counts no more."""
    answers = [*said("a", "gr" * 50, "++" * 50), *said("b", "gr", "--"), *said("c", "gr", "+-")]
    found = summarise(answers)
    assert found.accuracy is not None and found.accuracy.mean == pytest.approx(0.5)
    assert found.pooled is not None and found.pooled.mean > 0.95


def test_a_summary_is_what_the_simulations_are_of():
    """Coverage is tested on arrays of studies: here the same numbers come out of a list of answers."""
    answers = study(np.random.default_rng(0), effect=0.5)
    found = summarise(answers)
    by_person: dict[str, list[bool]] = {}
    arm = {}
    for each in answers:
        by_person.setdefault(each.person, []).append(each.real == each.said_real)
        arm[each.person] = each.feedback
    right = np.array(list(by_person.values()))
    assert found.accuracy is not None and found.pooled is not None and found.test is not None
    assert found.accuracy[:3] == pytest.approx(tuple(map(float, estimates.t_interval(right.mean(1)))))
    assert found.pooled[2:] == pytest.approx(tuple(map(float, estimates.wilson(right.sum(), right.size))))
    assert found.test.equivalence_p == pytest.approx(float(estimates.equivalence_test(right.mean(1), 0.5, 0.05)))
    told = np.array([arm[name] for name in by_person])
    assert found.effect is not None
    assert found.effect[:4] == pytest.approx(
        tuple(map(float, estimates.welch(right[told].mean(1), right[~told].mean(1))))
    )


def test_attention_checks_exclude_and_are_undone():
    answers = study(np.random.default_rng(1), people=6, checks=2, careless=("p1", "p4"))
    rules = Design(questions=40)
    found, everybody = summarise(answers, rules), summarise(answers, rules, everybody=True)
    assert [(each.person, each.reason) for each in found.excluded] == [("p1", CHECKS), ("p4", CHECKS)]
    assert (len(found.people), len(everybody.people), everybody.excluded) == (4, 6, [])
    assert (found.answers, everybody.answers) == (160, 240), "attention checks are no answers"
    assert (found.checks, found.checks_failed) == (12, 4)
    assert found.accuracy is not None and everybody.accuracy is not None
    assert found.accuracy.mean == pytest.approx(np.mean([each.accuracy for each in found.people]))
    assert found.variants[0].accuracy == found.accuracy and found.variants[-1].accuracy == everybody.accuracy


def test_one_failed_check_of_two_excludes_nobody():
    answers = study(np.random.default_rng(1), people=3, checks=1)
    answers += [answer(f"p{n}", 41, "c", "check", False, real=True, check=True) for n in range(3)]
    assert not summarise(answers, Design(questions=40)).excluded
    assert len(summarise(answers, Design(questions=40, checks_failed=1)).excluded) == 3


def test_who_did_not_finish_is_left_out_and_shown():
    """Attention checks are no questions."""
    answers = study(np.random.default_rng(2), people=5, checks=2)
    answers = [each for each in answers if each.person != "p3" or each.check or each.position < 39]
    found = summarise(answers, Design(questions=40))
    assert [(each.person, each.reason, each.answers) for each in found.excluded] == [("p3", UNFINISHED, 39)]
    assert [each.accuracy and each.accuracy.count for each in found.variants] == [4, 5, 5]


def test_people_are_never_left_out_for_what_they_see():
    """A coin flipper, and one who is always wrong, stay."""
    answers = [*said("a", "gr" * 20, "+-" * 20), *said("b", "gr" * 20, "--" * 20), *said("c", "gr" * 20, "++" * 20)]
    assert len(summarise(answers, Design(questions=40)).people) == 3


def test_unequal_shares_make_the_accuracy_balanced():
    """Who says "real" to everything has half, whatever the share of real images."""
    answers = [*said("a", "rrrrrrrrg", "++++++++-"), *said("b", "rrrrrrrrg", "++++----+")]
    found = summarise(answers, Design(real_share=0.9))
    assert found.balanced and [each.accuracy for each in found.people] == [0.5, 0.75]
    assert not summarise(answers, Design(real_share=0.5)).balanced


def test_coin_flippers():
    found = summarise(study(np.random.default_rng(3), people=60, centre=0, spread=0))
    assert found.accuracy is not None and found.accuracy.mean == pytest.approx(0.5, abs=0.03)
    assert found.agreement is not None and abs(found.agreement.alpha) < 0.05 and abs(found.agreement.expected) < 0.02
    assert found.test is not None and found.test.equivalence_p < 0.05
    assert found.effect is not None and found.effect.low < 0 < found.effect.high
    assert verdict(found).startswith("Indistinguishable within 5 points")


@pytest.mark.parametrize(("effect", "found_there"), [(0.0, False), (1.0, True)])
def test_feedback(effect, found_there):
    found = summarise(study(np.random.default_rng(4), people=60, centre=0.5, spread=0.3, effect=effect))
    assert found.effect is not None and found.effect.randomised
    assert (found.effect.low > 0) is found_there
    assert (found.effect.p < 0.05) is found_there


def test_learning_is_seen_along_the_positions():
    found = summarise(study(np.random.default_rng(5), people=40, slope=2.0, arms=[True] * 40))
    assert found.arms[0].learning is not None and found.arms[0].learning.low is not None
    assert found.arms[0].learning.low > 0.05
    blocks = [block.accuracy.mean for block in found.curve]
    assert [(block.first, block.last) for block in found.curve] == [(0, 9), (10, 19), (20, 29), (30, 39)]
    assert blocks == sorted(blocks)
    assert found.effect is None


def test_generators_are_compared_within_people():
    """People who differ much, and one generator that all of them recognise more often."""
    random = np.random.default_rng(6)
    answers = []
    for place in range(30):
        easy = min(0.95, max(0.3, random.normal(0.7, 0.2)))
        for position in range(60):
            name, skill = (("good", easy - 0.25), ("bad", easy), ("real", 0.7))[position % 3]
            right = random.random() < skill
            answers.append(answer(f"p{place}", position, f"{name}{position}", name, (name == "real") == right))
    found = summarise(answers)
    (pair,) = found.comparisons
    assert (pair.first, pair.second) == ("bad", "good") and pair.difference.mean == pytest.approx(0.25, abs=0.06)
    rate = {}
    for name in ("bad", "good"):
        rate[name] = [
            np.mean(
                [each.real == each.said_real for each in answers if (each.person, each.generator) == (f"p{n}", name)]
            )
            for n in range(30)
        ]
    expected = scipy.stats.ttest_rel(rate["bad"], rate["good"])
    assert pair.p == pair.adjusted_p == pytest.approx(expected.pvalue)
    assert pair.difference.low == pytest.approx(expected.confidence_interval().low)
    of = {each.name: each for each in found.generators}
    assert list(of) == ["bad", "good", "real"]
    assert of["bad"].recognised.mean == pytest.approx(np.mean(rate["bad"]))
    assert of["bad"].balanced.mean == pytest.approx((of["bad"].recognised.mean + of["real"].recognised.mean) / 2)
    assert of["bad"].dprime.mean > of["good"].dprime.mean
    assert of["real"].balanced is None


def test_several_comparisons_are_adjusted():
    found = summarise(study(np.random.default_rng(7), generators=("a", "b", "c")))
    assert len(found.comparisons) == 3
    assert [each.adjusted_p for each in found.comparisons] == estimates.holm([each.p for each in found.comparisons])


def test_side_by_side():
    answers = [answer(f"p{n}", k, f"i{k}", "dcgan", k < n, feedback=False) for n in (1, 2, 3) for k in range(10)]
    found = summarise(answers, Design(side_by_side=True))
    assert found.accuracy is not None and found.accuracy.mean == pytest.approx(0.8)
    assert found.hit_rate is found.false_alarm_rate is found.criterion is None
    z = NormalDist().inv_cdf
    expected = [math.sqrt(2) * z((10 - n + 0.5) / 11) for n in (1, 2, 3)]
    assert [each.dprime for each in found.people] == pytest.approx(expected)
    assert found.single is not None and found.single.mean == pytest.approx(NormalDist().cdf(z(0.8) / math.sqrt(2)))
    assert found.single.low is not None and 0.5 < found.single.low < found.single.mean


def test_a_staircase_measures_time():
    answers = [
        answer(f"p{n}", k, f"i{k}", said_real=k % 2 == 0, limit=limit)
        for n, limits in enumerate([(0.5, 0.4, 0.4, 0.3), (0.2, 0.3, 0.2, 0.3)])
        for k, limit in enumerate(limits)
    ]
    found = summarise(answers, Design(staircase=True))
    assert found.exposure is not None and found.exposure.mean == pytest.approx((0.4 + 0.2) / 2)
    assert "75 %" in verdict(found)
    assert summarise(answers).exposure is None


def test_images_are_ranked_by_what_many_say():
    answers = [answer(f"p{n}", 0, "often", said_real=n > 0) for n in range(10)]
    answers += [answer("p1", 1, "once", said_real=True), answer("p2", 1, "never"), answer("p3", 1, "r", "real", True)]
    found = {each.hash: each for each in summarise(answers).images}
    assert (found["often"].said_real, found["often"].answers) == (9, 10)
    assert found["often"].low > found["once"].low > found["never"].low
    assert found["r"].real and found["r"].generator == "real"


def test_a_picture_of_two_generators_is_an_image_of_each():
    answers = [answer(f"p{n}", 0, "same", "b", said_real=True) for n in range(3)]
    answers += [answer("p9", 0, "other", "a"), answer("p9", 1, "same", "a")]
    found = {(each.hash, each.generator): (each.said_real, each.answers) for each in summarise(answers).images}
    assert found == {("same", "b"): (3, 3), ("other", "a"): (0, 1), ("same", "a"): (0, 1)}
    assert [each.hash for each in summarise(answers).images] == ["same", "other", "same"]


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([0.49, 0.5, 0.51, 0.5], "Indistinguishable within 5 points"),
        ([0.52, 0.525, 0.53, 0.526], "better than chance, by less than 5 points"),
        ([0.9, 0.8, 0.85], "People do better than chance."),
        ([0.2, 0.1, 0.15], "People do worse than chance."),
        ([0.3, 0.8, 0.5, 0.6], "Undecided"),
        ([0.9], "Too few people"),
        ([0.7, 0.7, 0.7], "Too few people"),
    ],
)
def test_verdicts(shares, words):
    """Never "indistinguishable" because a difference was not found."""
    answers = [
        answer(f"p{n}", k, f"i{k}", said_real=k >= round(1000 * share))
        for n, share in enumerate(shares)
        for k in range(1000)
    ]
    assert words in verdict(summarise(answers))


def test_no_answers_and_nobody_left():
    assert summarise([]).accuracy is None
    only_checks = [answer("p", 0, "c", "check", False, real=True, check=True)]
    for answers in (only_checks, said("a", "gr", "++")):
        found = summarise(answers, Design(questions=40))
        assert found.accuracy is None and found.people == [] and len(found.excluded) == 1
        assert found.agreement is None and found.effect is None and found.curve == []


def test_options_of_a_study():
    options = {
        "title": "MNIST",
        "mode": "side_by_side",
        "questions": 20,
        "checks_failed": 1,
        "people": None,
        "unknown": 3,
    }
    found = design(options)
    assert found == Design(title="MNIST", questions=20, side_by_side=True, checks_failed=1)
    assert design({}) == Design()


def test_accuracy_by_position_and_arm_by_hand():
    """Each block and half by loops over answers, and SciPy's interval; 42 positions make four blocks of 10 or 11."""
    answers = study(np.random.default_rng(9), people=14, questions=42, slope=1.0)
    found = summarise(answers)
    edges = [(0, 9), (10, 20), (21, 30), (31, 41)]
    assert [(block.first, block.last) for block in found.curve] == 2 * edges

    def rates(feedback, first, last):
        names = list(dict.fromkeys(each.person for each in answers if each.feedback == feedback))
        return [
            np.mean([each.real == each.said_real for each in answers
                     if each.person == name and first <= each.position <= last])
            for name in names
        ]  # fmt: skip

    for block in found.curve:
        values = rates(block.feedback, block.first, block.last)
        interval = scipy.stats.ttest_1samp(values, 0).confidence_interval()
        assert block.accuracy.mean == pytest.approx(np.mean(values)) and block.accuracy.count == len(values)
        assert block.accuracy.low == pytest.approx(interval.low)
        assert block.accuracy.high == pytest.approx(min(interval.high, 1.0))
    for arm in found.arms:
        first, second = (np.array(rates(arm.feedback, *half)) for half in ((0, 20), (21, 41)))
        paired = scipy.stats.ttest_rel(second, first).confidence_interval()
        assert arm.first_half is not None and arm.learning is not None
        assert arm.first_half.mean == pytest.approx(first.mean())
        assert arm.learning[:3] == pytest.approx((np.mean(second - first), paired.low, paired.high))
