"""Who is left out of a study's results, by rules that were fixed before the first answer."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from igan.annotation.answers import Answer

CHECKS = "failed attention checks"
UNFINISHED = "did not finish"


class Rules(NamedTuple):
    """Never by how well people tell images apart: that would move what is measured.

    failed_checks: leave out who fails so many, or all of fewer; None: nobody.
    questions: leave out who answered fewer; None: nobody.
    """

    failed_checks: int | None = 2
    questions: int | None = None


class Excluded(NamedTuple):
    person: str
    reason: str
    answers: int


def exclude(answers: Sequence[Answer], rules: Rules) -> tuple[list[Answer], list[Excluded]]:
    """Returns the answers of who stays, and who does not.

    >>> exclude([Answer("p1", 0, "9f", "real", True, False, True, 1.0, None, True)], Rules())[1]
    [Excluded(person='p1', reason='failed attention checks', answers=0)]
    """
    by_person: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_person[answer.person].append(answer)
    excluded = []
    for person, own in by_person.items():
        checks = [answer for answer in own if answer.check]
        failed = sum(answer.real != answer.said_real for answer in checks)
        asked = len(own) - len(checks)
        if rules.failed_checks is not None and checks and failed >= min(rules.failed_checks, len(checks)):
            excluded.append(Excluded(person, CHECKS, asked))
        elif rules.questions is not None and asked < rules.questions:
            excluded.append(Excluded(person, UNFINISHED, asked))
    out = {each.person for each in excluded}
    return [answer for answer in answers if answer.person not in out], excluded
