"""One-sided label smoothing (Salimans et al. 2016, section 3.4): real images have the target 0.9 instead of 1.

Only the real side: with targets alpha and beta for real and generated images the best discriminator is
D(x) = (alpha p_data(x) + beta p_model(x)) / (p_data(x) + p_model(x)), and with p_model in the numerator, generated
images far from the data have no incentive to move. The targets are read by the objective (`minimax`,
`non_saturating`); on their own they change nothing.
"""

from collections.abc import Mapping

from igan.errors import UserError
from igan.game.technique import Technique
from igan.types import Targets


def make(real_target: float = 0.9, generator_target: float = 1.0) -> Technique:
    """Returns one-sided label smoothing.

    Args:
      real_target: alpha, the probability "real" that the discriminator aims at for real images.
      generator_target: what the generator of `non_saturating` aims at (0.375 in the released ImageNet code).

    Raises UserError for a target outside (0, 1].
    """
    for name, target in (("real_target", real_target), ("generator_target", generator_target)):
        if not 0 < target <= 1:
            raise UserError(f"techniques.label_smoothing.{name} is {target}, expected a probability in (0, 1]")

    def conflict(techniques: Mapping[str, Technique]) -> str | None:
        readers = {target for technique in techniques.values() for target in technique.reads_targets}
        if "real" not in readers:
            return (
                "no enabled objective has targets for real images: enable minimax or non_saturating,"
                " with a discriminator_weight above 0"
            )
        if generator_target != 1 and "generator" not in readers:
            return (
                f"generator_target={generator_target} but no enabled objective has a target for the generator: enable"
                " non_saturating, with a generator_weight above 0"
            )
        return None

    return Technique(targets=Targets(real_target, generator_target), conflict=conflict)
