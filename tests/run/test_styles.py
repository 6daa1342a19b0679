"""Runs of styles: scored, stopped, drawn and mixed."""

import json
import shutil
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from igan import sample, styles
from igan.errors import UserError
from igan.game import inference
from igan.metrics import path_length
from igan.randomness import stream
from igan.recorded import plain
from igan.run import drawing, experiment, train
from igan.run.checkpoint import Checkpoints
from igan.types import GameState, Player, Stage, Turn
from tests.outcome import assert_same_arrays, newest
from tests.run.growing import UPDATES, see_with_a_toy, small

pytestmark = pytest.mark.filterwarnings("ignore:a Fréchet distance of only")


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


def test_paths_of_styles_go_straight_between_two_w(pictures):
    """With what else is asked of sampling, in 0..255: a score at psi=0.5 must not be that at psi=1."""
    built = experiment.build(small(pictures, "stylegan"))
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
