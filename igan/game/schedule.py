"""What changes while a game is played, as pure functions of the updates before, so that a resumed run goes on in it.

R3GAN moves five things at once (Huang et al. 2024, table of hyper-parameters): both players' learning rates and Adam's
second decays, gamma, the probability of augmentations, the half-life of averages. They go from a first to a last value
along half a cosine of the real images that the discriminator has been shown, all over the same number of images: one
share, the ramp, says where each of them is.
"""

from typing import NamedTuple

import jax.numpy as jnp

from igan.types import Array, Stage


class Schedule(NamedTuple):
    """The stages of a run, and the ramp over its beginning or all of it.

    >>> schedule = Schedule((Stage(batch_sizes=(10, 10)),), ramp_images=400)
    >>> print([f"{schedule.ramp(step):.3f}" for step in (0, 10, 20, 40, 1000)])
    ['0.000', '0.146', '0.500', '1.000', '1.000']
    """

    stages: tuple[Stage, ...] = (Stage(),)  # As `igan.game.stages.complete_stages` has filled them in.
    discriminator_steps: int = 1  # An update.
    ramp_images: int = 0  # 0: nothing moves.

    def images(self, step: Array | int) -> Array:
        """Returns the real images that the discriminator has been shown before this update, int32."""
        stage, starts = self._stage(step), jnp.asarray([each.start for each in self.stages])
        seen = jnp.asarray([each.consumed[0] for each in self.stages])
        an_update = jnp.asarray([each.batch_sizes[0] * self.discriminator_steps for each in self.stages])
        return seen[stage] + (step - starts[stage]) * an_update[stage]

    def ramp(self, step: Array | int) -> Array | float:
        """Returns how far what has a last value is on its way there, from 0 to 1; slowly at both ends."""
        if not self.ramp_images:
            return 0.0
        share = jnp.minimum(self.images(step) / self.ramp_images, 1.0)
        return (1 - jnp.cos(jnp.pi * share)) / 2

    def rate(self, step: Array | int) -> Array:
        """Returns what multiplies both players' learning rates in this update, as its stage says."""
        return jnp.asarray([each.rate for each in self.stages])[self._stage(step)]

    def _stage(self, step: Array | int) -> Array:
        return jnp.searchsorted(jnp.asarray([each.start for each in self.stages]), step, side="right") - 1


def moved(first: Array | float, last: float, ramp: Array | float) -> Array | float:
    """Returns what is on its way from its first to its last value; the first one, if the last one is 0.

    >>> moved(2e-4, 5e-5, ramp=0.5), moved(2e-4, 0.0, ramp=0.5)
    (0.000125, 0.0002)
    """
    return first + (last - first) * ramp if last else first
