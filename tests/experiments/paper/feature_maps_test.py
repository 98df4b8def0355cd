"""The picture of the feature maps."""

import sys

import made_networks
import numpy as np
import pytest
from PIL import Image

from experiments.paper import feature_maps
from srcnn_jax import weights
from srcnn_jax.predict import predict_patches


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_maps_are_those_of_which_the_output_is_made(padding):
    network = made_networks.network(padding)
    enlarged = made_networks.random((12, 15, 1)).astype(np.float32)
    first, second = feature_maps.compute_maps(network, enlarged)
    margin = 2 if padding == "valid" else 0
    assert first.shape == (4, 12 - margin, 15 - margin)
    assert second.shape == (3, 12 - margin, 15 - margin)
    assert min(first.min(), second.min()) == 0
    # The second layer is pointwise, so that it follows from the first by a matrix product.
    kernel, bias = network.params["conv2"]["kernel"][0, 0], network.params["conv2"]["bias"]
    by_hand = np.maximum(np.einsum("nhw,nm->mhw", first, kernel) + bias[:, None, None], 0)
    np.testing.assert_allclose(second, by_hand, atol=1e-5)
    last = weights.Network(
        {"conv1": network.params["conv3"], "conv2": {"kernel": np.ones((1, 1, 1, 3), "f4"),
         "bias": np.zeros(3, "f4")}}, padding, colour="rgb",
    )  # fmt: skip
    through = predict_patches(last, second.transpose(1, 2, 0)[None])[0, ..., 0]
    whole = predict_patches(network, enlarged[None])[0, ..., 0]
    np.testing.assert_allclose(through, np.maximum(whole, 0), atol=1e-5)


def test_edges_come_first_and_flat_answers_last():
    edge, texture, flat, silent = np.zeros((4, 10, 10))
    edge[:, 4] = 3.0
    texture[::2] = 0.2
    flat[:] = 5.0
    measured = feature_maps.sparseness(np.stack([edge, texture, flat, silent]))
    np.testing.assert_allclose(measured, [0.1, 0.5, 1.0, 1.0])


def test_a_map_is_scaled_by_its_own_strongest_answer_unless_it_is_weak():
    maps = np.ones((3, 20, 20)) * np.array([1.0, 4.0, 0.0001])[:, None, None]
    maps[:, :10] = 0
    grey = feature_maps.to_grey(maps)
    assert grey.max(axis=(1, 2)).tolist() == [255, 255, 1]
    assert feature_maps.to_grey(np.zeros((2, 5, 5))).max() == 0


def test_the_sheet_of_a_file(tmp_path, monkeypatch, capsys):
    weights.save(tmp_path / "net.safetensors", made_networks.network(scale=None))
    made_networks.rgb(50, 40).save(tmp_path / "photo.png")
    words = [f"{tmp_path}/net.safetensors", f"{tmp_path}/photo.png", "-o", f"{tmp_path}/maps.png"]
    monkeypatch.setattr(sys, "argv", ["feature_maps", *words])
    with pytest.raises(SystemExit, match="says no scale: add --scale=3"):
        feature_maps.main()
    monkeypatch.setattr(sys, "argv", ["feature_maps", *words, "--scale=3"])
    feature_maps.main()
    assert capsys.readouterr().out == f"{tmp_path}/maps.png\n"
    with Image.open(tmp_path / "maps.png") as picture:
        # The input and the output, 4 maps and 3 maps of 48x39 pixels, below each other.
        assert picture.size == (3 * 50 + 2 * feature_maps.BETWEEN, feature_maps.BAR + 4 * 41)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10
