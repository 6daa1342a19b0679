"""Images of a run's averaged generators: what scores look at and `igan.sample` writes."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from igan.config import Config
from igan.errors import UserError
from igan.game import inference
from igan.game.inference import NO_OPTIONS
from igan.metrics import images
from igan.metrics.extract import default_batch_size
from igan.metrics.images import Images
from igan.randomness import stream
from igan.run import experiment
from igan.run.experiment import Experiment
from igan.types import Array, GameState, Key, Networks, Params, Stage, Turn, Variables

POINTS_AT_ONCE = 2500


PASSES = "standing_passes"  # An option that all networks have: see `igan.game.inference.freeze`.


def reopen(config: Config, data_dir: str | None = None, with_data: bool = False) -> Experiment:
    """Returns the experiment of a run's config to draw its images, and changes the config to what that needs.

    Args:
      data_dir: where tensorflow-datasets keeps its data, if not where the run found them.
      with_data: whether the data are looked at too, and must be the run's. Generated images do not depend on them.

    Raises UserError as `igan.run.experiment.reopen` does.
    """
    if data_dir is not None:
        config.data.dir = data_dir
    config.evaluation.best = ""  # Which checkpoint is the best was decided by the run.
    if not with_data:
        config.data.fingerprint = ""
    return experiment.reopen(config)


def make_draw(
    built: Experiment, options: Mapping[str, float] = NO_OPTIONS, classes: Sequence[int] = (), columns: int = 0
) -> Callable[[GameState, int, int], Images]:
    """Returns a function (state, replica, count) -> images of the replica's averaged generator, as they are stored.

    Args:
      options: what the networks are asked for in sampling: a truncation, say. No setting of the run, and not in its
        config.
      classes: labels to generate, dealt in turn: image i is of the class `classes[i % len(classes)]`. Without, they are
        drawn as in training.
      columns: of rows that go from one image to another one, `interpolate`: row r goes from image 2r to image 2r + 1 in
        so many equal steps, all of them of one class, its first one's or `classes[r % len(classes)]`. 0: no such rows.

    Raises UserError for an option or a class that the networks do not have, and for classes of networks without labels.
    """
    game, space, networks = built.game, built.dataset.space, built.game.networks
    passes = int(options.get(PASSES, 1))
    options = {name: value for name, value in options.items() if name != PASSES}
    for name in options:
        if name not in networks.options:
            has = ", ".join(sorted(networks.options)) or "no options"
            raise UserError(f"these networks have no sampling option '{name}': they have {has}")
    if classes and not networks.classes:
        raise UserError("the networks of this run are given no labels: leave --class out")
    for label in classes:
        if not 0 <= label < networks.classes:
            raise UserError(f"there is no class {label}: use --class=0 to {networks.classes - 1}, or --class=all")
    mesh = Mesh(np.array(built.devices), ("data",))
    split, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    # As many as are then looked at; of points there is no reason to take few.
    block = default_batch_size(built.devices) if space.kind == "images" else POINTS_AT_ONCE * len(built.devices)

    pool, on_sphere = jnp.asarray(built.labels), bool(columns) and is_unbounded(networks)

    @functools.partial(jax.jit, static_argnums=4)
    def freeze(params: Params, variables: Variables, key: Key, step: Array, stage: Stage) -> Variables:
        count, turn = built.plan.initial_images, Turn(step, step, stage)
        labels = inference.sample_labels(game, pool, key, count)
        return inference.freeze(networks, params, variables, turn, key, count, labels, options, passes)

    @functools.partial(jax.jit, static_argnums=5)
    def draw(
        params: Params, variables: Variables, key: Key, step: Array, numbers: Array, stage: Stage
    ) -> tuple[Array, Array]:
        def one(key: Key) -> tuple[Array, Array | None]:
            latents, labels = networks.sample_latents(key, 1), inference.sample_labels(game, pool, key, 1)
            return jax.tree.map(lambda leaf: leaf[0], (latents, labels))

        def numbered(numbers: Array) -> tuple[Array, Array | None]:
            return jax.vmap(one)(jax.vmap(jax.random.fold_in, (None, 0))(stream(key, "scores"), numbers))

        if columns:
            numbers, place = jnp.divmod(numbers, columns)
            start, labels = numbered(2 * numbers)
            end, _ = numbered(2 * numbers + 1)
            latents = interpolate(start, end, place / (columns - 1), on_sphere)
        else:
            latents, labels = numbered(numbers)
        labels = jnp.asarray(classes)[numbers % len(classes)] if classes else labels
        turn = Turn(step, step, stage)
        generated = inference.sample(networks, params, variables, turn, key, latents, labels, options)
        return space.decode(generated, networks.image_range), jnp.isfinite(generated).all()

    def generated(state: GameState, replica: int, count: int) -> Images:
        player, stage = state.generator, built.plan.reached(int(state.step))
        one = jax.tree.map(lambda leaf: leaf[replica], (player.average, player.variables, state.key))
        params, variables, key, step = jax.device_put((*one, state.step), everywhere)
        variables = freeze(params, variables, key, step, stage)

        def read(start: int, stop: int) -> np.ndarray:
            parts = []
            for first in range(start, stop, block):
                numbers = jax.device_put(np.arange(first, first + block), split)
                pixels, is_finite = draw(params, variables, key, step, numbers, stage)
                if not is_finite:
                    raise UserError("the generator's images are not finite")
                parts.append(np.asarray(pixels)[: stop - first])
            return np.concatenate(parts)

        if space.kind != "images":  # Nor are they to be in three colours.
            return Images("averaged generator", count, read, content_hash=lambda: "")
        return images.from_function("averaged generator", count, read)

    return generated


def is_unbounded(networks: Networks) -> bool:
    """Returns whether latents are normal numbers, of which a third is not in [-1, 1], instead of uniform ones."""
    return bool(jnp.abs(networks.sample_latents(jax.random.key(0), 1000)).max() > 1)


def interpolate(start: Array, end: Array, share: Array, on_sphere: bool) -> Array:
    """Returns latents between others, float32 [n, latent_size].

    Normal latents of many numbers are all about as long, and what lies on a straight line between two of them is too
    short to be one: they go along the great circle, spherical interpolation (White 2016, section 2.1). Uniform ones go
    along the straight line, which stays in their cube.

    Args:
      start, end: float32 [n, latent_size].
      share: float32 [n], 0 at the start and 1 at the end.
      on_sphere: whether along the great circle.

    >>> interpolate(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]]), jnp.array([0.5]), on_sphere=True).round(3)
    Array([[0.707, 0.707]], dtype=float32)
    """
    share = share[:, None]
    straight = (1 - share) * start + share * end
    if not on_sphere:
        return straight
    lengths = jnp.linalg.norm(start, axis=1) * jnp.linalg.norm(end, axis=1)
    angle = jnp.arccos(jnp.clip(jnp.sum(start * end, axis=1) / lengths, -1, 1))[:, None]
    sine = jnp.sin(angle)
    # In one dimension, or by chance, they are on one line through zero: then there is no one circle.
    curved = (jnp.sin((1 - share) * angle) * start + jnp.sin(share * angle) * end) / jnp.where(sine < 1e-3, 1, sine)
    return jnp.where(sine < 1e-3, straight, curved)
