"""Data sets of tensorflow-datasets: found, prepared where that is possible, and read without TensorFlow.

tensorflow_datasets is imported inside the functions that need it: it is slow, and a start from the cache needs none.
"""

import contextlib
import hashlib
import importlib.util
import logging
import queue
import re
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from igan import cache
from igan.data.dataset import Dataset, Records
from igan.data.progress import progress_bar
from igan.errors import UserError

NO_TENSORFLOW = "TensorFlow, which prepares it, is not installed"
NO_NETWORK = "no network"
DOWNLOAD_HOST = "https://storage.googleapis.com/"
DECODE_BATCH = 1000
CACHE_LAYOUT = "1"  # part of the cache's key: raise it when the meaning of the cached arrays changes
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def prepared_folder(name: str, directory: Path) -> Path | None:
    """Returns the folder of the newest version of a data set under a data directory, or None if there is none.

    Raises:
      UserError: the data set's folder cannot be read.
    """
    try:
        versions = [entry for entry in (directory / name).iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{directory / name} cannot be read ({error.strerror})") from error
    return max(versions, key=lambda entry: tuple(map(int, entry.name.split("."))), default=None)


def prepared_names(directory: Path) -> list[str]:
    """Returns the names of the data sets (without configs) that are prepared under a data directory."""
    if not directory.is_dir():
        return []
    return sorted(entry.name for entry in directory.iterdir() if prepared_folder(entry.name, directory))


def obstacle_to_preparing() -> str | None:
    """Returns why no data set can be prepared on this machine, or None if nothing speaks against trying."""
    if importlib.util.find_spec("tensorflow") is None:
        return NO_TENSORFLOW
    return None if network_is_reachable() else NO_NETWORK


def network_is_reachable(seconds: float = 5.0) -> bool:
    """Returns whether the host that data sets are downloaded from answers, after `seconds` at the latest.

    Left to itself, tensorflow-datasets retries for minutes before it reports that there is no network.
    """
    # A name server that does not answer blocks for longer than any socket timeout: a daemon thread can be left behind.
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_host_answers()), daemon=True, name="igan-network-probe").start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return False


def _host_answers() -> bool:
    try:
        # Unlike a bare socket, this goes through the proxies set in the environment, as the downloads do.
        urllib.request.urlopen(urllib.request.Request(DOWNLOAD_HOST, method="HEAD"), timeout=3.0).close()
    except urllib.error.HTTPError:
        return True  # any status at all is an answer
    except Exception:
        return False
    return True


def prepare(name: str, directory: Path) -> str | None:
    """Downloads and prepares a data set. Returns None on success, else the reason in one line."""
    try:
        import tensorflow_datasets as tfds

        Console(stderr=True).print(f"Preparing {name} in {directory} (once; by tensorflow-datasets)", highlight=False)
        tfds.builder(name, data_dir=str(directory)).download_and_prepare(file_format="array_record")
    except Exception as error:  # downloads, disks and TensorFlow fail in too many ways to list
        return _in_one_line(error)
    return None


def read(name: str, folder: Path) -> Dataset:
    """Reads a prepared data set into memory, from the cache of decoded arrays where it is there.

    Args:
      name: the data set's name.
      folder: the folder of one version, as `prepared_folder` returns it.

    Raises:
      UserError: the data set is damaged, or not one of images of one size with class labels.
    """
    try:
        cached = _cache_path(name, folder)
    except OSError as error:
        raise _damaged(folder, error) from error
    arrays = _read_cache(cached)
    if arrays is None:
        arrays = _decode(name, folder)
        with contextlib.suppress(UserError):  # No cache is no reason to stop.
            cache.write(cached, lambda file: np.savez(file, allow_pickle=False, **arrays))
    images_and_labels = (arrays[key] for key in ARRAYS)
    return Dataset(name, *images_and_labels, classes=int(arrays["classes"]), origin=f"{folder} ({name} {folder.name})")


def records(name: str, folder: Path) -> Records:
    """Returns random access to the training examples of a prepared data set, whose images may differ in size.

    Args: as for `read`.

    Raises:
      UserError: the data set is damaged, not one of images with class labels, or not in a format with random access.
    """
    import tensorflow_datasets as tfds

    builder, image, classes, counts = _description(folder)
    channels = (getattr(image, "shape", None) or (None,))[-1]
    if "train" not in counts or channels not in (1, 3) or image.np_dtype != np.uint8 or classes is None:
        raise UserError(
            f"{folder}: '{name}' cannot be streamed: igan needs the split 'train' with the features 'image' (uint8, 1 "
            "or 3 channels) and 'label' (a class)"
        )
    if builder.info.file_format.file_suffix != "array_record":
        raise UserError(
            f"{folder}: only array_record files can be streamed: move '{name}' away to have it prepared again as such, "
            "or name another directory with --config.data.dir"
        )
    try:
        source = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
        source[0]  # makes what it makes lazily, before there are threads
    except Exception as error:  # the record reader raises RuntimeError, protobuf its own
        raise _damaged(folder, error) from error

    def read(index: int) -> tuple[int, bytes]:
        example = source[index]
        return int(example["label"]), example["image"]

    origin = f"{folder} ({name} {folder.name}, {len(source):,} train images)"
    describe = f"{folder}: record {{}} of the split 'train'".format
    return Records(name, len(source), classes, channels, origin, read, describe)


def _description(folder: Path) -> tuple[Any, Any, int | None, dict[str, int]]:
    """Returns the builder, its feature 'image', the number of classes, and the number of examples of each split."""
    import tensorflow_datasets as tfds

    try:
        builder: Any = tfds.builder_from_directory(str(folder))
        features: dict[str, Any] = dict(builder.info.features)
        counts = {name: split.num_examples for name, split in builder.info.splits.items()}
    except Exception as error:  # a damaged description surfaces as whatever its parser happens to raise
        raise _damaged(folder, error) from error
    return builder, features.get("image"), getattr(features.get("label"), "num_classes", None), counts


def _decode(name: str, folder: Path) -> dict[str, np.ndarray]:
    """Returns the four arrays and `classes`, decoded from the record files."""
    builder, image, classes, counts = _description(folder)
    # SVHN's split 'extra', for one, is larger than both and never read.
    counts = {split: counts[split] for split in ("train", "test") if split in counts}
    if len(counts) < 2 or not _is_fixed_size_image(image) or classes is None:
        raise UserError(
            f"{folder}: '{name}' cannot be used: igan needs the splits 'train' and 'test' with the features 'image' "
            "(uint8, all of one size) and 'label' (a class)"
        )
    arrays = {"classes": np.array(classes)}
    with progress_bar() as progress, _quiet_absl():
        task = progress.add_task(f"Decoding {name} {folder.name}", total=sum(counts.values()))
        for split, count in counts.items():
            images, labels = np.empty((count, *image.shape), np.uint8), np.empty(count, np.int32)
            try:
                _fill(images, labels, _examples(builder, split), lambda: progress.advance(task, DECODE_BATCH))
                if count and not 0 <= labels.min() <= labels.max() < classes:
                    raise ValueError(f"labels outside 0..{classes - 1}")
            except Exception as error:  # the record reader raises RuntimeError, Pillow and protobuf their own
                raise _damaged(folder, error) from error
            arrays |= {f"{split}_images": images, f"{split}_labels": labels}
        progress.update(task, completed=sum(counts.values()))
    return arrays


def _is_fixed_size_image(feature: Any) -> bool:
    shape = getattr(feature, "shape", None) or ()
    return len(shape) == 3 and None not in shape and feature.np_dtype == np.uint8


def _fill(images: np.ndarray, labels: np.ndarray, examples: Iterator[dict[str, Any]], tick: Callable[[], None]) -> None:
    """Writes the examples into the arrays; raises ValueError unless they fill them exactly."""
    read = 0
    for read, example in enumerate(examples, start=1):
        if example["image"].shape != images.shape[1:]:
            raise ValueError(f"an image of shape {example['image'].shape} instead of {images.shape[1:]}")
        images[read - 1], labels[read - 1] = example["image"], example["label"]
        if read % DECODE_BATCH == 0:
            tick()
    if read != len(images):
        raise ValueError(f"{read} examples instead of {len(images)}")


def _examples(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """Yields the decoded examples of a split, in the order of the record files."""
    if builder.info.file_format.file_suffix == "tfrecord":
        # Sequential and therefore without a data source, but the format most existing copies are in.
        for path in builder.info.splits[split].filepaths:
            for record in _tfrecords(Path(path)):
                yield builder.info.features.deserialize_example_np(record)
        return
    source = builder.as_data_source(split)
    for start in range(0, len(source), DECODE_BATCH):
        yield from source.__getitems__(range(start, min(start + DECODE_BATCH, len(source))))


def _tfrecords(path: Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file: each is its length, a checksum of that, the bytes, a checksum of them."""
    with path.open("rb") as file:
        while header := file.read(12):
            (length,) = struct.unpack("<Q4x", header)
            record = file.read(length + 4)
            if len(record) != length + 4:
                raise ValueError(f"{path.name} ends in the middle of a record")
            yield record[:-4]


def _cache_path(name: str, folder: Path) -> Path:
    """Returns where the decoded arrays of this very data set are kept, wherever it lies."""
    fingerprint = hashlib.sha256(CACHE_LAYOUT.encode())
    for file in sorted(folder.iterdir()):
        status = file.stat()
        fingerprint.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    fingerprint.update((folder / "dataset_info.json").read_bytes())
    return cache.directory() / f"{name.replace('/', '-')}-{folder.name}-{fingerprint.hexdigest()[:16]}.npz"


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    """Returns the cached arrays, or None where there are none to trust."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            # The archive's checksums are verified as it is read.
            return {key: archive[key] for key in (*ARRAYS, "classes")}
    except Exception:  # whatever is wrong with it, it can be made again
        return None


def _damaged(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"{folder}: the prepared data set is damaged or unreadable ({_in_one_line(error)}): move it away to have it "
        "prepared again, or name another directory with --config.data.dir"
    )


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """Holds back tensorflow-datasets' advice to install OpenCV, which igan does not need."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
