"""The auxiliary classifier (Odena et al. 2017, "ACGAN", section 3): the discriminator also finds the class.

Beside the logit of "real" it has a dense layer with a logit for each class, on the same features. Both players lower
the cross-entropy L_C of the classes: the discriminator that of real and of generated images, with the labels that the
generator was given; the generator that of its own. What the players do about "real" is their objective's, as ever.

Other than `semi_supervised`, whose K classes are the logit of "real" themselves.

`cross_entropy` is a function of arrays and works without the rest of igan.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from igan.errors import UserError
from igan.game.technique import State, Technique
from igan.layers.heads import ClassifierHead
from igan.types import Array, Metrics, Seen, View


def make(generated: bool = True) -> Technique:
    """Returns the auxiliary classifier. Needs the label of every image.

    Args:
      generated: whether the discriminator also learns the classes of generated images, as in the paper. Without, a
        generator that is far from its classes at first does not teach it wrong ones.

    Raises UserError for anything but True or False.
    """
    if not isinstance(generated, bool):
        raise UserError(f"techniques.auxiliary_classifier.generated is {generated}, expected True or False")

    def discriminator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        (real, error), (fake, fake_error) = _classified(view.real), _classified(view.fake)
        loss = real + fake if generated else real
        return loss, {"real": real, "fake": fake, "error": error, "generated_error": fake_error}

    def generator_loss(state: State, view: View) -> tuple[Array, Metrics]:
        loss, error = _classified(view.fake)
        return loss, {"error": error}

    return Technique(
        discriminator_loss=discriminator_loss,
        generator_loss=generator_loss,
        layers={"discriminator_head": ClassifierHead},
        needs=frozenset({"labels"}),
        conflict=_two_kinds_of_classes,
    )


def cross_entropy(class_logits: Array, labels: Array) -> Array:
    """Returns -E log softmax(class_logits)[label].

    Args:
      class_logits: float [n, classes].
      labels: int [n].

    Example: the classes 0 and 1 with the probabilities 3/4 and 1/4.

    >>> import jax.numpy as jnp
    >>> from igan.techniques.auxiliary_classifier import cross_entropy
    >>> jnp.exp(-cross_entropy(jnp.log(jnp.array([[3.0, 1.0]])), jnp.array([1])))
    Array(0.25, dtype=float32)

    A step of a classifier whose logits are its parameters, by any optax optimiser:

    >>> import jax, optax
    >>> optimizer, logits = optax.sgd(1.0), jnp.zeros((1, 2))
    >>> slope = jax.grad(cross_entropy)(logits, jnp.array([1]))
    >>> updates, _ = optimizer.update(slope, optimizer.init(logits))
    >>> optax.apply_updates(logits, updates)
    Array([[-0.5,  0.5]], dtype=float32)
    """
    chosen = jnp.take_along_axis(class_logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(class_logits, axis=1) - chosen)


def _classified(seen: Seen) -> tuple[Array, Array]:
    """Returns the cross-entropy of a group's classes, and the share that is found wrong."""
    assert seen.class_logits is not None and seen.labels is not None
    wrong = jnp.argmax(seen.class_logits, axis=1) != seen.labels
    return cross_entropy(seen.class_logits, seen.labels), jnp.mean(wrong, dtype=jnp.float32)


def _two_kinds_of_classes(techniques: Mapping[str, Technique]) -> str | None:
    """Returns why a technique whose classes are the logit of "real" cannot stand beside this one, if there is one."""
    name = next((name for name, each in techniques.items() if "class_logits" in each.needs), None)
    if name is None:
        return None
    return (
        f"the logits of its classes are apart from that of real, and those of {name} are that: set"
        f" --config.techniques.{name}.enabled=False"
    )
