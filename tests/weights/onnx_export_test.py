"""The exported network in ONNX Runtime equals `predict`, borders included."""

import pathlib
import sys

import numpy as np
import pytest
import skimage.data

from srcnn_jax import image, weights
from srcnn_jax.architecture import Architecture
from srcnn_jax.colour import CHANNELS
from srcnn_jax.predict import predict
from srcnn_jax.weights import onnx_export


def random_network(kernel_sizes, padding, colour="y"):
    """Weights with biases so large that zeros at the border matter."""
    rng = np.random.default_rng(0)
    features = (6, 4, 3)[: len(kernel_sizes) - 1]
    params = {}
    arch = Architecture(kernel_sizes, features, CHANNELS[colour], padding)
    for i, shape in enumerate(arch.shapes):
        kernel = rng.normal(size=shape, scale=np.prod(shape[:3]) ** -0.5)
        bias = rng.normal(size=shape[3], scale=0.3)
        params[f"conv{i + 1}"] = {
            "kernel": kernel.astype(np.float32),
            "bias": bias.astype(np.float32),
        }
    return weights.Network(params, padding, colour=colour)


def check(tmp_path, network, images):
    """Saves it and compares ONNX Runtime's output for float32 (N, H, W, C) images with ours."""
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "network.onnx"
    weights.save(path, network)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for batch in images:
        (result,) = session.run(["restored"], {"image": batch.transpose(0, 3, 1, 2)})
        expected = np.stack([predict(network, one) for one in batch])
        assert result.dtype == np.float32
        np.testing.assert_allclose(result.transpose(0, 2, 3, 1), expected, rtol=0, atol=1e-5)


def photographs():
    """A cat in two odd sizes, (1, H, W, 1)."""
    cat = image.rgb2ycbcr(skimage.data.chelsea())[..., :1].astype(np.float32) / 255
    return [cat[None, :151, :133], cat[None, 100:201, :77]]


def test_a_bundled_network_on_photographs(tmp_path):
    check(tmp_path, weights.load_pretrained(3), photographs())


def test_the_authors_network_on_photographs(tmp_path, oracle_dir):
    network = weights.load(oracle_dir / "authors_weights" / "srcnn_955_imagenet_x3.mat")
    check(tmp_path, network, photographs())


@pytest.mark.parametrize("colour", ["y", "rgb"])
@pytest.mark.parametrize(
    ("kernel_sizes", "padding"),
    [
        ((9, 3, 5), "same"),
        ((9, 3, 5), "valid"),
        ((9, 3, 5), "valid,same,valid"),
        ((5, 3, 3), "same,valid,same"),
        ((5, 1, 3, 3), "valid,same,same,valid"),
        ((5, 3), "same,valid"),
    ],
)
def test_paddings(tmp_path, kernel_sizes, padding, colour):
    network = random_network(kernel_sizes, padding, colour)
    rng = np.random.default_rng(1)
    sizes = [(1, 1, 1), (2, 23, 17), (1, 3, 40)]
    check(tmp_path, network, [rng.random((*s, CHANNELS[colour]), np.float32) for s in sizes])


def test_metadata(tmp_path):
    onnx = pytest.importorskip("onnx")
    network = random_network((5, 1, 3), "valid", "rgb")
    weights.save(tmp_path / "a.onnx", network, {"trained_on": "t91"})
    model = onnx.load(tmp_path / "a.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "trained_on": "t91",
        "format": "srcnn_jax",
        "kernel_sizes": "5,1,3",
        "features": "6,4",
        "padding": "valid",
        "scale": "",
        "colour": "rgb",
        "degradation": network.degradation.to_json(),
    }
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (model.graph.input[0], model.graph.output[0])
    ]
    assert shapes == [["batch", 3, "height", "width"]] * 2


def test_without_onnx(tmp_path, monkeypatch):
    tested = pathlib.Path(__file__).parents[2] / "requirements-dev.txt"
    assert onnx_export.REQUIREMENT in tested.read_text()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=f"pip install {onnx_export.REQUIREMENT}$"):
        weights.save(tmp_path / "a.onnx", random_network((3, 3), "same"))
    assert not list(tmp_path.iterdir())
