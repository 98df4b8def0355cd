"""Safetensors files with our names of tensors: `conv1.kernel`, `conv1.bias`, ..."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

MAX_HEADER = 2**22  # max bytes of a header, which takes 30 times as much memory


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads any safetensors file: the tensors by name, and the metadata.

    Raises:
      ValueError: if the header is longer than `MAX_HEADER`.
      safetensors.SafetensorError: if the file is damaged.
    """
    from safetensors import safe_open

    with path.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {MAX_HEADER}")
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def to_params(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Converts tensors with our names to {'conv1': {'kernel': ..., 'bias': ...}, ...}, float32."""
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, kind = name.partition(".")
        params.setdefault(layer, {})[kind] = value.astype(np.float32)
    return params


def encode(params: Mapping[str, Mapping[str, np.ndarray]], metadata: dict[str, str]) -> bytes:
    """Returns the bytes of a file from which `read` and `to_params` make the same parameters."""
    from safetensors.numpy import save

    tensors = {
        f"{layer}.{name}": np.ascontiguousarray(value, np.float32)
        for layer, values in params.items()
        for name, value in values.items()
    }
    return save(tensors, metadata)
