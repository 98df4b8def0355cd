"""What the formats of picture files hold, and writing them.

`fit` says what a format cannot hold before the network runs; `encode` and `write` make the file.
"""

import dataclasses
import functools
import io
import itertools
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from srcnn_jax import atomic, deep_colour, pictures, png_chunks
from srcnn_jax.pictures import Picture

PARTIAL = ".upscale"  # how the name of a file begins that is being written

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Format:
    """What the files of a format hold.

    Attributes:
      name: Pillow's name of it.
      kinds: kinds of pixels.
      options: what `Image.save` is told.
      lossy: whether it has a quality.
      max_side: max width and height in pixels.
      animated: whether it holds animations.
      package: package that Pillow needs for it, if any.
    """

    name: str
    kinds: tuple[str, ...] = ("L", "LA", "RGB", "RGBA")
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lossy: bool = False
    max_side: float = math.inf
    animated: bool = False
    package: str = ""


_JPEG = Format("JPEG", ("L", "RGB"), {"subsampling": 0}, lossy=True, max_side=65_500)
_SIXTEEN = ("I;16", "LA;16", "RGB;16", "RGBA;16")
_TIFF = Format("TIFF", ("L", "LA", "RGB", "RGBA", *_SIXTEEN, "F"))
FORMATS = {  # by suffix
    ".png": Format("PNG", ("L", "LA", "RGB", "RGBA", *_SIXTEEN), animated=True),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WEBP", ("RGB", "RGBA"), lossy=True, max_side=16_383, animated=True),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", ("L", "RGB")),
    ".gif": Format("GIF", ("L", "RGB", "RGBA"), max_side=65_535, animated=True),
    ".avif": Format("AVIF", ("L", "RGB", "RGBA"), lossy=True, max_side=65_536, package="AVIF"),
    ".heic": Format("HEIF", ("L", "RGB", "RGBA"), lossy=True, package="HEIC"),
}
GIF_UNIT = 10  # milliseconds
MAX_PLAYS = 65_535  # of WebP and PNG
QUALITY = 95  # of lossy formats, unless the user names another


def format_of(name: str) -> Format:
    """Returns the format of an output, by the suffix of its name.

    Raises:
      ValueError: if there is none of this suffix.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{name}: the name of an output ends in {', '.join(FORMATS)}")
    return FORMATS[suffix]


def fit(picture: Picture, name: str, size: tuple[int, int]) -> Picture:
    """Returns a picture as a file can hold it when it is enlarged.

    A fully opaque alpha is removed where it cannot be held, and 16 bits become 8, with a warning.
    Metadata that the format cannot hold are left out, with a warning. They are tried on a picture
    of one pixel, so all is known before the network runs.

    Args:
      picture: the picture.
      name: the file. Its suffix says the format.
      size: width and height in pixels that it will have.

    Raises:
      ValueError: if the format cannot hold the picture. The message names the formats that can.
    """
    format = format_of(name)
    if format.package:
        try:
            pictures.require(format.package)
        except ImportError as error:
            raise ValueError(str(error)) from error
    if max(size) > format.max_side:
        raise ValueError(
            f"{name} cannot hold {size[0]}x{size[1]} pixels, because a side has at most "
            f"{format.max_side} there; name a file in "
            f"{_suffixes(lambda other: other.max_side >= max(size))}"
        )
    if picture.durations and not format.animated:
        raise ValueError(
            f"{name} cannot hold {len(picture.frames)} frames; name a file in "
            f"{_suffixes(lambda f: f.animated)}, or one frame by --frame"
        )
    picture = pictures.without_wrong_profile(_fit_pixels(picture, name, format), name)
    image = pictures.to_image(dataclasses.replace(picture, info={}))
    return dataclasses.replace(picture, info=_fit_info(picture.info, name, format, image))


def _suffixes(accepts: Callable[[Format], bool]) -> str:
    """The suffixes of the formats that a function accepts, for messages."""
    return ", ".join(suffix for suffix, format in FORMATS.items() if accepts(format))


def _fit_pixels(picture: Picture, name: str, format: Format) -> Picture:
    """`fit`, of the pixels."""
    frames, kind = picture.frames, picture.kind
    if kind.endswith("16") and kind not in format.kinds:
        _log.warning("warning: %s holds 8 bits: the 16 of the picture are rounded", name)
        frames = tuple(map(pictures.to_eight_bits, frames))
        kind = "L" if kind == "I;16" else kind[:-3]
    if kind.endswith("A") and kind not in format.kinds:
        if "RGBA" in format.kinds:
            frames = tuple(np.asarray(Image.fromarray(frame).convert("RGBA")) for frame in frames)
            kind = "RGBA"
        elif all((frame[..., -1] == 255).all() for frame in frames):
            kind = kind[:-1]
            frames = tuple(frame[..., 0] if kind == "L" else frame[..., :3] for frame in frames)
    if kind == "L" and "L" not in format.kinds:
        frames = tuple(np.repeat(frame[..., None], 3, axis=2) for frame in frames)
        kind = "RGB"
    if kind not in format.kinds:
        what = "transparency" if kind.endswith("A") else f"{kind} pixels"
        held = _suffixes(lambda other: kind in other.kinds)
        raise ValueError(f"{name} cannot hold its {what}; name a file in {held}")
    if format.name == "GIF" and kind == "RGBA" and any((f[..., 3] % 255).any() for f in frames):
        _log.warning("warning: %s holds no half transparent pixels: their alpha is rounded", name)
    return dataclasses.replace(picture, frames=frames)


def _fit_info(
    info: Mapping[str, Any], name: str, format: Format, image: Image.Image
) -> dict[str, Any]:
    """The metadata that a format holds; a warning names those that it does not."""
    pixel = image.crop((0, 0, 1, 1))
    held, missing = {}, []
    for key, value in info.items():
        reason = ""
        try:
            content = _save(pixel, format, {key: value}, _options(format, QUALITY, {key: value}))
            with pictures.raised_text_limits(), Image.open(io.BytesIO(content)) as written:
                written.load()
                read = pictures.info_of(written, content)
                read["exif"] = pictures.exif_of(written)
            # A resolution is rounded in most formats; of the others nothing may be cut.
            found = read.get(key)
            complete = bool(found) if key in ("dpi", "exif") else found == value
        except Exception as error:  # Pillow's encoders raise undocumented errors on odd metadata
            complete, reason = False, f" ({error})"
        if complete:
            held[key] = value
        elif not (key == "colour_space" and _is_implied(info)):
            missing.append(_describe(key, value) + reason)
    if missing:
        _log.warning("warning: %s cannot hold its %s, left out", name, ", ".join(missing))
    return held


def _is_implied(info: Mapping[str, Any]) -> bool:
    """Whether a file shows the same colours without the chunks of a PNG that name them."""
    colours = info["colour_space"]
    overriding = (b"cICP", *png_chunks.HDR)
    by_profile = "icc_profile" in info and all(kind not in overriding for kind, _ in colours)
    return by_profile or png_chunks.is_srgb(colours)


def _describe(key: str, value: Any) -> str:
    """What warnings call metadata."""
    if key == "texts":
        return f"{key} ({png_chunks.names(value)})"
    if key == "colour_space":
        return f"{key} ({png_chunks.names(value)}: colours may look different)"
    return key


def encode(picture: Picture, name: str, quality: int | None = None) -> bytes:
    """Returns the bytes of a file.

    Args:
      picture: a picture from `fit`, enlarged.
      name: the file. Its suffix says the format.
      quality: 1..100, of a lossy format; None for `QUALITY`.
    """
    format = format_of(name)
    if format.name == "GIF" and picture.kind == "RGBA":
        picture = dataclasses.replace(picture, frames=tuple(map(_cut_alpha, picture.frames)))
    options = _options(format, quality or QUALITY, picture.info)
    if picture.durations:
        options |= _animation(picture, format)
    image = pictures.to_image(dataclasses.replace(picture, info={}))
    if deep := pictures.has_deep_colour(picture):
        image = image.crop((0, 0, 1, 1))
    content = _save(image, format, picture.info, options)
    return deep_colour.encode(picture.frames[0], content) if deep else content


def _save(
    image: Image.Image, format: Format, info: Mapping[str, Any], options: Mapping[str, Any]
) -> bytes:
    """The bytes of a file, by Pillow and its options for this metadata."""
    content = io.BytesIO()
    image.save(content, format.name, **options)
    if format.name == "PNG":
        return png_chunks.with_hdr(content.getvalue(), info)
    return content.getvalue()


def _options(format: Format, quality: int, info: Mapping[str, Any]) -> dict[str, Any]:
    """What `Image.save` is told for a format and metadata."""
    options: dict[str, Any] = {**format.options, **info}
    if format.lossy:
        options["quality"] = quality
    if format.name == "PNG":
        options["pnginfo"] = png_chunks.to_info(info)
    if format.name == "TIFF" and "xmp" in info:  # among the tags, as the EXIF data
        tags = Image.Exif()
        if "exif" in info:
            tags.load(info["exif"])
        tags[pictures.TIFF_XMP] = options.pop("xmp")
        options["exif"] = tags
    return options


def _cut_alpha(pixels: np.ndarray) -> np.ndarray:
    """Makes the pixels of uint8 (H, W, 4) transparent or opaque: a GIF has nothing between."""
    return np.concatenate(
        [pixels[..., :3], np.where(pixels[..., 3:] < 128, 0, 255)], axis=2
    ).astype(np.uint8)


def _animation(picture: Picture, format: Format) -> dict[str, Any]:
    """What `Image.save` is told for an animation."""
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": [Image.fromarray(frame) for frame in picture.frames[1:]],
        "duration": _durations(picture.durations, GIF_UNIT if format.name == "GIF" else 1),
    }
    if format.name == "GIF":
        if picture.plays != 1:
            options["loop"] = picture.plays and picture.plays - 1
        if picture.kind.endswith("A"):
            options["disposal"] = 2  # to the ground, or a pixel would never be transparent again
    else:
        options["loop"] = picture.plays if picture.plays <= MAX_PLAYS else 0
    return options


def _durations(milliseconds: Sequence[float], unit: int) -> list[int]:
    """Rounds durations to units, so that no frame begins more than half a unit late or early."""
    ends = [round(end / unit) for end in itertools.accumulate(milliseconds)]
    steps = (end - start for start, end in itertools.pairwise([0, *ends]))
    return [unit * max(step, 1) for step in steps]


def write(content: bytes, path: Path, overwrite: bool = True) -> None:
    """Writes a file atomically: `path` is never an incomplete file, also after a power cut.

    Otherwise `--skip_existing` would pass over it as done. A process that is killed in between
    leaves .upscalePID.partial.EXTENSION, which the next one removes.

    Raises:
      FileExistsError: if the file exists and must not be overwritten.
      OSError: if the file cannot be written.
    """
    ending = f".partial{path.suffix.lower()}"
    partial = path.with_name(f"{PARTIAL}{os.getpid()}{ending}")
    try:
        _remove_left(path.parent, ending)
        atomic.write_through(partial, content)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: add --overwrite or --skip_existing")
        atomic.replace(partial, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


@functools.cache
def _remove_left(folder: Path, ending: str) -> None:
    """Removes what killed processes left in a folder; once, because a folder can be large."""
    atomic.remove_left(folder, PARTIAL, ending)
