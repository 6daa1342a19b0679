"""A small convolutional classifier, trained once on a data set's own labels: the judge of the classifier score.

Its features serve distances where Inception features mean little, as with digits: `fid_classifier`.

Digits take it a minute on two CPU cores, photos longer. It is kept in the cache under a hash of the images and labels,
so everybody who has the same data has the same judge to within rounding; its label carries the hash of its weights.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from rich.console import Console
from rich.progress import track

from igan import cache
from igan.errors import UserError
from igan.layers.convolution import conv
from igan.metrics.extract import FeatureNetwork
from igan.metrics.weights import content_hash
from igan.types import Array, Key, Params

RECIPE = "2"  # Part of the cache's key: raise it when anything below changes.
BATCH = 100
PEAK_LEARNING_RATE = 3e-3
SHIFT = 2  # Pixels by which images are moved at random.
SIDES = (16, 64)  # Fewest and most pixels a side.
LEVEL = "classifier"  # The name of its features, which scores computed from them carry: `fid_classifier`.


class Classifier(nn.Module):
    """uint8 [n, height, width, 1 or 3] -> logits [n, classes]. With one channel it reads the first of three too.

    With `features` it returns what its last layer is given, [n, 192], instead.
    """

    classes: int
    channels: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, images: Array, train: bool = False, features: bool = False) -> Array:
        x = images[..., : self.channels].astype(jnp.float32) / 255
        for place, width in enumerate(self.widths):
            shape = (5, 5, x.shape[-1], width)
            kernel = self.param(f"kernel_{place}", nn.initializers.lecun_normal(), shape)
            bias = self.param(f"bias_{place}", nn.initializers.zeros_init(), (width,))
            x = nn.relu(
                jnp.asarray(conv(x, kernel, 2, 2)) + bias
            )  # Its gradient is several times faster than Flax's on a CPU.
        x = nn.relu(nn.Dense(192)(x.reshape(len(x), -1)))
        if features:
            return x
        x = nn.Dropout(0.4, deterministic=not train)(x)
        return nn.Dense(self.classes)(x)


def load(name: str, images: np.ndarray, labels: np.ndarray) -> FeatureNetwork:
    """Returns the classifier of a data set, from the cache or trained now.

    Args:
      name: what its label calls the data set.
      images: uint8 [n, height, width, 1 or 3], training images of 16 to 64 pixels a side.
      labels: int [n], from 0 on.

    Raises:
      UserError: images of another shape or type, fewer than a hundred, or of a single class.

    >>> judge = load("mnist", dataset.train_images, dataset.train_labels)  # doctest: +SKIP
    >>> classifier_score(images.from_array("samples", samples), judge)  # doctest: +SKIP
    """
    sides = images.shape[1:3]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or len(images) < BATCH:
        raise UserError(
            f"a classifier learns from {BATCH} or more uint8 images [n, height, width, 1 or 3], not {images.dtype} "
            f"{images.shape}"
        )
    if min(sides) < SIDES[0] or max(sides) > SIDES[1]:
        raise UserError(f"the classifier of the classifier score is made for 16 to 64 pixels a side, not {sides}")
    classes = int(labels.max()) + 1
    if classes < 2:
        raise UserError(f"a classifier needs two classes or more, and {name} has one")
    classifier = _classifier(images, classes)
    path = _path(classifier, images, labels)
    try:
        arrays = safetensors.numpy.load_file(path)
        params = flax.traverse_util.unflatten_dict(arrays, sep="/")
        classifier.apply({"params": params}, images[:1])
    except Exception:  # Missing or damaged in whatever way: it can be trained again.
        params = jax.device_get(train(classifier, images, labels))
        flat = flax.traverse_util.flatten_dict(params, sep="/")
        arrays = {str(name): np.asarray(array) for name, array in flat.items()}
        content = safetensors.numpy.save(arrays)
        cache.write(path, lambda file: file.write(content))
    label = f"small-cnn trained on {len(images):,} images of {name}, weights {content_hash(arrays)[:8]}"

    def apply(params: Params, images: Array, levels: Sequence[str]) -> dict[str, Array]:
        variables = {"params": params}
        return {level: jnp.asarray(classifier.apply(variables, images, features=level == LEVEL)) for level in levels}

    return FeatureNetwork(label, ("logits", LEVEL), params, apply)


def is_at_hand(images: np.ndarray, labels: np.ndarray) -> bool:
    """Returns whether the classifier of a data set has been trained before, and `load` takes no time."""
    return _path(_classifier(images, int(labels.max()) + 1), images, labels).exists()


def _path(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> Path:
    digest = hashlib.sha256(f"{RECIPE} {classifier}".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, np.int32).data)
    return cache.directory() / f"classifier-{digest.hexdigest()[:16]}.safetensors"


def _classifier(images: np.ndarray, classes: int) -> Classifier:
    channels = images.shape[3]
    return Classifier(classes, channels, widths=(24, 48) if channels == 1 else (32, 64, 128))


def train(classifier: Classifier, images: np.ndarray, labels: np.ndarray, seed: int = 0) -> Params:
    """Returns parameters after a few epochs with Adam, a warm-up and a linear decay of the learning rate."""
    epochs = 4 if classifier.channels == 1 else 6
    steps = epochs * (len(images) // BATCH)
    optimizer = optax.adam(optax.linear_onecycle_schedule(steps, PEAK_LEARNING_RATE))
    key = jax.random.key(seed)
    params = classifier.init(key, images[:1])["params"]
    state = (params, optimizer.init(params))
    update = _make_update(classifier, optimizer)
    order = np.random.RandomState(seed)
    labels = labels.astype(np.int32)
    orders = [order.permutation(len(images))[: len(images) // BATCH * BATCH] for _ in range(epochs)]
    batches = np.concatenate(orders).reshape(steps, BATCH)
    others = jax.process_index() > 0
    for step in track(
        range(steps), "Training a classifier of the real images", console=Console(stderr=True), disable=others
    ):
        chosen = batches[step]
        state = update(state, jax.random.fold_in(key, step), images[chosen], labels[chosen])
    return state[0]


def _make_update(classifier: Classifier, optimizer: optax.GradientTransformation) -> Callable:
    def loss(params: Params, key: Key, images: Array, labels: Array) -> Array:
        key_shift, key_dropout = jax.random.split(key)
        variables, rngs = {"params": params}, {"dropout": key_dropout}
        logits = jnp.asarray(classifier.apply(variables, shift(key_shift, images), train=True, rngs=rngs))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state: tuple[Params, Any], key: Key, images: Array, labels: Array) -> tuple[Params, Any]:
        params, opt_state = state
        gradient = jax.grad(loss)(params, key, images, labels)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return update


def shift(key: Key, images: Array) -> Array:
    """Moves each image by up to `SHIFT` pixels in both directions, filling with zeros."""
    padded = jnp.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    offsets = jax.random.randint(key, (len(images), 2), 0, 2 * SHIFT + 1)

    def window(image: Array, offset: Array) -> Array:
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), images.shape[1:])

    return jax.vmap(window)(padded, offsets)
