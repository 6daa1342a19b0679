"""One network family a file: `make(image_shape, classes, **hyperparameters) -> Networks`."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from igan.errors import UserError, did_you_mean
from igan.types import Networks


def known() -> list[str]:
    """Returns the names of all network families: the files of `igan/models/` that have a `make`."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "functional")


def defaults(name: str) -> dict[str, Any]:
    """Returns the config fields of a network family, its name and hyper-parameters.

    Raises UserError for an unknown name, suggesting the right one.
    """
    parameters = inspect.signature(_module(name).make).parameters.values()
    settings = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    return {"name": name} | settings


def load(config: Mapping[str, Any], image_shape: tuple[int, int, int], classes: int | None) -> Networks:
    """Returns the networks that `config.networks` names.

    Args:
      image_shape: height, width, channels.
      classes: K for a discriminator with K classes; None for one with a single logit.
    """
    settings = dict(config)
    return _module(settings.pop("name")).make(image_shape, classes, **settings)


def _module(name: str) -> Any:
    if name not in known():
        raise UserError(f"unknown networks.name '{name}'.{did_you_mean(name, known())}")
    return importlib.import_module(f"igan.models.{name}")
