"""Packing: what makes a pack, what is refused, and one update against PyTorch, on one device and on two."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.config import validate
from igan.errors import UserError
from igan.game import step, technique
from igan.game.technique import Technique
from igan.game.view import show
from igan.run import experiment
from igan.techniques import packing
from igan.types import Batch, Batches, Examples, GameState, Metrics, Network, Stage
from tests.game.smallest import DISCRIMINATOR, LATENT, NETWORKS, PIXELS, Row, game_of, normal
from tests.game.smallest import prepare as prepare_row
from tests.plane import PLANE


def networks_for(images: int, outputs: int = PIXELS, joint: bool = False) -> Any:
    """The smallest game's networks, with a discriminator of packs."""
    judges = DISCRIMINATOR._replace(init=normal(**{"in": (images * outputs, 5)}, last=(5,)))
    return NETWORKS._replace(discriminator=judges, joint=joint)


def row_of(images: int, batch_size: int, *, joint: bool = False, spies: Technique | None = None, **others: Any) -> Row:
    game = game_of(
        networks_for(images, joint=joint), packing=packing.make(images), **({"spy": spies} if spies else {}), **others
    )
    return Row(game, lambda played: None, batch_sizes=(batch_size, batch_size), steps=(1, 1))


@pytest.mark.parametrize("shape", [(6, 2, 3, 2), (6, 2)], ids=["images", "points"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_pack_has_its_images_one_behind_the_other_as_channels(shape, count, random):
    images = random.normal(size=shape).astype(np.float32)
    packs = np.asarray(packing.pack(jnp.asarray(images), count))
    assert packs.shape == (6 // count, *shape[1:-1], count * shape[-1])
    for number, each in enumerate(packs):
        for place, part in enumerate(np.split(each, count, axis=-1)):
            np.testing.assert_array_equal(part, images[number * count + place])
    # The pixels of an input are neighbours in memory, by which the slope of a logit can be told from another's.
    rows = images.reshape(len(packs), -1)
    np.testing.assert_array_equal(np.sort(rows), np.sort(packs.reshape(len(packs), -1)))


def spy(state: Any, view: Any) -> tuple[jax.Array, Metrics]:
    """Reports what the packs are made of."""
    details = {}
    for name in ("real", "fake"):
        seen = getattr(view, name)
        expected = jnp.concatenate([seen.images[0::2], seen.images[1::2]], axis=-1)
        details[f"{name}/difference"] = jnp.max(jnp.abs(seen.inputs - expected))
        details[f"{name}/logits"] = jnp.float32(len(seen.logits))
        apart = jnp.sum(jnp.abs(seen.inputs[..., 0] - seen.inputs[..., 1]), axis=(1, 2))
        details[f"{name}/apart"] = jnp.min(apart)
    asked = view.judge(Examples(view.real.images[:2]))
    details["judged"] = jnp.float32(asked.logits.size) + 0 * jnp.sum(asked.logits)
    return jnp.zeros(()), details


@pytest.mark.parametrize("joint", [False, True], ids=["one batch after the other", "in one batch"])
def test_packs_are_of_different_images_of_one_kind_and_have_a_logit_each(joint):
    spies = Technique(discriminator_loss=spy, generator_loss=spy)
    engine, plan = prepare_row(row_of(2, 8, joint=joint, spies=spies), replicas=2)
    _, metrics = engine.run(engine.initialize(1), plan.stages[0], 2)
    for player in "dg":
        for name in ("real", "fake"):
            assert np.all(metrics[f"{player}/spy/{name}/difference"] == 0)
            assert np.all(metrics[f"{player}/spy/{name}/logits"] == 4)
            assert np.min(metrics[f"{player}/spy/{name}/apart"]) > 0.01
        assert np.all(metrics[f"{player}/spy/judged"] == 1)  # A group of two images is one pack.


def run(row: Row, devices: int, updates: int = 2) -> tuple[GameState, Metrics]:
    engine, plan = prepare_row(row, replicas=1, devices=devices)
    return engine.run(engine.initialize(1), plan.stages[0], updates)


@pytest.mark.parametrize(
    ("images", "batch_size"), [(3, 12), (2, 6)], ids=["whole packs on each device", "a pack over both devices"]
)
def test_two_devices_play_the_game_of_one(images, batch_size):
    row = row_of(images, batch_size)
    (alone, metrics), (shared, found) = (run(row, devices) for devices in (1, 2))
    for name in metrics:
        np.testing.assert_allclose(found[name], metrics[name], rtol=1e-5, atol=1e-6)
    players = [jax.tree.leaves((each.discriminator, each.generator)) for each in (alone, shared)]
    for one, other in zip(*players, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_parts_of_a_batch_are_packed_too():
    row = row_of(2, 8)
    row = row._replace(game=row.game._replace(accumulate=2))
    _, metrics = run(row, devices=1)
    assert all(np.all(np.isfinite(values)) for values in metrics.values())


def test_points_are_packed():
    def draw(params: Any, variables: Any, context: Any, latents: Any) -> Any:
        return latents @ params["out"], variables

    networks = networks_for(3, outputs=2)._replace(generator=Network(normal(out=(LATENT, 2)), draw, lambda *_: ""))
    row = Row(game_of(networks, packing=packing.make(3)), lambda played: None, batch_sizes=(6, 6), space=PLANE)
    state, metrics = run(row, devices=2)
    assert state.discriminator.params["in"].shape == (1, 6, 5) and np.all(np.isfinite(metrics["d/objective"]))


def test_packs_are_made_of_what_augmentations_have_left():
    """Whatever the order of the techniques: one that follows would see packs."""
    seen = []

    def look(state: Any, key: Any, images: Any) -> Any:
        seen.append(images.shape)
        return images + 1

    for order in ("before", "after"):
        techniques = {"packing": packing.make(2), "other": Technique(discriminator_input=look)}
        techniques = dict(reversed(techniques.items())) if order == "before" else techniques
        game = step.Game(NETWORKS, techniques, optax.sgd(0.1), optax.sgd(0.1), lambda turn: jnp.float32(0.1))
        shown = show(game, dict.fromkeys(techniques), jax.random.key(0), jnp.zeros((4, 2, 2, 1)))
        assert shown.shape == (2, 2, 2, 2) and np.all(shown == 1)
    assert seen == [(4, 2, 2, 1)] * 2


def test_one_update_against_pytorch(random):
    torch = pytest.importorskip("torch")
    latents = random.normal(size=(6, LATENT)).astype(np.float32)
    networks = networks_for(3)._replace(sample_latents=lambda key, count: jnp.asarray(latents))
    game = game_of(networks, packing=packing.make(3))
    real = random.uniform(-1, 1, (6, 2, 2, 1)).astype(np.float32)
    batch = Batch(Examples(jnp.asarray(real)))
    before = step.initialize(game, jax.random.key(0), batch.real)
    after, metrics = jax.jit(lambda state: step.update(game, state, Batches((batch,), (batch,))))(before)

    def copied(tree: Any) -> Any:
        return {name: torch.tensor(np.asarray(leaf, np.float64), requires_grad=True) for name, leaf in tree.items()}

    judge_params, draw_params = copied(before.discriminator.params), copied(before.generator.params)

    def draw() -> Any:
        return torch.tanh(torch.tensor(latents, dtype=torch.float64) @ draw_params["out"]).reshape(6, 4)

    def logits(images: Any) -> Any:  # One row of pixels a pack: pixel by pixel, image by image within each.
        packs = torch.stack([images[0::3], images[1::3], images[2::3]], dim=2).reshape(2, 12)
        return torch.tanh(packs @ judge_params["in"]) @ judge_params["last"]

    softplus = torch.nn.functional.softplus
    of_real = torch.tensor(real.reshape(6, 4), dtype=torch.float64)
    loss = softplus(-logits(of_real)).mean() + softplus(logits(draw().detach())).mean()
    np.testing.assert_allclose(metrics["d/objective"], loss.item(), rtol=1e-5)
    loss.backward()
    for name, leaf in judge_params.items():
        moved = leaf.detach() - 0.1 * leaf.grad
        np.testing.assert_allclose(after.discriminator.params[name], moved, rtol=1e-4, atol=1e-6)
        judge_params[name] = moved
    loss = softplus(-logits(draw())).mean()
    loss.backward()
    np.testing.assert_allclose(metrics["g/objective"], loss.item(), rtol=1e-5)
    expected = draw_params["out"].detach() - 0.1 * draw_params["out"].grad
    np.testing.assert_allclose(after.generator.params["out"], expected, rtol=1e-4, atol=1e-6)


@pytest.fixture
def packed(small):
    for name in ("semi_supervised", "feature_matching", "minimax"):
        small.techniques[name].enabled = False
    small.techniques.non_saturating.enabled = True
    small.techniques.packing.enabled = True
    return small


def test_networks_are_made_for_packs_of_the_initial_images(packed):
    packed.techniques.packing.images, packed.batch_size, packed.initial_images = 3, 15, 32
    built = experiment.build(packed)
    shapes = built.engine.state_shape.discriminator.params
    assert {leaf.shape[1] for leaf in jax.tree.leaves(shapes) if 28 * 28 * 3 in leaf.shape} == {28 * 28 * 3}
    assert built.plan.initial_images == 30  # Whole packs of them.


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"batch_size": 16}, r"config\.batch_size is 16, and packing makes one input of 3 images: set .*batch_size=18"),
        ({"generator.batch_size": 4}, r"config\.generator\.batch_size is 4, .*--config\.generator\.batch_size=6"),
        ({"accumulate": 5}, r"config\.batch_size is 15, .* in each of 5 parts: set --config\.batch_size=15"),
        ({"initial_images": 2}, r"config\.initial_images is 2, .*--config\.initial_images=3"),
        ({"techniques.packing.images": 0}, r"techniques\.packing\.images is 0, expected a whole number from 1 to 100"),
        ({"techniques.packing.images": 101}, "expected a whole number from 1 to 100"),
    ],
)
def test_what_does_not_make_whole_packs_is_refused(fields, said, packed):
    packed.techniques.packing.images, packed.batch_size = 3, 15
    validate(packed)
    if "accumulate" in fields:
        said = said.replace("batch_size is 15", "batch_size is 20").replace("=15", "=30")
        fields = fields | {"batch_size": 20}
    packed.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=said) as error:
        validate(packed)
    assert "\n" not in str(error.value)


def test_batches_of_a_growing_networks_stages_are_refused_too(packed, monkeypatch):
    load = experiment.models.load

    def growing(*arguments: Any) -> Any:
        return load(*arguments)._replace(stages=(Stage(), Stage(1, start=10, batch_sizes=(16, 7))))

    monkeypatch.setattr(experiment.models, "load", growing)
    with pytest.raises(UserError, match=r"batches of 7 images in their stage 2, and techniques want multiples of 2"):
        experiment.build(packed)


@pytest.mark.parametrize("need", ["labels", "labeled", "class_logits", "reconstruction"])
def test_what_wants_single_images_is_refused_with_a_reason(need):
    others = {"wanting": Technique(needs=frozenset({need})), "plain": Technique()}
    reason = packing.make(2).conflict(others)
    assert reason is not None and reason.startswith("wanting ") and "of several" in reason
    assert "--config.techniques.wanting.enabled=False" in reason
    assert packing.make(1).conflict(others) is None
    assert packing.make(2).conflict({"plain": Technique()}) is None


def test_semi_supervised_learning_is_refused(packed):
    packed.techniques.semi_supervised.enabled = True
    with pytest.raises(UserError, match=r"packing: semi_supervised tells the class of each image, and a pack") as error:
        validate(packed)
    assert "packing.enabled=False" in str(error.value) and "\n" not in str(error.value)


def test_images_that_do_not_make_packs_are_never_dropped():
    with pytest.raises(UserError, match=r"5 images do not make packs of 2: .*say 1"):
        packing.pack(jnp.zeros((5, 2)), 2)


def test_a_pack_of_one_is_no_pack():
    assert packing.make(1).discriminator_input is None
    assert technique.images_per_input({"packing": packing.make(1)}) == 1
