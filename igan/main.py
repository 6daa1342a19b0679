"""Trains a GAN.

    python -m igan.main --config=experiments/mnist.py

An experiment is a Python file with get_config(); a variant follows a colon. Any field of the config can be set:

    python -m igan.main --config=experiments/mnist.py:unsupervised
    python -m igan.main --config=experiments/mnist.py --config.epochs=30 --config.labels_per_class=2
    python -m igan.main --config=experiments/mnist.py --config.replicas=10 --workdir=runs/mnist
    python -m igan.main --config=experiments/mnist.py --config.techniques.feature_matching.distance=absolute

A run can be stopped at any time (Ctrl-C saves it) and goes on with the same command and the same --workdir; with
--from=best from its best checkpoint, then perhaps with another --config.generator.learning_rate, say. --dry_run
prints every field of the config, the networks and the plan; what the fields mean is written in igan/config.py.
--version prints the version with the commit.
Tables and plots over runs: python -m igan.report --help. Exit codes: 0 finished, or stopped and saved; 1 the run
failed; 2 the command is wrong; 130 or 143 stopped by Ctrl-C or SIGTERM before the first update.
"""

import contextlib
import itertools
import os
import re
import sys
import time
from collections.abc import Sequence
from keyword import iskeyword
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags, logging
from flax.traverse_util import flatten_dict
from ml_collections import config_flags

from igan import bucket, cache, field_flags, hosts
from igan.config import Config, default
from igan.errors import UserError, did_you_mean, exit_code, suggestion, tell
from igan.game.view import context, show
from igan.run import experiment, going_back, scoring, signals, summary, train, workdir
from igan.run.experiment import Experiment
from igan.types import Examples, Turn
from igan.version import version

field_flags.register()
CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment and variant, e.g. experiments/mnist.py.")
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where the files of the run go, a folder or gs://... or s3://... A run that is there goes on."
    " Default: runs/<experiment>-<time>.",
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print config, networks and plan; train nothing and write nothing.")
HOSTS = flags.DEFINE_string(
    "hosts",
    "",
    "Where several processes make up one run: 'auto' on a TPU pod, under srun or mpirun; elsewhere ADDRESS:PORT,COUNT,"
    "NUMBER, which say where process 0 can be reached, how many there are, and which one this is.",
)
FROM = flags.DEFINE_string(
    "from", "", "'best': go on from the checkpoint with the best score. What came after it is set aside."
)
CACHE = flags.DEFINE_string(
    "compilation_cache",
    cache.compiled_programs(),
    "Where compiled programs are kept, so that a second start is quick; '' for nowhere.",
)


def parse(arguments: Sequence[str]) -> list[str]:
    """Parses the command line; whatever is wrong with it is one line and exit code 2."""
    if "--help" in arguments or "-h" in arguments:
        flags.FLAGS.unparse_flags()
        print(f"{__doc__}\n{flags.FLAGS.module_help(sys.modules['__main__'])}")
        sys.exit(0)
    if "--version" in arguments:
        print(f"igan {version()}")
        sys.exit(0)
    logging.set_verbosity(logging.ERROR)
    path = _experiment_path(arguments)
    try:
        if not path:
            raise UserError("which experiment? Say --config=experiments/mnist.py, or --help for more")
        rest = flags.FLAGS(list(arguments))
        if not isinstance(CONFIG.value.to_dict().get("techniques"), dict):
            raise TypeError("get_config() does not return a config made by igan.config.default()")
        if len(rest) > 1:
            raise UserError(f"unexpected '{rest[1]}': every argument is of the form --name=value")
    except Exception as error:
        sys.exit(tell(UserError(_explain(error, path, arguments))))
    return rest


def _experiment_path(arguments: Sequence[str]) -> str:
    # Read from the arguments, because of an experiment that cannot be loaded the flag itself does not tell.
    for argument, following in itertools.pairwise([*arguments, ""]):
        if re.fullmatch("--?config(=.*)?", argument):
            return (argument.partition("=")[2] or following).split(":")[0]
    return ""


def _explain(error: BaseException, path: str, arguments: Sequence[str]) -> str:
    """Returns what was wrong with the command line or the experiment at `path`, in a person's words."""
    chain: list[BaseException] = [error]
    while isinstance(cause := chain[-1].__cause__ or chain[-1].__context__, Exception):
        chain.append(cause)
    for each in chain:
        if names := re.findall(r'mean "(\w+)" instead of "(\w+)"', str(each)):
            return f"the config has no field '{names[0][1]}'. Did you mean '{names[0][0]}'?"
        if isinstance(each, UserError) or (isinstance(each, flags.Error) and "Traceback" not in str(each)):
            return str(each)
    root, fields = chain[-1], re.findall(r"--?config\.([^=\s]*)", " ".join(arguments))
    if isinstance(root, IndexError | TypeError):
        for field in fields:
            if "[" in field:
                whole = field.partition("[")[0]
                return f"'{field}' is a part of a field: expected the whole of it, --config.{whole}=VALUE"
    if isinstance(root, SyntaxError) and root.filename == "<unknown>":  # By ml_collections, which parses the names.
        for field in fields:
            if not all(part.isidentifier() and not iskeyword(part) for part in field.split(".")):
                return f"'{field}' cannot be the name of a field: expected --config.SECTION.FIELD=VALUE"
    if isinstance(root, KeyError):  # By ml_collections, if it finds no similar name in the same section.
        known = flatten_dict(default().to_dict(), sep=".")
        for field in fields:
            if field not in known and (field in str(root) or {*root.args} & {*field.split(".")}):
                hint = suggestion(field, known)
                return f"the config has no field '{field}'.{hint} --dry_run prints all that there are"
    experiments = [str(each) for each in Path(path).parent.glob("*.py")]
    if experiments and not Path(path).is_file():
        return f"there is no experiment {path}.{did_you_mean(path, experiments)}"
    return f"cannot load the experiment {path}: {type(root).__name__}: {root}"


def main(arguments: Sequence[str]) -> None:
    """Runs the command that `parse` has understood."""
    logging.set_verbosity(logging.WARNING)
    if CACHE.value:
        cache.keep_compiled_programs(os.path.expanduser(CACHE.value))  # noqa: PTH111
    config: Config = CONFIG.value
    set_compiler_flags(config)
    code = exit_code(lambda: run(config), "stopped before the first update; nothing was lost")
    if code and not HOSTS.value:
        # After a save that failed, threads of Orbax wait for ten minutes, and Python would wait for them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def set_compiler_flags(config: Config) -> None:
    """Tells the compiler what a config asks of it; before JAX looks at its devices."""
    if config.deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"


def run(config: Config) -> None:
    """Trains, or describes what would be trained.

    Raises UserError and RunError as `train.run` does.
    """
    if FROM.value not in ("", going_back.BEST):
        raise UserError(f"--from={FROM.value}: expected --from={going_back.BEST}, or nothing for the newest checkpoint")
    if FROM.value and HOSTS.value:
        raise UserError(f"--from={FROM.value} is for one host: go back there, and then on with --hosts={HOSTS.value}")
    if FROM.value:
        bucket.refuse(Path(WORKDIR.value or ""))
        with directory() as folder:
            going_back.check(folder)
    if HOSTS.value and not WORKDIR.value:
        raise UserError("--hosts needs a --workdir, in a bucket or on a disk that all hosts see")
    if HOSTS.value:
        hosts.join(HOSTS.value)
    if DRY_RUN.value:
        describe(config)
    else:
        with contextlib.nullcontext() if HOSTS.value else signals.raised(), directory() as folder:
            train.run(config, folder, bool(FROM.value), own_disks=bucket.is_url(WORKDIR.value or ""))


def directory() -> contextlib.AbstractContextManager[Path]:
    """Returns the work directory: the one asked for, or a new one named after the experiment and the time.

    Raises UserError for a bucket that cannot be used.
    """
    if WORKDIR.value and bucket.is_url(WORKDIR.value):
        return bucket.mirrored(WORKDIR.value)
    if WORKDIR.value:
        return contextlib.nullcontext(Path(WORKDIR.value).expanduser())
    return contextlib.nullcontext(new_directory(Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem))


def new_directory(name: str) -> Path:
    """Returns a directory in runs/ that no other run has, even one that began in the same second."""
    path = first = Path(f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    number = 1
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def describe(config: Config) -> None:
    """Prints what would run."""
    if WORKDIR.value and not bucket.is_url(WORKDIR.value):
        may_change = going_back.MAY_CHANGE if FROM.value else ()
        config = workdir.settle(config, Path(WORKDIR.value).expanduser(), may_change)
    built = experiment.build(config)
    if config.evaluation.scores:
        scoring.check(config, built)
    print(f"{config}\n{network_tables(built)}")
    summary.announce(built, config)


def network_tables(built: Experiment) -> str:
    """Returns tables of the layers of both networks, as `Network.describe` makes them."""
    game, networks, count = built.game, built.game.networks, built.plan.initial_images
    key, start = jax.random.key(0), jnp.int32(0)
    at = context(networks, key, Turn(start, start, networks.stages[-1]), jnp.zeros(count, jnp.int32))
    real = Examples(jnp.zeros((count, *built.dataset.space.shape)), jnp.zeros(count, jnp.int32))
    memories = {name: each.init(key, real) for name, each in game.techniques.items()}
    generator = networks.generator.describe(at, networks.sample_latents(key, count))
    return f"{generator}\n{networks.discriminator.describe(at, show(game, memories, key, real.images))}"


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
