"""Evaluates a checkpoint of a run: test errors, and scores of its averaged generator.

    python -m igan.evaluate --workdir=runs/cifar10 --scores=inception_score,fid
    python -m igan.evaluate --workdir=runs/cifar10 --scores=fid,kid --images=10000 --json
    python -m igan.evaluate --workdir=runs/mnist --scores=classifier_score --best

The run may still be training: nothing of it is changed. If the checkpoint is the run's last, the scores are added to
its summary.json, where `python -m igan.report` finds them. Every number is printed with its protocol.
Exit codes: 0 done; 1 failed; 2 the command is wrong.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igan import cache
from igan.config import Config
from igan.errors import RunError, UserError, exit_code
from igan.metrics.compute import notes
from igan.metrics.score import Score
from igan.run import experiment, scoring, workdir
from igan.run.checkpoint import Checkpoints
from igan.run.experiment import Experiment
from igan.types import GameState


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    cache.keep_compiled_programs(cache.compiled_programs())
    named = {
        f"--config.evaluation.{field}": f"--{field}" for field in ("inception_weights", "images", "reference_images")
    }
    return exit_code(lambda: run(options), flags=named | {"--config.data.dir": "--data_dir"})


def run(options: argparse.Namespace) -> None:
    """Evaluates, prints, and adds scores to the summary they belong to."""
    directory = Path(options.workdir).expanduser()
    config = settle(options, directory)
    built = experiment.reopen(config)
    scorer = scoring.make(config, built) if config.evaluation.scores else None
    step, state = restore(directory, built, options.best)
    result: dict[str, Any] = {"workdir": str(directory), "step": step}
    if built.has_test_errors:
        errors = built.engine.test_errors(state, built.plan.reached(step))
        result |= {"test_examples": built.test_examples, "test_errors": errors.averaged.tolist()}
        result |= {"test_errors_raw": errors.raw.tolist(), "ensemble_errors": int(errors.ensemble)}
    if scorer:
        with notes(lambda note: print(note, file=sys.stderr)):
            result["scores"] = scorer(state, lambda: False)
    if options.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        show(result)
    if scorer:
        add_to_summary(directory, step, result["scores"])


def settle(options: argparse.Namespace, directory: Path) -> Config:
    """Returns the config of the run with what the command line asks for.

    Raises UserError for numbers of images that cannot be.
    """
    for name, least in (("images", 2), ("reference_images", 0)):
        if (count := getattr(options, name)) is not None and count < least:
            raise UserError(f"--{name}={count} is too few: expected at least {least}")
    config = workdir.load(directory)
    fields = ("scores", "images", "reference_images", "inception_weights")
    for field in fields:
        if (value := getattr(options, field)) is not None:
            config.evaluation[field] = value
    config.evaluation.best = ""  # Which checkpoint is the best was decided by the run.
    if options.data_dir is not None:
        config.data.dir = options.data_dir
    return config


def restore(directory: Path, built: Experiment, best: bool) -> tuple[int, GameState]:
    """Returns the newest checkpoint of a run, or the one with its best score, and the update it was saved at.

    Raises UserError if there is none.
    """
    folder = directory / ("best" if best else "checkpoints")
    with Checkpoints(folder, keep=2, read_only=True) as checkpoints:
        found = checkpoints.restore_latest(built.engine.state_shape)
    if found is None:
        hint = "train with --config.evaluation.scores=..." if best else "train it first"
        raise UserError(f"there is no checkpoint in {folder}: {hint}")
    return found


def add_to_summary(directory: Path, step: int, scores: scoring.Scores) -> None:
    """Adds scores to `summary.json` if it tells of this step; says so, or why not."""
    path, summary = directory / "summary.json", workdir.summary(directory)
    if (reached := summary.get("steps")) is None:
        print(f"note: not written down: {path} is not there yet", file=sys.stderr)
        return
    if reached != step:
        print(f"note: not written down: {path} tells of update {reached:,}, not {step:,}", file=sys.stderr)
        return
    earlier = summary.get("scores", {}) if summary.get("scores_step") == step else {}
    try:
        workdir.write(path, summary | {"scores": earlier | scores, "scores_step": step})
    except RunError as error:  # Of somebody else's run, perhaps.
        print(f"note: not written down: {error}", file=sys.stderr)
    else:
        print(f"added to {path}", file=sys.stderr)


def show(result: dict[str, Any]) -> None:
    """Prints a result for people, a line each."""
    print(f"{result['workdir']} at update {result['step']:,}")
    if "test_errors" in result:
        of = f"of {result['test_examples']:,}"
        print(f"test errors {of} (averaged parameters): {result['test_errors']}; raw: {result['test_errors_raw']}")
        if len(result["test_errors"]) > 1:
            print(f"test errors {of} of the ensemble: {result['ensemble_errors']}")
    for name, score in result.get("scores", {}).items():
        if len(values := score["value"]) == 1:
            print(f"{name}: {Score(values[0], score['std'] and score['std'][0], score['protocol'])}")
        else:
            spread = Score(statistics.fmean(values), statistics.stdev(values), score["protocol"])
            print(f"{name}, mean and sample std over {len(values)} replicas: {spread}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m igan.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the work directory of a run")
    parser.add_argument("--scores", type=_names, help=f"comma-separated, of {', '.join(scoring.KNOWN)}")
    parser.add_argument("--images", type=int, help="generated images to look at; default: as the run's config says")
    parser.add_argument("--reference_images", type=int, help="training images to compare them with; 0: all")
    parser.add_argument("--inception_weights", help="a file, instead of what igan.metrics.fetch has put into the cache")
    parser.add_argument("--data_dir", help="where tensorflow-datasets keeps its data, if not where the run found them")
    parser.add_argument("--best", action="store_true", help="the checkpoint with the best score, not the newest")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


if __name__ == "__main__":
    sys.exit(main())
