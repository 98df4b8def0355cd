"""PyTorch's names and order of axes, without a file; pytorch_file_test.py has them in files."""

import numpy as np
import pytest

from srcnn_jax.weights import pytorch

NAMES = (
    ("conv1", "conv2", "conv3"),
    ("features.0", "map.0", "reconstruction"),
    ("module.conv1", "module.conv2", "module.conv3"),
    ("0", "2", "4"),
)


def tensors(names):
    rng = np.random.default_rng(0)
    shapes = ((4, 1, 9, 9), (3, 4, 1, 1), (1, 3, 5, 5))
    found = {}
    for name, shape in zip(names, shapes, strict=True):
        found[f"{name}.weight"] = rng.normal(size=shape).astype(np.float32)
        found[f"{name}.bias"] = rng.normal(size=shape[:1]).astype(np.float32)
    return found


@pytest.mark.parametrize("names", NAMES)
def test_kernels_are_hwio_and_layers_in_order(names):
    given = tensors(names)
    params = pytorch.to_params(dict(reversed(given.items())))
    assert list(params) == ["conv1", "conv2", "conv3"]
    assert params["conv1"]["kernel"].shape == (9, 9, 1, 4)
    weight = given[f"{names[0]}.weight"]
    assert params["conv1"]["kernel"][2, 7, 0, 3] == weight[3, 0, 2, 7]


def test_from_params_is_the_inverse():
    given = tensors(NAMES[0])
    for name, value in pytorch.from_params(pytorch.to_params(given)).items():
        np.testing.assert_array_equal(value, given[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("conv2.bias"), "no conv2.bias"),
        (lambda t: t.update(scale=t["conv1.bias"]), "scale is no layer's weight or bias"),
        (lambda t: [t.pop("conv2.bias"), t.pop("conv2.weight")], "number 2 is missing"),
        (lambda t: t.clear(), "no tensors"),
    ],
)
def test_what_is_no_network(change, words):
    given = tensors(NAMES[0])
    change(given)
    with pytest.raises(ValueError, match=words):
        pytorch.to_params(given)
