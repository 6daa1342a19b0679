"""What is easily got wrong around an update, and how the seams keep it from going wrong."""

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import igan.techniques
from igan.config import validate
from igan.errors import UserError
from igan.game import optimizer, technique
from igan.game.technique import Technique
from igan.run import experiment
from igan.types import Array, Critique, Key, Metrics, View
from tests.game.smallest import NETWORKS, Row, game_of, judge, prepare


def penalty_every_second_step(count: Any) -> Technique:
    def penalty(state: Any, view: View) -> tuple[Array, Metrics]:
        norms = lambda: jnp.mean(view.real.logits**2)  # noqa: E731
        return jax.lax.cond(count(state, view) % 2 == 0, norms, lambda: jnp.zeros_like(view.real.logits[0])), {}

    return Technique(
        init=lambda key, real: jnp.int32(0), update=lambda state, view: state + 1, discriminator_loss=penalty
    )


def conditionals(replicas: int, **techniques: Technique) -> int:
    engine, plan = prepare(Row(game_of(**techniques), lambda played: None), replicas, devices=1)
    return len(re.findall(r"\bconditional\(", engine.compile(plan.stages[0], 1).as_text()))


def test_a_lazy_penalty_stays_lazy_with_replicas_where_it_asks_for_the_turn():
    lazy = penalty_every_second_step(lambda state, view: view.turn.count)
    assert conditionals(1, lazy=lazy) == conditionals(2, lazy=lazy) > conditionals(2)


def test_a_counter_in_memory_is_not_how_one_branches():
    """Memory is each replica's own: XLA then computes the penalty in every step and selects."""
    counting = penalty_every_second_step(lambda state, view: state)
    assert conditionals(1, counting=counting) > conditionals(1)
    assert conditionals(2, counting=counting) == conditionals(2)


def test_accumulation_ends_where_its_learning_rate_schedule_says():
    settings = {"optimizer": "sgd", "learning_rate": 0.1, "constant_share": 0.0}
    tx = optimizer.make(settings, total_steps=4)
    row = Row(game_of(tx=tx, accumulate=4), lambda played: None, steps=(1, 1))
    engine, plan = prepare(row, replicas=1)
    states = [jax.device_get(engine.initialize(1).discriminator.params)]
    state = engine.initialize(1)
    for _ in range(5):
        state, _ = engine.run(state, plan.stages[0], 1)
        states.append(jax.device_get(state.discriminator.params))
    moves = [np.abs(after["in"] - before["in"]).max() for before, after in itertools.pairwise(states)]
    assert min(moves[:4]) > 0 and moves[4] == 0  # The rate is zero after four steps, whatever their number of parts.
    np.testing.assert_array_equal(state.discriminator.opt_state[1].count, [5])


def test_a_reconstruction_is_compared_with_what_the_discriminator_was_shown():
    """BEGAN beside augmentation: an autoencoder that is perfect has no error, whatever its inputs were made."""

    def copy(params: Any, variables: Any, context: Any, images: Array) -> tuple[Critique, Any]:
        return judge(params, variables, context, images)[0]._replace(reconstruction=images), variables

    def errors(state: Any, view: View) -> tuple[Array, Metrics]:
        shown = jnp.mean(jnp.abs(view.fake.reconstruction - view.fake.inputs))
        return jnp.zeros(()), {"shown": shown, "given": jnp.mean(jnp.abs(view.fake.reconstruction - view.fake.images))}

    def shift(state: Any, key: Key, images: Array) -> Array:
        return jnp.roll(images, 1, axis=1)

    networks = NETWORKS._replace(discriminator=NETWORKS.discriminator._replace(apply=copy))
    compare = Technique(discriminator_loss=errors, generator_loss=errors)
    row = Row(game_of(networks, compare=compare, shift=Technique(discriminator_input=shift)), lambda played: None)
    engine, plan = prepare(row, replicas=2)
    _, metrics = engine.run(engine.initialize(1), plan.stages[0], 1)
    for player in "dg":
        assert np.all(metrics[f"{player}/compare/shown"] == 0) and np.all(metrics[f"{player}/compare/given"] > 0.01)


NEEDY = """
from igan.game.technique import Technique

def make() -> Technique:
    return Technique(needs=frozenset({{"{need}"}}))
"""


def add(need: str, config: Any, folder: Any, monkeypatch: pytest.MonkeyPatch, name: str = "needy") -> None:
    (folder / f"{name}.py").write_text(NEEDY.format(need=need))
    monkeypatch.setattr(igan.techniques, "__path__", [*igan.techniques.__path__, str(folder)])
    config.techniques[name] = technique.defaults(name) | {"enabled": True}


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        ("plain_weights", "whose outputs grow with its weights, which weight normalisation undoes"),
        ("reconstruction", "a discriminator that is an autoencoder"),
    ],
)
def test_what_networks_do_not_give_is_refused_with_a_reason(need, reason, small, tmp_path, monkeypatch):
    """Clipping weights on weight-normalised layers would bound nothing."""
    name = f"needs_{need}"
    add(need, small, tmp_path, monkeypatch, name)
    with pytest.raises(UserError, match=rf"{name} needs .*{reason}.*'fully_connected'.*{name}.enabled=False") as error:
        experiment.build(small)
    assert "\n" not in str(error.value)


def test_a_need_that_nobody_knows_is_refused_with_a_suggestion(small, tmp_path, monkeypatch):
    add("class_logit", small, tmp_path, monkeypatch, "misspelled")
    with pytest.raises(UserError, match=r"misspelled needs or gives an unknown 'class_logit'\. Did you mean 'class_lo"):
        experiment.build(small)


def test_labels_of_all_images_are_refused_where_most_are_unknown(small, tmp_path, monkeypatch):
    add("labels", small, tmp_path, monkeypatch, "needs_labels")
    with pytest.raises(UserError, match=r"needs_labels needs the label of every image.*--config\.labels_per_class=0"):
        experiment.build(small)
    small.labels_per_class = 0
    built = experiment.build(small)
    assert built.game.networks.classes == 10 and built.plan.all_labeled


def test_two_objectives_for_one_player_are_refused(small):
    small.techniques.non_saturating.enabled = True
    small.techniques.non_saturating.generator_weight = 0.0
    with pytest.raises(UserError, match=r"the discriminator has two objectives, .*minimax.*non_saturating") as error:
        validate(small)
    assert "discriminator_weight=0" in str(error.value) and "\n" not in str(error.value)
    small.techniques.non_saturating.discriminator_weight = 0.0
    small.techniques.non_saturating.generator_weight = 1.0
    validate(small)  # One each.


@pytest.mark.parametrize("field", ["batch_size", "generator.batch_size"])
def test_a_batch_that_has_no_such_parts_is_refused(small, field):
    small.accumulate = 4
    validate(small)
    small.update_from_flattened_dict({field: 18})
    with pytest.raises(UserError, match=rf"config\.{re.escape(field)} is 18, expected a multiple of accumulate=4"):
        validate(small)
