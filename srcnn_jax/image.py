"""Images as the paper's MATLAB code sees them: colour, bicubic resizing, cropping, rounding.

NumPy only. An image is (H, W) for one channel or (H, W, C); uint8 holds 0..255 and float holds
0..1 unless a docstring says otherwise. Each function reproduces the MATLAB function that it is
named after, so that numbers agree with the released `demo_SR.m`.
"""

import math

import numpy as np

# ITU-R BT.601 with studio swing, for R, G, B in 0..1 and Y, Cb, Cr in 0..255 (MATLAB rgb2ycbcr).
_YCBCR_FROM_RGB = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
)
_YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])

# First row of the inverse NTSC (YIQ) matrix that MATLAB's rgb2gray computes its weights from.
_GRAY_FROM_RGB = np.linalg.inv(
    np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]])
)[0]


def round_half_up(x: np.ndarray) -> np.ndarray:
    """Rounds to the nearest integer, halves away from zero (MATLAB `round`), keeping the dtype."""
    return np.trunc(x + np.copysign(0.5, x))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float image in 0..1 to uint8 0..255 as MATLAB's `uint8(x * 255)`: rounded and saturated.

    Raises:
      ValueError: if a value is NaN, which MATLAB would silently turn into 0.
    """
    if np.isnan(image).any():
        raise ValueError("the image holds NaN; the network that made it has diverged or is damaged")
    return np.clip(round_half_up(image * 255.0), 0, 255).astype(np.uint8)


def rgb2ycbcr(rgb: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3) to BT.601 YCbCr in studio swing (Y 16..235), as MATLAB `rgb2ycbcr`.

    uint8 gives rounded uint8; float in 0..1 gives float64 in 0..1, not rounded.
    """
    if rgb.ndim != 3 or rgb.shape[-1] != 3:
        raise ValueError(f"rgb2ycbcr needs an image of shape (H, W, 3), not {rgb.shape}")
    unit = rgb / 255.0 if rgb.dtype == np.uint8 else np.asarray(rgb, np.float64)
    ycbcr = unit @ _YCBCR_FROM_RGB.T + _YCBCR_OFFSET
    return to_uint8(ycbcr / 255.0) if rgb.dtype == np.uint8 else ycbcr / 255.0


def ycbcr2rgb(ycbcr: np.ndarray) -> np.ndarray:
    """Inverse of `rgb2ycbcr` for float images: (H, W, 3) in 0..1 to float64 RGB, not clipped."""
    unit = np.asarray(ycbcr, np.float64) * 255.0 - _YCBCR_OFFSET
    return unit @ np.linalg.inv(_YCBCR_FROM_RGB).T


def rgb2gray(rgb: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) to full-range uint8 grey (H, W), as MATLAB `rgb2gray`."""
    return to_uint8((rgb / 255.0) @ _GRAY_FROM_RGB)


def luminance(image: np.ndarray, kind: str) -> np.ndarray:
    """The channel that the paper evaluates, uint8 (H, W); a grey image is its own luminance.

    Args:
      image: uint8, (H, W) or (H, W, 3).
      kind: 'ycbcr' for the Y of `rgb2ycbcr`, 'gray' for `rgb2gray` (the paper's BSD200).
    """
    if image.ndim == 2:
        return image
    if kind == "gray":
        return rgb2gray(image)
    if kind == "ycbcr":
        return rgb2ycbcr(image)[..., 0]
    raise ValueError(f"luminance is 'ycbcr' or 'gray', not {kind!r}")


def modcrop(image: np.ndarray, scale: int) -> np.ndarray:
    """Cuts rows and columns off the end until height and width are multiples of `scale`."""
    height, width = image.shape[0] // scale * scale, image.shape[1] // scale * scale
    if height == 0 or width == 0:
        raise ValueError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels is smaller than "
            f"the scale {scale}"
        )
    return image[:height, :width]


def shave(image: np.ndarray, border: int) -> np.ndarray:
    """Cuts `border` pixels off every side, as `shave.m` does before PSNR is computed."""
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
    """Which input samples make each output sample, and with which weights.

    Shrinking stretches the kernel by 1/scale, which is MATLAB's antialiasing.

    Returns:
      indices (out_length, taps) into the input and float64 weights of the same shape; every row
      of weights sums to 1.
    """
    stretch = min(scale, 1.0)
    width = 4.0 / stretch
    # Output pixel i (from 1) is centred at u in input coordinates (from 1).
    u = np.arange(1, out_length + 1) / scale + 0.5 * (1.0 - 1.0 / scale)
    left = np.floor(u - width / 2.0)
    taps = math.ceil(width) + 2
    positions = left[:, None] + np.arange(taps)
    weights = stretch * _cubic(stretch * (u[:, None] - positions))
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
    indices, weights = _contributions(image.shape[0], out_length, scale, boundary)
    shape = (out_length,) + (1,) * (image.ndim - 1)
    out = np.zeros((out_length, *image.shape[1:]), np.float64)
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

    Antialiased when it shrinks. Rows and columns are resized one after the other, the axis with
    the smaller scale first; as in MATLAB, uint8 is rounded after each of the two.

    Args:
      image: (H, W) or (H, W, C); uint8, or float of any range.
      scale: factor for both axes; the output has ceil(scale * size) pixels.
      output_shape: (height, width) in pixels, instead of `scale`.
      boundary: 'symmetric' mirrors the edge (current MATLAB), 'replicate' repeats it (the old
        releases); they differ within a few pixels of the border only.

    Returns:
      The resized image, of the dtype of `image` (float is computed in float64, not clipped).

    Raises:
      ValueError: unless exactly one of `scale` and `output_shape` is given, and is positive.
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
