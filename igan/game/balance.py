"""How the two players stand: what tells a game that goes on from one that is lost. Nothing is trained on it.

Nothing here changes the game: the state is looked at as the next update would, and what moves is thrown away.
"""

import jax
import jax.numpy as jnp
import optax

from igan.game.step import discriminator_slope, generator_slope
from igan.game.technique import Game, Technique
from igan.randomness import stream
from igan.types import Array, Batches, GameState, Metrics, Stage, Turn, View

MOST = 256  # Examples of a batch whose distances are looked at.
NAME = "balance"


def balance(game: Game, state: GameState, batches: Batches, stage: Stage) -> Metrics:
    """Returns scalars of one game by name, of the first step of each player in the update that would follow.

    - `diversity`, `separation`, `accuracy_real`, `accuracy_generated`: see `standing`.
    - `gradient_norm_discriminator`, `gradient_norm_generator`: Euclidean norms over all parameters, of all losses.
    - `gradient_ratio`: that of the generator over that of the discriminator.

    Args:
      state: one replica's.
      batches: of one update, as it would be given them.
      stage: the stage that the state is in.
    """
    boundary, by_class = boundary_of(game), bool(game.networks.classes)
    # What the discriminator's step sees is seen through the seam that is there for it.
    probe = Technique(report=lambda memory, view: standing(view, boundary, by_class))
    watched = game._replace(techniques={**game.techniques, NAME: probe})
    seen = state._replace(techniques={**state.techniques, NAME: None})
    key, slopes = stream(state.key, NAME, state.step), {}
    for player, slope, each_step in (
        ("discriminator", discriminator_slope, batches.discriminator),
        ("generator", generator_slope, batches.generator),
    ):
        turn = Turn(state.step, state.step * len(each_step), stage, len(each_step))
        part = jax.tree.map(lambda leaf: leaf[:: game.accumulate], each_step[0])
        slopes[player] = slope(watched, seen, turn, key, part)
    found = slopes["discriminator"].metrics
    prefix = f"d/{NAME}/"
    norms = {player: optax.tree.norm(slope.gradients) for player, slope in slopes.items()}
    return {
        **{name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)},
        **{f"gradient_norm_{player}": norm for player, norm in norms.items()},
        "gradient_ratio": norms["generator"] / norms["discriminator"],
    }


def standing(view: View, boundary: float | None, by_class: bool) -> Metrics:
    """Returns what the discriminator makes of a batch, and how much its generated examples differ.

    - `diversity`: mean distance of two generated examples over that of two real ones, see `mean_distance`; of the same
      class where networks are given labels. 1: as different as the data; near 0: the generator has collapsed.
    - `separation`: the share of pairs of a real and a generated example of which the real one has the higher logit.
      0.5: the discriminator cannot tell them apart; 1: it always can.
    - `accuracy_real`, `accuracy_generated`: the shares that it calls what they are. Left out where the objective has
      no logit between "generated" and "real" (`Technique.boundary`): only differences of a critic's mean something.
    """
    labels = (view.fake.labels, view.real.labels) if by_class else (None, None)
    found = {
        "diversity": mean_distance(view.fake.images, labels[0]) / mean_distance(view.real.images, labels[1]),
        "separation": jnp.mean(jnp.sign(view.real.logits[:, None] - view.fake.logits) + 1) / 2,
    }
    if boundary is not None:
        found["accuracy_real"] = jnp.mean(view.real.logits > boundary)
        found["accuracy_generated"] = jnp.mean(view.fake.logits < boundary)
    return jax.lax.stop_gradient(found)


def boundary_of(game: Game) -> float | None:
    """Returns the logit above which the discriminator says "real"; None where its objective has none."""
    for technique in game.techniques.values():
        if technique.objective and technique.discriminator_loss is not None:
            return technique.boundary
    return 0.0


def mean_distance(examples: Array, labels: Array | None = None) -> Array:
    """Returns the mean Euclidean distance of all pairs of the first 256 examples.

    Args:
      examples: float32 [n, ...].
      labels: int32 [n]; with them only pairs of the same class count, and without any such pair it is NaN.

    >>> float(mean_distance(jnp.array([[0.0, 0.0], [3.0, 4.0]])))
    5.0
    """
    flat = examples[:MOST].reshape(len(examples[:MOST]), -1)
    flat = flat - jnp.mean(flat, axis=0)  # Or examples that are nearly alike would differ by rounding alone.
    squares = jnp.sum(flat**2, axis=1)
    products = jnp.matmul(flat, flat.T, precision="highest")
    distances = jnp.sqrt(jnp.maximum(squares[:, None] + squares - 2 * products, 0))
    counted = jnp.triu(jnp.ones_like(distances), 1)
    if labels is not None:
        counted = counted * (labels[:MOST, None] == labels[:MOST])
    return jnp.sum(distances * counted) / jnp.sum(counted)
