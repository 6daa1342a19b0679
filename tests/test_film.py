"""Films of sample pictures, pictures side by side, and level lines of discriminators."""

import io

import numpy as np
import pytest
from PIL import Image

from igan import film, landscape
from igan.game import technique
from igan.recorded import plain
from igan.reporting import frames
from igan.run import experiment, train, workdir
from tests.run.test_mixture import tiny


@pytest.fixture
def runs(tmp_path):
    """Two directories with pictures of a shade that tells the update: 0, 10, ..., 50, and one more of the second."""
    for name, steps in (("one", range(0, 60, 10)), ("two", range(0, 70, 10))):
        (tmp_path / name / "samples").mkdir(parents=True)
        for step in steps:
            picture = Image.new("RGB", (40, 20), (step, 100 if name == "one" else 200, 0))
            picture.save(tmp_path / name / f"samples/step_{step:08d}.png")
    return [str(tmp_path / "one"), str(tmp_path / "two")]


def test_a_film_has_a_frame_for_each_picture(runs, tmp_path):
    assert film.main([runs[0], "--seconds=0.6"]) == 0
    with Image.open(tmp_path / "one/film.gif") as found:
        assert getattr(found, "n_frames", 1) == 6
        shades = []
        for frame in range(6):
            found.seek(frame)
            shades.append(found.convert("RGB").getpixel((5, 5))[0])
    np.testing.assert_allclose(shades, range(0, 60, 10), atol=3)


def test_the_film_of_a_run_is_small_and_kept_as_webp(runs, tmp_path):
    found = frames.pictures(tmp_path / "two")
    content = frames.film(found, count=4, side=20)
    with Image.open(io.BytesIO(content)) as made:
        assert (made.format, getattr(made, "n_frames", 1), made.size) == ("WEBP", 4, (120, 10 + frames.CAPTION))
        made.seek(3)
        assert made.convert("RGB").getpixel((5, 5))[0] == pytest.approx(60, abs=8)  # The last one is there.
    assert film.main([runs[0], f"--output={tmp_path / 'film.webp'}"]) == 0
    train.make_film(tmp_path / "one")
    assert (tmp_path / "one/film.webp").stat().st_size < 10_000


def test_a_run_without_pictures_or_with_a_broken_one_has_no_film(runs, tmp_path, capsys):
    train.make_film(tmp_path)
    (tmp_path / "one/samples/step_00000020.png").write_bytes(b"cut off")
    train.make_film(tmp_path / "one")
    assert capsys.readouterr().out.count("NOTE: no film was made") == 2 and not (tmp_path / "one/film.webp").exists()


def test_side_by_side_rows_are_runs_and_columns_updates_that_all_have(runs, tmp_path):
    output = tmp_path / "strip.png"
    assert film.main([*runs, f"--output={output}", "--columns=3", "--side=40", "--labels=K = 0,K = 5"]) == 0
    sheet = np.asarray(Image.open(output)).astype(int)
    found = {tuple(color) for color in sheet.reshape(-1, 3) if color[2] == 0}
    # The first, the last that both have, and one between them.
    assert {color[0] for color in found} in ({0, 20, 50}, {0, 30, 50}) and {color[1] for color in found} == {100, 200}
    first, last = ((sheet == (step, 100, 0)).all(axis=2) for step in (0, 50))
    assert np.nonzero(first)[1].max() < np.nonzero(last)[1].min()
    above, below = ((sheet == (0, green, 0)).all(axis=2) for green in (100, 200))
    assert np.nonzero(above)[0].max() < np.nonzero(below)[0].min()


def test_the_last_picture_alone(runs, tmp_path):
    assert film.main([*runs, f"--output={tmp_path / 'last.png'}", "--columns=1", "--side=40"]) == 0
    colors = {tuple(color) for color in np.asarray(Image.open(tmp_path / "last.png")).reshape(-1, 3)}
    assert {color for color in colors if color[2] == 0} == {(50, 100, 0), (50, 200, 0)}


def test_only_pictures_of_updates_are_frames_and_a_broken_one_is_named(runs, tmp_path, capsys):
    samples = tmp_path / "one" / "samples"
    for name in ("step_x.png", "step_.png", "mine.png"):
        (samples / name).write_bytes(b"not mine to read")
    assert list(film.pictures(tmp_path / "one")) == [0, 10, 20, 30, 40, 50]
    assert film.main([runs[0]]) == 0
    (samples / "step_00000020.png").write_bytes(b"cut off")
    assert film.main([runs[0]]) == film.main([*runs, f"--output={tmp_path / 'strip.png'}"]) == 2
    assert capsys.readouterr().err.count("step_00000020.png is no readable picture: delete it") == 2


def test_what_makes_no_film_is_refused(runs, tmp_path, capsys):
    for arguments, said in (
        (runs, "a film is of one run, here are 2: give --output=FILE.png"),
        ([runs[0], "--output=x.mp4"], "--output=x.mp4 is neither a .webp, .gif nor a .png file"),
        ([str(tmp_path)], "there are no pictures in"),
        ([*runs, "--output=x.png", "--labels=a"], "--labels=a are 1, and there are 2 runs"),
        ([runs[0], "--seconds=nan"], "--seconds=nan: expected a number from 0.1"),
        ([runs[0], "--columns=0"], "--columns=0: expected a number from 1"),
    ):
        assert film.main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_level_lines_are_the_discriminators(tmp_path):
    config = tiny()
    config.epochs = 1
    if "packing" in technique.known():
        config.techniques.packing.enabled = True
    train.run(config, tmp_path / "run")
    built = experiment.build(config)
    state = built.engine.initialize(1)
    points = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    found = landscape.ask(built, state, 0, points)
    assert found.shape == (2, 6) and not np.allclose(found[0], found[1])
    # By hand, of a net of one hidden layer: the logit of each point alone, of a pack the point twice.
    for replica in range(2):
        params = state.discriminator.params
        hidden, last = params["Hidden_0"]["WeightLayer_0"], params["WeightLayer_0"]
        inputs = np.tile(points, 2) if hidden["kernel"].shape[1] == 4 else points
        features = np.maximum(inputs @ np.asarray(hidden["kernel"][replica]) + hidden["bias"][replica], 0)
        expected = features @ np.asarray(last["kernel"][replica]) + last["bias"][replica]
        np.testing.assert_allclose(found[replica], np.asarray(expected)[:, 0], atol=1e-5)
    assert landscape.main([f"--workdir={tmp_path / 'run'}"]) == 0
    picture = np.asarray(Image.open(tmp_path / "run/landscape.png"))
    assert picture.ndim == 3 and picture.std() > 5


def test_level_lines_of_images_are_refused(small, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    workdir.write(tmp_path / "run/config.json", plain(small))
    assert landscape.main([f"--workdir={tmp_path / 'run'}"]) == 2
    assert "is a run on images, and level lines are drawn of points" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["minibatch_discrimination", "minibatch_stddev"])
def test_level_lines_of_a_discriminator_that_compares_points_are_refused(name, tmp_path, capsys, monkeypatch):
    """A grid as one batch would be another game, and ten replicas' distances of all pairs some 80 GB."""
    config = tiny()
    config.techniques[name].enabled = True
    (tmp_path / "run").mkdir()
    workdir.write(tmp_path / "run/config.json", plain(config))
    monkeypatch.setattr(landscape, "ask", lambda *arguments: pytest.fail("the grid was judged as one batch"))
    assert landscape.main([f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert f"compares the points of a batch ({name})" in error and "igan.film" in error and error.count("\n") == 1
