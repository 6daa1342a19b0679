"""The command line: two folders, array files and TFDS splits in; lines for a paper or JSON out; exit codes."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import igan.metrics.__main__ as command
from igan.metrics import inception
from igan.metrics.extract import FeatureNetwork


def apply(params, images, levels):
    flat = images.reshape(len(images), -1).astype(jnp.float32)
    outputs = {"2048": flat[:, :6], "logits_unbiased": flat[:, 6:16] / 16}
    return {level: outputs[level] for level in levels}


@pytest.fixture(autouse=True)
def same_compilation_cache(monkeypatch):
    monkeypatch.setattr(command.cache, "keep_compiled_programs", lambda folder: None)


@pytest.fixture
def folders(tmp_path, random):
    """Two folders of 40 and 30 PNGs."""
    for name, count in (("samples", 40), ("real", 30)):
        (tmp_path / name).mkdir()
        for index, pixels in enumerate(random.integers(0, 256, (count, 4, 4, 3), np.uint8)):
            Image.fromarray(pixels).save(tmp_path / name / f"{index:02}.png")
    return str(tmp_path / "samples"), str(tmp_path / "real")


@pytest.fixture
def toy(monkeypatch):
    """A network so small that it can stand in for the one whose weights are not at hand."""
    network = FeatureNetwork("toy net", ("2048", "logits_unbiased"), {}, apply)
    monkeypatch.setattr(command.weights, "load", lambda path: path)
    monkeypatch.setattr(command.inception, "network", lambda *options: network)


def test_two_folders_give_every_score_with_its_protocol(folders, toy, capsys):
    assert command.main(list(folders)) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["inception_score", "fid", "kid", "precision", "recall"]
    number = r"-?[\d.e+-]+"
    assert re.fullmatch(
        rf"inception_score: {number} ± {number} \(ten-splits: 40 images in order, 10 splits; .*\)", lines[0]
    )
    assert re.fullmatch(
        rf"fid: {number} \(40 against 30 images, .*toy net, 2048-d features; reference real\)", lines[1]
    )
    assert "note: a Fréchet distance of only 30 images is far too large" in output.err


def test_what_makes_numbers_mean_little_is_told(folders, toy, tmp_path, random, capsys):
    for label in ("cat", "dog"):
        (tmp_path / "sorted" / label).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 256, (5, 6, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "sorted" / label / f"{number}.png")
    assert command.main([str(tmp_path / "sorted"), folders[1], "--scores=inception_score, fid"]) == 0
    error = capsys.readouterr().err
    assert "note: sorted is 6x5 and real is 4x4" in error
    assert "note: sorted is read folder by folder" in error
    assert "note: an Inception score of only 2 images a split for 10 classes" in error


def test_json_holds_the_same_numbers(folders, toy, capsys):
    assert command.main([*folders, "--scores=kid,density_coverage", "--kid_subset_size=9", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert list(scores) == ["kid", "density", "coverage"]
    assert scores["kid"]["std"] > 0 and "100 subsets of 9" in scores["kid"]["protocol"]
    assert scores["coverage"]["std"] is None and 0 <= scores["coverage"]["value"] <= 1


def test_one_set_gives_the_inception_score(folders, toy, capsys):
    assert command.main([folders[0], "--shuffle_seed=3", "--inception_score_protocol=one-split"]) == 0
    assert "(one-split: 40 images shuffled by seed 3, 1 split; toy net, samples)" in capsys.readouterr().out


def test_array_files_and_tfds_splits(folders, toy, tmp_path, random, monkeypatch, capsys):
    import igan.data

    pixels = random.integers(0, 256, (30, 4, 4, 3), np.uint8)
    np.save(tmp_path / "samples.npy", pixels)

    class Dataset:
        train_images, test_images = pixels, pixels[:20]

    asked = []
    monkeypatch.setattr(igan.data, "load", lambda *arguments: asked.append(arguments) or Dataset)
    arguments = [str(tmp_path / "samples.npy"), "tfds:cifar10/test", "--scores=fid", "--data_dir=/data"]
    assert command.main(arguments) == 0
    assert asked == [("cifar10", "tfds", "/data")]
    assert "30 against 20 images" in (printed := capsys.readouterr().out) and "reference cifar10 test" in printed
    assert command.main([arguments[0], "tfds:cifar10"]) == 2
    assert "write tfds:cifar10/train" in capsys.readouterr().err


def test_without_weights_it_says_how_to_fetch_them(folders, capsys):
    assert command.main(list(folders)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there are no Inception weights at ") and "python -m igan.metrics.fetch" in error
    assert error.count("\n") == 1 and error.endswith("or give a file with --weights\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/folder"], "there is no /no/such/folder"),
        (["{0}", "/no/such/folder"], "there is no /no/such/folder"),
        (["{0}", "tfds:cifar10/train", "--data_dir=/no/such"], "/no/such does not exist: correct --data_dir"),
        (["{0}", "{1}", "--scores=fdi"], "unknown score 'fdi'. Did you mean 'fid'?"),
        (["{0}", "{1}", "--resize=bilinaer"], "unknown resize"),
        (["{0}", "{1}", "--precision=float23"], "unknown precision 'float23'. Did you mean 'float32'?"),
    ],
)
def test_what_was_typed_comes_before_the_weights_that_are_missing(folders, capsys, arguments, message):
    assert command.main([argument.format(*folders) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no nowhere"),
        (["{0}", "{1}", "--scores=fid,isc"], "unknown score 'isc'"),
        (["{0}", "--scores=fid"], "fid compare two sets"),
        (["{0}", "{1}", "--level=123"], "has no features '123'"),
        (["", "{1}"], "an empty name for images"),
        (["{0}", "{1}", "--inception_score_protocol=openai-is"], "defined for 50,000 images, here are 40"),
    ],
)
def test_errors_are_one_line_and_exit_code_two(folders, toy, capsys, arguments, message):
    assert command.main([argument.format(*folders) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


def test_a_trunk_gives_distances_that_are_labelled_as_such(folders, tmp_path, random, capsys):
    arrays = {name: random.normal(size=shape) / 8 for name, shape in inception.shapes(["64"]).items()}
    arrays = {
        name.replace("kernel", "w").replace("bias", "b"): array.astype(np.float16) for name, array in arrays.items()
    }
    np.savez(tmp_path / "trunk.npz", **arrays)
    options = [f"--weights={tmp_path / 'trunk.npz'}", "--level=64"]
    few = [str(tmp_path / "few")]
    (tmp_path / "few").mkdir()
    for index in range(4):
        (tmp_path / "few" / f"{index}.png").write_bytes((tmp_path / "samples" / f"0{index}.png").read_bytes())
    assert command.main([*few, *few, *options, "--scores=fid"]) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(
        r"fid_64: \d\S* \(4 against 4 images, .*inception-2015-12-05 trunk, weights \w{8}, .*\)\n", line
    )
    assert "tf1-bilinear to 299, float32, 64-d features; reference few" in line
    assert float(line.split()[1]) < 1e-6
    assert command.main([*few, *options]) == 2
    assert "nothing to compute from one set and a part of the network" in capsys.readouterr().err
    assert command.main([*few, *options, "--scores=inception_score"]) == 2
    assert "needs the whole network" in capsys.readouterr().err
