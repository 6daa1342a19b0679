"""The MNIST semi-supervised game in float64 NumPy, gradients written by hand, from the paper's description alone.

It shares no code with igan, so that an agreement means something. Parameters are plain arrays, ``(inputs, outputs)``:

    {"generator": [{"kernel", "bias"}, {"kernel", "bias"}, {"kernel", "bias", "scale"}],
     "discriminator": [{"kernel", "bias", "scale"}, ...]}

A generator's hidden ``bias`` is the shift of its batch norm. All discriminator scales are constants but the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Layer = dict[str, Array]
Parameters = dict[str, list[Layer]]

GENERATOR_WIDTHS = (100, 500, 500, 784)
DISCRIMINATOR_WIDTHS = (784, 1000, 500, 250, 250, 250, 10)
NOISE_STDS = (0.3, 0.5, 0.5, 0.5, 0.5, 0.5)
EPSILON = 1e-6


class Batch(NamedTuple):
    """Images ``(n, 784)`` in [0, 1] and labels ``(n,)``; ``real_images`` is the generator step's own draw."""

    labelled_images: Any
    labels: Any
    unlabelled_images: Any
    real_images: Any


class Draws(NamedTuple):
    """Everything random in one step.

    Latents are ``(n, 100)``. The others are one array per discriminator layer, *added* to that layer's input (so
    already multiplied by the noise's standard deviation); None adds nothing.
    """

    discriminator_latent: Any
    generator_latent: Any
    labelled: Any = None
    unlabelled: Any = None
    generated: Any = None
    real: Any = None
    fake: Any = None


def softplus(values: Array) -> Array:
    return np.maximum(values, 0) + np.log1p(np.exp(-np.abs(values)))


def sigmoid(values: Array) -> Array:
    return np.exp(-softplus(-values))


def logsumexp(logits: Array) -> Array:
    """``(n, K)`` to ``(n,)``."""
    largest = logits.max(axis=1, keepdims=True)
    return largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))


def weight_norm(kernel: Array, scale: Array, epsilon: float = 0.0) -> Array:
    """The effective kernel ``(inputs, outputs)``: each column divided by its L2 norm, times its scale."""
    return kernel * (scale / np.sqrt(epsilon + np.sum(kernel**2, axis=0)))


def weight_norm_gradient(kernel: Array, scale: Array, gradient: Array, epsilon: float = 0.0) -> tuple[Array, Array]:
    """Gradients with respect to (kernel, scale), given that with respect to the effective kernel."""
    norm = np.sqrt(epsilon + np.sum(kernel**2, axis=0))
    along = np.sum(gradient * kernel, axis=0)
    return scale / norm * (gradient - kernel * along / norm**2), along / norm


def shift_batch_norm(values: Array, shift: Array, epsilon: float = EPSILON) -> Array:
    """Batch norm with the batch's own (biased) statistics, a trained shift and no scale."""
    return (values - values.mean(axis=0)) / np.sqrt(values.var(axis=0) + epsilon) + shift


def shift_batch_norm_gradient(values: Array, gradient: Array, epsilon: float = EPSILON) -> Array:
    """Gradient with respect to the values, given that with respect to the output."""
    deviation = np.sqrt(values.var(axis=0) + epsilon)
    normalised = (values - values.mean(axis=0)) / deviation
    return (gradient - gradient.mean(axis=0) - normalised * np.mean(gradient * normalised, axis=0)) / deviation


def generate(layers: Sequence[Layer], latent: Array) -> tuple[Array, list[tuple[Array, Array]]]:
    """Images ``(n, pixels)`` and, for the gradient, each layer's (input, pre-activation)."""
    record, values = [], latent
    for layer in layers[:-1]:
        products = values @ layer["kernel"]
        record.append((values, products))
        values = softplus(shift_batch_norm(products, layer["bias"]))
    last = layers[-1]
    products = values @ weight_norm(last["kernel"], last["scale"], EPSILON) + last["bias"]
    record.append((values, products))
    return sigmoid(products), record


def generator_gradient(layers: Sequence[Layer], record: list[tuple[Array, Array]], gradient: Array) -> list[Layer]:
    """Gradients of all parameters, given that with respect to the images."""
    last, (values, products) = layers[-1], record[-1]
    gradient = gradient * sigmoid(products) * sigmoid(-products)
    kernel, scale = weight_norm_gradient(last["kernel"], last["scale"], values.T @ gradient, EPSILON)
    gradients = [{"kernel": kernel, "bias": gradient.sum(axis=0), "scale": scale}]
    gradient = gradient @ weight_norm(last["kernel"], last["scale"], EPSILON).T
    for layer, (values, products) in zip(reversed(layers[:-1]), reversed(record[:-1]), strict=True):
        gradient = gradient * sigmoid(shift_batch_norm(products, layer["bias"]))
        shift = gradient.sum(axis=0)
        gradient = shift_batch_norm_gradient(products, gradient)
        gradients.insert(0, {"kernel": values.T @ gradient, "bias": shift})
        gradient = gradient @ layer["kernel"].T
    return gradients


def discriminate(
    layers: Sequence[Layer], images: Array, noises: Sequence[Array] | None = None
) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """Logits ``(n, K)``, features (the last hidden layer, before its noise), and each layer's (input, output)."""
    record, values, features = [], images, images
    for index, layer in enumerate(layers):
        features = values
        noisy = values if noises is None else values + noises[index]
        values = noisy @ weight_norm(layer["kernel"], layer["scale"]) + layer["bias"]
        if index < len(layers) - 1:
            values = np.maximum(values, 0)
        record.append((noisy, values))
    return values, features, record


def discriminator_gradient(
    layers: Sequence[Layer], record: list[tuple[Array, Array]], logits: Array | None, features: Array | None
) -> tuple[list[Layer], Array]:
    """Gradients of the trained parameters and of the images, given those of the logits or of the features."""
    gradients: list[Layer] = []
    gradient = logits if logits is not None else np.zeros_like(record[-1][1])
    for index in reversed(range(len(layers))):
        layer, (noisy, outputs) = layers[index], record[index]
        if index < len(layers) - 1:
            if index == len(layers) - 2 and features is not None:
                gradient = gradient + features
            gradient = gradient * (outputs > 0)
        kernel, scale = weight_norm_gradient(layer["kernel"], layer["scale"], noisy.T @ gradient)
        gradients.insert(0, {"kernel": kernel, "bias": gradient.sum(axis=0)})
        if index == len(layers) - 1:
            gradients[0]["scale"] = scale
        gradient = gradient @ weight_norm(layer["kernel"], layer["scale"]).T
    return gradients, gradient


def supervised_loss(logits: Array, labels: Array) -> float:
    return float(np.mean(logsumexp(logits) - logits[np.arange(len(labels)), labels]))


def unsupervised_loss(unlabelled_logits: Array, generated_logits: Array) -> float:
    real, generated = logsumexp(unlabelled_logits), logsumexp(generated_logits)
    return float(0.5 * np.mean(softplus(real) - real) + 0.5 * np.mean(softplus(generated)))


def explicit_softmax_losses(
    labelled_logits: Array, labels: Array, unlabelled_logits: Array, generated_logits: Array
) -> tuple[float, float]:
    """The same two losses from a real softmax over K+1 classes, the logit of "generated" fixed at zero."""

    def probabilities(logits: Array) -> Array:
        exponentials = np.exp(np.concatenate([logits, np.zeros((len(logits), 1))], axis=1))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    labelled = probabilities(labelled_logits)
    given_real = labelled[np.arange(len(labels)), labels] / (1 - labelled[:, -1])
    on_unlabelled = -np.mean(np.log(1 - probabilities(unlabelled_logits)[:, -1]))
    on_generated = -np.mean(np.log(probabilities(generated_logits)[:, -1]))
    return float(-np.mean(np.log(given_real))), float(0.5 * on_unlabelled + 0.5 * on_generated)


def feature_matching(real_features: Array, fake_features: Array) -> float:
    """Squared difference of the batch *means*, averaged over the features."""
    return float(np.mean((real_features.mean(axis=0) - fake_features.mean(axis=0)) ** 2))


def wrong_per_sample_feature_matching(real_features: Array, fake_features: Array) -> float:
    """The bug of many ports: pairs of samples are matched instead of means. Equal to the above only by accident."""
    return float(np.mean((real_features - fake_features) ** 2))


def discriminator_step(parameters: Parameters, batch: Batch, draws: Draws) -> tuple[dict[str, float], list[Layer]]:
    """Losses and gradients of the discriminator; the generated images are constants."""
    layers = parameters["discriminator"]
    images, _ = generate(parameters["generator"], draws.discriminator_latent)
    labelled, _, labelled_record = discriminate(layers, batch.labelled_images, draws.labelled)
    unlabelled, _, unlabelled_record = discriminate(layers, batch.unlabelled_images, draws.unlabelled)
    generated, _, generated_record = discriminate(layers, images, draws.generated)

    def softmax(logits: Array) -> Array:
        return np.exp(logits - logsumexp(logits)[:, None])

    target = np.eye(labelled.shape[1])[batch.labels]
    real_logit, fake_logit = logsumexp(unlabelled)[:, None], logsumexp(generated)[:, None]
    gradients = [
        discriminator_gradient(layers, record, logits, None)[0]
        for record, logits in (
            (labelled_record, (softmax(labelled) - target) / len(labelled)),
            (unlabelled_record, -0.5 * sigmoid(-real_logit) * softmax(unlabelled) / len(unlabelled)),
            (generated_record, 0.5 * sigmoid(fake_logit) * softmax(generated) / len(generated)),
        )
    ]
    total = [
        {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}
        for parts in zip(*gradients, strict=True)
    ]
    losses = {
        "supervised": supervised_loss(labelled, batch.labels),
        "unsupervised": unsupervised_loss(unlabelled, generated),
    }
    return losses, total


def generator_step(parameters: Parameters, batch: Batch, draws: Draws) -> tuple[float, list[Layer]]:
    """Feature matching's loss and the generator's gradients."""
    layers = parameters["discriminator"]
    images, generator_record = generate(parameters["generator"], draws.generator_latent)
    _, real, _ = discriminate(layers, batch.real_images, draws.real)
    _, fake, record = discriminate(layers, images, draws.fake)
    difference = fake.mean(axis=0) - real.mean(axis=0)
    features = np.broadcast_to(2 * difference / len(difference) / len(fake), fake.shape)
    _, gradient = discriminator_gradient(layers, record, None, features)
    return feature_matching(real, fake), generator_gradient(parameters["generator"], generator_record, gradient)


def descend(layers: Sequence[Layer], gradients: Sequence[Layer], learning_rate: float) -> list[Layer]:
    """Plain gradient descent; what has no gradient (a fixed scale) stays."""
    return [
        {name: value - learning_rate * gradient[name] if name in gradient else value for name, value in layer.items()}
        for layer, gradient in zip(layers, gradients, strict=True)
    ]


def sgd_update(
    parameters: Parameters, batch: Batch, draws: Draws, learning_rate: float
) -> tuple[Parameters, dict[str, float]]:
    """One whole step: the discriminator moves first, the generator then meets the moved discriminator."""
    losses, gradients = discriminator_step(parameters, batch, draws)
    moved = {**parameters, "discriminator": descend(parameters["discriminator"], gradients, learning_rate)}
    loss, gradients = generator_step(moved, batch, draws)
    moved["generator"] = descend(moved["generator"], gradients, learning_rate)
    return moved, {**losses, "feature_matching": loss}


def adam(
    gradients: Sequence[Array], learning_rate: float = 3e-3, b1: float = 0.5, b2: float = 0.999, epsilon: float = 1e-8
) -> Array:
    """Sum of Adam's updates for a sequence of gradients; epsilon stands inside the root, as in the authors' code."""
    first = second = change = np.zeros_like(gradients[0])
    for count, gradient in enumerate(gradients, start=1):
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        change = change - learning_rate * first / (1 - b1**count) / np.sqrt(second / (1 - b2**count) + epsilon)
    return change


def initial_parameters(
    seed: int,
    generator_widths: Sequence[int] = GENERATOR_WIDTHS,
    discriminator_widths: Sequence[int] = DISCRIMINATOR_WIDTHS,
) -> Parameters:
    """Glorot-uniform hidden layers and N(0, 0.1^2) directions; biases 0, scales 1 (before the data-dependent step).

    The paper does not say how the generator's last direction starts: Glorot-uniform here, its norm does not matter.
    """
    random = np.random.default_rng(seed)
    generator: list[Layer] = []
    for inputs, outputs in pairwise(generator_widths):
        limit = np.sqrt(6 / (inputs + outputs))
        generator.append({"kernel": random.uniform(-limit, limit, (inputs, outputs)), "bias": np.zeros(outputs)})
    generator[-1]["scale"] = np.ones(generator_widths[-1])
    discriminator = [
        {"kernel": random.normal(0, 0.1, (inputs, outputs)), "bias": np.zeros(outputs), "scale": np.ones(outputs)}
        for inputs, outputs in pairwise(discriminator_widths)
    ]
    return {"generator": generator, "discriminator": discriminator}


def data_dependent_initialisation(
    layers: Sequence[Layer], images: Array, noises: Sequence[Array] | None = None
) -> list[Layer]:
    """Discriminator layers whose pre-activations have mean 0 and variance 1 on these images, set one after another."""
    initialised, values = [], images
    for index, layer in enumerate(layers):
        noisy = values if noises is None else values + noises[index]
        products = noisy @ weight_norm(layer["kernel"], layer["scale"])
        mean, deviation = products.mean(axis=0), products.std(axis=0)
        initialised.append({**layer, "scale": layer["scale"] / deviation, "bias": -mean / deviation})
        values = np.maximum((products - mean) / deviation, 0)
    return initialised
