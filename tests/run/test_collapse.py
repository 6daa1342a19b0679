"""A run that collapses says so, once, and one that does not says nothing."""

import json

import jax
import numpy as np
import pytest

from igan.evaluate import restore
from igan.run import collapse, experiment, train
from igan.run.collapse import Watch
from tests.run.test_mixture import tiny


def see(watch: Watch, diversities, start: int = 0, **others) -> list[str]:
    said = []
    for place, each in enumerate(diversities):
        values = {f"balance/{name}": [given[place]] for name, given in others.items()}
        said.append(watch.see(start + 10 * place, {"balance/diversity": [each]} | values))
    return said


def test_it_takes_three_in_a_row():
    watch = Watch(1000)
    assert not any(see(watch, [0.9, 0.1, 0.1, 0.3, 0.1, 0.1]))
    assert watch.see(60, {"balance/diversity": [0.1]}).startswith("the generator has collapsed")
    assert not any(see(watch, [0.1, 0.9, 0.1, 0.1, 0.1], start=70))
    assert watch.found == {"collapsed": {0: 60}, "vanished": {}}


def test_a_generator_that_has_not_begun_is_given_time():
    watch = Watch(1000)
    assert not any(see(watch, [0.05] * 10)) and not watch.found["collapsed"]
    said = see(watch, [0.05] * 10, start=100)
    assert [bool(each) for each in said] == [False, False, True, *[False] * 7]


def test_what_is_missing_is_no_collapse():
    watch = Watch(100)
    assert not any(see(watch, [0.9, None, None, None, None]))


def test_a_vanished_gradient_beside_a_discriminator_that_is_sure():
    norms, sure = [1.0, 1e-4, 1e-4, 1e-4], [1.0] * 4
    watch = Watch(100)
    said = see(watch, [1.0] * 4, separation=sure, gradient_norm_generator=norms)
    assert [bool(each) for each in said] == [False, False, False, True] and "learns nothing any more" in said[3]
    for separation, other in (([0.9] * 4, norms), (sure, [1.0, 0.1, 0.1, 0.1])):
        assert not any(see(Watch(100), [1.0] * 4, separation=separation, gradient_norm_generator=other))


def test_a_run_that_goes_on_remembers_what_was_said():
    lines = [{"step": step, "balance/diversity": [0.9 if step < 20 else 0.1, 0.9]} for step in range(0, 80, 10)]
    before = Watch(100, lines)
    assert before.found["collapsed"] == {0: 40}
    assert before.see(80, {"balance/diversity": [0.1, 0.9]}) == ""


@pytest.mark.parametrize("collapses", [True, False])
def test_a_run_that_is_made_to_collapse(tmp_path, capsys, collapses):
    """A generator that makes one point of everything, and does not move from there."""
    config = tiny()
    config.evaluation.scores = ()
    config.epochs, config.steps_per_chunk, config.evaluation.interval = 12, 20, 20
    config.reporting.samples_interval = config.checkpoint.interval = 1000
    config.discriminator.learning_rate = config.generator.learning_rate = 1e-2
    if collapses:
        config.networks.update(initialiser="normal", gain=1e-4)
        config.generator.learning_rate = 1e-9
    summary = train.run(config, tmp_path / "run")
    said = [line for line in capsys.readouterr().out.splitlines() if "collapsed" in line]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    seen = {line["step"]: line["balance/diversity"] for line in lines if "balance/diversity" in line}
    assert list(seen) == list(range(20, 121, 20))
    assert len(said) == collapses and ("collapsed" in summary) == collapses, seen
    if collapses:
        assert "of 2 has collapsed" in said[0] and "What usually helps" in said[0]
        assert all(seen[step][int(replica)] < collapse.LOW for replica, step in summary["collapsed"].items())
    else:
        assert min(min(each) for each in seen.values()) > collapse.LOW
        config.evaluation.interval = 1000  # Nobody looks: bit for bit the same game.
        train.run(config, tmp_path / "unseen")
        arrays = [restore(tmp_path / name, experiment.build(config), best=False)[1] for name in ("run", "unseen")]
        one, other = (jax.tree.leaves(state._replace(key=jax.random.key_data(state.key))) for state in arrays)
        for leaf, twin in zip(one, other, strict=True):
            np.testing.assert_array_equal(leaf, twin)
