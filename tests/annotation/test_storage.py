"""What SQLite asks of the disk, through a disk that counts, fills up, and breaks while people answer."""

import asyncio

import apsw
import pytest

from igan.annotation import __main__, schema, store, study, writer
from igan.errors import RunError

from .conftest import sources


class Disk(apsw.VFS):
    """The system's files, watched; connections that are opened while it is there use it."""

    def __init__(self) -> None:
        self.syncs, self.fails = 0, ""  # Which call fails: "xWrite", "xSync" or none.
        self.system = apsw.vfs_names()[0]  # The default before this one.
        super().__init__("watched", self.system, makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name.
        return File(self, name, flags)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name, flags) -> None:
        self.disk = disk
        super().__init__(disk.system, name, flags)

    def xWrite(self, data, offset):  # noqa: N802
        if self.disk.fails == "xWrite":
            raise apsw.FullError("database or disk is full")
        super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        if self.disk.fails == "xSync":
            raise apsw.IOError("disk I/O error")
        self.disk.syncs += 1
        super().xSync(flags)


@pytest.fixture
def disk():
    watched = Disk()
    yield watched
    watched.unregister()


def test_each_acknowledged_answer_has_been_brought_to_the_disk(make, disk, browse):
    """With synchronous=NORMAL a commit in a write-ahead log waits for no disk, and a loss of power takes it back."""
    browser = browse(make(questions=8))
    browser.begin()
    for _ in range(8):
        before = disk.syncs
        assert browser.answer(browser.question(), "real").status_code == 200
        assert disk.syncs > before


@pytest.mark.parametrize("fails", ["xWrite", "xSync"])
def test_an_answer_that_does_not_reach_the_disk_is_not_acknowledged_nor_counted(make, disk, browse, fails, capsys):
    browser = browse(make(feedback="with"))
    client = browser.begin()
    name = browser.question()
    capsys.readouterr()
    disk.fails = fails
    for _ in range(2):
        assert browser.answer(name, "real").status_code == 503
    page = client.post("/answer", data={"question": name, "said": "real"})
    assert page.status_code == 503 and "Please try again" in page.text and 'href="/question"' in page.text
    newcomer = browser.another()
    form = newcomer.get(f"/join/{browser.link}").text.split('name="form" value="')[1].split('"')[0]
    page = newcomer.post(f"/join/{browser.link}", data={"form": form})
    assert page.status_code == 503 and 'href="/question"' not in page.text  # Where they have nothing to go on with.
    assert browser.question() == name
    disk.fails = ""
    assert study.open(browser.server.study.path).answers() == []
    assert browser.answer(name, "real").status_code == 200 and browser.question() != name
    assert len(study.open(browser.server.study.path).answers()) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith("error: answers are refused") and "stored again" in said[1]


def test_reading_results_writes_nothing_into_a_study_whose_server_was_killed(make, capsys):
    """What the server had not yet brought from its log into the file stays in the log; and is read from there."""
    path = make(questions=2)
    connection, opened = schema.connect(path), study.open(path)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # As a kill does.
    known = store.read_known(connection, opened.settings, opened.key)
    opened.close()
    person = store.begin(connection, known, "token")
    assert person
    while question := store.current(connection, person.id):
        store.answer(connection, known, person.id, question.id, True, store.Timing(1.0))
    connection.close()
    log = path.with_name(f"{path.name}-wal")
    before = path.read_bytes(), log.read_bytes()
    for command in (["results", "--json"], ["export"]):
        assert __main__.main([command[0], str(path), *command[1:]]) == 0
    assert person.id in capsys.readouterr().out
    assert before[1] and (path.read_bytes(), log.read_bytes()) == before


def test_a_file_that_becomes_read_only_refuses_until_it_is_writable_again(make, browse, capsys):
    browser = browse(make())
    browser.begin()
    name = browser.question()
    browser.server.writer._connection.pragma("query_only", True)
    assert browser.answer(name, "real").status_code == 503
    assert "answers are refused" in capsys.readouterr().err
    browser.server.writer._connection.pragma("query_only", False)
    assert browser.answer(name, "real").status_code == 200


def test_an_error_that_ends_the_whole_transaction_is_told_to_all_who_wait(make):
    """As SQLite may do where a disk is full: a job's own savepoint is then gone too."""
    writing = writer.Writer(make())

    def full(connection):
        connection.execute("ROLLBACK")
        raise apsw.FullError("database or disk is full")

    async def both():
        jobs = (lambda connection: store.count(connection, "declined"), full)
        return await asyncio.gather(*map(writing.run, jobs), return_exceptions=True)

    found = asyncio.run(both())
    writing.close()
    assert isinstance(found[1], RunError) and "disk is full" in str(found[1])


def test_a_row_that_the_file_refuses_is_not_stored_and_others_are(make):
    path = make()
    writing = writer.Writer(path)

    def refused(connection):
        raise apsw.ConstraintError("NOT NULL constraint failed")

    async def both():
        jobs = (refused, lambda connection: store.count(connection, "declined"))
        return await asyncio.gather(*map(writing.run, jobs), return_exceptions=True)

    found = asyncio.run(both())
    writing.close()
    assert isinstance(found[0], RunError) and found[1] is None
    assert study.open(path).tallies()["declined"] == 1


def test_what_is_deleted_is_wiped_at_once_where_the_file_cannot_be_written_anew(make):
    path = make()
    connection, opened = schema.connect(path), study.open(path)
    person = store.begin(connection, store.read_known(connection, opened.settings, opened.key), "token")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert person and person.id.encode() in path.read_bytes()
    store.forget(connection, person.id)
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert person.id.encode() not in path.read_bytes()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_no_longer_there_takes_no_answers(make, browse, how):
    """SQLite would go on in what has no name any more, and every answer would be lost at the end."""
    path = make()
    browser = browse(path)
    browser.begin()
    name = browser.question()
    path.rename(path.with_name("moved.db"))
    if how == "replaced":
        make()
    assert browser.answer(name, "real").status_code == 503
    path.with_name("moved.db").replace(path)
    assert browser.answer(name, "real").status_code == 200


def test_a_reader_that_fails_is_a_page_and_no_traceback(make, browse, monkeypatch):
    browser = browse(make())
    browser.begin()

    def broken(*_):
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr("igan.annotation.store.current", broken)
    page = browser.client.get("/question")
    assert page.status_code == 503 and "Please try again" in page.text


def test_a_study_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path, disk):
    from igan.annotation.options import Options

    disk.fails = "xWrite"
    with pytest.raises(apsw.FullError):
        study.create(tmp_path / "s.db", Options(questions=5, pool=60), sources())
    assert list(tmp_path.iterdir()) == []


def test_a_commit_that_fails_does_not_stand_in_the_way_of_the_next(make, monkeypatch):
    connection = schema.connect(make())
    connection.set_commit_hook(lambda: True)  # Turns every commit down.
    with pytest.raises(apsw.ConstraintError), schema.writing(connection):
        connection.execute("INSERT INTO tally VALUES ('declined', 1)")
    connection.set_commit_hook(None)
    with schema.writing(connection):
        connection.execute("INSERT INTO tally VALUES ('declined', 2)")
    assert connection.execute("SELECT count FROM tally").fetchall() == [(2,)]


def test_a_command_on_a_broken_disk_says_so_in_one_line(make, disk, capsys):
    path = make()
    disk.fails = "xWrite"
    assert __main__.main(["delete", str(path), "0" * 16]) in (1, 2)
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: ")


def test_a_study_where_nobody_can_write_is_not_served(make, monkeypatch, capsys):
    path = make()
    monkeypatch.setattr("os.access", lambda place, _: place != path)
    assert __main__.main(["serve", f"--study={path}"]) == 2
    assert "copy it to another folder" in capsys.readouterr().err


def test_the_next_question_is_found_as_quickly_after_hundreds_of_answers(make):
    """By the instructions that SQLite makes for it."""
    path = make(questions=400, count=410)
    opened, connection = study.open(path), schema.connect(path)
    known = store.read_known(connection, opened.settings, opened.key)
    person = store.begin(connection, known, "token").id

    def instructions() -> int:
        made = []
        connection.set_progress_handler(lambda: bool(made.append(1)), 1)
        store.current(connection, person)
        connection.set_progress_handler(None)
        return len(made)

    before = instructions()
    for count in (0, 1, 390, 399, 400):
        connection.execute(
            "INSERT OR IGNORE INTO answer SELECT id, 1, 1.0, 'page', 1.0, NULL FROM question WHERE position < ?",
            (count,),
        )
        question = store.current(connection, person)
        assert store.answered(connection, person) == count == opened.people()[0]["answers"]
        assert question.position == count if count < 400 else question is None
        assert instructions() < 2 * before
    connection.close()
    opened.close()
