"""Writes docs/techniques.md from the docstrings of igan/techniques: `python docs/techniques.py`.

`tests/test_docs.py` holds the page against the docstrings. The pictures in docs/techniques/ are the samples in
docs/mixture_ring.png and docs/mixture_grid.png.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "techniques.md"
# They are tested together, in a file that has none of their names.
PLAIN = ("minimax", "non_saturating", "feature_matching", "semi_supervised")
HEAD = """\
# Techniques

<!-- Made by docs/techniques.py of the docstrings: do not edit. -->

A technique is one file in `igan/techniques/`, and a line of config switches it on:
`--config.techniques.NAME.enabled=True`, `--config.techniques.NAME.SETTING=VALUE`. What has a loss for a player has a
weight for it too, `discriminator_weight` and `generator_weight`, 1 by default; a weight of zero leaves the loss out.
Oldest paper first. The pictures are samples on eight and on 25 Gaussians, with the same networks and 4,686 updates
each: [ten games of each, with numbers](results.md#eight-gaussians-on-a-ring). What is easily got wrong in each is in
[pitfalls](pitfalls.md), and how to add one in [CONTRIBUTING](../CONTRIBUTING.md).

**Two time-scales** (TTUR, Heusel et al. 2017) need no technique: each player has its own optimiser, learning rate,
schedule and number of steps. The paper's pairs of rates are in the order discriminator, generator, so that its DCGAN
on CIFAR-10, "1e-4, 5e-4", is `--config.discriminator.learning_rate=1e-4 --config.generator.learning_rate=5e-4`, one
step each. `optimizer` is `adam`, `rmsprop` (without momentum, as WGAN was published with) or `sgd`.
[tests/game/test_two_time_scales.py](../tests/game/test_two_time_scales.py) plays the paper's toy saddle.

"""


def page() -> str:
    """Returns the page's text."""
    sources = {
        path.stem: ast.parse(path.read_text())
        for path in (ROOT / "igan" / "techniques").glob("*.py")
        if path.stem != "__init__"
    }
    names = sorted(sources, key=lambda name: (_year(_docstring(sources[name])), name))
    rows = [f"| [`{name}`](#{name}) | {_docstring(sources[name]).splitlines()[0]} |" for name in names]
    index = "\n".join(["| name | what it is |", "|---|---|", *rows])
    return HEAD + index + "\n\n" + "\n".join(section(name, sources[name]) for name in names)


def section(name: str, source: ast.Module) -> str:
    """Returns what the page says of a technique."""
    make = next(node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == "make")
    texts = _arguments(ast.get_docstring(make) or "")
    arguments = [*make.args.posonlyargs, *make.args.args, *make.args.kwonlyargs]
    defaults = [*make.args.defaults, *(each for each in make.args.kw_defaults if each is not None)]
    lines = [f"## {name}", "", _docstring(source), ""]
    if arguments:
        lines += ["| setting | default | |", "|---|---|---|"]
        for argument, value in zip(arguments, defaults, strict=True):
            text = texts[argument.arg].replace("|", "&#124;")
            lines.append(f"| `{argument.arg}` | `{ast.unparse(value)}` | {text} |")
        lines.append("")
    if (ROOT / "docs" / "techniques" / f"{name}.png").exists():
        lines += [f"![Samples on eight and on 25 Gaussians, with {name}](techniques/{name}.png)", ""]
    links = [f"[source](../igan/techniques/{name}.py)", *(f"[{path}](../{path})" for path in _tests(name))]
    return "\n".join([*lines, ", ".join(links), ""])


def _docstring(source: ast.Module) -> str:
    text = ast.get_docstring(source)
    assert text, "every technique has a docstring"
    return text


def _year(text: str) -> int:
    """Returns the first year that a docstring names: its paper's."""
    return int(re.findall(r"\b(?:19|20)\d\d", text)[0])


def _arguments(text: str) -> dict[str, str]:
    """Returns what a docstring says of each argument, on one line."""
    block = re.search(r"Args:\n((?:  .*\n?|\n)*)", text)
    found = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", block[1], re.MULTILINE) if block else []
    return {name: " ".join(words.split()) for name, words in found}


def _tests(name: str) -> list[str]:
    """Returns the test files that have a technique's name, or else the one that speaks of it most."""
    if name in PLAIN:
        return ["tests/techniques/test_losses.py"]
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    named = [path for path in paths if path.stem == f"test_{name}"]
    if not named:
        counts = {path: len(re.findall(rf"\b{name}\b", path.read_text())) for path in paths}
        named = [max(paths, key=lambda path: counts[path])]
    return [path.relative_to(ROOT).as_posix() for path in named]


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
