"""The channels of the first-layer filters."""

import numpy as np
from made_runs import finished

from experiments.paper import figure_13
from srcnn_jax import weights
from srcnn_jax.architecture import Architecture


def test_shares_are_of_structure_and_not_of_brightness():
    kernel = np.full((3, 3, 3, 2), 0.5, np.float32)
    kernel[1, 1, 0] += 2.0
    kernel[1, 1, 2] += 1.0
    np.testing.assert_allclose(figure_13.shares(kernel), [0.8, 0, 0.2], atol=1e-6)


def test_each_channel_has_a_panel():
    kernel = np.random.default_rng(0).normal(size=(9, 9, 3, 64)).astype(np.float32)
    pixels = np.asarray(figure_13.draw(kernel))
    side = 8 * 58 - 4  # 64 filters of 54 pixels with gaps of 4
    height, width = side + figure_13.BAR, 3 * (side + figure_13.GAP) - figure_13.GAP
    assert pixels.shape == (height, width)
    panels = pixels[figure_13.BAR :]
    first, second = panels[:, :side], panels[:, side + figure_13.GAP : 2 * side + figure_13.GAP]
    assert (first != second).any()
    np.testing.assert_array_equal(first, figure_13.mosaic(kernel))
    np.testing.assert_array_equal(second, figure_13.mosaic(kernel[:, :, 1:]))


def test_table(tmp_path):
    run = finished(tmp_path / "run", 32.0)
    shapes = Architecture((9, 1, 5), (64, 32), 3, "same").shapes
    layers = {
        f"conv{i}": {"kernel": np.zeros(shape, "f4"), "bias": np.zeros(shape[3], "f4")}
        for i, shape in enumerate(shapes, start=1)
    }
    layers["conv1"]["kernel"][4, 4, 1] = 1.0
    network = weights.Network(layers, "same", 3, "ycbcr")
    weights.save(run.folder / "weights.safetensors", network)
    frame = figure_13.table_of_shares({"Y pre-train": [run]})
    assert frame.iloc[0].tolist() == ["Y pre-train", "0.0", "100.0", "0.0", 1]
