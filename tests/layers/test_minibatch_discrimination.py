"""Minibatch discrimination against its formula in float64 NumPy, its gradients, its memory, and who sees whom."""

import functools

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
from igan.game.view import look
from igan.layers.minibatch_discrimination import MinibatchDiscrimination, closeness, l1_distances
from igan.types import Batch, Critique, Examples, Network, Networks
from tests.contexts import at, turn

COUNT, FEATURES, KERNELS, DIMENSIONS = 6, 5, 4, 3

each_mode = pytest.mark.parametrize("halves", [False, True], ids=["one kind", "two halves"])


@pytest.fixture(autouse=True)
def full_precision():
    """Some accelerators multiply matrices in less than float32 unless asked."""
    with jax.default_matmul_precision("highest"):
        yield


def minibatch_features(params: dict, features: np.ndarray, halves: bool) -> np.ndarray:
    """The formula of section 3.2, pair by pair."""
    direction, log_scale, bias = (np.float64(params[name]) for name in ("direction", "log_scale", "bias"))
    tensor = np.exp(log_scale) * direction / np.sqrt((direction**2).sum(axis=0))
    embedding = np.tensordot(np.float64(features), tensor, axes=1)
    count = len(features)
    outputs = []
    for i in range(count):
        close = {j: np.exp(-np.abs(embedding[i] - embedding[j]).sum(axis=-1)) for j in range(count) if j != i}
        if halves:
            real = [value for j, value in close.items() if j % 2 == 0]
            fake = [value for j, value in close.items() if j % 2 == 1]
            outputs.append(np.concatenate([np.mean(real, axis=0), np.mean(fake, axis=0)]))
        else:
            outputs.append(np.sum(list(close.values()), axis=0))
    return np.concatenate([features, outputs + bias], axis=1)


def draw_params(random: np.random.Generator, halves: bool) -> dict[str, np.ndarray]:
    """A layer at a generic point, no distance of which is large."""
    return {
        "direction": random.normal(0, 0.05, (FEATURES, KERNELS, DIMENSIONS)),
        "log_scale": random.normal(-1, 0.3, (KERNELS, DIMENSIONS)),
        "bias": random.normal(size=KERNELS * (1 + halves)),
    }


@each_mode
def test_it_is_its_formula(random, halves):
    params, features = draw_params(random, halves), random.normal(size=(COUNT, FEATURES))
    layer = MinibatchDiscrimination(KERNELS, DIMENSIONS, halves)
    single = jax.tree.map(jnp.float32, params)
    outputs = layer.apply({"params": single}, jnp.float32(features))
    assert outputs.dtype == jnp.float32 and outputs.shape == (COUNT, FEATURES + KERNELS * (1 + halves))
    np.testing.assert_allclose(outputs, minibatch_features(params, features, halves), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(outputs[:, :FEATURES], np.float32(features))


@each_mode
def test_its_gradient_is_that_of_the_formula(random, halves):
    """Against central differences of the NumPy formula, along random directions."""
    params, features = draw_params(random, halves), random.normal(size=(COUNT, FEATURES))
    weights = random.normal(size=(COUNT, FEATURES + KERNELS * (1 + halves)))
    with jax.enable_x64(True):

        def loss(params, features):
            layer = MinibatchDiscrimination(KERNELS, DIMENSIONS, halves)
            return jnp.sum(weights * layer.apply({"params": params}, features))

        gradients = jax.device_get(jax.jit(jax.grad(loss, (0, 1)))(params, features))
    point = (params, features)
    for _ in range(4):
        along = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), point)
        ends = []
        for size in (1e-6, -1e-6):
            moved = jax.tree.map(lambda leaf, slope, size=size: leaf + size * slope, point, along)
            ends.append(np.sum(weights * minibatch_features(*moved, halves)))
        slope = sum(
            np.sum(gradient * move) for gradient, move in zip(*map(jax.tree.leaves, (gradients, along)), strict=True)
        )
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


@each_mode
def test_initialisation_makes_the_nearest_distance_1_and_the_outputs_0_on_average(random, halves):
    features = jnp.asarray(random.normal(3, 5, (20, FEATURES)), jnp.float32)
    layer = MinibatchDiscrimination(KERNELS, DIMENSIONS, halves)
    outputs, variables = layer.init_with_output(jax.random.key(0), features)
    params = variables["params"]
    assert params["log_scale"].shape == (KERNELS, DIMENSIONS)
    np.testing.assert_allclose(outputs[:, FEATURES:].mean(axis=0), 0, atol=1e-5)
    direction = np.float64(params["direction"])
    scaled = np.exp(np.float64(params["log_scale"])) * direction / np.linalg.norm(direction, axis=0)
    embedding = np.tensordot(np.float64(features), scaled, axes=1)
    distances = np.abs(embedding[:, None] - embedding[None]).sum(axis=-1)
    distances[np.arange(20), np.arange(20)] = np.inf
    np.testing.assert_allclose(distances.min(axis=1).mean(axis=0), np.ones(KERNELS), rtol=1e-4)


def test_directions_start_normal_and_their_length_changes_nothing(random):
    features = jnp.asarray(random.normal(size=(9, 60)), jnp.float32)
    layer = MinibatchDiscrimination(40, 5)
    params = layer.init(jax.random.key(0), features)["params"]
    np.testing.assert_allclose([np.mean(params["direction"]), np.std(params["direction"])], [0, 0.05], atol=2e-3)
    longer = params | {"direction": 8 * params["direction"]}
    outputs, same = (layer.apply({"params": each}, features) for each in (params, longer))
    np.testing.assert_allclose(same, outputs, rtol=1e-5, atol=1e-5)


def test_an_example_is_not_close_to_itself(random):
    embedding = jnp.asarray(random.normal(size=(COUNT, KERNELS, DIMENSIONS)), jnp.float32)
    close = np.asarray(closeness(embedding))
    np.testing.assert_array_equal(close[np.arange(COUNT), np.arange(COUNT)], np.zeros((COUNT, KERNELS)))
    assert np.all(close + np.eye(COUNT)[:, :, None] > 0)
    np.testing.assert_allclose(close, close.swapaxes(0, 1), rtol=1e-6)
    # Copies of one example are as close as can be: the collapse that the layer is there to show.
    collapsed = np.asarray(closeness(jnp.ones((COUNT, KERNELS, DIMENSIONS)))).sum(axis=1)
    np.testing.assert_array_equal(collapsed, np.full((COUNT, KERNELS), COUNT - 1.0))


def test_distances_and_their_gradient_are_those_of_numpy(random):
    embedding = random.normal(size=(COUNT, KERNELS, DIMENSIONS))
    weights = random.normal(size=(COUNT, COUNT, KERNELS))  # Not symmetric.
    differences = embedding[:, None] - embedding[None]
    slopes = weights[..., None] * np.sign(differences)
    with jax.enable_x64(True):
        distances, pull = jax.vjp(l1_distances, jnp.asarray(embedding))
        gradient = pull(jnp.asarray(weights))[0]
    np.testing.assert_allclose(distances, np.abs(differences).sum(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(gradient, slopes.sum(axis=1) - slopes.sum(axis=0), rtol=1e-12, atol=1e-12)


def test_equal_examples_do_not_pull_at_each_other(random):
    """At a distance of zero any slope is as good as another: it is zero, and nothing divides by the distance."""
    embedding = jnp.ones((COUNT, KERNELS, DIMENSIONS))
    weights = jnp.asarray(random.normal(size=(COUNT, COUNT, KERNELS)))
    np.testing.assert_array_equal(
        jax.grad(lambda rows: jnp.sum(weights * l1_distances(rows)))(embedding), 0 * embedding
    )
    # Two equal rows beside another one still are pulled by that one.
    rows = embedding.at[0].set(3.0)
    gradient = jax.grad(lambda rows: jnp.sum(l1_distances(rows)))(rows)
    expected = np.full((COUNT, KERNELS, DIMENSIONS), -2.0)
    expected[0] = 2 * (COUNT - 1)
    np.testing.assert_array_equal(gradient, expected)


def test_it_can_be_differentiated_twice(random):
    """As gradient penalties and unrolled discriminators do: the sum of weights * distances^2 is quadratic nearly
    everywhere, and its second derivative along a direction is known."""
    embedding, along = random.normal(size=(2, COUNT, KERNELS, DIMENSIONS))
    weights = random.normal(size=(COUNT, COUNT, KERNELS))
    with jax.enable_x64(True):

        def slope(rows):
            return jnp.sum(along * jax.grad(lambda rows: jnp.sum(weights * l1_distances(rows) ** 2))(rows))

        twice = jax.device_get(jax.jit(jax.grad(slope))(embedding))
    signs = np.sign(embedding[:, None] - embedding[None])
    changes = np.sum(signs * (along[:, None] - along[None]), axis=-1)  # Of the distances along the direction.
    pulls = (2 * weights * changes)[..., None] * signs
    np.testing.assert_allclose(twice, pulls.sum(axis=1) - pulls.sum(axis=0), rtol=1e-10, atol=1e-10)


def test_the_differences_of_all_pairs_are_never_held_at_once():
    """With the numbers of the paper's ImageNet networks; `jax.vmap` and all, as `igan.game.step` calls it."""
    count, kernels, dimensions = 64, 300, 50
    layer = MinibatchDiscrimination(kernels, dimensions)
    features = jax.ShapeDtypeStruct((count, 8), jnp.float32)
    params = jax.eval_shape(layer.init, jax.random.key(0), features)

    def loss(params, features):
        return jnp.sum(layer.apply(params, features) ** 2)

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, features).compile()
    differences = count**2 * kernels * dimensions * 4
    assert compiled.memory_analysis().temp_size_in_bytes < differences / 8


def test_under_vmap_each_batch_is_its_own(random):
    params = jax.tree.map(jnp.float32, draw_params(random, halves=False))
    batches = jnp.asarray(random.normal(size=(3, COUNT, FEATURES)), jnp.float32)

    def play(features):
        layer = MinibatchDiscrimination(KERNELS, DIMENSIONS)
        return jax.value_and_grad(lambda features: jnp.sum(jnp.sin(layer.apply({"params": params}, features))))(
            features
        )

    together = jax.jit(jax.vmap(play))(batches)
    for index, batch in enumerate(batches):
        alone = jax.jit(play)(batch)
        jax.tree.map(
            lambda all_, one, index=index: np.testing.assert_allclose(all_[index], one, rtol=1e-5, atol=1e-5),
            together,
            alone,
        )


@each_mode
def test_one_device_equals_eight(random, halves):
    params = jax.tree.map(jnp.float32, draw_params(random, halves))
    features = jnp.asarray(random.normal(size=(16, FEATURES)), jnp.float32)

    def loss(params, features):
        outputs = MinibatchDiscrimination(KERNELS, DIMENSIONS, halves).apply({"params": params}, features)
        return jnp.sum(jnp.sin(outputs)), outputs

    play = jax.value_and_grad(loss, has_aux=True)
    mesh = Mesh(np.asarray(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    assert mesh.size == 8
    single = jax.jit(play)(params, features)
    sharded = jax.jit(play, in_shardings=(everywhere, split))(params, features)
    jax.tree.map(lambda one, eight: np.testing.assert_allclose(eight, one, rtol=2e-5, atol=1e-5), single, sharded)


@pytest.fixture(scope="module")
def game():
    techniques = technique.load({"minibatch_discrimination": {"enabled": True, "kernels": 4, "dimensions": 2}})
    narrow = {"name": "fully_connected", "latent_size": 3, "generator_layers": (4,), "discriminator_layers": (6,)}
    quiet = {"input_noise": 0.0, "hidden_noise": 0.0}
    networks = models.load(narrow | quiet, space.images((2, 2, 1)), 3, technique.layers(techniques))
    return step.Game(networks, techniques, optax.sgd(0.1), optax.sgd(0.1), optimizer.average_rate(0.1))


@pytest.mark.parametrize("together", [True, False])
def test_real_generated_and_labelled_images_do_not_see_each_other(random, game, together):
    images = jnp.asarray(random.uniform(size=(4, COUNT, 2, 2, 1)), jnp.float32)
    state = jax.jit(functools.partial(step.initialize, game))(jax.random.key(0), Examples(images[0]))

    @jax.jit
    def see(real, fake, labeled):
        batch = Batch(Examples(real), Examples(labeled, jnp.zeros(COUNT, jnp.int32)))
        view, _ = look(game, state, turn(), jax.random.key(1), batch, Examples(fake), together)
        return {"real": view.real, "fake": view.fake, "labeled": view.labeled}

    given = dict(zip(("real", "fake", "labeled"), images, strict=False))
    before = see(**given)
    for changed in given:
        after = see(**given | {changed: given[changed].at[-1].set(images[3, -1])})  # Another last image in one batch.
        for seen in given:
            moved = np.abs(after[seen].logits[0] - before[seen].logits[0])  # Of the first image.
            assert (moved > 1e-4) if seen == changed else (moved < 1e-6), (seen, changed, moved)


def test_features_for_matching_are_those_without_closeness(random, game):
    images = jnp.asarray(random.uniform(size=(COUNT, 2, 2, 1)), jnp.float32)
    params, variables = game.networks.discriminator.init(at(), images)
    critique, _ = game.networks.discriminator.apply(params, variables, at(jax.random.key(0), train=False), images)
    assert critique.features.shape == (COUNT, 6)
    assert params["MinibatchDiscrimination_0"]["direction"].shape == (6, 4, 2)
    assert params["WeightNormDense_1"]["direction"].shape == (6 + 4, 3)


@pytest.mark.parametrize("field", ["kernels", "dimensions"])
@pytest.mark.parametrize("value", [0, -1, 10**20])
def test_a_number_that_is_out_of_range_is_refused(field, value):
    with pytest.raises(UserError, match=rf"minibatch_discrimination\.{field} is {value}, expected 1 to 10,000"):
        technique.load({"minibatch_discrimination": {"enabled": True, field: value}})


def crowd_classifier() -> Networks:
    """A discriminator whose opinion of an image depends on all images that come with it."""

    def apply(params, variables, context, images):
        assert not context.train
        brightness = images.mean(axis=(1, 2, 3))
        crowd = jnp.mean(jnp.sin(5 * brightness))
        class_logits = params * jnp.stack([brightness, crowd + 0 * brightness, brightness * crowd], axis=1)
        return Critique(jax.nn.logsumexp(class_logits, axis=1), brightness[:, None], class_logits), variables

    discriminator = Network(lambda context, images: (None, None), apply, lambda context, images: "")
    return Networks(discriminator, discriminator, lambda key, count: jnp.zeros((count, 1)), (0.0, 1.0))


@pytest.mark.parametrize(("count", "batch_size"), [(12, 4), (13, 4), (15, 4), (3, 4), (5, 5), (1, 4)])
def test_a_classifier_looks_at_test_images_in_batches_of_the_size_it_was_trained_with(random, count, batch_size):
    """In their order, the last batch filled up with the images before it."""
    images = random.integers(0, 256, (count, 2, 2, 1), dtype=np.uint8)
    find = functools.partial(
        inference.class_probabilities, crowd_classifier(), turn=turn(), encode=lambda stored: stored / 255
    )
    (found,) = jax.jit(functools.partial(find, batch_size=batch_size))(np.float32([3]), None, images=images)
    expected = []
    while len(expected) < count:
        begin = min(len(expected), max(count - batch_size, 0))
        brightness = images[begin : begin + batch_size].astype(np.float64).mean(axis=(1, 2, 3)) / 255
        crowd = np.sin(5 * brightness).mean()
        powers = np.exp(3 * np.stack([brightness, crowd + 0 * brightness, brightness * crowd], axis=1))
        expected += list(powers / powers.sum(axis=1, keepdims=True))[len(expected) - begin :]
    assert found.shape == (count, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
