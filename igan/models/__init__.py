"""One network family a file: `make(image_shape, classes, layers, **hyperparameters) -> Networks`.

`PLACES` of a family names the places it leaves open to techniques; `layers` fills some of them (`Technique.layers`):

- "generator": (generator module) -> the module to use instead, called with (latents, context);
- "generator_norm": () -> the normalisation after each hidden layer of the generator, called with (inputs,
  context). If it has an `unconditional`, residual networks have that before their last layer;
- "generator_layer", "discriminator_layer": (`igan.layers.weights.Layer`) -> a layer with weights, called with (inputs,
  context): how it holds them, normalised or not, is its own affair;
- "discriminator_features": () -> a layer on the features [n, f] before the discriminator's last layer; in networks
  that grow on the smallest maps [n, 4, 4, channels], before the last three.
- "generator_maps", "discriminator_maps": (heights of that player's feature maps) -> (height, what makes its layers,
  their type) -> what is done to the maps after the first block of each height, called with (maps, context);
- "discriminator_head": (what makes the discriminator's layers) -> what stands beside its last layer, called with
  (critique, features, context), and returns another critique.

A place that nobody fills has a default of the family's. `INSTEAD` of a family says what it has in some places that it
does not leave open. `TAKES` of a family names the kinds of data (`Space.kind`)
that it is for; without, it is for images.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from igan.errors import UserError, did_you_mean
from igan.types import Networks, Space

HELPERS = ("functional", "growth")  # Files that are no family.
# Experiments with networks for a kind of data.
EXAMPLES = {"points": ", as --config=experiments/mixture.py:ring", "images": ", as --config=experiments/gans.py:dcgan"}
# Python's float is float32 here, and float64 where JAX has been told to have it, as tests do.
PRECISIONS = {"float32": float, "bfloat16": jnp.bfloat16}


def known() -> list[str]:
    """Returns the names of all network families: the files of `igan/models/` that have a `make`."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in HELPERS)


def defaults(name: str) -> dict[str, Any]:
    """Returns the config fields of a network family, its name and hyper-parameters.

    Raises UserError for an unknown name, suggesting the right one.
    """
    parameters = inspect.signature(_module(name).make).parameters.values()
    settings = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    return {"name": name} | settings


def load(
    config: Mapping[str, Any],
    space: Space,
    classes: int | None,
    layers: Mapping[str, Callable[..., Any]],
) -> Networks:
    """Returns the networks that `config.networks` names.

    Args:
      space: what examples of the data are.
      classes: K for a discriminator with K classes; None for one with a single logit.
      layers: what techniques put into the networks, by place.

    Raises UserError for data that the family does not take, and for a layer whose place it does not have.
    """
    settings = dict(config)
    name = settings.pop("name")
    module = _module(name)
    fields = defaults(name).keys() - {"name"}
    for setting in settings:
        if setting not in fields:
            raise UserError(
                f"the networks '{name}' have no '{setting}': they are chosen by another experiment, not by a flag, or"
                f" in Python by igan.config.default('{name}').{did_you_mean(setting, fields)}"
            )
    for place in layers:
        if place not in module.PLACES:
            why = getattr(module, "INSTEAD", {}).get(place)
            raise UserError(
                f"the networks '{name}' have no place '{place}' for what a technique puts there: disable that"
                f" technique, or choose other networks; '{name}' has {why or ', '.join(module.PLACES) or 'none'}"
            )
    if space.kind not in (takes := getattr(module, "TAKES", ("images",))):
        fitting = [each for each in known() if space.kind in getattr(_module(each), "TAKES", ("images",))]
        raise UserError(
            f"the networks '{name}' are for {' and '.join(takes)}, and the data are {space.kind}: choose other data, or"
            f" an experiment with networks for {space.kind} ({', '.join(fitting) or 'there are none yet'})"
            f"{EXAMPLES.get(space.kind, '')}"
        )
    return module.make(space.shape, classes, layers, **settings)


def require(field: str, value: Any, expected: str, holds: Callable[[Any], object]) -> None:
    """Raises UserError unless the hyper-parameter `field` of a network family is as expected."""
    if not holds(value):
        raise UserError(f"config.networks.{field} is {value}, expected {expected}: set --config.networks.{field}=...")


def require_widths(field: str, widths: Any, count: int | None = None) -> None:
    """Raises UserError unless a hyper-parameter holds widths of layers, `count` of them if that is given."""
    number = "widths" if count is None else f"{count} widths"
    require(
        field,
        widths,
        f"{number} from 1 to a million",
        lambda widths: count in (None, len(widths)) and all(map(is_width, widths)),
    )


def require_latent_size(size: Any) -> None:
    """Raises UserError unless a hyper-parameter can be the number of numbers in a latent."""
    require("latent_size", size, "a whole number from 1 to a million", is_width)


def require_noise(**stds: Any) -> None:
    """Raises UserError unless these hyper-parameters are standard deviations of noise."""
    for field, std in stds.items():
        require(field, std, "a standard deviation, 0 or more", lambda std: 0 <= std < 1e38)


def require_fitting(
    family: str, image_shape: tuple[int, int, int], needed: str, holds: Callable[[int], bool], **setting: Any
) -> None:
    """Raises UserError unless both sides of the images are such as a network family needs.

    Args:
      needed: the sides that it needs, in words.
      holds: whether one side is so.
      setting: the hyper-parameter on which that depends, with its value.
    """
    height, width, _ = image_shape
    if not (holds(height) and holds(width)):
        ((field, value),) = setting.items()
        raise UserError(
            f"images of {height} x {width} pixels do not fit the networks '{family}': with {field}={value} they need"
            f" {needed}. Set --config.networks.{field}=..., or for an image folder --config.data.image_size=32"
            " --config.data.crop=center"
        )


def precision_dtype(precision: Any) -> Any:
    """Returns the type in which convolutions are computed, of the hyper-parameter `precision`.

    >>> precision_dtype("bfloat16").__name__
    'bfloat16'

    Raises UserError for another name.
    """
    require("precision", precision, "float32 or bfloat16", lambda name: name in PRECISIONS)
    return PRECISIONS[precision]


def is_width(value: Any) -> bool:
    """Returns whether a value can be the width of a layer."""
    return isinstance(value, int) and 1 <= value <= 1_000_000


def _module(name: str) -> Any:
    if name not in known():
        raise UserError(f"unknown networks.name '{name}'.{did_you_mean(name, known())}")
    return importlib.import_module(f"igan.models.{name}")
