"""Tables and plots over many runs: `python -m igan.report RUN...`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igan.errors import UserError
from igan.reporting.plots import plot_test_errors
from igan.reporting.tables import Evaluation, Run, markdown_report, pool, pooling_warnings

CLASSES = 10
DATASET_BY_TEST_EXAMPLES = {10_000: "mnist", 1_000: "mnist5k"}

DESCRIPTION = """\
Prints the semi-supervised MNIST table of runs beside the paper's, and draws their test errors against steps.

Runs with the same number of labels are pooled: the mean and the sample standard deviation go over all their
replicas. Runs that are still training are shown with their newest evaluation and marked; where finished runs
have the same number of labels, the unfinished ones are named and left out. A run that cannot be read is named
in a warning and skipped."""

EXAMPLES = """\
examples:
  python -m igan.report runs/mnist              one run
  python -m igan.report runs/table              every run in a folder, at any depth
  python -m igan.report runs/a runs/b --output=report/a_and_b
  python -m igan.report runs --dataset=mnist    of runs on both data sets, those on full MNIST

It writes table.md and test_error_vs_step.png into the output directory. Exit code 2: nothing to report."""


def find_workdirs(paths: Sequence[Path]) -> list[Path]:
    """Returns the work directories (with a summary.json or metrics.jsonl) at and below the paths, each once.

    Raises UserError if a path is no directory or if there is no work directory at all.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is not a directory: give work directories, or folders that hold work directories.")
        for folder, subfolders, files in os.walk(path):
            if "summary.json" in files or "metrics.jsonl" in files:
                found.setdefault(Path(folder).resolve(), Path(folder))
                subfolders.clear()
            subfolders.sort()
    if not found:
        raise UserError(
            f"No runs found in {', '.join(map(str, paths))}: expected folders with a summary.json or metrics.jsonl. "
            "Train one: python -m igan.main --config=experiments/mnist.py --workdir=runs/mnist"
        )
    return list(found.values())


def read_run(workdir: Path) -> tuple[Run, list[str]]:
    """Returns the run in a work directory, and warnings about what could not be read of it.

    Raises UserError, naming it, if there is nothing to report: no evaluation yet, damage, another data set.
    """
    lines, warnings = _read_metrics(workdir / "metrics.jsonl")
    curve = _read_curve(lines)
    summary: dict[str, Any] | None = None
    try:
        summary = _read_object(workdir / "summary.json")
    except FileNotFoundError:
        pass
    except ValueError as error:
        warnings.append(f"{workdir}/summary.json is damaged ({error}): shown from metrics.jsonl, as unfinished.")
    try:
        # A run that goes on, stopped before or given more epochs, leaves its old summary behind until it ends again.
        is_final = summary is not None and summary.get("finished") is True
        if summary is not None and (not curve or (is_final and _integer(summary, "steps") >= curve[-1].step)):
            run = _from_summary(workdir, summary, curve)
        else:
            run = _from_metrics(workdir, lines, curve)
    except (ValueError, OSError) as error:
        raise UserError(f"{workdir}: {error}") from error
    if run.dataset not in DATASET_BY_TEST_EXAMPLES.values():
        raise UserError(f"{workdir}: data set {run.dataset!r}; this table holds mnist and mnist5k.")
    return run, warnings


def load_runs(paths: Sequence[Path], dataset: str | None = None) -> tuple[list[Run], list[str]]:
    """Returns all readable runs at and below the paths, and warnings, one for each run that was skipped.

    Raises UserError if none is left, or if they use different data sets and `dataset` does not choose one.
    """
    runs: list[Run] = []
    warnings: list[str] = []
    workdirs = find_workdirs(paths)
    for workdir in workdirs:
        try:
            run, run_warnings = read_run(workdir)
        except UserError as error:
            warnings.append(f"skipped {error}")
            continue
        warnings += run_warnings
        if dataset in (None, run.dataset):
            runs.append(run)
    if not runs:
        why = "; ".join(warnings) or f"none used --dataset={dataset}."
        raise UserError(f"None of the {len(workdirs)} runs found can be reported: {why}")
    by_dataset = {(run.dataset, run.test_examples): run for run in runs}
    if len(by_dataset) > 1:
        names = ", ".join(f"{name} ({run.workdir}, {size:,} test examples)" for (name, size), run in by_dataset.items())
        raise UserError(
            f"The runs use different data sets, whose errors cannot share a table: {names}. "
            "Choose with --dataset=mnist or --dataset=mnist5k, or name the runs of one."
        )
    return runs, warnings


def write_report(paths: Sequence[Path], output: Path, dataset: str | None = None) -> tuple[str, list[str]]:
    """Writes table.md and test_error_vs_step.png into `output`; returns the table and the warnings.

    Raises UserError as `load_runs` does, and if `output` cannot be written to.
    """
    runs, warnings = load_runs(paths, dataset)
    cells = pool(runs)
    warnings += pooling_warnings(cells)
    table = markdown_report(cells)
    plot = output / "test_error_vs_step.png"
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "table.md").write_text(table, encoding="utf-8")
        plot.unlink(missing_ok=True)  # Never an old plot beside a new table.
        without_curve = plot_test_errors(cells, plot)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"Cannot write to {output}: {reason}. Choose another place: --output=DIRECTORY.") from error
    for labels in without_curve:
        warnings.append(
            f"{labels} labels: no evaluations in metrics.jsonl (common to all pooled runs), so no line in the plot."
        )
    return table, warnings


def _from_summary(workdir: Path, summary: dict[str, Any], curve: tuple[Evaluation, ...]) -> Run:
    errors = _errors(summary, "test_errors")
    if not errors:
        raise ValueError("summary.json has no test errors (was it trained without labels?)")
    try:
        seed = _seed(_read_object(workdir / "config.json"))
    except (ValueError, OSError):
        seed = None
    ensemble = summary.get("ensemble_errors")
    return Run(
        workdir=workdir,
        dataset=str(summary.get("dataset")),
        test_examples=_integer(summary, "test_examples"),
        labels=CLASSES * _integer(summary, "labels_per_class"),
        seed=seed,
        epochs=_number(summary.get("epochs"), "epochs"),
        steps=_integer(summary, "steps"),
        finished=summary.get("finished") is True,
        errors=errors,
        errors_raw=_errors(summary, "test_errors_raw"),
        ensemble_errors=None if ensemble is None else _number(ensemble, "ensemble_errors"),
        curve=curve,
    )


def _from_metrics(workdir: Path, lines: Sequence[dict[str, Any]], curve: tuple[Evaluation, ...]) -> Run:
    if not curve:
        raise ValueError("no evaluation in metrics.jsonl yet" if lines else "metrics.jsonl is missing or empty")
    newest = next(line for line in reversed(lines) if line["step"] == curve[-1].step and "test_errors" in line)
    config = _read_object(workdir / "config.json")
    test_examples = _integer(newest, "test_examples")
    data = config.get("data")
    named = data.get("name") if isinstance(data, dict) else None
    ensemble = newest.get("ensemble_errors")
    return Run(
        workdir=workdir,
        # The config names the data set that was asked for; the number of test digits tells the one in use.
        dataset=DATASET_BY_TEST_EXAMPLES.get(test_examples, str(named)),
        test_examples=test_examples,
        labels=CLASSES * _integer(config, "labels_per_class"),
        seed=_seed(config),
        epochs=_number(newest.get("epoch"), "epoch"),
        steps=curve[-1].step,
        finished=False,
        errors=curve[-1].errors,
        errors_raw=curve[-1].errors_raw,
        ensemble_errors=None if ensemble is None else _number(ensemble, "ensemble_errors"),
        curve=curve,
    )


def _read_object(path: Path) -> dict[str, Any]:
    """Raises FileNotFoundError, or ValueError for anything else that keeps it from being a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.name} is missing") from error
    except OSError as error:
        raise ValueError(f"{path.name}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is not valid JSON") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return content


def _read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the readable lines, and a warning about damaged ones; half a last line is normal while training."""
    try:
        texts = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path} cannot be read: {error.strerror}."]
    lines: list[dict[str, Any]] = []
    damaged: list[int] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text) if text.strip() else None
            if line is not None:
                lines.append(line | {"step": _integer(line, "step")})
        except (ValueError, TypeError, AttributeError):
            if number < len(texts):
                damaged.append(number)
    if damaged:
        where = f"line {damaged[0]}" + (f" and {len(damaged) - 1} more" if len(damaged) > 1 else "")
        return lines, [f"{path} is damaged at {where}: left out."]
    return lines, []


def _read_curve(lines: Sequence[dict[str, Any]]) -> tuple[Evaluation, ...]:
    by_step: dict[int, Evaluation] = {}
    for line in lines:
        try:
            if errors := _errors(line, "test_errors"):
                by_step[line["step"]] = Evaluation(line["step"], errors, _errors(line, "test_errors_raw"))
        except ValueError:
            continue  # A null among the errors: nothing to draw there.
    return tuple(by_step[step] for step in sorted(by_step))


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {json.dumps(value)}, expected a number")
    return float(value)


def _integer(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {json.dumps(value)}, expected a whole number")
    return value


def _seed(config: dict[str, Any]) -> int | None:
    """Only used for a warning, so anything odd is no seed."""
    seed = config.get("seed")
    return seed if isinstance(seed, int) else None


def _errors(values: dict[str, Any], name: str) -> tuple[float, ...]:
    items = values.get(name) or []
    if not isinstance(items, list):
        raise ValueError(f"{name} is no list")
    return tuple(_number(item, name) for item in items)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m igan.report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a work directory, or a folder that holds some"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("report"), metavar="DIR", help="where to write (default: report)"
    )
    parser.add_argument("--dataset", choices=["mnist", "mnist5k"], help="report only the runs on this data set")
    options = parser.parse_args(arguments)
    try:
        table, warnings = write_report(options.runs, options.output, options.dataset)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    written = [options.output / name for name in ("table.md", "test_error_vs_step.png")]
    print("Wrote " + " and ".join(str(path) for path in written if path.exists()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
