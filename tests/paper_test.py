"""The paper's numbers are consistent with each other."""

import numpy as np

from srcnn_jax import paper


def test_means_are_those_of_the_rows():
    for key, rows in paper.SRCNN_915_T91.items():
        mean = np.mean(list(rows.values()))
        assert abs(mean - paper.SRCNN_915_T91_MEAN[key].psnr) < 0.011, key
        assert len(rows) == {"set5": 5, "set14": 14}[key[0]]


def test_the_large_network_is_the_better_one():
    for key, (bicubic, srcnn) in paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN.items():
        assert bicubic.psnr < srcnn.psnr
        assert bicubic.ssim < srcnn.ssim
        if key in paper.SRCNN_915_T91_MEAN:
            assert paper.SRCNN_915_T91_MEAN[key].psnr < srcnn.psnr
