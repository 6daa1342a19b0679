"""Runs of networks that grow: stopped and resumed at every update, dealt out to devices, reported stage by stage."""

import functools
import json
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from igan import film, sample, styles
from igan.errors import UserError
from igan.game.programs import Programs
from igan.game.stages import Plan
from igan.reporting.runs import read_run
from igan.run import drawing, experiment, scoring, summary, train
from igan.run.checkpoint import Checkpoints
from igan.types import Stage
from tests.outcome import assert_same_arrays, state_at
from tests.run.growing import UPDATES, see_with_a_toy, small

pytestmark = pytest.mark.filterwarnings("ignore:a Fréchet distance of only")


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
