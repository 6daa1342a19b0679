"""Images from a checkpoint: the same in every form they are written in, and those that scores look at."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igan import sample
from igan.evaluate import restore
from igan.metrics import images
from igan.run import drawing, experiment, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from tests.run.test_train import game

    config = game()
    config.replicas, config.epochs, config.batch_size = 2, 1, 200
    config.evaluation.interval = config.checkpoint.interval = config.reporting.samples_interval = 20
    folder = tmp_path_factory.mktemp("sample") / "run"
    train.run(config, folder)
    return config, folder


def test_every_form_holds_the_same_images(run, tmp_path, capsys):
    config, folder = run
    command = [f"--workdir={folder}", "--count=11", "--replica=1"]
    for output in ("grid.png", "array.npz", "deep/folder"):
        assert sample.main([*command, f"--output={tmp_path / output}"]) == 0
    printed = capsys.readouterr()
    assert f"11 images at update 20 in {tmp_path / 'grid.png'}" in printed.out
    assert f"11 images of 28 x 28 pixels and 1 channel(s), at most 9.46 kB in {tmp_path / 'array.npz'}" in printed.err
    built = experiment.build(config)
    drawn = drawing.make_draw(built)(restore(folder, built, best=False)[1], 1, 11).read(0, 11)[..., :1]
    with np.load(tmp_path / "array.npz") as archive:
        np.testing.assert_array_equal(archive["images"], drawn)
    assert drawn.std() > 0 and not (drawn[0] == drawn[1]).all()
    from_files = images.from_path(tmp_path / "deep" / "folder")
    np.testing.assert_array_equal(from_files.read(0, 11)[..., :1], drawn)
    with Image.open(tmp_path / "grid.png") as file:
        picture = np.asarray(file)
    assert picture.shape == (4 * 28 + 3, 3 * 28 + 2)
    np.testing.assert_array_equal(picture[29:57, 29:57], drawn[4, ..., 0])


def test_the_default_is_a_picture_beside_the_run(run):
    _, folder = run
    assert sample.main([f"--workdir={folder}", "--count=1"]) == 0
    with Image.open(folder / "samples.png") as picture:
        assert picture.size == (28, 28)


def test_a_folder_may_have_a_dot_and_must_be_empty(run, tmp_path, capsys):
    command = [f"--workdir={run[1]}", "--count=2", f"--output={tmp_path / 'rate0.001'}"]
    assert sample.main(command) == 0 and len(list((tmp_path / "rate0.001").iterdir())) == 2
    assert sample.main(command) == 2
    assert "rate0.001 is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output=images.jpg"], "neither a .png nor an .npz file"),
        (["--replica=2"], "a replica from 0 to 1"),
        (["--count=0"], "a count of at least 1"),
        (["--count=10001"], "too many for one picture"),
        (["--count=100000000000", "--output=x.npz"], "--output=x.npz takes up to 81.3 TB, and"),
        (["--count=100000000000", "--output=folder"], "--output=folder takes up to 410 TB, and"),
        (["--best"], "there is no checkpoint in"),
    ],
)
def test_mistakes_are_one_line(run, arguments, message, capsys):
    before = set(Path.cwd().iterdir())
    assert sample.main([f"--workdir={run[1]}", *arguments]) == 2
    assert set(Path.cwd().iterdir()) == before
    assert message in capsys.readouterr().err.splitlines()[-1]
