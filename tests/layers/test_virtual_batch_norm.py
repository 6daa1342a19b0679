"""Virtual batch normalisation against its formula in NumPy, and what it is for: images that ignore each other."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from igan import models
from igan.data import space
from igan.errors import UserError
from igan.game import inference, optimizer, step, technique
from igan.layers.batch_norm import ShiftBatchNorm
from igan.layers.virtual_batch_norm import ReferenceBatch, VirtualBatchNorm
from igan.types import Batch, Batches, Examples
from tests.contexts import at, turn

EPSILON, REFERENCE_SIZE, LATENT_SIZE, BATCH_SIZE = 1e-6, 3, 4, 8
# Without the discriminator's noise, whose generator takes most of the time to compile.
NARROW = {
    "name": "fully_connected",
    "latent_size": LATENT_SIZE,
    "generator_layers": (6, 5),
    "discriminator_layers": (4,),
    "input_noise": 0.0,
    "hidden_noise": 0.0,
}
SHAPES = {"dense": (2,), "convolutional": (2, 3, 2)}

each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def normalise(inputs: np.ndarray, reference_size: int, shift: np.ndarray) -> np.ndarray:
    """The formula of section 3.5: means and mean squares of the reference and of the example, n to 1."""
    inputs = np.float64(inputs)
    features = inputs.shape[-1]
    reference = inputs[:reference_size]
    mean = reference.reshape(-1, features).mean(axis=0)
    square = (reference.reshape(-1, features) ** 2).mean(axis=0)
    outputs = [(reference - mean) / np.sqrt(square - mean**2 + EPSILON)]
    for example in inputs[reference_size:]:
        positions = example.reshape(-1, features)
        mixed_mean = (reference_size * mean + positions.mean(axis=0)) / (reference_size + 1)
        mixed_square = (reference_size * square + (positions**2).mean(axis=0)) / (reference_size + 1)
        outputs.append((example - mixed_mean)[None] / np.sqrt(mixed_square - mixed_mean**2 + EPSILON))
    return np.concatenate(outputs) + shift


def call(module: nn.Module, inputs: jax.Array, shift: np.ndarray) -> tuple[jax.Array, dict]:
    """Outputs in training mode, and the statistics left behind."""
    stale = {"mean": jnp.full(shift.shape, 7.0), "variance": jnp.full(shift.shape, 3.0)}
    variables = {"params": {"shift": jnp.asarray(shift)}, "statistics": stale}
    outputs, left = module.apply(variables, inputs, at(), mutable=["statistics"])
    return outputs, left["statistics"]


@each_shape
def test_reference_and_examples_are_normalised_by_the_formula(random, shape):
    inputs = random.normal(0.5, 2, (REFERENCE_SIZE + 4, *shape)).astype(np.float32)
    shift = random.normal(size=shape[-1]).astype(np.float32)
    outputs, statistics = call(VirtualBatchNorm(REFERENCE_SIZE), inputs, shift)
    assert outputs.dtype == jnp.float32 and outputs.shape == inputs.shape
    np.testing.assert_allclose(outputs, normalise(inputs, REFERENCE_SIZE, shift), rtol=1e-5, atol=1e-5)
    # Outside training the examples come alone, and the statistics of the reference batch are all they need.
    variables = {"params": {"shift": shift}, "statistics": statistics}
    alone = VirtualBatchNorm(REFERENCE_SIZE).apply(variables, inputs[-1:], at(train=False))
    np.testing.assert_allclose(alone, outputs[-1:], rtol=1e-5, atol=1e-5)


@each_shape
def test_a_large_mean_does_not_cancel_a_small_variance(random, shape):
    """In float32 the mean square of these activations is off by more than their variance."""
    inputs = (1e4 + random.normal(0, 1, (REFERENCE_SIZE + 4, *shape))).astype(np.float32)
    outputs, _ = call(VirtualBatchNorm(REFERENCE_SIZE), inputs, np.zeros(shape[-1], np.float32))
    expected = normalise(np.float64(inputs) - 1e4, REFERENCE_SIZE, np.zeros(shape[-1]))
    np.testing.assert_allclose(outputs, expected, atol=5e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_activations_keep_their_precision_and_statistics_are_float32(random, dtype):
    inputs = jnp.asarray(random.normal(3, 1, (REFERENCE_SIZE + 40, 2)), dtype)
    outputs, statistics = call(VirtualBatchNorm(REFERENCE_SIZE), inputs, np.zeros(2, np.float32))
    assert outputs.dtype == dtype
    assert {leaf.dtype for leaf in statistics.values()} == {np.dtype(np.float32)}
    expected = normalise(np.asarray(inputs, np.float64), REFERENCE_SIZE, np.zeros(2))
    np.testing.assert_allclose(np.float64(outputs), expected, rtol=1 / 128, atol=1e-5)


@each_shape
def test_gradients_flow_through_the_reference_batch_too(random, shape):
    """The gradient of sum(weights * examples' outputs), against central differences of the formula, in float64."""
    inputs = random.normal(size=(REFERENCE_SIZE + 2, *shape))
    weights = random.normal(size=(2, *shape))
    shift = np.zeros(shape[-1])

    def slopes(index: int) -> float:
        ends = []
        for size in (1e-5, -1e-5):
            moved = inputs.copy()
            moved.flat[index] += size
            ends.append(np.sum(weights * normalise(moved, REFERENCE_SIZE, shift)[REFERENCE_SIZE:]))
        return (ends[0] - ends[1]) / 2e-5

    expected = np.reshape([slopes(index) for index in range(inputs.size)], inputs.shape)
    assert np.abs(expected[:REFERENCE_SIZE]).max() > 0.05
    with jax.enable_x64(True):

        def loss(inputs: jax.Array) -> jax.Array:
            return jnp.sum(weights * call(VirtualBatchNorm(REFERENCE_SIZE), inputs, shift)[0][REFERENCE_SIZE:])

        gradient = jax.jit(jax.grad(loss))(jnp.asarray(inputs))
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


def largest_change_of_the_first_output(module: nn.Module, inputs: np.ndarray, leading: int) -> float:
    """How much the first example's output changes when the other examples of its batch do."""
    changed = inputs.copy()
    changed[leading + 1 :] = 5 * changed[leading + 1 :] + 3
    shift = np.zeros(inputs.shape[-1], np.float32)
    before, after = (call(module, each, shift)[0][leading] for each in (inputs, changed))
    return float(np.abs(before - after).max())


@each_shape
def test_an_example_does_not_depend_on_the_rest_of_its_batch(random, shape):
    inputs = random.normal(size=(REFERENCE_SIZE + 4, *shape)).astype(np.float32)
    assert largest_change_of_the_first_output(VirtualBatchNorm(REFERENCE_SIZE), inputs, REFERENCE_SIZE) < 1e-6
    # Which is not so with the batch normalisation that it replaces.
    assert largest_change_of_the_first_output(ShiftBatchNorm(), inputs, REFERENCE_SIZE) > 0.1


def load_networks(name: str | None, **settings: int):
    techniques = {} if name is None else technique.load({name: {"enabled": True, **settings}})
    return models.load(NARROW, space.images((2, 2, 1)), None, technique.layers(techniques))


@pytest.fixture(scope="module")
def networks():
    return load_networks("virtual_batch_norm", reference_size=REFERENCE_SIZE)


@pytest.fixture(scope="module")
def generator(networks):
    """The generator's parameters and variables, and latents that it has not seen."""
    latents = networks.sample_latents(jax.random.key(1), 5)
    params, variables = jax.jit(lambda latents: networks.generator.init(at(), latents))(latents)
    return params, variables, networks.sample_latents(jax.random.key(2), BATCH_SIZE)


def generate(networks, train):
    return jax.jit(
        lambda params, variables, key, latents: networks.generator.apply(params, variables, at(key, train), latents)
    )


def test_a_generator_returns_an_image_a_latent_and_is_initialised_as_without(networks, generator):
    params, variables, latents = generator
    images, _ = generate(networks, True)(params, variables, jax.random.key(0), latents)
    assert images.shape == (BATCH_SIZE, 2, 2, 1)
    bare = load_networks(None).generator
    expected, _ = jax.eval_shape(lambda latents: bare.init(at(), latents), latents)
    sizes = [sorted(leaf.shape for leaf in jax.tree.leaves(tree)) for tree in (params, expected)]
    assert sizes[0] == sizes[1]  # The technique adds no parameters.
    assert variables["reference"]["latents"].shape == (REFERENCE_SIZE, LATENT_SIZE)


def test_an_image_is_the_same_in_another_batch_and_after_freezing(networks, generator):
    params, variables, latents = generator
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)  # Not those that left the variables' statistics behind.
    live, _ = generate(networks, True)(moved, variables, jax.random.key(0), latents)
    frozen = [
        inference.freeze(networks, moved, variables, turn(), jax.random.key(seed), count)
        for seed, count in ((3, 2), (4, 6))
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), *frozen)  # Whatever the other latents.
    sampled, after = generate(networks, False)(moved, frozen[0], jax.random.key(0), latents)
    np.testing.assert_allclose(sampled, live, rtol=1e-5, atol=1e-6)
    alone, _ = generate(networks, False)(moved, frozen[0], jax.random.key(9), latents[:1])
    np.testing.assert_allclose(alone, live[:1], rtol=1e-5, atol=1e-6)
    stale, _ = generate(networks, False)(moved, variables, jax.random.key(0), latents)
    assert np.abs(stale - live).max() > 1e-3
    jax.tree.map(np.testing.assert_array_equal, after, frozen[0])


def test_one_device_equals_eight(networks, generator):
    params, variables, latents = generator
    weights = np.random.default_rng(0).normal(size=(BATCH_SIZE, 2, 2, 1)).astype(np.float32)

    def loss(params, latents):
        images, after = networks.generator.apply(params, variables, at(jax.random.key(0)), latents)
        return jnp.sum(weights * images), (images, after)

    play = jax.value_and_grad(loss, has_aux=True)
    mesh = Mesh(np.asarray(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    assert mesh.size == 8
    single = jax.jit(play)(params, latents)
    sharded = jax.jit(play, in_shardings=(everywhere, split))(params, latents)
    jax.tree.map(lambda one, eight: np.testing.assert_allclose(eight, one, rtol=2e-5, atol=1e-6), single, sharded)


def test_the_reference_latents_are_drawn_once_and_their_statistics_follow_the_weights(networks):
    def initial_and_after(key):
        techniques = technique.load({"non_saturating": {"enabled": True}})
        game = step.Game(networks, techniques, *[optax.sgd(0.5)] * 2, optimizer.average_rate(0.1))
        real = Examples(jax.random.uniform(jax.random.key(5), (BATCH_SIZE, 2, 2, 1)))
        state = step.initialize(game, key, real)
        batches = Batches((Batch(real),), (Batch(real),))
        later, _ = step.update(game, step.update(game, state, batches)[0], batches)
        return state.generator.variables, later.generator.variables

    before, after = jax.jit(jax.vmap(initial_and_after))(jax.random.split(jax.random.key(0), 2))
    latents = before["reference"]["latents"]
    np.testing.assert_array_equal(after["reference"]["latents"], latents)
    assert np.abs(latents[0] - latents[1]).min() > 0  # Each replica has drawn its own.
    assert len(np.unique(latents[0])) == REFERENCE_SIZE * LATENT_SIZE
    for old, new in zip(*map(jax.tree.leaves, (before["statistics"], after["statistics"])), strict=True):
        assert np.abs(new - old).max() > 1e-4


def test_reference_latents_keep_the_labels_that_they_were_drawn_with(random):
    class Conditional(nn.Module):
        @nn.compact
        def __call__(self, latents, context):
            assert len(latents) == len(context.labels)
            return latents + 10 * context.labels @ jnp.arange(3.0)[:, None]

    module = ReferenceBatch(Conditional(), size=2)
    latents = jnp.asarray(random.normal(size=(4, 5)), jnp.float32)
    labels = jax.nn.one_hot(jnp.int32([2, 0, 1, 1]), 3)
    variables = module.init(jax.random.key(0), latents, at(labels=labels))
    np.testing.assert_array_equal(variables["reference"]["labels"], labels[:2])
    others = jax.nn.one_hot(jnp.int32([0, 2, 2, 0]), 3)
    images, _ = module.apply(variables, latents, at(labels=others), mutable=["reference"])
    np.testing.assert_allclose(images, latents + np.float32([0, 20, 20, 0])[:, None], rtol=1e-6)


def test_a_reference_batch_larger_than_the_initial_one_is_refused():
    networks = load_networks("virtual_batch_norm", reference_size=6)
    with pytest.raises(UserError, match=r"reference_size=6 is more than initial_images=5.*reference_size=5 or fewer"):
        jax.eval_shape(lambda latents: networks.generator.init(at(), latents), jnp.zeros((5, LATENT_SIZE)))


@pytest.mark.parametrize("size", [0, -1, 10**20])
def test_a_reference_size_that_is_out_of_range_is_refused(size):
    with pytest.raises(UserError, match=rf"virtual_batch_norm\.reference_size is {size}, expected 1 to 10,000"):
        load_networks("virtual_batch_norm", reference_size=size)
