"""Reads and writes PyTorch's weight files without PyTorch.

Such a file is a pickle whose tensors point to blocks of numbers beside it. The unpickler here knows
only the few names that a `state_dict` needs, and refuses all others.
"""

import collections
import io
import json
import math
import os
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

DTYPES = {  # dtype of a block, by the class in the pickle
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
# Keys under which checkpoints hold a state_dict. Where there are several, the first counts.
WRAPPERS = "state_dict", "model_state_dict", "model", "params_ema", "params", "net"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file by PyTorch before 1.6
# The instructions in pickles by `torch.save`. The last three are in pickles of whole models. They
# are accepted so that the error can name the model's class.
INSTRUCTIONS = {
    "PROTO", "FRAME", "STOP", "MARK", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "NONE", "NEWTRUE",
    "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINPUT", "LONG_BINPUT", "MEMOIZE",
    "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "BINPERSID", "REDUCE", "BUILD",
    "NEWOBJ", "EMPTY_SET", "ADDITEMS",
}  # fmt: skip
NOTES = "extra/srcnn_jax.json"  # file in the archive for our notes; PyTorch ignores it


class _Storage(NamedTuple):
    kind: str
    key: str
    numel: int


class _Tensor(NamedTuple):
    """A tensor whose numbers have not been read yet; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows only the parts of a state_dict; it imports and calls nothing else.

    It returns new functions each time. So a file that sets attributes on them has no effect on
    later files.

    Attributes:
      storages: the blocks that the pickle points to, by key.
    """

    def __init__(self, file: io.BytesIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "collections" and name in ("OrderedDict", "Counter"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, shape, strides
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in DTYPES:
            return name
        raise ValueError(
            f"it needs {module}.{name}, which is code or no part of a state_dict; "
            "save model.state_dict() alone"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _device, numel, *view = pid
        if what != "storage" or kind not in DTYPES or any(view):
            raise ValueError(f"it has a tensor of an unknown kind, {kind}")
        return self.storages.setdefault(key, _Storage(kind, key, numel))


def _unpickle(file: io.BytesIO) -> tuple[Any, dict[str, _Storage]]:
    """Reads the next pickle: its content and the blocks that it points to.

    Instructions that no state_dict needs are refused before the pickle is read, because Python's
    unpickler can crash on damaged ones. A memo index beyond the pickle's length would only fill the
    memory, so it is refused, too.

    Raises:
      ValueError: if the pickle is not one of a state_dict.
    """
    start = file.tell()
    for instruction, argument, place in pickletools.genops(file):
        name = instruction.name
        memo: Any = argument if name == "LONG_BINPUT" else 0
        if name not in INSTRUCTIONS or memo > (place or 0):
            raise ValueError(f"it has the pickle instruction {name} where no state_dict would")
    file.seek(start)
    unpickler = _Unpickler(file)
    return unpickler.load(), unpickler.storages


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads the state_dict in a file by `torch.save`: the zip format, or that before PyTorch 1.6.

    A checkpoint that holds the state_dict under one of `WRAPPERS` is accepted.

    Returns:
      The tensors by name, in the file's order and dtypes, and the notes that `encode` added. The
      notes are {} for a file by PyTorch itself.

    Raises:
      ValueError: if it is not such a file, would run code, or declares tensors that do not fit
        their bytes. Damaged files may also raise the errors of `pickle` and `zipfile`.
    """
    data = Path(path).read_bytes()
    content, blocks, notes = (_read_zip if data.startswith(b"PK") else _read_legacy)(data)
    state = _find_state_dict(content)
    return {name: _to_array(name, value, blocks) for name, value in state.items()}, notes


def _read_zip(data: bytes) -> tuple[Any, dict[str, bytes], dict[str, str]]:
    """Returns the pickle's content, the blocks of numbers by key, and our notes."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = archive.namelist()
    pickles = [name for name in names if re.fullmatch(r"[^/]*/data\.pkl", name)]
    if len(pickles) != 1:
        raise ValueError("it is a zip file without PyTorch's data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    if prefix + "constants.pkl" in names:
        raise ValueError("it is a TorchScript program; save model.state_dict() instead")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise ValueError("it is compressed, which PyTorch's files are not")
    if prefix + "byteorder" in names:
        _check_byte_order(archive.read(prefix + "byteorder") == b"little")
    content, storages = _unpickle(io.BytesIO(archive.read(pickles[0])))
    files = {key: f"{prefix}data/{key}" for key in storages}
    blocks = {key: archive.read(name) for key, name in files.items() if name in names}
    notes = json.loads(archive.read(prefix + NOTES)) if prefix + NOTES in names else {}
    return content, blocks, notes


def _read_legacy(data: bytes) -> tuple[Any, dict[str, bytes], dict[str, str]]:
    """As `_read_zip`, for the older format: five pickles, followed by the blocks.

    The pickles are a magic number, a version, the properties of the machine, the content, and the
    keys of the blocks. A block is its count of numbers, in 8 bytes, and then the numbers.
    """
    file = io.BytesIO(data)
    if _unpickle(file)[0] != LEGACY_MAGIC:
        raise ValueError("it was not written by torch.save")
    _unpickle(file)
    _check_byte_order(_unpickle(file)[0]["little_endian"])
    content, storages = _unpickle(file)
    blocks = {}
    for key in _unpickle(file)[0]:
        storage = storages[key]
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != storage.numel or numel < 0:
            raise ValueError(
                f"block {key} does not fit its bytes: {numel} numbers there, "
                f"{storage.numel} declared"
            )
        blocks[key] = file.read(numel * DTYPES[storage.kind].itemsize)
    return content, blocks, {}


def _check_byte_order(little: bool) -> None:
    if not little:
        raise ValueError("its numbers are big-endian; save it again on a little-endian machine")


def _find_state_dict(content: Any) -> dict[str, _Tensor]:
    """Returns the tensors by name, without the checkpoint around them."""
    for _ in range(3):  # wrappers may be nested
        inner = [content[name] for name in WRAPPERS if _is_mapping(content, name)]
        content = inner[0] if inner else content
    if not isinstance(content, Mapping) or not content:
        raise ValueError("it holds no state_dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise ValueError(
                f"it holds no state_dict, directly or as {', '.join(WRAPPERS)}: "
                f"its {name!r} is no tensor"
            )
    return dict(content)


def _is_mapping(content: Any, name: str) -> bool:
    """Whether `content` is a mapping that holds a mapping of this name."""
    return isinstance(content, Mapping) and isinstance(content.get(name), Mapping)


def _to_array(name: str, tensor: _Tensor, blocks: Mapping[str, bytes]) -> np.ndarray:
    """Returns a tensor's numbers.

    Raises:
      ValueError: if the tensor is larger than its block, or the block is incomplete.
    """
    storage, offset, shape, strides = tensor
    dtype = DTYPES[storage.kind]
    block = blocks.get(storage.key, b"")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if (
        len(block) != storage.numel * dtype.itemsize
        or min(offset, *shape, *strides, 0) < 0
        or math.prod(shape) > storage.numel
        or (0 not in shape and last >= storage.numel)
    ):
        raise ValueError(
            f"{name} of shape {tuple(shape)} does not fit its bytes: {len(block)} there, "
            f"{storage.numel} numbers of {dtype} declared"
        )
    flat = np.frombuffer(block, dtype)
    steps = [step * dtype.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps).copy()


def encode(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> bytes:
    """Returns the bytes of a file that `torch.load(weights_only=True)` reads as a state_dict.

    The same tensors and notes give the same bytes.

    Args:
      tensors: tensors by name; they are written as float32.
      notes: strings by name, for `read`; PyTorch ignores them.
    """
    blocks = [np.ascontiguousarray(value, "<f4") for value in tensors.values()]
    files = {"data.pkl": _encode_state_dict(dict(zip(tensors, blocks, strict=True)))}
    files["byteorder"] = b"little"
    files |= {f"data/{key}": block.tobytes() for key, block in enumerate(blocks)}
    files["version"] = b"3\n"
    files[NOTES] = json.dumps(dict(notes)).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return buffer.getvalue()


def _encode_state_dict(blocks: Mapping[str, np.ndarray]) -> bytes:
    """Builds the pickle from its instructions, because `pickle` itself would have to import torch.

    Block i holds the i-th tensor in row-major order.
    """
    ordered_dict = _name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    items = [
        _plain(name)
        + _name("torch._utils", "_rebuild_tensor_v2")
        + pickle.MARK
        + pickle.MARK
        + _plain("storage")
        + _name("torch", "FloatStorage")
        + _plain(str(key))
        + _plain("cpu")
        + _plain(block.size)
        + pickle.TUPLE
        + pickle.BINPERSID
        + _plain(0)
        + _plain(block.shape)
        + _plain(tuple(step // block.itemsize for step in block.strides))
        + _plain(False)
        + ordered_dict  # an empty dict of backward hooks
        + pickle.TUPLE
        + pickle.REDUCE
        for key, (name, block) in enumerate(blocks.items())
    ]
    content = ordered_dict + pickle.MARK + b"".join(items) + pickle.SETITEMS
    return pickle.PROTO + b"\x02" + content + pickle.STOP


def _name(module: str, name: str) -> bytes:
    """Returns the instruction that looks up a name in a module."""
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _plain(value: Any) -> bytes:
    """Returns the instructions that make a string, number or tuple: a pickle without its ends."""
    return pickle.dumps(value, 2)[2:-1]
