"""What stands beside a discriminator's last layer where it is given labels, or is to find them."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from igan.layers.weights import Layer, MakeLayer
from igan.types import Array, Context, Critique

MakeHead = Callable[[MakeLayer], Callable[[Critique, Array, Context], Critique]]


def no_head(layer: MakeLayer) -> Callable[[Critique, Array, Context], Critique]:
    """Returns what stands in the place of a head where there is none: it leaves the critique as it is.

    >>> no_head(WeightLayer)(said, features, context) is said
    True
    """
    return lambda said, features, context: said


class ProjectionHead(nn.Module):
    """Adds <V[y], h> to the logits (Miyato and Koyama 2018, equation 4).

    Attributes:
      layer: makes the table V as it makes the discriminator's other layers: spectrally normalised where they are. It
        is one matrix [classes, features] then.

    Example: `ProjectionHead(WeightLayer)(said, features, context)` for features h [n, f] and labels in the context.
    """

    layer: MakeLayer

    @nn.compact
    def __call__(self, said: Critique, features: Array, context: Context) -> Critique:
        assert context.labels is not None  # As `igan.run.experiment` sees to.
        table = self.layer(Layer(features.shape[-1], bias=False, is_last=True))
        projected = table(context.labels.astype(features.dtype), context)
        return said._replace(logits=said.logits + jnp.sum(projected * features, axis=1))


class ClassifierHead(nn.Module):
    """Adds a logit for each class beside the one of "real" (Odena et al. 2017), which stays as it is.

    Attributes:
      layer: makes the dense layer, as it makes the discriminator's other layers.

    Example: `ClassifierHead(WeightLayer)(said, features, context).class_logits` are float [n, classes].
    """

    layer: MakeLayer

    @nn.compact
    def __call__(self, said: Critique, features: Array, context: Context) -> Critique:
        assert context.labels is not None  # How many there are; which ones it is not told.
        classes = context.labels.shape[-1]
        return said._replace(class_logits=self.layer(Layer(classes, is_last=True))(features, context))
