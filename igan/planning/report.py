"""A plan as people read it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from igan.planning.targets import MEMORY_FRACTION, parse

COMPILER, COUNTED, SHEET = "compiler", "counted", "data sheet"


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows on stderr what is going on and for how long; yields what is called to say so."""
    console = Console(stderr=True)
    start = time.monotonic()
    with console.status("planning") as status:

        def note(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                console.print(f"{time.monotonic() - start:5.0f} s  {text}", highlight=False, soft_wrap=True)

        yield note


def table(plan: dict[str, Any]) -> None:
    """Prints a plan. Each row says where its number comes from."""
    target = parse(plan["target"])
    title = (
        f"{plan['experiment']}{':' * bool(plan['variant'])}{plan['variant']} on {plan['devices']} x {target.chip.name}"
    )
    shown = Table(title=title, title_justify="left", caption_justify="left", caption=_caption(plan))
    shown.add_column("of one device")
    shown.add_column("", justify="right")
    shown.add_column("is")
    shown.add_column("from")
    for row in [*_memory(plan, target.kind), *_work(plan), *_time(plan, target.kind)]:
        shown.add_row(*row)
    Console().print(shown)
    if "stages" in plan:
        Console().print(_stages(plan["stages"]))
    if found := plan.get("found"):
        none = f"not even the smallest {found['field']} fits"
        print(f"largest that fits: --config.{found['field']}={found['largest']}" if found["largest"] else none)


def _stages(stages: list[dict[str, Any]]) -> Table:
    """Returns a table of what an update of each stage needs."""
    shown = Table(title="by stage", title_justify="left")
    for name in ("stage", "updates", "batch", "memory", "FLOPs an update", "least time of one", "bounded by"):
        shown.add_column(name, justify="left" if name == "stage" else "right")
    for each in stages:
        seconds = each["seconds_per_update_bound"]
        time, by = ("refused", "") if seconds is None else (duration(seconds), each["bounded_by"])
        memory, work = _bytes(each["bytes_per_device"]), _number(each["flops_per_update"])
        shown.add_row(each["stage"], f"{each['updates']:,}", f"{each['batch_size']}", memory, work, time, by)
    return shown


Row = tuple[str, str, str, str]


def _memory(plan: dict[str, Any], kind: str) -> list[Row]:
    room = "JAX's share of its memory" if kind == "gpu" else "its memory"
    if plan["seconds"] is None:
        refused = f"refused by the compiler; there are {_bytes(plan['capacity'])}"
        return [("memory", _bytes(plan["bytes_per_device"]), f"[red]does not fit[/]: {refused}", COMPILER)]
    share = plan["bytes_per_device"] / plan["capacity"]
    verdict = "[green]fits[/]" if plan["fits"] else "[red]does not fit[/]"
    what = {
        "arguments": "state and data",
        "temporaries": "while it computes",
        "output": "state and metrics",
        "aliased": "of the output, in place of arguments",
        "code": "the program itself",
        "beside": "the test set",
    }
    rows = [
        (f"  {name}", _bytes(size), what[name], COUNTED if name == "beside" else COMPILER)
        for name, size in plan["memory"].items()
        if size
    ]
    about = f"{verdict}: {share:.1%} of {_bytes(plan['capacity'])}, {room}"
    return [("memory", _bytes(plan["bytes_per_device"]), about, COMPILER), *rows]


def _work(plan: dict[str, Any]) -> list[Row]:
    types = ", ".join(f"{_number(number)} {kind}" for kind, number in plan["flops_by_type"].items())
    rows = [
        ("FLOPs an update", _number(plan["flops_per_update"]), f"matrix products and convolutions: {types}", COUNTED)
    ]
    if plan["seconds"] is None:
        return rows
    rows.append(("bytes an update", _bytes(plan["bytes_per_update"]), "operands and results of kernels", COUNTED))
    rows.append(
        ("  past any cache", _bytes(plan["least_bytes_per_update"]), "what the chip cannot keep for itself", COUNTED)
    )
    if plan["intensity"] is not None:
        rows.append(("intensity", f"{plan['intensity']:.1f}", "FLOPs a byte", "computed"))
    for each in plan["collectives"]:
        rows.append((each["kind"], f"{each['count']}", f"an update, with {_bytes(each['bytes'])}", COUNTED))
    if not plan["collectives"]:
        rows.append(("collectives", "0", "the devices never wait for each other", COUNTED))
    if plan["launches"] is not None:
        once = f"{plan['launches_per_dispatch']:,} once in {plan['updates_per_dispatch']:,}"
        about = f"kernels and copies an update, and {once}"
        rows.append(("launches", f"{plan['launches']:,}", about, COUNTED))
    return rows


def _time(plan: dict[str, Any], kind: str) -> list[Row]:
    rows: list[Row] = []
    if (seconds := plan["seconds"]) is not None:
        of = {
            "compute": ("at the peak of its matrix units", SHEET),
            "memory": ("at the full bandwidth of its memory", SHEET),
            "launches": ("at a microsecond each", "assumed"),
        }
        for name, (about, source) in of.items():
            if name != "launches" or kind == "gpu":
                rows.append((f"  time of {name}", duration(seconds[name]), about, source))
        bound = f"[bold]lower bound[/], by {plan['bounded_by']}; a real update takes longer"
        rows.insert(0, ("time of an update", duration(plan["seconds_per_update_bound"]), bound, "computed"))
        whole = f"lower bound of {plan['updates']:,} updates"
        rows.append(("the run", f"{plan['hours_bound']:.3g} h", whole, "computed"))
        if plan.get("price_bound") is not None:
            rows.append(
                ("  its price", f"{plan['price_bound']:.2f}", f"lower bound, {plan['devices']} device(s)", "computed")
            )
    took = f"{plan['compile_seconds']:.1f} s" if plan["compile_seconds"] else "kept"
    rows.append(("compiling", took, f"{plan['updates_per_dispatch']:,} updates a dispatch, on this machine", "clock"))
    return rows


def _caption(plan: dict[str, Any]) -> str:
    target = parse(plan["target"])
    lines = [
        "Of an update: the last stage. Memory: the largest one. The run: all of them." * ("stages" in plan),
        f"{plan['replicas']} replica(s), batches of {plan['batch_size']}: the program that trains, for {target.name}.",
        target.chip.source + "." + " Dense rates are half of those with *." * ("*" in target.chip.source),
    ]
    if target.kind == "gpu":
        lines.append(
            f"JAX takes {target.capacity / target.chip.memory:.0%} of a GPU's memory, or what {MEMORY_FRACTION} says."
            " Libraries choose their algorithms on the GPU itself, and may take other temporaries."
        )
    return "\n".join(filter(None, lines))


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if abs(number) < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} GiB"


def _number(number: float) -> str:
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.4g} {unit}".strip()
        number /= 1000
    return f"{number:.4g} T"


def duration(seconds: float, digits: int = 4) -> str:
    """Returns a time in a unit that suits it.

    >>> duration(2.17e-4), duration(0.00516), duration(2.0615, digits=3)
    ('217 us', '5.16 ms', '2.06 s')
    """
    for scale, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * scale < 1000:
            return f"{seconds * scale:.{digits}g} {unit}"
    return f"{seconds:.{digits}g} s"
