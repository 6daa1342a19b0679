"""Images from a checkpoint: the same in every form they are written in, and those that scores look at."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igan import memory, sample
from igan.evaluate import restore
from igan.layers.interpolation import slerp
from igan.metrics import images
from igan.metrics.extract import FeatureNetwork
from igan.run import drawing, experiment, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from tests.run.test_train import game

    config = game()
    config.replicas, config.epochs, config.batch_size = 2, 1, 200
    config.checkpoint.interval = config.reporting.samples_interval = 20
    config.evaluation.interval = 1000
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
        (["--interpolate=1"], "--interpolate=1: expected 2 to 100 images a row"),
        (["--nearest", "--interpolate"], "--nearest is a picture of samples"),
        (["--nearest", "--output=x.npz"], "--nearest is a picture of samples"),
    ],
)
def test_mistakes_are_one_line(run, arguments, message, capsys):
    before = set(Path.cwd().iterdir())
    assert sample.main([f"--workdir={run[1]}", *arguments]) == 2
    assert set(Path.cwd().iterdir()) == before
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_row_goes_from_one_image_to_the_next(run, tmp_path):
    config, folder = run
    assert sample.main([f"--workdir={folder}", "--interpolate=4", "--count=7"]) == 0  # Whole rows: two.
    with Image.open(folder / "interpolations.png") as file:
        picture = np.asarray(file).astype(int)
    assert picture.shape == (2 * 29 - 1, 4 * 29 - 1)
    built = experiment.build(config)
    drawn = drawing.make_draw(built)(restore(folder, built, best=False)[1], 0, 4).read(0, 4)[..., 0].astype(int)
    for number, (row, column) in enumerate(((0, 0), (0, 3), (1, 0), (1, 3))):
        found = picture[29 * row : 29 * row + 28, 29 * column : 29 * column + 28]
        assert np.abs(found - drawn[number]).max() <= 1
    between = [picture[:28, 29 * column : 29 * column + 28] for column in range(4)]
    steps = [np.abs(one - other).mean() for one, other in itertools.pairwise(between)]
    assert 0 < max(steps) < np.abs(between[0] - between[3]).mean()


def test_latents_between_normal_ones_are_on_their_circle(random):
    start, end = random.normal(size=(2, 5, 7)).astype(np.float32)
    lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (start, end)]
    start, end = start / lengths[0], end / lengths[1]
    for share in (0.0, 0.25, 1.0):
        curved = slerp(3 * start, 5 * end, np.full(5, share, np.float32))
        for row, (one, other) in enumerate(zip(np.float64(start), np.float64(end), strict=True)):
            angle = np.arccos(one @ other)
            expected = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * other) / np.sin(angle)
            np.testing.assert_allclose(curved[row], (3 + 2 * share) * expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(slerp(start, -start, np.full(5, 0.5, np.float32))).all()


def test_what_was_learnt_by_heart_is_found(run, monkeypatch, capsys):
    """Samples that are training images are their own neighbours, by pixels and by features."""
    config, folder = run
    built = experiment.build(config)
    chosen = [5, 99, 2000]
    samples = np.repeat(built.dataset.train_images[chosen], 3, axis=-1)
    halves = lambda images, levels: {level: images[:, ::2, ::2].reshape(len(images), -1) / 1.0 for level in levels}  # noqa: E731
    network = FeatureNetwork("halves", ("classifier",), {}, lambda params, images, levels: halves(images, levels))
    monkeypatch.setattr(memory, "_features", lambda built: (network, "classifier"))
    by_pixels, by_features = memory.compare(config, built, samples)
    for found in (by_pixels, by_features):
        np.testing.assert_array_equal(found.images[:, 0], samples)
        assert found.distance == 0 and found.of_test and found.of_test > 0
    assert by_pixels.by == "pixels" and by_features.by == "features of halves"
    monkeypatch.setattr(memory, "_features", lambda built: None)
    assert sample.main([f"--workdir={folder}", "--nearest", "--count=3"]) == 0
    said = capsys.readouterr().out
    assert "mean distance to the nearest training image, by pixels: " in said and "; of test images: " in said
    with Image.open(folder / "nearest.png") as picture:
        assert picture.width == 56 + memory.GAP + 5 * 57 - 1 and picture.height > 3 * 57
