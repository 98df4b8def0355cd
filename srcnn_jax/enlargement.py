"""Enlarges arrays of pixels: interpolation, then the network, in bands of rows.

The network restores its planes (luminance, or all colours). Chroma that it does not restore, and
alpha, are only interpolated: as the network's input, by bicubic interpolation or by a spline. The
computation is in float, and the result is rounded once at the end. JAX is imported on first use.
"""

import functools
import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from srcnn_jax import colour, degradation, image

if TYPE_CHECKING:
    from srcnn_jax.weights import Network

MAX_SCALE = 16  # max factor of an enlargement
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


def choose_method(overlap: str = "band", self_ensemble: bool = False) -> Method:
    """Returns how an enlarged picture is restored.

    Args:
      overlap: 'band', or 'average' for the mean over overlapping patches, each restored by itself.
      self_ensemble: whether the result is the mean over eight flips and rotations; with overlap
        'band'.

    Raises:
      ValueError: if the overlap is unknown, or the two do not go together.
    """
    if overlap not in OVERLAPS:
        raise ValueError(f"overlap is one of {OVERLAPS}, not {overlap!r}")
    if overlap == "band":
        return functools.partial(_by_bands, self_ensemble=self_ensemble)
    if self_ensemble:
        raise ValueError(f"a self-ensemble goes with overlap 'band', not {overlap!r}")
    return _by_patches


def chain(factor: float, scales: Iterable[int]) -> tuple[int, ...]:
    """Returns the scales of networks that are applied one after the other for a factor.

    Their product is the factor, or the nearest larger number that there is. Of several chains the
    shortest is taken. The smaller scale comes first, which is worth 0.01 to 0.03 dB
    (experiments/results/LOG.md).

    Args:
      factor: factor of the enlargement, above 1 and up to `MAX_SCALE`.
      scales: scales of the networks at hand, from 2 up.

    Raises:
      ValueError: if the factor is not in its range.
    """
    if not isinstance(factor, numbers.Real):
        raise ValueError(f"the scale is a number, not {factor!r}")
    if not 1 < factor <= MAX_SCALE:  # also false for NaN
        raise ValueError(f"the scale is a number above 1 and up to {MAX_SCALE}, not {factor}")
    ascending = sorted(set(scales))
    chains = itertools.chain.from_iterable(
        itertools.combinations_with_replacement(ascending, length)
        for length in range(1, MAX_SCALE.bit_length())
    )
    large_enough = [each for each in chains if math.prod(each) >= factor]
    return min(large_enough, key=lambda each: (math.prod(each), len(each)))


def count_pixels(size: tuple[int, int], scales: Iterable[int]) -> int:
    """Returns how many pixels are computed when a picture of a size goes through a chain."""
    sides = list(itertools.accumulate(scales, lambda a, b: a * b))
    return size[0] * size[1] * sum(side**2 for side in sides)


def enlarge(
    pixels: np.ndarray,
    shape: tuple[int, int],
    networks: Mapping[int, "Network"],
    restored_by: Method,
    done: Callable[[int], object] = lambda pixels: None,
) -> np.ndarray:
    """Enlarges an array to a height and width.

    A chain of networks enlarges it. If the result is larger than the shape, it is shrunk with
    antialiasing.

    Args:
      pixels: (H, W), (H, W, 2) with alpha, (H, W, 3) RGB or (H, W, 4) RGBA of uint8, uint16 or
        float in 0..1, of any byte order.
      shape: height and width of the result in pixels.
      networks: networks by scale.
      restored_by: from `choose_method`.
      done: is told how many pixels of `count_pixels` were computed since its last call.

    Returns:
      (*shape[, C]), of the dtype of `pixels`.

    Raises:
      ValueError: if the array is not as described, or the enlargement is not in 1..`MAX_SCALE`.
    """
    if not pixels.dtype.isnative:
        native = pixels.astype(pixels.dtype.newbyteorder("="))
        return enlarge(native, shape, networks, restored_by, done).astype(pixels.dtype)
    white = check_pixels(pixels)
    planes = pixels.reshape(*pixels.shape[:2], -1)  # (H, W, C)
    if planes.shape[2] in (2, 4):
        planes = _fill_transparent(planes)
    height, width = planes.shape[:2]
    scales = chain(max(shape[0] / height, shape[1] / width), networks)
    exact = (math.prod(scales) * height, math.prod(scales) * width) == tuple(shape)
    for index, scale in enumerate(scales):
        last = exact and index == len(scales) - 1
        output = (white, pixels.dtype) if last else (1.0, np.dtype(np.float32))
        source = white if index == 0 else 1.0
        planes = _enlarge_once(planes, source, scale, networks[scale], restored_by, output, done)
    if not exact:
        planes = _shrink(planes, shape, white, pixels.dtype)
    return planes.reshape(*shape, *pixels.shape[2:])


def _enlarge_once(
    planes: np.ndarray,
    white: float,
    scale: int,
    network: "Network",
    restored_by: Method,
    output: tuple[float, np.dtype],
    done: Callable[[int], object],
) -> np.ndarray:
    """One network of the chain; `white` is that of `planes`, `output` the white and dtype after."""
    channels = 1 if planes.shape[2] < 3 else 3  # without alpha
    height, width = scale * planes.shape[0], scale * planes.shape[1]
    beyond, restore = restored_by(network, height, width)
    bands = -(-height // max(BAND_PIXELS // width, beyond, 1))
    rows = -(-height // bands)
    span = min(height, rows + 2 * beyond)  # the same for all bands, so that JAX compiles once
    out = np.empty((height, width, planes.shape[2]), output[1])
    for top in range(0, height, rows):
        first = min(max(top - beyond, 0), height - span)
        band = degradation.enlarge_rows(planes, first, first + span, scale, network.degradation)
        band /= white  # (span, width, C)
        restored = _restore(band[..., :channels], network.colour, functools.partial(restore, first))
        band = np.concatenate([restored, band[..., channels:]], axis=2)
        part = out[top : top + rows]
        part[:] = _quantise(band[top - first :][:rows], *output)
        done(part.shape[0] * width)
    return out


def _shrink(
    planes: np.ndarray, shape: tuple[int, int], white: float, dtype: np.dtype
) -> np.ndarray:
    """Shrinks float planes in 0..1 to a shape, in bands."""
    out = np.empty((*shape, planes.shape[2]), dtype)
    rows = max(BAND_PIXELS // planes.shape[1], 1)
    for top in range(0, shape[0], rows):
        bottom = min(top + rows, shape[0])
        out[top:bottom] = _quantise(image.imresize_rows(planes, top, bottom, shape), white, dtype)
    return out


def check_pixels(pixels: np.ndarray) -> float:
    """Returns the value of white; raises ValueError if `enlarge` does not accept the array."""
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (2,), (3,), (4,)):
        raise ValueError(f"a picture is (H, W) or (H, W, 2, 3 or 4), not {pixels.shape}")
    if pixels.size == 0:
        raise ValueError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} has no pixels")
    if pixels.dtype.newbyteorder("=") in (np.uint8, np.uint16):
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
