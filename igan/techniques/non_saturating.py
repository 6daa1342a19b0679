"""The non-saturating game of Goodfellow et al. (2014), section 3: the generator minimises -E log D(G(z)).

Same fixed point as `minimax`, same discriminator, but the generator's gradient does not vanish while it is losing.
"""

from igan.game.technique import State, Technique
from igan.techniques import minimax
from igan.types import Array, Metrics, View


def make() -> Technique:
    """Returns the non-saturating objective of both players."""
    return Technique(
        discriminator_loss=minimax.discriminator_loss,
        generator_loss=generator_loss,
        reads_targets=frozenset({"real", "generator"}),
        objective=True,
    )


def generator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """KL(target || D(G(z))); with the target 1 this is -E log D(G(z)).

    Example: a generator whose one image is a number moves up a discriminator whose logit is that number, by any optax
    optimiser.

    >>> import jax, optax
    >>> from igan.techniques.minimax import divergence
    >>> optimizer, image = optax.sgd(0.5), jax.numpy.array(0.0)
    >>> slope = jax.grad(lambda image: divergence(image[None], 1.0))(image)
    >>> updates, _ = optimizer.update(slope, optimizer.init(image))
    >>> optax.apply_updates(image, updates)
    Array(0.25, dtype=float32)
    """
    return minimax.divergence(view.fake.logits, view.targets.generator), {}
