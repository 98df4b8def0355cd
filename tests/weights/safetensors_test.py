"""Our safetensors files: bytes and back, and their checksum."""

import subprocess
import sys

import numpy as np
import pytest
from made_weights import create

from srcnn_jax.weights import safetensors


def test_bytes_and_back(tmp_path):
    rng = np.random.default_rng(0)
    params = {
        "conv1": {"kernel": rng.normal(size=(3, 3, 1, 2)), "bias": rng.normal(size=2)},
        "conv2": {"kernel": rng.normal(size=(1, 1, 2, 1)), "bias": rng.normal(size=1)},
    }
    path = tmp_path / "network.safetensors"
    path.write_bytes(safetensors.encode(params, {"padding": "same"}))
    tensors, metadata = safetensors.read(path)
    assert metadata.pop("sha256")
    assert metadata == {"padding": "same"}
    assert set(tensors) == {"conv1.kernel", "conv1.bias", "conv2.kernel", "conv2.bias"}
    back = safetensors.to_params(tensors)
    for layer, values in params.items():
        for kind, value in values.items():
            assert back[layer][kind].dtype == np.float32
            np.testing.assert_array_equal(back[layer][kind], value.astype(np.float32))


def test_equal_networks_have_equal_files():
    """The library's order of metadata differs from process to process."""
    code = (
        "import sys, numpy as np; from srcnn_jax.weights import safetensors\n"
        "params = {'conv1': {'kernel': np.ones((3, 3, 1, 1)), 'bias': np.ones(1)}}\n"
        "notes = {name: name for name in 'abcdefgh'}\n"
        "sys.stdout.buffer.write(safetensors.encode(params, notes))"
    )
    files = {
        subprocess.run([sys.executable, "-c", code], capture_output=True).stdout for _ in "abc"
    }
    assert len(files) == 1
    assert len(files.pop()) > 100


def test_every_flipped_bit_of_the_tensors_and_of_the_metadata_is_seen(tmp_path):
    path = tmp_path / "network.safetensors"
    metadata = {"format": "srcnn_jax", "padding": "same", "scale": "3", "colour": "y"}
    content = safetensors.encode(create(), metadata)
    begin = 8 + int.from_bytes(content[:8], "little")
    path.write_bytes(content)
    safetensors.read(path)
    value = content.index(b'"same"') + 1
    for place in (*range(begin, len(content), 41), len(content) - 1, *range(value, value + 4)):
        for bit in (0, 6):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(Exception, match=r"it is damaged|header|invalid"):
                safetensors.read(path)
