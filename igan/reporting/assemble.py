"""A report out of runs: a section for every data set, with its tables, curves and samples."""

import hashlib
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from igan.reporting import charts, galleries
from igan.reporting.ablation import ablation_table, display_name, several_protocols
from igan.reporting.galleries import slug
from igan.reporting.mixtures import mixture_table
from igan.reporting.page import Gallery, Picture, Report, Section
from igan.reporting.paper import SEMI_SUPERVISED
from igan.reporting.plots import plot_balance, plot_loss, plot_score, plot_test_errors
from igan.reporting.pooling import Group, are_keyed, keyed_titles, pool, pooling_warnings
from igan.reporting.recipes import recipes
from igan.reporting.runs import Run
from igan.reporting.runs_table import runs_table
from igan.reporting.tables import MADE_OF, details_table, duration, semi_supervised_table
from igan.version import version

TITLES = {
    **{name: published.title for name, published in SEMI_SUPERVISED.items()},
    "mnist5k": "MNIST (5,000 embedded digits)",
    "fashion_mnist": "Fashion-MNIST",
}
BALANCE = {
    "balance/diversity": "Diversity of samples: mean distance of two, over that of the data",
    "balance/separation": "Share of pairs in which the discriminator prefers the real one",
    "balance/accuracy_real": "Accuracy of the discriminator on real examples",
    "balance/accuracy_generated": "Accuracy of the discriminator on generated examples",
    "balance/gradient_norm_discriminator": "Norm of the discriminator's gradient",
    "balance/gradient_norm_generator": "Norm of the generator's gradient",
    "balance/gradient_ratio": "Norm of the generator's gradient over that of the discriminator's",
}
LONGEST_NAME = 120  # Characters of a picture's file; disks take 255, and some that encrypt 143.


def assemble(runs: Sequence[Run], warnings: Sequence[str], made_at: datetime) -> Report:
    """Returns the report of runs of any data sets.

    Args:
      runs: at least one.
      warnings: what reading them found; what pooling and drawing them finds is added.
      made_at: the time to print.
    """
    by_dataset: dict[str, list[Run]] = {}
    for run in runs:
        by_dataset.setdefault(run.dataset, []).append(run)
    ordered = sorted(by_dataset, key=lambda name: ([*TITLES, name].index(name), name))
    sections, found = [], list(warnings)
    for dataset in ordered:
        section, section_warnings = _section(dataset, by_dataset[dataset])
        sections.append(section)
        found += [f"{section.title}: {warning}" for warning in section_warnings]
    title = f"GAN experiments: {', '.join(section.title for section in sections)}"
    finished = sum(run.finished for run in runs)
    when = f"{made_at:%Y-%m-%d %H:%M %Z}".strip()
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    subtitle = f"{count}, {finished} finished. Reported by igan {version()} on {when}."
    return Report(title, subtitle, _facts(runs), tuple(sections), tuple(found), runs_table(runs), script=True)


def _facts(runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    packages = sorted({name for run in runs for name in run.versions}, key=lambda name: (name != "igan", name))
    versions = [
        f"{package} {'/'.join(sorted({run.versions[package] for run in runs if package in run.versions}))}"
        for package in packages
    ]
    games = sum(run.replicas for run in runs)
    facts = [
        ("Experiments", ", ".join(sorted({run.experiment for run in runs}))),
        ("Variants", ", ".join(dict.fromkeys(run.variant or "default" for run in runs))),
        ("Games", f"{games:,} (a run plays one for each of its replicas)" if games > len(runs) else ""),
        ("Devices", ", ".join(sorted({run.device for run in runs if run.device}))),
        ("Training time", _times([run.seconds for run in runs if run.seconds is not None])),
        ("Versions", ", ".join(versions)),
    ]
    return tuple((name, value) for name, value in facts if value)


def _times(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    return f"{duration(sum(seconds))} in all, {duration(statistics.median(seconds))} a run (median)"


def _section(dataset: str, runs: Sequence[Run]) -> tuple[Section, list[str]]:
    groups = pool(runs)
    warnings = pooling_warnings(groups)
    scored = mixture_table(dataset, groups) or ablation_table(dataset, groups)
    tables = [semi_supervised_table(dataset, groups), scored, details_table(groups)]
    curves, without_curve = _test_errors(dataset, groups)
    warnings += [
        f"{title}: no evaluations in metrics.jsonl common to all pooled runs: no curve." for title in without_curve
    ]
    warnings += [
        f"{name} was measured by several protocols, which cannot be compared: each has a column of its own."
        for name in several_protocols(groups)
    ]
    seen = [make(groups) for make in (galleries.samples, galleries.films, galleries.others)]
    section = Section(
        slug(dataset),
        TITLES.get(dataset, dataset),
        _introduction(dataset, runs),
        tuple(filter(None, tables)),
        tuple(recipes(groups)),
        _filled((curves, _scores(groups), _balance(groups), _losses(groups)), slug(dataset)),
        first=_filled([gallery for gallery, _ in seen], slug(dataset)),
        groups=tuple(keyed_titles(groups)),
    )
    return section, warnings + [warning for _, found in seen for warning in found]


def _filled(found: Iterable[Gallery], prefix: str) -> tuple[Gallery, ...]:
    """Returns those that have pictures, under names that are unique in the report."""
    return tuple(_named(gallery, prefix) for gallery in found if gallery.pictures)


def _introduction(dataset: str, runs: Sequence[Run]) -> tuple[str, ...]:
    origins = sorted({run.origin for run in runs if run.origin})
    text = [f"Data: {'; '.join(origins)}."] if origins else []
    if dataset == "mnist5k":
        text.append(
            "5,000 embedded digits instead of the whole of MNIST: 4,000 to train on and 1,000 for the test, so nothing "
            "here is comparable with the paper."
        )
    return tuple(text)


def _test_errors(dataset: str, groups: Sequence[Group]) -> tuple[Gallery, list[str]]:
    content, without_curve = plot_test_errors(dataset, groups)
    pictures = []
    if content is not None:
        listed = ", ".join(keyed_titles(groups))
        alt = f"Line chart of test errors against training updates, a line for each of: {listed}."
        caption = "Mean over replicas, band of one sample standard deviation."
        chart = charts.test_errors_chart(dataset, groups)
        pictures.append(Picture("test_error_vs_step.png", alt, caption, content, chart=chart))
    return Gallery("Test errors during training", _key(groups), tuple(pictures)), without_curve


def _scores(groups: Sequence[Group]) -> Gallery:
    pictures = []
    listed = ", ".join(keyed_titles(groups))
    text = f"As logged by the runs: mean over replicas, band of one sample standard deviation. {_key(groups)}"
    for metric in _metric_names(groups, ("scores/",)):
        name = metric.removeprefix("scores/")
        protocols = {run.curve_protocols[metric] for group in groups for run in group.runs if metric in run.curves}
        for number, protocol in enumerate(sorted(protocols)):
            content = plot_score(name, groups, protocol)
            if content is None:
                continue
            alt = f"Line chart of {display_name(name)} against training updates, a line for each of: {listed}."
            several = f", by one of {len(protocols)} protocols, which cannot be compared: {protocol}"
            caption = display_name(name) + several * (len(protocols) > 1)
            chart = charts.score_chart(name, groups, protocol)
            file = f"{slug(name)}_vs_step{f'_{number}' if number else ''}.png"
            pictures.append(Picture(file, alt, caption, content, chart=chart))
    return Gallery("Scores during training", text, tuple(pictures), "panel")


def _balance(groups: Sequence[Group]) -> Gallery:
    pictures = []
    listed = ", ".join(keyed_titles(groups))
    for name in _metric_names(groups, ("balance/",)):
        content = plot_balance(name, groups)
        if content is not None:
            caption = BALANCE.get(name, name.partition("/")[2].replace("_", " "))
            alt = f"Line chart of {caption} against training updates, a line for each of: {listed}."
            chart = charts.balance_chart(name, groups)
            pictures.append(Picture(f"{slug(name)}_vs_step.png", alt, caption, content, chart=chart))
    text = f"How the players stand: mean over replicas, band of one sample standard deviation. {_key(groups)}"
    return Gallery("Balance of the players", text, tuple(pictures), "panel")


def _losses(groups: Sequence[Group]) -> Gallery:
    pictures = []
    listed = ", ".join(keyed_titles(groups))
    for name in _metric_names(groups, ("d/", "g/")):
        content = plot_loss(name, groups)
        if content is not None:
            player = "Discriminator" if name.startswith("d/") else "Generator"
            alt = f"Line chart of the metric {name} against training updates, a line for each of: {listed}."
            chart = charts.loss_chart(name, groups)
            pictures.append(Picture(f"{slug(name)}_vs_step.png", alt, f"{player}: {name[2:]}", content, chart=chart))
    text = (
        "What each player minimises and reports, averaged in at most 200 stretches of a run; band of one std over runs."
        f" {_key(groups)}"
    )
    return Gallery("Losses", text, tuple(pictures), "panel")


def _key(groups: Sequence[Group]) -> str:
    return f"The letters are those of the table “{MADE_OF}”." if are_keyed(groups) else ""


def _named(gallery: Gallery, prefix: str) -> Gallery:
    """Gives the pictures names that are unique in the report."""
    pictures = []
    for picture in gallery.pictures:
        name = _file_name(f"{prefix}_{picture.name}")
        if any(other.name == name for other in pictures):
            name = _file_name(f"{prefix}_{len(pictures)}_{picture.name}")
        pictures.append(replace(picture, name=name))
    return Gallery(gallery.title, gallery.text, tuple(pictures), gallery.size)


def _metric_names(groups: Iterable[Group], prefixes: tuple[str, ...]) -> list[str]:
    return sorted({name for group in groups for run in group.runs for name in run.curves if name.startswith(prefixes)})


def _file_name(name: str) -> str:
    """Returns a name that every disk takes: of a long one the beginning, and a hash of the whole.

    >>> len(_file_name(f"{300 * 'x'}.png"))
    132
    """
    if len(name) <= LONGEST_NAME:
        return name
    stem, _, suffix = name.rpartition(".")
    return f"{stem[:LONGEST_NAME]}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()[:7]}.{suffix}"
