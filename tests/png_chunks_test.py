"""Texts and colour spaces of PNG files."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from srcnn_jax import picture_formats, pictures, png_chunks
from srcnn_jax.upscale import upscale

SRGB_POINTS = struct.pack(">8I", *png_chunks.SRGB_POINTS)


def png(*chunks, **options):
    info = PngImagePlugin.PngInfo()
    for kind, data in chunks:
        info.add(kind, data)
    file = io.BytesIO()
    Image.new("RGB", (6, 4), "red").save(file, "PNG", pnginfo=info, **options)
    return file.getvalue()


def enlarged(content, name):
    held = picture_formats.fit(pictures.decode(content, "a"), name, (6, 4))
    return picture_formats.encode(held, name)


TEXTS = (
    (b"tEXt", b"Author\0J\xfcrgen"),
    (b"tEXt", b"Author\0another"),
    (b"zTXt", b"no text of this kind"),
    (b"iTXt", b"Title\0\0\0ja\0\xe3\x82\xbf\0\xe6\x97\xa5"),
    (b"tEXt", b"quality\0" + b"high " * 9),
)


def test_texts_pass_byte_by_byte():
    assert png_chunks.read(enlarged(png(*TEXTS), "a.png"))["texts"] == TEXTS


def test_texts_after_the_pixels_and_of_an_animation_pass():
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "me")
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], pnginfo=info)
    late = io.BytesIO()
    PngImagePlugin.putchunk(late, b"tEXt", b"Late\0text")
    content = file.getvalue()
    content = content[:-12] + late.getvalue() + content[-12:]
    written = enlarged(content, "a.png")
    assert pictures.decode(written, "a").durations
    assert png_chunks.names(png_chunks.read(written)["texts"]) == "Author, Late"


def test_texts_of_sixteen_bits_pass():
    pytest.importorskip("imagecodecs", reason="needs the extra 16bit")
    given = pictures.Picture((np.zeros((4, 6, 3), np.uint16),), {"texts": TEXTS})
    written = picture_formats.encode(given, "a.png")
    assert pictures.decode(written, "a").kind == "RGB;16"
    assert png_chunks.read(written)["texts"] == TEXTS


def test_a_warning_names_the_texts_that_are_left_out(caplog):
    enlarged(png(*TEXTS), "a.jpg")
    assert "a.jpg cannot hold its texts (Author, no text of this kind, Title, quality)" in (
        caplog.text
    )
    many = [(b"tEXt", b"text %d\0value" % number) for number in range(99)]
    caplog.clear()
    enlarged(png(*many), "a.jpg")
    assert "text 5, ...)" in caplog.text


def test_the_function_keeps_texts_of_pillows_pictures():
    texts = [(b"tEXt", b"Author\0me"), (b"tEXt", b"quality\0high")]
    linear = (b"gAMA", struct.pack(">I", 100_000))
    xmp = (b"iTXt", png_chunks.XMP + bytes(5) + b"<xmp/>")
    content = png(*texts, linear, (b"tEXt", b"Comment\0hello"), xmp)
    for picture in (Image.open(io.BytesIO(content)), upscale(Image.open(io.BytesIO(content)))):
        big = upscale(picture)
        file = io.BytesIO()
        big.save(file, "PNG", **big.info)
        found = png_chunks.read(file.getvalue())
        assert found == {"texts": tuple(texts), "colour_space": (linear,)}
        again = pictures.decode(file.getvalue(), "a")
        assert (again.info["xmp"], again.info["comment"]) == (b"<xmp/>", b"hello")
        big.save(io.BytesIO(), "JPEG", **big.info)


def test_exif_data_in_a_text_are_turned_once(caplog):
    """ImageMagick wrote EXIF data so. The orientation is obeyed, and must not be there again."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    hexadecimal = exif.tobytes().hex()
    text = f"\nexif\n{len(hexadecimal) // 2:8}\n{hexadecimal}\n"
    content = enlarged(png((b"tEXt", png_chunks.EXIF + b"\0" + text.encode())), "a.png")
    with Image.open(io.BytesIO(content)) as written:
        assert written.size == ImageOps.exif_transpose(written).size == (4, 6)
        assert written.getexif()[0x010F] == "Maker"
    assert png_chunks.read(content)["texts"] == ()
    assert not caplog.text


@pytest.mark.parametrize(
    ("chunks", "srgb"),
    [
        ([(b"gAMA", struct.pack(">I", 45_455))], True),
        ([(b"gAMA", struct.pack(">I", 100_000))], False),
        ([(b"gAMA", b"no")], False),
        ([(b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", SRGB_POINTS)], True),
        ([(b"cHRM", SRGB_POINTS[::-1])], False),
        ([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))], True),
        ([(b"cICP", bytes((1, 13, 0, 1))), (b"cHRM", SRGB_POINTS[::-1])], True),
        ([(b"cICP", bytes((9, 16, 0, 1))), (b"sRGB", b"\0")], False),
        ([(b"cICP", bytes((9, 16, 0, 1))), (b"mDCV", bytes(24)), (b"cLLI", bytes(8))], False),
        ([(b"cICP", bytes((1, 13, 0, 1))), (b"cLLi", bytes(8))], False),
    ],
)
def test_a_colour_space_passes_and_a_warning_says_where_it_cannot(chunks, srgb, caplog):
    assert png_chunks.is_srgb(tuple(chunks)) == srgb
    given = pictures.Picture((np.zeros((4, 6, 3), np.uint8),), {"colour_space": tuple(chunks)})
    written = picture_formats.encode(picture_formats.fit(given, "a.png", (6, 4)), "a.png")
    if chunks[0][1] != b"no":
        assert png_chunks.read(written)["colour_space"] == tuple(chunks)
        assert not caplog.text
    caplog.clear()
    picture_formats.fit(given, "a.jpg", (6, 4))
    assert ("cannot hold its colour_space" in caplog.text) != srgb


def test_a_profile_makes_gamma_superfluous(caplog):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    linear = (b"gAMA", struct.pack(">I", 100_000))
    enlarged(png(linear, icc_profile=profile), "a.jpg")
    assert not caplog.text


def test_of_two_gammas_the_first_passes(caplog):
    linear, other = ((b"gAMA", struct.pack(">I", value)) for value in (100_000, 50_000))
    begin, end = png(linear).split(b"IDAT")
    late = io.BytesIO()
    PngImagePlugin.putchunk(late, *other)
    content = begin[:-4] + late.getvalue() + begin[-4:] + b"IDAT" + end
    assert png_chunks.read(enlarged(content, "a.png"))["colour_space"] == (linear,)
    assert not caplog.text


def test_a_file_that_is_cut_and_one_of_another_format():
    content = png(*TEXTS)
    for length in range(len(content)):
        assert set(png_chunks.read(content[:length])["texts"]) <= set(TEXTS)
    assert png_chunks.read(b"\xff\xd8\xff" + content) == {"texts": (), "colour_space": ()}
