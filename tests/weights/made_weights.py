"""Weights of small random networks, and what every unusable weight file must give."""

import numpy as np
import pytest

from srcnn_jax import weights


def create(kernel_sizes=(3, 1, 5), features=(4, 3), channels=1, seed=0):
    """Parameters as Flax names them: kernels (f, f, in, out) and biases (out,), float32."""
    rng = np.random.default_rng(seed)
    widths = (channels, *features, channels)
    return {
        f"conv{i + 1}": {
            "kernel": rng.normal(size=(f, f, widths[i], widths[i + 1])).astype(np.float32),
            "bias": rng.normal(size=widths[i + 1]).astype(np.float32),
        }
        for i, f in enumerate(kernel_sizes)
    }


def check_one_line(path, message=None):
    """The error names the file, matches the pattern `message`, and is one line."""
    with pytest.raises(ValueError, match=message) as caught:
        weights.load(path)
    assert str(caught.value).startswith(f"{path} is not a usable weight file: ")
    assert "\n" not in str(caught.value)
