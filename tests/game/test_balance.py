"""How the players stand, against NumPy and against the step that an optimiser takes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import pdist

from igan.game import balance, step
from igan.game.batches import Resident, gather, make_orders
from igan.game.technique import load
from igan.game.view import generate, look
from igan.randomness import stream
from igan.run import experiment
from igan.types import Turn
from tests.run.test_mixture import tiny


def test_the_mean_distance_is_that_of_all_pairs(random):
    examples = random.normal(size=(40, 3, 2)).astype(np.float32)
    assert float(balance.mean_distance(examples)) == pytest.approx(pdist(examples.reshape(40, 6)).mean(), rel=1e-5)
    # Far away and nearly alike: what a collapsed generator makes.
    alike = 100 + 1e-3 * examples
    assert float(balance.mean_distance(alike)) == pytest.approx(pdist(alike.reshape(40, 6)).mean(), rel=1e-2)
    many = random.normal(size=(300, 2)).astype(np.float32)
    assert float(balance.mean_distance(many)) == pytest.approx(pdist(many[:256]).mean(), rel=1e-5)


def test_with_labels_only_pairs_of_a_class_count(random):
    examples, labels = random.normal(size=(30, 4)).astype(np.float32), random.integers(0, 3, 30)
    own = np.concatenate([pdist(examples[labels == label]) for label in range(3)])
    assert float(balance.mean_distance(examples, jnp.asarray(labels))) == pytest.approx(own.mean(), rel=1e-5)
    assert np.isnan(balance.mean_distance(examples[:2], jnp.array([0, 1])))


def test_the_balance_of_each_replica_is_that_of_its_next_update():
    config = tiny()
    config.discriminator.steps = 2
    built = experiment.build(config)
    state, stage = built.engine.initialize(7), built.plan.stages[0]
    found = {name: np.asarray(each) for name, each in built.engine.balance(state, stage).items()}
    data = built.dataset
    stored = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    resident = Resident(*map(jnp.asarray, stored))
    game = built.game._replace(discriminator_optimizer=optax.sgd(1.0), generator_optimizer=optax.sgd(1.0))

    def by_hand(one):
        """The logits and examples of the update that would follow, and what a step of size 1 changes."""
        one = one._replace(
            generator=one.generator._replace(opt_state=game.generator_optimizer.init(one.generator.params)),
            discriminator=one.discriminator._replace(
                opt_state=game.discriminator_optimizer.init(one.discriminator.params)
            ),
        )
        orders = make_orders(one.key, one.step, 1, len(data.train_images), None, stage, (2, 1))
        batches = gather(
            resident,
            jax.tree.map(lambda leaf: leaf[0], orders),
            lambda points: data.space.encode(points, built.game.networks.image_range),
        )
        key, turn, real = (
            stream(one.key, "balance", one.step),
            Turn(one.step, one.step, stage),
            batches.discriminator[0],
        )
        fake, _ = generate(game, one, turn, key, real)
        view, _ = look(game, one, turn, key, real, fake, together=True)
        moved = step.update_discriminator(game, one, turn, key, real)[0].discriminator.params
        moved_generator = step.update_generator(game, one, turn, key, batches.generator[0])[0].generator.params
        return real.real.images, fake.images, view.real.logits, view.fake.logits, moved, moved_generator

    for replica in range(2):
        take = lambda tree: jax.tree.map(lambda leaf: leaf[replica], tree)  # noqa: B023, E731
        one = state._replace(**{name: take(getattr(state, name)) for name in state._fields if name != "step"})
        real, fake, of_real, of_fake, moved, moved_generator = jax.device_get(jax.jit(by_hand)(one))
        expected = {
            "diversity": pdist(fake).mean() / pdist(real).mean(),
            "separation": np.mean(of_real[:, None] > of_fake),
            "accuracy_real": np.mean(of_real > 0),
            "accuracy_generated": np.mean(of_fake < 0),
        }
        for player, after in (("discriminator", moved), ("generator", moved_generator)):
            changes = jax.tree.map(np.subtract, jax.device_get(getattr(one, player).params), after)
            squares = [np.sum(np.float64(leaf) ** 2) for leaf in jax.tree.leaves(changes)]
            expected[f"gradient_norm_{player}"] = np.sqrt(sum(squares))
        norms = expected["gradient_norm_generator"], expected["gradient_norm_discriminator"]
        expected["gradient_ratio"] = norms[0] / norms[1]
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name][replica] == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize(
    ("objective", "settings", "boundary"),
    [("hinge", {}, 0), ("wasserstein", {}, None), ("relativistic", {}, None), ("least_squares", {}, 0.5)],
)
def test_a_critic_has_no_boundary(objective, settings, boundary):
    techniques = load({objective: {"enabled": True} | settings})
    built = experiment.build(tiny())
    assert balance.boundary_of(built.game._replace(techniques=techniques)) == boundary
