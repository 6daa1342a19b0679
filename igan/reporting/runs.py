"""Reading work directories: what a report needs of a run, whether it has finished, still trains or is damaged."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from igan.errors import UserError, did_you_mean
from igan.recorded import completed
from igan.reporting.curves import LOGGED, Series, curve_protocols, read_curves
from igan.reporting.lenient_json import (
    flat,
    integer,
    number,
    number_or_none,
    numbers,
    read_metrics,
    read_object,
    section,
)
from igan.reporting.settings import decisive

DEFAULT_CLASSES = 10
EMBEDDED_TEST_EXAMPLES = 1_000
ALL_LABELS = 0  # As in the config.
LOST = {  # Of summary.json: what `igan.run.collapse` has noticed.
    "collapsed": "its generator has collapsed",
    "vanished": "its generator learnt nothing any more, as its gradient had vanished",
}


@dataclass(frozen=True)
class Score:
    """One score of a run: a value per replica, and the std that belongs to a single value, such as over splits."""

    values: tuple[float, ...]
    std: float | None
    protocol: str


@dataclass(frozen=True)
class Run:
    """What the report needs of one work directory."""

    workdir: Path
    experiment: str
    variant: str
    dataset: str
    origin: str  # Where the data came from; "" where a run does not say.
    test_examples: int
    labels: int | None  # Of all classes together; ALL_LABELS; None: trained without labels.
    seed: int | None
    replicas: int
    epochs: float  # Done, not planned.
    steps: int
    finished: bool
    errors: tuple[float, ...]  # One number per replica of averaged parameters; empty where nothing was classified.
    errors_raw: tuple[float, ...]
    ensemble_errors: float | None
    scores: dict[str, Score]
    curves: dict[str, Series]  # By the names in metrics.jsonl: test_errors, scores/<name>, d/<name>, ...
    curve_protocols: dict[str, str]  # Of the scores among the curves, each of which has one protocol.
    seconds: float | None
    device: str
    versions: dict[str, str]
    samples: Path | None  # The newest grid.
    written: datetime  # When its files last changed.
    fields: dict[str, Any]  # The completed config, flat; empty where it cannot be read.
    settings: dict[str, Any]  # Of them what tells repetitions from other experiments; empty where nothing is known.
    stages: tuple[tuple[int, str], ...] = ()  # (first update, what it is) of networks that grow.


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


def load_runs(paths: Sequence[Path], dataset: str | None = None) -> tuple[list[Run], list[str]]:
    """Returns all readable runs at and below the paths, and warnings: runs that were skipped, damaged or unfinished.

    Raises UserError if none is left, of the data set if one is given.
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
        runs.append(run)
        if dataset in (None, run.dataset):
            warnings += run_warnings
    if not runs:
        raise UserError(f"None of the {len(workdirs)} runs found can be reported: {'; '.join(warnings)}")
    chosen = [run for run in runs if dataset in (None, run.dataset)]
    if not chosen:
        known = {run.dataset for run in runs}
        raise UserError(f"None of the {len(runs)} runs used --dataset={dataset}.{did_you_mean(str(dataset), known)}")
    return chosen, warnings


def read_run(workdir: Path) -> tuple[Run, list[str]]:
    """Returns the run in a work directory, and warnings about what could not be read of it.

    Raises UserError, naming it, if there is nothing to report: not a single line of metrics, or damage.
    """
    lines, warnings = read_metrics(workdir / "metrics.jsonl")
    summary: dict[str, Any] = {}
    config: dict[str, Any] = {}
    try:
        summary = read_object(workdir / "summary.json")
    except FileNotFoundError:
        pass
    except ValueError as error:
        warnings.append(f"{workdir}/summary.json is damaged ({error}): shown from metrics.jsonl, as unfinished.")
    try:
        config = read_object(workdir / "config.json")
    except (FileNotFoundError, ValueError) as error:
        if not summary:
            raise UserError(f"{workdir}: {error}, and there is no summary.json that could stand in for it.") from error
        unknown = "its seed is unknown, and what summary.json does not say: averaged with no other."
        warnings.append(f"{workdir}: {error}: {unknown}")
    try:
        run = _assemble(workdir, config, summary, lines, warnings)
    except ValueError as error:
        raise UserError(f"{workdir}: {error}") from error
    for what, text in LOST.items():
        if isinstance(found := summary.get(what), dict) and found:
            replicas = ", ".join(map(str, found))
            warnings.append(f"{workdir}: {text} (replica {replicas}).")
    if not run.finished:
        warnings.append(f"{workdir} is unfinished: {run.steps:,} updates so far.")
    return run, warnings


def _assemble(
    workdir: Path, config: dict[str, Any], summary: dict[str, Any], lines: list[dict[str, Any]], warnings: list[str]
) -> Run:
    facts, finished = _facts(config, summary, lines)
    errors = numbers(facts, "test_errors")
    ensemble = facts.get("ensemble_errors")
    data = section(config, "data")
    techniques = section(config, "techniques")
    is_labeled = bool(errors) or section(techniques, "semi_supervised").get("enabled") is True
    test_examples = integer(facts, "test_examples") if errors or "test_examples" in facts else 0
    if errors and not test_examples:
        raise ValueError("test_examples is 0, but there are test errors")
    dataset = str(summary.get("dataset") or data.get("name") or "unknown")
    if dataset == "mnist" and (data.get("source") == "embedded" or test_examples == EMBEDDED_TEST_EXAMPLES):
        dataset = "mnist5k"
    classes = integer(facts, "classes") if facts.get("classes") else DEFAULT_CLASSES
    protocols = curve_protocols(lines)
    curves = read_curves(workdir, lines, protocols, warnings)
    seed, replicas = facts.get("seed"), facts.get("replicas")
    fields = flat(completed(config)) if config else {}
    return Run(
        workdir=workdir,
        experiment=str(config.get("experiment") or summary.get("experiment") or data.get("name") or dataset),
        variant=str(config.get("variant") or summary.get("variant") or ""),
        dataset=dataset,
        origin=str(summary.get("data_origin") or ""),
        test_examples=test_examples,
        labels=classes * integer(facts, "labels_per_class") if is_labeled else None,
        seed=seed if isinstance(seed, int) else None,
        replicas=len(errors) or (replicas if isinstance(replicas, int) else 1),
        epochs=number(facts.get("epochs"), "epochs"),
        steps=integer(facts, "steps"),
        finished=finished,
        errors=errors,
        errors_raw=numbers(facts, "test_errors_raw"),
        ensemble_errors=None if ensemble is None else number(ensemble, "ensemble_errors"),
        scores=_read_scores(workdir, _recorded_scores(summary, lines), curves, warnings),
        curves=curves,
        curve_protocols=protocols,
        seconds=number_or_none(facts.get("seconds")),
        device=str(summary.get("device") or ""),
        versions={name: str(version) for name, version in section(summary, "versions").items()},
        samples=max((workdir / "samples").glob("*.png"), default=None),  # Their names carry the step, padded.
        written=_written(workdir),
        fields=fields,
        settings=decisive(fields),
        stages=_read_stages(summary),
    )


def _read_stages(summary: dict[str, Any]) -> tuple[tuple[int, str], ...]:
    """Returns the stages that a summary lists; none where they are damaged: they are a help to readers only."""
    found = summary.get("stages")
    try:
        return tuple((integer(each, "start"), str(each["name"])) for each in found or ())
    except (ValueError, TypeError, KeyError):
        return ()


def _facts(config: dict[str, Any], summary: dict[str, Any], lines: list[dict[str, Any]]) -> tuple[dict[str, Any], bool]:
    """Returns the newest of each fact about a run, whichever file has it, and whether the run has finished."""
    if not summary and not lines:
        raise ValueError("metrics.jsonl is missing or empty")
    finished = summary.get("finished") is True and _is_current(summary, lines)
    evaluations = [line for line in lines if _is_evaluation(line)]
    facts = config | {"epochs": None} | (evaluations[-1] if evaluations else {})
    if finished or not lines:
        facts |= summary
    else:
        seconds = [line["seconds"] for line in lines if "seconds" in line]
        facts |= {"steps": lines[-1]["step"], "epochs": lines[-1].get("epoch", 0), "seconds": (seconds or [None])[-1]}
    return facts, finished


def _is_current(summary: dict[str, Any], lines: Sequence[dict[str, Any]]) -> bool:
    """A run that goes on, stopped before or given more epochs, leaves its old summary behind until it ends again."""
    return bool(summary) and integer(summary, "steps") >= (lines[-1]["step"] if lines else 0)


def _recorded_scores(summary: dict[str, Any], lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the newest scores with their protocols: of the summary, or of a run that still trains."""
    if _is_current(summary, lines):
        return section(summary, "scores")
    return next((section(line, "scores") for line in reversed(lines) if "scores" in line), {})


def _read_scores(
    workdir: Path, recorded: dict[str, Any], curves: dict[str, Series], warnings: list[str]
) -> dict[str, Score]:
    scores = {
        name.removeprefix("scores/"): Score(series[-1][1], None, LOGGED)
        for name, series in curves.items()
        if name.startswith("scores/")
    }
    for name, entry in recorded.items():
        scores.pop(name, None)
        try:
            if not isinstance(entry, dict):
                raise ValueError("no object with a value")
            value = entry.get("value")
            values = numbers({"value": value if isinstance(value, list) else [value]}, "value")
            if not values:
                raise ValueError("an empty list")
            protocol = str(entry.get("protocol") or "not recorded")
            std = entry.get("std")
            own = std[0] if isinstance(std, list) and len(std) == 1 else std
            scores[name] = Score(values, number_or_none(own), protocol)
        except ValueError as error:
            warnings.append(f"{workdir}: score {name} in summary.json is damaged ({error}): left out.")
    return scores


def _is_evaluation(line: dict[str, Any]) -> bool:
    try:
        return bool(numbers(line, "test_errors"))
    except ValueError:
        return False


def _written(workdir: Path) -> datetime:
    files = [workdir / name for name in ("summary.json", "metrics.jsonl")]
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in files if path.exists())).astimezone()
