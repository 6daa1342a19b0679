"""What happens to a study's file while people answer: each function is one transaction of the writer, or a part of one.

An answer is one row with its question as the primary key. Whoever sends it again is told what is stored.
"""

import bisect
import hashlib
import hmac
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import apsw

from igan.annotation import deck
from igan.annotation.options import LONGEST_LIMIT, SHORTEST_LIMIT, Options

# HYPE's staircase aims at 75 % right answers: the balance of a step up after an error and one down after a right
# answer is up / (up + down). The paper prints the two the other way round, which would slide to the floor.
STAIRCASE_START, STEP_UP, STEP_DOWN, STAIRCASE_TOP = 0.5, 0.03, 0.01, 1.0


class Known(NamedTuple):
    """What is fixed in a study, read once."""

    options: Options
    key: bytes
    real: Sequence[int]
    generated: Mapping[str, Sequence[int]]
    pictures: Mapping[int, str]  # Hashes of the items whose picture is in the pool under several sources.


class Person(NamedTuple):
    """A participant."""

    id: str
    feedback: bool


class Question(NamedTuple):
    """A question that a person has been asked, or is asked now."""

    id: str
    position: int
    expected: bool | None
    limit: float | None
    said: bool | None  # None: not answered.
    truth: bool  # Whether "real" ("left" side by side) is right. Never to be sent before there is an answer.


class Timing(NamedTuple):
    """How long an answer took."""

    seconds: float | None = None  # None: nobody has measured it.
    clock: str = "server"  # Whose clock: "browser" or "server".
    shown: float | None = None  # Seconds for which a browser says it has shown a timed image.


class Outcome(NamedTuple):
    """What came of an answer."""

    status: Literal["stored", "repeated", "conflict", "unknown"]
    question: Question | None  # As it is stored.
    current: Question | None  # The person's next question; None: no more.


def read_known(connection: apsw.Connection, options: Options, key: bytes) -> Known:
    """Reads the pool."""
    real: list[int] = []
    generated: dict[str, list[int]] = {}
    hashes: dict[int, str] = {}
    query = """SELECT item.id, image, source.name, source.real FROM item JOIN source ON source.id = item.source
        WHERE NOT example ORDER BY item.id"""
    for item, image, name, is_real in connection.execute(query):
        (real if is_real else generated.setdefault(name, [])).append(item)
        hashes[item] = image
    count = Counter(hashes.values())
    return Known(options, key, real, generated, {item: image for item, image in hashes.items() if count[image] > 1})


def token_of(key: bytes, begun_with: str) -> str:
    """Returns the secret of a participant: the same for the same form or outside session, which may come again."""
    return hmac.new(key, f"token {begun_with}".encode(), hashlib.sha256).hexdigest()


def find(connection: apsw.Connection, token: str) -> Person | None:
    """Returns whose secret this is."""
    row = connection.execute("SELECT id, feedback FROM person WHERE token = ?", (_digest(token),)).fetchone()
    return Person(row[0], bool(row[1])) if row else None


def begin(
    connection: apsw.Connection,
    known: Known,
    token: str,
    device: str = "",
    outside: tuple[bytes, bytes] | None = None,
) -> Person | None:
    """Returns the participant with this secret, made with all questions if there is none.

    Args:
      outside: hidden ids of person and session at a crowdsourcing service.

    Returns None for a person of a service who has taken part in another session, or was deleted.
    """
    if person := find(connection, token):
        return person
    if outside:
        query = """SELECT 1 FROM person WHERE outside_person = ?1 OR outside_session = ?2
            UNION ALL SELECT 1 FROM used WHERE outside IN (?1, ?2)"""
        if connection.execute(query, outside).fetchone():
            return None
    name = secrets.token_hex(8)
    feedback = deck.in_feedback_arm(known.key, name, known.options.feedback)
    row = (name, _digest(token), int(feedback), time.time(), device, *(outside or (None, None)))
    connection.execute("INSERT INTO person VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    limit = STAIRCASE_START if known.options.staircase else known.options.limit
    cards = deck.deal(known.key, name, known.options, known.real, known.generated, known.pictures)
    connection.executemany(
        "INSERT INTO question VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (secrets.token_urlsafe(16), name, place, card.item, card.other, card.real_first, card.expected, limit)
            for place, card in enumerate(cards)
        ],
    )
    return Person(name, feedback)


def answered(connection: apsw.Connection, person: str) -> int:
    """Returns how many questions a person has answered.

    They are answered in order, so the first one that waits is found by bisection, as quickly after hundreds of answers
    as at the beginning.
    """
    total = one(connection, "SELECT coalesce(max(position) + 1, 0) FROM question WHERE person = ?", person)[0]

    def waits(position: int) -> bool:
        return connection.execute(_ANSWERED, (person, position)).fetchone() is None

    return bisect.bisect_left(range(total), True, key=waits)


def current(connection: apsw.Connection, person: str) -> Question | None:
    """Returns the first question without an answer."""
    query = f"{_QUESTION} AND position = ?"
    row = connection.execute(query, (person, answered(connection, person))).fetchone()
    return _question(row) if row else None


def asked(connection: apsw.Connection, person: str, question: str) -> Question | None:
    """Returns one of a person's questions if it has been asked: one with an answer, or the current one."""
    row = connection.execute(f"{_QUESTION} AND question.id = ?", (person, question)).fetchone()
    if not row:
        return None
    found = _question(row)
    return found if found.said is not None or found.position == answered(connection, person) else None


def picture(connection: apsw.Connection, person: str, question: str, side: str) -> bytes | None:
    """Returns the file of an image of an asked question; `side` is "a", or "b" for the right one of two."""
    if not asked(connection, person, question):
        return None
    query = "SELECT item, other, real_first FROM question WHERE id = ?"
    item, other, real_first = one(connection, query, question)
    if side == "b" and other is None:
        return None
    wanted = item if other is None or bool(real_first) == (side == "b") else other
    return one(connection, "SELECT png FROM image JOIN item ON image = hash WHERE id = ?", wanted)[0]


def show(connection: apsw.Connection, question: str, side: str, most: int) -> bool:
    """Counts that a side's image is sent before the answer; returns False if it was sent so often already."""
    query = """INSERT INTO showing VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1 WHERE count < ?
        RETURNING count"""
    return connection.execute(query, (question, side, most)).fetchone() is not None


def answer(
    connection: apsw.Connection, known: Known, person: str, question: str, said: bool, timing: Timing
) -> Outcome:
    """Stores an answer, once.

    Args:
      said: "real", or "left" side by side.
    """
    found = asked(connection, person, question)
    if not found:
        return Outcome("unknown", None, None)
    if found.said is not None:
        status = "repeated" if found.said == said else "conflict"
        return Outcome(status, found, current(connection, person))
    now = time.time()
    seconds, clock = timing.seconds, timing.clock
    if seconds is None:
        before = one(connection, _BEFORE, person, found.position - 1, person)[0]
        seconds, clock = max(0.0, now - before), "since the answer before"
    connection.execute(
        "INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?)", (question, int(said), seconds, clock, now, timing.shown)
    )
    found = found._replace(said=said)
    following = current(connection, person)
    if following and known.options.staircase and found.limit is not None:
        limit = found.limit if found.expected is not None else _step(found.limit, said == found.truth)
        connection.execute("UPDATE question SET time_limit = ? WHERE id = ?", (limit, following.id))
        following = following._replace(limit=limit)
    return Outcome("stored", found, following)


def deleted(connection: apsw.Connection) -> int:
    """Returns how many participants were deleted."""
    row = connection.execute("SELECT count FROM tally WHERE name = 'deleted'").fetchone()
    return row[0] if row else 0


def one(connection: apsw.Connection, query: str, *values: Any) -> tuple[Any, ...]:
    """Returns the row of a query that has one."""
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row


def result(connection: apsw.Connection, person: str) -> tuple[int, int, int]:
    """Returns a person's right answers, all answers (attention checks in neither), and failed attention checks."""
    rows = connection.execute(f"{_QUESTION} AND said IS NOT NULL", (person,))
    questions = [_question(row) for row in rows]
    judged = [each for each in questions if each.expected is None]
    failed = sum(each.said != each.truth for each in questions if each.expected is not None)
    return sum(each.said == each.truth for each in judged), len(judged), failed


def forget(connection: apsw.Connection, person: str) -> bool:
    """Deletes a participant; returns whether there was one.

    Of those who came from a service the hidden ids stay, without anything else: nobody takes part twice.
    """
    there = connection.execute("SELECT 1 FROM person WHERE id = ?", (person,)).fetchone() is not None
    if there:
        for column in ("outside_person", "outside_session"):
            query = f"INSERT OR IGNORE INTO used SELECT {column} FROM person WHERE id = ? AND {column} IS NOT NULL"
            connection.execute(query, (person,))
        connection.execute("DELETE FROM person WHERE id = ?", (person,))
        count(connection, "deleted")
    return there


def count(connection: apsw.Connection, name: str) -> None:
    """Counts what leaves no other trace."""
    connection.execute("INSERT INTO tally VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET count = count + 1", (name,))


_QUESTION = """
    SELECT question.id, position, expected, time_limit, said, source.real, real_first FROM question
        JOIN item ON item.id = question.item JOIN source ON source.id = item.source
        LEFT JOIN answer ON answer.question = question.id
    WHERE person = ?
"""
_ANSWERED = """
    SELECT received FROM question JOIN answer ON answer.question = question.id WHERE person = ? AND position = ?
"""
_BEFORE = f"SELECT coalesce(({_ANSWERED}), (SELECT begun FROM person WHERE id = ?))"


def _question(row: tuple[Any, ...]) -> Question:
    name, position, expected, limit, said, real, real_first = row
    truth = expected if expected is not None else real if real_first is None else real_first
    return Question(
        name, position, _flag(expected), limit, _flag(said), bool(truth)
    )  # fmt: skip


def _flag(number: int | None) -> bool | None:
    return None if number is None else bool(number)


def _step(limit: float, right: bool) -> float:
    low, high = SHORTEST_LIMIT, min(STAIRCASE_TOP, LONGEST_LIMIT)
    return min(high, max(low, round(limit - STEP_DOWN if right else limit + STEP_UP, 3)))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
