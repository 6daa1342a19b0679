"""Data sets too large for memory: batches that Grain's threads read, decode and crop while the device computes."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from igan.data.dataset import Records
from igan.data.decoding import THREADS, Unreadable, decode, read_header
from igan.data.folder import common_shape, wrong_size
from igan.data.space import images
from igan.errors import UserError
from igan.types import Space

PROBES = 100  # images, evenly spread, that decide about shape and channels
BATCHES_AHEAD = THREADS + 2  # batches that may wait for the device, or are being made


class Stream(NamedTuple):
    """The training images of a data set, as endless sequences of batches."""

    name: str
    image_shape: tuple[int, int, int]  # height, width, channels
    classes: int
    size: int  # training images
    origin: str
    notice: str | None  # one line for the reader when some images cannot be used
    example: Callable[[int, np.random.Generator], tuple[np.ndarray, np.int32]]  # image and label of one index

    @property
    def space(self) -> Space:
        """What the examples are."""
        return images(self.image_shape)

    def fingerprint(self) -> str:
        """Returns what is known of the images without reading them, as `Dataset.fingerprint` does."""
        return f"{self.size} images {self.image_shape} of {self.classes} classes"

    def batches(
        self, seed: int, name: str, batch_size: int, place: int, rows: range | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields batches of an endless stream, from its example number `place` on.

        Example k is a pure function of (seed, name, k), so a resumed run sees what it would have seen. The stream is
        one random permutation of all examples after another; batches do not stop at epoch ends.

        Args:
          seed: a non-negative integer, the run's.
          name: the stream's name; streams of different names are independent.
          batch_size: examples a batch; may be larger than the data set.
          place: how many examples of the stream come before, at least 0.
          rows: yield these examples of every batch alone, and read no others; all of them without.

        Yields:
          uint8 [batch_size, height, width, channels] and int32 [batch_size]; with `rows`, as many as these. Closing the
          iterator, or dropping it, stops its threads.

        Raises:
          UserError: an image that cannot be read or is of another size, a label outside 0..classes-1. It is raised
            where the batch is asked for.

        Example: `next(stream.batches(seed=0, name="discriminator", batch_size=64, place=64_000))`.
        """
        import grain  # slow to import, and not needed for data in memory

        # Grain shuffles epoch e with its seed + e: without the hash, runs of neighbouring seeds would share epochs.
        shuffle_seed, crop_seed = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(2)
        # Shuffled before it is repeated, so that every epoch gets a permutation of its own.
        indices = grain.MapDataset.range(self.size).shuffle(seed=int(shuffle_seed)).repeat()
        examples = indices.random_map(self.example, seed=int(crop_seed))[place:]
        rows = range(batch_size) if rows is None else rows
        if len(rows) < batch_size:
            examples = grain.MapDataset.source(_Rows(examples, batch_size, rows))
        batches = examples.batch(len(rows))
        ahead = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=BATCHES_AHEAD)
        iterator = iter(batches.to_iter_dataset(ahead))
        try:
            yield from iterator
        finally:
            iterator.close()


class _Rows:
    """Some examples of every batch, one batch after another, for Grain to read."""

    def __init__(self, examples: Any, batch_size: int, rows: range) -> None:
        self._examples, self._batch_size, self._rows = examples, batch_size, rows

    def __len__(self) -> int:
        return len(self._examples) // self._batch_size * len(self._rows)

    def __getitem__(self, index: int) -> Any:
        batch, row = divmod(index, len(self._rows))
        return self._examples[batch * self._batch_size + self._rows[row]]


def from_records(records: Records, image_size: int, crop: str, corrupt: str) -> Stream:
    """Returns the stream of a data set.

    The number of channels is the data set's own, or else three unless all of 100 images, evenly spread over the data
    set, are grey; after that, images of the other kind are converted.

    Args:
      records: the undecoded examples.
      image_size: side of the images in pixels; 0 for images as they are, which must be of one size.
      crop: "none"; "center" or "random" to resize and crop to `image_size`.
      corrupt: "error"; or "skip" to put the next readable image in the place of one that cannot be read.

    Raises:
      UserError: the images looked at are of different sizes, or unreadable.
    """
    unreadable = Unreadable(corrupt, records.size)
    shape = _shape(records, image_size, crop, unreadable)

    def example(index: int, random: np.random.Generator) -> tuple[np.ndarray, np.int32]:
        for candidate in range(index, index + records.size):
            position = candidate % records.size
            try:
                label, source = records.read(position)
                image = decode(source, shape[-1], image_size, crop, random)
            except Exception as error:  # image decoders raise much besides OSError
                unreadable.report(records.describe(position), error)
                continue
            if image.shape != shape:
                raise wrong_size(records.describe(position), image.shape[:2], "the first one", shape[:2], image_size)
            if not 0 <= label < records.classes:
                what = f"{records.describe(position)} has the label {label}, outside 0..{records.classes - 1}"
                raise UserError(f"{what}: the data set is damaged; prepare it again")
            return image, np.int32(label)
        raise UserError(f"{records.origin}: no image can be read")

    return Stream(
        name=records.name,
        image_shape=shape,
        classes=records.classes,
        size=records.size,
        origin=records.origin,
        notice=unreadable.notice(),
        example=example,
    )


def _shape(records: Records, image_size: int, crop: str, unreadable: Unreadable) -> tuple[int, int, int]:
    """Returns the shape of the stream's images, from a look at some of them."""
    headers = []
    for index in np.unique(np.linspace(0, records.size - 1, PROBES).astype(int)).tolist():
        try:
            headers.append((records.describe(index), read_header(records.read(index)[1])))
        except Exception as error:
            unreadable.report(records.describe(index), error)
    if not headers:
        raise UserError(f"{records.origin}: none of the images looked at can be read: check --config.data.name")
    height, width, channels = common_shape(headers, image_size, crop)
    return height, width, records.channels or channels
