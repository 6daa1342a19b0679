"""Images of a run's averaged generators: what scores look at and `igan.sample` writes."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from igan import hosts
from igan.config import Config
from igan.errors import UserError
from igan.game import inference
from igan.game.inference import NO_OPTIONS
from igan.layers.interpolation import BETWEEN, lerp, slerp
from igan.layers.truncation import PSI, why_not
from igan.metrics import images
from igan.metrics.extract import default_batch_size, of_this_host
from igan.metrics.images import Images
from igan.metrics.path_length import EPSILON
from igan.randomness import stream
from igan.run import experiment
from igan.run.experiment import Experiment
from igan.types import Array, GameState, Key, Networks, Params, Space, Stage, Turn, Variables

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


Draw = Callable[[GameState, int, int], Images]
# (params, variables, key, turn, numbers) -> images of these numbers in the networks' range.
Imagine = Callable[[Params, Variables, Key, Turn, Array], Array]


def make_draw(
    built: Experiment, options: Mapping[str, float] = NO_OPTIONS, classes: Sequence[int] = (), columns: int = 0
) -> Draw:
    """Returns a function (state, replica, count) -> images of the replica's averaged generator, as they are stored.

    They are drawn as they are read, on the devices of this host: whoever reads some of several hosts' waits for none.
    Those that are smaller than the data's, of networks that are growing, are made as large: see `as_large`.

    Args:
      options: what the networks are asked for in sampling: a truncation, say. No setting of the run, and not in its
        config.
      classes: labels to generate, dealt in turn: image i is of the class `classes[i % len(classes)]`. Without, they are
        drawn as in training.
      columns: of rows that go from one image to another one, along the great circle between normal latents, which are
        all about as long (White 2016, section 2.1), and straight between uniform ones, in their cube: row r goes from
        image 2r to image 2r + 1 in so many equal steps, all of one class, its first one's or that of
        `classes[r % len(classes)]`. 0: no such rows.

    Raises UserError for an option or a class that the networks do not have, and for classes of networks without labels.
    """
    game, space, networks = built.game, built.dataset.space, built.game.networks
    options, passes = checked(built, options)
    if classes and not networks.classes:
        raise UserError("the networks of this run are given no labels: leave --class out")
    for label in classes:
        if not 0 <= label < networks.classes:
            raise UserError(f"there is no class {label}: use --class=0 to {networks.classes - 1}, or --class=all")
    pool = jnp.asarray(built.labels)
    between = slerp if columns and is_unbounded(networks) else lerp

    def imagine(params: Params, variables: Variables, key: Key, turn: Turn, numbers: Array) -> Array:
        def one(key: Key) -> tuple[Array, Array | None]:
            latents, labels = networks.sample_latents(key, 1), inference.sample_labels(game, pool, key, 1)
            return jax.tree.map(lambda leaf: leaf[0], (latents, labels))

        def numbered(numbers: Array) -> tuple[Array, Array | None]:
            return jax.vmap(one)(jax.vmap(jax.random.fold_in, (None, 0))(stream(key, "scores"), numbers))

        if columns:
            numbers, place = jnp.divmod(numbers, columns)
            first, labels = numbered(2 * numbers)
            latents = between(first, numbered(2 * numbers + 1)[0], place / (columns - 1))
        else:
            latents, labels = numbered(numbers)
        labels = jnp.asarray(classes)[numbers % len(classes)] if classes else labels
        return inference.sample(networks, params, variables, turn, key, latents, labels, options)

    def store(generated: Array) -> Array:
        return space.decode(as_large(generated, space), networks.image_range)

    draw = _reader(built, options, passes, imagine, store)

    def generated(state: GameState, replica: int, count: int) -> Images:
        read = draw(state, replica)
        if space.kind != "images":  # Nor are they to be in three colours.
            return Images("averaged generator", count, read, content_hash=lambda: "")
        return images.from_function("averaged generator", count, read)

    return generated


def make_paths(built: Experiment, options: Mapping[str, float] = NO_OPTIONS) -> tuple[str, Draw]:
    """Returns how paths go, in words, and a function (state, replica, count) -> the images of so many of them.

    Path i is a pure function of the seed and of i; images 2i and 2i + 1 are those at t and t + epsilon, float32 in
    0..255, in colours. Both have the same label and the same noise. See `igan.metrics.path_length`.

    Args:
      options: as those of `make_draw`.

    Raises UserError for an option that the networks do not have.
    """
    game, networks = built.game, built.game.networks
    options, passes = checked(built, options)
    has_styles, pool = PSI in networks.options, jnp.asarray(built.labels)

    def imagine(params: Params, variables: Variables, key: Key, turn: Turn, numbers: Array) -> Array:
        def one(key: Key, end: Array) -> tuple[Array, Array, Array | None]:
            ends, labels = networks.sample_latents(key, 2), inference.sample_labels(game, pool, key, 1)
            share = jax.random.uniform(stream(key, "share")) + EPSILON * end
            return ends, share, None if labels is None else labels[0]

        keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(key, "paths"), numbers // 2)
        ends, shares, labels = jax.vmap(one)(keys, numbers % 2)
        first, second = ends[:, 0], ends[:, 1]
        asked = {**options, BETWEEN: shares} if has_styles else options
        latents = jnp.concatenate([first, second]) if has_styles else slerp(first, second, shares)
        return inference.sample(networks, params, variables, turn, key, latents, labels, asked)

    def store(generated: Array) -> Array:
        low, high = networks.image_range
        generated = as_large(generated, built.dataset.space)
        return jnp.repeat((generated - low) * (255 / (high - low)), 3 // generated.shape[-1], axis=-1)

    draw = _reader(built, options, passes, imagine, store)

    def generated(state: GameState, replica: int, count: int) -> Images:
        return Images("paths of the averaged generator", 2 * count, draw(state, replica), content_hash=lambda: "")

    return "lerp in w" if has_styles else "slerp in z", generated


def checked(built: Experiment, options: Mapping[str, float]) -> tuple[dict[str, float], int]:
    """Returns what of the options is the networks' own, and the passes over which statistics are averaged.

    Raises UserError for an option that the networks do not have.
    """
    for name in options.keys() - {PASSES}:
        if name not in (known := built.game.networks.options):
            raise UserError(why_not(name, known))
    return {name: value for name, value in options.items() if name != PASSES}, int(options.get(PASSES, 1))


def _reader(
    built: Experiment,
    options: Mapping[str, float],
    passes: int,
    imagine: Imagine,
    store: Callable[[Array], Array],
) -> Callable[[GameState, int], Callable[[int, int], np.ndarray]]:
    """Returns a function (state, replica) -> (start, stop) -> images of these numbers, drawn on this host's devices."""
    game, networks = built.game, built.game.networks
    here = of_this_host(built.devices)
    mesh = Mesh(np.array(here), ("data",))
    split, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    # As many as are then looked at; of points there is no reason to take few.
    is_of_images = built.dataset.space.kind == "images"
    each = default_batch_size(built.devices) // len(built.devices) if is_of_images else POINTS_AT_ONCE
    block = each * len(here)
    pool = jnp.asarray(built.labels)

    @functools.partial(jax.jit, static_argnums=4)
    def freeze(params: Params, variables: Variables, key: Key, step: Array, stage: Stage) -> Variables:
        count, turn = built.plan.initial_images, Turn(step, step, stage)
        labels = inference.sample_labels(game, pool, key, count)
        return inference.freeze(networks, params, variables, turn, key, count, labels, options, passes)

    @functools.partial(jax.jit, static_argnums=5)
    def draw(
        params: Params, variables: Variables, key: Key, step: Array, numbers: Array, stage: Stage
    ) -> tuple[Array, Array]:
        generated = imagine(params, variables, key, Turn(step, step, stage), numbers)
        return store(generated), jnp.isfinite(generated).all()

    def start(state: GameState, replica: int) -> Callable[[int, int], np.ndarray]:
        player, stage = state.generator, built.plan.reached(int(state.step))
        one = hosts.pick((player.average, player.variables, state.key), replica)
        params, variables, key, step = jax.device_put((*one, jnp.int32(int(state.step))), everywhere)
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

        return read

    return start


def as_large(generated: Array, space: Space) -> Array:
    """Returns images as large as the data, each pixel a square: as a resolution that fades in sees those before it.

    Args:
      generated: float [n, side, side, channels], of the data's side divided by a whole number; or what is no images.
    """
    if space.kind != "images" or (factor := space.shape[0] // generated.shape[1]) == 1:
        return generated
    return jnp.repeat(jnp.repeat(generated, factor, axis=1), factor, axis=2)


def enlarged(built: Experiment, step: int) -> str:
    """Returns how images are made as large as the data after so many updates, in words; "" where they are so already.

    >>> enlarged(built, step=100)  # doctest: +SKIP
    'images of 8 x 8 pixels made 32 x 32'
    """
    space, turn = built.dataset.space, Turn(jnp.int32(step), jnp.int32(step), built.plan.reached(step))
    if space.kind != "images":
        return ""
    whole = jax.ShapeDtypeStruct((1, *space.shape), jnp.float32)
    side = jax.eval_shape(lambda images: built.game.networks.at_stage(images, turn), whole).shape[1]
    full = space.shape[0]
    return "" if side == full else f"images of {side} x {side} pixels made {full} x {full}"


def is_unbounded(networks: Networks) -> bool:
    """Returns whether latents are normal numbers, of which a third is not in [-1, 1], instead of uniform ones."""
    return bool(jnp.abs(networks.sample_latents(jax.random.key(0), 1000)).max() > 1)


def dealt(images: Images) -> Images:
    """Returns images of which several hosts read a part each: all of them have to read the same."""
    count = jax.process_count()

    def read(start: int, stop: int) -> np.ndarray:
        bounds = [start + (stop - start) * host // count for host in range(count + 1)]
        first, last = bounds[jax.process_index() :][:2]
        parts = hosts.share(lambda: images.read(first, last) if first < last else None)
        return np.concatenate([part for part in parts if part is not None])

    return images._replace(read=read) if count > 1 else images
