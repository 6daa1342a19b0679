"""The numbers of a run that shape its programs, and the stages of networks that grow."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from igan.types import Stage


class Plan(NamedTuple):
    """The numbers of a run that shape its compiled programs."""

    replicas: int
    discriminator_steps: int  # Steps of the discriminator an update.
    generator_steps: int
    initial_images: int  # Real images for data-dependent initialisation, latents for fresh batch statistics.
    stages: tuple[Stage, ...]  # In order; one, unless the networks grow.
    all_labeled: bool = False  # Whether every training image comes with its label.
    accumulate: int = 1  # In how many parts a step looks at its batch.
    shared: int = 1  # Devices that play a part of each batch by themselves, as under `jax.pmap`; 1: the batch is one.
    mirror: bool = False  # Whether real images are mirrored at random.

    @property
    def steps(self) -> tuple[int, int]:
        """Steps of the discriminator and of the generator an update."""
        return self.discriminator_steps, self.generator_steps

    def stage(self, step: int) -> Stage:
        """Returns the stage of the update that follows `step` others."""
        return [each for each in self.stages if each.start <= step][-1]

    def reached(self, step: int) -> Stage:
        """Returns the stage of a state after `step` updates: that of the last one."""
        return self.stage(max(step - 1, 0))

    def updates_for(self, images: int) -> int:
        """Returns after how many updates the discriminator has been shown so many real images, and no more."""
        stage = [each for each in self.stages if each.consumed[0] < images or each.index == 0][-1]
        return stage.start + (images - stage.consumed[0]) // (stage.batch_sizes[0] * self.discriminator_steps)

    def tested_at_once(self, stage: Stage) -> int:
        """Returns how many images a discriminator is given at once in a test: as many as in training."""
        return stage.batch_sizes[0] // (self.accumulate * self.shared)

    def end(self, stage: Stage, total_updates: int) -> int:
        """Returns the first update after a stage."""
        following = self.stages[stage.index + 1 : stage.index + 2]
        return min(following[0].start, total_updates) if following else total_updates


def complete_stages(stages: Sequence[Stage], batch_sizes: tuple[int, int], steps: tuple[int, int]) -> tuple[Stage, ...]:
    """Returns the stages that networks ask for with the batches of a run.

    Args:
      batch_sizes: of the discriminator and of the generator, for stages that have none of their own.
      steps: of both, an update.

    A length in images is brought to a round number of updates, which is not a hundredth off: 3 digits at most, and
    ends with a zero from 100 on. The chunks of a run are then alike.

    >>> complete_stages([Stage(), Stage(1, start=10, batch_sizes=(4, 4))], (16, 16), (1, 2))[1].consumed
    (160, 320)
    >>> complete_stages([Stage(images=600_000), Stage(1)], (128, 128), (1, 1))[1].start
    4690
    """
    filled: list[Stage] = []
    for stage in stages:
        if filled and (before := filled[-1]).images:
            stage = stage._replace(start=before.start + _round_updates(before, steps[0]))
        if filled:
            filled[-1] = filled[-1]._replace(updates=stage.start - filled[-1].start)
        sizes = tuple(own or usual for own, usual in zip(stage.batch_sizes, batch_sizes, strict=True))
        consumed = (0, 0)
        if filled:
            before = filled[-1]
            updates = stage.start - before.start
            consumed = tuple(
                seen + updates * count * size
                for seen, count, size in zip(before.consumed, steps, before.batch_sizes, strict=True)
            )
        filled.append(stage._replace(batch_sizes=sizes, consumed=consumed))
    return tuple(filled)


def _round_updates(stage: Stage, steps: int) -> int:
    """Returns how many updates show the discriminator about as many real images as a stage asks for."""
    exact = stage.images / (stage.batch_sizes[0] * steps)
    unit = 10 ** max(0, math.floor(math.log10(exact / 50))) if exact >= 50 else 1
    return max(1, math.ceil(exact / unit - 0.5) * unit)
