"""The command that converts weight files."""

import itertools

import numpy as np
import pytest

from srcnn_jax import convert, weights


@pytest.fixture
def network(tmp_path):
    """A valid network's file, and a function that runs the command in its folder."""
    rng = np.random.default_rng(0)
    shapes = ((5, 5, 1, 4), (1, 1, 4, 3), (3, 3, 3, 1))
    params = {
        f"conv{i + 1}": {
            "kernel": rng.normal(size=shape).astype(np.float32),
            "bias": rng.normal(size=shape[3:]).astype(np.float32),
        }
        for i, shape in enumerate(shapes)
    }
    original = weights.Network(params, "valid", 3)
    weights.save(tmp_path / "weights.safetensors", original)
    return original


def run(folder, source, target, *options):
    return convert.main([str(folder / source), str(folder / target), *options])


def assert_equal(a, b):
    for one, other in zip(a.layers, b.layers, strict=True):
        np.testing.assert_array_equal(one["kernel"], other["kernel"])
        np.testing.assert_array_equal(one["bias"], other["bias"])


def test_all_around(tmp_path, network, capsys):
    """Through every kind, back to the first; only .mat cannot keep the scale."""
    names = ["", "a.pth", "b.pt", "c.pth.tar", "d.safetensors", "e.mat", "f.safetensors"]
    for source, target in itertools.pairwise(names):
        assert run(tmp_path, source, target) == 0
        loaded = weights.load(tmp_path / target)
        assert_equal(loaded, network)
        assert loaded.padding == "valid"
        assert loaded.scale == (3 if target < "e" else None)
    assert {path.name for path in tmp_path.iterdir()} == {"weights.safetensors", *names[1:]}
    assert capsys.readouterr() == ("", "")


def test_what_the_file_does_not_say(tmp_path, network):
    options = ["--padding=valid,valid,same", "--scale=4", "--colour=y"]
    assert run(tmp_path, "weights.safetensors", "a.pth", *options) == 0
    loaded = weights.load(tmp_path / "a.pth")
    assert_equal(loaded, network)
    assert (loaded.padding, loaded.scale, loaded.colour) == ("valid,valid,same", 4, "y")


def test_mistakes_are_one_line(tmp_path, network, capsys):
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    source = "weights.safetensors"
    for arguments, message in (
        ((source, "a.txt"), "a.txt: the name of a weight file ends in .safetensors, .mat, "),
        (("none.mat", "a.pth"), "there is no weight file"),
        (("bad.pth", "a.mat"), "bad.pth is not a usable weight file"),
        (("a.onnx", "a.mat"), "there is no weight file"),
        ((source, source), "would overwrite the input"),
        (("", source), "would overwrite the input"),
        ((source, "none/a.pth"), "cannot be written (No such file or directory)"),
        ((source, "a.mat", "--padding=same"), "for valid padding, not 'same'"),
        ((source, "a.pth", "--padding=full"), "padding is 'same' or 'valid'"),
        ((source, "a.pth", "--colour=rgb"), "does not fit the colour 'rgb'"),
        ((source, "a.pth", "--scale=0"), "a whole number from 2 up, not 0"),
    ):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        assert run(tmp_path, *arguments) == 1
        out, error = capsys.readouterr()
        assert not out
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
