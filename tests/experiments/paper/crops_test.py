"""The sheet with a part of an image under several methods."""

import argparse
import dataclasses
import sys

import made_networks
import numpy as np
import pytest
from PIL import Image

from experiments.paper import crops
from srcnn_jax import weights
from srcnn_jax.degradation import Degradation


def test_the_part_where_the_methods_differ_most():
    outputs = np.full((3, 40, 50), 100, np.uint8)
    outputs[0, 20:24, 30:34] = 90
    part = crops.part_of_most_difference(outputs, size=10)
    assert 14 <= part.top <= 20
    assert 24 <= part.left <= 30
    assert part.of(outputs[0]).shape == (10, 10)
    assert crops.part_of_most_difference(outputs[:, :5], size=10).size == 5


def test_a_part_on_the_command_line():
    assert crops.part_argument("3,4,20") == crops.Part(left=3, top=4, size=20)
    for text in ("3,4", "a,b,c", "-1,0,5", "0,0,0"):
        with pytest.raises(argparse.ArgumentTypeError):
            crops.part_argument(text)
    with pytest.raises(ValueError, match=r"--part=3,4,20 reaches beyond the image of 22x30 pixels"):
        crops.check_part(crops.Part(3, 4, 20), (30, 22, 3))


def test_networks_of_one_scale_and_one_degradation(tmp_path):
    of_2, of_3, of_none = (made_networks.network(scale=scale) for scale in (2, 3, None))
    assert crops.common_scale({"a": of_3, "b": of_none}, None) == 3
    assert crops.common_scale({"b": of_none}, 4) == 4
    with pytest.raises(ValueError, match=r"the scales differ \(a x2, b x3\)"):
        crops.common_scale({"a": of_2, "b": of_3}, None)
    with pytest.raises(ValueError, match="say no scale: add --scale=3"):
        crops.common_scale({"b": of_none}, None)
    blurred = dataclasses.replace(of_3, degradation=Degradation("gaussian", 0.55))
    with pytest.raises(ValueError, match=r"different small images \("):
        crops.restore({"a": of_3, "b": blurred}, f"{tmp_path}/a", 3)
    assert list(crops.load_networks([], 2)) == ["SRCNN"]
    weights.save(tmp_path / "a.safetensors", of_3)
    with pytest.raises(ValueError, match="is named twice"):
        crops.load_networks([f"{tmp_path}/a.safetensors"] * 3, None)


def test_a_network_that_passes_its_input_through_is_bicubic(tmp_path, monkeypatch, capsys):
    pixels = 100 + made_networks.random((50, 70, 3), np.uint8) // 5  # bicubic stays above 0
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    identity = dataclasses.replace(made_networks.IDENTITY, scale=3)
    in_colour = made_networks.network(colour="rgb", scale=3)
    weights.save(tmp_path / "identity.safetensors", identity)
    weights.save(tmp_path / "a_long_name_of_a_network_for_colour.safetensors", in_colour)
    files = [str(path) for path in sorted(tmp_path.glob("*.safetensors"), reverse=True)]
    image, output = f"--image={tmp_path}/photo.png", f"{tmp_path}/crops.png"
    monkeypatch.setattr(sys, "argv", ["crops", *files, image, "-o", output])
    crops.main()
    bicubic, same, other, said = capsys.readouterr().out.splitlines()
    assert bicubic.removeprefix("bicubic: ") == same.removeprefix("identity: ")
    assert other.startswith("a_long_name_of_a_network_for_colour: ")
    assert said == output
    with Image.open(output) as picture:
        side, gap = crops.SIDE, crops.GAP
        assert picture.size == (3 * (side + gap) - gap, 2 * (side + crops.BAR + gap) - gap)
        pixels = np.asarray(picture).astype(int)
    # Bicubic is the third panel of the first row, the identity the first of the second.
    down = side + crops.BAR + gap
    difference = pixels[:side, -side:] - pixels[down : down + side, :side]
    assert np.abs(difference).max() <= 1  # the network's float32 may decide a tie
