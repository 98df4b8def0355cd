"""Our safetensors files: bytes and back."""

import numpy as np

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
    assert metadata == {"padding": "same"}
    assert set(tensors) == {"conv1.kernel", "conv1.bias", "conv2.kernel", "conv2.bias"}
    back = safetensors.to_params(tensors)
    for layer, values in params.items():
        for kind, value in values.items():
            assert back[layer][kind].dtype == np.float32
            np.testing.assert_array_equal(back[layer][kind], value.astype(np.float32))
