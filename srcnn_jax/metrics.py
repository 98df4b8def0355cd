"""Image quality metrics of the paper, in float64, per image."""

import numpy as np
from skimage.metrics import structural_similarity


def _check(reference: np.ndarray, image: np.ndarray) -> None:
    if reference.shape != image.shape:
        raise ValueError(f"cannot compare images of shapes {reference.shape} and {image.shape}")


def psnr(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB over all values; infinite for equal images.

    Args:
      reference, image: same shape, any dtype, in 0..peak (`compute_psnr.m`: shaved uint8 Y).
      peak: the largest value that the images could hold.

    Raises:
      ValueError: if the shapes differ; nothing is broadcast.
    """
    _check(reference, image)
    error = np.mean(np.square(np.asarray(reference, np.float64) - np.asarray(image, np.float64)))
    return float("inf") if error == 0 else float(10.0 * np.log10(peak**2 / error))


def ssim(reference: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Mean structural similarity, as the authors' `ssim_index.m` (Wang et al. 2004).

    11x11 Gaussian window of sigma 1.5, population covariance, K1 = 0.01, K2 = 0.03, averaged over
    the windows that lie inside the image.

    Args:
      reference, image: (H, W), at least 11x11, in 0..peak.

    Raises:
      ValueError: if the shapes differ, or one side is shorter than the window.
    """
    _check(reference, image)
    return float(
        structural_similarity(
            np.asarray(reference, np.float64),
            np.asarray(image, np.float64),
            data_range=peak,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
