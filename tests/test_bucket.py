"""Work directories in buckets, on fsspec's memory file system: whenever a machine is lost, a run can go on."""

import hashlib
import json
import signal
import threading
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from igan import bucket, sample
from igan import store as storing
from igan.bucket import mirrored
from igan.errors import RunError, UserError
from igan.run import train
from igan.store import Bucket
from tests.command import EXPERIMENT, PATIENCE, refused
from tests.outcome import assert_same_run
from tests.run.test_mixture import tiny

ROOT = "memory://runs/a"


class Store(MemoryFileSystem):
    """A store that can do no more than a bucket can, and is lost after so many changes."""

    protocol = "bucket"
    cachable = False
    left = 10**9
    fails: Exception | None = None

    def _change(self) -> None:
        if Store.fails:
            raise Store.fails
        if not Store.left:
            raise ConnectionError("the machine is gone")
        Store.left -= 1

    def pipe_file(self, path, value, **kwargs):
        self._change()
        super().pipe_file(path, value, **kwargs)

    def put_file(self, lpath, rpath, **kwargs):
        self._change()
        super().put_file(lpath, rpath, **kwargs)

    def rm_file(self, path):
        self._change()
        super().rm_file(path)

    def mv(self, *_, **__):
        raise NotImplementedError("a bucket has no rename")

    rename = move = mv_file = mv


@pytest.fixture(autouse=True)
def store():
    fsspec.register_implementation("bucket", Store, clobber=True)
    Store.left, Store.fails = 10**9, None
    MemoryFileSystem.store.clear()
    yield Store
    MemoryFileSystem.store.clear()


def advance(folder: Path, step: int, keep: int = 2) -> None:
    """Makes a folder what a run leaves after so many steps: records first, then a checkpoint."""
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(f"{each}\n" for each in range(step + 1)))
    (folder / "samples").mkdir(exist_ok=True)
    (folder / "samples" / f"step_{step}.png").write_text(f"picture {step}")
    checkpoint = folder / "checkpoints" / str(step)
    files = {"d/0": f"parameters {step}", "manifest": f"of {step}"}
    for name, text in files.items():
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_text(text)
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    (checkpoint / "contents.json").write_text(json.dumps({"files": digests}))
    (folder / "checkpoints" / f"{step}.orbax-checkpoint-tmp").mkdir()
    (folder / "checkpoints" / f"{step}.orbax-checkpoint-tmp" / "half").write_text("half")
    (folder / ".lock").write_text("1")
    for old in range(step - keep + 1):
        for path in sorted((folder / "checkpoints" / str(old)).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()


def newest(folder: Path) -> int:
    """The newest checkpoint, after a look at all: each is whole, and what came before it is written down."""
    steps = [int(path.parent.name) for path in folder.glob("checkpoints/*/contents.json")]
    recorded = [int(line) for line in (folder / "metrics.jsonl").read_text().split()] if steps else []
    for step in steps:
        checkpoint = folder / "checkpoints" / str(step)
        for name, digest in json.loads((checkpoint / "contents.json").read_text())["files"].items():
            assert hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() == digest
        assert recorded[: step + 1] == list(range(step + 1)) and (folder / f"samples/step_{step}.png").exists()
    folders = {path.name for path in (folder / "checkpoints").glob("*")}
    assert folders == {str(step) for step in steps}, "what is not whole is not copied"
    return max(steps, default=-1)


def test_a_machine_may_be_lost_at_any_moment(store, tmp_path):
    """Every change of a bucket in turn is the last one; what is confirmed is never lost again."""
    for changes in range(1, 200):
        MemoryFileSystem.store.clear()
        store.left = changes
        place, confirmed = tmp_path / str(changes), -1
        try:
            first = Bucket("bucket://runs/a")
            first.take()
            for step in range(5):
                advance(place, step)
                first.push(place)
                confirmed = step
        except ConnectionError:
            pass
        store.left = 10**9
        second = Bucket("bucket://runs/a")
        second.take()
        copied = tmp_path / f"{changes}-copied"
        copied.mkdir()
        second.pull(copied)
        found = newest(copied)
        assert found >= confirmed
        second.push(copied)  # And what the first one left half done is swept away.
        names = second._names()
        assert all(storing._step(name) is None or f"{storing._step(name)}/contents.json" in names for name in names)
        if confirmed == 4:
            break
    assert confirmed == 4 and changes > 30


def test_a_checkpoint_that_was_played_anew_is_copied_anew(store, tmp_path):
    """Whatever change is the last one: never a checkpoint of before under the records of what was played anew."""
    for changes in range(200):
        MemoryFileSystem.store.clear()
        store.left, place, copied = 10**9, tmp_path / str(changes), tmp_path / f"{changes}-copied"
        first = Bucket("bucket://runs/a")
        first.take()
        for step in range(4):
            advance(place, step)
            first.push(place)
        checkpoint, contents = place / "checkpoints" / "3", {"files": {"d/1": hashlib.sha256(b"anew").hexdigest()}}
        (checkpoint / "d" / "0").unlink()
        (checkpoint / "d" / "1").write_text("anew")  # Orbax gives its files other names each time.
        (checkpoint / "contents.json").write_text(json.dumps(contents))
        (place / "metrics.jsonl").write_text("".join(f"{each}\n" for each in range(5)))  # Of another length, anew.
        store.left = changes
        with suppress(ConnectionError):
            first.push(place)
        is_done, store.left = store.left > 0, 10**9
        copied.mkdir()
        Bucket("bucket://runs/a").pull(copied)
        is_anew, found = (copied / "metrics.jsonl").read_text() != "0\n1\n2\n3\n", newest(copied)
        assert not is_anew or found == 2 or (copied / "checkpoints/3/d/1").read_text() == "anew", changes
        if is_done:
            break
    assert is_anew and found == 3 and changes > 3
    assert not (copied / "checkpoints/3/d/0").exists()
    # It goes back as a damaged checkpoint makes it: what is newer is taken away before the records are shortened.
    checkpoint.rename(place / "checkpoints" / "damaged_3")
    (place / "metrics.jsonl").write_text("0\n1\n2\n")
    store.left = 1
    with pytest.raises(ConnectionError):
        first.push(place)
    assert "checkpoints/3/contents.json" not in first._names()


def test_only_what_changed_is_copied(store, tmp_path):
    advance(tmp_path / "run", 3)
    first = Bucket("bucket://runs/a")
    first.take()
    first.push(tmp_path / "run")
    store.left = 0
    first.push(tmp_path / "run")  # Nothing.
    store.left = 1
    (tmp_path / "run" / "metrics.jsonl").write_text("more")
    first.push(tmp_path / "run")
    assert store.left == 0


def test_who_comes_later_takes_over(tmp_path, monkeypatch):
    sent: list[int] = []
    told = threading.Event()

    def kill(_, number):
        sent.append(number)
        told.set()

    monkeypatch.setattr(bucket.os, "kill", kill)
    with pytest.raises(RunError, match=f"another run has taken over {ROOT}; the files of this one are in /"):  # noqa: SIM117
        with mirrored(ROOT, seconds=0.01) as folder:
            advance(folder, 1)
            with mirrored(ROOT, seconds=100) as other:
                advance(other, 1)
                assert told.wait(PATIENCE) and sent == [signal.SIGTERM]
            assert folder.exists() and not other.exists()
    assert (folder / "checkpoints/1/contents.json").exists()  # Its files are kept.


def test_what_cannot_be_copied_is_kept(store, monkeypatch):
    monkeypatch.setattr(bucket.time, "sleep", lambda _: None)
    with pytest.raises(RunError, match=r"could not copy to bucket://b/run \(denied\); the run is in /") as told:  # noqa: SIM117
        with mirrored("bucket://b/run", seconds=100) as folder:
            advance(folder, 1)
            store.fails = PermissionError("denied")
    assert str(folder) in str(told.value) and (folder / "checkpoints/1/contents.json").exists()


def test_an_error_names_the_bucket(tmp_path):
    with pytest.raises(UserError, match=f"^{ROOT} holds a run of another config"), mirrored(ROOT) as folder:
        raise UserError(f"{folder} holds a run of another config")
    assert not folder.exists() and not MemoryFileSystem.store  # As before it began.


def test_a_run_goes_on_on_another_machine(tmp_path, capsys):
    def game(epochs):
        config = tiny()
        config.epochs, config.checkpoint.interval = epochs, 5
        config.discriminator.constant_share = config.generator.constant_share = 1.0
        config.evaluation.scores_interval = config.reporting.samples_interval = 10
        return config

    for epochs in (1, 2):
        with mirrored(ROOT, seconds=0.2) as folder:
            train.run(game(epochs), folder)
        assert not folder.exists()
        assert f"finished --workdir={ROOT}" in capsys.readouterr().out
    assert bucket.main([ROOT, str(tmp_path / "copied")]) == 0
    assert not list((tmp_path / "copied").glob(".lock"))
    train.run(game(2), tmp_path / "alone")
    assert_same_run(tmp_path / "copied", tmp_path / "alone")


def test_a_bucket_that_cannot_be_used_is_one_line(command, store, monkeypatch, tmp_path):
    refused(command(EXPERIMENT, "--workdir=foo://x/run"), "foo://x/run", "Protocol not known")
    store.fails = PermissionError("no credentials")
    with pytest.raises(UserError, match=r"cannot use bucket://b/run \(PermissionError: no credentials\): check"):  # noqa: SIM117
        with mirrored("bucket://b/run"):
            pass
    store.fails = None
    monkeypatch.setattr(bucket, "SECONDS_TO_ANSWER", 0.05)
    monkeypatch.setattr(store, "pipe_file", lambda *_, **__: threading.Event().wait(5))
    with pytest.raises(UserError, match="no answer in 0 s"), mirrored("bucket://b/run"):
        pass


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(storing.fsspec.core, "url_to_fs", lambda *_, **__: (_ for _ in ()).throw(ImportError("gcsfs")))
    with pytest.raises(UserError, match="pip install gcsfs"):
        Bucket("gs://x/run")


def test_other_commands_say_how_to_copy(capsys, tmp_path):
    assert sample.main(["--workdir=gs://x/runs/cifar10"]) == 2
    told = capsys.readouterr().err
    assert "copy it first, python -m igan.bucket gs://x/runs/cifar10 runs/cifar10" in told
    assert bucket.main([ROOT, str(tmp_path / "new")]) == 2 and "holds nothing" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert bucket.main([ROOT, str(tmp_path)]) == 2 and "is there already" in capsys.readouterr().err
