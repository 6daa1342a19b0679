"""The tables of a study's file, and how a file of an older version becomes one of this version."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from igan.errors import UserError

APPLICATION = 0x4947414E  # "IGAN", in the file's header.
OLDEST_SQLITE = (3, 51, 3)  # Before it, two connections at a write-ahead log could corrupt a file.
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "lustre")

# One text for each version. A file of version n has gone through the first n. Never change one that was released.
MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE study (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        options TEXT NOT NULL,          -- JSON
        definition TEXT NOT NULL,       -- SHA-256 of the options and of all items
        key BLOB NOT NULL,              -- secret: decks, tokens, hidden ids
        link TEXT NOT NULL,             -- the part of people's link that cannot be guessed
        created REAL NOT NULL,
        written_by TEXT NOT NULL
    ) STRICT;
    CREATE TABLE source (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, real INTEGER NOT NULL, address TEXT NOT NULL,
        description TEXT NOT NULL
    ) STRICT;
    CREATE TABLE image (hash TEXT PRIMARY KEY, png BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE item (
        id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES source, image TEXT NOT NULL REFERENCES image,
        example INTEGER NOT NULL DEFAULT 0, UNIQUE (source, image)
    ) STRICT;
    CREATE TABLE person (
        id TEXT PRIMARY KEY, token BLOB NOT NULL UNIQUE, feedback INTEGER NOT NULL, begun REAL NOT NULL,
        device TEXT NOT NULL, outside_person BLOB UNIQUE, outside_session BLOB UNIQUE
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE question (
        id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES person ON DELETE CASCADE, position INTEGER NOT NULL,
        item INTEGER NOT NULL REFERENCES item, other INTEGER REFERENCES item, real_first INTEGER, expected INTEGER,
        time_limit REAL, UNIQUE (person, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE answer (
        question TEXT PRIMARY KEY REFERENCES question ON DELETE CASCADE, said INTEGER NOT NULL, seconds REAL NOT NULL,
        clock TEXT NOT NULL, received REAL NOT NULL,
        shown REAL  -- seconds for which a browser says it has shown the image, of timed questions
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE showing (  -- how often the image on a side of a timed question was sent before its answer
        question TEXT NOT NULL REFERENCES question ON DELETE CASCADE, side TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (question, side)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE used (outside BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;  -- hidden ids of people who were deleted
    """,
)


def connect(path: Path, read_only: bool = False) -> apsw.Connection:
    """Opens a study's file, brought to this version.

    Args:
      read_only: whether nothing of it is written, not even what a server that was killed has left beside it; but for an
        older version, which is brought to this one.

    Raises UserError for what is no study, or of a newer version, and for an SQLite or a disk that could lose answers.
    """
    if tuple(map(int, apsw.sqlite_lib_version().split("."))) < OLDEST_SQLITE:
        raise UserError(f"SQLite {apsw.sqlite_lib_version()} can corrupt files: pip install --upgrade apsw")
    if path.is_dir():
        raise UserError(f"{path} is a folder, and a study is one file: give that, {path / 'study.db'}, say")
    if not path.is_file():
        raise UserError(
            f"there is no study {path}: python -m igan.annotation serve --study={path} --generated=RUN makes one"
        )
    try:
        if read_only:
            connection = _open(path, apsw.SQLITE_OPEN_READONLY)
            if is_current(connection):
                return connection
            connection.close()
        check_file_system(path)
        connection = _open(path, apsw.SQLITE_OPEN_READWRITE)
        migrate(connection, path)
        if read_only:
            connection.close()
            connection = _open(path, apsw.SQLITE_OPEN_READONLY)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise UserError(f"{path} is no study, or damaged ({error}): give the file of a study, or a new name") from error
    return connection


def is_study(path: Path) -> bool:
    """Whether a path is a file that says in its header to be a study."""
    try:
        with path.open("rb") as file:
            return file.read(72)[68:] == APPLICATION.to_bytes(4, "big")
    except OSError:
        return False


def create(path: Path) -> apsw.Connection:
    """Makes an empty study at a path where nothing is. What it is filled with is to be committed by the caller."""
    check_file_system(path)
    connection = _open(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    connection.pragma("journal_mode", "wal")  # Kept in the file.
    migrate(connection, path)
    return connection


def is_current(connection: apsw.Connection) -> bool:
    """Whether a file is a study of this version."""
    return connection.pragma("user_version") == len(MIGRATIONS) and connection.pragma("application_id") == APPLICATION


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Brings a file to this version, whole or not at all."""
    if is_current(connection):
        return
    with writing(connection):
        version, tables = (
            connection.pragma("user_version"),
            connection.execute("SELECT * FROM sqlite_schema").fetchall(),
        )
        if connection.pragma("application_id") != APPLICATION and (version or tables):
            raise UserError(f"{path} is a database, but no study: give the file of a study, or a new name")
        if version > len(MIGRATIONS):
            raise UserError(f"{path} was made by a newer igan: pip install --upgrade igan")
        for text in MIGRATIONS[version:]:
            connection.execute(text)
        connection.pragma("application_id", APPLICATION)
        connection.pragma("user_version", len(MIGRATIONS))


def compact(connection: apsw.Connection) -> None:
    """Writes a file anew, without what was deleted, traces of which stay between its rows and in its log."""
    with contextlib.suppress(apsw.BusyError):  # Somebody else is at work there; at the server's end it is done again.
        connection.execute("VACUUM")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


@contextlib.contextmanager
def writing(connection: apsw.Connection) -> Iterator[None]:
    """A transaction that has the right to write from its beginning on, or waits for it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:  # A commit that fails may leave the transaction open, and none could begin after it.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check_file_system(path: Path) -> None:
    """Raises UserError if a path is on a network's file system, where SQLite's locks are not to be relied on."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return  # No Linux: not known.
    real = str(Path(os.path.realpath(path)).parent)
    inside = [(len(point), kind) for point, kind in mounts if os.path.commonpath([real, point]) == point]
    if inside and (kind := max(inside)[1]) in NETWORK_FILE_SYSTEMS:
        raise UserError(f"{path} is on a network's file system ({kind}), which could lose answers: use a local disk")


def _open(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(10_000)
    if flags & apsw.SQLITE_OPEN_READONLY:  # Else the last to close a file would write its log into it.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("synchronous", "FULL")  # Else a commit can be lost when the power is.
    connection.pragma("foreign_keys", True)
    connection.pragma("secure_delete", True)
    return connection
