"""The auxiliary classifier: whose classes each player learns, by hand, and which way each of them goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igan.errors import UserError
from igan.techniques.auxiliary_classifier import make
from tests.techniques import probes

LABELS = {"real": [0, 2, 1, 2], "fake": [1, 1, 0, 2]}


def look(random):
    """A view whose images are of these classes, and the discriminator's logits of them in float64."""
    view, logits = probes.look_at(*random.normal(size=(2, 4, 2, 2, 1))), {}
    for name, labels in LABELS.items():
        logits[name] = random.normal(0, 2, (4, 3)).astype(np.float32)
        seen = getattr(view, name)._replace(labels=jnp.array(labels), class_logits=jnp.asarray(logits[name]))
        view = view._replace(**{name: seen})
    return view, {name: np.float64(each) for name, each in logits.items()}


def entropy(logits, labels):
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(shares[np.arange(4), labels]).mean()


def test_the_discriminator_learns_the_classes_of_both_and_the_generator_of_its_own(random):
    """L_C of real and generated images, each with labels of their own: Odena et al., equation 3."""
    view, logits = look(random)
    real, fake = (entropy(logits[name], LABELS[name]) for name in ("real", "fake"))
    value, said = make().discriminator_loss(None, view)
    np.testing.assert_allclose(value, real + fake, rtol=1e-5)
    np.testing.assert_allclose([said["real"], said["fake"]], [real, fake], rtol=1e-5)
    for name, detail in (("real", "error"), ("fake", "generated_error")):
        np.testing.assert_allclose(said[detail], np.mean(logits[name].argmax(axis=1) != LABELS[name]))
    of_generator, _ = make().generator_loss(None, view)
    np.testing.assert_allclose(of_generator, fake, rtol=1e-5)  # Both players lower it: there is no sign to turn.


def test_generated_images_teach_no_classes_where_they_are_not_to(random):
    view, logits = look(random)
    value, said = make(generated=False).discriminator_loss(None, view)
    np.testing.assert_allclose(value, entropy(logits["real"], LABELS["real"]), rtol=1e-5)
    assert "fake" in said
    of_generator, _ = make(generated=False).generator_loss(None, view)
    np.testing.assert_allclose(of_generator, entropy(logits["fake"], LABELS["fake"]), rtol=1e-5)


def test_the_logit_of_real_has_no_slope(random):
    """What the players do about it is their objective's."""
    view, _ = look(random)

    def loss(logits):
        seen = {name: getattr(view, name)._replace(logits=logits) for name in LABELS}
        changed = view._replace(**seen)
        return make().discriminator_loss(None, changed)[0] + make().generator_loss(None, changed)[0]

    np.testing.assert_array_equal(jax.grad(loss)(jnp.ones(4)), np.zeros(4))


@pytest.mark.parametrize("generated", [0, 1.0, "yes", None])
def test_a_setting_that_is_neither_is_refused(generated):
    with pytest.raises(UserError, match=r"auxiliary_classifier\.generated is .*, expected True or False"):
        make(generated)
