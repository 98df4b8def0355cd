"""Numbers of the papers that the result tables compare with, PSNR in dB, and SSIM."""

from typing import NamedTuple


class Score(NamedTuple):
    """A method's result on an image or a test set; ssim is None where the paper has none."""

    psnr: float
    ssim: float | None = None


# ECCV 2014, Tables 1 and 2: SRCNN 9-1-5, n1 = 64, n2 = 32, trained on T91, PSNR of every image.
SRCNN_915_T91: dict[tuple[str, int], dict[str, float]] = {
    ("set5", 2): {"baby": 38.3, "bird": 40.64, "butterfly": 32.2, "head": 35.64, "woman": 34.94},
    ("set5", 3): {"baby": 35.01, "bird": 34.91, "butterfly": 27.58, "head": 33.55, "woman": 30.92},
    ("set5", 4): {"baby": 32.98, "bird": 31.98, "butterfly": 25.07, "head": 32.19, "woman": 28.21},
    ("set14", 3): {
        "baboon": 23.6,
        "barbara": 26.66,
        "bridge": 25.07,
        "coastguard": 27.2,
        "comic": 24.39,
        "face": 33.58,
        "flowers": 28.97,
        "foreman": 33.35,
        "lenna": 33.39,
        "man": 28.18,
        "monarch": 32.39,
        "pepper": 34.35,
        "ppt3": 26.02,
        "zebra": 28.87,
    },
}

# Means of the same tables.
SRCNN_915_T91_MEAN = {
    ("set5", 2): Score(36.34),
    ("set5", 3): Score(32.39),
    ("set5", 4): Score(30.09),
    ("set14", 3): Score(29.0),
}

# TPAMI 2016, Tables 2, 3 and 4, means: (bicubic, SRCNN 9-5-5 trained on ImageNet).
BICUBIC_AND_SRCNN_955_IMAGENET_MEAN = {
    ("set5", 2): (Score(33.66, 0.9299), Score(36.66, 0.9542)),
    ("set5", 3): (Score(30.39, 0.8682), Score(32.75, 0.909)),
    ("set5", 4): (Score(28.42, 0.8104), Score(30.49, 0.8628)),
    ("set14", 2): (Score(30.23, 0.8687), Score(32.45, 0.9067)),
    ("set14", 3): (Score(27.54, 0.7736), Score(29.3, 0.8215)),
    ("set14", 4): (Score(26.0, 0.7019), Score(27.5, 0.7513)),
    ("bsd200", 2): (Score(28.38, 0.8524), Score(30.29, 0.8977)),
    ("bsd200", 3): (Score(25.94, 0.7469), Score(27.18, 0.7971)),
    ("bsd200", 4): (Score(24.65, 0.6727), Score(25.6, 0.7184)),
}
