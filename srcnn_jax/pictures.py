"""Pictures: reading their files, Pillow's modes, animations, and the metadata that are kept.

A picture is arrays and metadata, `Picture`. Its `kind` names its pixels as Pillow's modes do: L,
LA, RGB, RGBA, I;16 and F, and besides LA;16, RGB;16 and RGBA;16, which Pillow does not have.
"""

import contextlib
import dataclasses
import functools
import importlib
import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import (
    ExifTags,
    Image,
    ImageCms,
    ImageOps,
    PngImagePlugin,
    UnidentifiedImageError,
    features,
)

from srcnn_jax import deep_colour, png_chunks

MAX_PIXELS = 500_000_000  # max pixels of an input; a larger one may be a decompression bomb
SMALL = 2**24  # pixels of a picture that may be in a file of any size
# Max pixels for a byte of the file, in larger pictures. Photographs have under 10. Deflate makes at
# most 1,032 bytes of one. JPEG needs a bit for 64 pixels; Pillow fills what is missing with grey.
MAX_PIXELS_PER_BYTE = 1032
EXIF_PREFIX = b"Exif\0\0"  # in JPEG files, and in what Pillow's writers take
MAX_TEXT_BYTES = 2**26  # max bytes of a PNG's text and profile, uncompressed
TIFF_XMP, TIFF_RESOLUTION, TIFF_RESOLUTION_UNIT = 700, 282, 296  # tags
# The metadata that are kept, and their types. The types are checked, because the text of a PNG can
# have any name.
KEPT: dict[str, Any] = {
    "icc_profile": bytes,
    "exif": bytes,
    "dpi": tuple,
    "xmp": bytes,
    "comment": bytes,
    "texts": tuple,  # of a PNG, as `png_chunks.read`
    "colour_space": tuple,
}
XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\d([\"'<])")
EXIF_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# Tags of a TIFF that say what it shows, not how it is stored. They are EXIF data.
DESCRIPTIVE = frozenset(
    {
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.HostComputer,
        ExifTags.Base.Copyright,
        ExifTags.Base.Rating,
        ExifTags.Base.RatingPercent,
        ExifTags.Base.XPTitle,
        ExifTags.Base.XPComment,
        ExifTags.Base.XPAuthor,
        ExifTags.Base.XPKeywords,
        ExifTags.Base.XPSubject,
    }
)
# Formats that Pillow recognises but can decode only with the help of other programs.
NEED_HELP = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
NEED_PACKAGES = (".heic", ".heif", ".hif", ".avif")  # `require` names the package
JPEGS = ("JPEG", "MPO")  # Pillow's formats that are JPEG; a phone's MPO holds several
ANIMATED = ("GIF", "WEBP", "PNG")  # formats whose frames are an animation
PROFILES = {"L": b"GRAY", "I": b"GRAY", "F": b"GRAY", "R": b"RGB "}  # by the kind's first letter

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture, or an animation.

    Attributes:
      frames: arrays of one shape and dtype, upright: (H, W), (H, W, 2) with alpha, (H, W, 3) RGB or
        (H, W, 4) RGBA of uint8 or uint16, or (H, W) of float32. A picture has one.
      info: metadata, with the keys of `KEPT`.
      durations: milliseconds of each frame of an animation; empty for a picture.
      plays: how often an animation is played; 0 for without end.
      jpeg_quality: quality of the JPEG that it was read from, as `estimate_jpeg_quality`; None for
        other pictures.
    """

    frames: tuple[np.ndarray, ...]
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    durations: tuple[float, ...] = ()
    plays: int = 0
    jpeg_quality: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.frames[0].shape[:2]
        return width, height

    @property
    def kind(self) -> str:
        """The kind of its pixels, as Pillow's mode."""
        array = self.frames[0]
        if array.dtype.kind == "f":
            return "F"
        channels = ("L", "LA", "RGB", "RGBA")[array.shape[2] - 1 if array.ndim == 3 else 0]
        if array.dtype == np.uint8:
            return channels
        return "I;16" if channels == "L" else f"{channels};16"


# --- reading --------------------------------------------------------------------------------------


def read(path: Path, frame: int | None = None) -> Picture:
    """Reads a picture file. Arguments and errors are those of `decode`.

    Raises:
      OSError: if there is no such file, or it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError("there is no such file") from error
    except IsADirectoryError as error:
        raise IsADirectoryError("it is a folder") from error
    except OSError as error:
        raise OSError(f"it cannot be read ({error.strerror})") from error
    # From a path, Pillow maps some TIFF files into memory and then turns them wrongly.
    return decode(content, str(path), frame)


def decode(content: bytes, name: str, frame: int | None = None) -> Picture:
    """Decodes the bytes of a picture file.

    Args:
      content: the bytes.
      name: what warnings call the file.
      frame: the frame or page that is wanted, from 1 on; None for all frames of an animation
        (GIF, WebP, APNG), and for the first page of other files.

    Raises:
      ValueError: if they are not a readable picture, have more than `MAX_PIXELS` pixels, or no such
        frame.
    """
    try:
        with raised_text_limits(), _unlimited_size():
            picture = _decode(content, name, frame)
    except (RefusedError, ImportError) as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # decoders raise undocumented errors on damaged files
        reason: Any = error
        if isinstance(error, UnidentifiedImageError):  # Pillow would print the address of a buffer
            reason = "its content is no picture"
            if content.startswith(deep_colour.TIFF_BEGINNINGS):
                reason = "a TIFF of a kind that Pillow does not know"
        raise ValueError(f"not a readable picture ({reason})") from error
    bits = deep_colour.count_bits(content, (frame or 1) - 1)
    if bits > 8 and picture.frames[0].dtype == np.uint8:
        help = ""
        if not deep_colour.is_available() and deep_colour.is_deep(content):
            help = ": pip install 'srcnn-jax[16bit]'"
        _log.warning("warning: %s has %d bits, which become 8%s", name, bits, help)
    return picture


class RefusedError(ValueError):
    """A picture that is readable, but not accepted."""


@contextlib.contextmanager
def _unlimited_size() -> Iterator[None]:
    """Lets Pillow open pictures of any size: photographs exceed its limit. Ours is in `_open`."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def has_picture_name(path: Path) -> bool:
    """Whether a file has the suffix of a picture that can be read, and is not hidden."""
    suffix = path.suffix.lower()
    readable = Image.registered_extensions().get(suffix) in set(Image.OPEN) - NEED_HELP
    return (readable or suffix in NEED_PACKAGES) and not path.name.startswith(".")


def require_for(content: bytes) -> None:
    """Makes Pillow read a file of HEIC or AVIF; raises ImportError as `require`."""
    if content[4:8] == b"ftyp":  # the box that such files begin with names their brand
        brand = content[8:12]
        if brand in (b"avif", b"avis"):
            require("AVIF")
        elif brand[:3] in (b"hei", b"hev", b"mif", b"msf"):
            require("HEIC")


def _open(content: bytes) -> Image.Image:
    """Opens a picture; raises ImportError with the package to install if Pillow needs one."""
    require_for(content)
    opened = Image.open(io.BytesIO(content))
    _check_total(opened)
    check_size(opened, len(content))
    return opened


def _check_total(opened: Image.Image) -> None:
    """Raises RefusedError if all frames together have more than `MAX_PIXELS` pixels."""
    frames = getattr(opened, "n_frames", 1) if opened.format in ANIMATED else 1
    if opened.width * opened.height * frames > MAX_PIXELS:
        times = f"{frames} times " if frames > 1 else ""
        raise RefusedError(f"{times}{opened.width}x{opened.height} pixels, limit {MAX_PIXELS}")


def check_size(opened: Image.Image, size: int) -> None:
    """Raises ValueError if a file of `size` bytes cannot hold the pixels that it declares."""
    limit = max(SMALL, MAX_PIXELS_PER_BYTE * size * (64 if opened.mode == "1" else 1))  # fax
    if opened.width * opened.height > limit:
        raise RefusedError(
            f"{opened.width}x{opened.height} pixels in {size} bytes, where the limit is {limit}"
        )


def require(format: str) -> None:
    """Makes Pillow read and write HEIC or AVIF; raises ImportError with the package to install."""
    if format == "HEIC":
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError as error:
            raise ImportError(
                "HEIC pictures need the package pillow-heif: pip install pillow-heif"
            ) from error
    elif format == "AVIF" and not features.check("avif"):
        try:
            importlib.import_module("pillow_avif")
        except ImportError as error:
            raise ImportError(
                "AVIF pictures need a newer Pillow, or the package pillow-avif-plugin: "
                "pip install pillow-avif-plugin"
            ) from error


def _unknown_to_pillow(content: bytes, name: str, page: int) -> Picture:
    """`decode` of a TIFF of 16-bit grey with alpha."""
    tags = deep_colour.read_tags(content, page)
    width, height = tags[deep_colour.WIDTH], tags[deep_colour.HEIGHT]
    if width * height > MAX_PIXELS:
        raise RefusedError(f"{width}x{height} pixels, limit {MAX_PIXELS}")
    exif = Image.Exif()
    if b"+" not in content[:4]:  # Pillow reads no EXIF data of a BigTIFF
        exif.load_from_fp(io.BytesIO(content))
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    stand_in = Image.new("LA", (1, 1))
    stand_in.info = {
        "exif": _descriptive(exif).tobytes(),
        "icc_profile": tags.get(deep_colour.ICC_PROFILE),
        "xmp": tags.get(TIFF_XMP),
    }
    if tags.get(TIFF_RESOLUTION_UNIT, 2) == 2 and TIFF_RESOLUTION in tags:  # inches
        stand_in.info["dpi"] = (float(tags[TIFF_RESOLUTION]), float(tags[TIFF_RESOLUTION + 1]))
    return from_image(stand_in, _turn(deep_colour.decode(content, page), orientation), name)


def _decode(content: bytes, name: str, frame: int | None) -> Picture:
    """As `decode`, but raises whatever a decoder raises."""
    page = (frame or 1) - 1
    deep = deep_colour.is_deep(content, page) and deep_colour.is_available()
    try:
        opened = _open(content)
    except UnidentifiedImageError:
        if deep and content.startswith(deep_colour.TIFF_BEGINNINGS):
            return _unknown_to_pillow(content, name, page)
        raise
    with opened:
        return _decode_frames(opened, name, frame, content, deep)


def _decode_frames(
    opened: Image.Image, name: str, frame: int | None, content: bytes, is_deep: bool
) -> Picture:
    """`_decode`, of an open file; `is_deep` says whether its colour has 16 bits."""
    # A PNG may have a picture for programs that do not know animations. It is no frame.
    before = 1 if opened.info.get("default_image") else 0
    frames = getattr(opened, "n_frames", 1) - before
    if frame is not None and not 1 <= frame <= frames:
        raise RefusedError(f"frame {frame} of {frames}: --frame is from 1 to {frames}")
    animated = frames > 1 and opened.format in ANIMATED and frame is None
    if frames > 1 and frame is None and not animated and opened.format != "MPO":
        # A phone's MPO holds previews of one picture.
        _log.warning(
            "warning: %s has %d pages: only the first; --frame picks another", name, frames
        )
    chosen = range(frames) if animated else [(frame or 1) - 1]
    pictures, durations = [], []
    for index in chosen:
        if frames + before > 1:
            _seek(opened, index + before, len(content))
        deep = None
        if is_deep and not animated:  # Pillow turns a TIFF when it loads it
            orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
            deep = _turn(deep_colour.decode(content, index), orientation)
        pictures.append(from_image(_load(opened), deep, name, content))
        durations.append(float(opened.info.get("duration") or 0))
    if not animated:
        return pictures[0]
    return Picture(
        _alike([picture.frames[0] for picture in pictures]),
        pictures[0].info,
        tuple(durations),
        _plays(opened.info.get("loop"), str(opened.format)),
    )


def _seek(opened: Image.Image, index: int, size: int) -> None:
    """Goes to a frame or page, which may be larger than the first; raises as `_open`.

    Pillow makes room for a frame of a GIF before its size can be seen here. Its own check comes
    first, and raises at twice the limit that it is given.
    """
    if opened.format == "GIF":
        Image.MAX_IMAGE_PIXELS = max(SMALL, MAX_PIXELS_PER_BYTE * size) // 2
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            opened.seek(index)
    finally:
        Image.MAX_IMAGE_PIXELS = None  # as `_unlimited_size` set it
    _check_total(opened)
    check_size(opened, size)


def _load(opened: Image.Image) -> Image.Image:
    """Decodes the frame at which the file is, with the levels and colours that it means."""
    tiles = getattr(opened, "tile", None)
    rawmode = tiles[0].args if tiles else None
    opened.load()
    if "transparency" in opened.info and opened.format == "PNG":
        opened.info["transparency"] = _as_pixels(opened.info["transparency"], rawmode)
    return correct_levels(opened)


def _plays(loop: int | None, format: str) -> int:
    """How often an animation is played: a GIF counts repetitions, and without a number plays once.

    Returns:
      0 for without end.
    """
    if format == "GIF":
        return 1 if loop is None else loop and loop + 1
    return loop or 0


def _alike(frames: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Makes frames of grey, colour and alpha arrays of one shape: of uint8 (H, W[, C])."""
    counts = {1 if frame.ndim == 2 else frame.shape[2] for frame in frames}
    if len(counts) == 1:
        return tuple(frames)
    mode = ("RGB" if counts & {3, 4} else "L") + "A" * bool(counts & {2, 4})
    return tuple(np.asarray(Image.fromarray(frame).convert(mode)) for frame in frames)


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
      ValueError: if white is zero in a picture of 32 bits, whose white is not known, or values of 8
        bits have a sign.
    """
    tags = getattr(picture, "tag_v2", None)
    if tags and 2 in tags.get(deep_colour.SAMPLE_FORMAT, ()) and tags.get(deep_colour.BITS) == (8,):
        raise RefusedError("grey of 8 bits with a sign is not supported")
    if tags is None or not (picture.mode.startswith("I") or picture.mode == "F"):
        return picture
    # BitsPerSample and PhotometricInterpretation
    bits, white_is_zero = tags.get(258, (1,))[0], tags.get(262) == 0
    if bits > 16 and white_is_zero:
        raise RefusedError("grey of 32 bits with white as zero is not supported")
    if bits != 12 and not white_is_zero:
        return picture
    values = np.asarray(picture).astype(np.int64)
    if bits == 12:
        values = (values * 65535 + 2047) // 4095
    if white_is_zero:
        values = 65535 - values
    corrected = Image.fromarray(values.astype(np.uint16))
    exif = _descriptive(picture.getexif())
    exif[ExifTags.Base.Orientation] = picture.getexif().get(ExifTags.Base.Orientation, 1)
    corrected.info = {**picture.info, "exif": exif.tobytes()}
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


# --- Pillow's pictures ----------------------------------------------------------------------------


def from_image(
    image: Image.Image,
    deep: np.ndarray | None = None,
    name: str = "the picture",
    content: bytes | None = None,
) -> Picture:
    """Returns a picture of Pillow's, of any mode, upright and with the metadata that are kept.

    A CMYK picture becomes RGB, because networks work on RGB or YCbCr. Its ICC profile is used for
    the conversion, and sRGB's profile replaces it. Any other picture keeps its profile, because its
    pixels keep their colour space.

    Args:
      image: the picture.
      deep: its pixels in 16 bits, uint16 (H, W, C), upright.
      name: what warnings call it.
      content: bytes of the file that it was read from, if they are known. Pillow keeps only a part
        of a PNG's chunks.

    Raises:
      ValueError: if the picture is 32-bit grey with values outside 0..65535.
    """
    image.load()  # the texts of a PNG may follow its pixels
    info = info_of(image, content)
    tables = getattr(image, "quantization", None)
    quality = estimate_jpeg_quality(tables) if tables and image.format in JPEGS else None
    try:
        upright = ImageOps.exif_transpose(image)
        upright.getexif().get_ifd(ExifTags.IFD.Exif)  # decodes them
        if exif := exif_of(upright) or exif_of(image):
            info["exif"] = exif
        image = upright
    except Exception as error:  # Pillow raises undocumented errors on damaged EXIF data
        _log.warning("warning: damaged EXIF data of %s is left out (%s)", name, error)
        info.pop("exif", None)
        image = image.copy()
    if "dpi" in info and not all(0 < each < math.inf for each in info["dpi"]):
        _log.warning("warning: a resolution of %s of %s is left out", info.pop("dpi"), name)
    if deep is not None:
        return without_wrong_profile(Picture((deep,), info), name)
    if image.mode.startswith("I"):  # 16-bit grey in either byte order, or as 32-bit integers
        if image.has_transparency_data:
            _log.warning("warning: the transparent colour of %s, of 16 bits, is left out", name)
        grey = np.asarray(image)
        if grey.size and not 0 <= grey.min() <= grey.max() <= 65535:
            raise RefusedError(
                f"32-bit grey from {grey.min()} to {grey.max()} is not supported; "
                "rescale it to 16 bits (0..65535)"
            )
        return without_wrong_profile(Picture((grey.astype(np.uint16),), info), name)
    if image.mode in ("CMYK", "LAB"):
        image = _srgb(image, info.pop("icc_profile", None), name)
        if profile := image.info.get("icc_profile"):
            info["icc_profile"] = profile
    elif image.mode != "F":
        colour = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        image = image.convert(colour + "A" * image.has_transparency_data)
    picture = Picture((np.asarray(image),), info, jpeg_quality=quality)
    return without_wrong_profile(picture, name)


def estimate_jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int:
    """Estimates the quality from 1 to 100 that a JPEG was saved at.

    It is the quality at which Pillow's library writes the nearest quantisation table of luminance:
    the very table for most programs, a similar one for cameras and programs with their own.

    Args:
      tables: as Pillow's `JpegImageFile.quantization`; table 0 is that of luminance.
    """
    found = np.asarray(next(iter(tables.values())), np.float64)  # (64,)
    return 1 + int(np.abs(_luminance_tables() - found).sum(axis=1).argmin())


@functools.cache
def _luminance_tables() -> np.ndarray:
    """Pillow's quantisation table of luminance at the qualities 1 to 100, (100, 64)."""
    tables = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (1, 1)).save(file, "JPEG", quality=quality)
        with Image.open(file) as opened:
            tables.append(opened.quantization[0])  # type: ignore[attr-defined]
    return np.array(tables, np.float64)


def without_wrong_profile(picture: Picture, name: str) -> Picture:
    """Leaves out, with a warning, an ICC profile of another colour space than the pixels have."""
    profile = picture.info.get("icc_profile")
    if not profile or profile[16:20] == PROFILES[picture.kind[0]]:
        return picture
    space = profile[16:20].decode("ascii", "replace").strip(" \0")
    line = "warning: a profile of %s is left out of %s, whose pixels are %s"
    _log.warning(line, space or "no colour space", name, picture.kind)
    info = {key: value for key, value in picture.info.items() if key != "icc_profile"}
    return dataclasses.replace(picture, info=info)


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Makes an array upright: an EXIF orientation names where its first row and column belong."""
    if orientation in (5, 6, 7, 8):  # the first row belongs to the left or to the right
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def info_of(image: Image.Image, content: bytes | None = None) -> dict[str, Any]:
    """The metadata of `KEPT` that a picture of Pillow's has, but its EXIF data.

    Args:
      image: the picture.
      content: as `from_image`.
    """
    chunks = png_chunks.from_image(image) if content is None else png_chunks.read(content)
    info: dict[Any, Any] = {**image.info, **chunks}
    if image.format == "PNG" and isinstance(info.get("Comment"), str):
        info["comment"] = str(info["Comment"])
    if isinstance(info.get("comment"), str):
        info["comment"] = info["comment"].encode()
    if tags := getattr(image, "tag_v2", None):
        if isinstance(tags.get(TIFF_XMP), bytes):
            info["xmp"] = tags[TIFF_XMP]
        if TIFF_RESOLUTION not in tags:
            info.pop("dpi", None)  # Pillow's (1, 1)
    if image.format == "JPEG" and not info.get("jfif_unit") and "dpi" in info:
        with contextlib.suppress(Exception):  # damaged EXIF data
            if TIFF_RESOLUTION not in image.getexif():
                del info["dpi"]  # Pillow's 72
    if isinstance(info.get("xmp"), bytes):
        info["xmp"] = XMP_ORIENTATION.sub(rb"\g<1>1\g<2>", info["xmp"])
    return {
        key: info[key]
        for key, kind in KEPT.items()
        if key != "exif" and info.get(key) and isinstance(info[key], kind)
    }


def exif_of(image: Image.Image) -> bytes:
    """The EXIF data of a picture of Pillow's, as JPEG files hold them; empty if there are none.

    Those of a TIFF are among its tags. They are without its orientation.
    """
    exif = image.info.get("exif")
    if isinstance(exif, bytes) and exif:
        return exif if exif.startswith(EXIF_PREFIX) else EXIF_PREFIX + exif  # WebP's has none
    if png_chunks.EXIF.decode() in image.info:
        return image.getexif().tobytes()
    if getattr(image, "tag_v2", None) is None:
        return b""
    tags = image.getexif()
    exif = _descriptive(tags)
    return exif.tobytes() if len(exif) or any(map(tags.get_ifd, EXIF_FOLDERS)) else b""


def _descriptive(tags: Image.Exif) -> Image.Exif:
    """Those tags of a TIFF that are EXIF data: they say what it shows, not how it is stored."""
    exif = Image.Exif()
    exif.update({tag: value for tag, value in tags.items() if tag in DESCRIPTIVE})
    for folder in EXIF_FOLDERS:
        if values := tags.get_ifd(folder):
            exif.get_ifd(folder).update(values)
    return exif


def _srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """Converts CMYK or LAB to RGB. The result has sRGB's profile if `profile` was used."""
    image.info = {}
    if profile and image.mode == "CMYK":
        source, srgb = io.BytesIO(profile), ImageCms.createProfile("sRGB")
        try:
            return ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")  # type: ignore
        except ImageCms.PyCMSError as error:
            line = "warning: the CMYK profile of %s is unusable and left out (%s)"
            _log.warning(line, name, error)
    return image.convert("RGB")


def has_deep_colour(picture: Picture) -> bool:
    """Whether a picture is of a kind that Pillow does not have: 16 bits and more than one plane."""
    return picture.kind in ("LA;16", "RGB;16", "RGBA;16")


def to_eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Converts uint16 to uint8, rounded."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_image(picture: Picture) -> Image.Image:
    """Returns the first frame as a picture of Pillow's, with its metadata in `info`.

    A kind that Pillow does not have is rounded to 8 bits. `pnginfo` holds what `save` writes only
    into a PNG, so that `image.save(path, **image.info)` keeps it.
    """
    pixels = picture.frames[0]
    image = Image.fromarray(to_eight_bits(pixels) if has_deep_colour(picture) else pixels)
    image.info.update(
        {key: each for key, each in picture.info.items() if key not in ("texts", "colour_space")}
    )
    if chunks := png_chunks.to_info(picture.info):
        image.info["pnginfo"] = chunks
    return image


def resized(info: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Returns metadata with the EXIF data's width and height in pixels replaced, if it has them."""
    info = dict(info)
    if "exif" in info:
        exif = Image.Exif()
        exif.load(info["exif"])
        details = exif.get_ifd(ExifTags.IFD.Exif)
        if ExifTags.Base.ExifImageWidth in details:
            details[ExifTags.Base.ExifImageWidth] = size[0]
            details[ExifTags.Base.ExifImageHeight] = size[1]
            info["exif"] = exif.tobytes()
    return info
