"""Which image a person sees at which position: drawn with the study's secret key, and again for its owner.

Every question's class is drawn by itself. In a deck of exactly as many real as generated images, whoever is told after
each answer can count what is left: of 20 questions 61.7 % are right without looking.
"""

import hashlib
import hmac
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from igan.annotation.options import Options


class Card(NamedTuple):
    """One question."""

    item: int  # Of the pool; the generated one side by side.
    other: int | None = None  # The real one side by side.
    real_first: bool | None = None  # Whether that one is on the left.
    expected: bool | None = None  # Of an attention check: whether "real" (or "left") is what is to be said.


class _Stream:
    """Numbers that nobody can guess without the key; the same for the same key and labels."""

    def __init__(self, key: bytes, *labels: object) -> None:
        self._key, self._prefix, self._count = key, " ".join(map(str, labels)), 0

    def below(self, bound: int) -> int:
        text = f"{self._prefix} {self._count}"
        self._count += 1
        digest = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return int.from_bytes(digest[:16], "big") % bound  # Of 128 bits: no number is favoured that one could notice.

    def chance(self, probability: float) -> bool:
        return self.below(2**53) < probability * 2**53


def in_feedback_arm(key: bytes, person: str, feedback: str) -> bool:
    """Returns whether a person is told after each answer."""
    return feedback == "with" or (feedback == "half" and _Stream(key, person, "arm").chance(0.5))


def deal(
    key: bytes,
    person: str,
    options: Options,
    real: Sequence[int],
    generated: Mapping[str, Sequence[int]],
    pictures: Mapping[int, Hashable] | None = None,
) -> list[Card]:
    """Returns a person's questions in order.

    Args:
      key: the study's.
      real: items of the pool.
      generated: items by the name of their generator, one of which is drawn for each question.
      pictures: what tells the pictures of items apart, of those that are in the pool under several sources.

    No item comes twice, nor does a picture, unless sources share so many that nothing else is left. Each class must
    have as many items as there are questions.
    """
    stream = _Stream(key, person, "deck")
    checks: set[int] = set()
    while len(checks) < options.checks:  # Not first, where nobody has tired yet.
        first = 1 if options.total > options.checks else 0
        checks.add(first + stream.below(options.total - first))
    names, cards = sorted(generated), []
    used: set[int] = set()
    shared, seen = pictures or {}, set()

    def draw(items: Sequence[int]) -> int:
        fresh = any(each not in used and shared.get(each) not in seen for each in items)
        while (item := items[stream.below(len(items))]) in used or (fresh and shared.get(item) in seen):
            pass
        used.add(item)
        if item in shared:
            seen.add(shared[item])
        return item

    for position in range(options.total):
        expected = stream.chance(0.5) if position in checks else None
        if options.two:
            item = draw(generated[names[stream.below(len(names))]])
            cards.append(Card(item, draw(real), stream.chance(0.5), expected))
        elif stream.chance(options.real_share):
            cards.append(Card(draw(real), expected=expected))
        else:
            cards.append(Card(draw(generated[names[stream.below(len(names))]]), expected=expected))
    return cards
