"""Picture files and modes on their own; tests/upscale_test.py has them with the command."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from made_files import png, tiff
from PIL import Image, ImageCms

from srcnn_jax import picture_formats, pictures
from srcnn_jax.datasets import files


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
    assert pictures.from_image(picture(mode)).kind == prepared


GREY = np.array([[0, 10000, 50000, 65535], [1, 2, 3, 4]], np.uint16)


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("orientation", [1, 6])
def test_levels_of_tiff_files(bits, white_is_zero, orientation, tmp_path):
    """Those that Pillow leaves as they are in the file, of the command and of data sets."""
    if bits == 12 and white_is_zero:
        pytest.skip("Pillow does not read such files, and says so")
    path = tmp_path / "a.tif"
    stored = (GREY >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    content = tiff(stored, bits=bits, white_is_zero=white_is_zero, orientation=orientation)
    path.write_bytes(content)
    levels = np.round(stored * (65535 / (2**bits - 1)))
    expected = 65535 - levels if white_is_zero else levels
    if orientation == 6:
        expected = np.rot90(expected, -1)
    (read,) = pictures.read(path).frames
    unit = 65535 // np.iinfo(read.dtype).max
    np.testing.assert_array_equal(read.astype(np.int64) * unit, expected)
    decoded = files.decode(content, path).pixels
    np.testing.assert_array_equal(decoded, (expected.astype(np.int64) + 128) // 257)


def test_white_as_zero_of_unknown_white_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(GREY.astype(np.float32), white_is_zero=True))
    for read in (pictures.read, lambda path: files.decode(path.read_bytes(), path)):
        with pytest.raises(ValueError, match="32 bits with white as zero is not supported"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("row", "width", "bits", "colour", "transparent", "alpha"),
    [
        (b"\xa0", 3, 1, 0, (1,), [0, 255, 0]),
        (b"\x1b", 4, 2, 0, (3,), [255, 255, 255, 0]),
        (b"\xff\x55", 4, 4, 0, (15,), [0, 0, 255, 255]),
        (b"\x10\xff", 2, 8, 0, (16,), [0, 255]),
        (b"\1\2\3\xff\0\4", 2, 8, 2, (255, 0, 4), [255, 0]),
        (b"\0\1\0\2\0\3\xff\xff\0\0\4\0", 2, 16, 2, (65535, 0, 1024), [255, 0]),
    ],
)
def test_the_transparent_colour_of_a_png(row, width, bits, colour, transparent, alpha, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png([row] * 3, width, bits, colour, transparent))
    (pixels,) = pictures.read(path).frames
    assert list(pixels[0, :, -1] // (np.iinfo(pixels.dtype).max // 255)) == alpha


def test_more_pixels_than_the_bytes_can_hold_are_refused_at_once():
    content = bytearray(png([b"\0" * 60], 20, 8, 2, ()))
    content[20:24] = struct.pack(">I", 14_549_008)  # the height
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    with pytest.raises(ValueError, match=r"20x14549008 pixels in .* bytes, where the limit is"):
        pictures.decode(bytes(content), "a.png")


@pytest.mark.parametrize(
    ("side", "reason"),
    [(30_000, "exceeds limit of 16777216 pixels"), (4_000, "40 times 4000x4000 pixels, limit")],
)
def test_a_later_frame_of_a_gif_that_is_larger_is_refused_before_it_takes_memory(side, reason):
    frames = [Image.fromarray(np.full((12, 20), value, np.uint8)) for value in range(40)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    content = file.getvalue()
    extent = b"," + struct.pack("<HHHH", 0, 0, 20, 12)
    second = content.index(extent, content.index(extent) + 1)
    larger = b"," + struct.pack("<HHHH", 0, 0, side, side)
    content = content[:second] + larger + content[second + len(larger) :]
    with pytest.raises(ValueError, match=reason):
        pictures.decode(content, "a.gif")


def test_grey_of_32_bits_is_refused_beyond_16():
    deep = Image.fromarray(np.full((2, 2), 70_000, np.int32))
    with pytest.raises(ValueError, match=r"from 70000 to 70000 is not .*rescale it to 16 bits"):
        pictures.from_image(deep)


@pytest.mark.parametrize(
    ("brand", "package"), [(b"heic", "pillow-heif"), (b"mif1", "pillow-heif"), (b"avif", "avif")]
)
def test_the_package_that_a_format_needs_is_named(brand, package, monkeypatch):
    for name in ("pillow_heif", "pillow_avif"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(pictures.features, "check", lambda name: False)
    content = b"\0\0\0\x18ftyp" + brand + bytes(20)
    with pytest.raises(ValueError, match=rf"pip install .*{package}"):
        pictures.decode(content, "a")
    with pytest.raises(ValueError, match="pip install pillow-heif"):
        picture_formats.fit(pictures.from_image(picture("RGB")), "a.heic", (6, 4))


@pytest.mark.parametrize("dpi", [(0.0, 0.0), (float("nan"), 72.0), (float("inf"), 1.0)])
def test_a_resolution_that_is_none_is_left_out(dpi, caplog):
    given = picture("RGB")
    given.info = {"dpi": dpi}
    assert pictures.from_image(given).info == {}
    assert "resolution" in caplog.text


def test_a_profile_that_does_not_fit_the_pixels_is_left_out(caplog):
    grey = picture("L")
    grey.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert pictures.from_image(grey).info == {}
    assert "a profile of RGB is left out of the picture, whose pixels are L" in caplog.text


def test_signed_bytes_are_refused():
    with pytest.raises(ValueError, match="grey of 8 bits with a sign is not supported"):
        pictures.decode(tiff(np.zeros((2, 2), np.int8)), "a")


def test_exif_of_a_tiff_is_what_it_shows_and_not_how_it_is_stored():
    file = io.BytesIO()
    picture("RGB").save(file, "TIFF", tiffinfo={270: "a lake", 315: "Somebody"})
    exif = Image.Exif()
    exif.load(pictures.decode(file.getvalue(), "a").info["exif"])
    assert dict(exif) == {270: "a lake", 315: "Somebody"}


@pytest.mark.parametrize(
    ("loop", "format", "plays"),
    [(None, "GIF", 1), (0, "GIF", 0), (2, "GIF", 3), (0, "WEBP", 0), (1, "PNG", 1)],
)
def test_how_often_an_animation_is_played(loop, format, plays):
    assert pictures._plays(loop, format) == plays


@pytest.mark.parametrize("quality", [1, 20, 49, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_quality_of_a_jpeg(quality, mode):
    file = io.BytesIO()
    Image.new(mode, (16, 16)).save(file, "JPEG", quality=quality)
    assert pictures.decode(file.getvalue(), "a").jpeg_quality == quality
    assert pictures.from_image(Image.open(file)).jpeg_quality == quality
    with Image.open(file) as opened:  # of a program with tables of its own
        near = {0: [value + (i == 5) for i, value in enumerate(opened.quantization[0])]}
    assert abs(pictures.estimate_jpeg_quality(near) - quality) <= 1


def test_other_pictures_have_no_jpeg_quality():
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    assert pictures.decode(file.getvalue(), "a").jpeg_quality is None
    assert pictures.from_image(Image.new("RGB", (16, 16))).jpeg_quality is None
