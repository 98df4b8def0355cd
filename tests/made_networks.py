"""Small networks and random pixels for tests of enlarging."""

import numpy as np
from PIL import Image

from srcnn_jax import image
from srcnn_jax.architecture import Architecture
from srcnn_jax.colour import CHANNELS
from srcnn_jax.weights import Network


def network(padding="same", colour="y", scale=None, identity=False):
    """Random weights, or such as pass their input through: what comes out is bicubic."""
    rng = np.random.default_rng(0)
    channels = CHANNELS[colour]
    params = {}
    for index, shape in enumerate(Architecture((3, 1, 3), (4, 3), channels, padding).shapes):
        kernel = rng.normal(size=shape, scale=np.prod(shape[:3]) ** -0.5).astype(np.float32)
        bias = rng.normal(size=shape[3], scale=0.1).astype(np.float32)
        if identity:
            kernel, bias = np.zeros_like(kernel), np.zeros_like(bias)
            kernel[shape[0] // 2, shape[1] // 2] = np.eye(*shape[2:])
        params[f"conv{index + 1}"] = {"kernel": kernel, "bias": bias}
    return Network(params, padding, scale, colour)


IDENTITY = network(identity=True)


def random(shape, dtype=np.float64):
    values = np.random.default_rng(1).random(shape)
    return (
        values
        if dtype == np.float64
        else image.round_half_up(values * np.iinfo(dtype).max).astype(dtype)
    )


def rgb(width=11, height=9):
    return Image.fromarray(random((height, width, 3), np.uint8))


def bicubic(pixels, scale=3):
    """What an identity network should make of integers, rounded only here."""
    white = np.iinfo(pixels.dtype).max
    enlarged = image.imresize(pixels.astype(np.float64), scale)
    return image.round_half_up(np.clip(enlarged, 0, white)).astype(pixels.dtype)


def assert_equal(result, expected):
    """Equal; but the network's float32 may decide a tie in 16 bits the other way."""
    result, expected = np.asarray(result), np.asarray(expected)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected.astype(int)).max() <= (expected.dtype == np.uint16)
