"""TPAMI's Table 5: how colour is restored and measured."""

import numpy as np
import pytest

from experiments.paper import table_5
from srcnn_jax import datasets, image, weights
from srcnn_jax.colour import CHANNELS


@pytest.mark.parametrize("colour", ["y", "ycbcr", "rgb"])
def test_colour_networks_restore_ycbcr(colour):
    """A network that passes its input through gives bicubic, whatever its channels."""
    pixels = np.random.default_rng(0).integers(60, 190, (24, 27, 3), np.uint8)
    channels = CHANNELS[colour]
    through = {"kernel": np.eye(channels, dtype=np.float32)[None, None], "bias": np.zeros(channels)}
    network = weights.Network({"conv1": through, "conv2": through}, "same", 3, colour)
    np.testing.assert_allclose(
        table_5.restore(network, pixels), table_5.restore(None, pixels), atol=2.1 / 255
    )


def test_colour_psnr_is_pooled_by_hand():
    pixels = np.full((20, 20, 3), 128, np.uint8)
    restored = image.rgb2ycbcr(pixels) / 255
    restored[..., 2] += 6 / 255
    assert table_5.colour_psnr(restored, pixels)[:2] == [np.inf, np.inf]
    expected = [10 * np.log10(255**2 / 36), 10 * np.log10(255**2 / 12)]
    np.testing.assert_allclose(table_5.colour_psnr(restored, pixels)[2:], expected)


def test_table_5_of_the_authors_network(data_dir, oracle_dir):
    set5 = datasets.load("set5", data_dir=str(data_dir))
    authors = weights.load(oracle_dir / "authors_weights" / "srcnn_915_t91_x3.mat")
    np.testing.assert_allclose(table_5.measure(None, set5), table_5.PUBLISHED["bicubic"], atol=0.01)
    ours = table_5.measure(authors, set5)
    np.testing.assert_allclose(ours, table_5.PUBLISHED["Y only"], atol=0.01)
