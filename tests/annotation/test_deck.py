"""Decks: as the options say, unguessable without the key, the same with it, and worth nothing to a card counter."""

import math

import numpy as np
import pytest

from igan.annotation import deck
from igan.annotation.options import Options

KEY = bytes(range(32))
REAL, GENERATED = range(100), {"a": range(100, 200), "b": range(200, 300)}


def deal(person: str, key: bytes = KEY, **options):
    return deck.deal(key, person, Options(**({"questions": 50} | options)), REAL, GENERATED)


def test_a_deck_is_the_same_for_its_owner_and_another_for_everybody_else():
    assert deal("p") == deal("p")
    assert deal("p") != deal("q")
    assert deal("p") != deal("p", key=bytes(32))


def test_no_item_comes_twice_even_where_a_class_is_just_large_enough():
    options = Options(questions=20)
    for person in map(str, range(50)):
        items = [card.item for card in deck.deal(KEY, person, options, range(20), {"a": range(20, 40)})]
        assert len(set(items)) == 20


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_classes_are_independent_with_the_share_of_the_options(share):
    drawn = np.array([[card.item < 100 for card in deal(str(p), real_share=share)] for p in range(400)])
    total = drawn.size
    assert abs(drawn.mean() - share) < 4 * math.sqrt(share * (1 - share) / total)
    # After a real image the next is real as often as ever, and counts vary as binomials do, as in no balanced deck.
    after_real = drawn[:, 1:][drawn[:, :-1]]
    assert abs(after_real.mean() - share) < 4 * math.sqrt(share * (1 - share) / after_real.size)
    spread = drawn.sum(axis=1).var() / (50 * share * (1 - share))
    assert abs(spread - 1) < 4 * math.sqrt(2 / 400)


def test_whoever_counts_cards_is_right_half_of_the_time():
    """Guesses the class of which fewer have come. In balanced decks of 20 that is right 61.7 % of the time."""

    def counted(classes) -> float:
        right, seen = 0, [0, 0]
        for real in classes:
            guess = seen[1] < seen[0]  # Real, if more generated ones have come.
            right += guess == real
            seen[int(real)] += 1
        return right / len(classes)

    ours = np.mean([counted([card.item < 100 for card in deal(str(p), questions=20)]) for p in range(1500)])
    assert abs(ours - 0.5) < 4 * math.sqrt(0.25 / (1500 * 20))
    random = np.random.default_rng(0)
    balanced = np.mean([counted(random.permutation([True] * 10 + [False] * 10)) for _ in range(1500)])
    assert balanced > 0.6  # Else this bot could not count.


def test_generators_and_sides_are_drawn_evenly():
    cards = [card for person in range(100) for card in deal(str(person), mode="side_by_side", real_share=0.5)]
    assert all(card.other is not None and card.other < 100 <= card.item for card in cards)
    for share in (np.mean([card.item < 200 for card in cards]), np.mean([card.real_first for card in cards])):
        assert abs(share - 0.5) < 4 * math.sqrt(0.25 / len(cards))


def test_attention_checks_are_as_many_as_asked_and_never_first():
    for person in map(str, range(200)):
        cards = deal(person, questions=5, checks=3)
        assert len(cards) == 8
        assert sum(card.expected is not None for card in cards) == 3
        assert cards[0].expected is None


def test_half_of_the_people_are_told():
    told = np.mean([deck.in_feedback_arm(KEY, str(person), "half") for person in range(2000)])
    assert abs(told - 0.5) < 4 * math.sqrt(0.25 / 2000)
    assert deck.in_feedback_arm(KEY, "p", "with") and not deck.in_feedback_arm(KEY, "p", "without")


@pytest.mark.parametrize("options", [{}, {"mode": "side_by_side"}])
def test_a_picture_that_several_sources_have_comes_once(options):
    """Items 0, 100 and 200 are one picture, and so on; another deck has it several times."""
    pictures = {item: item % 100 for item in range(300)}

    def most_often(known) -> int:
        counts = []
        for person in map(str, range(30)):
            cards = deck.deal(KEY, person, Options(**({"questions": 40} | options)), REAL, GENERATED, known)
            seen = [each % 100 for card in cards for each in (card.item, card.other) if each is not None]
            counts.append(max(seen.count(each) for each in seen))
        return max(counts)

    assert most_often(pictures) == 1 < most_often(None)


def test_sources_that_share_all_their_pictures_can_still_be_dealt():
    """As the same folder on both sides, to see how people do where there is nothing to see."""
    pictures = {item: item % 20 for item in range(40)}
    options = Options(questions=20, mode="side_by_side")
    cards = deck.deal(KEY, "p", options, range(20), {"a": range(20, 40)}, pictures)
    assert len({card.item for card in cards}) == len({card.other for card in cards}) == 20
