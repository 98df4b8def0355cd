"""PSNR and SSIM by hand, by a slow reference, and against the paper's bicubic table."""

import numpy as np
import pytest
import scipy.ndimage

from srcnn_jax import metrics


def test_psnr_by_hand():
    a, b = np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 10]], np.uint8)
    assert metrics.psnr(a, b) == pytest.approx(10 * np.log10(255**2 / 25))
    assert metrics.psnr(a, a) == float("inf")
    assert metrics.psnr(a / 255.0, b / 255.0, peak=1.0) == pytest.approx(metrics.psnr(a, b))


def test_nothing_is_broadcast():
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(4, 1\)"):
        metrics.psnr(np.zeros((4, 4)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="shapes"):
        metrics.ssim(np.zeros((16, 16)), np.zeros((16, 1)))


def test_ssim_is_ssim_index_m():
    """Wang et al.'s code in NumPy: fspecial('gaussian', 11, 1.5), 'valid' filtering."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (24, 31)).astype(np.uint8)
    b = np.clip(a + rng.normal(0, 20, a.shape), 0, 255).astype(np.uint8)
    x = np.arange(-5, 6)
    window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image):
        return scipy.ndimage.correlate(image, window)[5:-5, 5:-5]

    p, q = a.astype(np.float64), b.astype(np.float64)
    mp, mq = mean(p), mean(q)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    variances = mean(p * p) - mp**2 + mean(q * q) - mq**2
    expected = np.mean(
        (2 * mp * mq + c1)
        * (2 * (mean(p * q) - mp * mq) + c2)
        / ((mp**2 + mq**2 + c1) * (variances + c2))
    )
    assert metrics.ssim(a, b) == pytest.approx(expected, abs=1e-10)
    assert metrics.ssim(a, a) == 1.0
