"""The documentation's site: `pip install -e ".[docs]" && sphinx-build docs site`, then open site/index.html."""

import os
import re
from pathlib import Path

import igan

# The pages import igan, and the tutorials play: on a CPU whatever there is, and without a word of what is missing.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

ROOT = Path(__file__).parents[1]
# Files that are pages of the site, and where.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "launch/README.md": "launch.md",
}
PATTERN = re.compile(r"^([\w/]+\*)\n", re.MULTILINE)
LINK = re.compile(r"(\]\(|src=\"|src=\\\\\")(?![a-z]+:|#|_)([^)\s\"\\\\]+)(\)|\"|\\\\\")")

project = "igan"
author = "The authors of igan"
copyright = "The authors of igan, Apache-2.0"
release = igan.__version__
html_theme = "furo"
html_title = "igan"
extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["api/modules.rst"]
nitpicky = True
# Every name of igan's has to resolve; those of other projects are not looked up, so that no network is needed.
nitpick_ignore_regex = [
    ("py:.*", r"(?!igan\.).*"),
    ("py:class", r"igan\.(annotation\..*|hosts)\.Result"),
]  # A type variable.
suppress_warnings = ["ref.python"]  # Fields of several classes have the same name.
default_role = "literal"  # Docstrings have `names` as Markdown has.

apidoc_modules = [
    {
        "path": "../igan",
        "destination": "api",
        "module_first": True,
        "automodule_options": {"members", "show-inheritance"},
    }
]
napoleon_use_ivar = True  # Or attributes are there twice: as such, and as what a class declares.
autodoc_member_order = "bysource"

myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

nb_execution_mode = "force"
nb_execution_timeout = 1800  # Of a cell, on a busy machine.
nb_execution_raise_on_error = True
nb_execution_show_tb = True


def as_restructured_text(app, what, name, obj, options, lines):
    """Makes of a docstring what Sphinx reads: its bars are no substitutions, and its indented blocks are commands."""
    made: list[str] = []
    for line in lines:
        is_code = line.startswith("    ")
        starts = is_code and len(made) > 1 and not made[-1] and made[-2][:1] not in ("", " ", ":", "-", "*")
        if starts and not made[-2].endswith("::"):
            made += ["::", ""]
        made.append(line if is_code or line.lstrip().startswith((">>>", "...")) else line.replace("|", "\\|"))
    lines[:] = made


def without_fields(app, what, name, obj, skip, options):
    """Leaves out the fields of named tuples, of which there is nothing to say but their types, in the signature."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field number") else None


def with_pages_of_elsewhere(app, docname, source):
    """Puts a file in the place of its name, and has links to files that are pages of the site lead to those.

    Patterns of pages, of which there are none yet, are left out.
    """
    here = folder = (ROOT / "docs" / docname).parent
    source[0] = PATTERN.sub(lambda line: line[0] if any(here.glob(f"{line[1]}.md")) else "", source[0])
    if named := re.match(r"<!-- (\S+\.md) -->\n", source[0]):
        file = ROOT / named[1]
        app.env.note_dependency(str(file))
        folder, source[0] = file.parent, file.read_text() + source[0][named.end() :]

    def moved(link: re.Match[str]) -> str:
        path, hash_sign, heading = link[2].partition("#")
        name = os.path.relpath(folder / path, ROOT)
        target = ROOT / "docs" / PAGES[name] if name in PAGES else folder / path
        return f"{link[1]}{os.path.relpath(target, here)}{hash_sign}{heading}{link[3]}"

    source[0] = LINK.sub(moved, source[0])


def setup(app):
    app.connect("autodoc-process-docstring", as_restructured_text, priority=900)  # After napoleon.
    app.connect("autodoc-skip-member", without_fields)
    app.connect("source-read", with_pages_of_elsewhere)
