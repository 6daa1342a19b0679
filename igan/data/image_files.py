"""Which files of a folder are images: one rule for what is trained on and what is scored.

Hidden files and files without the suffix of an image do not count; symbolic links are followed.
"""

import os

from igan.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")


def entries(folder: str) -> tuple[dict[str, str], list[str]]:
    """Returns the sub-folders, name -> path, and the paths of the images right inside a folder, both sorted.

    Raises UserError if it cannot be read.
    """
    try:
        with os.scandir(folder) as scanned:
            found = sorted((entry for entry in scanned if entry.name[0] != "."), key=lambda entry: entry.name)
        folders = {entry.name: entry.path for entry in found if entry.is_dir()}
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be read ({error.strerror}): correct its path or its permissions"
        ) from error
    images = [entry.path for entry in found if entry.name not in folders and entry.name.lower().endswith(SUFFIXES)]
    return folders, images


def below(folder: str, above: tuple[str, ...] = ()) -> list[str]:
    """Returns the paths of the images of a folder at any depth.

    Args:
      folder: its path.
      above: the real paths of the folders it lies in, so that a link to one of them is not followed.

    Raises UserError if a folder cannot be read.

    >>> below("flowers")  # doctest: +SKIP
    ['flowers/daisy/1.jpg', 'flowers/rose/1.jpg']
    """
    real = os.path.realpath(folder)
    if real in above:
        return []
    folders, images = entries(folder)
    return images + [image for inner in folders.values() for image in below(inner, (*above, real))]
