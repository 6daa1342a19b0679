"""What can happen to a run, each as something that takes one of its lives."""

import math
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from igan.run import workdir
from tests.chaos.disk import Disk
from tests.chaos.life import EPOCH, Ended, Run
from tests.command import PATIENCE

Trouble = Callable[[Run, Counter[str]], None]
YEAR = 365 * 86400.0


def kill(run: Run, log: Counter[str]) -> None:
    """SIGKILL at a random moment: a third of them while it starts, restores and compiles, the others while it plays."""
    began, victim = time.monotonic(), run.random.randrange(run.hosts)
    life = run.start()
    if run.random.random() < 1 / 3:
        life.wait_for("never", run.random.uniform(0, run.waking))
    elif life.wait_for("play"):
        run.waking = 0.5 * (run.waking + time.monotonic() - began)
        life.wait_for("never", run.random.uniform(0, 0.3 * run.waking))
    played = life.wait_for("play", 0)
    life.send(signal.SIGKILL, victim)
    ended = life.end(patience=PATIENCE if run.hosts == 1 else 20)  # As a cluster ends the others of a job.
    if ended[victim].code != -signal.SIGKILL:  # It was at its end.
        finished(run, ended)
        run.epochs += 2
        return
    log["SIGKILL"] += 1
    log["SIGKILL before its first update"] += not played
    log["SIGKILL that left something half-written"] += run.left_halves()
    if run.hosts > 1:
        log[f"SIGKILL of host {victim}"] += 1
        survivor = ended[1 - victim]
        assert survivor.code != 0, survivor
        log["SIGKILL after which the other host ended by itself within 20 s"] += survivor.code != -signal.SIGKILL


def stop_in(moment: str) -> Trouble:
    """Returns SIGTERM during a moment of a run on one host, after which it saves, or has lost nothing."""

    def stop(run: Run, log: Counter[str]) -> None:
        life = run.start(slow=moment, cached=moment != "compilation")
        caught = life.wait_for(moment)
        life.send(signal.SIGTERM)
        ended = life.end()
        if not caught:
            finished(run, ended)
            run.epochs += 2
            return
        for code, out, error in ended:
            assert code in (0, 128 + signal.SIGTERM) and "Traceback" not in out + error, (code, out, error)
        assert "SIGTERM" in ended[0].out + ended[0].error or "finished" in ended[0].out, ended
        log[f"SIGTERM during {'compilation' if moment == 'compilation' else f'a {moment}'}"] += 1

    return stop


def damage(run: Run, log: Counter[str]) -> None:
    """A file of the newest checkpoint is damaged between two lives: the one before it is used, and the run told so."""
    folder = run.folder / "checkpoints" / str(run.newest())
    if run.newest() <= 50:  # There is none before it.
        life = run.start()
        life.wait_for("save")
        life.send(signal.SIGTERM)
        finished(run, life.end())
        return
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "_CHECKPOINT_METADATA"]
    file = run.random.choice(sorted(files))
    content, kind = bytearray(file.read_bytes()), run.random.choice(("flipped bit", "truncated", "deleted"))
    if kind == "deleted" or not content:
        file.unlink()
    elif kind == "truncated":
        os.truncate(file, len(content) // 2)
    else:
        content[run.random.randrange(len(content))] ^= 1 << run.random.randrange(8)
        file.write_bytes(content)
    life = run.start()
    life.wait_for("play")
    life.send(signal.SIGTERM)
    ended = life.end()
    assert f"checkpoint {folder} cannot be used" in ended[0].out + ended[0].error, (file, kind, ended)
    assert ended[0].code == 0, ended
    log[f"damaged checkpoint ({kind})"] += 1
    for aside in folder.parent.glob("damaged_*"):
        shutil.rmtree(aside)
    if run_is_finished(run):
        run.epochs += 2


def set_clock_back(run: Run, log: Counter[str]) -> None:
    """The clock goes back by hours while the run plays, and its files were written in the future."""
    for path in run.folder.rglob("*"):
        os.utime(path, (time.time() + YEAR, time.time() + YEAR))
    life = run.start(back=run.random.uniform(1, 9999))
    life.wait_for("play")
    life.wait_for("never", run.random.uniform(0, 0.3 * run.waking))
    life.send(signal.SIGTERM)
    finished(run, life.end())
    log["clock set back"] += 1
    if run_is_finished(run):
        run.epochs += 2


def fill(disk: Disk) -> Trouble:
    """Returns a disk that is full, or nearly: one line, and the run goes on when there is room again."""

    def full(run: Run, log: Counter[str]) -> None:
        life = run.start()
        life.wait_for("play")
        disk.fill(left=run.random.choice((0, 4096, 20_000, 50_000)))
        ended = life.end()
        disk.make_room()
        one_line(run, ended, log, "full disk")

    return full


def fail(disk: Disk) -> Trouble:
    """Returns a disk that becomes read-only while the run plays: one line, also from a second start."""

    def read_only(run: Run, log: Counter[str]) -> None:
        life = run.start()
        life.wait_for("play")
        disk.fail()
        ended = life.end()
        if ended[0].code:
            (again,) = run.start().end()
            assert again.code in (1, 2) and len(again.error.splitlines()) == 1, again
        disk.repair()
        one_line(run, ended, log, "disk that becomes read-only")

    return read_only


def one_line(run: Run, ended: list[Ended], log: Counter[str], what: str) -> None:
    """Checks that a run whose disk failed said so in one line; it may have been at its end before that."""
    if ended[0].code == 0:
        finished(run, ended)
        run.epochs += 2
        return
    lines = ended[0].error.splitlines()
    assert ended[0].code in (1, 2) and len(lines) == 1 and lines[0].startswith("error: "), ended
    log[what] += 1


def finished(run: Run, ended: list[Ended]) -> None:
    for code, out, error in ended:
        assert code == 0 and "Traceback" not in out + error, (code, out, error)


def run_is_finished(run: Run) -> bool:
    return workdir.summary(run.folder).get("steps") == run.epochs * EPOCH


def of_one_host(disk: Disk | None) -> dict[str, Trouble]:
    """All there are, by name; those of the disk only where there is one."""
    found = {f"stop in {moment}": stop_in(moment) for moment in ("compilation", "save", "scoring")}
    found |= {"damage": damage, "clock": set_clock_back}
    return found | ({"fill": fill(disk), "fail": fail(disk)} if disk else {})


def suffer(
    run: Run, troubles: list[Trouble], log: Counter[str], tell: Callable[[str], object], seconds: float = math.inf
) -> None:
    """Has a run go through troubles in a random order and then to its end, which must be an undisturbed run's.

    After so many seconds no trouble comes any more.
    """
    run.random.shuffle(troubles)
    began = time.monotonic()
    for number, trouble in enumerate(troubles, 1):
        if time.monotonic() - began > seconds:
            break
        before = log.total()
        while log.total() == before:  # What came too late is tried again.
            trouble(run, log)
        tell(f"{number} of {len(troubles)}, {time.monotonic() - began:.0f} s, update {run.newest()}: {dict(log)}")
    run.finish()
    run.check_undisturbed()


def places(root: Path) -> tuple[Path, Disk | None, str]:
    """Returns the work directory of a run, on a disk of its own where one can be made, or else why not."""
    try:
        disk = Disk(root)
    except OSError as error:
        return root / "run", None, str(error)
    return disk.folder / "run", disk, ""
