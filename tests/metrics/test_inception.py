"""The whole network against torch-fidelity's on random weights, and the quirks of the 2015 graph."""

import hashlib
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.errors import UserError
from igan.metrics import fetch, inception, torch_file, weights
from igan.metrics.inception import LEVELS, Inception, average_pool, max_pool, network, shapes
from igan.metrics.weights import Weights

TORCH_LEVELS = ["64", "192", "768", "2048", "logits_unbiased", "logits"]


@pytest.fixture(scope="module")
def reference(fidelity, tmp_path_factory):
    """torch-fidelity's network with random weights and running statistics, and the file it was read from."""
    import torch

    extractor = fidelity("feature_extractor_inceptionv3").FeatureExtractorInceptionV3
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        # Its constructor insists on reading a file: the first time that only serves to learn the names.
        patch.setattr(torch, "load", lambda *_, **__: None)
        patch.setattr(extractor, "load_state_dict", lambda *_, **__: None)
        untrained = extractor("untrained", ["2048"], feature_extractor_weights_path="none")
    for module in untrained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.2)  # Keeps activations from dying out over 20 layers.
            module.weight.uniform_(0.8, 1.2)
            module.bias.normal_(0, 0.1)
    untrained.fc.bias.normal_(0, 10)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(untrained.state_dict(), path)
    return extractor("random", TORCH_LEVELS, feature_extractor_weights_path=str(path)), path


def test_every_level_agrees_with_torch_fidelity(reference, random):
    import torch

    theirs, path = reference
    ours = network(Weights("random", "0" * 8, fetch.fold(torch_file.read(path.read_bytes()))))
    assert ours.levels == tuple(LEVELS)
    images = random.integers(0, 256, (2, 40, 32, 3), np.uint8)
    expected = theirs(torch.tensor(images).permute(0, 3, 1, 2))
    features = jax.jit(ours.apply, static_argnums=2)(ours.params, images, tuple(TORCH_LEVELS))
    for level, values in zip(TORCH_LEVELS, expected, strict=True):
        values = values.numpy()
        assert np.abs(values[0] - values[1]).max() > 1e-2 * np.abs(values).max()  # It tells the images apart.
        np.testing.assert_allclose(features[level], values, rtol=1e-4, atol=1e-4 * np.abs(values).max(), err_msg=level)
    bias = ours.params["softmax_bias"]
    np.testing.assert_allclose(features["logits"] - features["logits_unbiased"], [bias, bias], atol=1e-3)


def test_names_and_shapes_are_those_of_the_published_trunk(trunk):
    with np.load(trunk) as archive:
        published = {
            name.replace("/w", "/kernel").replace("/b", "/bias"): archive[name].shape for name in archive.files
        }
    assert shapes(["1280"]) == published
    whole = shapes(list(LEVELS))
    assert whole.items() >= published.items() and len(whole) == 2 * 94 + 2
    assert whole["softmax/kernel"] == (2048, 1008)


def test_average_pool_leaves_the_padding_out(random):
    images = random.normal(size=(1, 5, 4, 2)).astype(np.float32)
    expected = np.empty_like(images)
    for row in range(5):
        for column in range(4):
            window = images[0, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            expected[0, row, column] = window.mean(axis=(0, 1))
    np.testing.assert_allclose(average_pool(jnp.asarray(images)), expected, rtol=1e-5, atol=1e-6)


def test_max_pool_of_the_last_block_keeps_the_size(random):
    images = -1 - random.random(size=(1, 4, 4, 1)).astype(np.float32)  # All negative: padding with zeros would show.
    pooled = np.asarray(max_pool(jnp.asarray(images), strides=1, padding="SAME"))
    assert pooled.shape == images.shape and pooled.max() < 0
    assert pooled[0, 0, 0, 0] == images[0, :2, :2].max() and max_pool(jnp.asarray(images)).shape == (1, 1, 1, 1)


def test_weights_of_another_network_are_named():
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes(["64"]).items()}
    assert network(Weights("part", "0" * 8, arrays)).levels == ("64",)
    wrong = arrays | {"conv_1/kernel": np.zeros((3, 3, 32, 31), np.float32)}
    with pytest.raises(UserError, match=r"'conv_1/kernel' has the shape \(3, 3, 32, 31\) instead of \(3, 3, 32, 32\)"):
        network(Weights("wrong", "0" * 8, wrong))
    del wrong["conv_1/kernel"]
    with pytest.raises(UserError, match="'conv_1/kernel' is missing"):
        network(Weights("wrong", "0" * 8, wrong))
    with pytest.raises(UserError, match="holds no weights of the Inception network"):
        network(Weights("other", "0" * 8, {"dense/kernel": np.zeros((2, 2))}))
    with pytest.raises(UserError, match=r"unknown precision 'bfloat61'\. Did you mean 'bfloat16'"):
        network(Weights("part", "0" * 8, arrays), precision="bfloat61")
    with pytest.raises(UserError, match="unknown resize 'bilinear'"):
        network(Weights("part", "0" * 8, arrays), resize_method="bilinear")


def test_label_quotes_network_weights_resize_and_precision(random):
    arrays = {name: random.normal(size=shape).astype(np.float32) / 5 for name, shape in shapes(["64"]).items()}
    half = network(Weights("inception", "12345678", arrays), "pil-bicubic", "bfloat16")
    assert half.label == "inception, weights 12345678, pil-bicubic to 299, bfloat16"
    images = random.integers(0, 256, (1, 299, 299, 3), np.uint8)
    exact = network(Weights("inception", "12345678", arrays), "pil-bicubic")
    outputs = [np.asarray(net.apply(net.params, images, ("64",))["64"]) for net in (half, exact)]
    assert outputs[0].dtype == np.float32 and not np.array_equal(*outputs)
    np.testing.assert_allclose(*outputs, rtol=0.05, atol=0.05 * np.abs(outputs[1]).max())


def test_levels_beyond_the_last_one_asked_for_are_not_computed():
    image = jax.ShapeDtypeStruct((1, inception.IMAGE_SIZE, inception.IMAGE_SIZE, 3), jnp.float32)
    variables = jax.eval_shape(Inception(("192",)).init, jax.random.key(0), image)
    assert set(variables["params"]) == {"conv", "conv_1", "conv_2", "conv_3", "conv_4"}


@pytest.mark.parametrize("layout", [True, False], ids=["archive", "legacy"])
def test_files_of_both_layouts_give_the_same_network(reference, layout):
    import torch

    buffer = io.BytesIO()
    state = torch.load(reference[1], weights_only=True)
    torch.save(state, buffer, _use_new_zipfile_serialization=layout)
    tensors = torch_file.read(buffer.getvalue())
    assert tensors.keys() == state.keys() and len(tensors) == 566
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensors[name], tensor.numpy())


def test_fetch_from_a_file_folds_and_keeps_the_whole_network(reference, cache, monkeypatch):
    path = reference[1]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(weights, "SOURCE_SHA256", found)
    assert fetch.main([f"--from={path}"]) == 0
    (stored,) = cache.iterdir()
    assert stored.name == f"inception-2015-12-05-{found[:8]}.safetensors" and path.exists()
    loaded = weights.load()
    assert (loaded.name, loaded.digest) == ("inception-2015-12-05", found[:8])
    folded = fetch.fold(torch_file.read(path.read_bytes()))
    assert loaded.arrays.keys() == folded.keys() == shapes(list(LEVELS)).keys()
    for name, array in folded.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
