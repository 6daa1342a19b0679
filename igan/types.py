"""The nouns of igan: frozen pytrees that hold arrays, and the shape of a network as pure functions.

Nothing in this file computes. Reading it tells what flows through `igan.game.step`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

Array = jax.Array
Key = jax.Array  # A typed key of `jax.random.key`.
Params = Any  # A pytree of trained arrays.
Variables = Any  # A pytree of arrays a network keeps but the optimiser does not train (fixed scales, batch statistics).
Metrics = dict[str, Array]  # Flat scalars by name.


class Player(NamedTuple):
    """One of the two players of the game."""

    params: Params
    variables: Variables
    opt_state: optax.OptState
    average: Params  # Moving average of `params`: what is tested and sampled.


class GameState(NamedTuple):
    """The whole game. With R replicas every leaf but `step` has a leading axis of length R."""

    step: Array  # int32, updates done so far; shared by all replicas.
    key: Key  # The root of all randomness of this game; never changes.
    generator: Player
    discriminator: Player
    techniques: Mapping[str, Any]  # The state of each technique that has one, by name.


class Batch(NamedTuple):
    """What one update of one player is given. What does not apply is None.

    Images are float32 [n, height, width, channels] in the networks' `image_range`; labels are int32 [n]. Where some
    images of the data set are labelled, a batch of those is drawn apart from `images`, which come without labels. Where
    all are, `labeled_labels` are those of `images` themselves and there are no `labeled_images`.
    """

    images: Array
    labeled_images: Array | None = None
    labeled_labels: Array | None = None


class Batches(NamedTuple):
    """One batch for each step of each player in one update."""

    discriminator: tuple[Batch, ...]
    generator: tuple[Batch, ...]


class Critique(NamedTuple):
    """What every discriminator returns for n images.

    A discriminator with K classes returns `logits = logsumexp(class_logits)`: its K + 1st class, "generated", has its
    logit fixed at zero (Salimans et al. 2016, section 5), so every technique that reads `logits` works on it unchanged.
    """

    logits: Array  # float32 [n]; positive means "real".
    features: Array  # float32 [n, f], the intermediate layer f(x) of feature matching.
    class_logits: Array | None = None  # float32 [n, classes].
    reconstruction: Array | None = None  # float32 like the images, for discriminators that are autoencoders.


class Targets(NamedTuple):
    """The probability "real" that the objectives aim at: 1 without label smoothing; generated images have target 0."""

    real: float = 1.0  # For real images, in the discriminator's loss.
    generator: float = 1.0  # For generated images, in the generator's loss.


class View(NamedTuple):
    """The only thing a technique may look at. What nobody reads is never computed: XLA drops it."""

    batch: Batch
    fake_images: Array  # float32 [n, height, width, channels].
    real: Critique
    fake: Critique
    labeled: Critique | None
    step: Array
    critique: Callable[[Array], Critique]  # Asks the discriminator about other images, for gradient penalties.
    targets: Targets = Targets()


class Network(NamedTuple):
    """A network as two pure functions.

    `init(key, inputs)` returns (params, variables); `inputs` is a real batch, for data-dependent initialisation.
    `apply(params, variables, key, inputs, train)` returns (output, variables). With `train` the network draws noise
    from `key` and uses the statistics of this very batch, which it leaves in the returned variables; without, it is
    deterministic and uses the statistics it finds in `variables`.
    `describe(inputs)` returns a table of the layers, their shapes and parameter counts.
    """

    init: Callable[[Key, Array], tuple[Params, Variables]]
    apply: Callable[..., tuple[Any, Variables]]
    describe: Callable[[Array], str]


class Networks(NamedTuple):
    """The two networks of a game and the spaces between them."""

    generator: Network  # latents -> images
    discriminator: Network  # images -> Critique
    sample_latents: Callable[[Key, int], Array]  # (key, n) -> float32 [n, latent_size]
    image_range: tuple[float, float]  # Lowest and highest pixel value of images on both sides.
    # The discriminator wants real and generated images as the two halves of one batch, not one batch after the other.
    joint: bool = False
    # Mostly convolutions: they gain nothing from several batches side by side, as matrix products do.
    convolutional: bool = False
