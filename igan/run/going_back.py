"""Back to the best checkpoint of a run (`igan.main --from=best`): what came after it is set aside, and nothing is lost.

A run is a pure function of its config, so without a change it would play again what it has played. What may be changed
on the way back are the settings of the optimisers, the techniques, the average and the ramp, as far as the state still
fits.
"""

import contextlib
import re
import shutil
from pathlib import Path

from igan.config import Config
from igan.errors import RunError, UserError
from igan.recorded import changed, plain
from igan.run import workdir
from igan.run.checkpoint import Checkpoints
from igan.run.experiment import Experiment

BEST = "best"
MAY_CHANGE = ("discriminator.", "generator.", "techniques.", "average_", "ramp_share")


def check(directory: Path) -> None:
    """Raises UserError unless there is a folder of a best checkpoint in a work directory."""
    folder = directory / BEST
    if not (folder.is_dir() and any(each.name.isdigit() for each in folder.iterdir())):
        raise UserError(
            f"there is no best checkpoint in {folder}: leave --from={BEST} out; a run that is to keep one needs"
            " --config.evaluation.scores=..., say classifier_score"
        )


def go(config: Config, built: Experiment, directory: Path) -> None:
    """Makes the best checkpoint of a run the one that it goes on from, and writes into the config that it did.

    Later checkpoints and samples go to `left_at_<update>/` in the work directory, with a copy of the log, the summary
    and the config that they were made with.

    Raises UserError where there is no checkpoint that fits, RunError where files cannot be moved.
    """
    check(directory)
    try:
        with Checkpoints(directory / BEST, keep=2, read_only=True) as best:
            found = best.restore_latest(built.engine.state_shape)
    except RunError as error:
        raise UserError(
            f"--from={BEST} does not fit: {error} Leave optimisers and techniques on or off as they were"
        ) from error
    assert found is not None  # Or `check` had said so.
    step, before = found[0], workdir.load(directory)
    differences = changed(plain(before), plain(config))
    later = sorted(each for each in _steps(directory / "checkpoints") if each > step)
    if not later and not differences:
        print(f"The best checkpoint, of update {step:,}, is the newest: there is nothing to go back from.")
        return
    try:
        aside = _set_aside(directory, step, later)
    except OSError as error:
        raise RunError(
            f"could not set the checkpoints after update {step:,} aside: {error.strerror or error}"
        ) from error
    with config.unlocked():
        config.went_back = (*before.went_back, f"to update {step}" + "".join(f", {each}" for each in differences))
    workdir.write(directory / "config.json", plain(config))
    kept = f"; what came later is in {aside}" if aside else ""
    print(f"Going back to update {step:,}, which has the best score{kept}.")
    if not differences:
        print(
            "NOTE: nothing in the config is changed, so the run will do what it has done before: change something, say"
            f" --config.generator.learning_rate={before.generator.learning_rate / 2:g}"
        )


def _set_aside(directory: Path, step: int, later: list[int]) -> Path | None:
    """Returns the folder with what came after a step; None if nothing did."""
    checkpoints = directory / "checkpoints"
    if not (checkpoints / str(step)).exists():
        partial = checkpoints / f"{step}.orbax-checkpoint-tmp"  # As the next start sweeps away, if this one is killed.
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(directory / BEST / str(step), partial)
        partial.rename(checkpoints / str(step))
    if not later:
        return None
    names = (f"left_at_{later[-1]}{suffix}" for suffix in ("", *(f"_{count}" for count in range(2, 1000))))
    aside = next(directory / name for name in names if not (directory / name).exists())
    for folder in ("checkpoints", "samples"):
        (aside / folder).mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl", "summary.json"):
        with contextlib.suppress(FileNotFoundError):  # No summary, if it was killed.
            shutil.copy2(directory / name, aside)
    (directory / "summary.json").unlink(missing_ok=True)
    for picture in (directory / "samples").glob("step_*.png"):
        if (number := re.search(r"\d+", picture.stem)) and int(number[0]) > step:
            picture.rename(aside / "samples" / picture.name)
    for each in reversed(later):  # The newest first: whoever is killed here goes on from the newest that is left.
        (checkpoints / str(each)).rename(aside / "checkpoints" / str(each))
    return aside


def _steps(folder: Path) -> list[int]:
    return [int(each.name) for each in folder.iterdir() if each.name.isdigit()]
