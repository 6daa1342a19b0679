"""From images to scores: looks at each set once, and computes every score that is asked for from what it saw."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from igan.errors import UserError, did_you_mean
from igan.metrics import inception_score, kernel_distance, precision_recall, reference_cache
from igan.metrics.extract import FeatureNetwork, collect, stream
from igan.metrics.frechet_distance import Moments, frechet_distance, intra_distance, moments
from igan.metrics.images import Images
from igan.metrics.score import Score
from igan.metrics.weights import HOW_TO_FETCH

SCORES = ("inception_score", "fid", "kid", "precision_recall", "density_coverage")
INTRA_FID = "intra_fid"  # Of images whose classes are known, and so by a function of its own.
CHUNK = 4096  # Features turned into float64 at once.
MOST_CACHED_BYTES = 2**30  # Features of a reference set that are kept on disk.


class Settings(NamedTuple):
    """How scores are computed; every field shows in their protocols."""

    level: str = ""  # Features of the distances; "" for 2048 where the weights reach so far, else 768.
    inception_score_protocol: str = ""  # "" for openai-is with 50,000 images or more, else ten-splits.
    shuffle_seed: int | None = None  # Shuffles before the splits of the Inception score.
    kid_subsets: int = 100
    kid_subset_size: int = 0  # 0 for 1,000, or half of the images where there are not 2,000.
    precision_recall_neighbours: int = 3
    density_coverage_neighbours: int = 5
    batch_size: int = 0  # 0 for what fits well.


def compute(
    scores: Sequence[str],
    generated: Images,
    reference: Images | None,
    network: FeatureNetwork,
    settings: Settings = Settings(),  # noqa: B008 (immutable)
) -> dict[str, Score]:
    """Computes scores of a set of images.

    Args:
      scores: names out of `SCORES`.
      generated: the images to score.
      reference: real ones; may be None for the Inception score alone. Its moments or features are kept on disk, by
        content and protocol.
      network: of `igan.metrics.inception.network`.
      settings: how.

    Returns:
      scores by name: `inception_score`, `fid`, `kid`, `precision`, `recall`, `density`, `coverage`. Those of features
      other than the usual 2,048 carry their number: `fid_768`.

    Raises:
      UserError: an unknown score, no reference, weights that do not reach far enough, too few images; before anything
        is computed.

    >>> compute(["fid"], images.from_path("samples"), images.from_path("real"), network)  # doctest: +SKIP
    {'fid': Score(value=..., std=None, protocol='10,000 against 10,000 images, ...')}
    """
    settings = complete(scores, generated.count, reference and reference.count, network, settings)
    level = settings.level
    levels = ["logits_unbiased"] if "inception_score" in scores else []
    distances = [name for name in scores if name != "inception_score"]
    label = "" if reference is None else f"{network.label}, {_features(level)}; reference {reference.name}"
    results: dict[str, Score] = {}
    if list(scores) == ["fid"] and reference is not None:  # Moments are all that is needed: features need not be kept.
        seen = moments(batch[level] for batch in stream(generated, network, [level], batch_size=settings.batch_size))
        results["fid"] = frechet_distance(seen, _reference_moments(reference, network, settings), label)
    else:
        levels += [level] if distances else []
        batches = stream(generated, network, levels, batch_size=settings.batch_size)
        features = collect(batches, generated.count)
        if "inception_score" in scores:
            protocol, seed = settings.inception_score_protocol, settings.shuffle_seed
            if seed is None and generated.folders > 1:
                note = f"{generated.name} is read folder by folder: if they are classes, set --shuffle_seed=1"
                warnings.warn(f"{note}, or the Inception score is far too low", stacklevel=2)
            of = f"{network.label}, {generated.name}"
            results["inception_score"] = inception_score.inception_score(
                features["logits_unbiased"], protocol, of, seed
            )
        if distances and reference is not None:
            results |= _distances(distances, features[level], reference, network, settings, label)
    return {full_name(name, level): result for name, result in results.items()}


def intra_fid(
    generated: Images,
    labels: np.ndarray,
    reference: Images,
    reference_labels: np.ndarray,
    network: FeatureNetwork,
    settings: Settings,
) -> dict[str, Score]:
    """Computes the Fréchet distance within each class, see `igan.metrics.frechet_distance.intra_distance`.

    Args:
      generated: images of all classes, in any order.
      labels: int [n], their classes, from 0 on.
      reference: real images; their features are kept on disk, by content and protocol.
      reference_labels: int [m], theirs: of the same classes.
      network: as of `compute`, as are `settings`, which are complete.

    Returns: the score by its name, `intra_fid` or that of features other than the usual.

    Raises UserError for a class of fewer than two images on either side.
    """
    batches = stream(generated, network, [settings.level], batch_size=settings.batch_size)
    found = collect(batches, generated.count)[settings.level]
    real = reference_features(reference, network, settings)
    classes, sides = int(max(labels.max(), reference_labels.max())) + 1, []
    for what, features, of in (("generated", found, labels), ("real", real, reference_labels)):
        counts = np.bincount(of, minlength=classes)
        fewest = int(counts.argmin())
        if counts[fewest] < 2:
            raise UserError(
                f"{INTRA_FID} compares each class with two images or more, and class {fewest} has {counts[fewest]}"
                f" {what}"
            )
        sides.append([_moments(features[of == each]) for each in range(classes)])
    label = f"{network.label}, {_features(settings.level)}; reference {reference.name}"
    return {full_name(INTRA_FID, settings.level): intra_distance(sides[0], sides[1], label)}


def full_name(name: str, level: str) -> str:
    """Returns what a score is called that is computed from features of this level.

    >>> full_name("fid", "2048"), full_name("fid", "768"), full_name("inception_score", "768")
    ('fid', 'fid_768', 'inception_score')
    """
    return name if level == "2048" or name == "inception_score" else f"{name}_{level}"


def _features(level: str) -> str:
    """Returns what a protocol calls these features."""
    return f"{level}-d features" if level.isdigit() else "features of its last hidden layer"


@contextlib.contextmanager
def notes(note: Callable[[str], object]) -> Iterator[None]:
    """Hands the warnings of scores, that a number means little say, to `note`, a line each and none of them twice."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(each.message) for each in caught if each.category is UserWarning):
        note(f"note: {text}")


def _distances(
    names: Sequence[str],
    generated: np.ndarray,
    reference: Images,
    network: FeatureNetwork,
    settings: Settings,
    label: str,
) -> dict[str, Score]:
    results: dict[str, Score] = {}
    if list(names) == ["fid"]:
        return {"fid": frechet_distance(_moments(generated), _reference_moments(reference, network, settings), label)}
    real = reference_features(reference, network, settings)
    if "fid" in names:
        results["fid"] = frechet_distance(_moments(generated), _moments(real), label)
    if "kid" in names:
        subsets, size = settings.kid_subsets, settings.kid_subset_size
        results["kid"] = kernel_distance.kernel_distance(generated, real, subsets, size, label=label)
    if "precision_recall" in names:
        neighbours = settings.precision_recall_neighbours
        results |= precision_recall.precision_recall(generated, real, neighbours, label)
    if "density_coverage" in names:
        neighbours = settings.density_coverage_neighbours
        results |= precision_recall.density_coverage(generated, real, neighbours, label)
    return results


def check_names(scores: Sequence[str]) -> None:
    """Raises UserError, suggesting the right name, unless all of these scores are known.

    >>> check_names(["fid", "kid"])
    """
    for name in scores:
        if name not in SCORES:
            raise UserError(f"unknown score '{name}'.{did_you_mean(name, SCORES)}")


def complete(
    scores: Sequence[str], generated: int, reference: int | None, network: FeatureNetwork, settings: Settings
) -> Settings:
    """Fills in the settings left open, for so many images on each side.

    Raises UserError for whatever would otherwise fail after an hour of looking at images.
    """
    check_names(scores)
    if settings.batch_size < 0:
        raise UserError(f"--batch_size={settings.batch_size}: expected 1 or more, or 0 for what fits")
    if "inception_score" in scores:
        if "logits_unbiased" not in network.levels:
            raise UserError(
                f"the Inception score needs the whole network, and these are the weights of a part: {HOW_TO_FETCH}"
            )
        usual = "openai-is" if generated >= 50_000 else "ten-splits"
        settings = settings._replace(inception_score_protocol=settings.inception_score_protocol or usual)
        inception_score.check(generated, settings.inception_score_protocol, settings.shuffle_seed)
    if not set(scores) - {"inception_score"}:
        return settings
    if reference is None:
        raise UserError(
            f"{', '.join(set(scores) - {'inception_score'})} compare two sets of images: give a reference too"
        )
    level = level_of(network, settings)
    if level not in network.levels or level.startswith("logits"):
        raise UserError(f"{network.label} has no features '{level}': it has {', '.join(network.levels)}")
    fewest = min(generated, reference)
    if fewest < 2:
        raise UserError(f"a distance needs at least two images on each side, here is {fewest}")
    size = settings.kid_subset_size or min(1000, max(2, fewest // 2))
    settings = settings._replace(level=level, kid_subset_size=size)
    if "kid" in scores:
        kernel_distance.check(fewest, settings.kid_subsets, settings.kid_subset_size)
    for name in ("precision_recall", "density_coverage"):
        if name in scores:
            precision_recall.check(fewest, getattr(settings, f"{name}_neighbours"))
    return settings


def level_of(network: FeatureNetwork, settings: Settings) -> str:
    """Returns the features of distances: those that are asked for, or the usual ones, or what the weights reach.

    >>> level_of(FeatureNetwork("a trunk", ("768",), {}, lambda *_: {}), Settings())
    '768'
    """
    return settings.level or ("2048" if "2048" in network.levels else "768")


def _moments(features: np.ndarray) -> Moments:
    return moments(features[start : start + CHUNK] for start in range(0, len(features), CHUNK))


def _reference_moments(reference: Images, network: FeatureNetwork, settings: Settings) -> Moments:
    content, protocol = reference.content_hash(), f"{network.label}, {_features(settings.level)}"
    if cached := reference_cache.read("moments", content, protocol):
        return Moments(int(cached["count"]), cached["mean"], cached["covariance"])
    batches = stream(reference, network, [settings.level], batch_size=settings.batch_size)
    found = moments(batch[settings.level] for batch in batches)
    reference_cache.write("moments", content, protocol, found._asdict())
    return found


def reference_features(reference: Images, network: FeatureNetwork, settings: Settings) -> np.ndarray:
    """Returns the features `settings.level` of real images, float32 [n, d], which are kept on disk."""
    content, protocol = reference.content_hash(), f"{network.label}, {_features(settings.level)}"
    if cached := reference_cache.read("features", content, protocol):
        return cached["features"]
    batches = stream(reference, network, [settings.level], batch_size=settings.batch_size)
    found = collect(batches, reference.count)[settings.level]
    if found.nbytes <= MOST_CACHED_BYTES:
        reference_cache.write("features", content, protocol, {"features": found})
    return found
