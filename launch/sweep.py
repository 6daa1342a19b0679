"""Trains many runs: every combination of variants, seeds and settings, here or on a SLURM cluster, and reports them.

  python launch/sweep.py --config=experiments/mnist.py --seeds=1,2,3 --workdir=runs/seeds
  python launch/sweep.py --config=experiments/cifar10.py --variants=ours,-ls,-mbf --seeds=1,2,3 --workdir=runs/ablation
  python launch/sweep.py --config=experiments/mnist.py --config.labels_per_class=2,5,10,20 --config.replicas=10 \\
      --workdir=runs/table
  python launch/sweep.py --config=experiments/mixture.py --variants=all --jobs=2 --workdir=runs/mixture

Any --config.FIELD=VALUE goes to igan.main; a comma-separated list of values is swept, several lists make a grid.
Commas inside brackets or quotes do not separate: --config.networks.generator_layers="(500,500),(1000,)" is two values.
Each run has a work directory of its own, named after what is swept, like runs/seeds/seed=1; what it prints is in
runs/seeds/logs. At the end python -m igan.report writes runs/seeds/report.

The same command goes on where it stopped: what is finished is skipped, the rest resumes. Ctrl-C lets the runs save.
Exit codes: 0 all finished, 1 some not, 2 the command is wrong, 128 + signal stopped by a signal.
"""

import argparse
import contextlib
import runpy
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from local import Pool
from plan import Axis, Member, check_seeds, has_trained, is_finished, members, split
from progress import Status, View
from slurm import Cluster

from igan import lock
from igan.errors import UserError, did_you_mean, tell

PASSED_ON = ("--compilation_cache",)  # Flags of igan.main besides --config.FIELD.
SLURM = {
    "partition": (str, "where to submit to; default: the cluster's"),
    "time": (int, "minutes until a run saves and queues up again; default: 1440"),
    "nodes": (int, "nodes for each run, which is one run over all of them; default: 1"),
    "gpus": (int, "GPUs for each run on each of its nodes; default: 1; 0: none"),
    "cpus": (int, "CPU cores for each process; default: the cluster's"),
    "mem": (int, "GB of memory for each run on each node; default: the cluster's"),
}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the launcher's own flags."""
    parser = argparse.ArgumentParser(
        usage="python launch/sweep.py --config=FILE --workdir=DIR [--config.FIELD=VALUE,...] [more flags, see below]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="Arguments after -- go to every igan.main as they are.",
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help="the experiment, like experiments/mnist.py, or FILE:VARIANT")
    add("--workdir", type=Path, metavar="DIR", help="the folder for all runs; the same one goes on with them")
    add(
        "--variants",
        metavar="A,B",
        help="variants of the experiment; '' (two quotes) is its default one; 'all': those that it lists as VARIANTS",
    )
    add("--seeds", metavar="1,2", help="short for --config.seed=1,2")
    add("--dry_run", action="store_true", help="print the commands and run nothing")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at a time; default: 1, or one for each of --gpus, or all with --slurm",
    )
    add("--retries", type=int, default=1, metavar="N", help="how often a run that crashed is tried again; default: 1")
    add("--gpus", metavar="0,1", help="GPUs of this machine to deal the runs out to, as for CUDA_VISIBLE_DEVICES")
    cluster = parser.add_argument_group("on a SLURM cluster (pip install submitit)")
    cluster.add_argument("--slurm", action="store_true", help="submit the runs as one array job, and watch them")
    cluster.add_argument("--detach", action="store_true", help="submit and return; the same command watches later")
    for name, (kind, text) in SLURM.items():
        cluster.add_argument(f"--slurm_{name}", type=kind, metavar=name.upper(), help=text)
    return parser


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[Member]]:
    """Returns the options and the members that a command line asks for.

    Raises UserError for whatever is wrong with it.
    """

    def refuse(message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))

    parser = make_parser()
    parser.error = refuse
    own = list(arguments)
    further = own[own.index("--") + 1 :] if "--" in own else []
    options, unknown = parser.parse_known_args(own[: len(own) - len(further) - ("--" in own)])
    _check(options)
    settings = _settings(unknown, [flag for action in parser._actions for flag in action.option_strings])
    variants = () if options.variants is None else split("--variants", options.variants)
    variants = _all_variants(options.config) if variants == ("all",) else variants
    if variants == ("",):
        raise UserError("--variants is empty; expected names like --variants=ours,-ls")
    if variants and ":" in options.config:
        raise UserError(f"--config={options.config} names a variant and --variants={options.variants} others: drop one")
    axes = _axes(settings)
    if options.seeds is not None:
        axes.append(_seeds(options, settings))
    found = members(options.config, ["" if each in ("''", '""') else each for each in variants], axes, options.workdir)
    found = [each._replace(flags=(*each.flags, *further)) for each in found]
    check_seeds("--seeds" if options.seeds is not None else "--config.seed", found)
    return options, found


def _all_variants(config: str) -> tuple[str, ...]:
    """Returns the variants that an experiment lists.

    Raises UserError where it lists none, or cannot be loaded.
    """
    path = config.partition(":")[0]
    try:
        listed = runpy.run_path(path).get("VARIANTS", ())
    except Exception as error:
        raise UserError(f"cannot load the experiment {path}: {type(error).__name__}: {error}") from error
    if not listed:
        raise UserError(f"{path} lists no VARIANTS that --variants=all could mean: name them, like --variants=A,B")
    return tuple(listed)


def _check(options: argparse.Namespace) -> None:
    """Raises UserError for the launcher's own flags."""
    if not options.config:
        raise UserError("which experiment? Say --config=experiments/mnist.py, or --help for more")
    path = Path(options.config.partition(":")[0])
    if not path.is_file():
        known = [str(each) for each in path.parent.glob("*.py")]
        raise UserError(f"there is no experiment {path}.{did_you_mean(str(path), known) if known else ''}")
    if options.workdir is None:
        raise UserError(f"where to? Say --workdir=runs/{path.stem}-sweep; the same command with it goes on")
    for place in (options.workdir, *options.workdir.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place} is a file, expected a directory: choose another --workdir")
    least_values = {"jobs": 1, "retries": 0, "slurm_time": 1, "slurm_nodes": 1, "slurm_gpus": 0, "slurm_cpus": 1}
    for name, least in least_values.items():
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name}={value}: expected {least} or more, like --{name}={least}")
    given = [f"--slurm_{name}" for name in SLURM if getattr(options, f"slurm_{name}") is not None]
    given += ["--detach"] * options.detach
    if given and not options.slurm:
        raise UserError(f"{given[0]} is for a SLURM cluster: add --slurm, or leave it out")
    if options.slurm and options.gpus is not None:
        raise UserError("--gpus is for this machine; with --slurm say how many a run gets: --slurm_gpus=1")
    options.gpus = () if options.gpus is None else split("--gpus", options.gpus)
    if "" in options.gpus:
        raise UserError("--gpus is empty; expected names of GPUs like --gpus=0,1")


def _settings(arguments: Sequence[str], own: Sequence[str]) -> dict[str, str]:
    """Returns the values of the flags that go to igan.main, by flag.

    Raises UserError for any other argument.
    """
    settings: dict[str, str] = {}
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("--"):
            raise UserError(f"unexpected '{argument}': every argument is of the form --name=value")
        if not flag.startswith("--config.") and flag not in PASSED_ON:
            known = [each for each in own if each.startswith("--")] + list(PASSED_ON)
            raise UserError(
                f"unknown flag {flag}.{did_you_mean(flag, known)} Fields of the experiment: --config.FIELD=VALUE."
            )
        if not equals:
            raise UserError(f"{flag} has no value: type {flag}=VALUE")
        if flag in settings:
            raise UserError(f"{flag} is there twice; to sweep its values type {flag}={settings[flag]},{value}")
        settings[flag] = value
    return settings


def _axes(settings: dict[str, str]) -> list[Axis]:
    """Returns the settings with their values, those of several values labelled as shortly as is unambiguous."""
    values = {flag: (text,) if flag in PASSED_ON else split(flag, text) for flag, text in settings.items()}
    short = {flag: flag.rpartition(".")[2] for flag in values if len(values[flag]) > 1}
    labels = {
        flag: name if list(short.values()).count(name) == 1 else flag.removeprefix("--config.")
        for flag, name in short.items()
    }
    return [Axis(flag, each, labels.get(flag, "")) for flag, each in values.items()]


def _seeds(options: argparse.Namespace, settings: dict[str, str]) -> Axis:
    seeds = split("--seeds", options.seeds)
    if "--config.seed" in settings:
        raise UserError("--seeds is short for --config.seed: drop one of them")
    if not all(seed.isdecimal() for seed in seeds):
        raise UserError(f"--seeds={options.seeds}: expected whole numbers, like --seeds=1,2,3")
    return Axis("--config.seed", seeds, "seed")


def locked(workdir: Path) -> contextlib.AbstractContextManager[int]:
    """Returns the sweep's lock, to be held as long as it lives, as its file descriptor, which the runs inherit.

    They hold it as long as they live, so that a launcher that was killed is not followed by one that trains the same
    runs beside them. Raises UserError if another sweep holds it or the directory cannot be written.
    """
    return lock.held(
        workdir / "logs" / "lock",
        f"a sweep in {workdir}, or a run that it left behind, is still at work (started by process {{process}}): wait"
        " for it, or stop it",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0 all finished, 1 some not, 2 a mistake, 128 + signal."""
    try:
        options, plan = parse(sys.argv[1:] if arguments is None else arguments)
        if options.dry_run:
            for member in plan:
                print(f"# {member.name} is finished: skipped" if is_finished(member) else shlex.join(member.command()))
            print(shlex.join(report_command(options.workdir)))
            return 0
        with locked(options.workdir) as lock:
            return run(options, plan, lock)
    except UserError as error:
        return tell(error)
    except KeyboardInterrupt:  # Before there was anything to stop.
        return 128 + signal.SIGINT


def run(options: argparse.Namespace, plan: Sequence[Member], lock: int) -> int:
    """Trains the members that are not finished and reports all. Returns the exit code."""
    statuses = [Status(member, "finished" if is_finished(member) else "waiting") for member in plan]
    done = sum(status.state == "finished" for status in statuses)
    print(f"{len(plan)} runs in {options.workdir}" + (f", {done} of them finished before" if done else ""), flush=True)
    if options.slurm:
        cluster = Cluster(options.workdir / "logs" / "slurm", options.retries, _slurm_parameters(options, len(plan)))
        if jobs := cluster.submit(statuses):
            print(f"Submitted {len(jobs)} of them as job {jobs[0].partition('_')[0]}; scancel stops it.", flush=True)
        if options.detach:
            return 0
        with View(statuses, options.jobs or len(plan)) as view:
            cluster.watch(statuses, view)
        stopped_by, after_stop = cluster.stopped_by, "The jobs go on without it; the same command watches them again."
    else:
        jobs = options.jobs or max(1, len(options.gpus))
        pool = Pool(jobs, options.retries, options.gpus, [lock])
        with View(statuses, jobs) as view:
            pool.run(statuses, view)
        if pool.mistake:
            raise UserError(f"{pool.mistake} (nothing was trained, so the other runs were not tried)")
        stopped_by, after_stop = pool.stopped_by, "The same command goes on from here."
    if stopped_by is not None and any(status.state != "finished" for status in statuses):
        print(f"Stopped. {after_stop}", flush=True)
        return 128 + stopped_by
    return report(options.workdir, statuses)


def _slurm_parameters(options: argparse.Namespace, count: int) -> dict[str, object]:
    gpus = 1 if options.slurm_gpus is None else options.slurm_gpus
    nodes = options.slurm_nodes or 1
    # As JAX has it under srun: where several processes make up a run, each has one GPU.
    several = {"nodes": nodes, "ntasks_per_node": max(1, gpus)} if nodes > 1 else {}
    return several | {
        "job_name": f"igan-{options.workdir.name}",
        "partition": options.slurm_partition,
        "time": options.slurm_time or 24 * 60,
        "gpus_per_node": gpus or None,
        "cpus_per_task": options.slurm_cpus,
        "mem": None if options.slurm_mem is None else f"{options.slurm_mem}GB",
        "array_parallelism": options.jobs or count,
    }


def report_command(workdir: Path) -> list[str]:
    return [sys.executable, "-m", "igan.report", str(workdir), f"--output={workdir / 'report'}"]


def report(workdir: Path, statuses: Sequence[Status]) -> int:
    """Runs igan.report, and names the members that are not finished. Returns 1 if there are some or it fails."""
    code = 0
    if any(has_trained(status.member) for status in statuses):
        code = subprocess.run(report_command(workdir), check=False).returncode
    failed = [status for status in statuses if status.state != "finished"]
    for status in failed:
        print(f"not finished: {status.member.name}: {status.detail} ({status.member.log})", file=sys.stderr)
    if failed:
        print(
            f"{len(failed)} of {len(statuses)} runs are not finished. The same command tries them again.",
            file=sys.stderr,
        )
    return 1 if failed or code else 0


if __name__ == "__main__":
    sys.exit(main())
