"""Image quality metrics of the paper, in float64, per image.

The authors used public MATLAB code: their own for PSNR, Wang's for SSIM, the package MeTriX MuX 1.1
(Gaubatz, Cornell 2007) for MS-SSIM, IFC and NQM, and Liu's `WPSNR.m`. The paper is silent, but
with these definitions its rows come out to the last digit: experiments/results/paper/metrics.md.
SciPy imports its parts as they are used, each a quarter of a second that a training need not wait
for; so is what is imported inside a function.
"""

from collections.abc import Callable

import numpy as np
import scipy

Metric = Callable[..., float]  # (reference, image, peak=255.0)

# Pixels on the shorter side that a metric needs.
MIN_SIDE = {"psnr": 1, "ssim": 11, "msssim": 161, "ifc": 43, "nqm": 1, "wpsnr": 1}


def psnr(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB over all values; infinite for equal images.

    Args:
      reference, image: same shape, any dtype, in 0..peak (`compute_psnr.m`: shaved uint8 Y).
      peak: the largest value that the images could hold.

    Raises:
      ValueError: if the shapes differ; nothing is broadcast.
    """
    _check_shapes(reference, image)
    error = np.mean(np.square(np.asarray(reference, np.float64) - np.asarray(image, np.float64)))
    return float("inf") if error == 0 else float(10.0 * np.log10(peak**2 / error))


def ssim(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Mean structural similarity, as the authors' `ssim_index.m` (Wang et al. 2004).

    11x11 Gaussian window of sigma 1.5, population covariance, K1 = 0.01, K2 = 0.03, averaged over
    the windows that lie inside the image.

    Args:
      reference, image: (H, W), at least 11x11, in 0..peak.

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


# Scales 1 to 5 of MS-SSIM: the exponents of contrast and structure; the last is luminance's too.
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

# Half of the analysis low-pass of the biorthogonal 9/7 wavelet, up to its middle.
_LOWPASS_97 = (0.03782845550726, -0.02384946501956, -0.11062440441844, 0.37740285561283)
_LOWPASS_97_MIDDLE = 0.85269867900889


def msssim(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Multi-scale structural similarity, as MeTriX MuX's `mssim_index.m` (Wang et al. 2003).

    Five scales, each half of the one before after the low-pass of the 9/7 wavelet (the image is
    mirrored at its edge). Contrast and structure, each averaged over the SSIM windows inside the
    image, count at every scale, luminance at the last. Wang's own later `msssim.m` averages over
    2x2 pixels instead and comes out higher.

    Args:
      reference, image: (H, W), at least 161x161, in 0..peak.

    Returns:
      0..1; 1 for equal images. A mean structure below zero, of a negative, counts as 0.

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
    """Means over the windows inside the image of SSIM's luminance, contrast and structure."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))

    def mean(plane: np.ndarray) -> np.ndarray:
        return _filter_both_ways(plane, window / window.sum(), "constant")[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = mean(x), mean(y)
    variance_x = np.abs(mean(x * x) - mean_x**2)  # it can be a rounding error below zero
    variance_y = np.abs(mean(y * y) - mean_y**2)
    deviations = np.sqrt(variance_x) * np.sqrt(variance_y)
    covariance = mean(x * y) - mean_x * mean_y
    return (
        float(np.mean((2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1))),
        float(np.mean((2 * deviations + c2) / (variance_x + variance_y + c2))),
        float(np.mean((covariance + c2 / 2) / (deviations + c2 / 2))),
    )


def _unfold(quarter: list[list[float]], odd: bool = False) -> np.ndarray:
    """The filter whose upper left quarter, middle row and column included, is given."""
    left = np.array(quarter)
    left = np.concatenate([left, left[-2::-1]])
    return np.concatenate([left, (-1 if odd else 1) * left[:, -2::-1]], axis=1)


# The steerable pyramid with six orientations of Simoncelli's matlabPyrTools (`sp5Filters`): what
# prepares the image, what shrinks it, and the vertical one of the oriented filters.
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
_LEVELS = 4  # of the pyramid
_BLOCK = 3  # side of the blocks of coefficients, the vectors of the model


def ifc(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Information fidelity criterion in bits per pixel, as `ifcvec.m` in MeTriX MuX 1.1.

    Sheikh, Bovik and de Veciana 2005: the information that the image holds on the reference, whose
    3x3 blocks of steerable pyramid coefficients are Gaussian vectors of one covariance and many
    scales (GSM), and which reaches the image through a gain and additive noise. Vertical and
    horizontal subbands of four levels. MeTriX MuX first mirrors the images to multiples of 32
    pixels, 128 at least; the sum over the blocks is divided by the number of pixels after that.

    Args:
      reference, image: (H, W), at least 43x43, in 0..peak.

    Returns:
      0 and up, without an upper bound; high but finite for equal images. Not symmetric.

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
    """Mirrored about its edge pixels to multiples of 32; the corners hold one value each."""
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
    """The vertical and the horizontal subband of every level of the pyramid, finest first."""

    def filtered(taps: np.ndarray) -> np.ndarray:
        return scipy.ndimage.correlate(plane, taps, mode="mirror")

    plane = filtered(_PYRAMID_FIRST)
    bands = []
    for _ in range(_LEVELS):
        bands.append((filtered(_PYRAMID_VERTICAL), filtered(_PYRAMID_VERTICAL.T)))
        plane = filtered(_PYRAMID_LOWPASS)[::2, ::2]
    return bands


def _information(band_x: np.ndarray, band_y: np.ndarray, level: int) -> float:
    """Bits in a subband, level 0 being the finest, but for the blocks at its border."""
    height, width = (side // _BLOCK * _BLOCK for side in band_x.shape)
    band_x, band_y = band_x[:height, :width], band_y[:height, :width]
    window = 2 ** (_LEVELS - level) + 1
    gain, noise = _channel(band_x, band_y, window)
    scales, eigenvalues = _scale_mixture(band_x)
    border = -(-(window // 2) // _BLOCK)  # blocks whose window reaches over the edge
    inside = (slice(border, -border), slice(border, -border))
    snr = (gain**2 * scales / (noise + 1e-10))[inside]
    return float(np.sum(np.log2(1 + snr[..., None] * eigenvalues)))


def _channel(x: np.ndarray, y: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Gain and noise variance of y = gain x + noise, by regression around every block's middle."""
    tolerance = 1e-15
    count = window**2

    def total(plane: np.ndarray) -> np.ndarray:
        for _ in range(2):  # down, and, turned over, across
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
    """The scale of every block, and the eigenvalues of the covariance that the blocks share."""
    everywhere = np.lib.stride_tricks.sliding_window_view(x, (_BLOCK, _BLOCK))
    covariance = np.cov(everywhere.reshape(-1, _BLOCK**2), rowvar=False, bias=True)
    blocks = everywhere[::_BLOCK, ::_BLOCK].reshape(-1, _BLOCK**2)
    inverse = np.linalg.pinv(covariance, hermitian=True)  # of a flat image, too
    scales = np.sum(blocks @ inverse * blocks, axis=1) / _BLOCK**2
    shape = (x.shape[0] // _BLOCK, x.shape[1] // _BLOCK)
    return scales.reshape(shape), np.maximum(np.linalg.eigvalsh(covariance), 0)


_VIEWING_ANGLE = np.degrees(1 / 3.5)  # of an image seen from 3.5 times its height, in degrees


def nqm(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Noise quality measure in dB, as `nqm_modified.m` in MeTriX MuX 1.1.

    Damera-Venkata et al. 2000: the signal-to-noise ratio between the two images as an observer sees
    them, in five bands an octave apart, 2 to 32 cycles per image (the mean is left out). In every
    band, Peli's local contrast decides what is seen: what is below the threshold of detection is
    removed, and what differs less than masking allows is no difference. Periodic at the edge. That
    decision is a jump, so the last pixel's rounding can move the result by some hundredths of a dB.

    Args:
      reference, image: (H, W), in 0..peak.

    Returns:
      Any real number; infinite for equal images. Not symmetric.

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
        with np.errstate(divide="ignore", invalid="ignore"):  # black areas, where nothing is seen
            contrast_x, contrast_y = band_x / below_x, band_y / below_y
        below_x, below_y = below_x + band_x, below_y + band_y
        # The code takes the threshold for masking at the band's number, not at its frequency.
        masking = 0.86 * contrast_x + (0.3 - 0.86) * _contrast_threshold(band)
        clipped = np.where(np.abs(contrast_y) > 1, 1, contrast_y)
        band_y = np.where(np.abs(clipped - contrast_x) < masking, band_x, band_y)
        threshold = _contrast_threshold(2**band / _VIEWING_ANGLE)
        seen_x += np.where(np.abs(contrast_x) < threshold, 0, band_x)
        seen_y += np.where(np.abs(contrast_y) < threshold, 0, band_y)
    return _decibels(np.sum(seen_x**2), np.sum((seen_x - seen_y) ** 2))


def _cosine_log(radius: np.ndarray, centre: float) -> np.ndarray:
    """Response of the band-pass, one octave to either side of its centre (Peli 1990)."""
    octaves = np.log2(np.maximum(radius, centre / 2) / centre)
    return 0.5 * (1 + np.cos(np.pi * np.minimum(octaves, 1)))


def _contrast_threshold(frequency: float) -> float:
    """The contrast that an eye just detects, at cycles per degree (Mannos and Sakrison 1974)."""
    f = 0.114 * frequency
    return float(1 / (200 * 2.6 * (0.0192 + f) * np.exp(-(f**1.1))))


def wpsnr(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Weighted PSNR in dB, as Ruizhen Liu's `WPSNR.m`: PSNR of the error as the eye filters it.

    The filter has 41x41 taps, by frequency sampling of the contrast sensitivity function of
    Miyahara et al. (Objective Picture Quality Scale, 1998) at -20..20 cycles per degree. The error
    is zero outside the image.

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
    """(41, 41), zero frequency in the middle; the eye sees less of what is oblique and fine."""
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
    """The metrics of `config.eval.metrics`, 'psnr,ssim,ifc'; PSNR is always the first.

    Raises:
      ValueError: if a name is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}: the metrics are {', '.join(METRICS)}")
    return {name: METRICS[name] for name in dict.fromkeys(["psnr", *names])}


def _check_shapes(reference: np.ndarray, image: np.ndarray) -> None:
    if reference.shape != image.shape:
        raise ValueError(f"cannot compare images of shapes {reference.shape} and {image.shape}")


def _prepare(
    reference: np.ndarray, image: np.ndarray, peak: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Both images as float64 in 0..255, checked for a metric."""
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
