"""Replicas that are dealt out over devices: of networks with convolutions, too, nothing goes from one to another."""

import jax
import numpy as np
from ml_collections import ConfigDict

from igan import models
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
