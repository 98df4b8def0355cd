"""Writing pictures: what each format holds, and that nothing else is lost without a word."""

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from srcnn_jax import picture_formats, pictures


def picture(mode, size=(6, 4)):
    return Image.new(mode, size)


def fitted(image, name, size=(12, 8)):
    return picture_formats.fit(pictures.from_image(image), name, size)


def test_an_opaque_alpha_is_left_out_where_it_cannot_be_held():
    opaque = Image.new("RGBA", (6, 4), (1, 2, 3, 255))
    assert fitted(opaque, "a.jpg").kind == "RGB"
    assert fitted(opaque, "a.png").kind == "RGBA"
    assert fitted(opaque.convert("LA"), "a.jpg").kind == "L"
    for name in ("a.jpg", "a.bmp"):
        with pytest.raises(ValueError, match=r"cannot hold its transparency; name a file in .*png"):
            fitted(Image.new("RGBA", (6, 4)), name)
    with pytest.raises(ValueError, match=r"a.webp cannot hold its F pixels; name a file in \.tif"):
        fitted(picture("F"), "a.webp")


def test_sixteen_bits_are_rounded_to_eight_where_they_cannot_be_held(caplog):
    deep = Image.fromarray(np.array([[0, 128, 129, 65535]], np.uint16))
    assert fitted(deep, "a.png").kind == "I;16"
    assert not caplog.text
    (pixels,) = fitted(deep, "a.jpg").frames
    np.testing.assert_array_equal(pixels, [[0, 0, 1, 255]])
    assert "a.jpg holds 8 bits: the 16 of the picture are rounded" in caplog.text


def test_half_transparent_pixels_of_a_gif(caplog):
    fitted(Image.new("RGBA", (6, 4), (1, 2, 3, 0)), "a.gif")
    assert not caplog.text
    fitted(Image.new("LA", (6, 4), (1, 128)), "a.gif")
    assert "a.gif holds no half transparent pixels" in caplog.text


def test_read_and_write(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    content = picture_formats.encode(pictures.Picture((pixels,)), path.name)
    picture_formats.write(content, path)
    np.testing.assert_array_equal(pictures.read(path).frames[0], pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(FileExistsError, match=r"a.png exists: add --overwrite"):
        picture_formats.write(content, path, overwrite=False)
    with pytest.raises(FileNotFoundError, match="no such file"):
        pictures.read(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a readable picture"):
        pictures.read(tmp_path / "b.png")
    with pytest.raises(OSError, match="cannot be written"):
        picture_formats.write(content, tmp_path / "nowhere" / "a.png")


def test_a_picture_is_on_the_disk_before_it_has_its_name(tmp_path, disk_calls):
    picture_formats.write(b"content", tmp_path / "a.png")
    assert disk_calls == ["fsync", "rename", "fsync"]  # the last is of the folder


@pytest.mark.skipif(os.name != "posix", reason="only POSIX says whether a process is alive")
def test_what_a_killed_process_left_is_removed(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    left = f".upscale{killed.pid}.partial.png"
    others = [f".upscale{os.getppid()}.partial.png", ".upscale.partial.png", ".upscale1.png"]
    for name in (left, *others):
        (tmp_path / name).touch()
    picture_formats.write(b"content", tmp_path / "a.png")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", *others}


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_quality(suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    given = picture_formats.fit(pictures.Picture((noise,)), f"a{suffix}", (64, 64))
    sizes = [
        len(picture_formats.encode(given, f"a{suffix}", quality)) for quality in (10, None, 95)
    ]
    assert sizes[0] < sizes[1] / 3
    assert sizes[1] == sizes[2]


@pytest.mark.parametrize(
    ("info", "suffix", "key"),
    [
        ({"exif": b"Exif\0\0" + bytes(70_000)}, ".jpg", "exif"),
        ({"exif": b"Exif\0\0nothing"}, ".tif", "exif"),
        ({"xmp": bytes(70_000)}, ".jpg", "xmp"),
        ({"icc_profile": bytes(16) + b"RGB " + bytes(20_000_000)}, ".jpg", "icc_profile"),
        ({"comment": bytes(70_000)}, ".jpg", "comment"),
    ],
)
def test_metadata_that_a_format_cannot_hold_are_left_out(info, suffix, key, caplog):
    given = pictures.Picture((np.zeros((4, 6, 3), np.uint8),), {"dpi": (72, 72), **info})
    name = f"a{suffix}"
    fitted = picture_formats.fit(given, name, (6, 4))
    assert fitted.info == {"dpi": (72, 72)}
    assert f"{name} cannot hold its {key}" in caplog.text
    assert pictures.decode(picture_formats.encode(fitted, name), name).size == (6, 4)


@pytest.mark.parametrize("suffix", [".webp", ".jpg"])
def test_a_size_that_a_format_cannot_hold_is_said_at_once(suffix):
    limit = picture_formats.FORMATS[suffix].max_side
    name = f"a{suffix}"
    fitted(picture("RGB"), name, (limit, 1))
    words = rf"{name} cannot hold 4x{limit + 1} pixels.*name a file in .png, .*\.tif"
    with pytest.raises(ValueError, match=words):
        fitted(picture("RGB"), name, (4, limit + 1))


# --- metadata: every pair of formats --------------------------------------------------------------

HOLDS = {  # which metadata a format has a place for
    ".png": {"icc_profile", "exif", "dpi", "xmp", "comment", "texts", "colour_space"},
    ".jpg": {"icc_profile", "exif", "dpi", "xmp", "comment"},
    ".webp": {"icc_profile", "exif", "xmp"},
    ".tif": {"icc_profile", "exif", "dpi", "xmp"},
    ".bmp": {"dpi"},
    ".gif": {"comment"},
    ".avif": {"icc_profile", "exif", "xmp"},
    ".heic": {"icc_profile", "exif", "xmp"},
}


def _metadata(kind):
    """All metadata, with EXIF data in three folders."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if kind[0] in "LI":
        profile = profile[:16] + b"GRAY" + profile[20:]
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    return {
        "icc_profile": profile,
        "exif": exif.tobytes(),
        "dpi": (300.0, 300.0),
        "xmp": '<x:xmpmeta xmlns:x="adobe:ns:meta/">\u00e9</x:xmpmeta>'.encode(),
        "comment": "a caf\u00e9".encode(),
        "texts": (
            (b"tEXt", b"Author\0J\xfcrgen"),
            (b"tEXt", b"Author\0another"),
            (b"zTXt", b"parameters\0\0" + zlib.compress(b"steps " * 999)),
            (b"iTXt", b"Title\0\1\0de\0Titel\0" + zlib.compress("\u00e4".encode())),
        ),
        "colour_space": ((b"cICP", bytes((9, 16, 0, 1))), (b"gAMA", bytes(4))),
    }


def _same(key, one, other):
    if key == "dpi":
        return one == pytest.approx(other, abs=0.1)
    if key != "exif":
        return one == other
    tags = []
    for content in (one, other):
        exif = Image.Exif()
        exif.load(content)
        tags.append((exif[0x010F], exif.get_ifd(0x8769)[0x9003], exif.get_ifd(0x8825)[1]))
    return tags[0] == tags[1]


@pytest.mark.parametrize("kind", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("after", HOLDS)
@pytest.mark.parametrize("before", HOLDS)
def test_metadata_pass_between_formats(before, after, kind, caplog):
    """What both formats have a place for is kept; a warning names what the second has not."""
    if ".heic" in (before, after):
        pytest.importorskip("pillow_heif", reason="needs the extra heic")
    shape = {"L": (4, 6), "LA": (4, 6, 2), "RGB": (4, 6, 3), "RGBA": (4, 6, 4), "I;16": (4, 6)}[
        kind
    ]
    pixels = np.full(shape, 255, np.uint16 if kind == "I;16" else np.uint8)
    given = _metadata(kind)
    first = pictures.Picture((pixels,), given)
    first = picture_formats.fit(first, f"a{before}", first.size)
    coloured = first.kind[0] == "R" and kind[0] in "LI"  # the format has no grey
    assert set(first.info) == HOLDS[before] - ({"icc_profile"} if coloured else set())
    caplog.clear()
    read = pictures.decode(picture_formats.encode(first, f"a{before}"), "a")
    # Some formats have no grey. Their readers make colour of it, which the profile does not fit.
    kept = set(read.info)
    assert HOLDS[before] - {"icc_profile"} <= kept
    assert (
        "icc_profile" in kept
        or "profile of" in caplog.text
        or before in (".bmp", ".gif")
        or coloured
    )
    caplog.clear()
    second = picture_formats.fit(read, f"b{after}", read.size)
    written = pictures.decode(picture_formats.encode(second, f"b{after}"), "b")
    for key in kept & HOLDS[after]:
        if key != "icc_profile" or key in written.info:
            assert _same(key, written.info[key], given[key]), key
    for key in kept - HOLDS[after]:
        assert key not in written.info
        assert key in caplog.text or (key == "icc_profile" and "a profile of" in caplog.text)


def test_alpha_of_a_gif_is_cut_in_the_middle():
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[0, :, 3] = [0, 1, 127, 128, 254, 255]
    other = pixels.copy()
    other[1, :, :3], other[1, :, 3] = 200, 255
    for given in (
        pictures.Picture((pixels,)),
        pictures.Picture((pixels, other), durations=(50.0, 50.0)),
    ):
        read = pictures.decode(picture_formats.encode(given, "a.gif"), "a.gif")
        assert len(read.frames) == len(given.frames)
        for frame in read.frames:
            assert list(frame[0, :, 3]) == [0, 0, 0, 255, 255, 255]


@pytest.mark.parametrize(
    ("durations", "unit", "rounded"),
    [
        ([17, 17, 17], 10, [20, 10, 20]), ([100, 250, 40], 10, [100, 250, 40]),
        ([16.7, 16.7, 16.6], 1, [17, 16, 17]), ([1, 1], 10, [10, 10]),
    ],
)  # fmt: skip
def test_durations_are_rounded_so_that_the_whole_stays(durations, unit, rounded):
    assert picture_formats._durations(durations, unit) == rounded


def test_more_repetitions_than_a_format_counts():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[1] = 200
    given = pictures.Picture(tuple(frames), {}, (100.0, 50.0), plays=65_536)
    for suffix in (".png", ".webp"):
        read = pictures.decode(picture_formats.encode(given, f"a{suffix}"), "a")
        assert read.plays == 0


def test_a_transparent_animation_stays_so():
    frames = np.zeros((3, 8, 8, 4), np.uint8)
    for index, frame in enumerate(frames):
        frame[index, :] = (250, 0, 0, 255)
    given = pictures.Picture(tuple(frames), {}, (100.0, 50.0, 70.0))
    for suffix in (".png", ".gif", ".webp"):
        held = picture_formats.fit(given, f"a{suffix}", (8, 8))
        read = pictures.decode(picture_formats.encode(held, f"a{suffix}"), "a")
        assert read.durations == given.durations
        for frame, expected in zip(read.frames, frames, strict=True):
            np.testing.assert_array_equal(frame[..., 3], expected[..., 3])
