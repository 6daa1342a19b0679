"""The sample pictures of a run as the frames of a film: the same latents, through training."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from igan.errors import UserError

GREY, WHITE = (60, 60, 60), (255, 255, 255)
SECONDS = 8.0  # A film takes, without its last picture.
LAST_MS = 1500  # So long the last picture stays, or longer.
CAPTION = 24  # Pixels below a picture.
SIDE, FRAMES = 480, 60  # Of the film that a run makes of itself: a minute of the processor at most.
FEWEST = 3  # Pictures of such a film.
FILM = "film.webp"  # Its name. WebP, because a GIF has 256 colours and is ten times as large.


def pictures(directory: Path) -> dict[int, Path]:
    """Returns the sample pictures of a run by the update they show, in order.

    Raises UserError where there are none.
    """
    named = [(path, re.fullmatch(r"step_(\d+)", path.stem, re.ASCII)) for path in (directory / "samples").glob("*.png")]
    found = dict(sorted((int(name[1]), path) for path, name in named if name))
    if not found:
        raise UserError(f"there are no pictures in {directory / 'samples'}: give the work directory of a run")
    return found


def film(
    frames: dict[int, Path], kind: str = "webp", seconds: float = SECONDS, count: int = FRAMES, side: int = SIDE
) -> bytes:
    """Returns a film of pictures, each with its update below it; the last one stays for a while.

    Args:
      frames: pictures by the update that they show.
      kind: "webp" or "gif".
      seconds: how long it takes, without the last picture.
      count: frames; of more pictures as many are taken, evenly spread.
      side: pixels along the longer side of a picture; larger ones are made smaller.

    Raises UserError for a picture that cannot be read.
    """
    chosen = spread(list(frames), count)
    images = []
    for step, picture in zip(chosen, as_large([read(frames[step]) for step in chosen]), strict=True):
        if max(picture.size) > side:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        frame = Image.new("RGB", (max(picture.width, 120), picture.height + CAPTION), WHITE)
        frame.paste(picture, (0, 0))
        ImageDraw.Draw(frame).text((6, frame.height - 20), f"update {step:,}", GREY, font(14))
        images.append(frame)
    each = max(20, round(1000 * seconds / len(images)))
    durations = [*[each] * (len(images) - 1), max(LAST_MS, each)]
    buffer = io.BytesIO()
    settings = {"quality": 75, "method": 3} if kind == "webp" else {}
    images[0].save(
        buffer, kind.upper(), save_all=True, append_images=images[1:], duration=durations, loop=0, **settings
    )
    return buffer.getvalue()


def as_large(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Returns pictures as large as the largest, whose pixels stay squares: those of a network that grows are small."""
    size = max(picture.width for picture in images), max(picture.height for picture in images)
    return [each if each.size == size else each.resize(size, Image.Resampling.NEAREST) for each in images]


def read(path: Path) -> Image.Image:
    """Returns a picture. Raises UserError if it cannot be read."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is no readable picture: delete it, or make the run's samples again") from error


def spread(values: Sequence[int], count: int) -> list[int]:
    """Returns at most so many of some values, evenly spread, with the first and the last; the last one alone.

    >>> spread([0, 1, 2, 3, 4, 5, 6], 3), spread([0, 1, 2], 1)
    ([0, 3, 6], [2])
    """
    if count == 1:
        return [values[-1]]
    if len(values) <= count:
        return list(values)
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns Pillow's own font, which is everywhere."""
    return ImageFont.load_default(size)
