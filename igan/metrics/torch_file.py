"""Reads the tensors of a PyTorch file without PyTorch and without running anything the file says.

Such a file is a pickle, which can call any function there is, beside the raw numbers. The reader here knows the few
names that describe tensors, builds plain descriptions from them, and refuses every other name. Both layouts are
understood: the zip archive, and the one from before PyTorch 1.6, in which the published Inception weights are.
"""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from igan.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


class _Storage(NamedTuple):
    key: str
    type: np.dtype
    size: int


class _Tensor(NamedTuple):
    """What the pickle says of one tensor: a window into a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name.

    Args:
      content: the bytes of a `.pth` file.

    Raises:
      UserError: the file is damaged, not a state dict, or asks for anything but tensors.
    """
    try:
        is_archive = zipfile.is_zipfile(io.BytesIO(content))
        entries, load_storage = _read_archive(content) if is_archive else _read_legacy(content)
        if not isinstance(entries, Mapping):
            raise UserError(f"the PyTorch file holds a {type(entries).__name__} where a state dict was expected")
        tensors = {str(name): value for name, value in entries.items() if isinstance(value, _Tensor)}
        return {name: _window(tensor, load_storage(tensor.storage)) for name, tensor in tensors.items()}
    except UserError:
        raise
    except Exception as error:  # What a damaged pickle or archive raises depends on where it is damaged.
        raise UserError(
            f"the PyTorch file is damaged or of an unknown layout ({type(error).__name__}: {error})"
        ) from error


def _read_archive(content: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    (description,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    folder = description.removesuffix("data.pkl")
    entries = _Unpickler(io.BytesIO(archive.read(description))).load()
    return entries, lambda storage: archive.read(f"{folder}data/{storage.key}")


def _read_legacy(content: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    file = io.BytesIO(content)
    if (_Unpickler(file).load(), _Unpickler(file).load()) != (LEGACY_MAGIC, LEGACY_PROTOCOL):
        raise ValueError("not written by torch.save")
    _Unpickler(file).load()  # Facts about the machine it was written on.
    entries = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    # After the pickles come the storages in the order of `keys`, each with its number of elements in front. Only the
    # descriptions know the size of an element.
    descriptions = {value.storage.key: value.storage for value in entries.values() if isinstance(value, _Tensor)}
    storages: dict[str, bytes] = {}
    for key in keys:
        (size,) = struct.unpack("<q", file.read(8))
        storages[key] = file.read(size * descriptions[key].type.itemsize)
    return entries, lambda storage: storages[storage.key]


def _window(tensor: _Tensor, raw: bytes) -> np.ndarray:
    numbers = np.frombuffer(raw, tensor.storage.type)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (0 not in tensor.shape and last >= len(numbers)):
        raise ValueError("a tensor reaches beyond its storage")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
    return view.copy()


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *flags: object) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _rebuild_parameter(tensor: _Tensor, *flags: object) -> _Tensor:
    return tensor


class _Unpickler(pickle.Unpickler):
    """Looks up names in a short list instead of importing them."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in TYPES:
            return TYPES[name]
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if (module, name) not in known:
            raise UserError(f"the PyTorch file asks for '{module}.{name}', which no weights need: refused, and not run")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, size = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError("an unknown kind of reference")
        return _Storage(str(key), dtype, int(size))
