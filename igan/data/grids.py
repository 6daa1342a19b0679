"""Many small images in one picture."""

import io

import numpy as np
from PIL import Image

SEPARATOR_PIXELS = 1
SEPARATOR_GREY = 96  # Visible beside black digits on white and white digits on black, and quieter than either.


def image_grid(images: np.ndarray, columns: int, value_range: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Lays images out row by row with thin grey separators; the unfilled end of the last row is grey as well.

    Args:
      images: [n, height, width, channels] with 1 or 3 channels; values outside `value_range` are clipped, NaN is black.
      columns: images per row.
      value_range: the values that become 0 and 255.

    Returns:
      uint8, [rows * height + rows - 1, columns * width + columns - 1] for 1 channel, with a last axis of 3 for colour.

    Raises:
      ValueError: on another shape, no images, no columns or an empty range.

    >>> image_grid(np.ones([5, 28, 28, 1]), columns=3).shape
    (57, 86)
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) == 0:
        raise ValueError(f"Expected images of shape [n, height, width, 1 or 3] with n > 0, got {list(images.shape)}.")
    low, high = value_range
    if columns < 1 or not low < high:
        raise ValueError(f"Expected columns >= 1 and low < high, got columns={columns}, value_range={value_range}.")
    scaled = np.nan_to_num((images.astype(np.float64) - low) / (high - low), nan=0.0)
    pixels = np.rint(np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)

    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    row_pitch, column_pitch = height + SEPARATOR_PIXELS, width + SEPARATOR_PIXELS
    shape = (rows * row_pitch - SEPARATOR_PIXELS, columns * column_pitch - SEPARATOR_PIXELS, channels)
    grid = np.full(shape, SEPARATOR_GREY, np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * row_pitch, index % columns * column_pitch
        grid[top : top + height, left : left + width] = image
    return grid[..., 0] if channels == 1 else grid


def encode_png(grid: np.ndarray) -> bytes:
    """Returns the PNG file of a uint8 picture, [height, width] or [height, width, 3].

    >>> encode_png(np.zeros([2, 3], np.uint8))[1:4]
    b'PNG'
    """
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grid, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()
