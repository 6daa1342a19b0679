"""A small convolutional classifier of MNIST digits, trained once in a minute on CPU: the judge of the MNIST score.

It is trained from the digits themselves and kept in the cache under a hash of them, so everybody who has the same data
has the same judge to within rounding; its label carries the hash of its weights.
"""

import functools
import hashlib
from collections.abc import Callable
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

from igan.errors import UserError
from igan.metrics import cache
from igan.metrics.extract import FeatureNetwork
from igan.metrics.weights import content_hash
from igan.types import Array, Key, Params

RECIPE = "1"  # Part of the cache's key: raise it when anything below changes.
EPOCHS = 4
BATCH = 100
PEAK_LEARNING_RATE = 3e-3
SHIFT = 2  # Pixels by which digits are moved at random.


class Classifier(nn.Module):
    """uint8 [n, 28, 28, channels] -> logits [n, classes]; reads the first channel."""

    classes: int = 10

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        x = images[..., :1].astype(jnp.float32) / 255
        for features in (24, 48):
            x = nn.relu(nn.Conv(features, (5, 5), strides=2)(x))
        x = nn.relu(nn.Dense(192)(x.reshape(len(x), -1)))
        x = nn.Dropout(0.4, deterministic=not train)(x)
        return nn.Dense(self.classes)(x)


def load(images: np.ndarray, labels: np.ndarray) -> FeatureNetwork:
    """Returns the classifier of these digits, from the cache or trained now.

    Args:
      images: uint8 [n, 28, 28, 1], training images.
      labels: int [n] in 0..9.

    Raises:
      UserError: images of another shape or type.

    >>> judge = load(dataset.train_images, dataset.train_labels)  # doctest: +SKIP
    >>> classifier_score(images.from_array("samples", samples), judge)  # doctest: +SKIP
    """
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28, 1) or len(images) < BATCH:
        raise UserError(
            f"the MNIST classifier learns from uint8 images [n, 28, 28, 1], not {images.dtype} {images.shape}"
        )
    digest = hashlib.sha256(RECIPE.encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, np.int32).data)
    path = cache.directory() / f"mnist-classifier-{digest.hexdigest()[:16]}.safetensors"
    try:
        arrays = safetensors.numpy.load_file(path)
        params = flax.traverse_util.unflatten_dict(arrays, sep="/")
        Classifier().apply({"params": params}, images[:1])
    except Exception:  # Missing or damaged in whatever way: it can be trained again.
        params = jax.device_get(train(images, labels))
        flat = flax.traverse_util.flatten_dict(params, sep="/")
        arrays = {str(name): np.asarray(array) for name, array in flat.items()}
        content = safetensors.numpy.save(arrays)
        cache.write(path, lambda file: file.write(content))
    label = f"mnist-cnn trained on {len(images):,} digits, weights {content_hash(arrays)[:8]}"
    return FeatureNetwork(label, ("logits",), params, _apply)


def _apply(params: Params, images: Array, levels: Any) -> dict[str, Array]:
    logits = Classifier().apply({"params": params}, images)
    return {"logits": jnp.asarray(logits)}


def train(images: np.ndarray, labels: np.ndarray, seed: int = 0) -> Params:
    """Returns parameters after `EPOCHS` passes with Adam, a warm-up and a linear decay of the learning rate."""
    steps = EPOCHS * (len(images) // BATCH)
    schedule = optax.linear_onecycle_schedule(steps, PEAK_LEARNING_RATE)
    optimizer = optax.adam(schedule)
    key = jax.random.key(seed)
    params = Classifier().init(key, images[:1])["params"]
    state = (params, optimizer.init(params))
    update = _make_update(optimizer)
    order = np.random.RandomState(seed)
    description = "Training a classifier of digits"
    console = Console(stderr=True)
    labels = labels.astype(np.int32)
    epochs = [order.permutation(len(images))[: len(images) // BATCH * BATCH] for _ in range(EPOCHS)]
    batches = np.concatenate(epochs).reshape(steps, BATCH)
    for step in track(range(steps), description, console=console):
        chosen = batches[step]
        state = update(state, jax.random.fold_in(key, step), images[chosen], labels[chosen])
    return state[0]


def _make_update(optimizer: optax.GradientTransformation) -> Callable:
    def loss(params: Params, key: Key, images: Array, labels: Array) -> Array:
        key_shift, key_dropout = jax.random.split(key)
        logits = Classifier().apply(
            {"params": params}, shift(key_shift, images), train=True, rngs={"dropout": key_dropout}
        )
        return optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), labels).mean()

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
