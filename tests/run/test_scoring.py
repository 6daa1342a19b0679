"""Scores of a run's generators: of which images, beside which real ones, and what is refused before it begins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from igan.errors import UserError
from igan.game import inference
from igan.layers.interpolation import lerp, slerp
from igan.metrics import compute
from igan.metrics.classifier_score import classifier_score, from_function
from igan.metrics.extract import FeatureNetwork
from igan.metrics.images import from_array
from igan.randomness import stream
from igan.run import drawing, experiment, scoring
from tests.contexts import at

pytestmark = pytest.mark.filterwarnings("ignore:a Fréchet distance of only")

BRIGHTNESS = from_function("brightness", lambda images: images.mean(axis=(1, 2))[:, :1] * jnp.arange(3.0))


def toy_features(params, images, levels):
    flat = images.reshape(len(images), -1).astype(jnp.float32)
    return dict.fromkeys(levels, flat[:, 1000:1005])


TOY = FeatureNetwork("toy trunk", ("768",), {}, toy_features)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """A network that takes no time, and a judge that has learnt nothing."""
    monkeypatch.setattr(scoring.weights, "load", lambda path: path)
    monkeypatch.setattr(scoring.inception, "network", lambda weights: TOY)
    monkeypatch.setattr(scoring.image_classifier, "load", lambda name, images, labels: BRIGHTNESS)


@pytest.fixture
def config(small):
    small.replicas = 2
    small.evaluation.scores = ("fid", "classifier_score")
    small.evaluation.images = 150
    small.evaluation.reference_images = 300
    return small


@pytest.fixture
def game(config):
    built = experiment.build(config)
    return built, built.engine.initialize(7)


def averaged(built, state, replica: int):
    """The key of a replica, and its averaged generator with statistics frozen over the initial latents."""
    networks, player = built.game.networks, state.generator
    params, variables, key = jax.tree.map(
        lambda leaf: leaf[replica], (player.average, player.variables, jax.random.key_data(state.key))
    )
    key = jax.random.wrap_key_data(key)
    reference = networks.sample_latents(stream(key, "reference"), built.plan.initial_images)
    _, frozen = networks.generator.apply(params, variables, at(stream(key, "noise")), reference)
    return key, lambda latents: networks.generator.apply(params, frozen, at(key, train=False), latents)[0]


def by_hand(built, state, replica: int, count: int) -> np.ndarray:
    """Image i from the latent of key i, one at a time."""
    key, generate = averaged(built, state, replica)
    found = []
    for number in range(count):
        image = generate(built.game.networks.sample_latents(jax.random.fold_in(stream(key, "scores"), number), 1))
        found.append(np.rint(np.clip(np.asarray(image[0], np.float64), 0, 1) * 255).astype(np.uint8))
    return np.stack(found)


def test_scores_are_those_of_each_replicas_images_beside_the_drawn_reference(config, game):
    built, state = game
    found = scoring.make(config, built)(state, lambda: False)
    order = np.random.RandomState(0).permutation(4000)[:300]
    real = from_array("", built.dataset.train_images[np.sort(order)])
    assert list(found) == ["fid_768", "classifier_score"]
    for replica in range(2):
        generated = from_array("", by_hand(built, state, replica, 150))
        fid = compute.compute(["fid"], generated, real, TOY)["fid_768"]
        # A pixel in a thousand may fall on the other side of a half.
        assert found["fid_768"]["value"][replica] == pytest.approx(fid.value, rel=1e-3)
        expected = classifier_score(generated, BRIGHTNESS)
        assert found["classifier_score"]["value"][replica] == pytest.approx(expected.value, rel=1e-3)
        assert found["classifier_score"]["std"][replica] == pytest.approx(expected.std, rel=1e-2, abs=1e-6)
    assert found["fid_768"]["std"] is None
    assert found["fid_768"]["protocol"].startswith("150 against 300 images")
    assert found["fid_768"]["protocol"].endswith(
        "reference mnist5k train, 300 of 4,000; batch statistics, if any, of 32 latents"
    )
    assert found["fid_768"]["value"][0] != found["fid_768"]["value"][1]


def test_distances_in_the_features_of_the_classifier_are_named_so(config, game, monkeypatch):
    """Those of the classifier's last hidden layer, whatever Inception would say."""

    def judge(params, images, levels):
        assert set(levels) <= {"logits", "classifier"}
        return toy_features(params, images, levels)

    monkeypatch.setattr(
        scoring.image_classifier,
        "load",
        lambda name, images, labels: FeatureNetwork("judge", ("logits", "classifier"), {}, judge),
    )
    config.evaluation.scores = ("fid_classifier", "precision_recall_classifier")
    config.evaluation.best = "fid_classifier"
    built, state = game
    found = scoring.make(config, built)(state, lambda: False)
    assert list(found) == ["fid_classifier", "precision_classifier", "recall_classifier"]
    config.evaluation.scores, config.evaluation.best = ("fid",), ""
    toy = scoring.make(config, built)(state, lambda: False)["fid_768"]
    assert found["fid_classifier"]["value"] == pytest.approx(toy["value"], rel=1e-6)  # Of the same toy features.
    assert "judge, features of its last hidden layer" in found["fid_classifier"]["protocol"]


def test_the_length_of_paths_is_that_of_neighbours_on_them(config, game):
    """Path i is of key i; in features that are named, and are not LPIPS."""
    built, state = game
    config.evaluation.scores, config.evaluation.images = ("path_length",), 12
    found = scoring.make(config, built)(state, lambda: False)
    key, generate = averaged(built, state, replica=1)
    lengths = []
    for number in range(12):
        of_path = jax.random.fold_in(stream(key, "paths"), number)
        one, other = built.game.networks.sample_latents(of_path, 2)
        share = jax.random.uniform(stream(of_path, "share"))
        there, beside = (
            np.float64(generate(slerp(one[None], other[None], share[None] + offset))).reshape(-1)[
                np.arange(1000, 1005) // 3
            ]
            for offset in (0, 1e-4)
        )
        lengths.append(np.sum((255 * (there - beside)) ** 2) / 1e-8)
    assert list(found) == ["path_length_768"]
    assert found["path_length_768"]["value"][1] == pytest.approx(np.mean(lengths), rel=0.1)  # Of what float32 leaves.
    protocol = (
        "12 whole paths, slerp in z, epsilon 0.0001, percentiles 1 to 99; square distances (not LPIPS) of toy trunk"
    )
    assert found["path_length_768"]["protocol"] == f"{protocol}, features 768; batch statistics, if any, of 32 latents"


def test_several_scores_look_at_images_that_are_drawn_once(config, game, monkeypatch):
    """As many as for one score, with the values that each has alone."""
    built, state = game
    drawn: list[tuple[int, int]] = []
    counted = scoring.make_draw

    def make_draw(*arguments):
        draw = counted(*arguments)

        def counting(state, replica, count):
            source = draw(state, replica, count)
            return source._replace(read=lambda *part: [drawn.append(part), source.read(*part)][1])

        return counting

    monkeypatch.setattr(scoring, "make_draw", make_draw)
    both = scoring.make(config, built)(state, lambda: False)
    assert sum(stop - start for start, stop in drawn) == 2 * config.evaluation.images
    for name in ("fid", "classifier_score"):
        config.evaluation.scores = (name,)
        assert (alone := scoring.make(config, built)(state, lambda: False)) == {each: both[each] for each in alone}


def test_two_devices_give_the_scores_of_one(config, game):
    one = scoring.make(config, game[0])(game[1], lambda: False)
    config.devices = 2
    built = experiment.build(config)
    assert len(built.devices) == 2
    two = scoring.make(config, built)(built.engine.initialize(7), lambda: False)
    for name in one:
        assert two[name]["value"] == pytest.approx(one[name]["value"], rel=1e-3)


def test_all_training_images_are_the_reference_by_default(config, game):
    config.evaluation.reference_images = 0
    reference = scoring.reference_images(config, game[0])
    assert reference.count == 4000 and reference.name == "mnist5k train"
    np.testing.assert_array_equal(reference.read(5, 9)[..., :1], game[0].dataset.train_images[5:9])


def test_a_streams_reference_is_cropped_in_the_middle(small, tmp_path, random):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(20):
            pixels = random.integers(0, 256, (32, 44), np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    small.data.name, small.data.source, small.data.stream = f"folder:{tmp_path}", "folder", True
    small.data.image_size, small.data.crop, small.labels_per_class = 32, "random", 0
    small.evaluation.scores, small.evaluation.images = ("fid",), 20
    built = experiment.build(small)
    reference = scoring.reference_images(small, built)
    found = reference.read(0, 2)
    expected = np.asarray(Image.open(sorted((tmp_path / "cat").iterdir())[0]))[:, 6:38]
    assert found.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(found[0, :, :, 0], expected)
    np.testing.assert_array_equal(reference.read(1, 2)[0], found[1])
    assert reference.content_hash() == scoring.reference_images(small, built).content_hash()
    with pytest.raises(scoring.StoppedError):  # Its hash alone reads the whole stream.
        scoring.make(small, built)(built.engine.initialize(7), iter([False] * 3 + [True]).__next__)
    small.evaluation.scores = ("classifier_score",)
    with pytest.raises(UserError, match="trained on data in memory"):
        scoring.make(small, built)


@pytest.mark.parametrize(
    ("scores", "change", "message"),
    [
        (("fdi",), {}, "unknown score 'fdi' in evaluation.scores. Did you mean 'fid'?"),
        (("fid",), {"best": "kid"}, "evaluation.best=kid is not among the scores"),
        (("inception_score",), {}, "these are the weights of a part"),
        (("fid",), {"reference_images": 1}, "at least two images on each side"),
        (("fid",), {"best": "fid_2048"}, "evaluation.best=fid_2048 is not among the scores. Did you mean 'fid_768'?"),
        (("classifier_score",), {"best": "classifier"}, "Did you mean 'classifier_score'?"),
        (("fid_clasifier",), {}, "unknown score 'fid_clasifier' in evaluation.scores. Did you mean 'fid_classifier'?"),
        (("precision_recall_classifier",), {"images": 3}, "3 nearest neighbours need at least 4 images on each side"),
        (("fid_classifier",), {"best": "kid"}, "evaluation.best=kid is not among the scores"),
        (("precision_recall",), {"images": 3}, "3 nearest neighbours need at least 4 images on each side, not 3"),
    ],
)
def test_what_cannot_work_is_refused_before_any_image(config, game, scores, change, message):
    config.evaluation.scores = scores
    for field, value in change.items():
        config.evaluation[field] = value
    with pytest.raises(UserError) as error:
        scoring.make(config, game[0])
    assert message in str(error.value)


def test_the_best_may_be_called_by_its_plain_name(config):
    names = ["classifier_score", "fid_768", "precision_768"]
    for wanted, found in (("", "classifier_score"), ("fid", "fid_768"), ("precision_768", "precision_768")):
        config.evaluation.best = wanted
        assert scoring.best_by(config, names) == found


def test_the_best_may_be_called_as_it_is_printed(config, game):
    config.evaluation.best = "fid_768"
    scoring.make(config, game[0])


def test_scores_use_the_devices_of_the_run_only(config, game, monkeypatch):
    seen = []

    def spy(params, images, levels):
        jax.debug.inspect_array_sharding(images, callback=lambda sharding: seen.append(len(sharding.device_set)))
        return toy_features(params, images, levels)

    monkeypatch.setattr(scoring.inception, "network", lambda weights: TOY._replace(apply=spy))
    config.evaluation.scores = ("fid",)
    assert len(game[0].devices) == 1 < len(jax.devices())
    scoring.make(config, game[0])(game[1], lambda: False)
    assert set(seen) == {1}


def test_names_may_be_separated_by_commas(config, game):
    config.evaluation.scores = ("fid, classifier_score",)
    assert list(scoring.make(config, game[0])(game[1], lambda: False)) == ["fid_768", "classifier_score"]


def test_stopping_ends_it_at_the_next_batch(config, game):
    with pytest.raises(scoring.StoppedError):
        scoring.make(config, game[0])(game[1], lambda: True)


def test_a_signal_to_another_host_ends_it_between_replicas(config, game, monkeypatch):
    config.evaluation.scores = ("classifier_score",)
    heard: list[str] = []
    turns = iter(([], ["SIGTERM"]))  # What all hosts agree on before the first replica, and before the second.
    drawn: list[int] = []
    make_draw = scoring.make_draw

    def recording(*arguments):
        draw = make_draw(*arguments)
        return lambda state, replica, count: [drawn.append(replica), draw(state, replica, count)][1]

    monkeypatch.setattr(scoring, "make_draw", recording)
    with pytest.raises(scoring.StoppedError):
        scoring.make(config, game[0])(game[1], lambda: bool(heard), lambda: heard.extend(next(turns)))
    assert drawn == [0]


def test_images_that_are_not_finite_are_refused(config, game):
    built, state = game
    average = jax.tree.map(lambda leaf: leaf * jnp.nan, state.generator.average)
    broken = state._replace(generator=state.generator._replace(average=average))
    with pytest.raises(UserError, match="images are not finite"):
        scoring.make(config, built)(broken, lambda: False)


def test_a_sampling_option_is_part_of_the_protocol_and_not_of_the_run(config, game):
    built, state = game
    config.evaluation.scores = ("classifier_score",)
    with pytest.raises(UserError, match=r"these networks have no --truncation: .* they have none"):
        scoring.make(config, built, {"truncation": 0.5})

    def protocol(of: str, **options: float) -> str:
        networks = built.game.networks._replace(options=frozenset({of}))
        offered = built._replace(game=built.game._replace(networks=networks))
        return scoring.make(config, offered, options)(state, lambda: False)["classifier_score"]["protocol"]

    plain = protocol("truncation")
    assert protocol("truncation", truncation=0.5) == f"{plain}; truncation=0.5"
    # A psi of 1 is none, and every score of networks that have styles says so.
    assert protocol("psi") == protocol("psi", psi=1.0) == f"{plain}; psi=1"
    assert protocol("psi", psi=0.7) == f"{plain}; psi=0.7"
    # A noise of 1 is that of each image's own, as without the option.
    assert protocol("noise", noise=1) == plain and protocol("noise", noise=0) == f"{plain}; noise=0"
    assert "truncation" not in config.to_json()


def test_images_are_of_the_averaged_parameters(game):
    """At the beginning they are the parameters themselves, so that other tests cannot tell them apart."""
    built, state = game
    average = jax.tree.map(lambda leaf: 0.8 * leaf + 0.05, state.generator.average)
    moved = state._replace(generator=state.generator._replace(average=average))
    plain, found = (drawing.make_draw(built)(each, 1, 5).read(0, 5)[..., 0].astype(int) for each in (state, moved))
    assert np.abs(found - by_hand(built, moved, 1, 5)[..., 0]).max() <= 1
    assert np.abs(found - plain).max() > 5


def test_what_is_asked_of_sampling_reaches_the_statistics_and_the_images(game, monkeypatch):
    """Standing statistics are of so many passes, and of latents that are truncated as those of the images are."""
    built, state = game
    networks, seen = built.game.networks, []

    def apply(params, variables, context, latents):
        seen.append((context.train, dict(context.options)))
        return networks.generator.apply(params, variables, context, latents)

    spied = networks._replace(generator=networks.generator._replace(apply=apply), options=frozenset({"truncation"}))
    offered = built._replace(game=built.game._replace(networks=spied))
    passes, freeze = [], inference.freeze
    monkeypatch.setattr(inference, "freeze", lambda *arguments: passes.append(arguments[-1]) or freeze(*arguments))
    drawing.make_draw(offered, {"truncation": 0.5, "standing_passes": 3})(state, 0, 2).read(0, 2)
    assert {train for train, _ in seen} == {True, False} and passes == [3]
    assert all(options == {"truncation": 0.5} for _, options in seen)


@pytest.mark.parametrize(("between", "is_normal"), [(slerp, True), (lerp, False)])
def test_a_row_goes_on_the_circle_between_normal_latents_and_straight_between_uniform_ones(game, between, is_normal):
    """Its ends alone do not tell which way it goes."""
    built, state = game
    networks = built.game.networks
    if is_normal:
        networks = networks._replace(sample_latents=lambda key, count: jax.random.normal(key, (count, 8)))
    offered = built._replace(game=built.game._replace(networks=networks))
    found = drawing.make_draw(offered, columns=5)(state, 0, 10).read(5, 10)[..., 0].astype(int)  # The second row.
    key, generate = averaged(offered, state, 0)
    ends = [networks.sample_latents(jax.random.fold_in(stream(key, "scores"), number), 1) for number in (2, 3)]
    for column in range(5):
        image = np.asarray(generate(between(*ends, jnp.array([column / 4]))))[0, ..., 0]
        assert np.abs(found[column] - np.clip(image, 0, 1) * 255).max() < 1.1
