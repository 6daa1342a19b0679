"""What was run: each group's settings where they differ, the command that makes it again, and all of its fields."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from igan.recorded import completed
from igan.reporting import experiments
from igan.reporting.lenient_json import flat
from igan.reporting.pooling import Group, keyed_titles
from igan.reporting.runs import Run
from igan.reporting.settings import acts, canonical, differing, is_part_of, is_switch, value_of, value_text

# Of the machine and what it shows, not of the game: whoever makes it again has their own.
NOT_IN_COMMANDS = ("experiment", "variant", "devices", "steps_per_chunk", "data.dir", "checkpoint", "reporting")
UNSAFE = re.compile(r"[\x00-\x1f\x7f<>&]")


@dataclass(frozen=True)
class Recipe:
    """What a group was run with."""

    title: str
    text: str
    settings: tuple[tuple[str, str, str], ...]  # (field, value, the experiment's default)
    command: str  # Quoted for a shell; "" where the config is unknown.
    fields: tuple[tuple[str, str], ...]


def recipes(groups: Sequence[Group]) -> list[Recipe]:
    r"""Returns what each group of a data set was run with.

    >>> recipes(pool(runs))[0].command
    'python -m igan.main \\\n  --config=experiments/mnist.py \\\n  --config.seed=3'
    """
    known = [group.runs[0].settings for group in groups if group.runs[0].fields]
    told_apart = differing(known)
    titles = keyed_titles(groups)
    return [_recipe(group, title, told_apart) for group, title in zip(groups, titles, strict=True)]


def _recipe(group: Group, title: str, told_apart: Sequence[str]) -> Recipe:
    runs = [*group.runs, *group.left_out]
    first = runs[0]
    if not first.fields:
        text = f"The config of {first.workdir} cannot be read: what it was run with is unknown."
        return Recipe(title, text, (), "", ())
    defaults, remarks = _defaults(first)
    departures = _departures(first.fields, defaults)
    if newer := sorted(set(departures) - set(defaults)):
        remarks.append(f"The command needs an igan that has {', '.join(newer)}, which this one has not.")
    seeds = [str(run.seed) for run in runs[1:] if run.seed is not None and run.seed != first.seed]
    if seeds:
        remarks.append(
            f"The command makes the first of {len(runs)} runs; the others have the seeds {', '.join(seeds)}."
        )
    shown = sorted({*departures, *(name for name in told_apart if _matters(name, first.fields))})
    settings = [(name, _values(runs, name), value_text(value_of(defaults, name))) for name in shown]
    fields = [(name, _values(runs, name)) for name in sorted(first.fields)]
    return Recipe(title, " ".join(remarks), tuple(settings), _command(first, departures), tuple(fields))


def _defaults(run: Run) -> tuple[Mapping[str, Any], list[str]]:
    """Returns what the command would run without further flags, and what there is to say about it."""
    found, where = experiments.defaults(run.experiment, run.variant), f"experiments/{run.experiment}.py"
    variant = f" with a variant '{run.variant}'" if run.variant else ""
    if found is None:
        found = flat(completed({"networks": {"name": run.fields.get("networks.name")}}))
        return found, [f"There is no {where}{variant} here: compared with igan's defaults instead."]
    if canonical(found.get("networks.name")) != canonical(run.fields.get("networks.name")):
        return found, [f"{where} has other networks now, which no flag changes: the command needs it as it was."]
    return found, []


def _departures(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Returns the fields that have to be set for a run to be made again."""
    return [
        name
        for name, value in fields.items()
        if _matters(name, fields)
        and not is_part_of(name, NOT_IN_COMMANDS)
        and canonical(value) != canonical(value_of(defaults, name))
    ]


def _matters(name: str, fields: Mapping[str, Any]) -> bool:
    return is_switch(name) or (name in fields and acts(name, fields))


def _command(run: Run, departures: Sequence[str]) -> str:
    variant = f":{run.variant}" if run.variant else ""
    flags = [f"--config=experiments/{run.experiment}.py{variant}"]
    flags += [f"--config.{name}={_flag(run.fields[name])}" for name in departures]
    return " \\\n  ".join(["python -m igan.main", *map(_quoted, flags)])


def _quoted(flag: str) -> str:
    """Quotes for a shell, and so that neither a line of the command is broken nor Markdown takes it for HTML."""
    if not UNSAFE.search(flag):
        return shlex.quote(flag)
    escaped = re.sub(r"[\\']", r"\\\g<0>", flag)
    spelled = UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped)
    return f"$'{spelled}'"


def _flag(value: Any) -> str:
    return value if isinstance(value, str) else value_text(value)


def _values(runs: Sequence[Run], name: str) -> str:
    """Returns a field of all runs of a group: seeds, and what changes no result, may differ."""
    return " / ".join(dict.fromkeys(value_text(value_of(run.fields, name)) for run in runs))
