"""Weight files: round trips, the authors' layout, and files that are no weights."""

import numpy as np
import pytest
import scipy.io

from srcnn_jax import weights


def create(kernel_sizes=(3, 1, 5), features=(4, 3), channels=1, seed=0):
    rng = np.random.default_rng(seed)
    widths = (channels, *features, channels)
    return {
        f"conv{i + 1}": {
            "kernel": rng.normal(size=(f, f, widths[i], widths[i + 1])).astype(np.float32),
            "bias": rng.normal(size=widths[i + 1]).astype(np.float32),
        }
        for i, f in enumerate(kernel_sizes)
    }


def test_safetensors_round_trip(tmp_path):
    original = weights.Weights(create(channels=3), "valid,same,valid", 3, "rgb")
    weights.save(tmp_path / "w.safetensors", original, {"trained_on": "t91"})
    loaded = weights.load(tmp_path / "w.safetensors")
    assert (loaded.padding, loaded.scale, loaded.colour) == ("valid,same,valid", 3, "rgb")
    assert loaded.kernel_sizes == (3, 1, 5)
    assert loaded.features == (4, 3)
    for a, b in zip(loaded.layers, original.layers, strict=True):
        np.testing.assert_array_equal(a["kernel"], b["kernel"])
        np.testing.assert_array_equal(a["bias"], b["bias"])
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_ten_layers_keep_their_order(tmp_path):
    original = weights.Weights(create((3,) * 11, tuple(range(2, 12))))
    weights.save(tmp_path / "w.safetensors", original)
    assert weights.load(tmp_path / "w.safetensors").features == tuple(range(2, 12))


def test_authors_layout(tmp_path):
    """Column-major taps, conv1 (f1^2, n1), conv2 (n1, f2^2, n2), conv3 (n2, f3^2): SRCNN.m."""
    params = create((3, 3, 5), (4, 2))
    first, middle, last = (params[f"conv{i}"]["kernel"] for i in (1, 2, 3))
    content = {
        "weights_conv1": first[:, :, 0].reshape(9, 4, order="F"),
        "weights_conv2": np.stack(
            [
                np.stack([middle[:, :, i, o].ravel(order="F") for o in range(2)], axis=-1)
                for i in range(4)
            ]
        ),
        "weights_conv3": np.stack([last[:, :, i, 0].ravel(order="F") for i in range(2)]),
    }
    for i in (1, 2, 3):
        content[f"biases_conv{i}"] = params[f"conv{i}"]["bias"][:, None]
    scipy.io.savemat(tmp_path / "w.mat", content)
    loaded = weights.load(tmp_path / "w.mat")
    assert loaded.padding == "valid"
    assert loaded.scale is None
    for name, layer in params.items():
        np.testing.assert_array_equal(loaded.params[name]["kernel"], layer["kernel"])
        np.testing.assert_array_equal(loaded.params[name]["bias"], layer["bias"])


def test_authors_files(oracle_dir):
    files = {
        "srcnn_915_t91_x3.mat": ((9, 1, 5), (64, 32)),
        "srcnn_935_imagenet_x3.mat": ((9, 3, 5), (64, 32)),
        "srcnn_955_imagenet_x3.mat": ((9, 5, 5), (64, 32)),
    }
    for name, architecture in files.items():
        loaded = weights.load(oracle_dir / "authors_weights" / name)
        assert (loaded.kernel_sizes, loaded.features) == architecture


@pytest.mark.parametrize("suffix", [".safetensors", ".mat"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x00" * 100])
def test_rubbish(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a usable weight file"):
        weights.load(path)


def test_truncated(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, weights.Weights(create()))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a usable weight file"):
        weights.load(path)


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file"):
        weights.load(tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match="not finished"):
        weights.load(tmp_path)
    (tmp_path / "w.pkl").write_bytes(b"x")
    with pytest.raises(ValueError, match="ends in"):
        weights.load(tmp_path / "w.pkl")


def test_nan_and_shapes_that_do_not_fit():
    params = create()
    params["conv2"]["bias"][0] = np.nan
    with pytest.raises(ValueError, match="conv2 holds values that are not finite"):
        weights.Weights(params)
    params = create()
    params["conv2"]["kernel"] = params["conv2"]["kernel"][:, :, :2]
    with pytest.raises(ValueError, match="followed by"):
        weights.Weights(params)
    with pytest.raises(ValueError, match="its layers are conv1, conv3"):
        weights.Weights({name: layer for name, layer in create().items() if name != "conv2"})
    with pytest.raises(ValueError, match="colour"):
        weights.Weights(create(channels=3), colour="y")


def test_no_bundled_network_for_scale_5():
    with pytest.raises(ValueError, match="not 5"):
        weights.load_pretrained(5)
