"""Enlarges pictures of any size and mode: `python -m srcnn_jax.upscale photo.jpg --scale 3`.

The network restores its planes (luminance, or all colours). Chroma that it does not restore, and
alpha, are enlarged by bicubic interpolation. The computation is in float, in bands of rows, and the
result is rounded once at the end. JAX is imported on first use, so `--help` and errors on the
command line need no waiting.
"""

import argparse
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from srcnn_jax import colour, image, paths, pictures, runtime

if TYPE_CHECKING:
    from srcnn_jax.weights import Network

BAND_PIXELS = 2**21  # output pixels that are computed at a time; they bound the working memory
PATCH_SIZE, PATCH_STRIDE = 33, 14  # pixels: the article's overlapping patches
PATCHES_AT_ONCE = 64  # patches in one call of the network
OVERLAPS = ("band", "average")
# `restore(first, rows)` returns restored rows, float32 (h, W, C). `rows` holds enlarged rows,
# float32 (h, W, C) on the scale 0..1, from row `first` of the enlarged picture on.
Restore = Callable[[int, np.ndarray], np.ndarray]
# `method(network, height, width)` returns, for an enlarged picture of that size, the extra rows
# that a band needs on each side, and how to restore it.
Method = Callable[["Network", int, int], tuple[int, Restore]]

Picture = TypeVar("Picture", np.ndarray, Image.Image)

_log = logging.getLogger(__name__)


def upscale(
    picture: Picture,
    scale: int,
    weights: "Network | str | os.PathLike | None" = None,
    *,
    network: str = "best",
    overlap: str = "band",
    self_ensemble: bool = False,
) -> Picture:
    """Enlarges a picture by a whole number.

    Colour is split into BT.601 YCbCr, as in the paper. A network for three channels gets all of
    them; a grey picture becomes three equal channels for it. Colours of fully transparent pixels
    are not kept, because they would leak into the visible pixels.

    Args:
      picture: a PIL image of any mode, or an array (H, W), (H, W, 2) with alpha, (H, W, 3) RGB or
        (H, W, 4) RGBA of uint8, uint16 or float in 0..1.
      scale: factor of the enlargement, 2 or more.
      weights: the network, its file or its workdir; None for a bundled one (scales 2, 3, 4).
      network: the bundled network, as '915'; 'best' is the one with the highest PSNR.
      overlap: 'band', or 'average' for the mean over overlapping patches, each restored by itself.
      self_ensemble: whether the result is the mean over eight flips and rotations, which takes
        eight times as long; with overlap 'band'.

    Returns:
      The enlarged picture, scale * H by scale * W pixels: an array with the axes and dtype of
      `picture`, or a PIL image of mode L, LA, RGB, RGBA, I;16 or F, upright, with its ICC profile,
      EXIF data and resolution.

    Raises:
      ValueError, FileNotFoundError: the message names the value and the fix.
    """
    if overlap not in OVERLAPS:
        raise ValueError(f"overlap is one of {OVERLAPS}, not {overlap!r}")
    by = _method(overlap, self_ensemble)
    loaded = _network(weights, scale, network)
    if isinstance(picture, np.ndarray):
        return _enlarge(picture, scale, loaded, by)
    return _enlarge_image(pictures.prepare(picture, scale), scale, loaded, by)


def _method(overlap: str, self_ensemble: bool) -> Method:
    """Returns the function that restores an enlarged picture; raises as `upscale`."""
    if overlap == "band":
        return functools.partial(_by_bands, self_ensemble=self_ensemble)
    if self_ensemble:
        raise ValueError(f"a self-ensemble goes with overlap 'band', not {overlap!r}")
    return _by_patches


def _network(
    weights: "Network | str | os.PathLike | None", scale: int, name: str = "best"
) -> "Network":
    """Returns the network that `weights` or `name` names; raises as `upscale`."""
    if scale < 2:
        raise ValueError(f"the scale is a whole number from 2 up, not {scale}")
    from srcnn_jax import weights as weight_files

    if weights is None:
        return weight_files.load_pretrained(scale, name)
    if isinstance(weights, weight_files.Network):
        return weights
    network = weight_files.load(weights)
    if network.scale not in (scale, None):  # allowed, but often a mistake
        _log.warning("warning: %s was trained for x%s, not x%s", weights, network.scale, scale)
    return network


def _enlarge_image(picture: Image.Image, scale: int, network: "Network", by: Method) -> Image.Image:
    """`upscale` for a picture from `pictures.prepare`."""
    result = Image.fromarray(_enlarge(np.asarray(picture), scale, network, by))
    result.info = picture.info
    return result


def _enlarge(pixels: np.ndarray, scale: int, network: "Network", by: Method) -> np.ndarray:
    """`upscale` for arrays."""
    if not pixels.dtype.isnative:
        native = _enlarge(pixels.astype(pixels.dtype.newbyteorder("=")), scale, network, by)
        return native.astype(pixels.dtype)
    white = _check_pixels(pixels)
    planes = pixels.reshape(*pixels.shape[:2], -1)  # (H, W, C)
    channels = 1 if planes.shape[2] < 3 else 3  # without alpha
    if planes.shape[2] > channels:
        planes = _fill_transparent(planes)
    height, width = scale * planes.shape[0], scale * planes.shape[1]
    beyond, restore = by(network, height, width)
    bands = -(-height // max(BAND_PIXELS // width, beyond, 1))
    rows = -(-height // bands)
    span = min(height, rows + 2 * beyond)  # the same for all bands, so that JAX compiles once
    out = np.empty((height, width, planes.shape[2]), pixels.dtype)
    for top in range(0, height, rows):
        first = min(max(top - beyond, 0), height - span)
        band = image.enlarge_rows(planes, first, first + span, scale) / white  # (span, width, C)
        restored = _restore(band[..., :channels], network.colour, functools.partial(restore, first))
        band = np.concatenate([restored, band[..., channels:]], axis=2)
        out[top : top + rows] = _quantise(band[top - first :][:rows], white, pixels.dtype)
    return out.reshape(height, width, *pixels.shape[2:])


def _check_pixels(pixels: np.ndarray) -> float:
    """Returns the value of white; raises ValueError if `upscale` does not accept the array."""
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
    """Gives fully transparent pixels the colour of the nearest visible pixel; (H, W, C) with alpha.

    Their own colour is arbitrary, often black, and would leak into the visible edges. The usual
    solution is to multiply by alpha first. But then the network gets black edges that its training
    images do not have, and the division by a small alpha magnifies the errors.
    """
    hidden = planes[..., -1] == 0
    if not hidden.any() or hidden.all():
        return planes
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled = planes.copy()
    filled[hidden, :-1] = planes[nearest[0][hidden], nearest[1][hidden], :-1]
    return filled


def _restore(
    bicubic: np.ndarray, kind: str, network: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Restores enlarged rows.

    Args:
      bicubic: float (h, W, 1), grey, or (h, W, 3), RGB, on the scale 0..1, not clipped.
      kind: colour of the network: 'y', 'ycbcr' or 'rgb'.
      network: function that restores float32 planes of this colour.

    Returns:
      Float rows of the same shape, on the scale 0..1, not clipped.
    """
    if bicubic.shape[2] == 1:
        if kind == "y":  # a network of luminance knows 16..235 of 255, and grey is 0..255
            luminance = (16.0 + 219.0 * bicubic) / 255.0
            return (network(luminance.astype(np.float32)) * 255.0 - 16.0) / 219.0
        rgb = _restore(np.repeat(bicubic, 3, axis=2), kind, network)
        return (image.rgb2ycbcr(rgb)[..., :1] * 255.0 - 16.0) / 219.0
    ycbcr = bicubic if kind == "rgb" else image.rgb2ycbcr(bicubic)
    return colour.to_rgb(network(colour.select_planes(bicubic, ycbcr, kind)), kind, ycbcr)


def _by_bands(
    network: "Network", height: int, width: int, self_ensemble: bool
) -> tuple[int, Restore]:
    """Returns the number of extra rows that a band needs on each side, and the function for it.

    The function treats the ends of its rows as the picture's borders. If they are not, the rows
    near them are wrong. These are all extra rows, which the caller removes.

    Beyond its border the picture is mirrored, whatever the network's padding is. Zeros, which
    evaluation has for 'same' layers as the article has them, make the rim of a white picture grey.
    On the outer 6 pixels of Set14 mirrored pixels are worth 0.06 to 0.77 dB
    (experiments/results/LOG.md).
    """
    from srcnn_jax.predict import predict, predict_self_ensemble

    apply = predict_self_ensemble if self_ensemble else predict
    radius = network.architecture.receptive_field_radius

    def restore(first: int, rows: np.ndarray) -> np.ndarray:
        around = (radius, radius)
        restored = apply(network, np.pad(rows, (around, around, (0, 0)), mode="reflect"))
        return restored[radius : radius + rows.shape[0], radius : radius + rows.shape[1]]

    return radius, restore


def _by_patches(network: "Network", height: int, width: int) -> tuple[int, Restore]:
    """As `_by_bands`, but a pixel is the mean over all patches of a grid that contain it.

    A patch is restored with the network's own padding. Valid layers remove pixels, so the patch
    gets as many pixels more on each side: from its neighbourhood, or the nearest pixel at the
    picture's border. The result differs from that of bands near the border, and by the zeros that
    'same' layers add around every patch.
    """
    from srcnn_jax.predict import predict_patches

    arch = network.architecture
    margin, channels = arch.margin, arch.channels
    # The last patch of each row or column ends at the border of the picture.
    size = min(PATCH_SIZE, height), min(PATCH_SIZE, width)
    tops = [*range(0, height - size[0], PATCH_STRIDE), height - size[0]]
    lefts = [*range(0, width - size[1], PATCH_STRIDE), width - size[1]]
    shape = PATCHES_AT_ONCE, size[0] + 2 * margin, size[1] + 2 * margin, channels

    def restore(first: int, rows: np.ndarray) -> np.ndarray:
        padded = np.pad(rows, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        inside = [top - first for top in tops if 0 <= top - first <= len(rows) - size[0]]
        corners = [(top, left) for top in inside for left in lefts]
        total = np.zeros(rows.shape, np.float32)
        count = np.zeros((*rows.shape[:2], 1), np.float32)
        for start in range(0, len(corners), PATCHES_AT_ONCE):
            batch = corners[start : start + PATCHES_AT_ONCE]
            patches = np.zeros(shape, np.float32)
            for patch, (top, left) in zip(patches, batch, strict=False):
                patch[:] = padded[top : top + shape[1], left : left + shape[2]]
            restored = predict_patches(network, patches)
            for patch, (top, left) in zip(restored, batch, strict=False):
                total[top : top + size[0], left : left + size[1]] += patch
                count[top : top + size[0], left : left + size[1]] += 1
        return total / np.maximum(count, 1)  # only extra rows have count 0

    return PATCH_SIZE - 1 + margin, restore


def _quantise(result: np.ndarray, white: float, dtype: np.dtype) -> np.ndarray:
    """Clips to 0..1, scales to 0..white, and rounds as `image.to_uint8` if white is not 1."""
    if not np.isfinite(result).all():
        raise ValueError("the network's output is not finite; its weights are damaged")
    result = np.clip(result, 0.0, 1.0) * white
    return (result if white == 1.0 else image.round_half_up(result)).astype(dtype)


def _output_paths(inputs: Sequence[Path], output: Path | None, scale: int) -> list[Path]:
    """Returns one output path for each input.

    Raises:
      ValueError: if a path cannot be written, or would overwrite an input or another output.
    """
    if output and (len(inputs) > 1 or output.is_dir()):
        output.mkdir(exist_ok=True)
        paths = [output / f"{path.stem}_x{scale}.png" for path in inputs]
    else:
        paths = [output or path.with_name(f"{path.stem}_x{scale}.png") for path in inputs]
    originals = [path for path in inputs if path.exists()]
    taken: set[Path] = set()
    for path in paths:
        if path.suffix.lower() not in pictures.MODES:
            raise ValueError(f"{path}: the name of an output ends in {', '.join(pictures.MODES)}")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise ValueError(f"{path}: its folder does not exist or cannot be written to")
        if path.exists() and any(map(path.samefile, originals)):
            raise ValueError(f"{path}: the output would overwrite an input; name another with -o")
        if path.resolve() in taken:
            raise ValueError(f"{path}: two inputs of the same name; enlarge them one by one")
        taken.add(path.resolve())
    return paths


def _upscale_file(source: Path, target: Path, scale: int, network: "Network", by: Method) -> str:
    """Enlarges one file; returns the sizes before and after."""
    picture = pictures.fit(pictures.prepare(pictures.read(source), scale), target, scale)
    result = _enlarge_image(picture, scale, network, by)
    pictures.write(result, target)
    return "{}x{} -> {}x{}".format(*picture.size, *result.size)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="srcnn-upscale", description="Enlarge pictures by SRCNN.", allow_abbrev=False
    )
    parser.add_argument(
        "pictures", nargs="+", type=paths.argument, help="files that Pillow can read"
    )
    parser.add_argument("--scale", type=int, required=True, help="2, 3 or 4; others need --weights")
    parser.add_argument(
        "-o",
        "--output",
        type=paths.argument,
        help=f"file ({', '.join(pictures.MODES)}) or folder; "
        "default: NAME_xSCALE.png beside the input",
    )
    parser.add_argument(
        "--network",
        default="best",
        help="one of the networks of --list (default: the one with the highest PSNR)",
    )
    parser.add_argument(
        "--list", action=_List, help="list the networks, with sizes and PSNR, and exit"
    )
    parser.add_argument(
        "--weights", type=paths.argument, help="weight file, or workdir of a finished run"
    )
    parser.add_argument(
        "--overlap",
        choices=OVERLAPS,
        default="band",
        help="average: mean over overlapping patches, slower (default: %(default)s)",
    )
    parser.add_argument(
        "--self_ensemble",
        action="store_true",
        help="mean over eight flips and rotations: a little better, eight times as long",
    )
    args = parser.parse_args(arguments)
    runtime.print_any_name()
    os.environ.setdefault("JAX_LOGGING_LEVEL", "ERROR")  # no messages about absent accelerators
    Image.MAX_IMAGE_PIXELS = None  # pictures.read has a higher limit; photographs exceed Pillow's

    try:
        targets = _output_paths(args.pictures, args.output, args.scale)
        by = _method(args.overlap, args.self_ensemble)
        network = _network(args.weights, args.scale, args.network)
    except (ValueError, OSError) as error:
        return _complain(str(error))
    runtime.start_alone()
    name = args.weights.name if args.weights else _name(args.scale, args.network)
    status = 0
    for source, target in zip(args.pictures, targets, strict=True):
        start = time.perf_counter()
        try:
            sizes = _upscale_file(source, target, args.scale, network, by)
            print(f"{target}: {sizes}, {time.perf_counter() - start:.1f} s ({name})")
        except (ValueError, OSError) as error:
            status = _complain(f"{source}: {error}")
        except KeyboardInterrupt:
            return 130
        except Exception as error:  # whatever one picture raises, the others are enlarged
            reason = " ".join(str(error).split())
            status = _complain(f"{source}: {type(error).__name__}: {reason}")
    return status


class _List(argparse.Action):
    """Prints the list of networks, and exits."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any):
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from srcnn_jax.weights import pretrained

        print(pretrained.format_list())
        parser.exit()


def _name(scale: int, network: str) -> str:
    """What a bundled network is called in the line that is printed: 'network 915, 9-1-5'."""
    from srcnn_jax.weights import pretrained

    card = pretrained.choose(scale, network)
    return f"network {card.network}, {card.architecture.partition(',')[0]}"


def _complain(what: str) -> int:
    print(f"srcnn-upscale: {what}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
