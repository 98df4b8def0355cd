"""PyTorch's weight files, read and written without PyTorch, and its names for our layers.

Such a file is a pickle, whose tensors point to blocks of numbers beside it. The pickle is read by
an unpickler that knows the few names a `state_dict` is made of, and refuses any other.
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

Params = dict[str, dict[str, np.ndarray]]  # {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}}

DTYPES = {  # of the blocks, by the class that names them in the pickle
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
WRAPPERS = ("state_dict", "model_state_dict", "model", "params", "net")  # around a state_dict
STAGES = (  # the three layers in the paper's words, as repositories shorten them
    ("features", "feature", "extraction", "patch_extraction", "feature_extraction"),
    ("map", "mapping", "remap", "non_linear_mapping"),
    ("reconstruction", "reconstruct"),
)
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file by PyTorch before 1.6
# Of pickles by `torch.save`; the last three of whole models, which are then refused by name.
INSTRUCTIONS = {
    "PROTO", "FRAME", "STOP", "MARK", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "NONE", "NEWTRUE",
    "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINPUT", "LONG_BINPUT", "MEMOIZE",
    "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "BINPERSID", "REDUCE", "BUILD",
    "NEWOBJ", "EMPTY_SET", "ADDITEMS",
}  # fmt: skip
NOTES = "extra/srcnn_jax.json"  # what a state_dict has no place for; PyTorch takes no notice of it


class _Storage(NamedTuple):
    kind: str
    key: str
    numel: int


class _Tensor(NamedTuple):
    """A tensor whose numbers have not been looked up yet; strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Knows the parts of a state_dict only; nothing that a file names is imported or called.

    The functions that it gives out are made anew each time, so that a file which sets attributes
    on them leaves nothing behind.

    Attributes:
      storages: the blocks that the pickle has pointed to, by key.
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
    """The next pickle's content and the blocks that it points to; ValueError for hostile ones.

    Instructions that no state_dict needs are refused before anything is done: Python's own
    unpickler does not stand all damage to them. A memo beyond the pickle's length is meant to fill
    the memory.
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
    """Reads the state_dict of a file by `torch.save`: the zip format, or that before PyTorch 1.6.

    Checkpoints that keep it under one of `WRAPPERS` are accepted.

    Returns:
      The tensors by name, in the file's order and dtypes; and the notes that `encode` added, {} in
      a file of PyTorch's own.

    Raises:
      ValueError: if it is no such file, would run code, or declares tensors that do not fit their
        bytes. Damaged files raise what `pickle` and `zipfile` do.
    """
    data = Path(path).read_bytes()
    content, blocks, notes = (_read_zip if data.startswith(b"PK") else _read_legacy)(data)
    state = _find_state_dict(content)
    return {name: _to_array(name, value, blocks) for name, value in state.items()}, notes


def _read_zip(data: bytes) -> tuple[Any, dict[str, bytes], dict[str, str]]:
    """The pickle's content, the blocks of numbers by key, and our notes."""
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
    """As `_read_zip`, of five pickles and the blocks in a row.

    The pickles are a magic number, a version, the machine, the content and the keys of the blocks;
    a block is how many numbers it holds, in 8 bytes, and the numbers.
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
    """The tensors by name, out of the checkpoint around them."""
    for _ in range(3):  # of WRAPPERS in one another
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
    """Whether `content` has a mapping of this name."""
    return isinstance(content, Mapping) and isinstance(content.get(name), Mapping)


def _to_array(name: str, tensor: _Tensor, blocks: Mapping[str, bytes]) -> np.ndarray:
    """A tensor's numbers; ValueError if they reach beyond its block, or the block is not whole."""
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


def to_params(tensors: Mapping[str, np.ndarray]) -> Params:
    """PyTorch's names and order of axes to ours.

    Layers may be called conv1, conv2, ...; by number, as in an `nn.Sequential`; or by the paper's
    three words (`STAGES`). Prefixes that all names share, such as `module.`, are left out, and so
    is the 0 of a layer that is the first of a Sequential of its own.

    Args:
      tensors: '<layer>.weight' (out, in, f, f) and '<layer>.bias' (out,), of any float dtype.

    Returns:
      {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}, ...}, float32.

    Raises:
      ValueError: naming what is missing, unknown or of another shape.
    """
    if not tensors:
        raise ValueError("it holds no tensors")
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if not layer or kind not in ("weight", "bias"):
            raise ValueError(f"{name} is no layer's weight or bias")
        if value.dtype.kind != "f" and value.dtype != ml_dtypes.bfloat16:
            raise ValueError(f"{name} holds {value.dtype}, not floating-point numbers")
        with np.errstate(over="ignore"):  # to infinity, which `Network` refuses
            layers.setdefault(layer, {})[kind] = value.astype(np.float32)
    params: Params = {}
    for index, layer in enumerate(_in_order(list(layers))):
        missing = {"weight", "bias"} - set(layers[layer])
        if missing:
            raise ValueError(f"there is no {layer}.{missing.pop()}")
        weight, bias = layers[layer]["weight"], layers[layer]["bias"]
        if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{layer} has a weight of shape {weight.shape} and a bias of shape {bias.shape}, "
                "not (out, in, f, f) and (out,)"
            )
        kernel = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        params[f"conv{index + 1}"] = {"kernel": kernel, "bias": bias}
    return params


def _in_order(layers: list[str]) -> list[str]:
    """The layers' names from first to last; ValueError if that cannot be told, or one is missing.

    Not the file's order, which safetensors does not keep.
    """
    parts = [layer.split(".") for layer in layers]
    while min(map(len, parts)) > 1 and len({first for first, *_ in parts}) == 1:
        parts = [rest for _, *rest in parts]
    places = [_place(".".join(part).removesuffix(".0")) for part in parts]
    names = dict(zip(places, layers, strict=True))
    styles = {style for style, _ in places}
    if len(names) < len(layers) or len(styles) > 1 or "" in styles:
        raise ValueError(
            f"its layers are {', '.join(layers)}; known are conv1, conv2, ..., the numbers of a "
            f"Sequential, and {', '.join(words[0] for words in STAGES)}"
        )
    for number in range(1, len(layers) + 1):
        if "number" not in styles and number not in (place for _, place in places):
            raise ValueError(f"of its layers, {', '.join(layers)}, number {number} is missing")
    return [names[place] for place in sorted(places)]


def _place(name: str) -> tuple[str, int]:
    """The style of a layer's short name, '' if it is not known, and its place in that style."""
    if match := re.fullmatch(r"(conv)?([0-9]+)", name):
        return match[1] or "number", int(match[2])
    for place, words in enumerate(STAGES):
        if name in words:
            return "stage", place + 1
    return "", 0


def from_params(params: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The inverse of `to_params`: conv1.weight (out, in, f, f), conv1.bias, conv2.weight, ..."""
    tensors = {}
    for index in range(1, len(params) + 1):
        layer = params[f"conv{index}"]
        tensors[f"conv{index}.weight"] = layer["kernel"].transpose(3, 2, 0, 1)
        tensors[f"conv{index}.bias"] = layer["bias"]
    return tensors


def encode(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> bytes:
    """A file that `torch.load(weights_only=True)` makes a state_dict of.

    The same tensors and notes give the same bytes.

    Args:
      tensors: by name; they are written as float32.
      notes: strings for `read`, of which PyTorch takes no notice.
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
    """The pickle, put together from its instructions: `pickle` itself would have to import torch.

    Block i holds the i-th tensor, in row-major order.
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
        + ordered_dict  # of the hooks of backpropagation
        + pickle.TUPLE
        + pickle.REDUCE
        for key, (name, block) in enumerate(blocks.items())
    ]
    content = ordered_dict + pickle.MARK + b"".join(items) + pickle.SETITEMS
    return pickle.PROTO + b"\x02" + content + pickle.STOP


def _name(module: str, name: str) -> bytes:
    """The instruction that looks up a name in a module."""
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _plain(value: Any) -> bytes:
    """The instructions that make a string, number or tuple: a pickle without its first and last."""
    return pickle.dumps(value, 2)[2:-1]
