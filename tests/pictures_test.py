"""Picture files and modes on their own; tests/upscale_test.py has them with the command."""

import numpy as np
import pytest
from made_files import png, tiff
from PIL import Image

from srcnn_jax import pictures
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
    assert pictures.prepare(picture(mode), 2).mode == prepared


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
    read = np.asarray(pictures.prepare(pictures.read(path), 2))
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
    prepared = pictures.prepare(pictures.read(path), 2)
    assert list(np.asarray(prepared.getchannel("A"))[0]) == alpha


def test_grey_of_32_bits_is_refused_beyond_16():
    deep = Image.fromarray(np.full((2, 2), 70_000, np.int32))
    with pytest.raises(ValueError, match=r"from 70000 to 70000 is not .*rescale it to 16 bits"):
        pictures.prepare(deep, 2)


def test_an_opaque_alpha_is_left_out_where_it_cannot_be_held(tmp_path):
    opaque = Image.new("RGBA", (6, 4), (1, 2, 3, 255))
    assert pictures.fit(opaque, tmp_path / "a.jpg", 2).mode == "RGB"
    assert pictures.fit(opaque, tmp_path / "a.png", 2).mode == "RGBA"
    with pytest.raises(
        ValueError, match=r"a.jpg cannot hold its transparency; name a file in .*png"
    ):
        pictures.fit(Image.new("RGBA", (6, 4)), tmp_path / "a.jpg", 2)
    with pytest.raises(
        ValueError, match=r"a.webp cannot hold its I;16 pixels; name .*\.png, \.tif"
    ):
        pictures.fit(picture("I;16"), tmp_path / "a.webp", 2)


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


@pytest.mark.parametrize(
    ("info", "suffix", "key"),
    [
        ({"exif": b"Exif\0\0" + bytes(70_000)}, ".jpg", "exif"),
        ({"exif": b"Exif\0\0nothing"}, ".tif", "exif"),
        ({"xmp": bytes(70_000)}, ".jpg", "xmp"),
        ({"icc_profile": bytes(20_000_000)}, ".jpg", "icc_profile"),
        ({"comment": bytes(70_000)}, ".jpg", "comment"),
    ],
)
def test_metadata_that_a_format_cannot_hold_are_left_out(info, suffix, key, tmp_path, caplog):
    given = picture("RGB")
    given.info = {"dpi": (72, 72), **info}
    fitted = pictures.fit(given, tmp_path / f"a{suffix}", 3)
    assert fitted.info == {"dpi": (72, 72)}
    assert f"a{suffix} cannot hold its {key}, left out" in caplog.text
    pictures.write(fitted, tmp_path / f"a{suffix}")


@pytest.mark.parametrize("dpi", [(0.0, 0.0), (float("nan"), 72.0), (float("inf"), 1.0)])
def test_a_resolution_that_is_none_is_left_out(dpi, caplog):
    given = picture("RGB")
    given.info = {"dpi": dpi}
    assert pictures.prepare(given, 2).info == {}
    assert "resolution" in caplog.text


@pytest.mark.parametrize("suffix", [".webp", ".jpg"])
def test_a_size_that_a_format_cannot_hold_is_said_at_once(suffix, tmp_path):
    limit = pictures.MAX_SIDE[suffix]
    fits = picture("RGB", (limit // 2, 1))
    pictures.fit(fits, tmp_path / f"a{suffix}", 2)
    words = rf"a{suffix} cannot hold 4x{2 * (limit // 2 + 1)} pixels.*name a file in .png, .tif"
    with pytest.raises(ValueError, match=words):
        pictures.fit(picture("RGB", (2, limit // 2 + 1)), tmp_path / f"a{suffix}", 2)


@pytest.mark.parametrize("before", [".webp", ".png", ".jpg"])
@pytest.mark.parametrize("after", [".webp", ".png", ".jpg", ".tif"])
def test_exif_passes_between_formats(before, after, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    source, target = tmp_path / f"a{before}", tmp_path / f"b{after}"
    picture("RGB").save(source, exif=exif)
    pictures.write(pictures.fit(pictures.prepare(pictures.read(source), 2), target, 2), target)
    with Image.open(target) as written:
        assert written.getexif()[0x010F] == "Maker"
