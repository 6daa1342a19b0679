"""Small data sets as tensorflow-datasets prepares them, written without it and without TensorFlow."""

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, SIDE = 3, 6


def draw_examples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)
    return images, generator.integers(0, CLASSES, count, dtype=np.int32)


TRAIN, TEST = draw_examples(23, seed=1), draw_examples(9, seed=2)


def serialize(image: np.ndarray | bytes, label: int) -> bytes:
    """Returns the record of an image, uint8 [height, width, 1 or 3] or the bytes of a file, with its label."""
    from tensorflow_datasets.proto import tf_example_pb2

    if isinstance(image, np.ndarray):
        png = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(png, "png")
        image = png.getvalue()
    example = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
    example.features.feature["image"].bytes_list.value.append(image)
    example.features.feature["label"].int64_list.value.append(label)
    return example.SerializeToString()


def serialize_all(examples: tuple[np.ndarray, np.ndarray]) -> list[bytes]:
    return [serialize(image, int(label)) for image, label in zip(*examples, strict=True)]


def write_records(path: Path, records: list[bytes]) -> None:
    if ".tfrecord" in path.name:
        path.write_bytes(b"".join(struct.pack("<Q4x", len(record)) + record + bytes(4) for record in records))
        return
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def prepare(
    directory: Path,
    name: str = "mnist",
    file_format: str = "array_record",
    contents: dict[str, list[bytes]] | None = None,
    shape: Sequence[int | None] = (SIDE, SIDE, 1),
    classes: int = CLASSES,
) -> Path:
    """Writes a small data set the way tensorflow-datasets lays it out; returns the folder of its version.

    `contents` are the records of each split, by default those of TRAIN and TEST; None in `shape` is an unknown size.
    """
    if contents is None:
        contents = {"train": serialize_all(TRAIN), "test": serialize_all(TEST)}
    folder = directory / name / "3.0.1"
    folder.mkdir(parents=True)
    splits = []
    for split, records in contents.items():
        write_records(folder / f"{name}-{split}.{file_format}-00000-of-00001", records)
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append({"filepathTemplate": template, "name": split, "shardLengths": [str(len(records))]})
    information = {"fileFormat": file_format, "name": name, "version": "3.0.1", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(information))
    package = "tensorflow_datasets.core.features."
    dimensions = {"dimensions": [str(side or -1) for side in shape]}
    features = {
        "image": {"image": {"dtype": "uint8", "shape": dimensions}, "pythonClassName": package + "image_feature.Image"},
        "label": {
            "classLabel": {"numClasses": str(classes)},
            "pythonClassName": package + "class_label_feature.ClassLabel",
        },
    }
    root = {"featuresDict": {"features": features}, "pythonClassName": package + "features_dict.FeaturesDict"}
    (folder / "features.json").write_text(json.dumps(root))
    return folder
