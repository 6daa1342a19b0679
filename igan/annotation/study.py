"""A study: one SQLite file with options, images, people, questions and answers.

>>> open(Path("cifar10.db")).answers()  # doctest: +SKIP
[Answer(person='3f0c…', position=0, image='9a…', generator='real', real=True, said_real=True, ...)]
"""

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

import igan
from igan.annotation import options as options_module
from igan.annotation import pool, schema, store
from igan.annotation.answers import Answer, Attendance, Circumstances
from igan.annotation.options import Options
from igan.annotation.pool import Source
from igan.errors import RunError, UserError

ANSWER_COLUMNS = 11  # Of the query for answers, those that `_answer` takes.
CHECK = "check"  # The generator of attention checks.


class Study:
    """A study as its owner and its statistics see it. Reading never waits for people, nor they for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = schema.connect(path, read_only=True)
        row = self._connection.execute("SELECT options, definition, key, link, created FROM study").fetchone()
        if row is None:
            raise UserError(f"{path} is a study that was not finished being made: remove it and make it again")
        text, self.definition, self.key, self.link, self.created = row
        self.settings: Options = options_module.from_plain(json.loads(text))
        if definition(text, self._items()) != self.definition:
            raise UserError(f"{path}: its options or images were changed after it was made: restore the file")

    @property
    def options(self) -> dict[str, Any]:
        """Returns the options, and under `sources` where the images came from."""
        rows = self._connection.execute("SELECT name, real, address, description FROM source ORDER BY id").fetchall()
        sources = [
            {"name": name, "real": bool(real), "address": address, "description": description}
            for name, real, address, description in rows
        ]
        return self.settings.plain() | {"sources": sources, "definition": self.definition, "created": self.created}

    def answers(self) -> list[Answer]:
        """Returns all answers, by person and position."""
        return [answer for answer, _ in self.records()]

    def records(self) -> list[tuple[Answer, Circumstances]]:
        """Returns all answers, by person and position, and what is stored of each besides."""
        return [
            (_answer(self.settings.mode, *row[:ANSWER_COLUMNS]), Circumstances(*row[ANSWER_COLUMNS:]))
            for row in self._connection.execute(_ANSWERS)
        ]

    def attendance(self) -> Attendance:
        """Returns how many came, and when."""
        query = """SELECT count(DISTINCT person), min(received), max(received)
            FROM answer JOIN question ON question.id = question"""
        answered, first, last = store.one(self._connection, query)
        (began,) = store.one(self._connection, "SELECT count(*) FROM person")
        tallies = self.tallies()
        return Attendance(began, began - answered, tallies["declined"], tallies["deleted"], first, last)

    def image(self, hash: str) -> bytes:
        """Returns the PNG file of an image.

        Raises:
          KeyError: there is none.
          RunError: its bytes are not those that its hash is of.
        """
        row = self._connection.execute("SELECT png FROM image WHERE hash = ?", (hash,)).fetchone()
        if row is None:
            raise KeyError(hash)
        if hashlib.sha256(row[0]).hexdigest() != hash:
            raise RunError(f"{self.path}: the image {hash} is damaged: restore the file from a copy")
        return row[0]

    def verify(self) -> None:
        """Reads every image.

        Raises RunError if the bytes of one are not those that its hash is of.
        """
        rows: list[Any] = self._connection.execute("SELECT hash FROM image").fetchall()
        for (hash,) in rows:
            self.image(hash)

    def hashes(self) -> dict[str, list[str]]:
        """Returns the images of each source that people are asked about, by its name; real ones under "real"."""
        found: dict[str, list[str]] = {}
        query = "SELECT name, image FROM item JOIN source ON source.id = source WHERE NOT example ORDER BY item.id"
        for name, image in self._connection.execute(query):
            found.setdefault(name, []).append(image)
        return found

    def people(self) -> list[dict[str, Any]]:
        """Returns a summary of each participant, in the order in which they began."""
        query = "SELECT id, feedback, begun, device FROM person ORDER BY begun"
        return [
            dict(zip(("id", "feedback", "begun", "device"), row, strict=True))
            | {"answers": store.answered(self._connection, row[0])}
            for row in self._connection.execute(query)
        ]

    def tallies(self) -> dict[str, int]:
        """Returns how many did not consent (`declined`) and how many were deleted (`deleted`)."""
        rows: list[Any] = self._connection.execute("SELECT name, count FROM tally").fetchall()
        return {"declined": 0, "deleted": 0} | dict(rows)

    def forget(self, person: str) -> bool:
        """Deletes a participant with all answers; returns whether there was one."""
        connection = schema.connect(self.path)
        try:
            with schema.writing(connection):
                return store.forget(connection, person)
        finally:
            schema.compact(connection)
            connection.close()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _items(self) -> list[tuple[Any, ...]]:
        return self._connection.execute(_ITEMS).fetchall()


_ITEMS = """SELECT name, real, image, example FROM item JOIN source ON source.id = source ORDER BY item.id"""
_ANSWERS = """
    SELECT person.id, position, item.image, source.name, source.real, real_first, expected, said, person.feedback,
        seconds, time_limit, clock, shown, received, device, pair.image
    FROM answer JOIN question ON question.id = answer.question JOIN person ON person.id = question.person
        JOIN item ON item.id = question.item JOIN source ON source.id = item.source
        LEFT JOIN item AS pair ON pair.id = question.other
    ORDER BY person.begun, person.id, position
"""


def open(path: str | Path) -> Study:
    """Opens a study for reading, also while it is served.

    Raises UserError for what is no study, and for one whose definition was changed.
    """
    return Study(Path(path).expanduser())


def create(path: Path, options: Options, sources: Sequence[Source]) -> None:
    """Makes a study: takes the images of its sources in, and fixes its options. A file, or nothing, is left.

    Args:
      path: where nothing is yet.
      sources: one of real images, and one or more of generated ones.

    Raises UserError for too few images, and what `pool.gather` raises.
    """
    options_module.check(options)
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise UserError(f"two generators have one name ({', '.join(names)}): give --generated=NAME=SOURCE")
    if path.exists():
        raise UserError(f"{path} is there already: choose another name")
    schema.check_file_system(path)
    pictures = pool.gather(sources, options.pool, options.jpeg)
    for source, each in zip(sources, pictures, strict=True):
        if len(each) < options.total + 1:
            possible = max(1, len(each) - 1 - options.checks)
            raise UserError(
                f"{source.name} has {len(each):,} different images, and a person with {options.total} questions may"
                f" need them all, and one is an example: give more images, or --questions={possible}"
            )
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with contextlib.closing(schema.create(part)) as connection:
            with schema.writing(connection):
                _fill(connection, options, sources, pictures)
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        part.rename(path)
    finally:
        for each in ("", "-wal", "-shm"):
            part.with_name(f"{part.name}{each}").unlink(missing_ok=True)


def definition(options_text: str, items: Sequence[Sequence[Any]]) -> str:
    """Returns the hash of what a study asks."""
    rows = sorted([name, int(real), image, int(example)] for name, real, image, example in items)
    return hashlib.sha256(f"{options_text}\n{json.dumps(rows)}".encode()).hexdigest()


def _fill(
    connection: apsw.Connection, options: Options, sources: Sequence[Source], pictures: Sequence[Sequence[pool.Picture]]
) -> None:
    text = json.dumps(options.plain(), sort_keys=True, ensure_ascii=False)
    has_example: set[bool] = set()
    for number, (source, each) in enumerate(zip(sources, pictures, strict=True), start=1):
        row = (number, source.name, int(source.real), source.address, source.description)
        connection.execute("INSERT INTO source VALUES (?, ?, ?, ?, ?)", row)
        connection.executemany("INSERT OR IGNORE INTO image VALUES (?, ?)", each)
        is_example = source.real not in has_example  # One real and one generated image are shown as examples.
        has_example.add(source.real)
        rows = [(number, picture.hash, int(is_example and not place)) for place, picture in enumerate(each)]
        connection.executemany("INSERT INTO item (source, image, example) VALUES (?, ?, ?)", rows)
    connection.execute(
        "INSERT INTO study VALUES (1, ?, ?, ?, ?, ?, ?)",
        (
            text,
            definition(text, connection.execute(_ITEMS).fetchall()),
            secrets.token_bytes(32),
            secrets.token_urlsafe(16),
            time.time(),
            igan.__version__,
        ),
    )


def _answer(
    mode: str,
    person: str,
    position: int,
    image: str,
    source: str,
    real: int,
    real_first: int | None,
    expected: int | None,
    said: int,
    feedback: int,
    seconds: float,
    limit: float | None,
) -> Answer:
    generator, said_real = source, bool(said)
    if expected is not None:
        generator, real = CHECK, expected
    elif mode == "side_by_side":  # "Left" was said, or not; the generated image is left where the real one is not.
        said_real = bool(said) != bool(real_first)
    return Answer(
        person, position, image, generator, bool(real), said_real, bool(feedback), seconds, limit, expected is not None
    )
