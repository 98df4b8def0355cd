"""`predict` in tiles equals the plain network applied to the whole image at once."""

import subprocess
import sys

import numpy as np
import pytest
from reference import whole

from srcnn_jax.architecture import Architecture
from srcnn_jax.predict import predict, predict_self_ensemble, shared_columns
from srcnn_jax.weights import Network

COLOUR = {1: "y", 3: "rgb"}


def _weights(kernel_sizes, features, padding, channels=1):
    """Random weights, with biases so large that zeros at the border matter."""
    rng = np.random.default_rng(len(kernel_sizes) + channels)
    shapes = Architecture(kernel_sizes, features, channels, padding).shapes
    params = {
        f"conv{i + 1}": {
            "kernel": rng.normal(size=shape, scale=np.prod(shape[:3]) ** -0.5).astype(np.float32),
            "bias": rng.normal(size=shape[3], scale=0.3).astype(np.float32),
        }
        for i, shape in enumerate(shapes)
    }
    return Network(params, padding, colour=COLOUR[channels])


def _image(shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def _check(weights, image, **options):
    result = predict(weights, image, **options)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, whole(weights, image), atol=2e-6)


@pytest.mark.parametrize("form", ["batch_last", "channels_last"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", ["same", "valid", "valid,same,valid", "same,valid,same"])
def test_three_layers(padding, channels, form):
    weights = _weights((5, 3, 3), (4, 3), padding, channels)
    _check(weights, _image((23, 17, channels)), tile_rows=8, form=form)


@pytest.mark.parametrize("form", ["batch_last", "channels_last"])
@pytest.mark.parametrize("padding", ["same", "valid", "valid,same,same,valid"])
def test_four_layers(padding, form):
    weights = _weights((5, 1, 3, 3), (4, 3, 2), padding)
    _check(weights, _image((19, 40, 1)), tile_rows=9, form=form)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (1, 33), (70, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_sizes(padding, size):
    _check(_weights((9, 1, 5), (4, 3), padding), _image((*size, 1)))


@pytest.mark.parametrize("form", ["batch_last", "channels_last"])
@pytest.mark.parametrize("tile_rows", [1, 16])
def test_tile_rows_do_not_change_the_result(tile_rows, form):
    weights = _weights((5, 1, 5), (4, 3), "same,valid,same")
    _check(weights, _image((50, 21, 1)), tile_rows=tile_rows, form=form)


@pytest.mark.parametrize("kernel_sizes", [(3, 1, 5), (3, 3, 5), (3, 3, 27)])
def test_the_last_block_may_begin_beyond_the_image(kernel_sizes):
    weights = _weights(kernel_sizes, (4, 3), "valid")
    for height in range(40, 65):
        _check(weights, _image((height, 9, 1)), form="batch_last")


@pytest.mark.parametrize("form", ["batch_last", "channels_last"])
def test_more_columns_than_a_tile(form):
    _check(_weights((3, 1, 3), (4, 3), "same"), _image((6, 300, 1)), form=form)


@pytest.mark.parametrize("form", ["batch_last", "channels_last"])
@pytest.mark.parametrize("tile_columns", [1, 7, 33, 64])
def test_tile_columns_do_not_change_the_result(tile_columns, form):
    weights = _weights((5, 3, 3), (4, 3), "same,valid,same")
    _check(weights, _image((9, 33, 1)), tile_columns=tile_columns, form=form)


def test_images_share_columns_where_that_costs_little():
    assert shared_columns([512, 288, 256, 280, 228]) == 288  # Set5
    assert shared_columns([480] * 120 + [320] * 80) == 480  # photographs of BSDS500
    assert shared_columns([100]) == 256
    assert shared_columns([384, 384, 384, 512]) is None  # 15 % more by tiles of 384


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_self_ensemble(padding):
    weights, image = _weights((5, 3, 3), (4, 3), padding), _image((23, 17, 1))
    views = [(turns, flip) for turns in range(4) for flip in (False, True)]
    expected = []
    for turns, flip in views:
        view = np.rot90(image[::-1] if flip else image, turns)
        back = np.rot90(whole(weights, np.ascontiguousarray(view)), -turns)
        expected.append(back[::-1] if flip else back)
    assert np.ptp(expected, axis=0).max() > 0.1  # the eight differ
    result = predict_self_ensemble(weights, image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, np.mean(expected, axis=0), atol=2e-6)


def test_does_not_clip():
    weights = _weights((3, 1, 3), (4, 3), "same")
    result = predict(weights, 100 * _image((9, 9, 1)))
    assert result.min() < 0 or result.max() > 1


def test_leaves_its_input_alone():
    image = _image((9, 9, 1))
    before = image.copy()
    predict(_weights((3, 1, 3), (4, 3), "valid"), image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (1, 8, 8, 1)])
def test_refuses_other_channels(shape):
    with pytest.raises(ValueError, match=r"needs \(H, W, 1\), not \("):
        predict(_weights((3, 1, 3), (4, 3), "same"), np.zeros(shape, np.float32))


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_does_not_grow_with_the_image():
    """36 million pixels, and a quarter of them: the peak grows by input and output alone."""
    program = """
import resource
import numpy as np
from srcnn_jax import predict, runtime, weights
runtime.start_alone()
for side in (3000, 6000):
    image = np.full((side, side, 1), 0.5, np.float32)
    out = predict.predict(weights.load_pretrained(3, "915"), image)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(peak - (image.nbytes + out.nbytes) / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    quarter, whole = map(float, done.stdout.split())
    assert whole < quarter + 200  # MiB
