"""Weight files: round trips, the authors' layout, and files that are no weights."""

import json
import os
import shutil
import struct

import numpy as np
import pytest
import scipy.io
from made_weights import create

from srcnn_jax import degradation, weights
from srcnn_jax.weights import pretrained


def test_safetensors_round_trip(tmp_path):
    original = weights.Network(create(channels=3), "valid,same,valid", 3, "rgb")
    weights.save(tmp_path / "w.safetensors", original, {"trained_on": "t91"})
    loaded = weights.load(tmp_path / "w.safetensors")
    assert (loaded.padding, loaded.scale, loaded.colour) == ("valid,same,valid", 3, "rgb")
    assert loaded.architecture.kernel_sizes == (3, 1, 5)
    assert loaded.architecture.features == (4, 3)
    for a, b in zip(loaded.layers, original.layers, strict=True):
        np.testing.assert_array_equal(a["kernel"], b["kernel"])
        np.testing.assert_array_equal(a["bias"], b["bias"])
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_knows_the_degradation(tmp_path, suffix):
    kind = degradation.Degradation("gaussian", 1.6, "spline", (0.0, 2.5), (50, 95))
    path = tmp_path / f"w{suffix}"
    weights.save(path, weights.Network(create(), degradation=kind))
    assert weights.load(path).degradation == kind


def test_a_file_without_a_checksum_is_read_and_the_log_says_so(tmp_path, caplog):
    path = tmp_path / "w.safetensors"
    weights.save(path, weights.Network(create()))
    weights.load(path)
    assert caplog.text == ""
    tensors = {
        f"{layer}.{kind}": ("F32", value.shape, value.tobytes())
        for layer, values in create().items()
        for kind, value in values.items()
    }
    ours = {"format": "srcnn_jax", "padding": "same", "scale": "3", "colour": "y"}
    write_safetensors(path, tensors, ours)  # as earlier versions wrote it
    assert weights.load(path).degradation == degradation.RELEASED
    assert "w.safetensors has no checksum" in caplog.text


def test_a_flipped_bit_is_an_error(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, weights.Network(create()))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.safetensors is not a usable .* it is damaged: its"):
        weights.load(path)


def test_shipped_networks_have_the_sha256_of_their_cards(tmp_path, monkeypatch, caplog):
    for card in pretrained.read_cards():
        weights.load(card.file)
    assert caplog.text == ""
    shutil.copytree(pretrained.FOLDER, tmp_path / "pretrained")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "pretrained")
    file = pretrained.choose(3).file
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"x3\.safetensors .* does not have the sha256 of cards"):
        weights.load_pretrained(3)
    weights.load_pretrained(2)


def test_ten_layers_keep_their_order(tmp_path):
    original = weights.Network(create((3,) * 11, tuple(range(2, 12))))
    weights.save(tmp_path / "w.safetensors", original)
    assert weights.load(tmp_path / "w.safetensors").architecture.features == tuple(range(2, 12))


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
        assert (loaded.architecture.kernel_sizes, loaded.architecture.features) == architecture


@pytest.mark.parametrize("suffix", [".safetensors", ".mat", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x00" * 100])
def test_rubbish(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a usable weight file"):
        weights.load(path)


def test_truncated(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, weights.Network(create()))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a usable weight file"):
        weights.load(path)


def write_safetensors(path, tensors, metadata=None):
    """A file of raw blocks: {name: (dtype, shape, bytes)}."""
    header, data = {"__metadata__": metadata or {}}, b""
    for name, (dtype, shape, block) in tensors.items():
        end = len(data) + len(block)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), end]}
        data += block
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("form", ["F32", "F16", "BF16", "F64"])
def test_safetensors_of_others(tmp_path, form):
    """PyTorch's names, in an order that is not the network's, and PyTorch's order of axes."""
    params = create(channels=3)
    tensors, kept = {}, {}
    for index, name in ((2, "reconstruction"), (0, "features.0"), (1, "map.0")):
        layer = params[f"conv{index + 1}"]
        for kind, value in (
            ("weight", layer["kernel"].transpose(3, 2, 0, 1)),
            ("bias", layer["bias"]),
        ):
            bits = np.ascontiguousarray(value).view(np.uint32) & 0xFFFF0000  # what bfloat16 keeps
            value = bits.view(np.float32)
            if form == "F16":
                value = value.astype(np.float16)
            block = {"BF16": (bits >> 16).astype("<u2"), "F64": value.astype("<f8")}.get(
                form, value
            )
            tensors[f"{name}.{kind}"] = (form, value.shape, block.tobytes())
            kept[index, kind] = value.astype(np.float32)
    write_safetensors(tmp_path / "w.safetensors", tensors)
    loaded = weights.load(tmp_path / "w.safetensors")
    assert (loaded.padding, loaded.scale, loaded.colour) == ("same", None, "rgb")
    for index, layer in enumerate(loaded.layers):
        np.testing.assert_array_equal(layer["kernel"].transpose(3, 2, 0, 1), kept[index, "weight"])
        np.testing.assert_array_equal(layer["bias"], kept[index, "bias"])


def test_bad_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    ours = {"format": "srcnn_jax", "padding": "same", "scale": "3", "colour": "y"}

    def check(message, metadata=ours, **changes):
        tensors = {}
        for layer, values in create().items():
            for kind, value in values.items():
                tensors[f"{layer}.{kind}"] = ("F32", value.shape, value.tobytes())
        tensors.update({name.replace("_", "."): value for name, value in changes.items()})
        tensors = {name: value for name, value in tensors.items() if value}
        write_safetensors(path, tensors, metadata)
        with pytest.raises(ValueError, match=message) as caught:
            weights.load(path)
        assert str(caught.value).startswith(f"{path} is not a usable weight file: ")
        assert "\n" not in str(caught.value)

    nan = np.full(3, np.nan, np.float32).tobytes()
    check("invalid shape", conv2_bias=("F32", [4], nan))
    check("conv2 holds values that are not finite", conv2_bias=("F32", [3], nan))
    check("conv2 has a kernel .* bias of shape", conv2_bias=("F32", [1, 3], nan))
    check("its layers are conv1, conv3", conv2_bias=None, conv2_kernel=None)
    check("its layers are .*, each with a kernel and a bias", conv2_bias=None)
    check(
        r"conv1 has a kernel of shape \(4, 1, 3, 3\)", conv1_kernel=("F32", [4, 1, 3, 3], 12 * nan)
    )
    check("does not say the colour and the scale", {"format": "srcnn_jax", "padding": "same"})
    check("padding is 'same' or 'valid'", {**ours, "padding": "full"})
    check("conv1.kernel is no layer's weight or bias", {})


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file"):
        weights.load(tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match="not finished"):
        weights.load(tmp_path)
    run = tmp_path / "sweep" / "trials" / "f2=1,seed=0"
    run.mkdir(parents=True)
    for name in ("config.json", "run.json"):
        (run / name).touch()
    with pytest.raises(FileNotFoundError, match=f"is the workdir of a sweep .*, as {run}"):
        weights.load(tmp_path / "sweep")
    (tmp_path / "w.pkl").write_bytes(b"x")
    with pytest.raises(ValueError, match="ends in"):
        weights.save(tmp_path / "w.pkl", weights.Network(create()))
    with pytest.raises(OSError, match=r"w\.mat cannot be written"):
        weights.save(tmp_path / "none" / "w.mat", weights.Network(create(), "valid"))
    with pytest.raises(ValueError, match="ends in"):
        weights.load(tmp_path / "w.pkl")


def test_a_pipe_is_no_weight_file(tmp_path):
    """It would be waited for, or read without end."""
    os.mkfifo(tmp_path / "w.pth")
    (tmp_path / "zeros.pth").symlink_to("/dev/zero")
    for name in ("w.pth", "zeros.pth"):
        with pytest.raises(FileNotFoundError, match="there is no weight file"):
            weights.load(tmp_path / name)


def test_nan_and_shapes_that_do_not_fit():
    params = create()
    params["conv2"]["bias"][0] = np.nan
    with pytest.raises(ValueError, match="conv2 holds values that are not finite"):
        weights.Network(params)
    params = create()
    params["conv2"]["kernel"] = params["conv2"]["kernel"][:, :, :2]
    with pytest.raises(ValueError, match="followed by"):
        weights.Network(params)
    with pytest.raises(ValueError, match="its layers are conv1, conv3"):
        weights.Network({name: layer for name, layer in create().items() if name != "conv2"})
    with pytest.raises(ValueError, match="colour"):
        weights.Network(create(channels=3), colour="y")


def test_bundled_networks_are_chosen_by_name():
    with pytest.raises(ValueError, match="for the scales 2, 3, 4, not 5"):
        weights.load_pretrained(5)
    with pytest.raises(ValueError, match="no network '9-1-5': choose best, 915"):
        weights.load_pretrained(3, "9-1-5")
    cards = pretrained.read_cards()
    assert {card.file for card in cards} == set(pretrained.FOLDER.glob("*.safetensors"))
    for scale in (2, 3, 4):
        best = pretrained.choose(scale)
        assert best.psnr == max(card.psnr for card in cards if card.scale == scale)
        assert pretrained.choose(scale, best.network) == best
    lines = pretrained.format_list().splitlines()
    assert len(lines) == 1 + len(cards)
    assert "9-1-5, 64-32" in lines[1]
