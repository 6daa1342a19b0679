"""What the experiments of `experiments/` are by default: a report says in what a run departs from its own."""

import re
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import igan
from igan.recorded import completed, plain
from igan.reporting.lenient_json import flat


def defaults(experiment: str, variant: str) -> dict[str, Any] | None:
    """Returns the fields of an experiment's variant, flat; None where there is no such experiment or variant here.

    >>> defaults("mnist", "unsupervised")["techniques.non_saturating.enabled"]
    True
    """
    if not re.fullmatch(r"\w+", experiment):  # It comes from a file of the run, and must not lead to other folders.
        return None
    # First those that the command, which a report shows, would find.
    for folder in (Path(), Path(igan.__file__).parents[1]):
        path = (folder / "experiments" / f"{experiment}.py").resolve()
        if path.is_file():
            return _load(path, variant)
    return None


@cache
def _load(path: Path, variant: str) -> dict[str, Any] | None:
    try:
        return flat(completed(plain(runpy.run_path(str(path))["get_config"](variant))))
    except (Exception, SystemExit):  # Anything may be wrong with a file of somebody's; the runs are reported without.
        return None
