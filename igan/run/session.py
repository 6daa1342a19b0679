"""One sitting of a run: what the device is asked about a state, and what is written down of it."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from igan import hosts
from igan.config import Config
from igan.errors import RunError, UserError
from igan.game.inference import TestErrors
from igan.metrics.compute import notes
from igan.reporting.ablation import direction
from igan.reporting.log import RunLog
from igan.reporting.progress import RunProgress
from igan.run import scoring, summary, workdir
from igan.run.checkpoint import Checkpoints
from igan.run.collapse import PREFIX, Watch
from igan.run.experiment import Experiment
from igan.run.finite import all_finite, check_finite
from igan.run.scoring import Scorer
from igan.types import Array, GameState, Metrics


class Chunk(NamedTuple):
    """What the device was asked about the updates up to `step`; fetched while it computes the next chunk."""

    step: int
    metrics: Metrics | None = None  # Each [R, updates].
    test_errors: TestErrors | None = None
    balance: Metrics | None = None  # Each [R].
    samples: Array | None = None  # [R, count, height, width, channels]


class Session(NamedTuple):
    """One sitting of a run: from its start or a checkpoint to its end or a signal."""

    config: Config
    experiment: Experiment
    directory: Path
    log: RunLog
    progress: RunProgress
    checkpoints: Checkpoints
    scorer: Scorer | None  # Where scores are asked for; then there is
    best: Checkpoints | None  # the checkpoint with the best one, in a folder of its own.
    watch: Watch
    clock_zero: float  # The time at which the run would have started, had it never been interrupted.


def ask(
    session: Session,
    step: int,
    metrics: Metrics | None,
    state: GameState,
    evaluate: bool,
    sample: bool,
    balance: bool = False,
) -> Chunk:
    """Asks the device for what is due at a step, without waiting for it."""
    built = session.experiment
    stage = built.plan.reached(step)
    return Chunk(
        step,
        hosts.gather(metrics),
        built.engine.test_errors(state, stage) if evaluate and built.has_test_errors else None,
        built.engine.balance(state, stage) if balance else None,
        built.engine.sample(state, stage, session.config.reporting.samples) if sample else None,
    )


def report(session: Session, chunk: Chunk) -> None:
    """Fetches a chunk, which waits until it is computed, and writes it down.

    Raises RunError if a metric is not finite.
    """
    built, step = session.experiment, chunk.step
    epoch: dict[str, Any] = {"epoch": round(step / built.updates_per_epoch, 4)}
    message = f"epoch {epoch['epoch']:.1f}"
    if len(built.plan.stages) > 1:
        stage = built.plan.reached(step)
        epoch["stage"] = stage.index + 1
        message += f"  stage {stage.index + 1}/{len(built.plan.stages)}, {stage.name}"
    seconds = {"seconds": round(time.monotonic() - session.clock_zero, 3)}
    if chunk.metrics:
        metrics = jax.device_get(chunk.metrics)
        means = {name: float(np.mean(values, dtype=np.float64)) for name, values in metrics.items()}
        session.log.write(step, epoch | means | seconds)
        check_finite(metrics, step, lambda: checkpoints_written(session))
    if chunk.test_errors:
        errors, total = jax.device_get(chunk.test_errors), built.test_examples
        values = {"test_errors": errors.averaged, "test_errors_raw": errors.raw, "ensemble_errors": errors.ensemble}
        session.log.write(step, epoch | values | {"test_examples": total} | seconds)
        message += f"  test errors {np.mean(errors.averaged):.0f} (raw {np.mean(errors.raw):.0f}) of {total:,}"
    if chunk.balance:
        found = jax.device_get(chunk.balance).items()
        # As they will be read from the log: null for what is not finite.
        lists = {f"{PREFIX}{name}": [x if math.isfinite(x) else None for x in each.tolist()] for name, each in found}
        session.log.write(step, epoch | lists | seconds)
        if said := session.watch.see(step, lists):
            session.progress.note(f"NOTE: at update {step:,} {said} (docs/report.md)")
    if chunk.samples is not None:
        samples = jax.device_get(chunk.samples)
        session.log.image(step, built.dataset.space.picture(samples, built.game.networks.image_range))
    session.progress.update(step, message)


def is_evaluated(session: Session, step: int) -> bool:
    """Returns whether the test errors of a step are written down."""
    return any(line["step"] == step and "test_errors" in line for line in workdir.metrics(session.directory))


def last_scored(session: Session) -> int:
    """Returns the last update whose scores are written down; 0 without any."""
    return max((line["step"] for line in workdir.metrics(session.directory) if "scores" in line), default=0)


def scores_are_due(session: Session, step: int, scored: int) -> bool:
    """Returns whether to score the state of a step, after those of the step `scored`."""
    interval = session.config.evaluation.scores_interval
    passed = step // interval > scored // interval or step >= session.experiment.total_updates
    return session.scorer is not None and passed and step > scored


def score(
    session: Session, step: int, state: GameState, stop: list[str], agree: Callable[[], object] = lambda: None
) -> None:
    """Scores the averaged generators, writes that down, and keeps the state if it is the best so far.

    What cannot be scored is told and costs nothing else. A signal ends the scoring; it is done when the run goes on.

    Args:
      agree: fills `stop` where a signal came to another host; called between replicas, on all hosts together.
    """
    if session.scorer is None or session.best is None:
        return
    with session.progress.paused():
        try:
            with notes(session.progress.note):
                found = session.scorer(state, lambda: bool(stop), agree)
        except scoring.StoppedError:
            return
        except UserError as error:
            session.progress.note(f"no scores at update {step:,}: {error}")
            return
    name = scoring.best_by(session.config, found)
    sign = -1 if direction(name) == "↓" else 1
    value, earlier = sign * statistics.fmean(found[name]["value"]), earlier_values(session, name, found)
    is_best = all(value > sign * each for each in earlier)
    line: dict[str, Any] = {"epoch": round(step / session.experiment.updates_per_epoch, 4)}
    line |= {f"scores/{name}": each["value"] for name, each in found.items()}
    line |= {"scores": found, "is_best": is_best, "seconds": round(time.monotonic() - session.clock_zero, 3)}
    if is_best:
        session.best.save(step, state)
    session.log.write(step, line)
    best = ", the best so far" if is_best else ""
    session.progress.note(f"scores at update {step:,}{best}: {summary.describe_scores(found)}")


def earlier_values(session: Session, name: str, found: scoring.Scores) -> list[float]:
    """Returns the values that a score had before, by the same protocol: others cannot be compared."""
    before = [line["scores"].get(name) for line in workdir.metrics(session.directory) if "scores" in line]
    protocol = found[name]["protocol"]
    return [statistics.fmean(each["value"]) for each in before if each and each["protocol"] == protocol]


def checkpoints_written(session: Session) -> list[int]:
    """Returns the updates of the checkpoints on disk, the one included that is being written."""
    with contextlib.suppress(RunError):  # Whoever asks has worse to say.
        session.checkpoints.wait()
    return session.checkpoints.steps()


def save(session: Session, step: int, state: GameState) -> None:
    """Saves a checkpoint, unless the state is not finite: then RunError, and the last good one stays the newest."""
    for name, player in (("discriminator", state.discriminator), ("generator", state.generator)):
        if not all_finite(player.params):
            raise RunError(f"the {name}'s parameters are not finite after update {step}; it was not saved")
        if not all_finite(player):
            raise RunError(
                f"the state of the {name}'s optimiser, or its averages, are not finite after update {step}; it was not"
                " saved. A smaller loss or learning rate may help"
            )
    session.log.reach_disk()
    session.checkpoints.save(step, state)
