"""Image quality metrics of the paper, computed in float64 for one image.

The authors used public MATLAB code: their own for PSNR, Wang's for SSIM, the package MeTriX MuX 1.1
(Gaubatz, Cornell 2007) for MS-SSIM, IFC and NQM, and Liu's `WPSNR.m`. The paper does not say so,
but these definitions reproduce its rows to the last digit
(experiments/results/paper/metrics.md). `quantise` is the rounding before all metrics.

SciPy imports each part on first use. That takes a quarter of a second, for which a training need
not wait. Imports inside functions have the same reason.
"""

from collections.abc import Callable

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


def psnr(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB over all values; infinite for equal images.

    Args:
      reference, image: same shape, any dtype, in 0..peak (`compute_psnr.m`: shaved uint8 Y).
      peak: the largest possible value.

    Raises:
      ValueError: if the shapes differ. There is no broadcasting.
    """
    _check_shapes(reference, image)
    error = np.mean(np.square(np.asarray(reference, np.float64) - np.asarray(image, np.float64)))
    return float("inf") if error == 0 else float(10.0 * np.log10(peak**2 / error))


def ssim(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
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
    from skimage.metrics import structural_similarity

    x, y = _prepare(reference, image, peak, "ssim")
    return float(
        structural_similarity(
            x,
            y,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


# Exponents of contrast and structure at scales 1 to 5 of MS-SSIM. The last is also luminance's.
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

# The analysis low-pass filter of the biorthogonal 9/7 wavelet: the first four taps, the middle one.
_LOWPASS_97 = (0.03782845550726, -0.02384946501956, -0.11062440441844, 0.37740285561283)
_LOWPASS_97_MIDDLE = 0.85269867900889


def msssim(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
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
    taps = np.array([*_LOWPASS_97, _LOWPASS_97_MIDDLE, *_LOWPASS_97[::-1]])
    taps /= taps.sum()
    result = 1.0
    for exponent in _EXPONENTS:
        luminance, contrast, structure = _ssim_means(x, y)
        result *= (contrast * max(structure, 0.0)) ** exponent
        x, y = (_filter_both_ways(plane, taps, "reflect")[::2, ::2] for plane in (x, y))
    return float(result * luminance ** _EXPONENTS[-1])


def _ssim_means(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Returns SSIM's luminance, contrast and structure, as means over the windows inside."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))

    def mean(plane: np.ndarray) -> np.ndarray:
        return _filter_both_ways(plane, window / window.sum(), "constant")[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = mean(x), mean(y)
    variance_x = np.abs(mean(x * x) - mean_x**2)  # rounding can make it negative
    variance_y = np.abs(mean(y * y) - mean_y**2)
    deviations = np.sqrt(variance_x) * np.sqrt(variance_y)
    covariance = mean(x * y) - mean_x * mean_y
    return (
        float(np.mean((2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1))),
        float(np.mean((2 * deviations + c2) / (variance_x + variance_y + c2))),
        float(np.mean((covariance + c2 / 2) / (deviations + c2 / 2))),
    )


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


def ifc(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
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
    x, y = (_mirror_to_32(plane) for plane in _prepare(reference, image, peak, "ifc"))
    information = sum(
        _information(band_x, band_y, level)
        for level, (bands_x, bands_y) in enumerate(zip(_subbands(x), _subbands(y), strict=True))
        for band_x, band_y in zip(bands_x, bands_y, strict=True)
    )
    return information / x.size


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
    missing = max(128, -(-side // 32) * 32) - side
    return (missing + 1) // 2, missing // 2


def _subbands(plane: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the vertical and horizontal subband of every level of the pyramid, finest first."""

    def filtered(taps: np.ndarray) -> np.ndarray:
        return scipy.ndimage.correlate(plane, taps, mode="mirror")

    plane = filtered(_PYRAMID_FIRST)
    bands = []
    for _ in range(_LEVELS):
        bands.append((filtered(_PYRAMID_VERTICAL), filtered(_PYRAMID_VERTICAL.T)))
        plane = filtered(_PYRAMID_LOWPASS)[::2, ::2]
    return bands


def _information(band_x: np.ndarray, band_y: np.ndarray, level: int) -> float:
    """Returns the bits in a subband without the blocks at its border; level 0 is the finest."""
    height, width = (side // _BLOCK * _BLOCK for side in band_x.shape)
    band_x, band_y = band_x[:height, :width], band_y[:height, :width]
    window = 2 ** (_LEVELS - level) + 1
    gain, noise = _channel(band_x, band_y, window)
    scales, eigenvalues = _scale_mixture(band_x)
    border = -(-(window // 2) // _BLOCK)  # blocks whose window crosses the edge
    inside = (slice(border, -border), slice(border, -border))
    snr = (gain**2 * scales / (noise + 1e-10))[inside]
    return float(np.sum(np.log2(1 + snr[..., None] * eigenvalues)))


def _channel(x: np.ndarray, y: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates the gain and noise variance of y = gain x + noise, by regression at every block.

    The window of the regression is around the middle of the block.
    """
    tolerance = 1e-15
    count = window**2

    def total(plane: np.ndarray) -> np.ndarray:
        for _ in range(2):  # down the columns, then, after the transpose, across the rows
            sums = scipy.ndimage.correlate1d(plane, np.ones(window), axis=0, mode="mirror")
            plane = sums[_BLOCK // 2 :: _BLOCK].T
        return plane

    mean_x, mean_y = total(x) / count, total(y) / count
    covariance = total(x * y) - count * mean_x * mean_y
    energy_x = np.maximum(total(x * x) - count * mean_x**2, 0)
    energy_y = np.maximum(total(y * y) - count * mean_y**2, 0)
    gain = covariance / (energy_x + tolerance)
    noise = (energy_y - gain * covariance) / count
    for nothing, rest in (
        (energy_x < tolerance, energy_y),
        (energy_y < tolerance, np.zeros_like(energy_y)),
        (gain < 0, energy_y),
    ):
        gain, noise = np.where(nothing, 0, gain), np.where(nothing, rest, noise)
    return gain, np.maximum(noise, tolerance)


def _scale_mixture(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scale of every block and the eigenvalues of the blocks' common covariance."""
    everywhere = np.lib.stride_tricks.sliding_window_view(x, (_BLOCK, _BLOCK))
    covariance = np.cov(everywhere.reshape(-1, _BLOCK**2), rowvar=False, bias=True)
    blocks = everywhere[::_BLOCK, ::_BLOCK].reshape(-1, _BLOCK**2)
    inverse = np.linalg.pinv(covariance, hermitian=True)  # a flat image has no inverse
    scales = np.sum(blocks @ inverse * blocks, axis=1) / _BLOCK**2
    shape = (x.shape[0] // _BLOCK, x.shape[1] // _BLOCK)
    return scales.reshape(shape), np.maximum(np.linalg.eigvalsh(covariance), 0)


_VIEWING_ANGLE = np.degrees(1 / 3.5)  # degrees of an image at a distance of 3.5 times its height


def nqm(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
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
    height, width = x.shape
    radius = np.hypot(*np.ogrid[-height / 2 : height / 2, -width / 2 : width / 2])

    spectra = np.fft.fft2([x, y])

    def filtered(response: np.ndarray) -> np.ndarray:
        return np.fft.ifft2(np.fft.fftshift(response) * spectra).real

    below_x, below_y = filtered(_cosine_log(radius + 2, 2))
    seen_x, seen_y = np.zeros_like(x), np.zeros_like(y)
    for band in range(1, 6):
        band_x, band_y = filtered(_cosine_log(radius, 2**band))
        with np.errstate(divide="ignore", invalid="ignore"):  # division by 0 in black areas
            contrast_x, contrast_y = band_x / below_x, band_y / below_y
        below_x, below_y = below_x + band_x, below_y + band_y
        # As in the MATLAB code, the masking threshold is that at the band's number, not frequency.
        masking = 0.86 * contrast_x + (0.3 - 0.86) * _contrast_threshold(band)
        clipped = np.where(np.abs(contrast_y) > 1, 1, contrast_y)
        band_y = np.where(np.abs(clipped - contrast_x) < masking, band_x, band_y)
        threshold = _contrast_threshold(2**band / _VIEWING_ANGLE)
        seen_x += np.where(np.abs(contrast_x) < threshold, 0, band_x)
        seen_y += np.where(np.abs(contrast_y) < threshold, 0, band_y)
    return _decibels(np.sum(seen_x**2), np.sum((seen_x - seen_y) ** 2))


def _cosine_log(radius: np.ndarray, centre: float) -> np.ndarray:
    """Frequency response of a band-pass with an octave on each side of its centre (Peli 1990)."""
    octaves = np.log2(np.maximum(radius, centre / 2) / centre)
    return 0.5 * (1 + np.cos(np.pi * np.minimum(octaves, 1)))


def _contrast_threshold(frequency: float) -> float:
    """Contrast threshold of the eye at a frequency in cycles per degree (Mannos, Sakrison 1974)."""
    f = 0.114 * frequency
    return float(1 / (200 * 2.6 * (0.0192 + f) * np.exp(-(f**1.1))))


def wpsnr(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
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
    taps = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(_contrast_sensitivity())).real)
    error = scipy.signal.fftconvolve(x - y, taps, mode="same")
    return _decibels(255**2, 0 if np.array_equal(x, y) else np.mean(error**2))


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


def _check_shapes(reference: np.ndarray, image: np.ndarray) -> None:
    if reference.shape != image.shape:
        raise ValueError(f"cannot compare images of shapes {reference.shape} and {image.shape}")


def _prepare(
    reference: np.ndarray, image: np.ndarray, peak: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Checks both images for a metric, and returns them as float64 in 0..255."""
    _check_shapes(reference, image)
    least = MIN_SIDE[name]
    if reference.ndim != 2 or min(reference.shape) < least:
        raise ValueError(
            f"{name} needs grey images of at least {least}x{least} pixels, not {reference.shape}"
        )
    scale = 255.0 / peak
    return np.asarray(reference, np.float64) * scale, np.asarray(image, np.float64) * scale


def _filter_both_ways(plane: np.ndarray, taps: np.ndarray, mode: str) -> np.ndarray:
    for axis in (0, 1):
        plane = scipy.ndimage.correlate1d(plane, taps, axis=axis, mode=mode)
    return plane


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
