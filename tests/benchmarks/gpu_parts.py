"""The parts of gpu.py: each a function of what may be spent on it, which yields rows of its table as it measures them.

Each runs in a process of its own, which may take the whole GPU, crash, or be ended when its time is up.
"""

import contextlib
import functools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cifar10
import inception as inception_benchmark
import jax
import mnist
import numpy as np

from igan.metrics import inception
from igan.metrics.frechet_distance import frechet_distance, moments
from igan.metrics.weights import Weights
from igan.planning import program, targets
from igan.run import workdir

REPOSITORY = Path(__file__).parents[2]
PAPER_REPLICAS, PAPER_UPDATES = 40, 300 * 600  # The MNIST table: 4 x 10 label draws, 300 epochs of 600 updates.
PRECISIONS = ("float32", "TF32", "bfloat16")

Row = dict[str, Any]  # By column.


class Spend(NamedTuple):
    """What a part may spend."""

    seconds: float
    smoke: bool  # Everything at toy size, to see whether it runs.
    output: Path


def seconds_each(play: Any, spend: Spend, share: float, least: int = 2) -> float:
    """Returns the best time of a call, of as many as the part's share of the time allows; two before it compile."""
    for _ in range(1 if spend.smoke else 2):
        play()
    deadline, best, rounds = time.monotonic() + share * spend.seconds, float("inf"), 0
    while rounds < least or (time.monotonic() < deadline and rounds < 50 and not spend.smoke):
        start = time.perf_counter()
        play()
        best, rounds = min(best, time.perf_counter() - start), rounds + 1
    return best


def small_mnist(spend: Spend) -> dict[str, Any]:
    narrow = {"networks.generator_layers": (8,), "networks.discriminator_layers": (8, 8)}
    return narrow | {"batch_size": 10, "initial_images": 20} if spend.smoke else {}


def mnist_updates(spend: Spend) -> Iterator[Row]:
    """The MNIST update at several replicas, and from the most of them the time of the paper's whole table."""
    steps = 2 if spend.smoke else 500
    for replicas in (1, 2) if spend.smoke else (1, 10, PAPER_REPLICAS):
        play = mnist.igan_round(steps, replicas=replicas, **small_mnist(spend))
        speed = steps / seconds_each(play, spend, 0.15)
        row: Row = {"replicas": replicas, "updates/s": speed, "updates of a replica/s": speed * replicas}
        if replicas in (PAPER_REPLICAS, 2):
            row["hours of the paper's table"] = PAPER_UPDATES / speed / 3600
        yield row


def deterministic(spend: Spend) -> Iterator[Row]:
    """The MNIST and the CIFAR-10 update with XLA's deterministic operations, which bit-exact resume needs, and without.

    They are flags of a process: each row is one of its own.
    """
    for flag in ("false", "true"):
        code = f"import gpu_parts; gpu_parts.two_updates({spend.smoke}, {spend.seconds / 3})"
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops={flag}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent, env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        yield {"deterministic": flag} | json.loads(done.stdout.splitlines()[-1])


def two_updates(smoke: bool, seconds: float) -> None:
    """Prints the updates a second of two games, as JSON."""
    spend, steps = Spend(seconds, smoke, Path()), 2 if smoke else 200
    games = {"MNIST": mnist.igan_round(steps, **small_mnist(spend))}
    if not smoke:  # It takes a minute to compile, and `cifar10_updates` sees whether it plays.
        games["CIFAR-10"] = cifar10.igan_contender(sizes(spend), "float32", steps).play
    print(json.dumps({f"{name}, updates/s": steps / seconds_each(play, spend, 0.3) for name, play in games.items()}))


def sizes(spend: Spend) -> cifar10.Sizes:
    return cifar10.SMALL if spend.smoke else cifar10.Sizes()


def peak(precision: str) -> float | None:
    """Returns the peak FLOP/s of this card, if it is one that `igan.planning` knows."""
    if (chip := known_card()) is None:
        return None
    return {"float32": chip.float32, "TF32": chip.tensorfloat32, "bfloat16": chip.bfloat16}[precision]


def known_card() -> targets.Chip | None:
    words = jax.devices()[0].device_kind.lower().replace("-", " ").split()
    for name, chip in targets.CHIPS["gpu"].items():
        if (name in words or name == "".join(words[-2:])) and not {"pcie", "nvl"} & {*words}:  # Those are slower.
            return chip
    return None


@contextlib.contextmanager
def computed_in(precision: str) -> Iterator[str]:
    """Sets what both libraries compute float32 in; yields what igan and the benchmark call the networks' precision."""
    jax.config.update("jax_default_matmul_precision", "highest" if precision == "float32" else None)
    with contextlib.suppress(ImportError):
        import torch

        cifar10.torch_device()
        torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
        torch.backends.cudnn.allow_tf32 = precision != "float32"
    yield "bfloat16" if precision == "bfloat16" else "float32"
    jax.config.update("jax_default_matmul_precision", None)


def cifar10_updates(spend: Spend) -> Iterator[Row]:
    """The CIFAR-10 update against PyTorch's on the same card, with the share of its peak."""
    size, updates = sizes(spend), 2 if spend.smoke else 100
    for precision in PRECISIONS[2:] if spend.smoke else PRECISIONS:
        with computed_in(precision) as name:
            makers = {
                f"igan, {replicas} replica(s)": functools.partial(
                    cifar10.igan_contender, size, name, updates, replicas=replicas
                )
                for replicas in ((1,) if spend.smoke else (1, cifar10.REPLICAS))
            }
            for layout, last, compiled in (
                ("eager", False, False), ("channels last", True, False), ("channels last, torch.compile", True, True)
            )[: 1 if spend.smoke else 3]:  # fmt: skip
                makers[f"PyTorch, {layout}"] = functools.partial(
                    cifar10.torch_contender, size, name, updates, last, compiled
                )
            yield from (cifar10_row(who, make, precision, spend) for who, make in makers.items())


def cifar10_row(who: str, make: Any, precision: str, spend: Spend) -> Row:
    size, row = sizes(spend), {"precision": precision, "who": who}
    try:
        contender = make()
    except ImportError as error:
        return row | {"left out": str(error)}
    images = contender.images * contender.updates / seconds_each(contender.play, spend, 0.03)
    row |= {"ms an update": 1e3 * contender.images / images, "images/s": images}
    best = peak(precision)
    return row | ({"share of peak": cifar10.flops(size) / size.batch * images / best} if best else {})


def inception_images(spend: Spend) -> Iterator[Row]:
    """The Inception network's images a second against torch-fidelity's, and what bfloat16 does to a distance.

    Its weights are random; 32 x 32 pixels, resize included.
    """
    batch = 2 if spend.smoke else 256
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 32, 32, 3), np.uint8)
    precisions = ("float32",) if spend.smoke else ("float32", "tensorfloat32", "bfloat16")
    for precision in precisions:
        play = inception_benchmark.igan_round(pixels, precision)
        yield {"who": f"igan, {precision}", "images/s": batch / seconds_each(play, spend, 0.15, least=1)}
    try:
        play = inception_benchmark.torch_round(pixels)
    except ImportError as error:
        yield {"who": "torch-fidelity, float32", "left out": str(error)}
    else:
        yield {"who": "torch-fidelity, float32", "images/s": batch / seconds_each(play, spend, 0.15, least=1)}
    yield from score_shift(spend)


def score_shift(spend: Spend) -> Iterator[Row]:
    """The Fréchet distance of one pair of sets of images, in features of each precision."""
    level, count, batch = ("64", 16, 8) if spend.smoke else ("2048", 4096, 256)
    random = np.random.default_rng(1)
    arrays = {
        name: random.normal(0, np.sqrt(2 / max(1, np.prod(shape[:-1]))), shape).astype(np.float32)
        for name, shape in inception.shapes([level]).items()
    }
    found: dict[str, float] = {}
    for precision in ("float32", "bfloat16"):
        network = inception.network(Weights("random", "0" * 8, arrays), precision=precision)
        apply, params = jax.jit(network.apply, static_argnums=2), jax.device_put(network.params)

        def features(seed: int, apply: Any = apply, params: Any = params) -> Iterator[np.ndarray]:
            images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
            for start in range(0, count, batch):
                chosen = images[start : start + batch] // (1 + seed)
                yield np.asarray(apply(params, chosen, (level,))[level], np.float64)

        found[precision] = frechet_distance(moments(features(0)), moments(features(1))).value
    shift = found["bfloat16"] / found["float32"] - 1
    yield {"who": f"distance in {level} features of {count} images", "bfloat16 against float32": shift}


def planned(replicas: int, steps: int, spend: Spend) -> Row:
    """Returns the launches of an update by `igan.plan`, for this card or, where it is no known one, an H100."""
    chip = known_card() or targets.CHIPS["gpu"]["h100"]
    settings = {"data.source": "embedded", "steps_per_chunk": steps, "replicas": replicas, **small_mnist(spend)}
    command = [sys.executable, "-m", "igan.plan", f"--config={REPOSITORY / 'experiments' / 'mnist.py'}", "--json"]
    command += [f"--target=gpu:{chip.name}:1", *(f"--config.{k}={v}".replace(" ", "") for k, v in settings.items())]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {f"igan.plan, {chip.name}": f"left out: {lines[-1]}"}
    found = json.loads(done.stdout)
    once = found["launches_per_dispatch"] / found["updates_per_dispatch"]
    return {f"igan.plan, {chip.name}": found["launches"] + once}


def launches(spend: Spend) -> Iterator[Row]:
    """Kernels launched an update: those that the profiler saw, those counted in the program, and those of `igan.plan`.

    `igan.plan` counts in a program that its compiler made without the card.
    """
    from jax.profiler import ProfileData

    steps = 2 if spend.smoke else 100
    for replicas in (1,) if spend.smoke else (1, PAPER_REPLICAS):
        built = mnist.build(steps, replicas=replicas, **small_mnist(spend))
        stage, state = built.plan.stages[0], built.engine.initialize(1)
        text = built.engine.compile(stage, steps).as_text() or ""
        counted, once = program.count(text, steps, 0)
        state, _ = jax.block_until_ready(built.engine.run(state, stage, steps))
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                jax.block_until_ready(built.engine.run(state, stage, steps))
            (path,) = Path(folder).rglob("*.xplane.pb")
            planes = ProfileData.from_file(str(path)).planes
            lines = [line for plane in planes if "/device:GPU" in plane.name for line in plane.lines]
            seen = sum(1 for line in lines if line.name.startswith("Stream") for _ in line.events)
        row: Row = {"replicas": replicas, "counted in the program": counted.launches + once.launches / steps}
        row |= planned(replicas, steps, spend)
        yield row | ({"seen by the profiler": seen / steps} if lines else {"left out": "the profiler saw no GPU"})


def mnist_errors(spend: Spend) -> Iterator[Row]:
    """The paper's cell of 100 labels with 10 draws, as far as the time goes: a real run, stopped by SIGTERM."""
    flags = ["--config.data.source=embedded", "--config.epochs=1", "--config.replicas=2"] if spend.smoke else []
    if spend.smoke:
        flags += [f"--config.{name}={value}".replace(" ", "") for name, value in small_mnist(spend).items()]
    else:
        flags = ["--config.replicas=10"]
    folder = spend.output / "mnist"
    command = [sys.executable, "-m", "igan.main", f"--config={REPOSITORY / 'experiments' / 'mnist.py'}", *flags]
    process = subprocess.Popen(
        [*command, f"--workdir={folder}"],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _, error = process.communicate(timeout=spend.seconds - 15)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate()
    if process.returncode:
        raise RuntimeError((error.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    summary, lines = workdir.summary(folder), workdir.metrics(folder)
    for line in lines[-1:] if spend.smoke else [each for each in lines if "test_errors" in each][-5:]:
        if errors := line.get("test_errors"):
            spread = statistics.stdev(errors) if len(errors) > 1 else 0.0
            row: Row = {"data": summary.get("dataset"), "draws": len(errors), "epoch": line["epoch"]}
            yield row | {"test errors": statistics.fmean(errors), "std": spread, "of": line["test_examples"]}
