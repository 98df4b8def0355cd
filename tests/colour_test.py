"""Planes in, picture out."""

import numpy as np
import pytest

from srcnn_jax import colour, image


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)


def test_planes_of_a_colour_image(rgb):
    assert colour.to_planes(rgb, "rgb", "ycbcr") is rgb
    np.testing.assert_array_equal(colour.to_planes(rgb, "ycbcr", "ycbcr"), image.rgb2ycbcr(rgb))
    y = colour.to_planes(rgb, "y", "ycbcr")
    np.testing.assert_array_equal(y, image.rgb2ycbcr(rgb)[..., :1])
    np.testing.assert_array_equal(
        colour.to_planes(rgb, "y", "gray"), image.rgb2gray(rgb)[..., None]
    )


@pytest.mark.parametrize("kind", colour.CHANNELS)
def test_planes_of_a_grey_image(rgb, kind):
    grey = rgb[..., 0]
    planes = colour.to_planes(grey, kind, "ycbcr")
    assert planes.shape == (6, 5, colour.CHANNELS[kind])
    assert planes.dtype == np.uint8
    if kind != "ycbcr":
        np.testing.assert_array_equal(planes[..., 0], grey)


@pytest.mark.parametrize("kind", colour.CHANNELS)
def test_a_network_that_changes_nothing_gives_the_picture_back(rgb, kind):
    picture = rgb / 255.0
    ycbcr = image.rgb2ycbcr(picture)
    planes = colour.select_planes(picture, ycbcr, kind)
    assert planes.shape == (6, 5, colour.CHANNELS[kind])
    assert planes.dtype == np.float32
    np.testing.assert_allclose(colour.to_rgb(planes, kind, ycbcr), picture, atol=1e-6)
    np.testing.assert_allclose(colour.to_ycbcr(planes, kind, ycbcr), ycbcr, atol=1e-6)


def test_luminance_comes_from_the_network_and_chroma_from_bicubic(rgb):
    ycbcr = image.rgb2ycbcr(rgb / 255.0)
    restored = np.full((6, 5, 1), 0.5, np.float32)
    result = colour.to_ycbcr(restored, "y", ycbcr)
    assert (result[..., 0] == 0.5).all()
    np.testing.assert_array_equal(result[..., 1:], ycbcr[..., 1:])
