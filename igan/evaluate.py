"""Evaluates a checkpoint of a run: test errors, and scores of its averaged generator.

    python -m igan.evaluate --workdir=runs/cifar10 --scores=inception_score,fid
    python -m igan.evaluate --workdir=runs/cifar10 --scores=fid,kid --images=10000 --json
    python -m igan.evaluate --workdir=runs/mnist --scores=classifier_score --best
    python -m igan.evaluate --workdir=runs/biggan --scores=inception_score,fid --truncation=0.2,0.4,0.6,0.8,1
    python -m igan.evaluate --workdir=runs/stylegan --scores=fid,precision_recall --psi=0.5,0.7,1

Several hosts that are given the same command with --hosts score together: each looks at a part of the images.

The run may still be training: nothing of it is changed. If the checkpoint is the run's last, the scores are added to
its summary.json, where `python -m igan.report` finds them, but for those of truncated latents or styles: these are
written to tradeoff.json, and drawn in tradeoff.png if there are two scores. Every number is printed with its protocol.
Exit codes: 0 done; 1 failed; 2 the command is wrong.
"""

import argparse
import itertools
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from igan import cache, hosts, tradeoff
from igan.config import Config
from igan.errors import FLOAT32_MAX, RunError, UserError, exit_code
from igan.layers import truncation
from igan.metrics.compute import notes
from igan.metrics.score import Score
from igan.recorded import plain
from igan.run import drawing, experiment, scoring, signals, workdir
from igan.run.checkpoint import Checkpoints
from igan.run.experiment import Experiment
from igan.types import GameState
from igan.version import ShowVersion

# What can be truncated, by its option: whether a number is fine, and which are.
TRUNCATIONS: dict[str, tuple[Callable[[float], bool], str]] = {
    truncation.OPTION: (lambda number: 0 < number < FLOAT32_MAX, "a number above 0, say --truncation=0.5"),
    truncation.PSI: (lambda number: 0 <= number <= 10, "a number from 0 to 10, 1 for images as they are"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    cache.keep_compiled_programs(cache.compiled_programs())
    named = {
        f"--config.evaluation.{field}": f"--{field}" for field in ("inception_weights", "images", "reference_images")
    }
    return exit_code(lambda: on_all_hosts(options, run), flags=named | {"--config.data.dir": "--data_dir"})


def code_of(options: argparse.Namespace, command: Callable[[argparse.Namespace], object]) -> int:
    """Runs a command that looks at runs; returns its exit code. What it compiles is kept; a signal is one line."""
    cache.keep_compiled_programs(cache.compiled_programs())
    with signals.raised():
        return exit_code(lambda: command(options), flags={"--config.data.dir": "--data_dir"})


def on_all_hosts(options: argparse.Namespace, command: Callable[[argparse.Namespace], object]) -> None:
    """Runs a command with its options; with --hosts it is one of several that all run it."""
    if options.hosts:
        hosts.join(options.hosts)
    with hosts.quiet(), hosts.all_or_none():
        command(options)


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """Adds to a command line where the hosts are that run it together."""
    parser.add_argument("--hosts", default="", help="where several processes share the work: as of igan.main")


def remark(text: str) -> None:
    """Prints a line on stderr, on the first host only."""
    if not jax.process_index():
        print(text, file=sys.stderr)


def run(options: argparse.Namespace) -> None:
    """Evaluates, prints, and adds scores to the summary they belong to."""
    directory = Path(options.workdir).expanduser()
    asked: list[dict[str, float]] = [{}]
    with hosts.together():
        config = settle(options, directory)
        built = experiment.reopen(config)
        named = (*TRUNCATIONS, truncation.PSI_LAYERS, truncation.NOISE, drawing.PASSES)
        if is_trade_off := any(getattr(options, name) is not None for name in named):
            if not config.evaluation.scores:
                raise UserError(
                    "--truncation, --psi, --noise and --standing_passes are of scores: add"
                    " --scores=inception_score,fid, say"
                )
            asked = list(each_truncation(options))
        scorers = [scoring.make(config, built, sampling) for sampling in asked] if config.evaluation.scores else []
        step, state = restore(directory, built, options.best)
    hosts.check_same(config=plain(config), step=step)
    with notes(remark):
        scores = [scorer(state, lambda: False) for scorer in scorers]
    result: dict[str, Any] = {"workdir": str(directory), "step": step}
    if not is_trade_off and built.has_test_errors:
        errors = built.engine.test_errors(state, built.plan.reached(step))
        result |= {"test_examples": built.test_examples, "test_errors": errors.averaged.tolist()}
        result |= {"test_errors_raw": errors.raw.tolist(), "ensemble_errors": int(errors.ensemble)}
    if jax.process_index():
        return
    if is_trade_off:
        result["rows"] = [{**sampling, "scores": found} for sampling, found in zip(asked, scores, strict=True)]
    elif scores:
        result["scores"] = scores[0]
    write_down(options, directory, result)


def write_down(options: argparse.Namespace, directory: Path, result: dict[str, Any]) -> None:
    """Prints a result, and writes the scores of it into the run's files."""
    if options.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    elif "rows" in result:
        print(tradeoff.table(result))
    else:
        show(result)
    if "rows" in result:
        for path in tradeoff.write(result, directory):
            remark(f"written to {path}")
    elif "scores" in result:
        add_to_summary(directory, result["step"], result["scores"])


def each_truncation(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Yields the sampling options of each truncation that is asked for, or of none."""
    given = [(getattr(options, name) or "").split(",") for name in TRUNCATIONS]
    for values in itertools.product(*given):
        single = dict(zip(TRUNCATIONS, (value or None for value in values), strict=True))
        yield sampling_options(argparse.Namespace(**(vars(options) | single)))


def sampling_options(options: argparse.Namespace) -> dict[str, float]:
    """Returns what the command line asks of the networks in sampling, out of the options that it has.

    Raises UserError for a truncation that is no positive number, a psi that is no share, another noise, or no passes.
    """
    asked: dict[str, float] = {}
    for name, (is_fine, expected) in TRUNCATIONS.items():
        if (text := getattr(options, name, None)) is not None:
            try:
                asked[name] = float(text)
            except ValueError:
                asked[name] = math.nan
            if not is_fine(asked[name]):
                raise UserError(f"--{name}={text}: expected {expected}")
    if (layers := options.psi_layers) is not None:
        if truncation.PSI not in asked or not 1 <= layers <= 100:
            raise UserError(f"--psi_layers={layers}: expected a number of layers from 1 to 100, beside --psi=0.7, say")
        asked[truncation.PSI_LAYERS] = layers
    if (noise := getattr(options, truncation.NOISE, None)) is not None:
        if noise not in (0, 1, 2):
            raise UserError(f"--noise={noise}: expected 0 for none, 1 for each image's own, or 2 for one for all")
        asked[truncation.NOISE] = noise
    if (passes := getattr(options, drawing.PASSES, None)) is not None:
        if not 1 <= passes <= 1_000_000:
            raise UserError(f"--standing_passes={passes}: expected a whole number from 1 to a million")
        asked[drawing.PASSES] = passes
    return asked


def add_sampling_options(parser: argparse.ArgumentParser, several: str = "") -> None:
    """Adds to a command line what can be asked of networks in sampling."""
    help_text = f"draw each number of a latent again until it is at most this{several}, for networks of normal latents"
    parser.add_argument("--truncation", help=help_text)
    add_style_options(parser, several)
    parser.add_argument(
        "--standing_passes", type=int, help="batches over which batch statistics are averaged; default: 1"
    )


def add_style_options(parser: argparse.ArgumentParser, several: str = "") -> None:
    """Adds to a command line what can be asked of networks with styles."""
    parser.add_argument("--psi", help=f"draw styles to their mean, 0 to 1{several}, for networks that have styles")
    parser.add_argument("--psi_layers", type=int, help="in how many layers, of the first ones; default: in all")
    parser.add_argument(
        "--noise", type=int, help="in such networks: 0 none, 1 each image's own (default), 2 one for all"
    )


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
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the work directory of a run")
    parser.add_argument("--scores", type=_names, help=f"comma-separated, of {', '.join(scoring.KNOWN)}")
    parser.add_argument("--images", type=int, help="generated images to look at; default: as the run's config says")
    parser.add_argument("--reference_images", type=int, help="training images to compare them with; 0: all")
    parser.add_argument("--inception_weights", help="a file, instead of what igan.metrics.fetch has put into the cache")
    parser.add_argument("--data_dir", help="where tensorflow-datasets keeps its data, if not where the run found them")
    add_sampling_options(parser, several="; several like 0.4,0.7: a table and a plot")
    parser.add_argument("--best", action="store_true", help="the checkpoint with the best score, not the newest")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_hosts(parser)
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


if __name__ == "__main__":
    sys.exit(main())
