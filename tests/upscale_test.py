"""Enlarging pictures: every mode, metadata, sizes, and the command line."""

import dataclasses
import errno
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_networks import IDENTITY, assert_equal, bicubic, network, random, rgb
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from srcnn_jax import enlargement, image, pictures, upscale
from srcnn_jax.datasets import files
from srcnn_jax.weights import load_pretrained, pretrained, save

REPOSITORY = Path(__file__).parents[1]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION, EXIF_IFD, PIXEL_WIDTH, PIXEL_HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003


@pytest.fixture
def weight_file(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save(path, network(identity=True, scale=3))
    return path


@pytest.fixture
def run(tmp_path, weight_file, monkeypatch, capsys):
    """The command line in tmp_path; returns exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments, weights=weight_file, scale=3):
        options = ["--scale", str(scale)] if scale else []
        options += ["--weights", str(weights)] if weights else []
        status = upscale.main([*map(str, arguments), *options])
        return status, *capsys.readouterr()

    return command


# --- modes and metadata ---------------------------------------------------------------------------


def _modes():
    colour = rgb()
    grey = colour.convert("L")
    rgba = colour.convert("RGBA")
    rgba.putalpha(grey.point(lambda value: max(value, 1)))
    palette = colour.quantize(16)
    keyed, keyed_grey, keyed_palette = colour.copy(), grey.copy(), palette.copy()
    keyed.info["transparency"] = colour.getpixel((0, 0))
    keyed_grey.info["transparency"] = grey.getpixel((0, 0))
    keyed_palette.info["transparency"] = 3
    sixteen = Image.fromarray(random((9, 11), np.uint16))
    wide = Image.fromarray(np.asarray(sixteen).astype(np.int32))
    return {
        "1": (colour.convert("1"), "L"),
        "L": (grey, "L"),
        "L with tRNS": (keyed_grey, "LA"),
        "LA": (rgba.convert("LA"), "LA"),
        "RGB": (colour, "RGB"),
        "RGB with tRNS": (keyed, "RGBA"),
        "RGBA": (rgba, "RGBA"),
        "RGBa": (rgba.convert("RGBa"), "RGBA"),
        "P": (palette, "RGB"),
        "P with tRNS": (keyed_palette, "RGBA"),
        "PA": (palette.convert("PA"), "RGBA"),
        "CMYK": (colour.convert("CMYK"), "RGB"),
        "YCbCr": (colour.convert("YCbCr"), "RGB"),
        "LAB": (colour.convert("LAB"), "RGB"),
        "HSV": (colour.convert("HSV"), "RGB"),
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
        flat = enlargement._fill_transparent(flat)
    assert_equal(result, bicubic(flat))
    assert "transparency" not in result.info


def test_float_mode():
    pixels = random((9, 11)).astype(np.float32)
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
    picture = rgb(6, 4)
    exif = picture.getexif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF_IFD).update({PIXEL_WIDTH: 6, PIXEL_HEIGHT: 4})
    file = io.BytesIO()
    picture.save(file, "PNG", exif=exif)
    picture = Image.open(file)
    result = upscale.upscale(picture, 3, IDENTITY)
    upright = ImageOps.exif_transpose(picture)
    assert_equal(result, bicubic(np.asarray(upright)))
    assert result.size == ((12, 18) if orientation > 4 else (18, 12))
    file = io.BytesIO()
    result.save(file, "PNG", **result.info)
    exif = Image.open(file).getexif()
    assert exif.get(ORIENTATION, 1) == 1
    details = exif.get_ifd(EXIF_IFD)
    assert (details[PIXEL_WIDTH], details[PIXEL_HEIGHT]) == result.size
    assert picture.getexif().get(ORIENTATION) == orientation  # the caller's picture is untouched


def test_damaged_exif_is_left_out(caplog):
    picture = rgb()
    picture.info["exif"] = b"not a TIFF header"
    result = upscale.upscale(picture, 2, IDENTITY)
    assert "exif" not in result.info
    assert "damaged EXIF" in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_files_keep_profile_resolution_and_exif(suffix, run):
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    rgb().save("in.png", icc_profile=SRGB, dpi=(300, 300), exif=exif)
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
    rgb().save("in.png", pnginfo=chunks)
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        status, _, errors = run("in.png", "-o", f"out{suffix}")
        assert (status, errors) == (0, "")


def test_cmyk_profile_is_used_or_dropped(caplog):
    picture = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert "icc_profile" not in upscale.upscale(picture, 2, IDENTITY).info
    picture.info["icc_profile"] = SRGB  # does not fit the mode
    result = upscale.upscale(picture, 2, IDENTITY)
    assert "icc_profile" not in result.info
    assert "CMYK profile of the picture is unusable" in caplog.text
    assert result.getpixel((0, 0)) == (255, 0, 0)


def test_sixteen_bit_file_to_file(run):
    pixels = random((9, 11), np.uint16)
    Image.fromarray(pixels).save("in.png")
    for name in ("out.png", "out.tif"):
        assert run("in.png", "-o", name)[0] == 0
        with Image.open(name) as result:
            assert_equal(np.asarray(result).astype(np.uint16), bicubic(pixels))


# --- command line ---------------------------------------------------------------------------------


def test_default_name_and_the_line_printed(run):
    rgb().save("photo.jpg")
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
        rgb().save(tmp_path / name)
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
    rgb().save("a.png", pnginfo=text)
    before = PngImagePlugin.MAX_TEXT_CHUNK
    assert run("a.png")[0] == 0
    (decoded,) = files.read_folder(Path())[:1]
    assert decoded.pixels.shape == (9, 11, 3)
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


def test_several_files_into_a_folder_and_one_of_them_bad(run):
    rgb().save("a.png")
    rgb().save("b.jpg")
    Path("bad.png").write_bytes(b"")
    status, output, errors = run("a.png", "bad.png", "b.jpg", "-o", "big")
    assert status == 1
    assert sorted(os.listdir("big")) == ["a_x3.png", "b_x3.png"]
    assert output.count("\n") == 2
    assert errors.startswith("srcnn-upscale: bad.png: not a readable picture")


def test_whatever_one_picture_raises_the_others_are_enlarged(run, monkeypatch):
    for name in ("a.png", "b.png"):
        rgb().save(name)
    read = pictures.read

    def odd(path, frame):
        if path.name == "a.png":
            raise RuntimeError("a fault\nof two lines")
        return read(path, frame)

    monkeypatch.setattr(pictures, "read", odd)
    status, out, err = run("a.png", "b.png", "-o", "out")
    assert status == 1
    assert err == "srcnn-upscale: a.png: RuntimeError: a fault of two lines\n"
    assert out.startswith("out/b_x3.png")


def test_weights_of_another_scale_are_used_in_a_chain(run):
    """A network enlarges by its own scale; what is too large is shrunk."""
    pixels = random((9, 11, 3), np.uint8)
    Image.fromarray(pixels).save("in.png")
    status, output, errors = run("in.png", scale=2)
    assert (status, errors) == (0, "")
    assert "11x9 -> 22x18" in output
    assert output.endswith("(tiny.safetensors, x3, shrunk)\n")
    expected = image.imresize(np.clip(image.imresize(pixels / 255, 3), 0, 1), output_shape=(18, 22))
    with Image.open("in_x2.png") as result:
        assert np.abs(np.asarray(result) / 255 - expected.clip(0, 1)).max() <= 0.501 / 255


def test_opaque_alpha_goes_into_a_jpeg(run):
    rgb().convert("RGBA").save("in.png")
    assert run("in.png", "-o", "out.jpg")[0] == 0


def _bad_inputs():
    file = io.BytesIO()
    rgb(64, 64).save(file, "PNG")
    transparent = Image.new("RGBA", (4, 4), (1, 2, 3, 100))
    floats = io.BytesIO()
    Image.new("F", (4, 4)).save(floats, "TIFF")
    png, out = "in.png", ["-o", "out.png"]
    return {
        "missing": (None, out, "in.png: there is no such file"),
        "empty": (b"", out, "not a readable picture (its content is no picture)"),
        "no image": (b"hello", out, "not a readable picture (its content is no picture)"),
        "truncated": (file.getvalue()[:2000], out, "not a readable picture"),
        "suffix": (rgb(), ["-o", "out.xyz"], "out.xyz: the name of an output file ends in .png"),
        "no suffix": (rgb(), ["-o", "out"], "that of a folder in /"),
        "nothing": (rgb(), ["-o", ""], "the output -o is empty"),
        "no folder": (rgb(), ["-o", "no/out.png"], "its folder does not exist"),
        "itself": (rgb(), ["-o", png], "would overwrite an input"),
        "alpha": (transparent, ["-o", "out.jpg"], "cannot hold its transparency; name a file in"),
        "depth": (
            floats.getvalue(),
            ["-o", "out.webp"],
            "cannot hold its F pixels; name a file in .tif",
        ),
        "one file": (rgb(), ["bad.mat", "-o", "big.png"], "2 pictures need a folder"),
        "no match": (rgb(), ["x*.png", "-o", "big/"], "no file matches x*.png"),
        "quality": (rgb(), [*out, "--quality", "80"], "is of the formats .jpg, .jpeg, .webp"),
        "qualities": (rgb(), ["--quality", "0"], "--quality is from 1 to 100, not 0"),
        "two formats": (rgb(), [*out, "--format", "jpg"], "--format jpg and -o out.png"),
        "frame": (rgb(), [*out, "--frame", "2"], "frame 2 of 1: --frame is from 1 to 1"),
        "two sizes": (rgb(), ["--height", "50"], "--scale and --height: name one of them"),
        "no weights": (rgb(), [*out, "--weights", "none.mat"], "no weight file none.mat"),
        "bad weights": (rgb(), [*out, "--weights", "bad.mat"], "not a usable weight file"),
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
    row = next(line for line in listed.stdout.splitlines() if line.startswith("915       x3"))
    assert row.split()[2:5] == ["9-1-5,", "64-32", "8,032"]
    rgb().save("a.png")
    status, out, _ = run("a.png", "--network", "915", weights=None)
    assert status == 0
    assert out.endswith("(network 915, 9-1-5)\n")
    status, _, err = run("a.png", "--network", "916", weights=None)
    assert status == 1
    assert "there is no network '916': choose best, 915" in err


def test_weights_and_a_network_exclude_each_other(run, weight_file, capsys):
    rgb().save("a.png")
    with pytest.raises(SystemExit):
        run("a.png", "--network", "916")
    assert "--weights: not allowed with argument --network" in capsys.readouterr().err
    with pytest.raises(ValueError, match="weights and network '916': name one of them"):
        upscale.upscale("a.png", weights=weight_file, network="916")


def said_of(network: str) -> str:
    """What `upscale` says of the network that it used for x2."""
    card = pretrained.choose(2, network)
    return f"(network {card.network}, {card.architecture.partition(',')[0]})"


@pytest.fixture
def photo_networks(tmp_path, monkeypatch):
    """The networks that ship, and copies of them that say they are for photographs."""
    folder = tmp_path / "pretrained"
    shutil.copytree(pretrained.FOLDER, folder)
    cards = [card for card in pretrained.read_cards() if card.network != "photo"]
    for card in [card for card in cards if card.network == "915"]:
        photo = dataclasses.replace(card, network="photo", small_images="bicubic, JPEG 50 to 95")
        (folder / photo.file.name).write_bytes(card.file.read_bytes())
        cards.append(photo)
    content = json.dumps([dataclasses.asdict(card) for card in cards])
    (folder / "cards.json").write_text(content)
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    upscale._bundled.cache_clear()
    yield
    upscale._bundled.cache_clear()


def test_the_network_for_photographs_by_the_quality_of_a_jpeg(run, photo_networks):
    for quality in (60, 98):
        rgb(32, 32).save(f"{quality}.jpg", quality=quality)
    rgb().save("a.png")
    networks = {"60.jpg": "photo", "98.jpg": "best", "a.png": "best"}
    for name, chosen in networks.items():
        status, out, _ = run(name, "--network", "auto", weights=None)
        assert (status, out.endswith(f"{said_of(chosen)}\n")) == (0, True), name
        status, out, _ = run(name, "--overwrite", weights=None)
        hint = "; its JPEG quality is about 60: --network photo may be better"
        assert out.endswith(f"{said_of('best')}{hint * (name == '60.jpg')}\n"), name
    status, out, _ = run("a.png", "--network", "photo", "--overwrite", weights=None)
    assert out.endswith(f"{said_of('photo')}\n")
    assert upscale.upscale("60.jpg", network="auto").size == (64, 64)
    assert upscale.upscale(np.asarray(rgb()), network="auto").shape == (18, 22, 3)


def test_no_network_for_photographs_is_said_in_a_line(run, tmp_path, monkeypatch):
    folder = tmp_path / "pretrained"
    shutil.copytree(pretrained.FOLDER, folder)
    cards = [card for card in pretrained.read_cards() if card.network != "photo"]
    (folder / "cards.json").write_text(json.dumps([dataclasses.asdict(card) for card in cards]))
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    upscale._bundled.cache_clear()
    rgb(32, 32).save("a.jpg", quality=60)
    for named in ("photo", "auto"):
        status, out, err = run("a.jpg", "--network", named, weights=None)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "there is no network for pictures saved as JPEG, 'photo': choose best, 915" in err
    status, out, _ = run("a.jpg", weights=None)
    assert out.endswith(f"{said_of('best')}\n")  # and no hint
    upscale._bundled.cache_clear()


@pytest.mark.parametrize("scale", ["0", "1", "-2", "nan", "inf", "17"])
def test_scales_that_are_none(scale, run):
    rgb().save("in.png")
    status, _, errors = run("in.png", weights=None, scale=scale)
    assert status == 1
    said = float(scale)
    assert errors == f"srcnn-upscale: the scale is a number above 1 and up to 16, not {said}\n"


def test_only_huge_pictures_are_refused(run, monkeypatch):
    Image.new("1", (10000, 9000)).save("in.png")  # 90 megapixels: Pillow would warn
    small = pictures.from_image(rgb())
    monkeypatch.setattr(pictures, "from_image", lambda *_: small)
    assert run("in.png", "-o", "out.png")[0] == 0
    monkeypatch.setattr(pictures, "MAX_PIXELS", 80_000_000)
    status, _, errors = run("in.png", "-o", "out.png", "--overwrite")
    assert status == 1
    assert "10000x9000 pixels" in errors


def test_a_failed_write_leaves_the_old_output(run, monkeypatch):
    rgb().save("in.png")
    Path("out.png").write_bytes(b"old")
    before = sorted(os.listdir())

    def full_disk(_):  # when a part has been written
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    status, _, errors = run("in.png", "-o", "out.png", "--overwrite")
    assert status == 1
    assert "out.png cannot be written (No space left on device)" in errors
    assert Path("out.png").read_bytes() == b"old"
    assert sorted(os.listdir()) == before


def test_results_that_exist_are_replaced_or_left_out_only_if_told_so(run):
    for name in ("a.png", "b.png"):
        rgb().save(name)
    Path("a_x3.png").write_bytes(b"old")
    status, out, err = run("a.png", "b.png")
    assert (status, out) == (1, "")
    assert err == (
        "srcnn-upscale: 1 of 2 results exist, a_x3.png first: add --overwrite or --skip_existing\n"
    )
    assert not Path("b_x3.png").exists()
    status, out, _ = run("a.png", "b.png", "--skip_existing")
    assert status == 0
    assert out.splitlines()[0] == "1 of 2 results exist, a_x3.png first: left out"
    assert out.splitlines()[1].startswith("b_x3.png: ")
    assert Path("a_x3.png").read_bytes() == b"old"
    assert run("a.png", "b.png", "--overwrite")[0] == 0
    assert Image.open("a_x3.png").size == (33, 27)


def test_results_are_not_enlarged_again(run):
    rgb().save("a.png")
    assert run("*.png")[0] == 0
    status, out, _ = run("*.png", "--overwrite")
    assert status == 0
    assert out.splitlines()[0] == "passed over 1 results of this command: a_x3.png"
    assert sorted(os.listdir()) == ["a.png", "a_x3.png", "tiny.safetensors"]


def test_a_folder_with_its_folders_into_another(run):
    for name in ("in/a.png", "in/deep/er/b.jpg", "in/.hidden.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        rgb().save(name)
    Path("in/notes.txt").write_text("no picture")
    status, out, err = run("in", "-r", "-o", "in/big", "--format", "webp")
    assert (status, err) == (0, "")
    assert out.count("\n") == 2
    made = sorted(str(path) for path in Path("in/big").rglob("*.*"))
    assert made == ["in/big/a_x3.webp", "in/big/deep/er/b_x3.webp"]
    status, out, _ = run("in", "-r", "-o", "in/big", "--format", "webp", "--overwrite")
    assert (status, out.count("\n")) == (0, 2)


def test_standard_input_and_output(tmp_path):
    file = io.BytesIO()
    rgb().save(file, "BMP")
    command = [sys.executable, "-m", "srcnn_jax.upscale", "-", "--format", "JPG", "--quality=90"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        input=file.getvalue(),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    result = Image.open(io.BytesIO(done.stdout))
    assert (result.format, result.size) == ("JPEG", (22, 18))
    assert done.stderr.startswith(b"standard output.jpg: 11x9 -> 22x18")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "size", "name"),
    [
        (["--scale", "1.5"], (17, 14), "x1.5"),
        (["--scale", "6"], (66, 54), "x6"),
        (["--width", "40"], (40, 33), "w40"),
        (["--height", "18"], (22, 18), "h18"),
        (["--width", "1000", "--height", "20"], (24, 20), "1000x20"),
        ([], (22, 18), "x2"),
    ],
)
def test_sizes(options, size, name, run):
    rgb().save("a.png")
    status, _, err = run("a.png", *options, weights=None, scale=None)
    assert (status, err) == (0, "")
    assert Image.open(f"a_{name}.png").size == size


def test_a_box_that_is_no_enlargement(run):
    rgb().save("a.png")
    status, _, err = run("a.png", "--width", "11", weights=None, scale=None)
    assert status == 1
    assert err == "srcnn-upscale: a.png: a width 11 is no enlargement of 11x9 pixels\n"


@pytest.mark.parametrize("after", [".png", ".webp", ".gif"])
@pytest.mark.parametrize("before", [".png", ".webp", ".gif"])
def test_animations_keep_all_frames(before, after, run):
    shades = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    first, *others = (Image.new("RGB", (12, 10), shade) for shade in shades)
    options = {"lossless": True} if before == ".webp" else {}
    durations = [100, 250, 40]
    first.save(f"in{before}", save_all=True, append_images=others, duration=durations, **options)
    status, out, err = run(f"in{before}", "-o", f"out{after}")
    assert (status, err) == (0, "")
    assert "12x10 -> 36x30, 3 frames, " in out
    with Image.open(f"out{after}") as result:
        assert result.n_frames == 3
        for index, shade in enumerate(shades):
            result.seek(index)
            pixels = np.asarray(result.convert("RGB")).astype(int)
            assert pixels.shape == (30, 36, 3)
            assert np.abs(pixels - shade).max() <= (8 if after == ".webp" else 3)
            assert result.info["duration"] == durations[index]
        played_once = before == ".gif"
        assert result.info.get("loop", "none") == {
            ".gif": "none" if played_once else 0, ".png": int(played_once),
            ".webp": int(played_once),
        }[after]  # fmt: skip


def test_one_frame_of_an_animation(run):
    second = Image.new("RGB", (11, 9), (0, 90, 0))
    rgb().save("in.gif", save_all=True, append_images=[second])
    status, _, err = run("in.gif", "-o", "out.jpg")
    assert status == 1
    assert "out.jpg cannot hold 2 frames; name a file in .png, .webp, .gif, or one frame by" in err
    assert run("in.gif", "-o", "out.jpg", "--frame", "2")[0] == 0
    pixels = np.asarray(Image.open("out.jpg")).astype(int)
    assert np.abs(pixels - (0, 90, 0)).max() <= 3


def test_a_path_in_python_and_the_default_scale(run):
    rgb().save("a.png")
    result = upscale.upscale("a.png")
    assert result.size == (22, 18)
    np.testing.assert_array_equal(result, upscale.upscale(rgb()))
    assert upscale.load_networks() is upscale.load_networks()  # they are read once
    np.testing.assert_array_equal(
        upscale.upscale(rgb(), 6), upscale.upscale(rgb(), 6.0, network="best")
    )


def test_chains_of_the_bundled_networks():
    pixels = random((12, 10))
    two = upscale.upscale(pixels, 2, load_pretrained(2))
    six = upscale.upscale(two, 3, load_pretrained(3))
    np.testing.assert_allclose(upscale.upscale(pixels, 6), six, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "-s", "2x"], "argument -s/--scale: it is a number, as 3 or 1.5, not '2x'"),
        (["a.png", "--width", "1e3"], "argument --width: it is a number of pixels, as 1920"),
        (["a.png", "-s", "2", "--width", "40"], "--width: not allowed with argument -s/--scale"),
        (["a.png", "--format", "pdf"], "argument --format: invalid choice: 'pdf'"),
        ([], "the following arguments are required: PICTURE"),
    ],
)
def test_mistakes_of_the_command_line_are_one_line(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        upscale.main(arguments)
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.startswith("srcnn-upscale: ")
    assert errors.count("\n") == 1


def test_pictures_may_follow_options(run):
    for name in ("a.png", "b.png"):
        rgb().save(name)
    assert run("a.png", "-o", "out/", "b.png")[0] == 0
    assert sorted(os.listdir("out")) == ["a_x3.png", "b_x3.png"]


def test_pictures_may_begin_with_a_hyphen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-a.png", "--b.png", "c.png"):
        rgb().save(name)
    assert upscale.main(["-o", "out/", "--", "-a.png", "--b.png", "c.png"]) == 0
    assert sorted(os.listdir("out")) == ["--b_x2.png", "-a_x2.png", "c_x2.png"]


def test_one_bad_path_does_not_stop_the_others(run):
    """A name that is too long for a result, a folder in the way, a broken link."""
    rgb().save("a.png")
    rgb().save("x" * 251 + ".png")
    Path("link.png").symlink_to("nowhere.png")
    Path("out").mkdir()
    for _ in range(2):
        status, out, errors = run("a.png", "x*.png", "link.png", "-o", "out/", "--overwrite")
        assert status == 1
        assert out.startswith("out/a_x3.png")
        assert "(File name too long)" in errors
        assert "link.png: there is no such file" in errors
        assert errors.count("\n") == 2


def test_what_we_may_not_read_does_not_stop_the_others(run, monkeypatch):
    """A file, and a file in a folder that we may not even look into."""
    rgb().save("a.png")
    closed = "file.png", "folder/b.png"

    def deny(call):
        def denied(path, *arguments, **options):
            if str(path) in closed:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *arguments, **options)

        return denied

    monkeypatch.setattr(Path, "read_bytes", deny(Path.read_bytes))
    monkeypatch.setattr(os, "stat", deny(os.stat))
    status, out, errors = run("file.png", "a.png", "folder/b.png")
    assert (status, out.count("\n")) == (1, 1)
    assert errors.splitlines() == [
        f"srcnn-upscale: {name}: it cannot be read (Permission denied)" for name in closed
    ]


def test_names_with_control_characters_are_one_line(run):
    rgb().save("a\n\x1b.png")
    status, out, _ = run("a\n\x1b.png")
    assert (status, out.count("\n")) == (0, 1)
    assert out.startswith("a\\n\\x1b_x3.png")


def test_warnings_with_control_characters_are_one_line(capsys):
    with pytest.raises(SystemExit):
        upscale.main(["--version"])
    record = logging.LogRecord("", logging.WARNING, "", 0, "warning: %s", ("a\n\x1b[31m",), None)
    logging.lastResort.handle(record)
    assert capsys.readouterr().err == "warning: a\\n\\x1b[31m\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_pipe_with_a_name(run):
    file = io.BytesIO()
    rgb().save(file, "PNG")
    os.mkfifo("a.png")
    with subprocess.Popen([sys.executable, "-c", PIPE, "a.png"], stdin=subprocess.PIPE) as writer:
        writer.stdin.write(file.getvalue())
        writer.stdin.close()
        assert run("a.png")[0] == 0


PIPE = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"


def test_nobody_reads_the_lines(tmp_path):
    rgb().save(tmp_path / "a.png")
    command = [sys.executable, "-m", "srcnn_jax.upscale", "a.png"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    assert (tmp_path / "a_x2.png").is_file()


def test_devices_that_are_not_there_are_one_line(tmp_path):
    rgb().save(tmp_path / "a.png")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cuda"}
    command = [sys.executable, "-m", "srcnn_jax.upscale", "a.png"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("srcnn-upscale: JAX_PLATFORMS=cuda names devices")
    assert done.stderr.count("\n") == 1


def test_the_orientation_in_xmp_is_applied_once(run):
    name = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    for form in ('tiff:Orientation="6"/>', "><tiff:Orientation>6</tiff:Orientation></x>"):
        xmp = f'<x xmlns:r="{name}" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {form}'
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        rgb(12, 10).save("a.jpg", exif=exif, xmp=xmp.encode())
        for suffix in (".png", ".jpg", ".webp", ".tif"):
            assert run("a.jpg", "-o", f"b{suffix}", "--overwrite")[0] == 0
            with Image.open(f"b{suffix}") as result:
                assert ImageOps.exif_transpose(result).size == (30, 36)
            assert b"Orientation" in pictures.read(Path(f"b{suffix}")).info["xmp"]


def test_mistakes_in_python_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nope.png: there is no such file"):
        upscale.upscale(tmp_path / "nope.png")
    for scale, said in ((None, "needs a scale"), ("2", "is a number, not '2'")):
        with pytest.raises(ValueError, match=said):
            upscale.upscale(rgb(), scale)
    for nothing in (None, [[1, 2]], b"bytes", io.BytesIO(), np.float32(1)):
        with pytest.raises(ValueError, match="a PIL image, a NumPy array or a path, not of type"):
            upscale.upscale(nothing)
    with pytest.raises(ValueError, match="weights are a Network or a path, not of type int"):
        upscale.upscale(rgb(), weights=915)


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        upscale.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("srcnn-upscale 0.")


def test_flags_are_not_guessed(capsys):
    with pytest.raises(SystemExit) as stop:
        upscale.main(["a.png", "--scal=3"])
    assert stop.value.code == 2
    said = "srcnn-upscale: unrecognized arguments: --scal=3; see --help\n"
    assert capsys.readouterr().err == said


def _run_code(code, arguments, folder):
    """A program in a process of its own, in a folder."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("overlap", enlargement.OVERLAPS)
def test_without_the_packages_of_training(overlap, tmp_path):
    rgb().save(tmp_path / "a.png")
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
    rgb().save(tmp_path / "in.png")
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


def test_a_bar_on_a_terminal(tmp_path, weight_file):
    """A bar over files is on a terminal; each file has its line there, too."""
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    for name in ("a.png", "b.png"):
        rgb().save(tmp_path / name)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "srcnn_jax.upscale", "a.png", "b.png", "--scale=3"]
    process = subprocess.Popen(
        [*command, f"--weights={weight_file}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while chunk := _read(ours):
        seen += chunk
    assert process.wait() == 0
    assert b"picture:   0%|" in seen
    assert b"a_x3.png: 11x9 -> 33x27" in seen


def _read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""
