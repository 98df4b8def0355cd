"""The authors' files: the round trip, and what is not of their layout."""

import contextlib
import struct

import numpy as np
import pytest
import scipy.io
from made_weights import check_one_line, create

from srcnn_jax import weights
from srcnn_jax.weights import matlab

SIZES = 3, 5, 3  # of the kernels, none of which is 1, so that a wrong order of their axes shows
FEATURES = 4, 2


def variables(path):
    return {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}


@pytest.mark.parametrize("features", [(4, 2), (1, 1), (3, 1)])
def test_round_trip(tmp_path, features):
    params = create(SIZES, features)
    weights.save(tmp_path / "w.mat", weights.Network(params, "valid", 3))
    loaded = weights.load(tmp_path / "w.mat")
    assert (loaded.padding, loaded.scale, loaded.colour) == ("valid", None, "y")
    for name, layer in params.items():
        np.testing.assert_array_equal(loaded.params[name]["kernel"], layer["kernel"])
        np.testing.assert_array_equal(loaded.params[name]["bias"], layer["bias"])


def test_containers(tmp_path):
    """Compressed, with variables of other kinds, and whole numbers stored as bytes."""
    params = create(SIZES, FEATURES)
    params["conv2"]["bias"][:] = [3, -4]
    weights.save(tmp_path / "w.mat", weights.Network(params, "valid"))
    content = variables(tmp_path / "w.mat")
    others = {"a": "text", "b": {"c": 1}, "d": np.array([[1, "x"]], object), "e": np.eye(2) * 1j}
    for compressed in (False, True):
        scipy.io.savemat(tmp_path / "v.mat", {**others, **content}, do_compression=compressed)
        loaded = weights.load(tmp_path / "v.mat")
        for name, layer in params.items():
            np.testing.assert_array_equal(loaded.params[name]["kernel"], layer["kernel"])
    data = matlab.encode(params)
    tag, values = struct.pack("<II", 9, 16), np.array([3, -4], "<f8").tobytes()
    assert data.count(tag + values) == 1
    start = data.index(tag + values)
    length = data.rindex(struct.pack("<I", matlab.MATRIX), 0, start) + 4
    (size,) = struct.unpack_from("<I", data, length)
    small = data[:length] + struct.pack("<I", size - 16) + data[length + 4 : start]
    small += struct.pack("<HHbbxx", 1, 2, 3, -4) + data[start + 24 :]
    (tmp_path / "w.mat").write_bytes(small)
    loaded = weights.load(tmp_path / "w.mat")
    np.testing.assert_array_equal(loaded.params["conv2"]["bias"], [3, -4])


def test_big_endian():
    values = np.array([[1.5, 2.5]], ">f8")
    parts = [(6, struct.pack(">II", 6, 0)), (5, struct.pack(">ii", 1, 2)), (9, values.tobytes())]
    parts.insert(2, (1, b"variable"))
    body = b"".join(struct.pack(">II", kind, len(block)) + block for kind, block in parts)
    header = b" " * 124 + b"\x01\x00MI"
    content = matlab._read_variables(header + struct.pack(">II", 14, len(body)) + body)
    np.testing.assert_array_equal(content["variable"], values)


def test_a_last_axis_of_one_that_matlab_drops(tmp_path):
    params = create(SIZES, (3, 1))
    weights.save(tmp_path / "w.mat", weights.Network(params, "valid"))
    content = variables(tmp_path / "w.mat")
    assert content["weights_conv2"].shape == (3, 25, 1)
    content["weights_conv2"] = content["weights_conv2"][..., 0]
    scipy.io.savemat(tmp_path / "w.mat", content)
    loaded = weights.load(tmp_path / "w.mat")
    np.testing.assert_array_equal(loaded.params["conv2"]["kernel"], params["conv2"]["kernel"])


def test_the_authors_files_come_out_as_they_went_in(tmp_path, oracle_dir):
    files = sorted((oracle_dir / "authors_weights").glob("*.mat"))
    assert len(files) == 5
    for file in files:
        weights.save(tmp_path / "w.mat", weights.load(file))
        ours, theirs = variables(tmp_path / "w.mat"), variables(file)
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape)
            np.testing.assert_array_equal(ours[name], value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (weights.Network(create(SIZES, FEATURES), "same"), "for valid padding, not 'same'"),
        (
            weights.Network(create(SIZES, FEATURES), "valid,same,valid"),
            "for valid padding, not 'valid,same",
        ),
        (weights.Network(create(SIZES, FEATURES, 3), "valid", colour="rgb"), "not 3 for 3; choose"),
        (weights.Network(create((3,) * 4, (2,) * 3), "valid"), "not 4 for 1; choose"),
    ],
)
def test_what_it_cannot_express(tmp_path, network, message):
    with pytest.raises(ValueError, match=message):
        weights.save(tmp_path / "w.mat", network)
    assert not list(tmp_path.iterdir())


def test_zeros_around_a_filter_of_one_pixel_are_no_padding(tmp_path):
    params = create((3, 1, 3), FEATURES)
    weights.save(tmp_path / "w.mat", weights.Network(params, "valid,same,valid"))
    assert weights.load(tmp_path / "w.mat").padding == "valid"


def swap(value):
    return np.swapaxes(value, 0, 1)


BAD = {
    "no weights": ({"x": np.ones(3)}, "has no weights_conv1, weights_conv2, ..."),
    "layer missing": ({"weights_conv2": None}, "it has no weights_conv2"),
    "bias missing": ({"biases_conv3": None}, "it has no biases_conv3"),
    "first transposed": (
        {"weights_conv1": swap},
        r"\(4, 9\) and .* not \(f\*f, out\)",
    ),
    "middle transposed": ({"weights_conv2": swap}, r"\(25, 4, 2\) and .* \(in, f\*f, "),
    "last transposed": ({"weights_conv3": swap}, r"weights_conv3 .* \(9, 2\)"),
    "inputs last": ({"weights_conv2": lambda v: v.transpose(2, 1, 0)}, r"\(2, 25, 4\)"),
    "NaN": ({"biases_conv2": lambda v: v * np.nan}, "conv2 holds values that are not finite"),
    "text": ({"biases_conv2": lambda v: "none"}, "biases_conv2 holds something other"),
    "complex": ({"weights_conv1": lambda v: v * 1j}, "weights_conv1 holds something other"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, case):
    changes, message = BAD[case]
    path = tmp_path / "w.mat"
    content = {}
    if case != "no weights":
        weights.save(path, weights.Network(create(SIZES, FEATURES), "valid"))
        content = variables(path)
    for name, change in changes.items():
        if change is None:
            del content[name]
        else:
            content[name] = change(content[name]) if callable(change) else change
    scipy.io.savemat(path, content)
    check_one_line(path, message)


def test_a_shape_that_does_not_fit_its_bytes(tmp_path):
    path = tmp_path / "w.mat"
    data = matlab.encode(create(SIZES, FEATURES))
    shape = np.array([9, 4], "<i4").tobytes()
    assert data.count(shape) == 1
    path.write_bytes(data.replace(shape, np.array([25, 4], "<i4").tobytes()))
    check_one_line(path, r"weights_conv1 of shape \(25, 4\) does not fit its bytes: 36 numbers")


def test_damaged_files(tmp_path):
    path = tmp_path / "w.mat"
    data = matlab.encode(create(SIZES, FEATURES))
    for end in range(0, len(data), 97):
        path.write_bytes(data[:end])
        check_one_line(path)
    path.write_bytes(data[:124] + b"\x00\x02IM" + data[128:])
    check_one_line(path, "save it with save -v7")


def test_changed_bytes_do_no_harm(tmp_path):
    """SciPy's reader ends the process on some such files."""
    path, rng = tmp_path / "w.mat", np.random.default_rng(0)
    weights.save(path, weights.Network(create(SIZES, FEATURES), "valid"))
    content = variables(path)
    for compressed in (False, True):
        scipy.io.savemat(path, content, do_compression=compressed)
        data = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(200):
            changed = data.copy()
            changed[rng.integers(len(data), size=2)] = rng.integers(256, size=2)
            path.write_bytes(changed.tobytes())
            with contextlib.suppress(ValueError):
                weights.load(path)
