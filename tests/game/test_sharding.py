"""What goes from device to device: nothing of replicas, and of a batch that is split only what belongs to all of it."""

import jax
import numpy as np
from ml_collections import ConfigDict

from igan import models
from igan.planning import shapes
from igan.run import experiment
from tests.collectives import COLLECTIVE


def test_convolutional_replicas_are_dealt_out_too(small):
    """The compiler by itself would gather the kernels of all of them on each device."""
    small.networks = ConfigDict(models.defaults("dcgan") | {"generator_widths": (4, 2), "discriminator_widths": (2, 4)})
    small.replicas, small.batch_size, small.initial_images = 4, 4, 4
    for player in (small.discriminator, small.generator):
        player.optimizer, player.learning_rate = "sgd", 0.1
    ends = []
    for devices in (1, 2):
        small.devices = devices
        built = experiment.build(small)
        engine, stage = built.engine, built.plan.stages[0]
        program = engine.compile(stage, 2).as_text()
        assert ("num_partitions=2" in program) == (devices == 2)
        assert COLLECTIVE.findall(program) == []
        state, metrics = engine.run(engine.initialize(1), stage, 2)
        seen = engine.test_errors(state, stage), engine.sample(state, stage, 3)
        ends.append(jax.device_get((state._replace(key=None), metrics, seen)))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5), *ends)


def test_a_split_batch_beside_another_stays_where_it_is(small):
    """The reference batch of virtual batch normalisation, and generated images beside real ones."""
    networks = {"generator_widths": (3, 2), "noise_channels": (1, 1), "latent_size": 3}
    networks |= {"discriminator_widths": (2,), "discriminator_strides": (2,), "dense_width": 3}
    small.networks = ConfigDict(models.defaults("imagenet") | networks)
    small.labels_per_class, small.devices, small.batch_size, small.initial_images = 0, 2, 8, 8
    small.techniques.virtual_batch_norm.update(enabled=True, reference_size=4)
    built = experiment.build(small, loaded=shapes.of(small, "40x8x8x3:4"))
    program = built.engine.compile(built.plan.stages[0], 1).as_text()
    assert set(COLLECTIVE.findall(program)) == {"all-reduce"}  # Gradients and batch statistics.
