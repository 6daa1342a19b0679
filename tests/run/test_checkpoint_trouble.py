"""Damage, kills, full disks and wrong arguments: what was saved before is used, and what went wrong is told."""

import asyncio
import gc
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from igan.errors import RunError, UserError
from igan.run import checkpoint
from igan.run.checkpoint import Checkpoints
from tests.command import PATIENCE
from tests.run.states import bits, make_state, run_python, write


def damage(name: str, checkpoint: Path) -> None:
    """Does to the largest file of a checkpoint, or to its folder, what `name` says."""
    victim = max((path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = victim.read_bytes()
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 4
    if name == "truncated":
        victim.write_bytes(content[: len(content) // 2])
    elif name == "flipped":
        victim.write_bytes(flipped)
    elif name == "deleted":
        victim.unlink()
    else:
        shutil.rmtree(checkpoint)
        checkpoint.mkdir()


@pytest.mark.parametrize(
    "name, reason",
    [("truncated", "is not what"), ("flipped", "is not what"), ("deleted", "is missing"), ("emptied", "it is empty")],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path: Path, name: str, reason: str) -> None:
    write(tmp_path, 10, 20)
    damage(name, tmp_path / "20")
    notes: list[str] = []
    with Checkpoints(tmp_path, keep=2, note=notes.append) as checkpoints:
        found = checkpoints.restore_latest(make_state())
        assert found is not None and found[0] == 10
        assert bits(found[1]) == bits(make_state(10))
        assert len(notes) == 1 and "\n" not in notes[0]
        assert str(tmp_path / "20") in notes[0] and reason in notes[0] and "damaged_20" in notes[0]
        assert checkpoints.steps() == [10] and (tmp_path / "damaged_20").is_dir()
        checkpoints.save(20, make_state(20))
        found = checkpoints.restore_latest(make_state())
        assert found is not None and found[0] == 20 and bits(found[1]) == bits(make_state(20))
    damage("truncated", tmp_path / "20")
    assert Checkpoints(tmp_path, keep=2, note=notes.append).restore_latest(make_state()) is not None
    assert (tmp_path / "damaged_20").is_dir() and (tmp_path / "damaged_20_2").is_dir()


def test_no_damage_to_any_file_gets_through_or_makes_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "sound", 1, 2)
    files = [path.relative_to(tmp_path / "sound/2") for path in (tmp_path / "sound/2").rglob("*") if path.is_file()]
    chance = random.Random(0)
    refused = 0
    for file in files:
        content = (tmp_path / "sound/2" / file).read_bytes()
        flipped = bytearray(content)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        for broken in (None, b"", content[:-1], bytes(len(content)), bytes(flipped)):
            shutil.rmtree(tmp_path / "try", ignore_errors=True)
            shutil.copytree(tmp_path / "sound", tmp_path / "try")
            (tmp_path / "try/2" / file).unlink()
            if broken is not None:
                (tmp_path / "try/2" / file).write_bytes(broken)
            notes: list[str] = []
            found = Checkpoints(tmp_path / "try", keep=2, note=notes.append).restore_latest(make_state())
            assert found is not None and bits(found[1]) == bits(make_state(found[0])), file
            assert len(notes) == (found[0] == 1), file
            refused += found[0] == 1
    assert refused >= 5 * (len(files) - 2)  # All but the two files of Orbax that hold no more than times.
    assert capfd.readouterr() == ("", "")


def test_when_no_checkpoint_can_be_used_the_run_stops_and_renames_nothing(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    damage("deleted", tmp_path / "1")
    damage("flipped", tmp_path / "2")
    for _ in range(2):
        with pytest.raises(RunError, match=r"no usable checkpoint in .*step 2: its file .*; step 1: .* is missing"):
            Checkpoints(tmp_path, keep=2).restore_latest(make_state())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_state_of_another_shape_is_refused_with_both_shapes(tmp_path: Path) -> None:
    write(tmp_path, 1)
    other = make_state() | {"odd": jnp.zeros((3, 4), jnp.bfloat16)}
    with pytest.raises(RunError, match=r"odd: expected bfloat16\[3, 4\], found float32\[7\]"):
        Checkpoints(tmp_path, keep=2).restore_latest(other)
    with pytest.raises(RunError, match=r"more: expected float32\[2\], found nothing"):
        Checkpoints(tmp_path, keep=2).restore_latest(make_state() | {"more": jnp.zeros(2)})
    without = {name: leaf for name, leaf in make_state().items() if name != "odd"}
    with pytest.raises(RunError, match=r"odd: expected nothing, found float32\[7\]"):
        Checkpoints(tmp_path, keep=2).restore_latest(without)


def test_trouble_that_is_not_the_checkpoints_own_moves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, 1, 2)
    checkpoints = Checkpoints(tmp_path, keep=2)
    monkeypatch.setattr(checkpoint, "_digest", lambda path: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(RunError, match=r"step 2 .* could not be read: .*denied"):
        checkpoints.restore_latest(make_state())
    assert checkpoints.steps() == [1, 2]


def test_read_only_changes_nothing_on_disk(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    damage("flipped", tmp_path / "2")
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir()
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    notes: list[str] = []
    with Checkpoints(tmp_path, keep=2, note=notes.append, read_only=True) as checkpoints:
        found = checkpoints.restore_latest(make_state())
    assert found is not None and found[0] == 1 and len(notes) == 1
    assert before == sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))


def test_bad_arguments_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write checkpoints to .*Not a directory.*workdir"):
        Checkpoints(tmp_path / "file" / "checkpoints", keep=2)
    with pytest.raises(UserError, match="expected 2 or more"):
        Checkpoints(tmp_path, keep=1)


def test_what_a_killed_save_left_is_swept_away_at_the_next_start(tmp_path: Path) -> None:
    write(tmp_path, 1)
    for name in ("2.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp-17", "0.deleting", "notes"):
        (tmp_path / name).mkdir()
    assert Checkpoints(tmp_path, keep=2).steps() == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "notes"]


@pytest.mark.long("half a minute; tests/chaos stops a save every day")
def test_a_process_killed_at_any_moment_leaves_what_it_had_confirmed(tmp_path: Path) -> None:
    code = """
        import os, sys, jax, jax.numpy as jnp, numpy as np
        from igan.run.checkpoint import Checkpoints
        noise = lambda step: jax.random.normal(jax.random.key(step), (1000, 1500))
        state_of = lambda step: {"noise": noise(step), "step": jnp.int32(step)}
        with Checkpoints(sys.argv[1], keep=2) as checkpoints:
            assert not [name for name in os.listdir(sys.argv[1]) if "." in name]
            found = checkpoints.restore_latest(state_of(0))
            start, state = found or (0, state_of(0))
            same = all(np.array_equal(state[name], state_of(start)[name]) for name in state)
            print("restored", start, same, flush=True)
            for step in range(start + 1, start + 1000):
                checkpoints.save(step, state_of(step))
                print("confirmed", step - 1, flush=True)  # `save` waits for the one before.
        """
    chance = random.Random(0)
    confirmed = half_written = 0
    for _ in range(5):
        process = run_python(code, tmp_path)
        assert process.stdout is not None
        line = process.stdout.readline().split()
        assert line[0] == "restored" and line[2] == "True", process.communicate()
        assert int(line[1]) >= confirmed
        started, saves = time.monotonic(), chance.randrange(1, 5)
        lines = [process.stdout.readline() for _ in range(saves)]
        time.sleep(chance.uniform(0, (time.monotonic() - started) / saves))  # As slow as this machine is now.
        process.send_signal(signal.SIGKILL)
        output, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL and errors == ""
        confirmed = max(
            int(line.split()[1]) for line in (*lines, *output.splitlines(keepends=True)) if line[-1] == "\n"
        )
        half_written += any("." in path.name for path in tmp_path.iterdir())
    assert confirmed > 0 and half_written > 0


FILL_UP = """
    import resource, shutil, sys, jax, jax.numpy as jnp
    from pathlib import Path
    from igan.run.checkpoint import Checkpoints
    from igan.errors import RunError
    directory, limit = Path(sys.argv[1]), int(sys.argv[2])
    large, small = {"noise": jax.random.normal(jax.random.key(0), (500, 1000))}, {"small": jnp.ones(3)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with Checkpoints(directory, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, small)
        checkpoints.wait()
        for room in (0, 0, 4, 8, 12, 16, 16, 24, 32, 64, 128):  # kB; where it runs out decides what Orbax makes of it.
            if limit == resource.RLIM_INFINITY:
                with open(directory.parent / "filler", "wb", buffering=0) as file:
                    file.write(bytes(max(0, shutil.disk_usage(directory).free - room * 1024)))
            try:
                checkpoints.save(3, large)
                checkpoints.wait()
            except RunError as error:
                print(error)
            found = checkpoints.restore_latest(small)
            assert found[0] == 2 and found[1]["small"].tolist() == [1, 1, 1] and checkpoints.steps() == [1, 2]
        (directory.parent / "filler").unlink(missing_ok=True)
        checkpoints.save(4, small)
    """


def check_full(process: subprocess.Popen[str], directory: Path, reason: str) -> None:
    output, errors = process.communicate(timeout=PATIENCE)
    lines = output.splitlines()
    assert errors == "" and process.returncode == 0 and len(lines) == 11, (errors, output)
    for line in lines:
        assert line.startswith(f"step 3 could not be saved in {directory}: {reason} (")
        assert line.endswith(" MB free); steps still valid: 1, 2.")
    assert sorted(path.name for path in directory.iterdir()) == ["2", "4"]


def test_a_file_size_limit_while_saving_is_told_and_harms_nothing(tmp_path: Path) -> None:
    check_full(run_python(FILL_UP, tmp_path, 500_000), tmp_path, "File too large")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_while_saving_is_told_and_harms_nothing(small_disk: Path) -> None:
    unlimited = resource.RLIM_INFINITY
    check_full(run_python(FILL_UP, small_disk / "run", unlimited), small_disk / "run", "No space left on device")


@pytest.mark.parametrize(("folder", "told"), [("run/checkpoints/120.orbax-checkpoint-tmp/d", 0), ("elsewhere", 1)])
def test_of_writes_nobody_waits_for_only_those_of_a_checkpoint_are_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, folder: str, told: int
) -> None:
    """When one array's write fails, Orbax drops the others': TensorStore's errors, which have no frames at all."""
    with Checkpoints(tmp_path, keep=2):
        loop = asyncio.new_event_loop()
        loop.create_future().set_exception(ValueError(f'OUT_OF_RANGE: Error writing "/{folder}": File too large'))
        gc.collect()
        loop.close()
    assert len(caplog.records) == told


def test_a_failed_save_does_not_hide_the_error_that_ends_the_run(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_write_contents", fail)
    notes: list[str] = []
    with pytest.raises(KeyError, match="the real one"), Checkpoints(tmp_path, keep=2, note=notes.append) as checkpoints:
        checkpoints.save(1, make_state())
        raise KeyError("the real one")
    assert len(notes) == 1 and "step 1 could not be saved" in notes[0]
    with pytest.raises(RunError, match="No space left"), Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(1, make_state())
    assert list(tmp_path.iterdir()) == []
