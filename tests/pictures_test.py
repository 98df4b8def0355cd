"""Picture files and modes on their own; tests/upscale_test.py has them with the command."""

import numpy as np
import pytest
from PIL import Image

from srcnn_jax import pictures


def picture(mode, size=(6, 4)):
    return Image.new(mode, size)


@pytest.mark.parametrize(
    ("mode", "prepared"),
    [
        ("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"),
        ("CMYK", "RGB"), ("LAB", "RGB"), ("YCbCr", "RGB"), ("I", "I;16"), ("I;16", "I;16"),
        ("F", "F"),
    ],
)  # fmt: skip
def test_modes_become_what_the_network_can_enlarge(mode, prepared):
    assert pictures.prepare(picture(mode), 2).mode == prepared


def test_grey_of_32_bits_is_refused_beyond_16():
    deep = Image.fromarray(np.full((2, 2), 70_000, np.int32))
    with pytest.raises(ValueError, match=r"from 70000 to 70000 is not .*rescale it to 16 bits"):
        pictures.prepare(deep, 2)


def test_an_opaque_alpha_is_left_out_where_it_cannot_be_held(tmp_path):
    opaque = Image.new("RGBA", (6, 4), (1, 2, 3, 255))
    assert pictures.fit(opaque, tmp_path / "a.jpg").mode == "RGB"
    assert pictures.fit(opaque, tmp_path / "a.png").mode == "RGBA"
    with pytest.raises(
        ValueError, match=r"a.jpg cannot hold its transparency; name a file in .*png"
    ):
        pictures.fit(Image.new("RGBA", (6, 4)), tmp_path / "a.jpg")
    with pytest.raises(
        ValueError, match=r"a.webp cannot hold its I;16 pixels; name .*\.png, \.tif"
    ):
        pictures.fit(picture("I;16"), tmp_path / "a.webp")


def test_read_and_write(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    pictures.write(Image.fromarray(pixels), tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(pictures.read(tmp_path / "a.png")), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        pictures.read(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a readable picture"):
        pictures.read(tmp_path / "b.png")
    with pytest.raises(OSError, match="cannot be written"):
        pictures.write(Image.fromarray(pixels), tmp_path / "nowhere" / "a.png")
