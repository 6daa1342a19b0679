"""The nouns of igan: frozen pytrees that hold arrays, and the shape of a network as pure functions.

Nothing in this file computes. Reading it tells what flows through `igan.game.step`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

Array = jax.Array
Key = jax.Array  # A typed key of `jax.random.key`.
Params = Any  # A pytree of trained arrays.
Variables = Any  # A pytree of arrays a network keeps but the optimiser does not train (fixed scales, batch statistics).
Metrics = dict[str, Array]  # Flat scalars by name.
Range = tuple[float, float]  # The lowest and the highest value of a pixel.


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


class Stage(NamedTuple):
    """A stretch of the run with a program of its own, as a growing network has for each size. Static, never traced.

    Most games have one. The stage of an update is a pure function of its number; the parameters of all stages are there
    from the start, so that a state has one form through the whole run. The optimisers start anew in each.
    """

    index: int = 0
    start: int = 0  # Its first update.
    batch_sizes: tuple[int, int] = (0, 0)  # Images a step of the discriminator and of the generator; 0: the config's.
    images: int = 0  # Real images that the discriminator is shown in it; 0: `start` counts, or the run's end.
    rate: float = 1.0  # Multiplies both players' learning rates.
    name: str = ""  # What it is, for people.
    # Filled in by a run, as are the start and the sizes that are not given:
    consumed: tuple[int, int] = (0, 0)  # how many images of its stream each player has been given before,
    updates: int = 0  # and how many updates it has; 0 for the last one, which ends with the run.


class Turn(NamedTuple):
    """Where in the game we are. Shared by all replicas and never mapped over, so that a `cond` on it stays one."""

    step: Array  # int32 [], updates done.
    count: Array  # int32 [], steps that this player has done: what to count for "every k-th step".
    stage: Stage
    steps: int = 1  # Of this player an update. Static.


@dataclasses.dataclass(frozen=True, repr=False)
class Context:
    """All that a network may depend on besides its parameters, its variables and its inputs.

    Made inside the trace, where it is used, and no pytree: it cannot be scanned, mapped over or returned.
    """

    key: Key
    turn: Turn
    train: bool  # Static. Whether to draw noise, and to use the statistics of this very batch.
    labels: Array | None = None  # float32 [n, classes], one-hot, of the inputs; None for networks without labels.
    # Of sampling only: those of `Networks.options` that were given, which are static.
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:  # In tables of layers.
        return "training" if self.train else "sampling"


class Examples(NamedTuple):
    """A group of n images of one kind: real, labelled, generated, or what a technique makes of them."""

    images: Array  # float32 [n, height, width, channels] in the networks' `image_range`.
    labels: Array | None = None  # int32 [n], where they are known.
    latents: Array | None = None  # float32 [n, latent_size], of generated ones.


class Batch(NamedTuple):
    """What one step of one player is given.

    Where some images of the data set are labelled, a batch of those is drawn apart from the `real` ones, which come
    without labels. Where all are needed and known, the real ones have them and there are no others.
    """

    real: Examples
    labeled: Examples | None = None


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
    reconstruction: Array | None = None  # float32 like its inputs, for discriminators that are autoencoders.


class Seen(NamedTuple):
    """A group of images, what the discriminator was shown of them, and what it says: `Examples` and `Critique`.

    Where a technique makes one input of m neighbouring images (`Technique.images_per_input`), there are n / m inputs,
    and as many logits, features and so on; `images.reshape(len(logits), -1)` are the pixels of each input.
    """

    images: Array
    labels: Array | None
    latents: Array | None
    inputs: Array  # What the discriminator was shown: augmented, say. Reconstructions are compared with this.
    logits: Array
    features: Array
    class_logits: Array | None
    reconstruction: Array | None


class Targets(NamedTuple):
    """The probability "real" that the objectives aim at: 1 without label smoothing; generated images have target 0."""

    real: float = 1.0  # For real images, in the discriminator's loss.
    generator: float = 1.0  # For generated images, in the generator's loss.


class View(NamedTuple):
    """The only thing a technique may look at. What nobody reads is never computed: XLA drops it."""

    real: Seen
    fake: Seen
    labeled: Seen | None  # Images with labels, which may be the real ones themselves.
    turn: Turn
    key: Key  # The technique's own, of this step of this player.
    # (examples, plain=False) -> what the discriminator says of other images, of the real ones' labels if they have none
    judge: Callable[..., Seen]  # of their own. With `plain` no technique changes its inputs: as the images are.
    generate: Callable[..., Array]  # (latents, labels=None) -> images of this step's generator, differentiable.
    targets: Targets = Targets()
    ramp: Array | float = 0.0  # From 0 to 1: how far what has a last value is on its way; see `igan.game.schedule`.


class Network(NamedTuple):
    """A network as two pure functions.

    `init(context, inputs)` returns (params, variables); `inputs` is a real batch, for data-dependent initialisation,
    and the context's stage is the last one: the parameters are those of all.
    `apply(params, variables, context, inputs)` returns (output, variables). With `context.train` the network draws
    noise from the context's key and uses the statistics of this very batch, which it leaves in the returned variables;
    without, it is deterministic and uses the statistics it finds in `variables`.
    `describe(context, inputs)` returns a table of the layers, their shapes and parameter counts.
    """

    init: Callable[[Context, Array], tuple[Params, Variables]]
    apply: Callable[[Params, Variables, Context, Array], tuple[Any, Variables]]
    describe: Callable[[Context, Array], str]


class Networks(NamedTuple):
    """The two networks of a game and the spaces between them."""

    generator: Network  # latents -> images
    discriminator: Network  # images -> Critique
    sample_latents: Callable[[Key, int], Array]  # (key, n) -> float32 [n, latent_size]
    image_range: Range  # Of images on both sides.
    # The discriminator wants real and generated images in one batch, by turns, not one batch after the other.
    joint: bool = False
    # Mostly convolutions: they gain nothing from several batches side by side, as matrix products do.
    convolutional: bool = False
    blocks: bool = False  # Whether they have blocks whose ends are marked (`igan.layers.block_end`).
    gives: frozenset[str] = frozenset()  # What techniques may need of them: names of `igan.game.technique.NEEDS`.
    classes: int = 0  # Of the labels that both are given (`Context.labels`); 0: none.
    stages: tuple[Stage, ...] = (Stage(),)  # For networks that grow, which also
    at_stage: Callable[[Array, Turn], Array] = lambda images, turn: images  # make real images as small as their own.
    options: frozenset[str] = frozenset()  # What can be asked of them when they are sampled: a truncation, say.


class Modes(NamedTuple):
    """Where the data of a mixture of Gaussians are, all of its components alike."""

    centres: np.ndarray  # float [modes, coordinates], each of them once.
    std: float  # Along each axis.


class Space(NamedTuple):
    """What examples of a data set are: images, mostly. Networks say which kinds they take."""

    kind: str  # "images", or something else.
    shape: tuple[int, ...]  # Of one example.
    storage: np.dtype  # In which examples are kept, and fed to the devices.
    encode: Callable[[Any, Range], Array]  # Stored examples -> float32, what the networks see.
    decode: Callable[[Array, Range], Array]  # The way back: what is written to files and scored.
    picture: Callable[[np.ndarray, Range], np.ndarray]  # float [R, n, *shape] of R replicas -> uint8 [h, w(, 3)]
    modes: Modes | None = None  # Of data that are a mixture, for pictures and scores.
