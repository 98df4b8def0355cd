"""Picture files: reading, writing, Pillow's modes and the metadata that an output keeps."""

import contextlib
import io
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

MAX_PIXELS = 500_000_000  # max pixels of an input; a larger one may be a decompression bomb
EXIF_PREFIX = b"Exif\0\0"  # in JPEG files, and in what Pillow's writers take
MAX_TEXT_BYTES = 2**26  # max bytes of a PNG's text and profile, uncompressed
# The entries of `Image.info` that are kept, and their types. The types are checked, because the
# text of a PNG can have any name.
KEPT: dict[str, Any] = {
    "icc_profile": bytes,
    "exif": bytes,
    "dpi": tuple,
    "xmp": bytes,
    "comment": (bytes, str),
}

_log = logging.getLogger(__name__)

OPTIONS = {  # what `Image.save` is told, by suffix
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
}
MAX_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # pixels
_EIGHT_BIT = ("L", "LA", "RGB", "RGBA")
MODES = {  # modes that an output file can hold, by its suffix
    ".png": (*_EIGHT_BIT, "I;16"),
    ".jpg": ("L", "RGB"),
    ".jpeg": ("L", "RGB"),
    ".webp": _EIGHT_BIT,
    ".tif": (*_EIGHT_BIT, "I;16", "F"),
    ".tiff": (*_EIGHT_BIT, "I;16", "F"),
    ".bmp": ("L", "RGB", "RGBA"),
}


def read(path: Path) -> Image.Image:
    """Reads the first frame of a picture file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is not a readable picture, or has more than `MAX_PIXELS` pixels.
    """
    if not path.is_file():
        raise FileNotFoundError("there is no such file, or it is a folder")
    try:
        # From a path, Pillow maps some TIFF files into memory and then turns them wrongly.
        content = io.BytesIO(path.read_bytes())
        picture: Image.Image
        with raised_text_limits(), Image.open(content) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{opened.width}x{opened.height} pixels, limit {MAX_PIXELS}")
            frames = getattr(opened, "n_frames", 1)
            rawmode = opened.tile[0].args if opened.tile else None
            opened.load()
        if "transparency" in opened.info and opened.format == "PNG":
            opened.info["transparency"] = _as_pixels(opened.info["transparency"], rawmode)
        picture = correct_levels(opened)
    except PermissionError:
        raise
    except Exception as error:  # decoders raise undocumented errors on damaged files
        reason: Any = error
        if isinstance(error, UnidentifiedImageError):  # Pillow would print the address of a buffer
            reason = "its content is no picture"
        raise ValueError(f"not a readable picture ({reason})") from error
    if frames > 1 and opened.format != "MPO":  # a phone's MPO holds previews of one picture
        _log.warning("warning: %s has %d frames; only the first is enlarged", path, frames)
    return picture


def _as_pixels(colour: Any, rawmode: Any) -> Any:
    """Converts the transparent colour of a PNG from units of the file to units of Pillow's pixels.

    Pillow scales grey pixels of 2 and 4 bits to 8, and cuts RGB of 16 bits to 8, but leaves the
    colour as it is in the file.
    """
    if rawmode in ("L;2", "L;4") and isinstance(colour, int):
        return colour * {"L;2": 85, "L;4": 17}[rawmode]
    if rawmode == "RGB;16B" and isinstance(colour, tuple):
        return tuple(value >> 8 for value in colour)
    return colour


def correct_levels(picture: Image.Image) -> Image.Image:
    """Returns a grey TIFF picture with the levels that it means, where Pillow leaves the file's.

    Pillow inverts pictures whose white is zero only if they have 8 bits or fewer, and does not
    scale those of 12 bits. Other pictures are returned as they are.

    Raises:
      ValueError: if white is zero in a picture of 32 bits, whose white is not known.
    """
    tags = getattr(picture, "tag_v2", None)
    if tags is None or not (picture.mode.startswith("I") or picture.mode == "F"):
        return picture
    # BitsPerSample and PhotometricInterpretation
    bits, white_is_zero = tags.get(258, (1,))[0], tags.get(262) == 0
    if bits > 16 and white_is_zero:
        raise ValueError("grey of 32 bits with white as zero is not supported")
    if bits != 12 and not white_is_zero:
        return picture
    values = np.asarray(picture).astype(np.int64)
    if bits == 12:
        values = (values * 65535 + 2047) // 4095
    if white_is_zero:
        values = 65535 - values
    corrected = Image.fromarray(values.astype(np.uint16))
    corrected.info = dict(picture.info)
    orientation = Image.Exif()
    orientation[ExifTags.Base.Orientation] = picture.getexif().get(ExifTags.Base.Orientation, 1)
    corrected.info["exif"] = orientation.tobytes()  # of a TIFF it is in the file's tags
    return corrected


@contextlib.contextmanager
def raised_text_limits() -> Iterator[None]:
    """Lets Pillow read PNG files with up to `MAX_TEXT_BYTES` of compressed text and profiles.

    Pillow's limit is 1 MB. The pictures of Stable Diffusion front ends hold their workflow as text,
    and scans hold large profiles.
    """
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = limits


def write(picture: Image.Image, path: Path) -> None:
    """Saves a picture atomically: `path` is never an incomplete file.

    Raises:
      OSError: if the file cannot be written.
    """
    partial = path.with_name(f".upscale{os.getpid()}.partial{path.suffix.lower()}")
    try:
        picture.save(partial, **_options(path), **picture.info)  # type: ignore[arg-type]
        partial.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def prepare(picture: Image.Image, scale: int) -> Image.Image:
    """Returns the picture upright, in mode L, LA, RGB, RGBA, I;16 or F, with the output's metadata.

    A CMYK picture becomes RGB, because networks work on RGB or YCbCr. Its ICC profile is used for
    the conversion, and sRGB's profile replaces it. Any other picture keeps its profile, because its
    pixels keep their colour space.

    Args:
      picture: a picture of any mode.
      scale: factor of the enlargement, for the size in the EXIF data.

    Raises:
      ValueError: if the picture is 32-bit grey with values outside 0..65535.
    """
    try:
        picture = ImageOps.exif_transpose(picture)
        exif = picture.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        if ExifTags.Base.ExifImageWidth in details and "exif" in picture.info:
            details[ExifTags.Base.ExifImageWidth] = picture.width * scale
            details[ExifTags.Base.ExifImageHeight] = picture.height * scale
            picture.info["exif"] = exif.tobytes()
    except Exception as error:  # Pillow raises undocumented errors on damaged EXIF data
        _log.warning("warning: damaged EXIF data is left out (%s)", error)
        picture = picture.copy()
        picture.info.pop("exif", None)
    info: dict[Any, Any] = {
        key: picture.info[key]
        for key, kind in KEPT.items()
        if picture.info.get(key) and isinstance(picture.info[key], kind)
    }
    if "exif" in info and not info["exif"].startswith(EXIF_PREFIX):  # WebP's has no prefix
        info["exif"] = EXIF_PREFIX + info["exif"]
    if "dpi" in info and not all(0 < each < math.inf for each in info["dpi"]):
        _log.warning("warning: a resolution of %s is left out", info.pop("dpi"))
    if picture.mode.startswith("I"):  # 16-bit grey in either byte order, or as 32-bit integers
        if picture.has_transparency_data:
            _log.warning("warning: the transparent colour of a 16-bit picture is left out")
        grey = np.asarray(picture)
        if grey.size and not 0 <= grey.min() <= grey.max() <= 65535:
            raise ValueError(
                f"32-bit grey from {grey.min()} to {grey.max()} is not supported; "
                "rescale it to 16 bits (0..65535)"
            )
        picture = Image.fromarray(grey.astype(np.uint16))
    elif picture.mode in ("CMYK", "LAB"):
        picture = _srgb(picture, info.pop("icc_profile", None))
        info.update(picture.info)
    elif picture.mode != "F":
        colour = "L" if picture.mode in ("1", "L", "LA", "La") else "RGB"
        picture = picture.convert(colour + "A" * picture.has_transparency_data)
    picture.info = info
    return picture


def _srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts CMYK or LAB to RGB. The result has sRGB's profile if `profile` was used."""
    picture.info = {}
    if profile and picture.mode == "CMYK":
        source, srgb = io.BytesIO(profile), ImageCms.createProfile("sRGB")
        try:
            return ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")  # type: ignore
        except ImageCms.PyCMSError as error:
            _log.warning("warning: the CMYK profile is unusable and left out (%s)", error)
    return picture.convert("RGB")


def _options(path: Path) -> dict[str, Any]:
    """What `Image.save` is told for a format."""
    return OPTIONS.get(path.suffix.lower(), {})


def fit(picture: Image.Image, path: Path, scale: int) -> Image.Image:
    """Returns the picture as the file can hold it when it is enlarged.

    A fully opaque alpha is removed. Metadata that the format cannot hold are left out, with a
    warning. Each piece is tried on a picture of one pixel, so all is known before the network runs.

    Args:
      picture: a picture from `prepare`. Its metadata are changed in place.
      path: the file.
      scale: factor of the enlargement.

    Raises:
      ValueError: if the file's format cannot hold the picture. The message names the formats that
        can.
    """
    width, height = (scale * side for side in picture.size)
    if max(width, height) > MAX_SIDE.get(path.suffix.lower(), math.inf):
        suffixes = ", ".join(key for key in MODES if key not in MAX_SIDE)
        raise ValueError(
            f"{path} cannot hold {width}x{height} pixels, because a side has at most "
            f"{MAX_SIDE[path.suffix.lower()]} there; name a file in {suffixes}"
        )
    modes = MODES[path.suffix.lower()]
    alpha = picture.getchannel("A") if picture.mode.endswith("A") else None
    if alpha and picture.mode not in modes and alpha.getextrema() == (255, 255):
        picture = picture.convert(picture.mode[:-1])
    if picture.mode not in modes:
        what = "transparency" if alpha else f"{picture.mode} pixels"
        suffixes = ", ".join(key for key in MODES if picture.mode in MODES[key])
        raise ValueError(f"{path} cannot hold its {what}; name a file in {suffixes}")
    picture.info = {
        key: value for key, value in picture.info.items() if _holds(path, picture, key, value)
    }
    return picture


def _holds(path: Path, picture: Image.Image, key: Any, value: Any) -> bool:
    """Whether the format of a file holds a piece of metadata; if not, a warning says so."""
    pixel = picture.crop((0, 0, 1, 1))
    pixel.info = {}
    try:
        kind = Image.registered_extensions()[path.suffix.lower()]
        pixel.save(file := io.BytesIO(), kind, **_options(path), **{key: value})
        if key == "icc_profile" and len(value) > 2**20:  # JPEG: cut at 255 pieces without a word
            with raised_text_limits(), Image.open(file) as written:
                if written.info.get(key) != value:
                    raise ValueError(f"{len(value)} bytes")
    except Exception as error:  # Pillow's encoders raise undocumented errors on odd metadata
        _log.warning("warning: %s cannot hold its %s, left out (%s)", path, key, error)
        return False
    return True
