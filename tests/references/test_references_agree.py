"""The two references agree with each other, and the hand-written gradients with finite differences."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from . import mnist_numpy as reference

GENERATOR_WIDTHS = (4, 6, 5, 12)
DISCRIMINATOR_WIDTHS = (12, 7, 6, 5, 3)
NOISE_STDS = (0.3, 0.5, 0.5, 0.5)


def small_game(
    seed: int = 0,
    generator_widths: tuple[int, ...] = GENERATOR_WIDTHS,
    discriminator_widths: tuple[int, ...] = DISCRIMINATOR_WIDTHS,
    noise_stds: tuple[float, ...] = NOISE_STDS,
    size: int = 8,
) -> tuple[reference.Parameters, reference.Batch, reference.Draws]:
    """Parameters at a generic point (no zero bias, no unit scale), a batch and all draws; sizes differ on purpose."""
    random = np.random.default_rng(seed)
    parameters = reference.initial_parameters(seed, generator_widths, discriminator_widths)
    for layer in [*parameters["generator"], *parameters["discriminator"]]:
        layer["bias"] = random.normal(0, 0.1, layer["bias"].shape)
        if "scale" in layer:
            layer["scale"] = random.uniform(0.5, 1.5, layer["scale"].shape)
    pixels, classes, latent = discriminator_widths[0], discriminator_widths[-1], generator_widths[0]

    def noises(count: int) -> list[np.ndarray]:
        return [
            random.normal(0, std, (count, width))
            for std, width in zip(noise_stds, discriminator_widths[:-1], strict=True)
        ]

    labelled, unlabelled, real = size, size + 1, size + 2
    batch = reference.Batch(
        random.uniform(size=(labelled, pixels)),
        random.integers(0, classes, labelled),
        random.uniform(size=(unlabelled, pixels)),
        random.uniform(size=(real, pixels)),
    )
    draws = reference.Draws(
        random.uniform(size=(unlabelled, latent)),
        random.uniform(size=(real, latent)),
        *(noises(count) for count in (labelled, unlabelled, unlabelled, real, real)),
    )
    return parameters, batch, draws


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_numpy_gradients_are_the_finite_differences(player):
    parameters, batch, draws = small_game()

    def loss(point):
        if player == "generator":
            return reference.generator_step(point, batch, draws)[0]
        return sum(reference.discriminator_step(point, batch, draws)[0].values())

    step = reference.generator_step if player == "generator" else reference.discriminator_step
    _, gradients = step(parameters, batch, draws)
    compared = 0
    for index, layer in enumerate(gradients):
        for name, gradient in layer.items():
            differences = np.zeros_like(gradient)
            for place in np.ndindex(gradient.shape):
                values = []
                for change in (1e-5, -1e-5):
                    moved = copy.deepcopy(parameters)
                    moved[player][index][name][place] += change
                    values.append(loss(moved))
                differences[place] = (values[0] - values[1]) / 2e-5
            np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-9, err_msg=f"{index} {name}")
            assert np.any(gradient != 0), f"{index} {name}"
            compared += 1
    assert compared == (7 if player == "generator" else 2 * len(DISCRIMINATOR_WIDTHS) - 1)


def test_only_the_last_discriminator_scale_is_trained():
    parameters, batch, draws = small_game()
    moved, _ = reference.sgd_update(parameters, batch, draws, learning_rate=0.1)
    still = [
        np.array_equal(before["scale"], after["scale"])
        for before, after in zip(parameters["discriminator"], moved["discriminator"], strict=True)
    ]
    assert still == [True, True, True, False]


def test_k_logits_with_logsumexp_are_a_softmax_over_k_plus_one_classes():
    random = np.random.default_rng(0)
    labelled, unlabelled, generated = (random.normal(0, 3, (9, 10)) for _ in range(3))
    labels = random.integers(0, 10, 9)
    expected = reference.explicit_softmax_losses(labelled, labels, unlabelled, generated)
    found = reference.supervised_loss(labelled, labels), reference.unsupervised_loss(unlabelled, generated)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_feature_matching_ignores_the_order_of_samples_and_the_wrong_version_does_not():
    random = np.random.default_rng(0)
    features = random.normal(size=(8, 5))
    shuffled = features[random.permutation(8)]
    assert reference.feature_matching(features, shuffled) < 1e-30
    assert reference.wrong_per_sample_feature_matching(features, shuffled) > 0.1


def test_data_dependent_initialisation_gives_every_preactivation_mean_0_and_variance_1():
    parameters, _, _ = small_game()
    random = np.random.default_rng(1)
    images = random.uniform(size=(500, 12))
    noises = [random.normal(0, 0.5, (500, width)) for width in DISCRIMINATOR_WIDTHS[:-1]]
    layers = reference.data_dependent_initialisation(parameters["discriminator"], images, noises)
    values = images
    for layer, noise in zip(layers, noises, strict=True):
        products = (values + noise) @ reference.weight_norm(layer["kernel"], layer["scale"]) + layer["bias"]
        np.testing.assert_allclose(products.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(products.std(axis=0), 1, rtol=1e-12)
        values = np.maximum(products, 0)


@pytest.fixture(scope="module")
def mnist_torch():
    pytest.importorskip("torch", reason="pip install igan[parity]")
    from . import mnist_torch

    return mnist_torch


def assert_same_update(mnist_torch, parameters, batch, draws, noise_stds, learning_rate=0.1, steps=1):
    torch = mnist_torch.torch
    game = mnist_torch.Game(
        parameters, noise_stds=noise_stds, optimizer=mnist_torch.sgd(learning_rate), dtype=torch.float64
    )
    expected = parameters
    for _ in range(steps):
        expected, losses = reference.sgd_update(expected, batch, draws, learning_rate)
        found = game.step(mnist_torch.to_torch(batch, torch.float64), mnist_torch.to_torch(draws, torch.float64))
        for name, loss in losses.items():
            np.testing.assert_allclose(found[name].item(), loss, rtol=0, atol=1e-9, err_msg=name)
    for player, layers in game.parameters().items():
        for index, (layer, wanted, start) in enumerate(zip(layers, expected[player], parameters[player], strict=True)):
            assert layer.keys() == wanted.keys()
            for name in wanted:
                where = f"{player} {index} {name}"
                np.testing.assert_allclose(layer[name], wanted[name], rtol=0, atol=1e-9, err_msg=where)
                fixed = player == "discriminator" and name == "scale" and index < len(layers) - 1
                assert np.array_equal(layer[name], start[name]) == fixed, where


@pytest.mark.parametrize("seed", [0, 1])
def test_torch_and_numpy_make_the_same_updates(mnist_torch, seed):
    assert_same_update(mnist_torch, *small_game(seed), NOISE_STDS, steps=3)


def test_torch_and_numpy_make_the_same_update_without_noise(mnist_torch):
    parameters, batch, draws = small_game()
    draws = reference.Draws(draws.discriminator_latent, draws.generator_latent)
    assert_same_update(mnist_torch, parameters, batch, draws, (0.0,) * 4)


def test_torch_and_numpy_make_the_same_update_at_full_width(mnist_torch):
    widths = reference.GENERATOR_WIDTHS, reference.DISCRIMINATOR_WIDTHS
    game = small_game(0, *widths, reference.NOISE_STDS, size=10)
    assert_same_update(mnist_torch, *game, reference.NOISE_STDS)


def test_the_authors_adam_and_the_moving_average(mnist_torch):
    torch = mnist_torch.torch
    gradients = list(np.random.default_rng(0).normal(0, 1e-4, (5, 3, 2)))
    parameter = torch.nn.Parameter(torch.zeros(3, 2, dtype=torch.float64))
    optimizer = mnist_torch.AuthorsAdam([parameter])
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    found = parameter.detach().numpy()
    np.testing.assert_allclose(found, reference.adam(gradients), rtol=1e-12)

    game = mnist_torch.Game(small_game()[0], noise_stds=NOISE_STDS, average_rate=0.25)
    batch = mnist_torch.to_torch(small_game()[1])
    expected = [torch.zeros_like(parameter) for parameter in game.trained]
    for _ in range(3):
        game.step(batch)
        expected = [0.75 * mean + 0.25 * now.detach() for mean, now in zip(expected, game.trained, strict=True)]
    for mean, wanted in zip(game.average, expected, strict=True):
        torch.testing.assert_close(mean, wanted)
