"""The paper's MATLAB image operations: colour, bicubic resizing, cropping, rounding.

An image is (H, W) for one channel or (H, W, C). uint8 holds 0..255 and float holds 0..1 unless a
docstring says otherwise. A function with the name of a MATLAB function gives the same numbers, so
that results agree with the released `demo_SR.m`. `degradation.py` says which of them make a small
image.
"""

import math
from collections.abc import Callable

import numpy as np

# ITU-R BT.601 with studio swing, for R, G, B in 0..1 and Y, Cb, Cr in 0..255 (MATLAB rgb2ycbcr).
_YCBCR_FROM_RGB = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
)
_YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])

# MATLAB's rgb2gray takes its weights from the first row of the inverse NTSC (YIQ) matrix.
_GRAY_FROM_RGB = np.linalg.inv(
    np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]])
)[0]


def round_half_up(x: np.ndarray) -> np.ndarray:
    """Rounds to integers, halves away from zero, as MATLAB `round`; keeps the float dtype."""
    return np.trunc(x + np.copysign(0.5, x))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Converts a float image in 0..1 to uint8 as MATLAB's `uint8(x * 255)`: rounds and clips.

    Raises:
      ValueError: if a value is NaN. MATLAB would silently turn it into 0.
    """
    if np.isnan(image).any():
        raise ValueError("the image holds NaN; the network that made it has diverged or is damaged")
    return np.clip(round_half_up(image * 255.0), 0, 255).astype(np.uint8)


def rgb2ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Converts RGB (H, W, 3) to BT.601 YCbCr in studio swing (Y 16..235), as MATLAB `rgb2ycbcr`.

    uint8 gives rounded uint8. Float in 0..1 gives float64 in 0..1, not rounded.

    Raises:
      ValueError: if the shape is not (H, W, 3).
    """
    if rgb.ndim != 3 or rgb.shape[-1] != 3:
        raise ValueError(f"rgb2ycbcr needs an image of shape (H, W, 3), not {rgb.shape}")
    unit = rgb / 255.0 if rgb.dtype == np.uint8 else np.asarray(rgb, np.float64)
    ycbcr = unit @ _YCBCR_FROM_RGB.T + _YCBCR_OFFSET
    return to_uint8(ycbcr / 255.0) if rgb.dtype == np.uint8 else ycbcr / 255.0


def ycbcr2rgb(ycbcr: np.ndarray) -> np.ndarray:
    """The inverse of `rgb2ycbcr` for float (H, W, 3) in 0..1: float64 RGB, not clipped."""
    unit = np.asarray(ycbcr, np.float64) * 255.0 - _YCBCR_OFFSET
    return unit @ np.linalg.inv(_YCBCR_FROM_RGB).T


def rgb2gray(rgb: np.ndarray) -> np.ndarray:
    """Converts RGB (H, W, 3) to full-range grey (H, W), as MATLAB `rgb2gray`.

    uint8 gives rounded uint8. Float in 0..1 gives float64 in 0..1, not rounded.
    """
    if rgb.dtype != np.uint8:
        return np.asarray(rgb, np.float64) @ _GRAY_FROM_RGB
    return to_uint8((rgb / 255.0) @ _GRAY_FROM_RGB)


def luminance(image: np.ndarray, kind: str) -> np.ndarray:
    """Returns the channel that the paper evaluates; a grey image is its own luminance.

    Args:
      image: uint8, or float in 0..1, (H, W) or RGB (H, W, 3).
      kind: 'ycbcr' for the Y of `rgb2ycbcr`, 'gray' for `rgb2gray` (the paper's BSD200).

    Returns:
      (H, W), uint8 of uint8, float of float.

    Raises:
      ValueError: if `kind` is unknown.
    """
    if image.ndim == 2:
        return image
    if kind == "gray":
        return rgb2gray(image)
    if kind == "ycbcr":
        return rgb2ycbcr(image)[..., 0]
    raise ValueError(f"luminance is 'ycbcr' or 'gray', not {kind!r}")


def modcrop(image: np.ndarray, scale: int) -> np.ndarray:
    """Crops rows and columns at the end, so that height and width are multiples of `scale`.

    Raises:
      ValueError: if the image is smaller than `scale`.
    """
    height, width = image.shape[0] // scale * scale, image.shape[1] // scale * scale
    if height == 0 or width == 0:
        raise ValueError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels is smaller than "
            f"the scale {scale}"
        )
    return image[:height, :width]


def shave(image: np.ndarray, border: int) -> np.ndarray:
    """Removes `border` pixels from every side, as `shave.m` does before PSNR is computed.

    Raises:
      ValueError: if no pixel would be left.
    """
    if border == 0:
        return image
    if min(image.shape[:2]) <= 2 * border:
        raise ValueError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels is too small "
            f"to lose {border} on each side"
        )
    return image[border:-border, border:-border]


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2 (Keys 1981, MATLAB's 'bicubic')."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _contributions(
    in_length: int, out_length: int, scale: float, boundary: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the input samples of each output sample, and their weights.

    Shrinking stretches the kernel by 1/scale, which is MATLAB's antialiasing.

    Returns:
      int64 indices (out_length, taps) into the input, and float64 weights of the same shape. Each
      row of weights sums to 1.
    """
    stretch = min(scale, 1.0)
    centres = _centres(out_length, scale)
    return _taps(
        in_length, centres, 4.0 / stretch, lambda x: stretch * _cubic(stretch * x), boundary
    )


def _centres(out_length: int, scale: float) -> np.ndarray:
    """The centre of each output pixel in input coordinates. Both count from 1, as in MATLAB."""
    return np.arange(1, out_length + 1) / scale + 0.5 * (1.0 - 1.0 / scale)


def _taps(
    in_length: int,
    centres: np.ndarray,
    width: float,
    kernel: Callable[[np.ndarray], np.ndarray],
    boundary: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `_contributions` does, for a kernel that is 0 outside `width` around 0."""
    left = np.floor(centres - width / 2.0)
    taps = math.ceil(width) + 2
    positions = left[:, None] + np.arange(taps)
    weights = kernel(centres[:, None] - positions)
    weights /= weights.sum(axis=1, keepdims=True)
    indices = positions.astype(np.int64) - 1
    if boundary == "symmetric":
        mirror = indices % (2 * in_length)
        indices = np.minimum(mirror, 2 * in_length - 1 - mirror)
    elif boundary == "replicate":
        indices = np.clip(indices, 0, in_length - 1)
    else:
        raise ValueError(f"boundary is 'symmetric' or 'replicate', not {boundary!r}")
    used = (weights != 0).any(axis=0)
    return indices[:, used], weights[:, used]


def _resize_rows(image: np.ndarray, out_length: int, scale: float, boundary: str) -> np.ndarray:
    return _weigh_rows(image, *_contributions(image.shape[0], out_length, scale, boundary))


def _weigh_rows(image: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    shape = (len(indices),) + (1,) * (image.ndim - 1)
    out = np.zeros((len(indices), *image.shape[1:]), np.float64)
    for tap in range(indices.shape[1]):
        out += weights[:, tap].reshape(shape) * image[indices[:, tap]]
    return out


def imresize(
    image: np.ndarray,
    scale: float | None = None,
    output_shape: tuple[int, int] | None = None,
    boundary: str = "symmetric",
) -> np.ndarray:
    """Bicubic resizing, equal to MATLAB's `imresize(image, scale, 'bicubic')`.

    Shrinking includes antialiasing. The axis with the smaller scale is resized first, then the
    other. uint8 is rounded after each axis, as in MATLAB.

    Args:
      image: (H, W) or (H, W, C); uint8, or float of any range.
      scale: factor for both axes. The output has ceil(scale * size) pixels.
      output_shape: (height, width) in pixels, instead of `scale`.
      boundary: 'symmetric' mirrors the image at its edge (current MATLAB), 'replicate' repeats the
        edge (old releases). The two differ only within a few pixels of the border.

    Returns:
      The resized image, with the dtype of `image`. Float is computed in float64 and not clipped.

    Raises:
      ValueError: unless exactly one of `scale` and `output_shape` is given, and is positive; if the
        image has no pixels, or `boundary` is unknown.
    """
    if (scale is None) == (output_shape is None):
        raise ValueError("imresize needs either scale or output_shape")
    height, width = image.shape[:2]
    if scale is not None:
        if not scale > 0:
            raise ValueError(f"the scale of imresize must be positive, not {scale}")
        sizes = math.ceil(scale * height), math.ceil(scale * width)
        scales = scale, scale
    else:
        assert output_shape is not None
        sizes = output_shape
        scales = sizes[0] / height, sizes[1] / width
    if min(*sizes, height, width) < 1:
        raise ValueError(
            f"imresize cannot go from {height}x{width} to {sizes[0]}x{sizes[1]} pixels"
        )

    out = image
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        rows = np.moveaxis(out, axis, 0)
        rows = _resize_rows(rows, sizes[axis], scales[axis], boundary)
        if image.dtype == np.uint8:
            rows = np.clip(round_half_up(rows), 0, 255).astype(np.uint8)
        out = np.moveaxis(rows, 0, axis)
    return np.ascontiguousarray(out, dtype=image.dtype)


def imresize_rows(
    image: np.ndarray, first: int, last: int, output_shape: tuple[int, int]
) -> np.ndarray:
    """Computes rows [first, last) of `imresize(image, output_shape=output_shape)` in float64.

    Only the rows of the image that they need are read, so that a large image can be resized in
    bands.

    Args:
      image: (H, W, C), of any dtype and range.
      first, last: rows of the output.
      output_shape: (height, width) of the whole output in pixels.

    Returns:
      float64 (last - first, width, C), in the range of `image`, not clipped.
    """
    scales = output_shape[0] / image.shape[0], output_shape[1] / image.shape[1]
    indices, weights = _contributions(image.shape[0], output_shape[0], scales[0], "symmetric")
    indices, weights = indices[first:last], weights[first:last]
    rows = image[indices.min() : indices.max() + 1].astype(np.float64)
    rows = _weigh_rows(rows, indices - indices.min(), weights)
    columns = _resize_rows(np.moveaxis(rows, 1, 0), output_shape[1], scales[1], "symmetric")
    return np.moveaxis(columns, 0, 1)


GAUSSIAN_REACH = 4.0  # standard deviations from the centre at which a Gaussian is cut off


def subsample(image: np.ndarray, scale: int, sigma: float) -> np.ndarray:
    """Blurs by a Gaussian and keeps one pixel of `scale` in each direction.

    The text of the paper shrinks so. It says neither sigma nor which pixel is kept. Here the small
    pixel is the blurred image at the middle of its block, where `imresize` has it, too. This is the
    middle pixel for odd scales. For even scales it is between two pixels, and the kernel has an
    even number of taps. Beyond its border the image is mirrored.

    Args:
      image: (H, W) or (H, W, C); uint8, or float of any range.
      scale: how many times smaller the image becomes.
      sigma: standard deviation of the Gaussian in pixels of `image`, at least 0.1.

    Returns:
      (ceil(H / scale), ceil(W / scale)[, C]), with the dtype of `image`. It is computed in float64.
      uint8 is rounded once.
    """
    reach = GAUSSIAN_REACH * sigma + 0.5  # pixels; a kernel of even length has one tap at least

    def gaussian(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) <= reach, np.exp(-0.5 * (x / sigma) ** 2), 0.0)

    out = image
    for axis in (0, 1):
        rows = np.moveaxis(out, axis, 0)
        centres = _centres(-(-len(rows) // scale), 1 / scale)
        rows = _weigh_rows(rows, *_taps(len(rows), centres, 2 * reach, gaussian, "symmetric"))
        out = np.moveaxis(rows, 0, axis)
    if image.dtype == np.uint8:
        out = np.clip(round_half_up(out), 0, 255)
    return np.ascontiguousarray(out, dtype=image.dtype)


def spline_enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Enlarges by the cubic B-spline that goes through the pixels (`scipy.ndimage.zoom`).

    The pixels lie as in `imresize`, and the image is mirrored at its edge.

    Args:
      image: (H, W) or (H, W, C); uint8, or float of any range.
      scale: factor of the enlargement.

    Returns:
      (scale * H, scale * W[, C]), with the dtype of `image`. Float is computed in float64 and not
      clipped. uint8 is rounded once.
    """
    from scipy import ndimage

    planes = image.reshape(*image.shape[:2], -1)
    out = np.empty((scale * planes.shape[0], scale * planes.shape[1], planes.shape[2]))
    for channel in range(planes.shape[2]):
        ndimage.zoom(
            planes[..., channel].astype(np.float64),
            scale,
            output=out[..., channel],
            order=3,
            mode="grid-mirror",
            grid_mode=True,
        )
    if image.dtype == np.uint8:
        out = np.clip(round_half_up(out), 0, 255)
    return out.reshape(*out.shape[:2], *image.shape[2:]).astype(image.dtype)
