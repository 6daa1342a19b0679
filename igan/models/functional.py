"""What all network families share: a Flax module as pure functions, and the end of a discriminator."""

from typing import Any

import flax.linen as nn
import jax

from igan.randomness import stream
from igan.types import Array, Critique, Key, Network, Params, Variables


def network(module: nn.Module) -> Network:
    """Returns the module as a `Network`. Its `__call__` must be `(inputs, train)`.

    >>> generator = network(Generator(layers=(500, 500), image_shape=(28, 28, 1)))
    >>> params, variables = generator.init(jax.random.key(0), latents)
    >>> images, variables = generator.apply(params, variables, jax.random.key(1), latents, train=True)
    """

    def init(key: Key, inputs: Array) -> tuple[Params, Variables]:
        keys = {"params": stream(key, "params"), "noise": stream(key, "noise")}
        variables = dict(module.init(keys, inputs, train=True))
        return variables.pop("params", {}), variables

    def apply(params: Params, variables: Variables, key: Key, inputs: Array, train: bool) -> tuple[Any, Variables]:
        collections = {"params": params, **variables}
        if not train:
            return module.apply(collections, inputs, train=False), variables
        return module.apply(collections, inputs, train=True, rngs={"noise": key}, mutable=list(variables))

    def describe(inputs: Array) -> str:
        keys = {"params": jax.random.key(0), "noise": jax.random.key(0)}
        return module.tabulate(keys, inputs, train=True, console_kwargs={"width": 160, "force_terminal": False})

    return Network(init, apply, describe)


def critique(outputs: Array, features: Array, classes: int | None) -> Critique:
    """Returns the critique of n images from the outputs of a discriminator's last layer.

    Args:
      outputs: float32 [n, classes], the class logits; [n, 1], the logit of "real", where `classes` is None.
      features: float32 [n, f], the intermediate layer of feature matching.

    >>> critique(jnp.zeros((2, 10)), jnp.zeros((2, 3)), classes=10).logits  # log 10
    Array([2.3025851, 2.3025851], dtype=float32)
    """
    if classes is None:
        return Critique(logits=outputs[:, 0], features=features)
    return Critique(logits=jax.nn.logsumexp(outputs, axis=1), features=features, class_logits=outputs)
