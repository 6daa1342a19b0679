"""The worked examples of CONTRIBUTING.md: each is run as it stands there."""

import re
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.data import points
from igan.types import Critique
from tests.contexts import at

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
BLOCKS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


def run(path: str, *, inside: dict | None = None) -> types.SimpleNamespace:
    """Returns the names that the page's code for a file defines, where those of `inside` are there already."""
    names = dict(inside or {}, __name__="example")
    exec(compile(BLOCKS[path], path, "exec"), names)
    return types.SimpleNamespace(**names)


def test_the_technique():
    technique = run("igan/techniques/logit_squeezing.py").make(strength=0.5)
    view = types.SimpleNamespace(real=Critique(logits=jnp.array([1.0, 2.0, 4.0]), features=jnp.zeros((3, 1))))
    loss, metrics = technique.discriminator_loss((), view)
    assert float(loss) == pytest.approx(0.5 * 21 / 3) and metrics == {}


def test_the_networks():
    networks = run("igan/models/linear.py").make((2,), None, {}, width=8)
    latents = networks.sample_latents(jax.random.key(0), 5)
    params, variables = networks.generator.init(at(0), latents)
    made, _ = networks.generator.apply(params, variables, at(0), latents)
    kernel, bias = params["Dense_0"]["kernel"], params["Dense_0"]["bias"]
    np.testing.assert_allclose(made, np.asarray(latents, np.float64) @ kernel + bias, rtol=1e-5, atol=1e-6)
    params, variables = networks.discriminator.init(at(0), made)
    critique, _ = networks.discriminator.apply(params, variables, at(0), made)
    assert critique.logits.shape == (5,) and critique.features.shape == (5, 8)


def test_the_score():
    score = run("igan/metrics/energy_distance.py").energy_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]]))
    assert score.value == pytest.approx(2 * 1 - 1 - 0)  # By hand: |0 - 2| in two pairs of four.


def test_the_data(monkeypatch):
    monkeypatch.setitem(points.KINDS, "moons", run("igan/data/points.py", inside=vars(points)).moons)
    dataset = points.load("moons:noise=0.001")
    upper = dataset.train_images[dataset.train_labels == 0]
    np.testing.assert_allclose(np.linalg.norm(upper, axis=1), 1, atol=0.01)
    lower = dataset.train_images[dataset.train_labels == 1]
    np.testing.assert_allclose(np.linalg.norm(lower - [1, 0.5], axis=1), 1, atol=0.01)
    assert dataset.classes == 2 and (upper[:, 1] > -0.01).all() and (lower[:, 1] < 0.51).all()
