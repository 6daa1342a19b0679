"""What a run says before it begins and when it has ended, and its `summary.json`."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from igan import bucket
from igan.config import Config
from igan.game.inference import STATISTICS
from igan.run import workdir
from igan.run.experiment import Experiment


def announce(built: Experiment, config: Config) -> None:
    """Prints what is about to run."""
    dataset = built.dataset
    if dataset.notice:
        print(f"NOTE: {dataset.notice}")
    labels = f", {built.labeled.shape[1]:,} of them labelled" if built.labeled is not None else ""
    labels = ", all of them labelled" if built.plan.all_labeled else labels
    print(f"data: {dataset.name}, {built.training_images:,} training {dataset.space.kind}{labels}; {dataset.origin}")
    print(
        f"plan: {config.epochs:,} epochs of {built.updates_per_epoch:,} updates, {config.replicas} replica(s), on"
        f" {len(built.devices)} x {built.devices[0].device_kind}"
    )
    for name, each in built.game.techniques.items():
        if each.notice is not None:
            print(f"{name}: {each.notice(built.engine.state_shape.discriminator)}")
    if config.accumulate > 1 and (compared := what_compares(built)):
        print(
            f"NOTE: accumulate={config.accumulate}: {' and '.join(compared)} look at a part of the batch each, and not"
            " at all of it"
        )
    for stage in built.plan.stages if len(built.plan.stages) > 1 else ():
        of_discriminator, of_generator = stage.batch_sizes
        batches = (
            f"{of_discriminator}" if of_discriminator == of_generator else f"{of_discriminator} and {of_generator}"
        )
        end = built.plan.end(stage, built.total_updates)
        print(f"stage {stage.index + 1}: {stage.name}, updates {stage.start + 1:,} to {end:,} in batches of {batches}")


def what_compares(built: Experiment) -> list[str]:
    """Returns what in the networks depends on the other images of a batch, so that one in parts is another batch."""
    players = built.engine.state_shape.generator, built.engine.state_shape.discriminator
    found = ["batch statistics"] * any(STATISTICS in player.variables for player in players)
    return found + [name for name, each in built.game.techniques.items() if "discriminator_features" in each.layers]


def finish(
    directory: Path,
    config: Config,
    built: Experiment,
    step: int,
    stopped_by: str,
    timings: dict[str, float],
    lost: Mapping[str, Mapping[int, int]],
) -> dict[str, Any]:
    """Writes `summary.json`, prints the result and returns it.

    Args:
      directory: the work directory, whose `metrics.jsonl` is complete.
      step: the updates that were done.
      stopped_by: the signal that ended the run, "" without one.
      timings: seconds by name, `seconds` of the whole run among them.
      lost: what `igan.run.collapse` has noticed, the update by the replica.
    """
    dataset, lines = built.dataset, workdir.metrics(directory)
    scored = [line for line in lines if "scores" in line]
    # A signal may come while the last update is scored: then there is something left to do.
    is_scored = not stopped_by or not config.evaluation.scores or (bool(scored) and scored[-1]["step"] == step)
    summary: dict[str, Any] = {
        "dataset": dataset.name,
        "data_origin": dataset.origin,
        "notice": dataset.notice,
        "finished": step >= built.total_updates and is_scored,
        "experiment": config.experiment,
        "variant": config.variant,
        "classes": dataset.classes,
        "test_examples": built.test_examples,
    }
    if evaluations := [line for line in lines if "test_errors" in line]:
        last = evaluations[-1]
        summary |= {
            "test_errors": last["test_errors"],
            "test_errors_raw": last["test_errors_raw"],
            "ensemble_errors": last["ensemble_errors"],
            "best_test_errors": workdir.best(evaluations, "test_errors"),
            "best_test_errors_raw": workdir.best(evaluations, "test_errors_raw"),
            "labels_per_class": config.labels_per_class,
        }
    scores, scores_step = (scored[-1]["scores"], scored[-1]["step"]) if scored else ({}, -1)
    if (before := workdir.summary(directory)).get("scores_step") == step:  # By igan.evaluate, perhaps.
        scores, scores_step = (scores if scores_step == step else {}) | before["scores"], step
    if scores:
        summary |= {"scores": scores, "scores_step": scores_step}
        if kept := [line for line in scored if line.get("is_best")]:
            summary |= {"best_scores": kept[-1]["scores"], "best_scores_step": kept[-1]["step"]}
    summary |= {
        **{what: {str(replica): update for replica, update in each.items()} for what, each in lost.items() if each},
        **({"stages": stages(built)} if len(built.plan.stages) > 1 else {}),
        "replicas": config.replicas,
        "epochs": config.epochs,
        "steps": step,
        **{name: round(seconds, 1) for name, seconds in timings.items()},
        "device": f"{len(built.devices)} x {built.devices[0].device_kind}",
        "versions": workdir.versions(),
    }
    workdir.write(directory / "summary.json", summary)
    if dataset.notice:
        print(f"NOTE: {dataset.notice}")
    if evaluations:
        print(
            f"test errors of {built.test_examples:,} (averaged parameters): {summary['test_errors']};"
            f" raw: {summary['test_errors_raw']}; best: {summary['best_test_errors']}"
        )
        if config.replicas > 1:
            errors = summary["test_errors"]
            spread = f"{statistics.fmean(errors):.1f} ± {statistics.stdev(errors):.1f}"
            print(f"mean ± sample std of {config.replicas} replicas: {spread}; ensemble: {summary['ensemble_errors']}")
    if scores:
        print(f"scores at update {summary['scores_step']:,}: {describe_scores(summary['scores'])}")
    ending = "finished" if summary["finished"] else f"stopped by {stopped_by} at update {step:,} and saved; go on with"
    print(f"{ending} --workdir={bucket.shown(directory)}")
    return summary


def stages(built: Experiment) -> list[dict[str, Any]]:
    """Returns what the stages of a run are, for its `summary.json`."""
    return [
        {"name": stage.name, "start": stage.start, "batch_size": stage.batch_sizes[0]} for stage in built.plan.stages
    ]


def describe_scores(scores: dict[str, dict[str, Any]]) -> str:
    """Returns the values of scores in one line, each the mean over replicas.

    >>> describe_scores({"fid": {"value": [12.0, 14.0], "std": None, "protocol": "..."}})
    'fid 13'
    """
    return ", ".join(f"{name} {statistics.fmean(score['value']):.4g}" for name, score in scores.items())
