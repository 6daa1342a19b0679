"""A report out of runs: a section for every data set, with its tables, curves and samples."""

import hashlib
import io
import re
import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from PIL import Image

from igan.errors import UserError
from igan.reporting.ablation import ablation_table, display_name, several_protocols
from igan.reporting.mixtures import mixture_table
from igan.reporting.page import Gallery, Picture, Report, Section
from igan.reporting.paper import SEMI_SUPERVISED
from igan.reporting.plots import plot_loss, plot_score, plot_test_errors
from igan.reporting.pooling import Group, are_keyed, keyed_titles, pool, pooling_warnings, titles
from igan.reporting.recipes import recipes
from igan.reporting.runs import Run
from igan.reporting.runs_table import runs_table
from igan.reporting.tables import MADE_OF, details_table, duration, semi_supervised_table

TITLES = {
    **{name: published.title for name, published in SEMI_SUPERVISED.items()},
    "mnist5k": "MNIST (5,000 embedded digits)",
    "fashion_mnist": "Fashion-MNIST",
}
MAX_SAMPLES = 48  # Grids in a section, so that a page of many runs can still be sent by mail.
MAX_PICTURE_BYTES = 600_000  # Larger grids are shown as JPEG of at most MAX_PICTURE_SIDE pixels.
MAX_PICTURE_SIDE = 1_000
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
    subtitle = f"{len(runs)} runs, {finished} finished. Reported by igan on {made_at:%Y-%m-%d %H:%M %Z}.".replace(
        " .", "."
    )
    return Report(title, subtitle, _facts(runs), tuple(sections), tuple(found), runs_table(runs))


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
    samples, sample_warnings = _samples(groups)
    galleries = [gallery for gallery in (curves, _scores(groups), _losses(groups), samples) if gallery.pictures]
    slug = _slug(dataset)
    galleries = [_named(gallery, slug) for gallery in galleries]
    section = Section(
        slug,
        TITLES.get(dataset, dataset),
        _introduction(dataset, runs),
        tuple(filter(None, tables)),
        tuple(recipes(groups)),
        tuple(galleries),
    )
    return section, warnings + sample_warnings


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
        pictures.append(Picture("test_error_vs_step.png", alt, caption, content))
    return Gallery("Test errors during training", _key(groups), tuple(pictures)), without_curve


def _scores(groups: Sequence[Group]) -> Gallery:
    pictures = []
    listed = ", ".join(keyed_titles(groups))
    text = f"As logged by the runs: mean over replicas, band of one sample standard deviation. {_key(groups)}"
    for metric in _metric_names(groups, ("scores/",)):
        name = metric.removeprefix("scores/")
        protocols = {run.curve_protocols[metric] for group in groups for run in group.runs if metric in run.curves}
        for protocol in sorted(protocols):
            content = plot_score(name, groups, protocol)
            if content is not None:
                alt = f"Line chart of {display_name(name)} against training updates, a line for each of: {listed}."
                several = f", by one of {len(protocols)} protocols, which cannot be compared: {protocol}"
                caption = display_name(name) + several * (len(protocols) > 1)
                pictures.append(Picture(f"{_slug(name)}_vs_step.png", alt, caption, content))
    return Gallery("Scores during training", text, tuple(pictures), "panel")


def _losses(groups: Sequence[Group]) -> Gallery:
    pictures = []
    listed = ", ".join(keyed_titles(groups))
    for name in _metric_names(groups, ("d/", "g/")):
        content = plot_loss(name, groups)
        if content is not None:
            player = "Discriminator" if name.startswith("d/") else "Generator"
            alt = f"Line chart of the metric {name} against training updates, a line for each of: {listed}."
            pictures.append(Picture(f"{_slug(name)}_vs_step.png", alt, f"{player}: {name[2:]}", content))
    text = (
        "What each player minimises and reports, averaged in at most 200 stretches of a run; band of one std over runs."
        f" {_key(groups)}"
    )
    return Gallery("Losses", text, tuple(pictures), "panel")


def _key(groups: Sequence[Group]) -> str:
    return f"The letters are those of the table “{MADE_OF}”." if are_keyed(groups) else ""


def _samples(groups: Sequence[Group]) -> tuple[Gallery, list[str]]:
    """The newest grid of every run: first one of each group, then their second ones, up to MAX_SAMPLES."""
    waiting = []
    for place, (group, title) in enumerate(zip(groups, titles(groups), strict=True)):
        runs = sorted((*group.runs, *group.left_out), key=lambda run: run.seed or 0)
        waiting += [
            ((turn, place), run, run.samples, title) for turn, run in enumerate(runs) if run.samples is not None
        ]
    chosen = sorted(sorted(waiting, key=lambda item: item[0])[:MAX_SAMPLES], key=lambda item: item[0][::-1])
    pictures, warnings = [], []
    for _, run, path, title in chosen:
        try:
            pictures.append(_sample(run, path, title))
        except UserError as error:
            warnings.append(str(error))
    text = "The newest grid of every run, not selected; a run with replicas shows some rows of each."
    if len(waiting) > MAX_SAMPLES:
        text += f" {MAX_SAMPLES} of {len(waiting)} runs: the first seeds of each group."
    return Gallery("Samples", text, tuple(pictures), "grid"), warnings


def _sample(run: Run, path: Path, title: str) -> Picture:
    step = int(found[0]) if (found := re.findall(r"\d+", path.stem)) else run.steps
    seed = "" if run.seed is None else f", seed {run.seed}"
    try:
        content = path.read_bytes()
        image = Image.open(io.BytesIO(content))
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is no readable picture: left out of the samples.") from error
    mime = "image/png"
    if len(content) > MAX_PICTURE_BYTES:
        image = image.convert("RGB")
        image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=92)
        content, mime = buffer.getvalue(), "image/jpeg"
    caption = f"{title}{seed}, update {step:,}"
    suffix = "png" if mime == "image/png" else "jpg"
    name = f"samples_{_slug(run.workdir.name)}_seed{run.seed}.{suffix}"  # Not after the group: it may be of any length.
    return Picture(name, f"Grid of generated images: {caption}.", caption, content, mime)


def _named(gallery: Gallery, prefix: str) -> Gallery:
    """Gives the pictures names that are unique in the report."""
    pictures = []
    for picture in gallery.pictures:
        name = _file_name(f"{prefix}_{picture.name}")
        if any(other.name == name for other in pictures):
            name = _file_name(f"{prefix}_{len(pictures)}_{picture.name}")
        pictures.append(Picture(name, picture.alt, picture.caption, picture.content, picture.mime))
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


def _slug(text: str) -> str:
    """Returns a name for files and links.

    >>> _slug("folder:my/faces")
    'folder_my_faces'
    """
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "unnamed"
