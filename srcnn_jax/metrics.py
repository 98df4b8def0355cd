"""Image quality metrics of the paper, computed in float64 for one image.

The authors used public MATLAB code: their own for PSNR, Wang's for SSIM, the package MeTriX MuX 1.1
(Gaubatz, Cornell 2007) for MS-SSIM, IFC and NQM, and Liu's `WPSNR.m`. The paper does not say so,
but these definitions reproduce its rows to the last digit
(experiments/results/paper/metrics.md). `quantise` is the rounding before all metrics.

A metric takes arrays or `Plane`s. A `Plane` keeps what was computed of it for the next metric and
for the next image that is compared with it.

SciPy imports each part on first use. That takes a quarter of a second, for which a training need
not wait.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy

from srcnn_jax.image import to_uint8

Metric = Callable[..., float]  # (reference, image, peak=255.0)

# Min pixels of the shorter side for each metric.
MIN_SIDE = {"psnr": 1, "ssim": 11, "msssim": 161, "ifc": 43, "nqm": 1, "wpsnr": 1}


def quantise(planes: np.ndarray) -> np.ndarray:
    """Rounds a network's output to uint8, from which every metric is computed.

    Only this function rounds an output before it is scored. The paper's `demo_SR.m` rounds ground
    truth, bicubic and output by `uint8(x * 255)`, halves away from zero. Scores without rounding
    differ by up to 0.01 dB.

    Args:
      planes: float of any shape, on the scale 0..1; values outside are clipped.

    Returns:
      uint8 of the same shape.

    Raises:
      ValueError: if a value is NaN.
    """
    return to_uint8(planes)


class Plane:
    """An image, and what metrics have computed of it.

    The reference of several images is one `Plane`: then its part of SSIM, MS-SSIM, IFC and NQM is
    computed once. All that is kept goes when the `Plane` goes.

    Attributes:
      pixels: float64 of the image's shape, on the scale 0..255. They must not be changed.
    """

    def __init__(self, pixels: np.ndarray, peak: float = 255.0):
        """Takes an array of any dtype, in 0..peak."""
        self.pixels = np.asarray(pixels, np.float64)
        if peak != 255:
            self.pixels = self.pixels * (255.0 / peak)
        self._kept: dict[Any, Any] = {}

    def derive(self, function: Callable[..., Any], *others: "Plane") -> Any:
        """Returns `function(self, *others)`, which is computed at the first call alone."""
        key = (function, *others)
        if key not in self._kept:
            self._kept[key] = function(self, *others)
        return self._kept[key]


Image = np.ndarray | Plane


def psnr(reference: Image, image: Image, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB over all values; infinite for equal images.

    Args:
      reference, image: same shape, any dtype, in 0..peak (`compute_psnr.m`: shaved uint8 Y).
      peak: the largest possible value of an array.

    Raises:
      ValueError: if the shapes differ. There is no broadcasting.
    """
    x, y = _planes(reference, image, peak)
    return _decibels(255.0**2, float(np.mean(np.square(x.pixels - y.pixels))))


def ssim(reference: Image, image: Image, peak: float = 255.0) -> float:
    """Mean structural similarity, as the authors' `ssim_index.m` (Wang et al. 2004).

    The window is an 11x11 Gaussian of sigma 1.5. The covariance is that of the population, with
    K1 = 0.01 and K2 = 0.03. The mean is over the windows that lie inside the image.

    Args:
      reference, image: (H, W), at least 11x11, in 0..peak.

    Returns:
      -1..1; 1 for equal images.

    Raises:
      ValueError: if the shapes differ or the images are too small.
    """
    x, y = _prepare(reference, image, peak, "ssim")
    (mean_x, variance_x), (mean_y, variance_y) = x.derive(_moments), y.derive(_moments)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    rest = (2 * y.derive(_covariance, x) + _C2) / (variance_x + variance_y + _C2)
    return float(np.mean(luminance * rest))


_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()


def _window_means(pixels: np.ndarray) -> np.ndarray:
    """Returns the means (H - 10, W - 10) over the windows of SSIM that lie inside (H, W)."""
    return _filter_both_ways(pixels, _WINDOW, "constant")[5:-5, 5:-5]


def _moments(plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Returns the means and the variances over the windows; rounding can make some negative."""
    mean = _window_means(plane.pixels)
    return mean, _window_means(plane.pixels**2) - mean**2


def _covariance(y: Plane, x: Plane) -> np.ndarray:
    """Returns the covariances over the windows."""
    (mean_x, _), (mean_y, _) = x.derive(_moments), y.derive(_moments)
    return _window_means(x.pixels * y.pixels) - mean_x * mean_y


# Exponents of contrast and structure at scales 1 to 5 of MS-SSIM. The last is also luminance's.
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

# The analysis low-pass filter of the biorthogonal 9/7 wavelet: the first four taps, the middle one.
_LOWPASS_97 = (0.03782845550726, -0.02384946501956, -0.11062440441844, 0.37740285561283)
_LOWPASS_97_MIDDLE = 0.85269867900889


def msssim(reference: Image, image: Image, peak: float = 255.0) -> float:
    """Multi-scale structural similarity, as MeTriX MuX's `mssim_index.m` (Wang et al. 2003).

    There are five scales. From one scale to the next, the image is filtered by the low-pass of the
    9/7 wavelet (mirrored at its edge) and halved. Contrast and structure count at every scale,
    luminance only at the last. Each is the mean over the SSIM windows inside the image. Wang's own
    later `msssim.m` takes means of 2x2 pixels instead of the wavelet and gives higher values.

    Args:
      reference, image: (H, W), at least 161x161, in 0..peak.

    Returns:
      0..1; 1 for equal images. A negative mean structure (a negative image) counts as 0.

    Raises:
      ValueError: if the shapes differ or the images are too small.
    """
    x, y = _prepare(reference, image, peak, "msssim")
    result = 1.0
    for scale, exponent in enumerate(_EXPONENTS):
        if scale > 0:
            x, y = x.derive(_halve), y.derive(_halve)
        (_, variance_x), (_, variance_y) = x.derive(_moments), y.derive(_moments)
        variance_x, variance_y = np.abs(variance_x), np.abs(variance_y)
        deviations = np.sqrt(variance_x) * np.sqrt(variance_y)
        contrast = np.mean((2 * deviations + _C2) / (variance_x + variance_y + _C2))
        structure = np.mean((y.derive(_covariance, x) + _C2 / 2) / (deviations + _C2 / 2))
        result *= (contrast * max(structure, 0.0)) ** exponent
    (mean_x, _), (mean_y, _) = x.derive(_moments), y.derive(_moments)
    luminance = np.mean((2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1))
    return float(result * luminance ** _EXPONENTS[-1])


def _halve(plane: Plane) -> Plane:
    """Returns the next scale of MS-SSIM."""
    taps = np.array([*_LOWPASS_97, _LOWPASS_97_MIDDLE, *_LOWPASS_97[::-1]])
    taps /= taps.sum()
    rows = scipy.ndimage.correlate1d(plane.pixels, taps, axis=0, mode="reflect")[::2]
    return Plane(scipy.ndimage.correlate1d(rows, taps, axis=1, mode="reflect")[:, ::2])


def _unfold(quarter: list[list[float]], odd: bool = False) -> np.ndarray:
    """Returns a symmetric filter from its upper left quarter with the middle row and column.

    An odd filter changes its sign from left to right.
    """
    left = np.array(quarter)
    left = np.concatenate([left, left[-2::-1]])
    return np.concatenate([left, (-1 if odd else 1) * left[:, -2::-1]], axis=1)


# The steerable pyramid with six orientations of Simoncelli's matlabPyrTools (`sp5Filters`): the
# filter before the first level, the low-pass between two levels, and the vertical oriented filter.
_PYRAMID_FIRST = _unfold(
    [
        [0.00341614, -0.01551246, -0.03848215],
        [-0.01551246, 0.05586982, 0.1592557],
        [-0.03848215, 0.1592557, 0.40304148],
    ]
)
_PYRAMID_LOWPASS = _unfold(
    [
        [0.00170808, -0.00489834, -0.00775624, -0.01888864, -0.01924108],
        [-0.00489834, -0.01046562, -0.01322234, 0.008212, 0.02005976],
        [-0.00775624, -0.01322234, 0.02793492, 0.06554076, 0.07962786],
        [-0.01888864, 0.008212, 0.06554076, 0.12852666, 0.16339236],
        [-0.01924108, 0.02005976, 0.07962786, 0.16339236, 0.2019308],
    ]
)
_PYRAMID_VERTICAL = _unfold(
    [
        [0.00277643, -0.00986904, -0.01021852, 0.0],
        [0.00496194, -0.00893064, -0.03075356, 0.0],
        [0.01026699, 0.01189859, -0.08226445, 0.0],
        [0.01455399, 0.02755155, -0.11732297, 0.0],
    ],
    odd=True,
)
_LEVELS = 4  # levels of the pyramid
_BLOCK = 3  # side of a block of coefficients, which is a vector of the model


def ifc(reference: Image, image: Image, peak: float = 255.0) -> float:
    """Information fidelity criterion in bits per pixel, as `ifcvec.m` in MeTriX MuX 1.1.

    It is the information that the image holds about the reference (Sheikh, Bovik and de Veciana
    2005). The model of the reference is a Gaussian scale mixture (GSM): its 3x3 blocks of steerable
    pyramid coefficients are Gaussian vectors with one covariance and different scales. The model
    of the image is a gain and additive noise. The sum is over the vertical and horizontal subbands
    of four levels. MeTriX MuX first extends the images by mirroring to multiples of 32 pixels, and
    to at least 128. The sum is divided by the number of pixels after that.

    Args:
      reference, image: (H, W), at least 43x43, in 0..peak.

    Returns:
      0 or more, without an upper bound. Equal images have a high but finite value. The order of the
      two images matters.

    Raises:
      ValueError: if the shapes differ or the images are too small.
    """
    x, y = _prepare(reference, image, peak, "ifc")
    information = sum(
        _information(*bands)
        for bands in zip(
            x.derive(_subbands), x.derive(_scale_mixtures), y.derive(_subbands), strict=True
        )
    )
    return information / math.prod(side + sum(_margins(side)) for side in x.pixels.shape)


def _mirror_to_32(plane: np.ndarray) -> np.ndarray:
    """Extends (H, W) to multiples of 32 (min 128), mirrored about its edge pixels.

    As in MeTriX MuX, each corner of the border holds a single value.
    """
    rows, columns = (_margins(side) for side in plane.shape)
    padded = np.pad(plane, (rows, columns), mode="reflect")
    (top, bottom), (left, right) = rows, columns
    height, width = padded.shape
    padded[:top, :left] = plane[1, 1]
    padded[:top, width - right :] = plane[1, -2]
    padded[height - bottom :, :left] = plane[-2, 1]
    padded[height - bottom :, width - right :] = plane[-2, -2]
    return padded


def _margins(side: int) -> tuple[int, int]:
    """Returns by how many pixels a side is extended, before and after."""
    missing = max(128, -(-side // 32) * 32) - side
    return (missing + 1) // 2, missing // 2


class _Subband(NamedTuple):
    """A subband of the pyramid, and its moments over the windows around the blocks' middles.

    Attributes:
      pixels: (H, W), multiples of _BLOCK.
      window: side of the windows, which a mirror at the edge fills.
      mean: (H / _BLOCK, W / _BLOCK).
      energy: (H / _BLOCK, W / _BLOCK), the sum of the squares about the mean.
    """

    pixels: np.ndarray
    window: int
    mean: np.ndarray
    energy: np.ndarray


def _subbands(plane: Plane) -> list[_Subband]:
    """Returns the vertical and horizontal subband of every level of the pyramid, finest first."""
    pixels = _mirror_to_32(plane.pixels)
    bands = []
    for level in range(_LEVELS):
        *oriented, pixels = _filter_level(pixels, is_first=level == 0)
        for band in oriented:
            height, width = (side // _BLOCK * _BLOCK for side in band.shape)
            band = band[:height, :width]
            window = 2 ** (_LEVELS - level) + 1
            mean = _window_sums(band, window) / window**2
            energy = np.maximum(_window_sums(band**2, window) - window**2 * mean**2, 0)
            bands.append(_Subband(band, window, mean, energy))
    return bands


def _filter_level(pixels: np.ndarray, is_first: bool) -> tuple[np.ndarray, ...]:
    """Returns a level's vertical and horizontal subband, and the image (H/2, W/2) of the next one.

    A product of Fourier transforms filters the image (H, W), mirrored about its edge pixels. On the
    first level `_PYRAMID_FIRST` is a factor of each filter. It is symmetric, so what it has
    filtered is mirrored, too.
    """
    height, width = pixels.shape
    radius = _pyramid_filters(is_first).shape[-1] // 2
    padded = np.pad(pixels, radius, mode="reflect")
    rows = 2 * scipy.fft.next_fast_len((padded.shape[0] + 1) // 2)
    columns = scipy.fft.next_fast_len(padded.shape[1], real=True)
    spectrum = scipy.fft.rfft2(padded, (rows, columns))
    vertical, horizontal, lowpass = _pyramid_responses(rows, columns, is_first)
    folded = spectrum * lowpass  # its two halves are one for an image of every other row
    folded = (folded[: rows // 2] + folded[rows // 2 :]) / 2
    return (
        scipy.fft.irfft2(spectrum * vertical, (rows, columns))[:height, :width],
        scipy.fft.irfft2(spectrum * horizontal, (rows, columns))[:height, :width],
        scipy.fft.irfft2(folded, (rows // 2, columns))[: height // 2, :width:2],
    )


@functools.cache
def _pyramid_filters(is_first: bool) -> np.ndarray:
    """Returns the vertical, horizontal and low-pass filter, (3, N, N), with zeros around."""
    filters = [_PYRAMID_VERTICAL, _PYRAMID_VERTICAL.T, _PYRAMID_LOWPASS]
    if is_first:
        filters = [scipy.signal.convolve2d(_PYRAMID_FIRST, taps) for taps in filters]
    side = max(len(taps) for taps in filters)
    return np.stack([np.pad(taps, (side - len(taps)) // 2) for taps in filters])


@functools.lru_cache(maxsize=2 * _LEVELS)  # portrait and landscape
def _pyramid_responses(rows: int, columns: int, is_first: bool) -> np.ndarray:
    """Returns (3, rows, columns // 2 + 1): the factors by which the filters change a spectrum.

    The filtered image begins with the first pixel for which the filter lies inside.
    """
    return np.conj(scipy.fft.rfft2(_pyramid_filters(is_first), (rows, columns)))


def _window_sums(pixels: np.ndarray, window: int) -> np.ndarray:
    """Returns the sums (H / _BLOCK, W / _BLOCK) over the windows around the blocks' middles."""
    for _ in range(2):  # down the columns, then, after the transpose, across the rows
        count = len(pixels) // _BLOCK
        mirrored = pixels[_mirrored_rows(len(pixels), window // 2)]
        sums = np.zeros((count, pixels.shape[1]))
        for first in range(_BLOCK // 2, _BLOCK // 2 + window):
            sums += mirrored[first::_BLOCK][:count]
        pixels = sums.T
    return pixels


@functools.lru_cache(maxsize=4 * _LEVELS)  # two sides of portrait and landscape
def _mirrored_rows(count: int, border: int) -> np.ndarray:
    """Returns the numbers of the rows of an image that is mirrored about its edge pixels."""
    return np.pad(np.arange(count), border, mode="reflect")


class _ScaleMixture(NamedTuple):
    """The model of a subband: the scale of every block, and the eigenvalues of their covariance."""

    scales: np.ndarray  # (H / _BLOCK, W / _BLOCK)
    eigenvalues: np.ndarray  # (_BLOCK**2,)


def _scale_mixtures(plane: Plane) -> list[_ScaleMixture]:
    """Returns the models of the subbands, as `_subbands`."""
    return [_scale_mixture(band.pixels) for band in plane.derive(_subbands)]


def _scale_mixture(x: np.ndarray) -> _ScaleMixture:
    """Estimates the model of (H, W): the covariance from all blocks, also overlapping ones."""
    height, width = (side - _BLOCK + 1 for side in x.shape)
    shifted = [x[i : i + height, j : j + width] for i in range(_BLOCK) for j in range(_BLOCK)]
    mean = np.array([each.mean() for each in shifted])
    products = [
        [np.einsum("ij,ij", a, b) if i <= j else 0.0 for j, b in enumerate(shifted)]
        for i, a in enumerate(shifted)
    ]
    covariance = np.triu(products) + np.triu(products, 1).T
    covariance = covariance / (height * width) - np.outer(mean, mean)
    blocks = np.stack([x[i::_BLOCK, j::_BLOCK] for i in range(_BLOCK) for j in range(_BLOCK)], -1)
    inverse = np.linalg.pinv(covariance, hermitian=True)  # a flat image has no inverse
    scales = np.sum(blocks @ inverse * blocks, axis=-1) / _BLOCK**2
    return _ScaleMixture(scales, np.maximum(np.linalg.eigvalsh(covariance), 0))


def _information(x: _Subband, mixture: _ScaleMixture, y: _Subband) -> float:
    """Returns the bits in a subband of an image, without the blocks at its border."""
    gain, noise = _channel(x, y)
    border = -(-(x.window // 2) // _BLOCK)  # blocks whose window crosses the edge
    inside = (slice(border, -border), slice(border, -border))
    snr = (gain**2 * mixture.scales / (noise + 1e-10))[inside]
    product = np.ones_like(snr)  # one logarithm of it is the sum of nine
    for eigenvalue in mixture.eigenvalues:
        product *= 1 + snr * eigenvalue
    return float(np.sum(np.log2(product)))


def _channel(x: _Subband, y: _Subband) -> tuple[np.ndarray, np.ndarray]:
    """Estimates the gain and noise variance of y = gain x + noise, by regression at every block."""
    tolerance = 1e-15
    count = x.window**2
    covariance = _window_sums(x.pixels * y.pixels, x.window) - count * x.mean * y.mean
    gain = covariance / (x.energy + tolerance)
    noise = (y.energy - gain * covariance) / count
    for nothing, rest in (
        (x.energy < tolerance, y.energy),
        (y.energy < tolerance, np.zeros_like(y.energy)),
        (gain < 0, y.energy),
    ):
        gain, noise = np.where(nothing, 0, gain), np.where(nothing, rest, noise)
    return gain, np.maximum(noise, tolerance)


_VIEWING_ANGLE = np.degrees(1 / 3.5)  # degrees of an image at a distance of 3.5 times its height


def nqm(reference: Image, image: Image, peak: float = 255.0) -> float:
    """Noise quality measure in dB, as `nqm_modified.m` in MeTriX MuX 1.1.

    It is the signal-to-noise ratio between the two images as an observer sees them (Damera-Venkata
    et al. 2000). There are five bands, an octave apart, from 2 to 32 cycles per image; the mean is
    left out. Peli's local contrast decides in every band what is visible. Contrast below the
    threshold of detection is removed. Differences below the masking threshold are removed, too. The
    image is periodic at its edge. The thresholds are jumps, so the rounding of a single pixel can
    change the result by some hundredths of a dB.

    Args:
      reference, image: (H, W), in 0..peak.

    Returns:
      Any real number; infinite for equal images. The order of the two images matters.

    Raises:
      ValueError: if the shapes differ.
    """
    x, y = _prepare(reference, image, peak, "nqm")
    bands, seen_x = x.derive(_seen_reference)
    seen_y = np.zeros_like(seen_x)
    for octave, (band_x, contrast_x), (band_y, contrast_y) in zip(
        _OCTAVES, bands, _local_contrasts(y), strict=True
    ):
        hidden = _is_hidden(contrast_y, octave)
        # As in the MATLAB code, the masking threshold is that at the band's number, not frequency.
        masking = 0.86 * contrast_x + (0.3 - 0.86) * _contrast_threshold(octave)
        np.copyto(contrast_y, 1, where=np.abs(contrast_y) > 1)
        seen = np.where(np.abs(contrast_y - contrast_x) < masking, band_x, band_y)
        np.copyto(seen, 0, where=hidden)
        seen_y += seen
    return _decibels(np.sum(seen_x**2), np.sum((seen_x - seen_y) ** 2))


_OCTAVES = range(1, 6)  # bands of 2**octave cycles per image


def _seen_reference(plane: Plane) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Returns all of `_local_contrasts`, and the sum of what is seen of the bands."""
    bands = list(_local_contrasts(plane))
    seen = np.zeros_like(plane.pixels)
    for octave, (band, contrast) in zip(_OCTAVES, bands, strict=True):
        seen += np.where(_is_hidden(contrast, octave), 0, band)
    return bands, seen


def _is_hidden(contrast: np.ndarray, octave: int) -> np.ndarray:
    """Returns where the contrast of a band is too low for the eye."""
    return np.abs(contrast) < _contrast_threshold(2**octave / _VIEWING_ANGLE)


def _local_contrasts(plane: Plane) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields each band (H, W), and Peli's contrast: the band over all that is below it."""
    height, width = plane.pixels.shape
    highest = _band_response(height, width, _OCTAVES[-1])
    rows = scipy.fft.rfft(plane.pixels, axis=1)[:, : highest.shape[1]]
    spectrum = scipy.fft.fft(rows, axis=0)

    def filtered(octave: int) -> np.ndarray:
        response = _band_response(height, width, octave)
        rows = scipy.fft.ifft(response * spectrum[:, : response.shape[1]], axis=0)
        return scipy.fft.irfft(rows, width, axis=1)

    below = filtered(0)
    for octave in _OCTAVES:
        band = filtered(octave)
        with np.errstate(divide="ignore", invalid="ignore"):  # division by 0 in black areas
            yield band, band / below
        below += band


@functools.lru_cache(maxsize=2 * (1 + len(_OCTAVES)))  # portrait and landscape
def _band_response(height: int, width: int, octave: int) -> np.ndarray:
    """Returns (H, columns), the factors of a spectrum of real numbers; 0 for more columns.

    Octave 0 is what lies below the first band. Frequencies of an odd side lie half a cycle off, as
    in the MATLAB code. So a response is not symmetric, and only its even part is in the real image.
    """
    # one column more than the last that is not 0: the band ends an octave above its centre
    columns = min(width // 2 + 1, 2 ** (octave + 1) + 2)
    down = scipy.fft.ifftshift(np.arange(height) - height / 2)[:, None]
    across = scipy.fft.ifftshift(np.arange(width) - width / 2)

    def response(down: np.ndarray, across: np.ndarray) -> np.ndarray:
        radius = np.hypot(down, across[:columns])
        return _cosine_log(radius, 2**octave) if octave else _cosine_log(radius + 2, 2)

    def negative(frequencies: np.ndarray) -> np.ndarray:
        return np.roll(frequencies[::-1], 1, axis=0)

    return (response(down, across) + response(negative(down), negative(across))) / 2


def _cosine_log(radius: np.ndarray, centre: float) -> np.ndarray:
    """Frequency response of a band-pass with an octave on each side of its centre (Peli 1990)."""
    octaves = np.log2(np.maximum(radius, centre / 2) / centre)
    return 0.5 * (1 + np.cos(np.pi * np.minimum(octaves, 1)))


def _contrast_threshold(frequency: float) -> float:
    """Contrast threshold of the eye at a frequency in cycles per degree (Mannos, Sakrison 1974)."""
    f = 0.114 * frequency
    return float(1 / (200 * 2.6 * (0.0192 + f) * np.exp(-(f**1.1))))


def wpsnr(reference: Image, image: Image, peak: float = 255.0) -> float:
    """Weighted PSNR in dB, as Ruizhen Liu's `WPSNR.m`: the error is filtered as by the eye.

    The filter has 41x41 taps. They come from the contrast sensitivity function of Miyahara et al.
    (Objective Picture Quality Scale, 1998), sampled at -20..20 cycles per degree. The error is zero
    outside the image.

    Args:
      reference, image: (H, W), in 0..peak.

    Returns:
      Any real number; infinite for equal images.

    Raises:
      ValueError: if the shapes differ.
    """
    x, y = _prepare(reference, image, peak, "wpsnr")
    error = scipy.signal.fftconvolve(x.pixels - y.pixels, _sensitivity_taps(), mode="same")
    is_equal = np.array_equal(x.pixels, y.pixels)
    return _decibels(255**2, 0 if is_equal else np.mean(error**2))


@functools.cache
def _sensitivity_taps() -> np.ndarray:
    """Returns the filter (41, 41) of WPSNR."""
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(_contrast_sensitivity())).real)


def _contrast_sensitivity() -> np.ndarray:
    """Returns (41, 41), zero frequency in the middle; it is lower for fine oblique patterns."""
    vertical, horizontal = np.meshgrid(*[np.arange(-20, 21) * (2 * np.pi / 60)] * 2, indexing="ij")
    w = np.hypot(vertical, horizontal)
    sensitivity = 1.5 * np.exp(-2 * w**2) - np.exp(-4 * w**2)
    oblique = np.cos(2 * np.arctan2(vertical, horizontal)) ** 4
    fine = np.exp(8 * (w - 2 * np.pi * 11.13 / 60))
    return sensitivity * (1 + fine * oblique) / (1 + fine)


METRICS: dict[str, Metric] = {
    "psnr": psnr,
    "ssim": ssim,
    "msssim": msssim,
    "ifc": ifc,
    "nqm": nqm,
    "wpsnr": wpsnr,
}


def by_name(text: str) -> dict[str, Metric]:
    """Returns the metrics of `config.eval.metrics`, such as 'psnr,ssim,ifc'; PSNR is always first.

    Raises:
      ValueError: if a name is unknown or there twice, or there is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError(f"the metrics {text!r} are none: name some of {', '.join(METRICS)}")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the metrics {text!r} have {name!r} twice: leave one out")
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}: the metrics are {', '.join(METRICS)}")
    return {name: METRICS[name] for name in dict.fromkeys(["psnr", *names])}


def _planes(reference: Image, image: Image, peak: float) -> tuple[Plane, Plane]:
    """Returns both images as `Plane`s.

    Raises:
      ValueError: if their shapes differ.
    """
    x, y = (each if isinstance(each, Plane) else Plane(each, peak) for each in (reference, image))
    if x.pixels.shape != y.pixels.shape:
        raise ValueError(f"cannot compare images of shapes {x.pixels.shape} and {y.pixels.shape}")
    return x, y


def _prepare(reference: Image, image: Image, peak: float, name: str) -> tuple[Plane, Plane]:
    """As `_planes`, but checks that a metric can compare the images."""
    x, y = _planes(reference, image, peak)
    least, shape = MIN_SIDE[name], x.pixels.shape
    if len(shape) != 2 or min(shape) < least:
        raise ValueError(
            f"{name} needs grey images of at least {least}x{least} pixels, not {shape}"
        )
    return x, y


def _filter_both_ways(plane: np.ndarray, taps: np.ndarray, mode: str) -> np.ndarray:
    for axis in (0, 1):
        plane = scipy.ndimage.correlate1d(plane, taps, axis=axis, mode=mode)
    return plane


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
