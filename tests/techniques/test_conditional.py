"""Class-conditional games: what the layers compute, by hand, and who is refused beside whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan import models
from igan.config import default, validate
from igan.data import space
from igan.data.dataset import Dataset
from igan.errors import UserError
from igan.game import technique
from igan.game.view import context
from igan.layers.batch_norm import BatchNorm
from igan.layers.conditional_batch_norm import ConditionalBatchNorm, LinearBatchNorm
from igan.layers.heads import ClassifierHead, ProjectionHead
from igan.layers.spectral_norm import SpectralNormLayer
from igan.layers.weights import WeightLayer
from igan.run import experiment
from igan.techniques.auxiliary_classifier import cross_entropy
from igan.types import Critique
from tests.contexts import at, turn
from tests.models.inspection import count

CLASSES = 10
SMALL = {"latent_size": 3, "generator_widths": (4, 3), "discriminator_widths": (3, 4), "discriminator_halvings": 1}


def one_hot(*labels, classes=CLASSES):
    return jax.nn.one_hot(jnp.array(labels), classes)


def load(names, side=32, family="resnet", **settings):
    configs = {each: technique.defaults(each) | {"enabled": True} for each in names}
    if "spectral_norm" in names:
        configs["spectral_norm"]["players"] = settings.pop("players", "discriminator")
    layers = technique.layers(technique.load(configs))
    networks = models.load({"name": family, **settings}, space.images((side, side, 3)), None, layers)
    return networks._replace(classes=CLASSES)


def shapes(network, *inputs):
    given = at(labels=one_hot(*range(inputs[0])))
    return jax.eval_shape(lambda inputs: network.init(given, inputs), jax.ShapeDtypeStruct(inputs, jnp.float32))


def vectors(variables):
    """How many power iterations there are."""
    paths = jax.tree_util.tree_flatten_with_path(variables)[0]
    return sum(path[-1].key == "u" for path, _ in paths)


def test_sizes_are_the_papers():
    """SNGAN's of 32 pixels with ten classes; the twelfth vector is of the table of classes, none in the generator."""
    networks = load(["conditional_batch_norm", "projection", "spectral_norm"])
    params, variables = shapes(networks.generator, 2, 128)
    assert count(params) == 4_304_387 and vectors(variables) == 0
    params, variables = shapes(networks.discriminator, 2, 32, 32, 3)
    assert count(params) == 1_055_104 and vectors(variables) == 12
    assert params["ProjectionHead_0"]["SpectralNormLayer_0"]["kernel"].shape == (10, 128)


def test_the_last_normalisation_knows_no_class():
    params, _ = shapes(load(["conditional_batch_norm"], **SMALL).generator, 2, 3)
    block = params["UpBlock_0"]
    assert block["ConditionalBatchNorm_0"]["scale"].shape == (10, 4)
    assert block["ConditionalBatchNorm_1"]["shift"].shape == (10, 3)
    assert params["BatchNorm_0"]["scale"].shape == (3,)


@pytest.mark.parametrize("family", ["dcgan", "fully_connected"])
def test_other_families_are_conditional_too(family):
    settings = {"dcgan": {"generator_widths": (3, 2), "discriminator_widths": (2, 3)}}.get(family, {})
    networks = load(["conditional_batch_norm", "projection"], 8, family, **settings)
    generator, _ = shapes(networks.generator, 2, 100)
    assert generator["ConditionalBatchNorm_1"]["scale"].shape[0] == 10
    discriminator, _ = shapes(networks.discriminator, 2, 8, 8, 3)
    assert "ProjectionHead_0" in discriminator


def test_each_class_has_a_scale_and_a_shift_of_its_own(random):
    inputs = random.normal(1, 2, (4, 3, 3, 5)).astype(np.float32)
    labels, scale, shift = [0, 2, 2, 1], random.normal(size=(3, 5)), random.normal(size=(3, 5))
    given = at(labels=one_hot(*labels, classes=3))
    params = {"scale": jnp.float32(scale), "shift": jnp.float32(shift)}
    outputs, after = ConditionalBatchNorm().apply(
        {"params": params, "statistics": {"PlainBatchNorm_0": {"mean": jnp.zeros(5), "variance": jnp.ones(5)}}},
        inputs,
        given,
        mutable=["statistics"],
    )
    wide = np.float64(inputs)
    mean, variance = wide.mean(axis=(0, 1, 2)), wide.var(axis=(0, 1, 2))  # Of all classes together.
    normal = (wide - mean) / np.sqrt(variance + 1e-5)
    expected = np.stack([each * scale[y] + shift[y] for each, y in zip(normal, labels, strict=True)])
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["statistics"]["PlainBatchNorm_0"]["variance"], variance, rtol=1e-5)


def test_it_starts_as_the_plain_one(random):
    inputs, given = jnp.float32(random.normal(size=(4, 3, 3, 5))), at(labels=one_hot(0, 1, 2, 3))
    plain = BatchNorm().init_with_output(jax.random.key(0), inputs, at())[0]
    for module in (ConditionalBatchNorm(), LinearBatchNorm(kernel_init=jax.nn.initializers.zeros)):
        outputs, variables = module.init_with_output(jax.random.key(0), inputs, given)
        np.testing.assert_allclose(outputs, plain, atol=1e-6)
        assert jax.tree.leaves(variables["params"])[0].shape == (10, 5)


def said(features):
    return Critique(jnp.arange(1.0, len(features) + 1), features)


def test_the_projection_is_the_product_with_the_vector_of_the_class(random):
    features, table = jnp.float32(random.normal(size=(3, 4))), jnp.float32(random.normal(size=(10, 4)))
    given = at(labels=one_hot(7, 0, 7))
    params = {"params": {"WeightLayer_0": {"kernel": table}}}
    judged = ProjectionHead(WeightLayer).apply(params, said(features), features, given)
    expected = [index + 1 + np.dot(table[y], features[index]) for index, y in enumerate((7, 0, 7))]
    np.testing.assert_allclose(judged.logits, expected, rtol=1e-5)


def test_the_table_is_normalised_as_one_matrix(random):
    features = jnp.float32(random.normal(size=(3, 4)))
    head, given = ProjectionHead(SpectralNormLayer), at(labels=one_hot(7, 0, 7))
    variables = head.init(jax.random.key(0), said(features), features, given)
    for _ in range(100):
        judged, after = head.apply(variables, said(features), features, given, mutable=["averages"])
        variables = {**variables, **after}
    table = np.float64(variables["params"]["SpectralNormLayer_0"]["kernel"])
    table /= np.linalg.svd(table)[1][0]
    expected = [index + 1 + np.dot(table[y], features[index]) for index, y in enumerate((7, 0, 7))]
    np.testing.assert_allclose(judged.logits, expected, rtol=1e-4)


def test_the_classifier_leaves_the_logit_of_real_alone_and_is_not_told_the_label(random):
    features = jnp.float32(random.normal(size=(3, 4)))
    head = ClassifierHead(WeightLayer)
    params = head.init(jax.random.key(0), said(features), features, at(labels=one_hot(0, 0, 0)))
    one, other = (head.apply(params, said(features), features, at(labels=one_hot(*y))) for y in ([0, 1, 2], [5, 5, 5]))
    np.testing.assert_array_equal(one.logits, [1, 2, 3])
    np.testing.assert_array_equal(one.class_logits, other.class_logits)
    assert one.class_logits.shape == (3, 10)


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    np.testing.assert_allclose(cross_entropy(logits, jnp.array([0, 1])), -(np.log(0.5) + np.log(0.1)) / 2, rtol=1e-6)


def test_labels_of_generated_images_follow_the_setting():
    real = jnp.zeros(2000, jnp.int32)
    drawn = {name: make(5)(jax.random.key(0), real) for name, make in technique.GENERATED_LABELS.items()}
    np.testing.assert_array_equal(drawn["data"], real)
    shares = np.bincount(drawn["uniform"], minlength=5) / 2000
    np.testing.assert_allclose(shares, 0.2, atol=0.04)
    assert drawn["uniform"].dtype == real.dtype and len(shares) == 5


def test_networks_with_labels_may_be_asked_without():
    """A test error is of a discriminator that is not told the class."""
    networks = load(["conditional_batch_norm"], **SMALL)
    assert context(networks, jax.random.key(0), turn()).labels is None


def config_of(*names, labels_per_class=0, **techniques):
    config = default("resnet")
    config.networks.update(SMALL)
    config.labels_per_class, config.batch_size = labels_per_class, 4
    for name in ("non_saturating", *names):
        config.techniques[name].enabled = True
    return config


def data_of(classes):
    images, labels = np.zeros((8, 32, 32, 3), np.uint8), np.arange(8, dtype=np.int32) % classes
    return Dataset("images", images, labels, images, labels, classes, "here")


@pytest.mark.parametrize(
    ("names", "labels_per_class", "classes", "message"),
    [
        (["projection"], 2, 4, "projection needs the label of every image: set --config.labels_per_class=0"),
        (["projection"], 0, 1, "images has one class, and projection needs two or more"),
        (["projection", "semi_supervised"], 0, 4, "finds? the class, of K . 1, and projection tells it"),
        (["auxiliary_classifier", "semi_supervised"], 0, 4, "apart from that of real"),
        (["auxiliary_classifier", "projection"], 0, 4, "both want to be the networks' discriminator_head"),
        (["conditional_batch_norm", "packing"], 0, 4, "a pack of several images has none"),
    ],
)
def test_what_cannot_be_is_refused(names, labels_per_class, classes, message):
    config = config_of(*names, labels_per_class=labels_per_class)
    with pytest.raises(UserError, match=message) as refused:
        validate(config)
        experiment.compose(config, data_of(classes))
    assert "\n" not in str(refused.value) and "--config." in str(refused.value)


def test_semi_supervised_learning_beside_a_conditional_generator_knows_all_labels():
    config = config_of("conditional_batch_norm", "semi_supervised")
    validate(config)
    _, networks, seen = experiment.compose(config, data_of(4))
    assert seen == "all" and networks.classes == 4 and "class_logits" in networks.gives


def test_the_setting_of_labels_is_checked():
    config = config_of("projection")
    config.generated_labels = "none"
    with pytest.raises(UserError, match=r"config.generated_labels is none, expected data or uniform"):
        validate(config)
