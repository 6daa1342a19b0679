"""The projection discriminator (Miyato and Koyama 2018): it is told the class of each image.

D(x, y) = l(h(x)) + <V[y], h(x)>, equation 4: the logit gains the product of the features before the last layer with a
vector of the class. With `spectral_norm` the table V is normalised as one matrix, apart from l. Real images have their
own labels; a generated one has the label that the generator was given, drawn as `generated_labels` says.

The features are summed over space, and V starts, as the other layers do: see the network families.
"""

from collections.abc import Mapping

from igan.game.technique import Technique
from igan.layers.heads import ProjectionHead


def make() -> Technique:
    """Returns projection in the discriminator. Needs the label of every image."""
    return Technique(layers={"discriminator_head": ProjectionHead}, needs=frozenset({"labels"}), conflict=_told_twice)


def _told_twice(techniques: Mapping[str, Technique]) -> str | None:
    """Returns why the discriminator of a technique cannot be told the class, if there is one."""
    name = next((name for name, each in techniques.items() if "class_logits" in each.needs), None)
    if name is None:
        return None
    return (
        f"{name} has the discriminator find the class, of K + 1, and projection tells it: set"
        f" --config.techniques.{name}.enabled=False"
    )
