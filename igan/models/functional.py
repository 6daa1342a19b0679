"""What all network families share: a Flax module as pure functions, and the end of a discriminator."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from igan.layers import block_end
from igan.randomness import stream
from igan.types import Array, Context, Critique, Key, Network, Params, Variables


def network(module: nn.Module) -> Network:
    """Returns the module as a `Network`. Its `__call__` must be `(inputs, context)`.

    >>> generator = network(Generator(layers=(500, 500), image_shape=(28, 28, 1)))
    >>> params, variables = generator.init(context, latents)
    >>> images, variables = generator.apply(params, variables, context, latents)
    """

    def init(context: Context, inputs: Array) -> tuple[Params, Variables]:
        keys = {"params": stream(context.key, "params"), "noise": stream(context.key, "noise")}
        variables = dict(module.init(keys, inputs, context))
        return variables.pop("params", {}), variables

    def apply(params: Params, variables: Variables, context: Context, inputs: Array) -> tuple[Any, Variables]:
        collections = {"params": params, **variables}
        if not context.train:
            return module.apply(collections, inputs, context), variables
        return module.apply(collections, inputs, context, rngs={"noise": context.key}, mutable=list(variables))

    def describe(context: Context, inputs: Array) -> str:
        keys = {"params": context.key, "noise": context.key}
        return module.tabulate(keys, inputs, context, console_kwargs={"width": 160, "force_terminal": False})

    return Network(init, apply, describe)


def rematerialised(network: Network) -> Network:
    """Returns a network whose backward pass is left the ends of blocks, and computes what is between them again."""
    keep = jax.checkpoint_policies.save_only_these_names(block_end.NAME)

    def apply(params: Params, variables: Variables, context: Context, inputs: Array) -> tuple[Any, Variables]:
        def once(params: Params, variables: Variables, inputs: Array) -> tuple[Any, Variables]:
            return network.apply(params, variables, context, inputs)

        return jax.checkpoint(once, policy=keep)(params, variables, inputs)

    return network._replace(apply=apply)


def normal_latents(size: int) -> Callable[[Key, int], Array]:
    """Returns a function (key, count) -> latents [count, size] of N(0, 1).

    >>> normal_latents(3)(jax.random.key(0), 2).shape
    (2, 3)
    """
    return lambda key, count: jax.random.normal(key, (count, size))


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


def filled(layers: Mapping[str, Any], **places: str) -> dict[str, Any]:
    """Returns the fields of a module that techniques fill; the others have their defaults.

    Args:
      places: the place of each field.

    >>> filled({"generator_norm": ShiftBatchNorm}, norm="generator_norm", layer="generator_layer")
    {'norm': <class 'igan.layers.batch_norm.ShiftBatchNorm'>}
    """
    return {field: layers[place] for field, place in places.items() if place in layers}


def as_they_are(**options: Any) -> Callable[[Array], Array]:
    """Returns what stands in the place of a layer on the features that nobody fills.

    >>> as_they_are()(jnp.zeros((2, 3))).shape
    (2, 3)
    """
    return lambda features: features


def gives(classes: int | None, **others: bool) -> frozenset[str]:
    """Returns what a discriminator of `critique` gives to techniques, by the names of `igan.game.technique.NEEDS`.

    Args:
      classes: K, or None for a single logit.
      others: what else there is to give, and whether this one does.

    >>> sorted(gives(classes=10, independent_examples=True, plain_weights=False))
    ['class_logits', 'independent_examples']
    """
    return frozenset(name for name, given in (others | {"class_logits": classes is not None}).items() if given)
