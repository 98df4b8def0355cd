"""Reads and writes PyTorch's weight files without PyTorch.

Such a file is a pickle whose tensors point to blocks of numbers beside it. `pickle_reader` reads
the pickle, so no code of the file runs. A package for this was looked for in November 2026.
`torch.load(weights_only=True)` needs PyTorch. `ptloader` calls Python's unpickler, which some small
files keep busy for ever, and `pt-safe-loader` is at version 0.1. Both read the zip format only.
`fickling` and `picklescan` tell what a pickle would call, and read no tensors.
"""

import io
import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from srcnn_jax.weights import pickle_reader
from srcnn_jax.weights.pickle_reader import Unread

DTYPES = {  # dtype of a block, by the class in the pickle
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
    "torch.ComplexFloatStorage": np.dtype("<c8"),
    "torch.ComplexDoubleStorage": np.dtype("<c16"),
    "torch.storage.UntypedStorage": np.dtype("u1"),
}
# Keys under which checkpoints hold a state_dict. Where there are several, the first counts.
WRAPPERS = "state_dict", "model_state_dict", "model", "params_ema", "params", "net"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file by PyTorch before 1.6
NOTES = "extra/srcnn_jax.json"  # file in the archive for our notes; PyTorch ignores it
MAX_NOTES = 2**16  # max bytes of our notes
MAX_FILES = 30_000  # max files in an archive: a network of 10,000 tensors with its optimiser
MAX_SHARING = 4  # max bytes of all tensors, in bytes of the file; tensors may share a block


class _Storage(NamedTuple):
    """A block of numbers: its class in the pickle, its key, and how many numbers it has."""

    kind: str
    key: str
    numel: int


class _Tensor(NamedTuple):
    """A tensor whose numbers have not been read yet; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _call(name: str, arguments: tuple) -> Any:
    """Returns the dict or tensor that a pickle makes by a function; `Unread` for all others."""
    match name, arguments:
        case "collections.OrderedDict" | "collections.Counter", ():
            return {}
        case "collections.OrderedDict", ([*pairs],):  # by Python 2
            return {pair[0]: pair[1] for pair in pairs if isinstance(pair[0], str)}
        case (
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor",
            (_Storage() | Unread() as storage, int(offset), tuple(shape), tuple(strides), *rest),
        ):
            if isinstance(storage, Unread):  # numbers of a kind that weights do not have
                return storage
            if any(rest[2:]):  # the numbers are to be negated or conjugated
                return Unread(name)
            sizes = offset, *shape, *strides
            if all(isinstance(size, int) and abs(size) < 2**63 for size in sizes):
                return _Tensor(storage, offset, shape, strides)
            raise ValueError("a tensor has a damaged shape")
        case (
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch.nn.parameter.Parameter",
            (_Tensor() | Unread() as tensor, *_),
        ):
            return tensor
        case (  # a tensor with attributes
            "torch._tensor._rebuild_from_type_v2",
            (Unread("torch._utils._rebuild_tensor_v2" as rebuild), _, tuple(inner), *_),
        ):
            return _call(rebuild, inner)
    return Unread(name)


def _refer(reference: Any) -> _Storage | Unread:
    """Returns the block that a pickle points to; `Unread` if its numbers are of another kind."""
    match reference:
        case ("storage", Unread(kind), str(key), _, int(numel), *view) if view in ([], [None]):
            return _Storage(kind, key, numel) if kind in DTYPES else Unread(kind)
    raise ValueError("it points to something other than a block of numbers")


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads the state_dict in a file by `torch.save`: the zip format, or that before PyTorch 1.6.

    A checkpoint that holds the state_dict under one of `WRAPPERS` is accepted. Whatever lies beside
    it is passed over unread. So is what lies among the tensors of a state_dict and is neither a
    tensor nor called a weight or bias. The memory is at most a small multiple of the file.

    Returns:
      The tensors by name, in the file's order and dtypes, and the notes that `encode` added. The
      notes are {} for a file by PyTorch itself.

    Raises:
      ValueError: if it is not such a file, would need code to make a weight, or declares tensors
        that do not fit their bytes. Damaged files may also raise the errors of `zipfile`.
    """
    data = Path(path).read_bytes()
    state, blocks, notes = (_read_zip if data.startswith(b"PK") else _read_legacy)(data)
    arrays = {name: _to_array(name, tensor, blocks) for name, tensor in state.items()}
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_SHARING * len(data):
        raise ValueError(f"its tensors have {size} bytes in a file of {len(data)}")
    return arrays, notes


def _read_zip(data: bytes) -> tuple[dict[str, _Tensor], dict[str, bytes], dict[str, str]]:
    """Returns the tensors by name, their blocks of numbers by key, and our notes."""
    if data.count(b"PK\1\2") > MAX_FILES:  # every file has this mark
        raise ValueError(f"it is a zip file of more than {MAX_FILES:,} files")
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if re.fullmatch(r"[^/]*/data\.pkl", name)]
    if len(pickles) != 1:
        raise ValueError("it is a zip file without PyTorch's data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    if prefix + "constants.pkl" in entries:
        raise ValueError("it is a TorchScript program; save model.state_dict() instead")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ValueError("it is compressed, which PyTorch's files are not")
    if sum(entry.file_size for entry in entries.values()) > len(data):
        raise ValueError("it is a zip file whose files have more bytes than itself")
    content = pickle_reader.read(io.BytesIO(archive.read(pickles[0])), _call, _refer)
    state = _find_state_dict(content)
    swap = prefix + "byteorder" in entries and archive.read(prefix + "byteorder") == b"big"
    storages: dict[str, _Storage] = {}
    for name, tensor in state.items():
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise ValueError(f"{name} declares another size or kind of its block than others do")
    blocks = {}
    for storage in storages.values():  # each is read once
        name = f"{prefix}data/{storage.key}"
        block = archive.read(name) if name in entries else b""
        if swap:
            block = np.frombuffer(block, DTYPES[storage.kind]).byteswap().tobytes()
        blocks[storage.key] = block
    notes = {}
    if prefix + NOTES in entries:
        if entries[prefix + NOTES].file_size > MAX_NOTES:
            raise ValueError(f"its {NOTES} has more than {MAX_NOTES} bytes")
        notes = json.loads(archive.read(prefix + NOTES))
        if not isinstance(notes, dict) or not all(isinstance(v, str) for v in notes.values()):
            raise ValueError(f"its {NOTES} is no dict of strings")
    return state, blocks, notes


def _read_legacy(data: bytes) -> tuple[dict[str, _Tensor], dict[str, bytes], dict[str, str]]:
    """As `_read_zip`, for the older format: five pickles, followed by the blocks.

    The pickles are a magic number, a version, the properties of the machine, the content, and the
    keys of the blocks. A block is its count of numbers, in 8 bytes, and then the numbers. They are
    little-endian on every machine.
    """
    file = io.BytesIO(data)
    storages: dict[str, _Storage | Unread] = {}

    def refer(reference: Any) -> _Storage | Unread:
        storage = _refer(reference)
        return storages.setdefault(reference[2], storage)

    first = pickle_reader.read(file)
    if first != LEGACY_MAGIC:
        raise ValueError(f"it was not written by torch.save{_needs(first)}")
    pickle_reader.read(file)
    pickle_reader.read(file)
    state = _find_state_dict(pickle_reader.read(file, _call, refer))
    needed = {tensor.storage.key for tensor in state.values()}
    blocks = {}
    keys = pickle_reader.read(file)
    for key in keys if isinstance(keys, list) else []:
        storage = storages.get(key) if isinstance(key, str) else None
        if not isinstance(storage, _Storage):
            raise ValueError(f"block {key} is of an unknown kind")
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != storage.numel or numel < 0:
            raise ValueError(
                f"block {key} does not fit its bytes: {numel} numbers there, "
                f"{storage.numel} declared"
            )
        size = numel * DTYPES[storage.kind].itemsize
        if key in needed:
            blocks[key] = file.read(size)
        else:
            file.seek(size, io.SEEK_CUR)
    return state, blocks, {}


def _find_state_dict(content: Any) -> dict[str, _Tensor]:
    """Returns the tensors by name, without the checkpoint around them."""
    for _ in range(3):  # wrappers may be nested
        inner = [content[name] for name in WRAPPERS if _is_dict(content, name)]
        content = inner[0] if inner else content
    if not isinstance(content, dict) or not content:
        raise ValueError(f"it holds no state_dict{_needs(content)}")
    state = {name: value for name, value in content.items() if isinstance(value, _Tensor)}
    bad = [name for name in content if name not in state]
    if state:
        bad = [name for name in bad if name.endswith((".weight", ".bias"))]
    if bad:
        name = next((name for name in bad if name in WRAPPERS), bad[0])
        raise ValueError(
            f"it holds no state_dict, directly or as {', '.join(WRAPPERS)}: its {name!r} is no "
            f"tensor{_needs(content[name])}"
        )
    return state


def _is_dict(content: Any, name: str) -> bool:
    """Whether `content` is a dict that holds a dict of this name."""
    return isinstance(content, dict) and isinstance(content.get(name), dict)


def _needs(value: Any) -> str:
    """The end of an error line about something that a pickle makes by code."""
    if not isinstance(value, Unread):
        return ""
    return (
        f": it needs {value.name}, which is code or another kind of tensor; save "
        "model.state_dict() alone"
    )


def _to_array(name: str, tensor: _Tensor, blocks: Mapping[str, bytes]) -> np.ndarray:
    """Returns a tensor's numbers, as a view of its block.

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
        or (0 not in shape and last >= storage.numel)
    ):
        raise ValueError(
            f"{name} of shape {tuple(shape)} does not fit its bytes: {len(block)} there, "
            f"{storage.numel} numbers of {dtype} declared"
        )
    flat = np.frombuffer(block, dtype)
    steps = [step * dtype.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps)


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
