"""16-bit colour: every kind of file that holds it, from file to file."""

import io
import sys

import numpy as np
import pytest
from made_files import deep_png
from PIL import ExifTags, Image, ImageCms, ImageOps

from srcnn_jax import deep_colour, picture_formats, pictures, upscale

tifffile = pytest.importorskip("tifffile", reason="needs the extra 16bit")
pytest.importorskip("imagecodecs", reason="needs the extra 16bit")

KINDS = {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}  # by channels


def pixels(channels, height=5, width=7):
    values = np.random.default_rng(0).integers(0, 65536, (height, width, channels))
    if channels in (2, 4):
        values[..., -1] = np.maximum(values[..., -1], 9000)
    return values.astype(np.uint16)


def tiff(array, **options):
    alpha = array.shape[2] in (2, 4)
    options = {
        "photometric": "rgb" if array.shape[2] > 2 else "minisblack",
        "extrasamples": ["unassalpha"] if alpha else None,
        **options,
    }
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", KINDS)
def test_png(channels):
    expected = pixels(channels)
    content = deep_png(expected)
    assert deep_colour.is_deep(content)
    read = pictures.decode(content, "a.png")
    assert read.kind == KINDS[channels]
    np.testing.assert_array_equal(read.frames[0], expected)


def test_the_transparent_colour_of_a_png_is_one_of_16_bits():
    """Two colours that differ in their low byte alone are two."""
    expected = pixels(3)
    expected[0, 0], expected[0, 1] = (512, 1024, 65535), (513, 1024, 65535)
    read = pictures.decode(deep_png(expected, transparent=(512, 1024, 65535)), "a.png")
    assert read.kind == "RGBA;16"
    np.testing.assert_array_equal(read.frames[0][..., :3], expected)
    assert list(read.frames[0][0, :3, 3]) == [0, 65535, 65535]


@pytest.mark.parametrize("channels", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {}, {"byteorder": ">"}, {"compression": "lzw"}, {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)}, {"planarconfig": "separate"}, {"bigtiff": True}, {"rowsperstrip": 2},
    ],
    ids=str,
)  # fmt: skip
def test_tiff(channels, options):
    expected = pixels(channels)
    planes = np.moveaxis(expected, 2, 0) if "planarconfig" in options else expected
    shape = {"photometric": "rgb" if channels > 2 else "minisblack"}
    extra = {"extrasamples": ["unassalpha"] if channels in (2, 4) else None}
    file = io.BytesIO()
    tifffile.imwrite(file, planes, **shape, **extra, **options)
    read = pictures.decode(file.getvalue(), "a.tif")
    assert read.kind == KINDS[channels]
    np.testing.assert_array_equal(read.frames[0], expected)


def test_premultiplied_alpha_white_as_zero_and_other_planes():
    expected = pixels(4)
    alpha = expected[..., -1:].astype(np.uint64)
    stored = (expected[..., :3] * alpha + 32767) // 65535
    stored = np.concatenate([stored, alpha], axis=2).astype(np.uint16)
    (read,) = pictures.decode(tiff(stored, extrasamples=["assocalpha"]), "a.tif").frames
    assert np.abs(read.astype(int) - expected).max() <= 4
    grey = pixels(2)
    (read,) = pictures.decode(tiff(grey, photometric="miniswhite"), "a.tif").frames
    np.testing.assert_array_equal(read[..., 0], 65535 - grey[..., 0])
    np.testing.assert_array_equal(read[..., 1], grey[..., 1])
    (read,) = pictures.decode(tiff(expected, extrasamples=["unspecified"]), "a.tif").frames
    np.testing.assert_array_equal(read, expected[..., :3])


def test_a_page():
    pages = np.stack([pixels(3), 65535 - pixels(3)])
    file = io.BytesIO()
    tifffile.imwrite(file, pages, photometric="rgb")
    np.testing.assert_array_equal(pictures.decode(file.getvalue(), "a", 2).frames[0], pages[1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    """As Pillow turns a picture of 8 bits."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    given = pictures.Picture((pixels(3),), {"exif": exif.tobytes()})
    for name in ("a.png", "a.tif"):
        (read,) = pictures.decode(picture_formats.encode(given, name), name).frames
        low = Image.fromarray((pixels(3) & 255).astype(np.uint8))
        low.info["exif"] = exif.tobytes()
        np.testing.assert_array_equal(read & 255, np.asarray(ImageOps.exif_transpose(low)))


@pytest.mark.parametrize("channels", KINDS)
@pytest.mark.parametrize("after", [".png", ".tif"])
@pytest.mark.parametrize("before", [".png", ".tif"])
def test_file_to_file_with_metadata(before, after, channels, caplog):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if channels == 2:
        profile = profile[:16] + b"GRAY" + profile[20:]
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    info = {"icc_profile": profile, "exif": exif.tobytes(), "xmp": b"<x/>", "dpi": (300.0, 300.0)}
    given = pictures.Picture((pixels(channels),), info)
    for name in (f"a{before}", f"b{after}"):
        given = picture_formats.fit(given, name, given.size)
        given = pictures.decode(picture_formats.encode(given, name), name)
    assert given.kind == KINDS[channels]
    np.testing.assert_array_equal(given.frames[0], pixels(channels))
    assert given.info["icc_profile"] == profile
    assert given.info["xmp"] == b"<x/>"
    assert given.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    kept = Image.Exif()
    kept.load(given.info["exif"])
    assert kept[0x010F] == "Maker"
    assert kept.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert not caplog.text


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_command_keeps_16_bits(suffix, tmp_path):
    ramp = np.linspace(30000, 30100, 40).round().astype(np.uint16)[None, :, None]
    ramp = ramp.repeat(12, 0).repeat(3, 2)
    source = tmp_path / "a.png"
    source.write_bytes(deep_png(ramp))
    target = tmp_path / f"b{suffix}"
    assert upscale.main([str(source), "-o", str(target)]) == 0
    read = pictures.read(target)
    assert (read.kind, read.size) == ("RGB;16", (80, 24))
    assert len(np.unique(read.frames[0])) > 60
    assert np.abs(read.frames[0].astype(int).mean() - 30050) < 30
    if suffix == ".tif":
        np.testing.assert_array_equal(tifffile.imread(target), read.frames[0])


def test_eight_bits_where_16_cannot_be_held_and_in_pillow(tmp_path, caplog):
    path = tmp_path / "a.png"
    path.write_bytes(deep_png(pixels(3)))
    expected = (pixels(3).astype(int) + 128) // 257
    (fitted,) = picture_formats.fit(pictures.read(path), "a.jpg", (7, 5)).frames
    np.testing.assert_array_equal(fitted, expected)
    assert "a.jpg holds 8 bits" in caplog.text
    assert upscale.upscale(path).mode == "RGB"
    assert "16 bits of colour, which become 8 in Pillow" in caplog.text


def test_without_the_packages_a_line_says_so(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setattr(deep_colour, "is_available", lambda: False)
    read = pictures.decode(deep_png(pixels(3)), "a.png")
    assert read.kind == "RGB"
    line = "warning: a.png has 16 bits, which become 8: pip install 'srcnn-jax[16bit]'"
    assert caplog.messages == [line]


def test_what_cannot_keep_its_bits_says_so(caplog):
    grey = tiff(np.zeros((4, 4, 4), np.uint16), photometric="separated", extrasamples=None)
    ppm = b"P6 2 1 65535\n" + bytes(12)
    for content, bits in ((grey, 16), (ppm, 16)):
        caplog.clear()
        pictures.decode(content, "a")
        assert caplog.messages == [f"warning: a has {bits} bits, which become 8"]


def test_each_page_has_its_own_bits():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(pixels(3), photometric="rgb")
        writer.write(np.zeros((5, 7), np.uint8), photometric="minisblack")
        writer.write(pixels(3)[::-1], photometric="rgb")
    kinds = [pictures.decode(file.getvalue(), "a", page).kind for page in (1, 2, 3)]
    assert kinds == ["RGB;16", "L", "RGB;16"]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_damaged_files(name):
    content = picture_formats.encode(pictures.Picture((pixels(3, 40, 40),)), name)
    with pytest.raises(ValueError, match="not a readable picture"):
        pictures.decode(content[: len(content) // 2], name)
