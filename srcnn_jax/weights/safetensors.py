"""Safetensors files with our names of tensors: `conv1.kernel`, `conv1.bias`, ...

The metadata of our files has a checksum over the tensors and the rest of the metadata, as `sha256`.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MAX_HEADER = 2**22  # max bytes of a header, which takes 30 times as much memory


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads any safetensors file: the tensors by name, and the metadata.

    Raises:
      ValueError: if the header is longer than `MAX_HEADER`.
      safetensors.SafetensorError: if the file is damaged.
      ValueError: if the file has a checksum of ours, and another content.
    """
    from safetensors import safe_open

    with path.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {MAX_HEADER}")
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    if metadata.get("format") == "srcnn_jax" and "sha256" in metadata:
        rest = {name: value for name, value in metadata.items() if name != "sha256"}
        if _checksum(tensors, rest) != metadata["sha256"]:
            raise ValueError("it is damaged: its content does not have the checksum that it names")
    return tensors, metadata


def to_params(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Converts tensors with our names to {'conv1': {'kernel': ..., 'bias': ...}, ...}, float32."""
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, kind = name.partition(".")
        params.setdefault(layer, {})[kind] = value.astype(np.float32)
    return params


def encode(params: Mapping[str, Mapping[str, np.ndarray]], metadata: dict[str, str]) -> bytes:
    """Returns the bytes of a file from which `read` and `to_params` make the same parameters.

    Equal arguments give equal bytes. The metadata gets the entry `sha256`.
    """
    from safetensors.numpy import save

    tensors = {
        f"{layer}.{name}": np.ascontiguousarray(value, np.float32)
        for layer, values in params.items()
        for name, value in values.items()
    }
    content = save(tensors, {**metadata, "sha256": _checksum(tensors, metadata)})
    # The library writes the metadata in a random order. The header is JSON after its length in
    # eight bytes, and ends with spaces so that the tensors begin at a multiple of eight.
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:begin]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[begin:]


def _checksum(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """sha256 in hex over the names, types, shapes and values of tensors, and over metadata."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\n{name} {value.dtype} {value.shape}\n".encode() + value.tobytes())
    return digest.hexdigest()
