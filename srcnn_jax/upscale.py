"""Enlarges pictures of any size and mode: `python -m srcnn_jax.upscale photo.jpg --scale 3`.

Luminance goes through the network; chroma and alpha are enlarged by the bicubic interpolation that
the network starts from. Everything is done in bands of rows, in float, and rounded once at the end.
JAX is imported on first use, so that `--help` and mistakes on the command line answer at once.
"""

import argparse
import functools
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from srcnn_jax import image

if TYPE_CHECKING:
    from srcnn_jax.weights import Network

BAND_PIXELS = 2**21  # of the output, computed at a time; memory grows with it, not the result
MAX_PIXELS = 500_000_000  # of an input; more is taken for a decompression bomb
OVERLAPS = ("band", "average")
# What is kept of a picture's `info`, and its type: a text chunk of a PNG may have any of the names.
KEPT: dict[str, Any] = {
    "icc_profile": bytes,
    "exif": bytes,
    "dpi": tuple,
    "xmp": bytes,
    "comment": (bytes, str),
}

Picture = TypeVar("Picture", np.ndarray, Image.Image)

_log = logging.getLogger(__name__)

_EIGHT_BIT = ("L", "LA", "RGB", "RGBA")
MODES = {  # that an output can hold, by its suffix
    ".png": (*_EIGHT_BIT, "I;16"),
    ".jpg": ("L", "RGB"),
    ".jpeg": ("L", "RGB"),
    ".webp": _EIGHT_BIT,
    ".tif": (*_EIGHT_BIT, "I;16", "F"),
    ".tiff": (*_EIGHT_BIT, "I;16", "F"),
    ".bmp": ("L", "RGB", "RGBA"),
}


def upscale(
    picture: Picture,
    scale: int,
    weights: "Network | str | os.PathLike | None" = None,
    *,
    overlap: str = "band",
) -> Picture:
    """Enlarges a picture by a whole number.

    Colour is split into BT.601 YCbCr as in the paper; networks trained on colour get all three
    channels, and a grey picture as three equal ones. Colours under fully transparent pixels are
    not kept: they would bleed into the visible ones.

    Args:
      picture: a PIL image of any mode, or an array (H, W), (H, W, 2) with alpha, (H, W, 3) RGB or
        (H, W, 4) RGBA of uint8, uint16 or float in 0..1.
      scale: the enlargement, 2 or more.
      weights: the network, its file or workdir; None for the bundled one (scales 2, 3, 4).
      overlap: 'band', or 'average' for the mean over overlapping patches, each restored on its own.

    Returns:
      (scale * H, scale * W): an array of the dtype of `picture`, or a PIL image of mode L, LA,
      RGB, RGBA, I;16 or F, turned upright, with its ICC profile, EXIF and resolution.

    Raises:
      ValueError, FileNotFoundError: naming the value and the fix.
    """
    if overlap not in OVERLAPS:
        raise ValueError(f"overlap is one of {OVERLAPS}, not {overlap!r}")
    network = _network(weights, scale)
    if isinstance(picture, np.ndarray):
        return _enlarge(picture, scale, network, overlap)
    return _enlarge_image(_prepare(picture, scale), scale, network, overlap)


def _network(weights: "Network | str | os.PathLike | None", scale: int) -> "Network":
    """The network to use; raises as `upscale`."""
    if scale < 2:
        raise ValueError(f"the scale is a whole number from 2 up, not {scale}")
    from srcnn_jax import weights as weight_files

    if weights is None:
        return weight_files.load_pretrained(scale)
    if isinstance(weights, weight_files.Network):
        return weights
    network = weight_files.load(weights)
    if network.scale not in (scale, None):  # legitimate, but seldom meant
        _log.warning("warning: %s was trained for x%s, not x%s", weights, network.scale, scale)
    return network


def _prepare(picture: Image.Image, scale: int) -> Image.Image:
    """A picture upright and of mode L, LA, RGB, RGBA, I;16 or F, with its enlargement's metadata.

    A CMYK picture becomes RGB, as the network knows no ink; its ICC profile describes ink, so it
    is used for the conversion and replaced by sRGB's. The profile of any other picture goes on
    describing its pixels, which keep their colour space.
    """
    try:
        picture = ImageOps.exif_transpose(picture)
        exif = picture.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        if ExifTags.Base.ExifImageWidth in details and "exif" in picture.info:
            details[ExifTags.Base.ExifImageWidth] = picture.width * scale
            details[ExifTags.Base.ExifImageHeight] = picture.height * scale
            picture.info["exif"] = exif.tobytes()
    except Exception as error:  # what damaged EXIF data makes Pillow raise is not documented
        _log.warning("warning: damaged EXIF data is left out (%s)", error)
        picture = picture.copy()
        picture.info.pop("exif", None)
    info: dict[Any, Any] = {
        key: picture.info[key]
        for key, kind in KEPT.items()
        if picture.info.get(key) and isinstance(picture.info[key], kind)
    }
    if picture.mode.startswith("I"):  # 16-bit grey in either byte order, or widened to 32 bits
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
    """CMYK or LAB to RGB; with sRGB's profile if `profile` could be used."""
    picture.info = {}
    if profile and picture.mode == "CMYK":
        source, srgb = io.BytesIO(profile), ImageCms.createProfile("sRGB")
        try:
            return ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")  # type: ignore
        except ImageCms.PyCMSError as error:
            _log.warning("warning: the CMYK profile is unusable and left out (%s)", error)
    return picture.convert("RGB")


def _enlarge_image(
    picture: Image.Image, scale: int, network: "Network", overlap: str
) -> Image.Image:
    """`upscale` for a picture that `_prepare` has been over."""
    result = Image.fromarray(_enlarge(np.asarray(picture), scale, network, overlap))
    result.info = picture.info
    return result


def _enlarge(pixels: np.ndarray, scale: int, network: "Network", overlap: str) -> np.ndarray:
    """The whole computation, on arrays as `upscale` takes them."""
    from srcnn_jax import predict

    white = _check_pixels(pixels)
    planes = pixels.reshape(*pixels.shape[:2], -1)
    colours = 1 if planes.shape[2] < 3 else 3
    if planes.shape[2] > colours:
        planes = _fill_transparent(planes)
    height, width = scale * planes.shape[0], scale * planes.shape[1]
    by = predict.by_patches if overlap == "average" else predict.by_bands
    halo, restore = by(network, height, width)
    bands = -(-height // max(BAND_PIXELS // width, halo, 1))
    rows = -(-height // bands)
    span = min(height, rows + 2 * halo)  # the same for all bands, so that JAX compiles once
    out = np.empty((height, width, planes.shape[2]), pixels.dtype)
    for top in range(0, height, rows):
        first = min(max(top - halo, 0), height - span)
        band = _bicubic_rows(planes, first, first + span, scale) / white
        restored = _restore(band[..., :colours], network.colour, functools.partial(restore, first))
        band = np.concatenate([restored, band[..., colours:]], axis=2)
        out[top : top + rows] = _quantise(band[top - first :][:rows], white, pixels.dtype)
    return out.reshape(height, width, *pixels.shape[2:])


def _check_pixels(pixels: np.ndarray) -> float:
    """The value of white; ValueError unless the array is one that `upscale` takes."""
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (2,), (3,), (4,)):
        raise ValueError(f"a picture is (H, W) or (H, W, 2, 3 or 4), not {pixels.shape}")
    if pixels.size == 0:
        raise ValueError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} has no pixels")
    if pixels.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(pixels.dtype).max)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"a picture is uint8, uint16 or float in 0..1, not {pixels.dtype}")
    if not 0 <= pixels.min() <= pixels.max() <= 1:  # also false for NaN
        raise ValueError(
            f"a float picture is in 0..1, not {pixels.min()}..{pixels.max()}; rescale it"
        )
    return 1.0


def _fill_transparent(planes: np.ndarray) -> np.ndarray:
    """Gives fully transparent pixels the colour of the nearest visible one.

    Their own colour is arbitrary (mostly black) and would leak into the edges of what is visible.
    The usual cure, to multiply by alpha first, would show the network black edges that the
    pictures of its training do not have, and the division by a small alpha would magnify what it
    makes of them.
    """
    hidden = planes[..., -1] == 0
    if not hidden.any() or hidden.all():
        return planes
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled = planes.copy()
    filled[hidden, :-1] = planes[nearest[0][hidden], nearest[1][hidden], :-1]
    return filled


def _bicubic_rows(planes: np.ndarray, first: int, last: int, scale: int) -> np.ndarray:
    """Rows [first, last) of the enlarged picture, float64, as if the whole had been enlarged."""
    low = max(first // scale - 3, 0)  # the kernel reaches less than 3 pixels beyond its centre
    high = -(-last // scale) + 3
    enlarged = image.imresize(planes[low:high].astype(np.float64), scale)
    return enlarged[first - low * scale : last - low * scale]


def _restore(
    colour: np.ndarray, kind: str, network: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Restores bicubic rows (h, W, 1 or 3), grey or RGB; `kind` is what the network sees."""
    if colour.shape[2] == 1:
        if kind == "y":
            return network(colour.astype(np.float32))
        rgb = _restore(np.repeat(colour, 3, axis=2), kind, network)
        return (image.rgb2ycbcr(rgb)[..., :1] * 255.0 - 16.0) / 219.0
    if kind == "rgb":
        return network(colour.astype(np.float32))
    ycbcr = image.rgb2ycbcr(colour)
    seen = 1 if kind == "y" else 3
    ycbcr[..., :seen] = network(ycbcr[..., :seen].astype(np.float32))
    return image.ycbcr2rgb(ycbcr)


def _quantise(result: np.ndarray, white: float, dtype: np.dtype) -> np.ndarray:
    """0..1, clipped, to 0..white; rounded as `image.to_uint8` if `dtype` is an integer."""
    if not np.isfinite(result).all():
        raise ValueError("the network's output is not finite; its weights are damaged")
    result = np.clip(result, 0.0, 1.0) * white
    return (result if white == 1.0 else image.round_half_up(result)).astype(dtype)


def _read(path: Path) -> Image.Image:
    """The first frame of a picture file."""
    if not path.is_file():
        raise FileNotFoundError("there is no such file, or it is a folder")
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} pixels, limit {MAX_PIXELS}")
            frames = getattr(picture, "n_frames", 1)
            picture.load()
    except PermissionError:
        raise
    except Exception as error:  # what a damaged file makes a decoder raise is not documented
        raise ValueError(f"not a readable picture ({error})") from error
    if frames > 1 and picture.format != "MPO":  # a phone's MPO holds previews of the one picture
        _log.warning("warning: %s has %d frames; only the first is enlarged", path, frames)
    return picture


def _write(picture: Image.Image, path: Path) -> None:
    """Saves a picture so that `path` never names half a file."""
    partial = path.with_name(f".upscale{os.getpid()}.partial{path.suffix.lower()}")
    try:
        # The quality is for JPEG and WebP; other formats take no notice of it.
        picture.save(partial, quality=95, subsampling=0, **picture.info)  # type: ignore[arg-type]
        partial.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _output_paths(inputs: Sequence[Path], output: Path | None, scale: int) -> list[Path]:
    """One output path for each input; ValueError if it would overwrite an input or another."""
    if output and (len(inputs) > 1 or output.is_dir()):
        output.mkdir(exist_ok=True)
        paths = [output / f"{path.stem}_x{scale}.png" for path in inputs]
    else:
        paths = [output or path.with_name(f"{path.stem}_x{scale}.png") for path in inputs]
    originals = [path for path in inputs if path.exists()]
    taken: set[Path] = set()
    for path in paths:
        if path.suffix.lower() not in MODES:
            raise ValueError(f"{path}: the name of an output ends in {', '.join(MODES)}")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise ValueError(f"{path}: its folder does not exist or cannot be written to")
        if path.exists() and any(map(path.samefile, originals)):
            raise ValueError(f"{path}: the output would overwrite an input; name another by -o")
        if path.resolve() in taken:
            raise ValueError(f"{path}: two inputs of the same name; enlarge them one by one")
        taken.add(path.resolve())
    return paths


def _upscale_file(source: Path, target: Path, scale: int, network: "Network", overlap: str) -> str:
    """Enlarges one file; returns the sizes before and after."""
    picture = _prepare(_read(source), scale)
    modes = MODES[target.suffix.lower()]
    alpha = picture.getchannel("A") if picture.mode.endswith("A") else None
    if alpha and picture.mode not in modes and alpha.getextrema() == (255, 255):
        picture = picture.convert(picture.mode[:-1])  # all opaque: nothing is lost
    if picture.mode not in modes:
        what = "transparency" if alpha else f"{picture.mode} pixels"
        suffixes = ", ".join(key for key in MODES if picture.mode in MODES[key])
        raise ValueError(f"{target} cannot hold its {what}; name a file in {suffixes}")
    result = _enlarge_image(picture, scale, network, overlap)
    _write(result, target)
    return "{}x{} -> {}x{}".format(*picture.size, *result.size)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="srcnn-upscale", description="Enlarge pictures by SRCNN.", allow_abbrev=False
    )
    parser.add_argument("pictures", nargs="+", type=Path, help="files that Pillow can read")
    parser.add_argument("--scale", type=int, required=True, help="2, 3 or 4; any with --weights")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help=f"file ({', '.join(MODES)}), or folder; default: NAME_xSCALE.png beside the input",
    )
    parser.add_argument("--weights", type=Path, help="weight file, or workdir of a finished run")
    parser.add_argument(
        "--overlap",
        choices=OVERLAPS,
        default="band",
        help="average: mean over overlapping patches, slower (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    os.environ.setdefault("JAX_LOGGING_LEVEL", "ERROR")  # no talk of accelerators that are absent
    Image.MAX_IMAGE_PIXELS = None  # _read has its own limit: photographs reach Pillow's

    try:
        targets = _output_paths(options.pictures, options.output, options.scale)
        network = _network(options.weights, options.scale)
    except (ValueError, OSError) as error:
        return _complain(str(error))
    from srcnn_jax import parallel

    parallel.start_alone()
    name = options.weights.name if options.weights else f"srcnn_915_x{options.scale}.safetensors"
    status = 0
    for source, target in zip(options.pictures, targets, strict=True):
        start = time.perf_counter()
        try:
            sizes = _upscale_file(source, target, options.scale, network, options.overlap)
            print(f"{target}: {sizes}, {time.perf_counter() - start:.1f} s ({name})")
        except (ValueError, OSError, MemoryError) as error:
            status = _complain(f"{source}: {error or type(error).__name__}")
        except KeyboardInterrupt:
            return 130
    return status


def _complain(what: str) -> int:
    print(f"srcnn-upscale: {what}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
