"""The ablation table: variants against scores, beside the Inception scores of the paper's Table 3."""

import math
import statistics
from collections.abc import Sequence

from igan.reporting import paper
from igan.reporting.pooling import Group, labels_text, mean_and_std
from igan.reporting.tables import NONE, UNFINISHED, Table, errors_text

UP = ("inception_score", "classifier_score", "precision", "recall", "density", "coverage", "modes", "high_quality")
DOWN = ("fid", "intra_fid", "kid", "frechet", "kernel", "reverse_kl")
ACRONYMS = {"fid": "FID", "kid": "KID", "kl": "KL"}
MAX_DECIMALS = 6


def direction(score: str) -> str:
    """Returns '↑' for a score that is better when larger, '↓' when smaller, '' for one that is not known.

    >>> direction("inception_score"), direction("fid-768"), direction("my_score")
    ('↑', '↓', '')
    """
    name = score.lower()
    return "↑" if name.startswith(UP) else "↓" if name.startswith(DOWN) else ""


def display_name(score: str) -> str:
    """Returns a score's name for people.

    >>> display_name("inception_score"), display_name("fid")
    ('inception score ↑', 'FID ↓')
    """
    words = [ACRONYMS.get(word, word) for word in score.replace("_", " ").split(" ")]
    return f"{' '.join(words)} {direction(score)}".strip()


def format_score(mean: float, std: float | None) -> str:
    """Returns a score with about three significant digits, and its spread with as many decimals.

    >>> format_score(8.0912, 0.07), format_score(123.4, None), format_score(0.01234, 0.0006)
    ('8.09 ± 0.07', '123.4', '0.0123 ± 0.0006')
    """
    place = math.floor(math.log10(abs(mean))) if mean else 0  # Of the first significant digit.
    digits = 1 if place >= 2 else 2 if place >= 0 else min(2 - place, MAX_DECIMALS)
    return f"{mean:.{digits}f}" if std is None else f"{mean:.{digits}f} ± {std:.{digits}f}"


def ablation_table(dataset: str, groups: Sequence[Group]) -> Table | None:
    """Returns the scores and test errors by variant, beside the paper's Table 3 for its variants on CIFAR-10.

    A score that was measured by several protocols has a column for each. None where the table would say nothing that
    the semi-supervised table does not.
    """
    columns = score_columns(groups)
    is_paper = dataset == "cifar10" and any(group.variant in paper.ABLATION for group in groups)
    is_semi_supervised = all(group.errors and group.variant not in paper.ABLATION for group in groups)
    if not columns and (is_semi_supervised or not (is_paper or any(group.errors for group in groups))):
        return None
    several = several_protocols(groups)
    numbers = {column: f" [{place}]" for place, column in enumerate(columns, start=1)}
    header = ["variant", "labels", "n", *(["paper: Inception score ↑"] if is_paper else [])]
    header += [display_name(name) + (numbers[name, protocol] if several else "") for name, protocol in columns]
    header.append("test error % ↓")
    rows, means = _ablation_rows(groups, columns, is_paper)
    notes = [
        "n counts replicas over all seeds. ± is the sample standard deviation (n - 1) over them; † marks a single "
        "value with the spread that its protocol reports. Test errors: averaged parameters. Bold: the best mean of a "
        "column, which may be no real difference where the spreads overlap."
    ]
    notes += [
        f"{display_name(name)}{numbers[name, protocol] if several else ''}: {protocol}" for name, protocol in columns
    ]
    notes += [f"{name}: several protocols, a column each; their numbers cannot be compared." for name in several]
    if is_paper:
        notes.append(f"Paper: Table 3, {paper.ABLATION_PROTOCOL}.")
    caption = "Ablation beside the paper's Table 3" if is_paper else "Variants and their scores"
    quoted = frozenset(place for place, row in enumerate(rows) if row[2] == "" and is_paper)
    return Table(
        caption, tuple(header), tuple(rows), tuple(notes), quoted, _best(groups, columns, means, 4 if is_paper else 3)
    )


def several_protocols(groups: Sequence[Group]) -> list[str]:
    """Returns the names of scores that were measured in several ways, which cannot be compared."""
    names = [name for name, _ in score_columns(groups)]
    return sorted({name for name in names if names.count(name) > 1})


def score_columns(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Returns the (name, protocol) of all scores: known names first, in the order in which papers list them."""
    found = {(name, score.protocol) for group in groups for run in group.runs for name, score in run.scores.items()}
    order = (*UP[:1], *DOWN, *UP[1:])

    def rank(column: tuple[str, str]) -> tuple[int, str, str]:
        places = [place for place, start in enumerate(order) if column[0].lower().startswith(start)]
        return (places or [len(order)])[0], *column

    return sorted(found, key=rank)


def _ablation_rows(
    groups: Sequence[Group], columns: Sequence[tuple[str, str]], is_paper: bool
) -> tuple[list[tuple[str, ...]], list[list[float | None]]]:
    """Returns the rows, and the means in their score and test error columns."""
    several_experiments = len({group.experiment for group in groups}) > 1
    rows: list[tuple[str, ...]] = []
    means: list[list[float | None]] = []

    def add_paper(name: str, score: str) -> None:
        rows.append((name, "", "", score, *[""] * (len(columns) + 1)))
        means.append([None] * (len(columns) + 1))

    def add_group(group: Group) -> None:
        name = group.name or "default"
        title = f"{group.experiment} {name}" if several_experiments else name
        cells = [_score_text(group, *column) for column in columns]
        errors = errors_text(group, group.errors, percent=True).split(",")[0]
        row = [title + ("" if group.finished else UNFINISHED), labels_text(group.labels), str(group.replicas)]
        row += [paper.ABLATION.get(group.variant, NONE)] if is_paper else []
        row += [*(text for text, _ in cells), errors]
        rows.append(tuple(row))
        share = 100 / group.test_examples if group.errors else 0
        means.append([*(mean for _, mean in cells), share * statistics.fmean(group.errors) if group.errors else None])

    if is_paper:
        add_paper("real data", paper.ABLATION_REAL_DATA)
        for variant, score in paper.ABLATION.items():
            if not any(group.variant == variant for group in groups):
                add_paper(variant, score)
            for group in groups:
                if group.variant == variant:
                    add_group(group)
    for group in groups:
        if not (is_paper and group.variant in paper.ABLATION):
            add_group(group)
    return rows, means


def _score_text(group: Group, name: str, protocol: str) -> tuple[str, float | None]:
    scores = group.scores(name, protocol)
    values = [value for score in scores for value in score.values]
    if not values:
        return NONE, None
    mean, std = mean_and_std(values)
    own = scores[0].std
    text = f"{format_score(mean, own)}†" if std is None and own is not None else format_score(mean, std)
    return text + (f", n = {len(values)}" if len(values) != group.replicas else ""), mean


def _best(
    groups: Sequence[Group], columns: Sequence[tuple[str, str]], means: Sequence[Sequence[float | None]], first: int
) -> frozenset[tuple[int, int]]:
    best: set[tuple[int, int]] = set()
    # With more labels fewer errors are no merit of a variant.
    arrow_of_errors = "↓" if len({group.labels for group in groups if group.errors}) == 1 else ""
    for place, arrow in enumerate([*(direction(name) for name, _ in columns), arrow_of_errors]):
        column = [(row[place], number) for number, row in enumerate(means)]
        values = [(value, number) for value, number in column if value is not None]
        if len(values) > 1 and arrow:
            best.add(((max if arrow == "↑" else min)(values)[1], first + place))
    return frozenset(best)
