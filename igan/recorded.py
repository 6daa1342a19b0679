"""Configs as runs record them in `config.json`: read with the defaults of what is younger, and compared."""

import json
from typing import Any

from ml_collections import ConfigDict

from igan import models
from igan.config import Config, default

# Fields that may differ when a run is resumed: they change how long it runs and what it shows, not what it computes.
MAY_CHANGE = ("epochs", "steps_per_chunk", "devices", "data.dir", "evaluation", "checkpoint", "reporting")
# Fields that techniques once had, with their defaults: runs that left them so are opened without.
RETIRED = {("r1", "ramp"): 0, ("r2", "ramp"): 0}
NEVER = object()


def plain(config: Config) -> dict[str, Any]:
    """Returns a config as what comes back from its JSON file.

    >>> plain(default())["evaluation"]["scores"]
    []
    """
    return json.loads(config.to_json())


def completed(found: dict[str, Any]) -> dict[str, Any]:
    """Returns a config from a JSON file with the defaults of fields, sections and techniques that are younger than it.

    What this igan does not know, a technique of somebody's own or a field of a newer one, stays as it is.

    >>> completed({"seed": 7})["techniques"]["minimax"]["enabled"]
    False
    """
    return _with_defaults(_without_retired(found), defaults_beside(found))


def _without_retired(found: dict[str, Any]) -> dict[str, Any]:
    techniques = found.get("techniques")
    if not isinstance(techniques, dict):
        return found

    def kept(name: str, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        return {field: each for field, each in settings.items() if RETIRED.get((name, field), NEVER) != each}

    return found | {"techniques": {name: kept(name, settings) for name, settings in techniques.items()}}


def defaults_beside(found: dict[str, Any]) -> dict[str, Any]:
    """Returns the defaults of the fields that a config from a JSON file can have: its networks' and techniques' own.

    >>> defaults_beside({"networks": {"name": "convolutional"}})["networks"]["dropout"]
    0.5
    """
    networks, techniques = found.get("networks"), found.get("techniques")
    family = networks.get("name") if isinstance(networks, dict) else None
    defaults = plain(default()) | {"networks": {"name": ""}}
    if isinstance(family, str) and family in models.known():
        defaults |= plain(ConfigDict({"networks": models.defaults(family)}))
    if isinstance(techniques, dict):  # Some are of another version, or somebody else's.
        defaults["techniques"] = {name: {"enabled": False} for name in techniques} | defaults["techniques"]
    return defaults


def _with_defaults(found: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    both = [name for name in found.keys() & defaults.keys() if defaults[name]]
    sections = [name for name in both if isinstance(found[name], dict) and isinstance(defaults[name], dict)]
    return defaults | found | {name: _with_defaults(found[name], defaults[name]) for name in sections}


def changed(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """Returns the fields in which two resolved configs differ, but for those that may change on resume.

    >>> changed({"seed": 1, "epochs": 30}, {"seed": 2, "epochs": 60})
    ['seed: was 1, now 2']
    """
    differences = []
    for name in sorted(before.keys() | after.keys()):
        field, old, new = prefix + name, before.get(name), after.get(name)
        if field in MAY_CHANGE or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            differences += changed(old, new, f"{field}.")
        else:
            differences.append(f"{field}: was {old!r}, now {new!r}")
    return differences
