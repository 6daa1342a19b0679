"""The tables of a report, as plain data: the paper's semi-supervised tables, and what was run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from igan.reporting import paper
from igan.reporting.pooling import Group, keyed_titles, labels_rank, labels_text, mean_and_std, span

NONE = "-"
UNFINISHED = " (unfinished)"
MADE_OF = "What the numbers are made of"


@dataclass(frozen=True)
class Table:
    """Text in rows and columns: the first column names the row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    quoted: frozenset[int] = frozenset()  # Rows that are the paper's.
    best: frozenset[tuple[int, int]] = frozenset()  # (row, column).
    thumbnails: tuple[str, ...] = ()  # data: URIs, one a row, "" for none: where a page can show them.


def format_errors(mean: float, std: float | None, test_examples: int, percent: bool = False) -> str:
    """Returns a number of errors as text: one decimal where the spread is below ten, as in the paper, or as per cent.

    >>> format_errors(93.0, 6.5, 10_000), format_errors(221.4, 136.2, 10_000), format_errors(57, 3.1, 1_000, True)
    ('93.0 ± 6.5', '221 ± 136', '5.70 ± 0.31')
    """
    if percent:
        share = 100 / test_examples
        return f"{share * mean:.2f}" if std is None else f"{share * mean:.2f} ± {share * std:.2f}"
    if std is None:
        return f"{mean:g}"
    digits = 1 if std < 10 else 0
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def in_percent(dataset: str) -> bool:
    """Returns whether test errors on a data set are given in per cent: those of MNIST are counted, as in the paper."""
    return dataset not in paper.SEMI_SUPERVISED or paper.SEMI_SUPERVISED[dataset].percent


def semi_supervised_table(dataset: str, groups: Sequence[Group]) -> Table | None:
    """Returns test errors by the number of labels, beside the paper's where it has the data set; None without errors.

    The variants of the paper's ablation stay out: `igan.reporting.ablation` holds their errors.
    """
    groups = [group for group in groups if group.errors and group.variant not in paper.ABLATION]
    if not groups:
        return None
    published = paper.SEMI_SUPERVISED.get(dataset)
    percent = in_percent(dataset)
    found = {group.labels for group in groups if group.labels is not None}
    labels = sorted(found | set(published.errors if published else ()), key=labels_rank)
    names = list(dict.fromkeys((group.experiment, group.name) for group in groups))
    several = len({group.experiment for group in groups}) > 1
    rows: list[tuple[str, ...]] = []
    quoted: set[int] = set()

    def add_paper(name: str, results: dict[int, paper.Interval]) -> None:
        quoted.add(len(rows))
        rows.append((name, *(f"{results[n][0]:g} ± {results[n][1]:g}" if n in results else NONE for n in labels)))

    def add_igan(kind: str, text: Callable[[Group, bool], str]) -> None:
        for experiment, name in names:
            of_name = {group.labels: group for group in groups if (group.experiment, group.name) == (experiment, name)}
            told = " ".join(part for part in (experiment if several else "", name or "default") if part)
            title = f"igan {told}, {kind}" if len(names) > 1 else f"igan, {kind}"
            rows.append((title, *(text(of_name[n], percent) if n in of_name else NONE for n in labels)))

    if published:
        add_paper("paper", published.errors)
    add_igan("averaged parameters", lambda group, percent: errors_text(group, group.errors, percent))
    add_igan("raw parameters", lambda group, percent: errors_text(group, group.errors_raw, percent))
    if published:
        add_paper("paper, ensemble of 10", published.ensemble)
    add_igan("ensemble", _ensemble_text)
    header = ("labels", *map(labels_text, labels))
    caption = f"Test errors, {'per cent' if percent else 'incorrect'} of {span(_test_examples(groups))} test examples"
    return Table(caption, header, tuple(rows), _error_notes(groups), frozenset(quoted))


def _test_examples(groups: Sequence[Group]) -> list[int]:
    return [group.test_examples for group in groups]


def _error_notes(groups: Sequence[Group]) -> tuple[str, ...]:
    notes = [
        "± is the sample standard deviation (n - 1) over the n replicas, each with its own label draw and "
        "initialisation; for ensembles, over the ensembles. Averaged parameters are the moving average that the paper "
        "tests with; an ensemble averages the class probabilities of a run's replicas."
    ]
    if not all(group.finished for group in groups):
        notes.append("Unfinished: still running, or stopped; its newest evaluation so far.")
    return tuple(notes)


def errors_text(group: Group, values: list[float], percent: bool) -> str:
    """Returns a cell: mean ± std of errors, their number, and whether they are final."""
    if not values:
        return NONE
    text = format_errors(*mean_and_std(values), group.test_examples, percent)
    return f"{text}, n = {len(values)}{'' if group.finished else UNFINISHED}"


def _ensemble_text(group: Group, percent: bool) -> str:
    values = [run.ensemble_errors for run in group.ensembles if run.ensemble_errors is not None]
    if not values:
        return NONE
    sizes = "/".join(str(size) for size in sorted({run.replicas for run in group.ensembles}))
    text = format_errors(*mean_and_std(values), group.test_examples, percent)
    made_of = f"{sizes} models" if len(values) == 1 else f"{len(values)} ensembles of {sizes} models"
    return f"{text}, {made_of}{'' if group.finished else UNFINISHED}"


def details_table(groups: Sequence[Group]) -> Table:
    """Returns what each group is made of."""
    rows = []
    for group, title in zip(groups, keyed_titles(groups), strict=True):
        state = "finished" if group.finished else "running or stopped"
        if group.left_out:
            state += f"; left out, unfinished: {', '.join(str(run.workdir) for run in group.left_out)}"
        epochs, steps = span([run.epochs for run in group.runs]), span([run.steps for run in group.runs])
        rows.append((title, labels_text(group.labels), str(len(group.runs)), str(group.replicas), epochs, steps, state))
    return Table(
        MADE_OF,
        ("group", "labels", "runs", "replicas n", "epochs", "updates", "state"),
        tuple(rows),
    )


def duration(seconds: float) -> str:
    """Returns a time for people.

    >>> duration(41), duration(668), duration(30_000)
    ('41 s', '11 min 8 s', '8 h 20 min')
    """
    minutes, second = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {second} s" if minutes else f"{second} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
