"""What the generators of runs make, as pictures for a report: samples, films, and what other commands have drawn."""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from igan.errors import UserError
from igan.reporting import frames
from igan.reporting.page import Gallery, Picture
from igan.reporting.pooling import Group, titles
from igan.reporting.runs import Run

MAX_SAMPLES = 48  # Grids in a section, so that a page of many runs can still be sent by mail.
MAX_PICTURE_BYTES = 600_000  # Larger grids are shown as JPEG of at most MAX_PICTURE_SIDE pixels.
MAX_PICTURE_SIDE = 1_000
MAX_FILMS, MAX_FILM_BYTES = 8, 1_000_000
MAX_OTHERS = 24
# Pictures that other commands leave in a work directory, and what they show.
OTHERS = {
    "classes.png": "a row for each class",
    "interpolations.png": "each row goes from one image to another one",
    "nearest.png": "samples and their nearest training images",
    "styles.png": "coarse styles of the row, fine styles of the column",
    "landscape.png": "level lines of the discriminator",
    "tradeoff.png": "scores at several truncations",
}

Found = tuple[Gallery, list[str]]  # And warnings.


def samples(groups: Sequence[Group]) -> Found:
    """The newest grid of every run: first one of each group, then their second ones, up to MAX_SAMPLES."""
    waiting = [each for each in _in_turn(groups) if each[1].samples is not None]
    chosen = sorted(waiting[:MAX_SAMPLES], key=lambda item: item[0][::-1])
    pictures, warnings = [], []
    for (_, place), run, title in chosen:
        try:
            assert run.samples is not None
            pictures.append(_sample(run, run.samples, title, place))
        except UserError as error:
            warnings.append(str(error))
    text = "The newest grid of every run, not selected; a run with replicas shows some rows of each."
    if len(waiting) > MAX_SAMPLES:
        text += f" {MAX_SAMPLES} of {len(waiting)} runs: the first seeds of each group."
    return Gallery("Samples", text, tuple(pictures), "grid"), warnings


def films(groups: Sequence[Group]) -> Found:
    """The same latents through training, of the first run of each group: the film it has made, or one made now."""
    pictures, warnings, waiting = [], [], []
    for (turn, place), run, title in _in_turn(groups):
        if turn == 0 and run.samples is not None:
            waiting.append((place, run, title))
    for place, run, title in waiting:
        if len(pictures) == MAX_FILMS:
            break
        try:
            grids = frames.pictures(run.workdir)
            if len(grids) >= frames.FEWEST:
                pictures.append(_film(run, grids, title, place))
        except UserError as error:
            warnings.append(f"{error}; no film of {run.workdir}.")
    text = "The same latents through training, of the first run of each group."
    if len(waiting) > MAX_FILMS:
        text += f" At most {MAX_FILMS} of them."
    return Gallery("Films", text, tuple(pictures), "grid"), warnings


def others(groups: Sequence[Group]) -> Found:
    """What other commands, igan.sample say, have drawn into the work directories."""
    pictures, warnings = [], []
    for (_, place), run, title in _in_turn(groups):
        for name, shows in OTHERS.items():
            path = run.workdir / name
            if path.is_file() and len(pictures) < MAX_OTHERS:
                try:
                    content, mime = _shown(path)
                except UserError as error:
                    warnings.append(str(error))
                    continue
                caption = f"{title}{_seed(run)}: {shows}"
                file = f"{path.stem}_{slug(run.workdir.name)}_seed{run.seed}.{_suffix(mime)}"
                pictures.append(Picture(file, f"Generated images: {caption}.", caption, content, mime, group=place))
    return Gallery("A closer look", "", tuple(pictures), "panel"), warnings


def _in_turn(groups: Sequence[Group]) -> Iterator[tuple[tuple[int, int], Run, str]]:
    """Yields ((turn, place of the group), run, title): the first run of each group, then the second ones."""
    found = []
    for place, (group, title) in enumerate(zip(groups, titles(groups), strict=True)):
        runs = sorted((*group.runs, *group.left_out), key=lambda run: run.seed or 0)
        found += [((turn, place), run, title) for turn, run in enumerate(runs)]
    yield from sorted(found, key=lambda item: item[0])


def _sample(run: Run, path: Path, title: str, place: int) -> Picture:
    step = int(found[0]) if (found := re.findall(r"\d+", path.stem)) else run.steps
    content, mime = _shown(path)
    caption = f"{title}{_seed(run)}, update {step:,}"
    # Not after the group: that may be of any length.
    name = f"samples_{slug(run.workdir.name)}_seed{run.seed}.{_suffix(mime)}"
    return Picture(name, f"Grid of generated images: {caption}.", caption, content, mime, group=place)


def _film(run: Run, grids: dict[int, Path], title: str, place: int) -> Picture:
    kept = run.workdir / frames.FILM
    content = (
        kept.read_bytes()
        if kept.is_file() and kept.stat().st_mtime >= max(each.stat().st_mtime for each in grids.values())
        else b""
    )
    count, side = frames.FRAMES, frames.SIDE
    while not 0 < len(content) <= MAX_FILM_BYTES:
        content = frames.film(grids, count=count, side=side)
        count, side = max(frames.FEWEST, count * 2 // 3), side * 3 // 4
        if side < 100:
            break
    with Image.open(io.BytesIO(content)) as film:
        film.seek(getattr(film, "n_frames", 1) - 1)
        buffer = io.BytesIO()
        film.convert("RGB").save(buffer, format="WEBP", quality=75)
    caption = f"{title}{_seed(run)}, updates {min(grids):,} to {max(grids):,}"
    name = f"film_{slug(run.workdir.name)}_seed{run.seed}.webp"
    alt = f"Film of generated images: {caption}."
    return Picture(name, alt, caption, content, "image/webp", group=place, still=buffer.getvalue())


def _shown(path: Path) -> tuple[bytes, str]:
    """Returns a picture and its type, as JPEG if it is large. Raises UserError if it cannot be read."""
    try:
        content = path.read_bytes()
        image = Image.open(io.BytesIO(content))
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is no readable picture: left out of the samples.") from error
    if len(content) <= MAX_PICTURE_BYTES:
        return content, "image/png"
    image = image.convert("RGB")
    image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=92)
    return buffer.getvalue(), "image/jpeg"


def _suffix(mime: str) -> str:
    return "png" if mime == "image/png" else "jpg"


def _seed(run: Run) -> str:
    return "" if run.seed is None else f", seed {run.seed}"


def slug(text: str) -> str:
    """Returns a name for files and links.

    >>> slug("folder:my/faces")
    'folder_my_faces'
    """
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "unnamed"
