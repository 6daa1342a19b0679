"""BigGAN's networks, and SAGAN's: sizes, what is normalised, pieces of a latent, averages and sampling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import inference, optimizer, step, technique
from igan.layers.orthogonal import orthogonal_kernel
from igan.layers.truncation import truncate
from igan.types import Batch, Examples
from tests.contexts import at, turn
from tests.models.inspection import assert_nearly_the_same, count

SMALL = {
    "piece_size": 2,
    "embedding_size": 3,
    "generator_widths": (8, 8, 8),
    "discriminator_widths": (8, 8),
    "discriminator_halvings": 1,
}
BIG = {
    "generator_widths": (1536, 1536, 768, 384, 192, 96),
    "discriminator_widths": (96, 192, 384, 768, 1536, 1536),
    "discriminator_halvings": 5,
}
SAGAN = {
    "generator_widths": (1024, 1024, 512, 256, 128, 64),
    "discriminator_widths": (64, 128, 256, 512, 1024, 1024),
    "discriminator_halvings": 5,
    "discriminator_wide": True,
    "last_bias": True,
}
CLASSES = 4


def load(family, side, attention=None, names=("projection", "spectral_norm"), **settings):
    configs = {name: technique.defaults(name) | {"enabled": True} for name in names}
    if "spectral_norm" in configs:
        configs["spectral_norm"]["players"] = "both"
    if attention:
        own = {"enabled": True, "generator_resolution": attention, "discriminator_resolution": attention}
        configs["self_attention"] = technique.defaults("self_attention") | own
    if family == "resnet":
        configs["conditional_batch_norm"] = {"enabled": True}
    layers = technique.layers(technique.load(configs))
    return models.load({"name": family, **settings}, space.images((side, side, 3)), None, layers)


def shapes(network, classes, *shape):
    given = at(labels=jnp.zeros((shape[0], classes)))
    return jax.eval_shape(lambda inputs: network.init(given, inputs), jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.parametrize(
    ("family", "settings", "side", "classes", "latent", "attention", "expected"),
    [
        ("biggan", {}, 32, 10, 80, 16, (9_416_196, 2_415_170)),  # StudioGAN's log.
        ("biggan", BIG, 128, 1000, 120, 64, (70_433_988, 87_982_370)),  # compare_gan's documentation.
        ("resnet", {"last_bias": True}, 32, 10, 128, 16, (4_386_308, 1_075_586)),  # StudioGAN's log of SAGAN.
        ("resnet", SAGAN, 128, 1000, 128, 32, (42_078_852, 39_463_618)),
    ],
    ids=["biggan 32", "biggan 128", "sagan 32", "sagan 128"],
)
def test_networks_have_the_published_number_of_parameters(family, settings, side, classes, latent, attention, expected):
    networks = load(family, side, attention, **settings)
    assert count(shapes(networks.generator, classes, 2, latent)[0]) == expected[0]
    assert count(shapes(networks.discriminator, classes, 2, side, side, 3)[0]) == expected[1]
    assert networks.sample_latents(jax.random.key(0), 2).shape == (2, latent)


def test_all_kernels_are_normalised_but_not_the_table_of_classes():
    networks = load(
        "biggan",
        16,
        16,
        names=["projection", "spectral_norm"],
        **SMALL | {"discriminator_widths": (8,), "discriminator_halvings": 0},
    )
    for network, shape in ((networks.generator, (2, 6)), (networks.discriminator, (2, 16, 16, 3))):
        params, variables = shapes(network, CLASSES, *shape)
        kernels = {
            jax.tree_util.keystr(path[:-1])
            for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]
            if path[-1].key == "kernel"
        }
        vectors = {
            jax.tree_util.keystr(path[:-1])
            for path, _ in jax.tree_util.tree_flatten_with_path(variables["averages"])[0]
        }
        assert kernels == vectors
    params, _ = shapes(networks.generator, CLASSES, 2, 6)
    assert params["embedding"].shape == (CLASSES, 3)
    # Gains and shifts: of the class's vector and of a piece, without a bias.
    assert shapes(networks.discriminator, CLASSES, 2, 16, 16, 3)[0]["ProjectionHead_0"]["SpectralNormLayer_0"][
        "kernel"
    ].shape == (CLASSES, 8)
    norm = params["UpBlock_0"]["LinearBatchNorm_0"]
    assert {name: {key: leaf.shape for key, leaf in each.items()} for name, each in norm.items()} == {
        "SpectralNormLayer_0": {"kernel": (5, 8)},
        "SpectralNormLayer_1": {"kernel": (5, 8)},
    }


@pytest.fixture(scope="module")
def small():
    networks = load("biggan", 16, names=["projection"], **SMALL)
    latents = networks.sample_latents(jax.random.key(1), 6)
    hot = jax.nn.one_hot(jnp.arange(6) % CLASSES, CLASSES)
    params, variables = jax.jit(lambda latents: networks.generator.init(at(labels=hot), latents))(latents)
    return networks._replace(classes=CLASSES), params, variables, latents


def test_a_piece_of_the_latent_changes_its_block_and_no_earlier_one(small):
    """Piece 0 all of them; piece i the blocks from i on."""
    import flax.linen as nn

    from igan.layers.residual import UpBlock
    from igan.models import biggan

    _, params, variables, latents = small
    module = biggan.Generator((8, 8, 8), 3, orthogonal_kernel, 1e-4, (16, 16, 3), float)
    hot = jax.nn.one_hot(jnp.arange(6) % CLASSES, CLASSES)

    def blocks(latents):
        _, kept = module.apply(
            {"params": params, **variables},
            latents,
            at(train=True, labels=hot),
            mutable=True,
            capture_intermediates=lambda each, name: isinstance(each, UpBlock) and isinstance(each, nn.Module),
        )
        found = kept["intermediates"]
        return [found[f"UpBlock_{index}"]["__call__"][0] for index in range(2)]

    before = blocks(latents)
    for piece, changed in ((0, [True, True]), (1, [True, True]), (2, [False, True])):
        after = blocks(latents.at[:, 2 * piece : 2 * piece + 2].add(1.0))
        assert [bool(jnp.any(one != other)) for one, other in zip(before, after, strict=True)] == changed


def test_without_labels_it_is_not_told_a_class():
    networks = load("biggan", 16, names=[], **SMALL)
    params, _ = jax.eval_shape(lambda latents: networks.generator.init(at(), latents), jnp.zeros((2, 6)))
    assert "embedding" not in params and params["UpBlock_0"]["LinearBatchNorm_0"]["WeightLayer_0"]["kernel"].shape == (
        2,
        8,
    )


def test_kernels_are_orthogonal():
    for shape in ((3, 3, 4, 8), (2, 16), (7, 3)):
        matrix = np.asarray(orthogonal_kernel(jax.random.key(0), shape)).reshape(-1, shape[-1])
        small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-5)


@pytest.mark.parametrize("initializer", ["orthogonal", "normal"])
def test_all_kernels_and_the_table_of_both_networks_start_as_they_should(initializer):
    hot = jax.nn.one_hot(jnp.arange(2), CLASSES)
    settings = {"generator_widths": (8, 8), "discriminator_widths": (8,), "discriminator_halvings": 0}
    networks = load("biggan", 8, 8, **SMALL | settings, initializer=initializer)
    seen = 0
    for network, shape in ((networks.generator, (2, 4)), (networks.discriminator, (2, 8, 8, 3))):
        params = jax.jit(lambda network=network, shape=shape: network.init(at(labels=hot), jnp.zeros(shape))[0])()
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
            if path[-1].key in ("kernel", "embedding"):
                matrix = np.float64(leaf).reshape(-1, leaf.shape[-1])
                seen += matrix.size
                if initializer == "orthogonal":
                    small = matrix.T @ matrix if len(matrix) >= matrix.shape[1] else matrix @ matrix.T
                    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-5, err_msg=str(path))
                elif matrix.size >= 64:
                    assert matrix.std() == pytest.approx(0.02, rel=0.35), path
    assert seen > 2500


@pytest.mark.parametrize("threshold", [0.04, 0.5, 1.0, 2.0])
def test_truncated_numbers_are_those_drawn_again(threshold):
    """Not cut off, not made smaller: 0.540 is the standard deviation at 1, as of a rejection sampler."""
    drawn = np.asarray(truncate(jax.random.normal(jax.random.key(0), (100_000,)), threshold))
    assert np.abs(drawn).max() <= threshold
    assert np.mean(np.abs(drawn) > 0.999 * threshold) < 0.002
    numbers = np.random.default_rng(0).normal(size=4_000_000)
    expected = numbers[np.abs(numbers) <= threshold]
    np.testing.assert_allclose(drawn.std(), expected.std(), rtol=0.01)
    np.testing.assert_allclose(
        np.quantile(drawn, [0.1, 0.3, 0.8]), np.quantile(expected, [0.1, 0.3, 0.8]), atol=0.02 * threshold
    )
    if threshold == 1.0:
        np.testing.assert_allclose(drawn.std(), 0.540, atol=0.003)


def test_truncation_is_of_sampling_alone_and_statistics_belong_to_it(small):
    networks, params, variables, latents = small
    frozen = {}
    for name, options in (("plain", {}), ("cut", {"truncation": 0.1})):
        labels = jnp.arange(50) % CLASSES
        freeze = functools.partial(inference.freeze, networks, params, variables, turn(), jax.random.key(0), 50)
        frozen[name] = jax.jit(lambda freeze=freeze, options=options: freeze(jnp.arange(50) % CLASSES, options))()
    variance = [
        frozen[name]["statistics"]["UpBlock_0"]["LinearBatchNorm_0"]["PlainBatchNorm_0"]["variance"]
        for name in ("cut", "plain")
    ]
    assert np.all(variance[0] < 0.1 * variance[1])
    draw = jax.jit(
        lambda latents, labels, options: inference.sample(
            networks, params, frozen["plain"], turn(), jax.random.key(0), latents, labels, dict(options)
        ),
        static_argnums=2,
    )
    labels = jnp.arange(6) % CLASSES
    whole, cut = draw(latents, labels, ()), draw(latents, labels, (("truncation", 0.5),))
    assert np.abs(whole - cut).max() > 1e-3
    expected = draw(truncate(latents, 0.5), labels, ())
    np.testing.assert_allclose(cut, expected, atol=1e-5)
    np.testing.assert_allclose(draw(latents[:1], labels[:1], ()), whole[:1], atol=1e-5)  # In a batch of any size.
    assert networks.options == {"truncation"}


def test_standing_statistics_are_means_over_passes(small):
    networks, params, variables, _ = small
    labels = jnp.arange(20) % CLASSES

    @functools.partial(jax.jit, static_argnums=0)
    def freeze(passes):
        key = jax.random.key(3)
        return inference.freeze(networks, params, variables, turn(), key, 20, labels, {}, passes)["statistics"]

    once, often = (jax.tree.leaves(freeze(passes)) for passes in (1, 64))
    large = jax.jit(
        lambda: inference.freeze(
            networks, params, variables, turn(), jax.random.key(4), 4000, jnp.arange(4000) % CLASSES
        )["statistics"]
    )()
    far = [
        sum(float(jnp.sum((one - other) ** 2)) for one, other in zip(each, jax.tree.leaves(large), strict=True))
        for each in (once, often)
    ]
    assert far[1] < 0.2 * far[0]


def test_averages_are_the_parameters_until_they_start():
    rate = optimizer.average_rate(1e-4, start=10)
    assert [float(rate(turn(number))) for number in (0, 9)] == [1.0, 1.0]
    np.testing.assert_allclose([rate(turn(number)) for number in (10, 5000)], 1e-4)
    params, average = {"w": jnp.float32([0.1, -3.3])}, {"w": jnp.float32([7.0, 1e-9])}
    after = optax.incremental_update(params, average, rate(turn(9)))
    np.testing.assert_array_equal(after["w"], params["w"])


def test_parts_of_a_batch_give_the_slope_of_the_whole_where_nothing_is_normalised():
    """The discriminator has no batch normalisation; the slope of hinge and projection is a mean over images."""
    techniques = technique.load(
        {name: technique.defaults(name) | {"enabled": True} for name in ("hinge", "projection")}
    )
    networks = models.load(
        {"name": "biggan", **SMALL | {"generator_widths": (4, 4), "discriminator_widths": (4,)}},
        space.images((8, 8, 3)),
        None,
        technique.layers(techniques),
    )
    game = step.Game(networks._replace(classes=CLASSES), techniques, optax.sgd(1.0), optax.sgd(1.0), lambda turn: 1.0)
    random = np.random.default_rng(0)
    images = jnp.asarray(random.uniform(-1, 1, (8, 8, 8, 3)), jnp.float32)
    batch = Batch(Examples(images, jnp.arange(8) % CLASSES))
    state = jax.jit(lambda: step.initialize(game, jax.random.key(0), batch.real))()
    # Generated images of a black generator: the same, whatever the part and its noise.
    generator = state.generator._replace(params=jax.tree.map(jnp.zeros_like, state.generator.params))
    state = state._replace(generator=generator)

    def slope(parts: int):
        parted = game._replace(accumulate=parts)
        look = functools.partial(step.accumulate, step.discriminator_slope, parted)
        return jax.jit(lambda state: look(state, turn(), jax.random.key(1), batch).gradients)(state)

    slopes = [slope(1), slope(4)]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), *slopes)


def test_bfloat16_is_near():
    exact, rough = (
        load("biggan", 16, names=[], precision=precision, **SMALL).generator for precision in ("float32", "bfloat16")
    )
    assert_nearly_the_same(exact, rough, jax.random.normal(jax.random.key(0), (4, 6)))


def test_a_conditional_norm_beside_its_own_is_refused_with_a_reason():
    with pytest.raises(UserError, match=r"'biggan' has a conditional batch norm of its own.*leave.*projection") as told:
        load("biggan", 16, names=["projection", "conditional_batch_norm"], **SMALL)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"piece_size": 0}, "config.networks.piece_size is 0, expected a whole number"),
        ({"embedding_size": 1.5}, "config.networks.embedding_size is 1.5"),
        ({"generator_widths": ()}, "config.networks.generator_widths"),
        ({"discriminator_halvings": 3}, "discriminator_halvings is 3, expected a whole number from 0 to 2"),
        ({"initializer": "glorot"}, "initializer is glorot, expected orthogonal or normal"),
        ({"norm_epsilon": float("nan")}, "norm_epsilon is nan"),
        ({"generator_widths": (8,) * 6}, "16 x 16 pixels do not fit the networks 'biggan'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(UserError, match=message) as refused:
        load("biggan", 16, names=[], **SMALL | settings)
    assert "\n" not in str(refused.value)
