"""Runs of networks that grow: stopped and resumed at every update, dealt out to devices, reported stage by stage."""

import functools
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import growing
from igan import film, sample, styles
from igan.errors import UserError
from igan.game import inference
from igan.game.programs import Programs
from igan.game.stages import Plan
from igan.metrics import path_length
from igan.metrics.extract import FeatureNetwork
from igan.randomness import stream
from igan.recorded import plain
from igan.reporting.runs import read_run
from igan.run import drawing, experiment, scoring, summary, train
from igan.run.checkpoint import Checkpoints
from igan.types import GameState, Player, Stage, Turn
from tests.command import PATIENCE, REPOSITORY, run_main
from tests.outcome import assert_same_arrays, lines_without_seconds, newest, state_at

UPDATES = 10  # Four of 4 pixels, three in which 8 pixels fade in, and three of 8 pixels.

pytestmark = pytest.mark.filterwarnings("ignore:a Fréchet distance of only")


def small(pictures: Path, variant: str = "pggan"):
    config = growing.get_config(variant)
    config.data.name = f"folder:{pictures}"
    config.networks.update(latent_size=3, base=8, most=2, train_images=16, fade_images=24, batch_sizes=(4, 8))
    config.devices, config.batch_size, config.initial_images, config.epochs = 1, 8, 8, 2
    config.steps_per_chunk = config.reporting.samples_interval = 1
    config.evaluation.interval = 1000  # The balance of each stage would be a program more to compile.
    config.checkpoint.interval, config.reporting.samples, config.checkpoint.keep = 1, 4, 20
    if config.networks.name == "style":
        layers = min(2, config.networks.mapping_layers)
        config.networks.update(first_resolution=4, mapping_width=4, mapping_layers=layers)
    return config


@pytest.fixture(scope="module")
def build(pictures):
    """Builds an experiment once for each number of devices and of the attempt."""

    @functools.cache
    def build(devices: int = 1, attempt: int = 0, replicas: int = 1, variant: str = "pggan"):
        config = small(pictures, variant)
        config.devices, config.replicas = devices, replicas
        if variant == "f":
            config.networks.update(batch_sizes=(8, 8), train_images=32)  # One image for each of eight devices.
            config.techniques.r1.interval = 5
        return experiment.build(config)

    return build


def play(built, state, steps):
    states, metrics = [state], []
    for step in steps:
        state, found = built.engine.run(jax.tree.map(lambda leaf: leaf.copy(), state), built.plan.stage(step), 1)
        states.append(state)
        metrics.append(jax.device_get(found))
    return states, metrics


def test_the_stages_of_a_run(build):
    built = build()
    assert [(stage.start, stage.updates, stage.batch_sizes) for stage in built.plan.stages] == [
        (0, 4, (4, 4)),
        (4, 3, (8, 8)),
        (7, 0, (8, 8)),
    ]
    assert built.plan.stages[-1].consumed == (40, 40)
    assert built.total_updates == 7 + (64 - 40) // 8 == UPDATES  # Of 36 images to train on an epoch uses 32.


def test_a_run_that_is_stopped_at_any_update_goes_on_bit_for_bit(build, tmp_path):
    """Before, at and after each stage's first update, and in the middle of a fade, with programs compiled anew."""
    first, second = build(), build(attempt=1)
    assert first is not second
    states, metrics = play(first, first.engine.initialize(1), range(UPDATES))
    for step, state in enumerate(states[:-1]):
        with Checkpoints(tmp_path / str(step), keep=2, note=print) as checkpoints:
            checkpoints.save(step, state)
            checkpoints.wait()
            found = checkpoints.restore_latest(second.engine.state_shape)
        assert found is not None
        (_, after), again = play(second, found[1], [step])
        assert_same_arrays(*(arrays(each) for each in (after, states[step + 1])))
        for name, value in again[0].items():
            np.testing.assert_array_equal(value, metrics[step][name], err_msg=name)


def arrays(state) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state._replace(key=None))]


def see_with_a_toy(patch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Has scores look at images with a network that takes no time; returns the shapes that it sees, as it goes."""
    seen = []

    def features(params, images, levels):
        seen.append(images.shape[1:])
        return {level: images.reshape(len(images), -1)[:, 100:103].astype(float) for level in levels}

    patch.setattr(scoring.weights, "load", lambda path: path)
    patch.setattr(scoring.inception, "network", lambda _: FeatureNetwork("toy", ("768",), {}, features))
    return seen


def test_scores_see_images_as_large_as_the_data_and_say_how_large_they_were(build, pictures, monkeypatch):
    """In the first stage each pixel is a square of four, of the real images' size; other sizes are other protocols."""
    seen = see_with_a_toy(monkeypatch)
    built, config = build(), small(pictures)
    config.evaluation.update(scores=("fid", "path_length"), images=20)
    score, state = scoring.make(config, built), built.engine.initialize(1)
    protocols = []
    for step in (4, 5):  # The last update of 4 pixels, and the first one of a fade.
        found = score(state._replace(step=np.int32(step)), lambda: False)
        protocols.append([each["protocol"] for each in found.values()])
    assert set(seen) == {(8, 8, 3)} and len(protocols[0]) == 2
    assert all(one == f"{other}; images of 4 x 4 pixels made 8 x 8" for one, other in zip(*protocols, strict=True))
    drawn = drawing.make_draw(built)(state._replace(step=np.int32(4)), 0, 3).read(0, 3)
    np.testing.assert_array_equal(drawn, drawn[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))
    assert len(np.unique(drawn[:, ::2, ::2])) > 16


def within_a_fade(built, seed: int = 1):
    """The metrics of an update in which 8 pixels fade in, from a state of the beginning."""
    stage = built.plan.stage(5)
    assert stage.name == "8 px fading in"
    return jax.device_get(built.engine.run(state_at(built, 5, seed), stage, 1)[1])


@pytest.mark.parametrize(
    ("variant", "devices"), [("pggan", 4), pytest.param("f", 8, marks=pytest.mark.long("half a minute"))]
)
def test_devices_that_share_every_batch_play_the_same_game(build, variant, devices):
    """Style mixing, noise of each layer, groups of the minibatch deviation and lazy R1 are of the whole batch, too."""
    alone, shared = (within_a_fade(build(count, variant=variant)) for count in (1, devices))
    for name, value in alone.items():
        np.testing.assert_allclose(shared[name], value, rtol=2e-3, atol=1e-4, err_msg=name)


def test_two_replicas_are_two_runs(build):
    both = within_a_fade(build(replicas=2))
    for replica in (0, 1):
        for name, value in within_a_fade(build(), 1 + replica).items():
            np.testing.assert_allclose(both[name][replica], value[0], rtol=2e-3, atol=1e-4, err_msg=name)


REFUSED = {
    "a batch that devices do not divide": ({"devices": 8}, r"4 images of a batch in the stage '4 px'.*devices=4"),
    "replicas that devices do not divide": ({"devices": 2, "replicas": 3}, r"3 replicas cannot be dealt out"),
    "a batch larger than the data": ({"networks.batch_sizes": (4, 64)}, r"batches of 64 in the stage '8 px fading in'"),
    "groups that do not divide it": (
        {"networks.batch_sizes": (4, 6), "techniques.minibatch_stddev.group": 4},
        r"batches of 6 images in their stage 2.*multiples of 4",
    ),
    "stages that end after the run": (
        {"networks.train_images": 300},
        r"8 px, begins with update 78, and the run ends with .*: use --config.epochs=11 or more, or shorter",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_advance_in_one_line(case, pictures):
    changes, expected = REFUSED[case]
    config = small(pictures)
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=expected) as caught:
        experiment.build(config)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def run_of_it(pictures, tmp_path_factory):
    """A whole run, when the programs of each stage were asked for, and which were compiled."""
    folder, asked, compiled = tmp_path_factory.mktemp("run"), [], []

    class Spy(Programs):
        def __init__(self, compile):
            super().__init__(lambda *static: compiled.append(compile.__name__) or compile(*static))

        def prepare(self, *static):
            asked.append(("ahead", static[0].index))
            super().prepare(*static)

        def __call__(self, *static):
            asked.append(("now", static[0].index))
            return super().__call__(*static)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igan.game.engine.Programs", Spy)
        config = small(pictures)
        config.checkpoint.keep, config.checkpoint.interval = 2, 5
        summary = train.run(config, folder)
    return folder, summary, asked, compiled


def test_the_next_stage_is_compiled_while_this_one_runs(run_of_it):
    asked = run_of_it[2]
    for index in (1, 2):
        assert asked.index(("ahead", index)) < asked.index(("now", index))
        assert ("now", index - 1) in asked[: asked.index(("ahead", index))]


def test_each_stage_is_compiled_once(run_of_it):
    """However many updates it has, and however often it is asked for ahead."""
    _, summary, _, compiled = run_of_it
    assert compiled.count("compile_run") == len(summary["stages"]) == 3


def test_the_next_stage_is_begun_with_the_first_chunk_of_this_one(pictures):
    """Not in its last chunks, which may be shorter than a program takes to compile."""
    asked, stages = [], (Stage(), Stage(1, start=1000), Stage(2, start=2000))
    prepare = lambda stage, updates, samples: asked.append((stage.index, updates))  # noqa: E731
    engine = SimpleNamespace(prepare=prepare, prepare_balance=lambda stage: None)
    plan = Plan(1, 1, 1, 8, stages)
    built = SimpleNamespace(plan=plan, engine=engine, total_updates=3000, updates_per_chunk=5)
    session: Any = SimpleNamespace(experiment=built, config=small(pictures))
    for step in (0, 1000, 2000):
        train.prepare_next(session, step)
    assert asked == [(1, 5), (2, 5)]


def test_a_batch_in_parts_says_what_compares_its_images(pictures, capsys):
    config = small(pictures)
    config.networks.batch_sizes, config.accumulate, config.techniques.minibatch_stddev.group = (8, 8), 2, 4
    summary.announce(experiment.build(config), config)
    assert "NOTE: accumulate=2: minibatch_stddev look at a part of the batch each" in capsys.readouterr().out
    config.accumulate = 1
    summary.announce(experiment.build(config), config)
    assert "NOTE" not in capsys.readouterr().out


def test_the_players_are_weighed_where_images_fade_in(build):
    built = build()
    found = built.engine.balance(built.engine.initialize(1), built.plan.stages[1])
    assert all(np.isfinite(each).all() and each.shape == (1,) for each in found.values())
    assert "accuracy_real" not in found and 0 <= float(found["separation"][0]) <= 1  # Of a critic.


def test_a_run_tells_of_its_stages(run_of_it, capsys, tmp_path):
    folder, summary, *_ = run_of_it
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == [1] * 4 + [2] * 3 + [3] * (len(lines) - 7)
    assert [each["name"] for each in summary["stages"]] == ["4 px", "8 px fading in", "8 px"]
    assert read_run(folder)[0].stages == ((0, "4 px"), (4, "8 px fading in"), (7, "8 px"))
    sizes = []
    for path in sorted((folder / "samples").glob("*.png")):
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert sizes[0] == sizes[4] == (9, 9) and sizes[5] == sizes[-1] == (17, 17)  # Two by two.
    assert film.main([str(folder), f"--output={tmp_path / 'film.gif'}"]) == 0
    with Image.open(tmp_path / "film.gif") as moving:
        assert moving.size == (120, 17 + 24)  # As wide as the line below it.


def test_what_is_asked_of_styles_is_refused_in_one_line_where_there_are_none(run_of_it, capsys):
    workdir = f"--workdir={run_of_it[0]}"
    for command, argument, expected in (
        (styles, "--psi=0.7", "a run of the networks 'progressive', which have no styles"),
        (styles, "--psi=11", "--psi=11: expected a number from 0 to 10"),
        (sample, "--psi=0.7", "these networks have no --psi: of what can be asked for in sampling they have none"),
        (sample, "--truncation=0.5", "these networks have no --truncation: of what can be asked"),
    ):
        assert command.main([workdir, argument]) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert error[-1].startswith("error: ") and expected in error[-1]


@pytest.mark.long("programs of three stages, twice")
def test_a_run_of_styles_is_scored_and_goes_on_bit_for_bit_within_a_fade(pictures, tmp_path, monkeypatch):
    config = small(pictures, "stylegan")
    config.checkpoint.interval, config.evaluation.scores_interval = 5, 1000
    config.evaluation.update(scores=("fid",), images=20)
    see_with_a_toy(monkeypatch)
    summary = train.run(config, whole := tmp_path / "whole")
    assert [each["name"] for each in summary["stages"]] == ["4 px", "8 px fading in", "8 px"]
    assert summary["scores"]["fid_768"]["protocol"].endswith("; psi=1")
    shutil.copytree(whole, twin := tmp_path / "twin")
    for path in (twin / "checkpoints").iterdir():
        if path.name.endswith(f"{UPDATES}"):
            shutil.rmtree(path)
    assert newest(twin)[0] == 5
    train.run(config, twin)
    assert newest(twin)[0] == newest(whole)[0] == UPDATES
    assert_same_arrays(newest(twin)[1], newest(whole)[1])


def test_images_of_styles_are_drawn_and_their_styles_are_mixed(pictures, tmp_path, capsys):
    """Of a run that has not been trained: a mean style and one noise make one image."""
    config = small(pictures, "stylegan")
    built = experiment.build(config)
    (tmp_path / "config.json").write_text(json.dumps(plain(config)))
    with Checkpoints(tmp_path / "checkpoints", keep=2, note=print) as checkpoints:
        checkpoints.save(UPDATES, built.engine.initialize(1)._replace(step=np.int32(UPDATES)))
    workdir, output = f"--workdir={tmp_path}", tmp_path / "images.npz"
    assert sample.main([workdir, "--count=3", f"--output={output}", "--psi=0", "--noise=2"]) == 0
    with np.load(output) as archive:
        assert archive["images"].shape == (3, 8, 8, 3) and np.ptp(archive["images"].astype(int), axis=0).max() <= 1
    assert styles.main([workdir, "--rows=2", "--columns=3", "--crossover=2", "--psi=0.7", "--noise=0"]) == 0
    with Image.open(tmp_path / "styles.png") as picture:
        assert picture.size == (4 * 8 + 3, 3 * 8 + 2)
    assert styles.main([workdir, "--noise=3"]) == 2
    assert "--noise=3: expected 0 for none" in capsys.readouterr().err


def test_the_picture_of_styles_has_coarse_sources_in_its_first_column_and_fine_ones_in_its_first_row(monkeypatch):
    """Of images that are red as their coarse latent, green as their fine one, and blue as the parameters are."""
    asked = []

    def draw(networks, params, variables, turn, key, latents, options):
        asked.append(options)
        coarse, fine = np.split(np.asarray(latents), 2)
        return np.ones((1, 8, 8, 1)) * np.stack([coarse, fine, np.full_like(fine, params)], axis=-1)[:, None]

    monkeypatch.setattr(inference, "sample", draw)
    sources = np.float32([-1.0, -0.6, -0.2, 0.2, 0.6])  # Two of rows, three of columns.
    networks = SimpleNamespace(sample_latents=lambda key, count: sources[:count, None], image_range=(-1.0, 1.0))
    built: Any = SimpleNamespace(
        game=SimpleNamespace(networks=networks), plan=SimpleNamespace(reached=lambda step: Stage())
    )
    player = Player(np.float32([0.0]), np.float32([0.0]), (), np.float32([1.0]))
    state = GameState(np.int32(3), jax.random.key(0)[None], player, player, {})
    cells = styles.draw(built, state, rows=2, columns=3, crossover=2, options={"psi": 0.7})[4::9, 4::9]
    assert asked and all(options == {"psi": 0.7, "crossover": 2} for options in asked)
    levels = np.rint((sources + 1) * 127.5)
    np.testing.assert_allclose(cells[0, 0], 127.5, atol=1)
    np.testing.assert_allclose(cells[0, 1:, :2], levels[2:, None].repeat(2, 1), atol=1)
    np.testing.assert_allclose(cells[1:, 0, :2], levels[:2, None].repeat(2, 1), atol=1)
    np.testing.assert_allclose(cells[1:, 1:, 0], levels[:2, None].repeat(3, 1), atol=1)
    np.testing.assert_allclose(cells[1:, 1:, 1], levels[None, 2:].repeat(2, 0), atol=1)
    assert np.all(cells[1:, :, 2] == 255)  # Of the averaged ones.
    for crossover in (0, 4):  # Of 8 pixels, which have four layers.
        with pytest.raises(UserError, match=rf"--crossover={crossover}: expected a layer from 1 to 3, of 8 pixels"):
            styles.draw(built, state, 2, 3, crossover, {})


def test_paths_of_styles_go_straight_between_two_w(build):
    """With what else is asked of sampling, in 0..255: a score at psi=0.5 must not be that at psi=1."""
    built = build(variant="stylegan")
    state, networks = built.engine.initialize(1), built.game.networks
    way, draw = drawing.make_paths(built, {"psi": 0.5, "noise": 0})
    found = draw(state, 0, 2).read(0, 4)[:, ::2, ::2]  # Of 4 pixels made 8 x 8.
    key = state.key[0]
    keys = [jax.random.fold_in(stream(key, "paths"), number) for number in (0, 1)]
    ends = jnp.stack([networks.sample_latents(each, 2) for each in keys]).repeat(2, axis=0)
    shares = jnp.stack([jax.random.uniform(stream(each, "share")) for each in keys]).repeat(2)
    asked = {"psi": 0.5, "noise": 0, "between": shares + path_length.EPSILON * np.array([0, 1, 0, 1])}
    player = jax.tree.map(lambda leaf: leaf[0], state.generator)
    turn, latents = Turn(state.step, state.step, built.plan.stages[0]), jnp.concatenate([ends[:, 0], ends[:, 1]])
    made = inference.sample(networks, player.average, player.variables, turn, key, latents, options=asked)
    assert way == "lerp in w"
    np.testing.assert_allclose(found, (np.asarray(made) + 1) * 127.5, atol=0.05)
    assert np.abs(found[0] - found[2]).max() > 1


@pytest.mark.parametrize(
    ("variant", "argument", "expected"),
    [
        ("b", "--crossover=1", "the networks 'style', which have no styles with styles_of_layers=False"),
        (
            "d",
            "--noise=0",
            "these networks have no --noise: of what can be asked for in sampling they have psi, psi_lay",
        ),
    ],
)
def test_rows_of_the_table_without_styles_or_noise_say_so(variant, argument, expected, pictures, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(plain(small(pictures, variant))))
    assert styles.main([f"--workdir={tmp_path}", argument]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ") and expected in error[-1]


def test_a_program_is_compiled_once_however_many_ask_for_it():
    began, go, count = threading.Event(), threading.Event(), []

    def compile(static: int) -> str:
        count.append(static)
        began.set()
        assert go.wait(60)
        return f"program {static}"

    programs = Programs(compile)
    programs.prepare(1)
    assert began.wait(60)  # It is under way, and this thread is free.
    programs.prepare(1)
    go.set()
    assert programs(1) == "program 1" == programs(1) and programs(2) == "program 2" and count == [1, 2]


def test_a_program_that_could_not_be_compiled_says_so_where_it_is_needed():
    def compile(static: int) -> str:
        raise RuntimeError("out of memory")

    programs = Programs(compile)
    programs.prepare(1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            programs(1)


class Killed(NamedTuple):
    """Runs of one config in processes of their own."""

    start: Callable[[Path], Any]  # (folder) -> a process that begins the run there, or goes on with it.
    whole: Path  # Where one ran that nothing disturbed.


@pytest.fixture(scope="module")
def runs(processes, pictures, tmp_path_factory):
    """(images of a stage, of a fade, epochs) -> how to start such a run, and one that was not disturbed."""

    @functools.cache
    def runs(train_images: int, fade_images: int, epochs: int) -> Killed:
        config = small(pictures)
        config.epochs = epochs
        config.networks.update(train_images=train_images, fade_images=fade_images)
        arguments = [f"--config={REPOSITORY / 'experiments' / 'growing.py'}:pggan"]
        arguments += [f"--config.{name}={value}" for name, value in flat(config).items()]
        arguments += [f"--compilation_cache={os.environ['JAX_COMPILATION_CACHE_DIR']}"]

        def start(folder: Path) -> Any:
            folder.mkdir(exist_ok=True)
            given = ([*arguments, f"--workdir={folder / 'run'}"], folder, {})
            process = processes.Process(target=run_main, args=given)
            process.start()
            return process

        whole = tmp_path_factory.mktemp("whole")
        finish(start(whole), whole)
        return Killed(start, whole)

    return runs


def finish(process: Any, folder: Path) -> None:
    process.join(PATIENCE)
    assert process.exitcode == 0, (folder / ".error").read_text()


def kill(process: Any, folder: Path, step: int, seconds: float = 0.0) -> None:
    """Kills a run so long after it has written this update down."""
    log, until = folder / "run" / "metrics.jsonl", time.monotonic() + PATIENCE
    while not log.exists() or f'"step": {step},' not in log.read_text():
        assert process.is_alive() and time.monotonic() < until, (folder / ".error").read_text()
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def assert_the_same_end(one: Path, other: Path) -> None:
    assert lines_without_seconds(one / "run") == lines_without_seconds(other / "run")
    (step, ones), (twin, others) = (newest(folder / "run") for folder in (one, other))
    assert step == twin
    assert_same_arrays(ones, others)


def test_a_run_that_is_killed_within_a_fade_goes_on_bit_for_bit(runs, tmp_path):
    killed = runs(16, 24, 2)
    kill(killed.start(tmp_path), tmp_path, step=5)
    finish(killed.start(tmp_path), tmp_path)
    assert_the_same_end(killed.whole, tmp_path)


@pytest.mark.long("a process a kill")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_is_killed_at_random_moments_of_every_stage_goes_on_bit_for_bit(seed, runs, tmp_path):
    """Sixteen updates of 4 pixels, twelve in which 8 pixels fade in, and twelve of 8 pixels."""
    killed, draw = runs(64, 96, 8), random.Random(seed)
    # The first and the last update of the fade, two within it, two in each of the others.
    steps = [*draw.sample(range(1, 15), 2), 16, *draw.sample(range(18, 27), 2), 28, *draw.sample(range(30, 39), 2)]
    for step in sorted(steps):
        kill(killed.start(tmp_path), tmp_path, step, draw.uniform(0, 0.05))
    finish(killed.start(tmp_path), tmp_path)
    assert_the_same_end(killed.whole, tmp_path)
    assert newest(tmp_path / "run")[0] == 40


def flat(config) -> dict[str, object]:
    """What `small` changes, for a command line."""
    fields = ["data.name", "devices", "batch_size", "initial_images", "epochs", "steps_per_chunk"]
    fields += [f"networks.{name}" for name in ("latent_size", "base", "most", "train_images", "fade_images")]
    fields += ["networks.batch_sizes", "evaluation.interval", "reporting.samples_interval", "checkpoint.interval"]
    return {field: functools.reduce(lambda at, name: at[name], field.split("."), config) for field in fields}
