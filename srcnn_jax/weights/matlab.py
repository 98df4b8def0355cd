"""The authors' weight files: MATLAB files in the layout that their `SRCNN.m` reads.

`weights_conv1` is (f*f, n1), the middle layers are (in, f*f, out), the last is (in, f*f). Taps are
in MATLAB's column-major order. `biases_conv1`, ... are (n, 1). All are doubles that hold float32
values. Images have one channel, luminance.

This file reads the container itself, MATLAB's "Level 5" of MATLAB 5 to 7. A damaged file can crash
`scipy.io.loadmat` together with the whole process.
"""

import io
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

HEADER = 128  # bytes; the last four are the version and the byte order
COMPRESSED, MATRIX = 15, 14  # kinds of elements; NUMBERS has other kinds
NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"
}  # fmt: skip
FLOAT_CLASSES = (6, 7)  # double and single; both may be stored as integers
COMPLEX, OPAQUE = 0x800, 17
MAX_BYTES = 2**24  # max bytes of all compressed variables, decompressed: two million doubles
MAX_AXES = 32


def read(path: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """Reads a file of this layout with two layers or more.

    Returns:
      {'conv1': {'kernel': (f, f, in, out), 'bias': (out,)}, ...}, float32.

    Raises:
      ValueError: if a variable is missing or has a wrong shape; the message names it. Damaged files
        may also raise other errors, such as `struct.error` and `zlib.error`.
    """
    content = _read_variables(Path(path).read_bytes())
    count = sum(name.startswith("weights_conv") for name in content)
    if count < 2:
        raise ValueError("it has no weights_conv1, weights_conv2, ...")
    params = {}
    for index in range(1, count + 1):
        taps = _floats(content, f"weights_conv{index}")
        bias = _floats(content, f"biases_conv{index}").ravel()
        declared = taps.shape
        if index == 1:
            taps = taps[None]
        taps = np.atleast_3d(taps)  # MATLAB drops a last axis of length 1
        size = math.isqrt(taps.shape[1])
        square = size**2 == taps.shape[1] and size % 2
        if taps.ndim != 3 or not square or bias.shape != taps.shape[2:]:
            order = {1: "(f*f, out)", count: "(in, f*f)"}.get(index, "(in, f*f, out)")
            raise ValueError(
                f"weights_conv{index} has the shape {declared} and biases_conv{index} "
                f"{bias.size} values, not {order} and out for an odd f"
            )
        # The axes go from (in, column, row, out) to (row, column, in, out).
        kernel = taps.reshape(taps.shape[0], size, size, taps.shape[2]).transpose(2, 1, 0, 3)
        params[f"conv{index}"] = {"kernel": np.ascontiguousarray(kernel), "bias": bias}
    return params


def _floats(content: Mapping[str, np.ndarray | None], name: str) -> np.ndarray:
    """Returns a variable as float32; raises ValueError if it is missing or not real numbers."""
    if name not in content:
        raise ValueError(f"it has no {name}")
    value = content[name]
    if value is None:
        raise ValueError(f"{name} holds something other than real floating-point numbers")
    with np.errstate(over="ignore"):  # overflow gives infinity, which `Network` refuses
        return value.astype(np.float32)


def _read_variables(data: bytes) -> dict[str, np.ndarray | None]:
    """Reads a file's variables by name; None replaces all that are not real doubles or singles."""
    version, mark = data[HEADER - 4 : HEADER - 2], data[HEADER - 2 : HEADER]
    order = {b"IM": "<", b"MI": ">"}.get(mark)
    if order is None:
        raise ValueError("it is no MATLAB file")
    if version != struct.pack(order + "H", 0x100):
        raise ValueError("it has another version of MATLAB's format; save it with save -v7")
    content: dict[str, np.ndarray | None] = {}
    left = MAX_BYTES
    for kind, body in _elements(data[HEADER:], order):
        if kind == COMPRESSED:
            inflater = zlib.decompressobj()
            inflated = inflater.decompress(body, left + 1)  # 0 would be no limit
            if not inflater.eof or len(inflated) > left:
                raise ValueError(
                    f"its compressed variables are damaged, or have more than {MAX_BYTES} bytes"
                )
            left -= len(inflated)
            kind, body = next(_elements(inflated, order))
        if kind == MATRIX:
            content.update(_read_matrix(body, order))
    return content


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yields the kind and content of each element.

    An element begins with its kind and length, and is padded to a multiple of 8 bytes. A content of
    up to four bytes may share the first 8 bytes with kind and length, which then have 16 bits each.
    """
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(order + "II", data, place)
        start = place + 8
        place = start + size if kind == COMPRESSED else start - (-size // 8) * 8
        if kind >> 16:
            kind, size, start, place = kind & 0xFFFF, kind >> 16, start - 4, start
        if start + size > min(place, len(data)):
            raise ValueError(f"{size} bytes are declared where {len(data) - start} are left")
        yield kind, data[start : start + size]


def _read_matrix(body: bytes, order: str) -> dict[str, np.ndarray | None]:
    """Returns a variable as {name: value}, as `_read_variables`; {} for objects of classes."""
    parts = _elements(body, order)
    (flags,) = struct.unpack_from(order + "I", next(parts)[1])
    if flags & 0xFF == OPAQUE:
        return {}
    axes = np.frombuffer(next(parts)[1], order + "i4")
    if axes.size > MAX_AXES:
        raise ValueError(f"a variable has {axes.size} axes")
    shape = tuple(axes.tolist())
    name = next(parts)[1].decode("latin-1")
    if flags & 0xFF not in FLOAT_CLASSES or flags & COMPLEX:
        return {name: None}
    kind, block = next(parts)
    values = np.frombuffer(block, order + NUMBERS[kind])
    if min(shape) < 0 or math.prod(shape) != values.size:
        raise ValueError(f"{name} of shape {shape} does not fit its bytes: {values.size} numbers")
    return {name: values.reshape(shape, order="F")}


def encode(params: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Returns the bytes of a file that `SRCNN.m` loads.

    Args:
      params: as `read` returns them.

    Raises:
      ValueError: if there are not exactly three layers, or there is more than one channel.
    """
    import scipy.io

    kernels = [np.asarray(params[f"conv{i + 1}"]["kernel"], np.float64) for i in range(len(params))]
    if len(kernels) != 3 or kernels[0].shape[2] != 1:
        raise ValueError(
            "the authors' .mat files hold three layers for one channel, not "
            f"{len(kernels)} for {kernels[0].shape[2]}; choose .safetensors, .pth or .onnx"
        )
    content = {}
    for index, kernel in enumerate(kernels, 1):
        size, _, fan_in, fan_out = kernel.shape
        taps = kernel.transpose(2, 1, 0, 3).reshape(fan_in, size * size, fan_out)
        taps = {1: taps[0], 2: taps, 3: taps[..., 0]}[index]
        content[f"weights_conv{index}"] = taps
        bias = np.asarray(params[f"conv{index}"]["bias"], np.float64)
        content[f"biases_conv{index}"] = bias[:, None]
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, content)
    return buffer.getvalue()
