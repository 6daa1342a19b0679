"""Tables, curves and samples of many runs, as one page: `python -m igan.report RUN...`."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from igan.errors import UserError, exit_code
from igan.reporting.assemble import assemble
from igan.reporting.lenient_json import printable
from igan.reporting.page import Report, render_html, render_markdown, render_tables
from igan.reporting.runs import load_runs
from igan.version import ShowVersion

MARKDOWN, PAGE, PICTURES, STUDIES = "report.md", "index.html", "pictures", "studies"

DESCRIPTION = """\
Reports runs on any data sets beside the paper's results: test errors by the number of labels, scores by variant
(the ablation), curves with bands over seeds, losses and samples.

Runs of the same experiment, variant, number of labels and config are pooled: the mean and the sample standard
deviation go over all their replicas. What else differs is named in every row; a technique or field that a run's config
lacks has its default. Runs that still train are shown with their newest evaluation and marked; beside
finished runs of the same kind they are named and left out. A run that cannot be read is named in a warning."""

EXAMPLES = """\
examples:
  python -m igan.report runs/mnist                        one run
  python -m igan.report runs/table                        every run in a folder, at any depth
  python -m igan.report runs/a runs/b --output=report/ab  several folders
  python -m igan.report runs --dataset=cifar10            of runs on several data sets, those on one

It writes into the output directory: index.html, one page with its pictures inside, to look at and to send around;
report.md, the same as Markdown, with its pictures in pictures/; studies/, the results of each human evaluation of a
run's images, if there was one. Exit code 2: nothing to report."""


def write_report(
    paths: Sequence[Path], output: Path, dataset: str | None = None, made_at: datetime | None = None
) -> Report:
    """Writes index.html, report.md, pictures/ and studies/ into `output`, and returns what they show.

    Args:
      paths: work directories, or folders that hold some at any depth.
      output: made if missing; the pictures of an earlier report in it are removed.
      dataset: report only the runs on this data set.
      made_at: the time to print; None: now.

    Raises UserError as `igan.reporting.runs.load_runs` does, and if `output` cannot be written to.

    >>> write_report([Path("runs")], Path("report")).warnings
    ()
    """
    runs, warnings = load_runs(paths, dataset)
    report = assemble(runs, warnings, made_at or datetime.now().astimezone())
    report, pages = _with_studies(report, [run.workdir for run in runs])
    try:
        write_pages(report, output)
        for name, text in pages.items():
            (output / STUDIES).mkdir(exist_ok=True)
            (output / STUDIES / name).write_text(text, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"Cannot write to {output}: {reason}. Choose another place: --output=DIRECTORY.") from error
    return report


def _with_studies(report: Report, workdirs: Sequence[Path]) -> tuple[Report, Mapping[str, str]]:
    """Returns the report with what people said of the runs' images, and the pages that it links, by name."""
    try:
        from igan.annotation import of_runs
    except ImportError:  # The extra is not there.
        found = [run for run in workdirs if any(run.glob("*.db")) or (run / "studies.json").exists()]
        left_out = [
            f"{run} has a human evaluation, which is left out: pip install 'igan[annotation]'." for run in found
        ]
        return dataclasses.replace(report, warnings=(*report.warnings, *left_out)), {}
    found = of_runs.studies(workdirs, STUDIES)
    sections = (*report.sections, found.section) if found.section else report.sections
    return dataclasses.replace(report, sections=sections, warnings=(*report.warnings, *found.warnings)), found.pages


def write_pages(report: Report, output: Path) -> None:
    """Writes index.html, report.md and pictures/ into a folder, which is made if missing."""
    pictures = output / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    before = output / MARKDOWN
    if before.exists():  # Never an old picture beside a new table; what a report did not write is not its to remove.
        text = before.read_text(encoding="utf-8", errors="replace")
        for name in re.findall(rf"\]\(((?:{PICTURES}|{STUDIES})/[A-Za-z0-9_]+\.(?:png|jpg|html))\)", text):
            (output / name).unlink(missing_ok=True)
    for picture in report.pictures:
        (pictures / picture.name).write_bytes(picture.content)
    (output / PAGE).write_text(printable(render_html(report)), encoding="utf-8")
    before.write_text(printable(render_markdown(report, PICTURES)), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m igan.report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a work directory, or a folder that holds some"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("report"), metavar="DIR", help="where to write (default: report)"
    )
    parser.add_argument("--dataset", metavar="NAME", help="report only the runs on this data set, such as mnist5k")
    options = parser.parse_args(arguments)
    return exit_code(lambda: show(write_report(options.runs, options.output, options.dataset), options.output))


def show(report: Report, output: Path) -> None:
    """Prints a report's tables and warnings, and where the rest is."""
    print(printable(render_tables(report)))
    for warning in report.warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    print(printable(f"Wrote {output / PAGE} (one page with everything) and {output / MARKDOWN}"))


if __name__ == "__main__":
    sys.exit(main())
