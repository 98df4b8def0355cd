"""Numbers of the papers that the result tables compare with."""

from typing import NamedTuple


class Score(NamedTuple):
    """A method's result on an image or a test set, named as in metrics.py; None: not published."""

    psnr: float
    ssim: float | None = None
    msssim: float | None = None
    ifc: float | None = None
    nqm: float | None = None
    wpsnr: float | None = None


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
    ("set5", 2): (
        Score(33.66, 0.9299, 0.9915, 6.1, 36.73, 50.06),
        Score(36.66, 0.9542, 0.9959, 8.05, 41.13, 59.49),
    ),
    ("set5", 3): (
        Score(30.39, 0.8682, 0.9754, 3.52, 27.54, 41.65),
        Score(32.75, 0.909, 0.9866, 4.58, 33.21, 47.1),
    ),
    ("set5", 4): (
        Score(28.42, 0.8104, 0.9516, 2.35, 21.42, 37.21),
        Score(30.49, 0.8628, 0.9725, 3.01, 25.96, 41.13),
    ),
    ("set14", 2): (
        Score(30.23, 0.8687, 0.9813, 6.09, 40.98, 47.64),
        Score(32.45, 0.9067, 0.9897, 7.76, 38.95, 55.39),
    ),
    ("set14", 3): (
        Score(27.54, 0.7736, 0.9512, 3.41, 33.15, 39.72),
        Score(29.3, 0.8215, 0.9675, 4.26, 35.25, 44.32),
    ),
    ("set14", 4): (
        Score(26.0, 0.7019, 0.9134, 2.23, 26.15, 35.71),
        Score(27.5, 0.7513, 0.9376, 2.74, 30.46, 38.87),
    ),
    ("bsd200", 2): (
        Score(28.38, 0.8524, 0.978, 5.3, 36.84, 46.15),
        Score(30.29, 0.8977, 0.9883, 7.21, 39.66, 53.58),
    ),
    ("bsd200", 3): (
        Score(25.94, 0.7469, 0.9426, 3.05, 28.45, 38.6),
        Score(27.18, 0.7971, 0.9614, 3.91, 34.72, 42.29),
    ),
    ("bsd200", 4): (
        Score(24.65, 0.6727, 0.9005, 1.95, 21.72, 34.86),
        Score(25.6, 0.7184, 0.9261, 2.45, 25.65, 37.24),
    ),
}
