"""The non-saturating game of Goodfellow et al. (2014), section 3: the generator minimises -E log D(G(z)).

Same fixed point as `minimax`, same discriminator, but the generator's gradient does not vanish while it is losing.
"""

import jax
import jax.numpy as jnp

from igan.technique import State, Technique
from igan.techniques import minimax
from igan.types import Array, Metrics, View


def make() -> Technique:
    """Returns the non-saturating objective of both players."""
    return Technique(discriminator_loss=minimax.discriminator_loss, generator_loss=generator_loss)


def generator_loss(state: State, view: View) -> tuple[Array, Metrics]:
    """-E log D(G(z))."""
    return jnp.mean(jax.nn.softplus(-view.fake.logits)), {}
