"""Every config either is refused with one line or runs: the checks of `igan.config`, and a search for exceptions."""

import inspect
import re

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from igan import config as configs
from igan.config import default, validate
from igan.errors import RunError, UserError
from igan.game import technique
from igan.run import experiment
from igan.run.finite import check_finite
from tests.techniques.suite import SMALL


def put(config: ConfigDict, field: str, value: object) -> None:
    *sections, name = field.split(".")
    for section in sections:
        config = config[section]
    with config.ignore_type():
        config[name] = value


def tiny() -> ConfigDict:
    config = default()
    config.data.source = "embedded"
    config.devices = 1
    config.epochs = 1
    config.batch_size = 4
    config.initial_images = 8
    config.steps_per_chunk = 2
    config.networks.latent_size = 2
    config.networks.generator_layers = (3,)
    config.networks.discriminator_layers = (4,)
    config.techniques.semi_supervised.enabled = True
    config.techniques.feature_matching.enabled = True
    config.techniques.minibatch_discrimination.kernels = 3
    config.techniques.virtual_batch_norm.reference_size = 4
    return config


def run_two_updates(config: ConfigDict) -> None:
    """Builds a game and plays two updates; what comes out is finite or named."""
    built = experiment.build(config)
    assert built.total_updates >= 1 and 1 <= built.updates_per_chunk <= built.total_updates
    _, metrics = built.engine.run(built.engine.initialize(config.seed), built.plan.stages[0], 2)
    for name, values in metrics.items():
        assert values.shape == (config.replicas, 2) and values.dtype == np.float32, name
    try:
        check_finite(jax.device_get(metrics), 2, list)
    except RunError as error:
        assert any(name in str(error) for name in metrics)


def refuses_or_runs(config: ConfigDict) -> None:
    try:
        run_two_updates(config)
    except UserError as error:
        assert str(error) and "\n" not in str(error)


NUMBERS = (0, -1, 1, 2, 3, 7, 2**31, 10**20)
FRACTIONS = (0.0, -0.5, 0.5, 1.0, 1e30, 1e-50, float("nan"), float("inf"))
WIDTHS = ((), (0,), (1,), (-1,), (3, 0, 2), (2.5,), ("wide",), (1, 1))
VALUES: dict[str, tuple] = {
    "seed": NUMBERS,
    "replicas": (0, -1, 2, 10**20),
    "epochs": NUMBERS,
    "batch_size": (0, -1, 1, 3, 4001, 10**20),
    "accumulate": (0, -1, 1, 2, 4, 10**20),
    "remat": (False, True),
    "generator.batch_size": (0, -1, 1, 3, 8, 10**20),
    "labels_per_class": (0, -1, 1, 400, 401, 10**20),
    "initial_images": (0, -1, 1, 2, 10**20),
    "average_rate": FRACTIONS,
    "average_half_life": FRACTIONS,
    "ramp_share": FRACTIONS,
    "average_start": (0, -1, 1, 2**31, 10**20),
    "generated_labels": ("data", "uniform", "", "unifrom"),
    "devices": (0, -1, 1, 3, 8, 9, 10**20),
    "sharding": ("global", "per_device", "", "pmap"),
    "steps_per_chunk": NUMBERS,
    "deterministic": (False, True),
    "data.name": ("mnist", "", "minst", "../mnist", "a b"),
    "data.source": ("embedded", "", "tdfs"),
    "data.dir": ("", "/nowhere", "gs://bucket"),
    "data.fingerprint": ("", "0123456789abcdef"),
    "networks.name": ("fully_connected", "", "fully_conected", "functional", "convolutional", "imagenet"),
    "networks.latent_size": (0, -1, 1, 10**20),
    "networks.generator_layers": WIDTHS,
    "networks.discriminator_layers": WIDTHS,
    "networks.input_noise": FRACTIONS,
    "networks.hidden_noise": FRACTIONS,
    "networks.precision": ("float32", "bfloat16", "", "float16"),
    "evaluation.interval": NUMBERS,
    "evaluation.scores": ((), ("fid",), ("fdi",), ("",), (" , ",), 5, "fid", (5,)),
    "evaluation.scores_interval": NUMBERS,
    "evaluation.images": (0, -1, 1, 3, 10**20),
    "evaluation.reference_images": (0, -1, 1, 3, 10**20),
    "evaluation.best": ("", "fid"),
    "evaluation.inception_weights": ("", "/nowhere"),
    "checkpoint.interval": NUMBERS,
    "checkpoint.keep": NUMBERS,
    "reporting.samples_interval": NUMBERS,
    "reporting.samples": (0, -1, 1, 3, 10**20),
    "experiment": ("", "mnist"),
    "went_back": ((), ("to update 5",)),
    "variant": ("", "ours"),
    "data.image_size": (0, -1, 28, 32, 10**20),
    "data.crop": ("none", "center", "random", "left"),
    "data.mirror": (False, True),
    "data.corrupt": ("error", "skip", "hide"),
    "data.stream": (False, True),
    "techniques.feature_matching.distance": ("squared", "absolute", "", "cubed"),
    "techniques.historical_averaging.strength": FRACTIONS,
    "techniques.label_smoothing.real_target": FRACTIONS,
    "techniques.label_smoothing.generator_target": FRACTIONS,
    "techniques.least_squares.generated_label": FRACTIONS,
    "techniques.least_squares.real_label": FRACTIONS,
    "techniques.least_squares.generator_label": FRACTIONS,
    "techniques.relativistic.comparison": ("pairing", "average", "", "mean"),
    "techniques.relativistic.loss": ("softplus", "least_squares", "hinge", "", "wasserstein"),
    "techniques.wasserstein.clipping": (False, True),
    "techniques.wasserstein.clip": FRACTIONS,
    "techniques.minibatch_discrimination.kernels": (0, -1, 1, 3, 10**20),
    "techniques.minibatch_discrimination.dimensions": (0, -1, 1, 3, 10**20),
    "techniques.virtual_batch_norm.reference_size": (0, -1, 1, 3, 9, 10**20),
}
for player in ("discriminator", "generator"):
    VALUES[f"{player}.steps"] = (0, -1, 2, 101)
    VALUES[f"{player}.optimizer"] = ("adam", "rmsprop", "sgd", "", "adamw")
    for fraction in (
        "learning_rate",
        "constant_share",
        "b1",
        "b2",
        "decay",
        "epsilon",
        "final_learning_rate",
        "final_b2",
    ):
        VALUES[f"{player}.{fraction}"] = FRACTIONS
for name in technique.known():
    for field in technique.defaults(name):
        if field == "enabled":
            VALUES[f"techniques.{name}.enabled"] = (False, True)
        elif field.endswith("_weight"):
            VALUES[f"techniques.{name}.{field}"] = (0.0, -1.0, 1e30, 1e300, float("nan"))
        else:  # Of a technique that is not igan's own.
            VALUES.setdefault(f"techniques.{name}.{field}", (technique.defaults(name)[field],))


def fields(config: ConfigDict, prefix: str = "") -> list[str]:
    found = []
    for name, value in config.items():
        found += fields(value, f"{prefix}{name}.") if isinstance(value, ConfigDict) else [prefix + name]
    return found


def test_the_search_knows_every_field() -> None:
    assert sorted(VALUES) == sorted(fields(default()))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(VALUES)).flatmap(lambda field: st.tuples(st.just(field), st.sampled_from(VALUES[field]))))
def test_validation_never_fails_in_another_way(change) -> None:
    config = tiny()
    put(config, *change)
    try:
        validate(config)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "change",
    [
        *(
            (f"networks.{player}_layers", widths)
            for player in ("generator", "discriminator")
            for widths in ((0,), (-1,), (3, 0, 2), (2.5,), ("wide",), (10**20,))
        ),
        *(("networks.latent_size", size) for size in (0, -1, 10**20)),
        *(
            (f"networks.{place}_noise", std)
            for place in ("input", "hidden")
            for std in (-0.5, float("nan"), float("inf"))
        ),
        *((field, 10**20) for field in ("replicas", "devices", "reporting.samples", "labels_per_class", "batch_size")),
        *((field, number) for field in ("generator.batch_size", "accumulate") for number in (-1, 4001, 10**20)),
        ("initial_images", 1),  # A batch of one has no variance to initialise with.
        ("networks.name", "functional"),
    ],
    ids=str,
)
def test_what_cannot_run_is_refused_and_named(change) -> None:
    config = tiny()
    put(config, *change)
    with pytest.raises(UserError) as caught:
        experiment.build(config)
    assert change[0].split(".")[-1] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("generator", "discriminator"), [((), (1,)), ((1, 1), (1, 1))])
def test_networks_of_no_hidden_layers_and_of_one_unit_run(generator, discriminator) -> None:
    config = tiny()
    config.networks.generator_layers, config.networks.discriminator_layers = generator, discriminator
    config.networks.latent_size = config.networks.input_noise = 1
    config.steps_per_chunk = config.initial_images = 10**20  # More than there are means all there are.
    run_two_updates(config)


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # To shrink a failure would compile a program for every attempt.
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_every_config_is_refused_or_runs(data) -> None:
    config = tiny()
    for field in data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=3, max_size=6, unique=True)):
        put(config, field, data.draw(st.sampled_from(VALUES[field]), label=field))
    try:
        validate(config)  # Half of what is drawn has to get further than this to be worth its while.
    except UserError as error:
        assert "\n" not in str(error)
        assume(data.draw(st.booleans()))
    refuses_or_runs(config)


@pytest.mark.parametrize("name", technique.known())
def test_each_technique_alone_runs_or_is_refused(name: str) -> None:
    config = tiny()
    for other in technique.known():
        config.techniques[other].enabled = other == name
    config.techniques[name].update(SMALL.get(name, {}))
    made = technique.load(config.techniques)[name]
    if "labels" in made.needs:
        config.labels_per_class = 0
    if "reconstruction" in made.needs:
        with pytest.raises(UserError, match=f"{name} needs a discriminator that is an autoencoder"):
            experiment.build(config)
        return
    if made.discriminator_loss and made.generator_loss:
        run_two_updates(config)
        return
    missing = "discriminator" if made.discriminator_loss is None else "generator"
    with pytest.raises(UserError, match=f"the {missing} has no loss"):
        experiment.build(config)


@pytest.mark.parametrize("scores", [("",), (" ", ","), (", ,",)])
def test_scores_without_a_name_are_refused_before_the_run(scores) -> None:
    config = tiny()
    config.evaluation.scores = scores
    with pytest.raises(UserError, match="names none"):
        validate(config)


def test_no_technique_is_refused() -> None:
    with pytest.raises(UserError, match="the discriminator has no loss"):
        validate(default())


def test_a_weight_of_zero_is_no_loss() -> None:
    config = tiny()
    config.techniques.feature_matching.generator_weight = 0.0
    with pytest.raises(UserError, match="the generator has no loss"):
        validate(config)


@pytest.mark.parametrize(
    "field", [field for field in VALUES if -1 in VALUES[field] and not field.startswith("techniques.")]
)
def test_a_negative_number_is_refused_and_named(field: str) -> None:
    config = tiny()
    put(config, field, -1)
    with pytest.raises(UserError, match=re.escape(field)):
        experiment.build(config)


def test_every_default_has_a_comment() -> None:
    lines = inspect.getsource(configs.default).splitlines()
    assigned = [line for line in lines if re.match(r"\s*config(\.|\[).* = ", line) and "ConfigDict(" not in line]
    assert len(assigned) > 20
    # Learning rates explain themselves.
    undocumented = [line.strip() for line in assigned if "  # " not in line and ".learning_rate" not in line]
    assert undocumented == []
