"""Enlarging pictures: every mode, metadata, bands, patches, and mistakes on the command line."""

import io
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from reference import mirrored

from srcnn_jax import image, models, pictures, upscale
from srcnn_jax.architecture import Architecture
from srcnn_jax.colour import CHANNELS
from srcnn_jax.datasets import files
from srcnn_jax.weights import Network, save

REPOSITORY = Path(__file__).parents[1]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION, EXIF_IFD, PIXEL_WIDTH, PIXEL_HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003


def _network(padding="same", colour="y", scale=None, identity=False):
    """Random weights, or such as pass their input through: what comes out is bicubic."""
    rng = np.random.default_rng(0)
    channels = CHANNELS[colour]
    params = {}
    for index, shape in enumerate(Architecture((3, 1, 3), (4, 3), channels, padding).shapes):
        kernel = rng.normal(size=shape, scale=np.prod(shape[:3]) ** -0.5).astype(np.float32)
        bias = rng.normal(size=shape[3], scale=0.1).astype(np.float32)
        if identity:
            kernel, bias = np.zeros_like(kernel), np.zeros_like(bias)
            kernel[shape[0] // 2, shape[1] // 2] = np.eye(*shape[2:])
        params[f"conv{index + 1}"] = {"kernel": kernel, "bias": bias}
    return Network(params, padding, scale, colour)


IDENTITY = _network(identity=True)


def _random(shape, dtype=np.float64):
    values = np.random.default_rng(1).random(shape)
    return (
        values
        if dtype == np.float64
        else image.round_half_up(values * np.iinfo(dtype).max).astype(dtype)
    )


def _rgb(width=11, height=9):
    return Image.fromarray(_random((height, width, 3), np.uint8))


def _bicubic(pixels, scale=3):
    """What an identity network should make of integers, rounded only here."""
    white = np.iinfo(pixels.dtype).max
    enlarged = image.imresize(pixels.astype(np.float64), scale)
    return image.round_half_up(np.clip(enlarged, 0, white)).astype(pixels.dtype)


def _assert_equal(result, expected):
    """Equal; but the network's float32 may decide a tie in 16 bits the other way."""
    result, expected = np.asarray(result), np.asarray(expected)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected.astype(int)).max() <= (expected.dtype == np.uint16)


@pytest.fixture
def weight_file(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save(path, _network(identity=True, scale=3))
    return path


@pytest.fixture
def run(tmp_path, weight_file, monkeypatch, capsys):
    """The command line in tmp_path; returns exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)

    def command(*arguments, weights=weight_file, scale=3):
        options = ["--scale", str(scale), *(["--weights", str(weights)] if weights else [])]
        status = upscale.main([*map(str, arguments), *options])
        return status, *capsys.readouterr()

    return command


# --- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 2), (7, 5, 3), (7, 5, 4)])
def test_identity_network_gives_bicubic(shape, dtype):
    pixels = _random(shape, dtype)
    _assert_equal(upscale.upscale(pixels, 3, IDENTITY), _bicubic(pixels))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_arrays_are_neither_rounded_nor_out_of_range(dtype):
    pixels = _random((6, 8, 3)).astype(dtype)
    result = upscale.upscale(pixels, 2, IDENTITY)
    assert result.dtype == dtype
    expected = np.clip(image.imresize(pixels.astype(np.float64), 2), 0, 1)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_sixteen_bits_keep_their_precision():
    ramp = np.linspace(30000, 30100, 40).round().astype(np.uint16)[None].repeat(5, 0)
    result = upscale.upscale(ramp, 3, IDENTITY)
    _assert_equal(result, _bicubic(ramp))
    assert len(np.unique(result)) > 90


@pytest.mark.parametrize("padding", ["same", "valid", "same,valid,valid"])
def test_luminance_through_the_network_and_chroma_bicubic(padding):
    weights = _network(padding)
    pixels = _random((8, 9, 3))
    ycbcr = image.rgb2ycbcr(image.imresize(pixels, 2))
    ycbcr[..., :1] = mirrored(weights, ycbcr[..., :1])
    expected = np.clip(image.ycbcr2rgb(ycbcr), 0, 1)
    np.testing.assert_allclose(upscale.upscale(pixels, 2, weights), expected, atol=1e-6)


def test_grey_passes_as_luminance_of_16_to_235():
    weights = _network()
    pixels = _random((8, 9))
    luminance = (16 + 219 * image.imresize(pixels, 2)[..., None]) / 255
    expected = np.clip((mirrored(weights, luminance)[..., 0] * 255 - 16) / 219, 0, 1)
    np.testing.assert_allclose(upscale.upscale(pixels, 2, weights), expected, atol=2e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_grey_and_its_rgb_twin_agree(scale, dtype):
    """With every network that ships: black stays black, white stays white."""
    grey = _random((40, 30))
    grey[:, :10], grey[:, 10:20] = 0, 1
    white = np.iinfo(dtype).max if dtype != np.float32 else 1.0
    grey = (grey * white).astype(dtype)
    result = upscale.upscale(grey, scale)
    twin = upscale.upscale(np.stack([grey] * 3, axis=-1), scale)
    level = 1.0 if dtype != np.float32 else 1e-5
    assert np.abs(result[..., None].astype(float) - twin).max() <= level
    assert result[:, : 5 * scale].max() <= white / 255 / 2
    picture = Image.fromarray(grey)
    for mode in {np.uint8: ("L", "LA"), np.uint16: ("I;16",), np.float32: ("F",)}[dtype]:
        same = picture.convert(mode) if picture.mode != mode else picture
        same = np.asarray(upscale.upscale(same, scale)).reshape(*result.shape, -1)[..., 0]
        np.testing.assert_array_equal(same, result)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("value", [0, 100, 255])
def test_a_flat_picture_has_no_rim(value, scale):
    flat = np.full((9, 12, 3), value, np.uint8)
    result = upscale.upscale(flat, scale).astype(int)
    assert np.ptp(result, axis=(0, 1)).max() <= 1
    assert np.abs(result - value).max() <= 2


def test_colour_networks():
    pixels = _random((8, 9, 3))
    enlarged = image.imresize(pixels, 2)
    rgb = _network(colour="rgb")
    expected = np.clip(mirrored(rgb, enlarged), 0, 1)
    np.testing.assert_allclose(upscale.upscale(pixels, 2, rgb), expected, atol=1e-6)
    ycbcr = _network(colour="ycbcr")
    restored = image.ycbcr2rgb(mirrored(ycbcr, image.rgb2ycbcr(enlarged)))
    np.testing.assert_allclose(
        upscale.upscale(pixels, 2, ycbcr), np.clip(restored, 0, 1), atol=1e-6
    )


@pytest.mark.parametrize("colour", ["rgb", "ycbcr"])
def test_grey_pictures_pass_colour_networks(colour):
    network = _network(colour=colour, identity=True)
    for pixels in (_random((7, 5), np.uint16), _random((7, 5, 2), np.uint8)):
        _assert_equal(upscale.upscale(pixels, 3, network), _bicubic(pixels))


def test_transparent_pixels_do_not_bleed():
    pixels = np.zeros((9, 9, 4), np.uint8)  # transparent black
    pixels[:, 4:] = (200, 100, 50, 255)
    result = upscale.upscale(pixels, 3, IDENTITY)
    visible = result[..., 3] > 0
    assert visible.sum() > 27 * 15
    assert (result[visible][:, :3] == (200, 100, 50)).all()
    _assert_equal(result[..., 3], _bicubic(pixels[..., 3]))


def test_wholly_transparent_picture():
    pixels = np.full((3, 3, 4), (9, 9, 9, 0), np.uint8)
    _assert_equal(upscale.upscale(pixels, 2, IDENTITY), _bicubic(pixels, 2))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 1, 3)])
def test_tiny_pictures(shape):
    for overlap in upscale.OVERLAPS:
        pixels = _random(shape, np.uint8)
        result = upscale.upscale(pixels, 3, IDENTITY, overlap=overlap)
        _assert_equal(result, _bicubic(pixels))


@pytest.mark.parametrize("overlap", upscale.OVERLAPS)
def test_a_program_of_64_bits_gets_the_same(overlap):
    pixels, weights = _random((9, 8, 3)), _network()
    expected = upscale.upscale(pixels, 3, weights, overlap=overlap)
    with jax.enable_x64(True):
        result = upscale.upscale(pixels, 3, weights, overlap=overlap)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [">u2", ">f4", "<u2", "<f8"])
def test_any_byte_order(dtype):
    pixels = _random((7, 5), np.uint16) if "u" in dtype else _random((7, 5))
    native = np.dtype(dtype).newbyteorder("=")
    result = upscale.upscale(pixels.astype(dtype), 2, IDENTITY)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, upscale.upscale(pixels.astype(native), 2, IDENTITY))


def test_input_array_is_left_alone():
    pixels = _random((5, 5, 4), np.uint8)
    pixels[0, 0, 3] = 0
    before = pixels.copy()
    upscale.upscale(pixels, 2, IDENTITY)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 4), np.int64), "not int64"),
        (np.zeros((4, 4, 5), np.uint8), r"not \(4, 4, 5\)"),
        (np.zeros((0, 4), np.uint8), "4x0 has no pixels"),
        (np.full((4, 4), 255.0), r"not 255.0..255.0; rescale"),
        (np.full((4, 4), np.nan), "in 0..1, not nan"),
    ],
)
def test_arrays_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        upscale.upscale(pixels, 2, IDENTITY)


def test_options_refused():
    pixels = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="from 2 up, not 1"):
        upscale.upscale(pixels, 1, IDENTITY)
    with pytest.raises(ValueError, match="not 'blend'"):
        upscale.upscale(pixels, 2, IDENTITY, overlap="blend")
    with pytest.raises(ValueError, match="goes with overlap 'band', not 'average'"):
        upscale.upscale(pixels, 2, IDENTITY, overlap="average", self_ensemble=True)


# --- bands and patches ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [*({"overlap": each} for each in upscale.OVERLAPS), {"self_ensemble": True}]
)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_bands_do_not_change_the_result(padding, how, monkeypatch):
    weights = _network(padding)
    pixels = _random((61, 13, 4))
    whole = upscale.upscale(pixels, 3, weights, **how)
    calls = []
    rows = image.enlarge_rows
    monkeypatch.setattr(image, "enlarge_rows", lambda *a: calls.append(a) or rows(*a))
    for band_rows in (1, 50):
        monkeypatch.setattr(upscale, "BAND_PIXELS", band_rows * 39)
        banded = upscale.upscale(pixels, 3, weights, **how)
        np.testing.assert_allclose(banded, whole, atol=1e-6)
    assert len(calls) > 5


def test_self_ensemble_is_the_mean_over_flips_and_rotations():
    pixels, weights = 0.4 + 0.2 * _random((12, 10)), _network(identity=True)
    kernel = weights.params["conv1"]["kernel"]
    kernel += 0.1 * _random(kernel.shape).astype(np.float32)  # nothing is clipped
    turned = (np.rot90(view, turns) for view in (pixels, pixels.T) for turns in range(4))
    results = [upscale.upscale(each, 3, weights) for each in turned]
    back = [np.rot90(result, -index % 4) for index, result in enumerate(results)]
    mean = np.mean([*back[:4], *(each.T for each in back[4:])], axis=0)
    result = upscale.upscale(pixels, 3, weights, self_ensemble=True)
    assert 0 < result.min() <= result.max() < 1
    assert np.abs(result - results[0]).max() > 0.001
    np.testing.assert_allclose(result, mean, atol=1e-6)


@pytest.mark.parametrize("padding", ["same", "valid", "same,valid,valid"])
@pytest.mark.parametrize("size", [(40, 25), (10, 12)])
def test_average_equals_a_loop_over_patches(size, padding):
    weights = _network(padding)
    pixels = _random(size)
    enlarged = (16 + 219 * image.imresize(pixels, 2)[..., None]) / 255
    margin = weights.architecture.margin
    padded = np.pad(enlarged, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    height, width = enlarged.shape[:2]
    total, count = np.zeros_like(enlarged), np.zeros_like(enlarged)
    side = min(33, height), min(33, width)
    for top in sorted({*range(0, height - side[0], 14), height - side[0]}):
        for left in sorted({*range(0, width - side[1], 14), width - side[1]}):
            where = slice(top, top + side[0]), slice(left, left + side[1])
            patch = padded[top : top + side[0] + 2 * margin, left : left + side[1] + 2 * margin]
            network = models.SRCNN(weights.architecture, "he", "channels_last", "float32")
            restored = network.apply({"params": weights.params}, patch[None].astype(np.float32))
            total[where] += np.asarray(restored)[0]
            count[where] += 1
    assert count.min() == 1
    result = upscale.upscale(pixels, 2, weights, overlap="average")
    grey = (255 * total / count - 16) / 219
    np.testing.assert_allclose(result, np.clip(grey, 0, 1)[..., 0], atol=2e-6)
    bands = upscale.upscale(pixels, 2, weights)
    # By what 'same' pads inside the picture; at its border patches are padded once for all layers.
    differs = np.abs(result - bands)[2:-2, 2:-2].max() > 1e-3
    assert differs == (padding != "valid" and count.max() > 1)


# --- modes and metadata ---------------------------------------------------------------------------


def _modes():
    rgb = _rgb()
    grey = rgb.convert("L")
    rgba = rgb.convert("RGBA")
    rgba.putalpha(grey.point(lambda value: max(value, 1)))
    palette = rgb.quantize(16)
    keyed, keyed_grey, keyed_palette = rgb.copy(), grey.copy(), palette.copy()
    keyed.info["transparency"] = rgb.getpixel((0, 0))
    keyed_grey.info["transparency"] = grey.getpixel((0, 0))
    keyed_palette.info["transparency"] = 3
    sixteen = Image.fromarray(_random((9, 11), np.uint16))
    wide = Image.fromarray(np.asarray(sixteen).astype(np.int32))
    return {
        "1": (rgb.convert("1"), "L"),
        "L": (grey, "L"),
        "L with tRNS": (keyed_grey, "LA"),
        "LA": (rgba.convert("LA"), "LA"),
        "RGB": (rgb, "RGB"),
        "RGB with tRNS": (keyed, "RGBA"),
        "RGBA": (rgba, "RGBA"),
        "RGBa": (rgba.convert("RGBa"), "RGBA"),
        "P": (palette, "RGB"),
        "P with tRNS": (keyed_palette, "RGBA"),
        "PA": (palette.convert("PA"), "RGBA"),
        "CMYK": (rgb.convert("CMYK"), "RGB"),
        "YCbCr": (rgb.convert("YCbCr"), "RGB"),
        "LAB": (rgb.convert("LAB"), "RGB"),
        "HSV": (rgb.convert("HSV"), "RGB"),
        "I;16": (sixteen, "I;16"),
        "I;16B": (
            Image.frombytes("I;16B", (11, 9), np.asarray(sixteen).byteswap().tobytes()),
            "I;16",
        ),
        "I": (wide, "I;16"),
    }


@pytest.mark.parametrize("name", _modes())
def test_modes(name):
    picture, mode = _modes()[name]
    result = upscale.upscale(picture, 3, IDENTITY)
    assert (result.mode, result.size) == (mode, (33, 27))
    flat = {"I;16": lambda p: np.asarray(p).astype(np.uint16)}.get(
        mode, lambda p: np.asarray(p.convert(mode))
    )(picture)
    if mode.endswith("A"):
        flat = upscale._fill_transparent(flat)
    _assert_equal(result, _bicubic(flat))
    assert "transparency" not in result.info


def test_float_mode():
    pixels = _random((9, 11)).astype(np.float32)
    result = upscale.upscale(Image.fromarray(pixels), 2, IDENTITY)
    assert result.mode == "F"
    expected = np.clip(image.imresize(pixels.astype(np.float64), 2), 0, 1)
    np.testing.assert_allclose(np.asarray(result), expected, atol=1e-6)


def test_thirty_two_bit_grey_is_refused():
    with pytest.raises(ValueError, match="from 70000 to 70000 is not supported; rescale"):
        upscale.upscale(Image.new("I", (4, 4), 70000), 2, IDENTITY)


def test_palette_of_two_colours_stays_itself():
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 250, 120, 10])
    assert upscale.upscale(picture, 2, IDENTITY).getcolors() == [(64, (250, 120, 10))]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation):
    picture = _rgb(6, 4)
    exif = picture.getexif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF_IFD).update({PIXEL_WIDTH: 6, PIXEL_HEIGHT: 4})
    file = io.BytesIO()
    picture.save(file, "PNG", exif=exif)
    picture = Image.open(file)
    result = upscale.upscale(picture, 3, IDENTITY)
    upright = ImageOps.exif_transpose(picture)
    _assert_equal(result, _bicubic(np.asarray(upright)))
    assert result.size == ((12, 18) if orientation > 4 else (18, 12))
    file = io.BytesIO()
    result.save(file, "PNG", **result.info)
    exif = Image.open(file).getexif()
    assert exif.get(ORIENTATION, 1) == 1
    details = exif.get_ifd(EXIF_IFD)
    assert (details[PIXEL_WIDTH], details[PIXEL_HEIGHT]) == result.size
    assert picture.getexif().get(ORIENTATION) == orientation  # the caller's picture is untouched


def test_damaged_exif_is_left_out(caplog):
    picture = _rgb()
    picture.info["exif"] = b"not a TIFF header"
    result = upscale.upscale(picture, 2, IDENTITY)
    assert "exif" not in result.info
    assert "damaged EXIF" in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_files_keep_profile_resolution_and_exif(suffix, run):
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    _rgb().save("in.png", icc_profile=SRGB, dpi=(300, 300), exif=exif)
    status, _, errors = run("in.png", "-o", f"out{suffix}")
    assert (status, errors) == (0, "")
    with Image.open(f"out{suffix}") as result:
        assert result.info["icc_profile"] == SRGB
        assert result.getexif()[0x010F] == "Camera"
        if suffix != ".webp":  # has no place for it
            assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_text_in_the_place_of_metadata_is_left_out(run):
    chunks = PngImagePlugin.PngInfo()
    for name in ("dpi", "icc_profile", "exif", "xmp"):
        chunks.add_text(name, "300")
    _rgb().save("in.png", pnginfo=chunks)
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        status, _, errors = run("in.png", "-o", f"out{suffix}")
        assert (status, errors) == (0, "")


def test_cmyk_profile_is_used_or_dropped(caplog):
    picture = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert "icc_profile" not in upscale.upscale(picture, 2, IDENTITY).info
    picture.info["icc_profile"] = SRGB  # does not fit the mode
    result = upscale.upscale(picture, 2, IDENTITY)
    assert "icc_profile" not in result.info
    assert "CMYK profile is unusable" in caplog.text
    assert result.getpixel((0, 0)) == (255, 0, 0)


def test_sixteen_bit_file_to_file(run):
    pixels = _random((9, 11), np.uint16)
    Image.fromarray(pixels).save("in.png")
    for name in ("out.png", "out.tif"):
        assert run("in.png", "-o", name)[0] == 0
        with Image.open(name) as result:
            _assert_equal(np.asarray(result).astype(np.uint16), _bicubic(pixels))


# --- command line ---------------------------------------------------------------------------------


def test_default_name_and_the_line_printed(run):
    _rgb().save("photo.jpg")
    status, output, errors = run("photo.jpg")
    assert (status, errors) == (0, "")
    assert output.startswith("photo_x3.png: 11x9 -> 33x27, ")
    assert output.endswith(" s (tiny.safetensors)\n")
    assert output.count("\n") == 1
    with Image.open("photo_x3.png") as result:
        assert (result.format, result.size) == ("PNG", (33, 27))


@pytest.mark.parametrize("encoding", ["utf-8:strict", "cp1252", "ascii:strict"])
def test_names_that_standard_output_cannot_say(encoding, tmp_path, weight_file):
    names = ["caf\udce9.png", "\u30c6\u30b9\u30c8.png"]
    for name in names:
        _rgb().save(tmp_path / name)
    command = [sys.executable, "-m", "srcnn_jax.upscale", *names, "--scale=3", "-o", "out"]
    done = subprocess.run(
        [*command, f"--weights={weight_file}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path / "out")) == len(done.stdout.splitlines()) == 2
    assert rb"caf\udce9_x3.png: 11x9 -> 33x27" in done.stdout


def test_a_png_with_much_text(run):
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 2**22, zip=True)
    _rgb().save("a.png", pnginfo=text)
    before = PngImagePlugin.MAX_TEXT_CHUNK
    assert run("a.png")[0] == 0
    (decoded,) = files.read_folder(Path())[:1]
    assert decoded.pixels.shape == (9, 11, 3)
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


def test_several_files_into_a_folder_and_one_of_them_bad(run):
    _rgb().save("a.png")
    _rgb().save("b.jpg")
    Path("bad.png").write_bytes(b"")
    status, output, errors = run("a.png", "bad.png", "b.jpg", "-o", "big")
    assert status == 1
    assert sorted(os.listdir("big")) == ["a_x3.png", "b_x3.png"]
    assert output.count("\n") == 2
    assert errors.startswith("srcnn-upscale: bad.png: not a readable picture")


def test_whatever_one_picture_raises_the_others_are_enlarged(run, monkeypatch):
    for name in ("a.png", "b.png"):
        _rgb().save(name)
    read = pictures.read

    def odd(path):
        if path.name == "a.png":
            raise RuntimeError("a fault\nof two lines")
        return read(path)

    monkeypatch.setattr(pictures, "read", odd)
    status, out, err = run("a.png", "b.png", "-o", "out")
    assert status == 1
    assert err == "srcnn-upscale: a.png: RuntimeError: a fault of two lines\n"
    assert out.startswith("out/b_x3.png")


def test_weights_for_another_scale_are_used_with_a_warning(run, caplog):
    _rgb().save("in.png")
    status, output, _ = run("in.png", scale=2)
    assert status == 0
    assert "11x9 -> 22x18" in output
    assert caplog.messages[0].endswith("tiny.safetensors was trained for x3, not x2")


def test_first_frame_of_an_animation(run, caplog):
    _rgb().save("in.gif", save_all=True, append_images=[Image.new("RGB", (11, 9))])
    assert run("in.gif")[0] == 0
    assert "in.gif has 2 frames" in caplog.text


def test_opaque_alpha_goes_into_a_jpeg(run):
    _rgb().convert("RGBA").save("in.png")
    assert run("in.png", "-o", "out.jpg")[0] == 0


def _bad_inputs():
    file = io.BytesIO()
    _rgb(64, 64).save(file, "PNG")
    transparent = Image.new("RGBA", (4, 4), (1, 2, 3, 100))
    sixteen = Image.fromarray(_random((4, 4), np.uint16))
    png, out = "in.png", ["-o", "out.png"]
    return {
        "missing": (None, out, "in.png: there is no such file"),
        "empty": (b"", out, "not a readable picture (its content is no picture)"),
        "no image": (b"hello", out, "not a readable picture (its content is no picture)"),
        "truncated": (file.getvalue()[:2000], out, "not a readable picture"),
        "suffix": (_rgb(), ["-o", "out.xyz"], "out.xyz: the name of an output ends in .png"),
        "no suffix": (_rgb(), ["-o", "out"], "ends in .png"),
        "no folder": (_rgb(), ["-o", "no/out.png"], "its folder does not exist"),
        "itself": (_rgb(), ["-o", png], "would overwrite an input"),
        "alpha": (transparent, ["-o", "out.jpg"], "cannot hold its transparency; name a file in"),
        "depth": (sixteen, ["-o", "out.webp"], "cannot hold its I;16 pixels; name a file in .png"),
        "same names": (_rgb(), [png, "-o", "big"], "two inputs of the same name"),
        "no weights": (_rgb(), [*out, "--weights", "none.mat"], "no weight file none.mat"),
        "bad weights": (_rgb(), [*out, "--weights", "bad.mat"], "not a usable weight file"),
    }


@pytest.mark.parametrize("name", _bad_inputs())
def test_mistakes_give_one_line_and_no_file(name, run, weight_file):
    content, arguments, message = _bad_inputs()[name]
    Path("bad.mat").write_bytes(b"nothing")
    if isinstance(content, Image.Image):
        content.save("in.png")
    elif content is not None:
        Path("in.png").write_bytes(content)
    before = {path: path.read_bytes() for path in Path().iterdir()}
    weights = None if "--weights" in arguments else weight_file
    status, output, errors = run("in.png", *arguments, weights=weights)
    assert (status, output) == (1, "")
    assert errors.count("\n") == 1
    assert message in errors
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_the_networks_are_listed_and_named(run):
    command = [sys.executable, "-m", "srcnn_jax.upscale", "--list"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert "\n915       x3    9-1-5, 64-32      8,032   " in listed.stdout
    _rgb().save("a.png")
    status, out, _ = run("a.png", "--network", "915", weights=None)
    assert status == 0
    assert out.endswith("(network 915, 9-1-5)\n")
    status, _, err = run("a.png", "--network", "916", weights=None)
    assert status == 1
    assert "there is no network '916': choose best, 915" in err


@pytest.mark.parametrize("scale", [0, 5])
def test_scales_without_a_network(scale, run):
    _rgb().save("in.png")
    status, _, errors = run("in.png", weights=None, scale=scale)
    assert status == 1
    assert errors.count("\n") == 1
    assert "2" in errors
    if scale == 5:
        assert "for the scales 2, 3, 4, not 5" in errors


def test_only_huge_pictures_are_refused(run, monkeypatch):
    Image.new("1", (10000, 9000)).save("in.png")  # 90 megapixels: Pillow would warn
    monkeypatch.setattr(pictures, "prepare", lambda picture, scale: _rgb())
    assert run("in.png", "-o", "out.png")[0] == 0
    monkeypatch.setattr(pictures, "MAX_PIXELS", 80_000_000)
    status, _, errors = run("in.png", "-o", "out.png")
    assert status == 1
    assert "10000x9000 pixels" in errors


def test_a_failed_write_leaves_the_old_output(run, monkeypatch):
    _rgb().save("in.png")
    Path("out.png").write_bytes(b"old")
    before = sorted(os.listdir())

    def full_disk(picture, file, *args, **kwargs):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    status, _, errors = run("in.png", "-o", "out.png")
    assert status == 1
    assert "No space left on device" in errors
    assert Path("out.png").read_bytes() == b"old"
    assert sorted(os.listdir()) == before


def test_inputs_are_not_overwritten_by_default_names(run):
    _rgb().save("a.png")
    _rgb().save("a_x3.png")
    status, _, errors = run("a.png", "a_x3.png")
    assert status == 1
    assert "a_x3.png: the output would overwrite an input" in errors


def test_flags_are_not_guessed(capsys):
    with pytest.raises(SystemExit) as stop:
        upscale.main(["a.png", "--scal=3"])
    assert stop.value.code == 2
    assert "--scale" in capsys.readouterr().err


def _run_code(code, arguments, folder):
    """A program in a process of its own, in a folder."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("overlap", upscale.OVERLAPS)
def test_without_the_packages_of_training(overlap, tmp_path):
    _rgb().save(tmp_path / "a.png")
    code = (
        "import sys\n"
        "for name in 'flax tensorflow tensorflow_datasets orbax optax absl'.split():\n"
        "    sys.modules[name] = None\n"
        "from srcnn_jax import upscale\n"
        "sys.exit(upscale.main(sys.argv[1:]))"
    )
    arguments = ["a.png", "--scale=3", f"--overlap={overlap}"]
    process = _run_code(code, arguments, tmp_path)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "a_x3.png").is_file()


def test_process_loads_no_more_than_it_needs(tmp_path, weight_file):
    """--help without JAX; a whole run without TensorFlow and Orbax, and silent but for its line."""
    _rgb().save(tmp_path / "in.png")
    code = """
import sys
loaded = lambda *names: [name for name in names if name in sys.modules]
from srcnn_jax import upscale
try:
    upscale.main(["--help"])
except SystemExit as status:
    assert status.code == 0
assert not loaded("jax", "flax", "tensorflow", "orbax", "scipy"), loaded("jax", "flax", "scipy")
status = upscale.main(sys.argv[1:])
assert not loaded("tensorflow", "orbax")
sys.exit(status)
"""
    arguments = ["in.png", "--scale", "3", "--weights", weight_file.name]
    process = _run_code(code, arguments, tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.splitlines()[-1].startswith("in_x3.png: 11x9 -> 33x27")
