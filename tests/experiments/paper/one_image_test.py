"""One image: a file, or an image of a test set."""

import made_networks
import numpy as np
import pytest
from PIL import Image

from experiments.paper import one_image


def test_a_file(tmp_path):
    pixels = made_networks.random((9, 11, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ((name, found),) = one_image.load(str(tmp_path / "a.png")).images
    assert name == "a"
    np.testing.assert_array_equal(found, pixels)


def test_an_image_of_a_test_set(tmp_path):
    for name in ("bird_GT", "head_GT"):
        Image.fromarray(made_networks.random((9, 11), np.uint8)).save(tmp_path / f"{name}.png")
    found = one_image.load(f"{tmp_path}/head")
    assert [name for name, _ in found.images] == ["head"]
    with pytest.raises(ValueError, match=r"has no image 'hat': it has bird, head$"):
        one_image.load(f"{tmp_path}/hat")
    with pytest.raises(FileNotFoundError, match="there is no file photo: name one"):
        one_image.load("photo")
