"""The members of a sweep: which runs there are, what they are called, how one is started and when it is finished."""

import hashlib
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from igan.errors import UserError

RECORD = "launch.json"  # The flags of the run that finished, in its work directory.
LONGEST_NAME = 150
PAIRS = {"(": ")", "[": "]", "{": "}"}


class Axis(NamedTuple):
    """A setting and its values: several are swept. `label` is its part of a member's name; "" leaves it out."""

    flag: str
    values: tuple[str, ...]
    label: str = ""


class Member(NamedTuple):
    """One run of a sweep: `python -m igan.main` with these flags, in a work directory of its own."""

    name: str
    flags: tuple[str, ...]  # All but --workdir.
    workdir: Path
    log: Path

    def command(self) -> list[str]:
        """Returns the command line that trains it, or goes on with it."""
        return [sys.executable, "-m", "igan.main", *self.flags, f"--workdir={self.workdir}"]


def split(flag: str, text: str) -> tuple[str, ...]:
    """Returns the values of a comma-separated list. Commas inside brackets and quotes do not separate.

    >>> split("--config.networks.generator_layers", "(500,500),(1000,)")
    ('(500,500)', '(1000,)')

    Raises UserError for brackets that do not match, and for a list with an empty or a repeated value.
    """
    values, closing, quote = [""], [], ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in PAIRS:
            closing.append(PAIRS[character])
        elif character in PAIRS.values():
            if not closing or closing.pop() != character:
                raise UserError(f"{flag}={text}: the brackets do not match at '{character}'")
        elif character == "," and not closing:
            values.append("")
            continue
        values[-1] += character
    if closing or quote:
        raise UserError(f"{flag}={text}: a closing {quote or closing[-1]} is missing")
    values = [value.strip() for value in values]
    if len(values) > 1 and "" in values:
        raise UserError(f"{flag}={text}: a value is empty; expected values with single commas between them")
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"{flag}={text}: {value} is there twice; a second run of it would be the same run")
    return tuple(values)


def members(experiment: str, variants: Sequence[str], axes: Sequence[Axis], workdir: Path) -> list[Member]:
    """Returns one member for every combination of the variants and the values of the axes, the last axis fastest.

    >>> [each.name for each in members("a.py", ["ours", "-ls"], [Axis("--config.seed", ("1", "2"), "seed")], Path("w"))]
    ['variant=ours,seed=1', 'variant=ours,seed=2', 'variant=-ls,seed=1', 'variant=-ls,seed=2']

    Raises UserError if two of them would share a work directory.
    """
    found: dict[str, Member] = {}
    for variant in variants or [None]:
        for values in itertools.product(*(axis.values for axis in axes)):
            parts = [] if variant is None else [f"variant={_safe(variant) or 'default'}"]
            parts += [f"{each.label}={_safe(value)}" for each, value in zip(axes, values, strict=True) if each.label]
            name = _shortened(",".join(parts) or "run")
            config = f"--config={experiment}" + (f":{variant}" if variant else "")
            flags = (config, *(f"{axis.flag}={value}" for axis, value in zip(axes, values, strict=True)))
            if name in found:
                raise UserError(
                    f"two runs would both be called {name}: {' '.join(found[name].flags)} and"
                    f" {' '.join(flags)}; leave one out, or sweep them with two --workdir"
                )
            found[name] = Member(name, flags, workdir / name, workdir / "logs" / f"{name}.log")
    return list(found.values())


def check_seeds(typed: str, found: Sequence[Member]) -> None:
    """Raises UserError if members that differ in nothing but the seed would train some seeds twice.

    Args:
      typed: the flag that the seeds were given by.
      found: the members. Replica r of a member is the run with seed + r; of several values for a field the last one
        wins. What the experiment itself sets is not known here.

    >>> check_seeds("--seeds", members("a.py", [], [Axis("--config.seed", ("1", "2"), "seed")], Path("w")))
    """
    by_setting: dict[tuple[str, ...], list[int]] = {}
    for member in found:
        settings: dict[str, str] = {}
        for flag, _, value in (each.partition("=") for each in member.flags):
            settings[flag] = value
        seed, replicas = settings.pop("--config.seed", ""), settings.get("--config.replicas", "1")
        if seed.isdecimal() and replicas.isdecimal():  # Otherwise igan.main says what is wrong.
            key = (replicas, *(f"{flag}={value}" for flag, value in sorted(settings.items())))
            by_setting.setdefault(key, []).append(int(seed))
    for (replicas, *_), seeds in by_setting.items():
        seeds.sort()
        if any(after - before < int(replicas) for before, after in itertools.pairwise(seeds)):
            apart = ",".join(str(seeds[0] + index * int(replicas)) for index in range(len(seeds)))
            raise UserError(
                f"the seeds {','.join(map(str, seeds))} with replicas={replicas} would train some seeds twice, as"
                f" replica r is the run with seed + r: type {typed}={apart}"
            )


def _safe(value: str) -> str:
    """Returns a value as a part of a file name: (500,500) becomes 500x500."""
    return re.sub(r"[^\w.+-]+", "_", re.sub(r"\s*,\s*", "x", value.strip("()[]{}'\", "))).strip("_")


def _shortened(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def is_finished(member: Member) -> bool:
    """Returns whether these very flags have finished the member.

    The summary alone cannot tell: it does not hold every setting. Without a record the member is started again, which
    is harmless: igan.main resumes at the end, or refuses settings that differ.
    """
    return _summary_says_so(member) and read_json(member.workdir / RECORD) == list(member.flags)


def settle(member: Member, code: int) -> bool:
    """Returns whether a run that ended with this exit code has finished the member, and if so records its flags."""
    if code or not _summary_says_so(member):
        return False
    (member.workdir / RECORD).write_text(json.dumps(list(member.flags), indent=2) + "\n", encoding="utf-8")
    return True


def _summary_says_so(member: Member) -> bool:
    summary = read_json(member.workdir / "summary.json")
    return isinstance(summary, dict) and summary.get("finished") is True


def has_trained(member: Member) -> bool:
    """Returns whether there is anything of the member to report."""
    path = member.workdir / "metrics.jsonl"
    return path.is_file() and path.stat().st_size > 0


def start(
    member: Member,
    environment: dict[str, str] | None = None,
    keep_open: Sequence[int] = (),
    prepare: Callable[[], Any] | None = None,
) -> "subprocess.Popen[bytes]":
    """Starts a run of the member, its output appended to its log.

    Args:
      environment: of the process; by default this one's.
      keep_open: file descriptors that it inherits.
      prepare: called in the new process before the program begins.
    """
    member.log.parent.mkdir(parents=True, exist_ok=True)
    with member.log.open("ab") as log:
        log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} $ {' '.join(member.command())}\n".encode())
        log.flush()
        # A session of its own: the terminal's Ctrl-C reaches it once, through the launcher, and not twice. A second
        # signal ends a run without saving.
        return subprocess.Popen(
            member.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=keep_open,
            preexec_fn=prepare,
            start_new_session=True,
        )


def last_words(member: Member) -> str:
    """Returns the last line of the member's log: where a run that failed says why. "" if there is none."""
    try:
        with member.log.open("rb") as log:
            log.seek(max(0, member.log.stat().st_size - 4096))
            lines = log.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds; None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
