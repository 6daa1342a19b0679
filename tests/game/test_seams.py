"""Each seam with the smallest technique or network that needs it, played as a run plays it.

Two updates, with two replicas and with a single one, split over two devices, stopped in the middle, saved and resumed:
bit for bit what was played without a stop.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igan.game import inference
from igan.game.technique import Technique
from igan.types import (
    Array,
    Context,
    Critique,
    Examples,
    Key,
    Metrics,
    Network,
    Player,
    Stage,
    Turn,
    View,
)
from tests.game.smallest import (
    CLASSES,
    DISCRIMINATOR,
    GENERATOR,
    LATENT,
    NETWORKS,
    PIXELS,
    SIDE,
    Played,
    Row,
    game_of,
    generate,
    judge,
    normal,
    plain,
    play,
    prepare,
)
from tests.plane import PLANE


def turn() -> Row:
    """A penalty on every second step of the discriminator, lazily."""

    def penalty(state: Any, view: View) -> tuple[Array, Metrics]:
        value = lambda: jnp.mean(view.real.logits**2)  # noqa: E731
        due = view.turn.count % 2 == 0
        return jax.lax.cond(due, value, lambda: jnp.zeros_like(view.real.logits[0])), {"count": view.turn.count}

    def check(played: Played) -> None:
        for number, metrics in enumerate(played.metrics):  # Of the last of three steps: counts 2 and 5.
            assert np.all(metrics["d/lazy/count"] == 3 * number + 2)
            assert np.all((metrics["d/lazy"] > 0) == (number == 0))

    return Row(game_of(lazy=Technique(discriminator_loss=penalty)), check, steps=(3, 1))


def labels() -> Row:
    """A generator and a projection that are given labels."""

    def shifted(params: Any, variables: Any, context: Context, latents: Array) -> tuple[Array, Any]:
        return generate(params, variables, context, latents + context.labels @ params["embedding"])

    def projected(params: Any, variables: Any, context: Context, images: Array) -> tuple[Critique, Any]:
        critique, _ = judge(params, variables, context, images)
        projection = jnp.sum((context.labels @ params["classes"]) * critique.features, axis=1)
        return critique._replace(logits=critique.logits + projection), {}

    def spy(state: Any, view: View) -> tuple[Array, Metrics]:
        other = view.generate(view.fake.latents, (view.fake.labels + 1) % CLASSES)
        same = view.generate(view.fake.latents)
        details = {"labels": jnp.mean(view.fake.labels != view.real.labels, dtype=jnp.float32)}
        details["same"] = jnp.max(jnp.abs(same - view.fake.images))
        without, given = Examples(view.real.images), Examples(view.real.images, view.real.labels)
        details["judged"] = jnp.max(jnp.abs(view.judge(without).logits - view.judge(given).logits))
        return 0 * jnp.mean(other), details | {"other": jnp.max(jnp.abs(other - same))}

    def check(played: Played) -> None:
        assert played.states[0].generator.params["embedding"].shape[1:] == (CLASSES, LATENT)
        for metrics in played.metrics:
            assert np.all(metrics["g/spy/labels"] == 0)  # Generated images have the labels of the real ones.
            assert np.max(metrics["g/spy/same"]) < 1e-6 and np.all(metrics["g/spy/other"] > 1e-3)
            assert np.all(metrics["g/spy/judged"] < 1e-6)
        moved = played.states[2].discriminator.params["classes"] - played.states[0].discriminator.params["classes"]
        assert np.all(np.abs(moved) > 0)
        assert np.isfinite(played.engine.sample(played.states[2], played.plan.stages[0], 4)).all()

    networks = NETWORKS._replace(
        generator=Network(normal(out=(LATENT, PIXELS), embedding=(CLASSES, LATENT)), shifted, lambda *_: ""),
        discriminator=Network(normal(**{"in": (PIXELS, 5)}, last=(5,), classes=(CLASSES, 5)), projected, lambda *_: ""),
        classes=CLASSES,
    )
    return Row(game_of(networks, spy=Technique(generator_loss=spy)), check, all_labeled=True)


def stage() -> Row:
    """A network that grows from one pixel to four after its first update, and fades them in."""

    def fade(images: Array, turn: Turn) -> Array:
        small = jnp.mean(images, axis=(1, 2), keepdims=True)
        if turn.stage.index == 0:
            return small
        alpha = jnp.clip((turn.step - turn.stage.start + 1) / 2, 0, 1)
        return alpha * images + (1 - alpha) * jnp.broadcast_to(small, images.shape)

    def grow(params: Any, variables: Any, context: Context, latents: Array) -> tuple[Array, Any]:
        return fade(generate(params, variables, context, latents)[0], context.turn), variables

    def judge_any(params: Any, variables: Any, context: Context, images: Array) -> tuple[Critique, Any]:
        return judge(params, variables, context, jnp.broadcast_to(images, (len(images), SIDE, SIDE, 1)))

    def spy(state: Any, view: View) -> tuple[Array, Metrics]:
        side = {"side": jnp.float32(view.real.images.shape[1]), "count": jnp.float32(len(view.fake.images))}
        return jnp.zeros(()), side

    def check(played: Played) -> None:
        first, second = played.metrics
        assert np.all(first["d/spy/side"] == 1) and np.all(second["d/spy/side"] == SIDE)
        assert np.all(first["d/spy/count"] == 8) and np.all(second["d/spy/count"] == 4)
        assert np.all(second["g/spy/count"] == 12)
        shapes = [jax.tree.map(jnp.shape, plain(state)) for state in played.states]
        assert shapes[0] == shapes[1] == shapes[2]
        for player in ("generator", "discriminator"):  # The optimisers have moved once, in the second stage alone.
            adam, clock = getattr(played.states[2], player).opt_state
            steps = {"generator": 1, "discriminator": 2}[player]
            assert np.all(adam.count == steps) and np.all(clock.count == 2 * steps)

    networks = NETWORKS._replace(
        generator=GENERATOR._replace(apply=grow),
        discriminator=DISCRIMINATOR._replace(apply=judge_any),
        at_stage=fade,
    )
    stages = (Stage(0), Stage(1, start=1, batch_sizes=(4, 12)))
    networks = networks._replace(stages=stages)
    tx = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(optax.constant_schedule(-0.1)))
    return Row(game_of(networks, tx, spy=Technique(discriminator_loss=spy, generator_loss=spy)), check, stages)


def key() -> Row:
    """A gradient penalty between real and generated images, at points of its own in every step."""

    def penalty(state: Any, view: View) -> tuple[Array, Metrics]:
        share = jax.random.uniform(view.key, (len(view.real.images), 1, 1, 1))
        between = share * view.real.images + (1 - share) * view.fake.images
        slopes = jax.grad(lambda images: jnp.sum(view.judge(Examples(images)).logits))(between)
        norms = jnp.sqrt(jnp.sum(slopes**2, axis=(1, 2, 3)))
        return jnp.mean((norms - 1) ** 2), {"share": jnp.mean(share)}

    def check(played: Played) -> None:
        shares = np.stack([metrics["d/penalty/share"] for metrics in played.metrics])
        assert len(np.unique(shares)) == shares.size  # Another one for each update and each replica.

    return Row(game_of(penalty=Technique(discriminator_loss=penalty)), check)


def memory() -> Row:
    """A shift of what the discriminator sees that a memory decides about, and that compares what it was shown."""

    def begin(key: Key, real: Examples) -> Any:
        return {"shift": jnp.zeros(()), "steps": jnp.zeros((2,), jnp.int32), "last": jnp.zeros_like(real.images[0])}

    def see(state: Any, key: Key, images: Array) -> Array:
        return images + state["shift"]

    def move(state: Any, view: View) -> Any:
        shift, last = state["shift"] + 0.25, view.real.images[0]
        return {"shift": shift, "steps": state["steps"].at[0].add(1), "last": last}

    def move_generator(state: Any, view: View) -> Any:
        return state | {"steps": state["steps"].at[1].add(1)}

    def compare(state: Any, view: View) -> tuple[Array, Metrics]:
        difference = jnp.max(jnp.abs(view.real.inputs - view.real.images - state["shift"]))
        plain = jnp.max(jnp.abs(view.judge(Examples(view.real.images), plain=True).inputs - view.real.images))
        return jnp.zeros(()), {"difference": difference, "plain": plain}

    def check(played: Played) -> None:
        for number, metrics in enumerate(played.metrics):
            assert np.all(metrics["d/augment/shift"] == 0.5 * (number + 1))  # Reported after the second step's update.
            assert np.max(metrics["g/augment/difference"]) < 1e-6 and np.all(metrics["g/augment/plain"] == 0)
        steps = np.asarray(played.states[2].techniques["augment"]["steps"])
        np.testing.assert_array_equal(steps, np.broadcast_to([4, 2], steps.shape))
        assert np.abs(played.states[2].techniques["augment"]["last"]).max() > 0

    report = lambda state, view: {"shift": state["shift"]}  # noqa: E731
    augment = Technique(begin, move, move_generator, report, generator_loss=compare, discriminator_input=see)
    return Row(game_of(augment=augment), check)


def lookahead() -> Row:
    """Three steps ahead by the discriminator's own Adam, from where its moments are."""

    def unroll(player: Player, objective: Callable[..., Array], optimizer: optax.GradientTransformation) -> Any:
        def ahead(carry: Any, index: Array) -> Any:
            params, state = carry
            updates, state = optimizer.update(jax.grad(objective)(params, index), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(ahead, (player.params, player.opt_state), jnp.arange(3))[0][0]

    def check(played: Played) -> None:
        without = Row(game_of(tx=optax.adam(0.1)), lambda played: None)
        engine, plan = prepare(without, replicas=len(played.states[0].key))
        _, metrics = engine.run(engine.initialize(1), plan.stages[0], 1)
        np.testing.assert_allclose(metrics["d/objective"], played.metrics[0]["d/objective"], rtol=1e-5)
        # The generator faces another one.
        assert np.all(np.abs(metrics["g/objective"] - played.metrics[0]["g/objective"]) > 0.01)
        counts = played.states[2].discriminator.opt_state[0].count
        assert np.all(counts == 4)  # It was a look ahead: its own steps are two an update.

    return Row(game_of(tx=optax.adam(0.1), unrolled=Technique(lookahead=unroll)), check)


def batch_size_of_the_generator() -> Row:
    def spy(state: Any, view: View) -> tuple[Array, Metrics]:
        return jnp.zeros(()), {"real": jnp.float32(len(view.real.logits)), "fake": jnp.float32(len(view.fake.logits))}

    def check(played: Played) -> None:
        for metrics in played.metrics:
            for player, count in (("d", 4), ("g", 12)):
                assert np.all(metrics[f"{player}/spy/real"] == count) and np.all(metrics[f"{player}/spy/fake"] == count)

    return Row(game_of(spy=Technique(discriminator_loss=spy, generator_loss=spy)), check, batch_sizes=(4, 12))


def accumulation() -> Row:
    """Four parts of a batch are the batch: here without noise in the latents, which each part draws for itself."""
    networks = NETWORKS._replace(sample_latents=lambda key, count: jnp.ones((count, LATENT)))

    def check(played: Played) -> None:
        whole = Row(game_of(networks), lambda played: None)
        engine, plan = prepare(whole, replicas=len(played.states[0].key))
        state = engine.initialize(1)
        for number in range(2):
            state, metrics = engine.run(state, plan.stages[0], 1)
            for name, values in jax.device_get(metrics).items():
                np.testing.assert_allclose(played.metrics[number][name], values, rtol=1e-5)
        for ours, theirs in zip(*map(jax.tree.leaves, (plain(played.states[2]), plain(state))), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)

    return Row(game_of(networks, accumulate=4), check)


def sampling_options() -> Row:
    """A truncation, which is asked for in sampling and is no part of the game; and a mean that training keeps."""

    def truncated(params: Any, variables: Any, context: Context, latents: Array) -> tuple[Array, Any]:
        center = variables[inference.AVERAGES]
        if context.train:
            variables = {inference.AVERAGES: 0.9 * center + 0.1 * jnp.mean(latents, axis=0)}
        latents = center + context.options.get("truncation", 1.0) * (latents - center)
        return generate(params, variables, context, latents)[0], variables

    def start(context: Context, inputs: Array) -> Any:
        return GENERATOR.init(context, inputs)[0], {inference.AVERAGES: jnp.zeros(LATENT)}

    networks = NETWORKS._replace(generator=Network(start, truncated, lambda *_: ""), options=frozenset({"truncation"}))

    def check(played: Played) -> None:
        player, turn = played.states[2].generator, Turn(jnp.int32(2), jnp.int32(2), played.plan.stages[0])
        one = jax.tree.map(lambda leaf: leaf[0], (player.average, player.variables))
        latents = networks.sample_latents(jax.random.key(3), 50)
        spread = []
        for truncation in (1.0, 0.5, 0.0):
            options = {"truncation": truncation}
            frozen = inference.freeze(networks, *one, turn, jax.random.key(4), 6, options=options)
            np.testing.assert_array_equal(frozen[inference.AVERAGES], one[1][inference.AVERAGES])
            images = inference.sample(networks, one[0], frozen, turn, jax.random.key(5), latents, options=options)
            spread.append(float(jnp.std(images, axis=0).mean()))
        assert spread[0] > 1.2 * spread[1] > 0.1 and spread[2] < 1e-6
        assert np.abs(one[1][inference.AVERAGES]).max() > 0

    return Row(game_of(networks), check)


def points() -> Row:
    """Points of the plane: kept as numbers, fed and sampled as they are."""

    def draw(params: Any, variables: Any, context: Context, latents: Array) -> tuple[Array, Any]:
        return 50 * latents @ params["out"], variables

    def spy(state: Any, view: View) -> tuple[Array, Metrics]:
        return jnp.zeros(()), {"largest": jnp.max(view.real.images)}

    def check(played: Played) -> None:
        assert played.engine.sample(played.states[2], played.plan.stages[0], 7).shape[1:] == (7, 2)
        assert np.all(played.metrics[0]["d/spy/largest"] > 150)  # Nobody has rescaled them.

    networks = NETWORKS._replace(
        generator=Network(normal(out=(LATENT, 2)), draw, lambda *_: ""),
        discriminator=DISCRIMINATOR._replace(init=normal(**{"in": (2, 5)}, last=(5,))),
    )
    return Row(game_of(networks, spy=Technique(discriminator_loss=spy)), check, space=PLANE)


ROWS = [
    turn,
    labels,
    stage,
    key,
    memory,
    lookahead,
    batch_size_of_the_generator,
    accumulation,
    sampling_options,
    points,
]


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_a_seam_carries_what_needs_it(row, replicas, tmp_path):
    made = row()
    made.check(play(made, replicas, tmp_path))
