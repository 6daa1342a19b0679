"""What one game is given, without networks: the update of these tests only notes what it sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.game import replica
from igan.game.batches import Resident, Streamed
from igan.game.replica import Replica
from igan.game.stages import Plan, complete_stages
from igan.types import GameState, Stage

STAGES = complete_stages([Stage()], (4, 6), (2, 1))
IMAGES = np.arange(12 * 2 * 3, dtype=np.float32).reshape(12, 2, 3, 1)  # Of two rows of three pixels; none looks alike.
LABELS = np.arange(12, dtype=np.int32)


def note(state, batches, stage):
    seen = [batch.real for batch in (*batches.discriminator, *batches.generator)]
    known = [batch.labeled for batch in batches.discriminator]
    return state._replace(step=state.step + 1), (seen, known)


def play(updates, mirror, labeled=None, feed=None, start=0, seed=0, all_labeled=True):
    """Returns what was seen in so many updates: examples of each step of either player, and those with labels."""
    plan = Plan(1, 2, 1, 6, STAGES, all_labeled, mirror=mirror)
    one = Replica(None, plan, lambda stored: jnp.asarray(stored, jnp.float32), note, lambda batch: batch)  # type: ignore[arg-type]
    state = GameState(jnp.int32(start), jax.random.key(seed), (), (), ())  # type: ignore[arg-type]
    resident = Resident(*map(jnp.asarray, (IMAGES, LABELS, IMAGES, LABELS)))
    _, (seen, known) = replica.play(one, state, resident, labeled, feed, STAGES[0], updates)
    return seen, known


def turned(examples) -> np.ndarray:
    """Returns which images were mirrored: each is that of its label, or its mirror image."""
    images, originals = np.asarray(examples.images), IMAGES[np.asarray(examples.labels)]
    as_it_is, mirrored = ((images == each).all((-3, -2, -1)) for each in (originals, originals[..., ::-1, :]))
    assert (as_it_is ^ mirrored).all()
    return mirrored


def test_images_are_as_they_are_unless_they_are_to_be_mirrored():
    plain, mirrored = play(3, False)[0], play(3, True)[0]
    assert not any(turned(each).any() for each in plain)
    for one, other in zip(plain, mirrored, strict=True):  # Which images come when is the same.
        np.testing.assert_array_equal(one.labels, other.labels)
        assert 0 < turned(other).mean() < 1


def test_each_image_has_a_coin_of_its_own():
    """In each step of either player and in each update; of 40 updates a half is mirrored."""
    coins = [turned(each) for each in play(40, True)[0]]
    assert [each.shape for each in coins] == [(40, 4), (40, 4), (40, 6)]
    drawn = np.concatenate([each.reshape(40, -1) for each in coins], axis=1).astype(float)
    assert abs(drawn.mean() - 0.5) < 0.06  # Of 560 coins the standard deviation is 0.02.
    assert np.abs(np.corrcoef(drawn.T) - np.eye(14)).max() < 0.65  # Of 91 pairs, each with a deviation of 0.16.
    assert len({tuple(row) for row in drawn.tolist()}) == 40
    other = [turned(each) for each in play(40, True, seed=1)[0]]
    assert any((one != two).any() for one, two in zip(coins, other, strict=True))


def test_coins_are_a_function_of_the_update():
    """A run that was resumed mirrors what it would have mirrored."""
    whole, rest = play(5, True)[0], play(2, True, start=3)[0]
    for one, other in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(one.images[3:], other.images)


def test_labelled_images_are_mirrored_too():
    _, known = play(10, True, labeled=jnp.arange(5), all_labeled=False)
    assert all(0 < turned(each).mean() < 1 for each in known)


@pytest.mark.parametrize("mirror", [False, True])
def test_so_are_streams(mirror):
    def streamed(*shape):
        order = np.random.default_rng(0).integers(0, 12, shape)
        return Streamed(IMAGES[order], LABELS[order])

    seen, _ = play(10, mirror, feed=(streamed(10, 2, 4), streamed(10, 1, 6)))
    assert all((0 < turned(each).mean() < 1) == mirror for each in seen)
