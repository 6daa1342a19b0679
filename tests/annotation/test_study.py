"""The file: complete, unchangeable unnoticed, readable years later."""

import hashlib
import json
import time
from pathlib import Path

import apsw
import pytest

from igan.annotation import deck, pool, schema, store, study
from igan.annotation.answers import Answer
from igan.annotation.options import Options
from igan.errors import RunError, UserError

from .conftest import sources


def answer_all(path, person_token="token", said=lambda question: True):
    """Answers all questions; returns the person and the questions."""
    connection, opened = schema.connect(path), study.open(path)
    known = store.read_known(connection, opened.settings, opened.key)
    person = store.begin(connection, known, person_token)
    assert person
    questions = []
    while question := store.current(connection, person.id):
        timing = store.Timing(1.5, "browser")
        outcome = store.answer(connection, known, person.id, question.id, said(question), timing)
        assert outcome.status == "stored" and outcome.question
        questions.append(outcome.question)
    connection.close()
    opened.close()
    return person, questions


def is_real(opened, hash):
    """As the images of these tests say themselves."""
    return pool.decode(opened.image(hash)).mean() < 128


def test_answers_say_what_was_shown_and_said(make):
    path = make(checks=2, feedback="with")
    person, questions = answer_all(path, said=lambda question: question.position % 3 == 0)
    opened = study.open(path)
    answers = opened.answers()
    assert [each.position for each in answers] == list(range(10))
    assert {type(each) for each in answers} == {Answer}
    for each, question in zip(answers, questions, strict=True):
        assert each.person == person.id and each.feedback is True and each.seconds == 1.5 and each.limit is None
        assert each.said_real is (question.position % 3 == 0)
        assert each.check is (question.expected is not None)
        if each.check:
            assert each.generator == "check" and each.real is question.expected
        else:
            assert each.real is bool(is_real(opened, each.image)) and each.generator == ("real" if each.real else "g0")


def test_side_by_side_the_answer_is_about_the_generated_image(make):
    path = make(mode="side_by_side", questions=12)
    _, questions = answer_all(path)  # Always: left.
    opened = study.open(path)
    for each, question in zip(opened.answers(), questions, strict=True):
        assert not is_real(opened, each.image) and each.real is False
        assert each.said_real is (not question.truth)  # Wrong, where the real one was right.
    connection = schema.connect(path)
    for each in questions:
        person = connection.execute("SELECT person FROM question WHERE id = ?", (each.id,)).fetchone()[0]
        left, right = (pool.decode(store.picture(connection, person, each.id, side) or b"").mean() for side in "ab")
        assert (left < 128) == each.truth and (right < 128) != each.truth


def test_all_that_is_stored_of_an_answer_can_be_had(make):
    path = make(mode="side_by_side", limit=0.5, questions=3)
    connection, opened = schema.connect(path), study.open(path)
    known = store.read_known(connection, opened.settings, opened.key)
    person, idle = (store.begin(connection, known, token, "phone") for token in ("one", "other"))
    assert person and idle and opened.attendance() == (2, 2, 0, 0, None, None)
    name = store.current(connection, person.id)
    assert name
    before = time.time()
    store.answer(connection, known, person.id, name.id, True, store.Timing(1.25, "browser", 0.498))
    store.count(connection, "declined")
    ((answer, besides),) = opened.records()
    assert answer == opened.answers()[0] and answer.limit == 0.5
    assert (besides.clock, besides.shown, besides.device) == ("browser", 0.498, "phone")
    assert before <= besides.received <= time.time()
    assert besides.real_image and is_real(opened, besides.real_image) and not is_real(opened, answer.image)
    assert opened.attendance() == (2, 1, 1, 0, besides.received, besides.received)
    assert store.forget(connection, idle.id) and opened.attendance()[:4] == (1, 0, 1, 1)


def test_the_owner_can_draw_the_deck_again(make):
    path = make(checks=1)
    person, questions = answer_all(path)
    opened = study.open(path)
    known = store.read_known(schema.connect(path), opened.settings, opened.key)
    cards = deck.deal(opened.key, person.id, opened.settings, known.real, known.generated)
    assert [card.expected for card in cards] == [question.expected for question in questions]
    shown = [opened.image(each.image) for each in opened.answers()]
    pngs = dict(schema.connect(path).execute("SELECT item.id, png FROM item JOIN image ON hash = image").fetchall())
    assert [pngs[card.item] for card in cards] == shown


def test_what_is_asked_cannot_be_changed_unnoticed(make):
    path = make()
    before = study.open(path).definition
    connection = schema.connect(path)
    text = connection.execute("SELECT options FROM study").fetchone()[0]
    connection.execute("UPDATE study SET options = ?", (json.dumps(json.loads(text) | {"margin": 0.2}),))
    with pytest.raises(UserError, match="changed after it was made"):
        study.open(path)
    connection.execute("UPDATE study SET options = ?", (text,))
    assert study.open(path).definition == before
    connection.execute("DELETE FROM item WHERE id = (SELECT max(id) FROM item)")
    with pytest.raises(UserError, match="changed after it was made"):
        study.open(path)


def test_images_are_those_of_their_hashes(make):
    path = make()
    opened = study.open(path)
    hash = opened.hashes()["real"][0]
    assert hashlib.sha256(opened.image(hash)).hexdigest() == hash
    schema.connect(path).execute("UPDATE image SET png = ? WHERE hash = ?", (b"another", hash))
    with pytest.raises(RunError, match="damaged"):
        opened.image(hash)
    with pytest.raises(KeyError):
        opened.image("none")


def test_a_person_is_forgotten_and_the_others_are_not(make):
    path = make()
    one, _ = answer_all(path, "one")
    other, _ = answer_all(path, "other")
    opened = study.open(path)
    assert opened.forget(one.id) and not opened.forget(one.id)
    assert {each.person for each in opened.answers()} == {other.id}
    assert opened.tallies()["deleted"] == 1
    assert one.id.encode() not in path.read_bytes()


def test_a_file_of_an_older_version_is_migrated_and_a_newer_one_refused(make, monkeypatch):
    path = make()
    answer_all(path)
    old = study.open(path)
    answers = old.answers()
    old.close()
    monkeypatch.setattr(
        schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE person ADD COLUMN note TEXT DEFAULT ''")
    )
    assert study.open(path).answers() == answers
    assert schema.connect(path).pragma("user_version") == len(schema.MIGRATIONS)
    assert schema.connect(path).execute("SELECT DISTINCT note FROM person").fetchall() == [("",)]
    monkeypatch.undo()
    with pytest.raises(UserError, match="newer igan"):
        study.open(path)


def test_a_migration_that_fails_changes_nothing(make, monkeypatch):
    path = make()
    monkeypatch.setattr(
        schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE extra (a); SELECT nothing FROM nowhere")
    )
    with pytest.raises(apsw.SQLError):
        schema.connect(path)
    monkeypatch.undo()
    connection = schema.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone() == (0,)


def test_what_is_no_study_is_said_so_and_not_touched(tmp_path):
    with pytest.raises(UserError, match="is a folder, and a study is one file"):
        study.open(tmp_path)
    with pytest.raises(UserError, match="there is no study"):
        study.open(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database at all, but long enough to have a header" * 40)
    with pytest.raises(UserError, match="no study"):
        study.open(tmp_path / "text.db")
    other = tmp_path / "other.db"
    apsw.Connection(str(other)).execute("CREATE TABLE t (a)")
    before = other.read_bytes()
    with pytest.raises(UserError, match="no study"):
        study.open(other)
    assert other.read_bytes() == before


def test_commits_reach_the_disk_and_sqlite_is_a_safe_one(make):
    connection = schema.connect(make())
    assert connection.pragma("journal_mode") == "wal" and connection.pragma("synchronous") == 2
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= schema.OLDEST_SQLITE


def test_an_sqlite_that_can_corrupt_files_is_refused(make, monkeypatch):
    path = make()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(UserError, match=r"SQLite 3\.51\.2 can corrupt files: pip install"):
        study.open(path)
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.3")
    assert study.open(path).answers() == []


def test_too_few_images_are_refused_and_no_file_is_left(tmp_path):
    with pytest.raises(UserError, match="--questions=9"):
        study.create(tmp_path / "s.db", Options(questions=10, pool=50), sources(10))
    assert list(tmp_path.iterdir()) == []


def test_one_file_is_all(make, tmp_path):
    make()
    assert [each.name for each in tmp_path.iterdir()] == ["study.db"]


def test_the_staircase_goes_up_three_times_as_far_as_down(make):
    path = make(staircase=True, feedback="with", questions=9)
    _, questions = answer_all(path, said=lambda question: question.truth)  # Knows everything.
    assert [question.limit for question in questions] == pytest.approx([0.5 - 0.01 * n for n in range(9)])
    path = make("other.db", staircase=True, feedback="with", questions=9)
    _, questions = answer_all(path, said=lambda question: not question.truth)
    assert [question.limit for question in questions] == pytest.approx([0.5 + 0.03 * n for n in range(9)])
    assert store._step(0.1, True) == 0.1 and store._step(1.0, False) == 1.0
    assert store.STEP_UP / (store.STEP_UP + store.STEP_DOWN) == 0.75


def test_a_study_of_version_1_says_what_it_said_then(tmp_path, capsys):
    """The text of a file as that version made it; what was read of it then is written here, whatever comes since."""
    path = tmp_path / "old.db"
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute((Path(__file__).parent / "study_of_version_1.sql").read_text(encoding="utf-8"))
    assert connection.pragma("user_version") == 1
    connection.close()
    opened = study.open(path)
    assert opened.definition == "98de594b90529491058087495e1a4641e08f550a21a6d1072b0a30f13743d265"
    assert (opened.settings.title, opened.settings.questions, opened.settings.checks) == ("Größe", 3, 1)
    first, other = "570f384fd7584432", "259d588dd65ca085"
    assert [(each.person, each.position, each.generator, each.real, each.said_real, each.feedback, each.seconds)
            for each in opened.answers()] == [
        (first, 0, "dcgan", False, True, True, 1.5),
        (first, 1, "real", True, False, True, 2.5),
        (first, 2, "real", True, True, True, 3.5),
        (first, 3, "check", True, False, True, 4.5),
        (other, 0, "dcgan", False, True, False, 1.5),
        (other, 1, "real", True, False, False, 2.5),
    ]  # fmt: skip
    assert opened.tallies() == {"declined": 1, "deleted": 0}
    assert {len(opened.image(each.image)) for each in opened.answers()} == {88}
    connection = schema.connect(path)
    known = store.read_known(connection, opened.settings, opened.key)
    cards = deck.deal(opened.key, first, opened.settings, known.real, known.generated)
    items = connection.execute("SELECT item FROM question WHERE person = ? ORDER BY position", (first,)).fetchall()
    assert [card.item for card in cards] == [item for (item,) in items]  # The owner can still draw the deck again.
    question = store.current(connection, other)
    assert question and question.position == 2  # And people go on.
    assert [store.show(connection, question.id, "a", 2) for _ in range(3)] == [True, True, False]
    assert store.answer(connection, known, other, question.id, True, store.Timing(1.0)).status == "stored"
    assert store.forget(connection, other)
    assert connection.execute("SELECT * FROM used").fetchall() == [(b"x" * 32,), (b"y" * 32,)]
