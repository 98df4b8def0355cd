"""The long trainings of the networks that come with the project, from T91 alone.

    python -m srcnn_jax.main --config=configs/networks.py:955,x3

The words after the colon, in any order: a network, 915, 955, deep or photo, and x2, x3 or x4, the
scale. 915 and 955 are the paper's kernel sizes, with 64 and 32 filters, padding same. deep has the
weights of 955 in eight layers. photo is 915 for pictures that were saved as JPEG at a quality from
50 to 95. The recipe is that of configs/default.py, longer. 955 and deep, whose trainings are short
for their size, have a loss that is nearer to the PSNR. Their x2 and x4 begin from the weights of
x3 (--weights), which makes them shorter. `python -m experiments.networks` trains all twelve.
"""

import pathlib
import runpy

import ml_collections

STEPS = {"915": 60_000, "955": 12_000, "deep": 8_000, "photo": 24_000}
STEPS_FROM_X3 = {"955": 3_000, "deep": 2_000}  # of x2 and x4
CAUCHY_SCALE = {"955": 0.03, "deep": 0.03}  # train.cauchy_scale; the others have 0
DEEP_KERNEL_SIZES = (5, 3, 3, 3, 3, 3, 3, 5)
DEEP_FEATURES = (32,) * 7  # 56,896 weights; 955 has 57,184
PHOTO_QUALITIES = (50, 95)  # of the JPEGs
PHOTO_COPIES = 8  # of each image, each with a quality of its own


def begins_from(network: str, scale: str) -> str:
    """The words of the network whose weights a training begins from; '' for none."""
    return f"{network},x3" if network in STEPS_FROM_X3 and scale != "x3" else ""


def count_steps(network: str, scale: str) -> int:
    """The steps of a training."""
    return (STEPS_FROM_X3 if begins_from(network, scale) else STEPS)[network]


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config of a network, for words such as '955,x3'.

    Raises:
      ValueError: if the words are not one network and one scale.
    """
    default = runpy.run_path(str(pathlib.Path(__file__).with_name("default.py")))
    words = arg.split(",")
    networks = [word for word in words if word in STEPS]
    scales = [word for word in words if word in default["SCALES"]]
    if len(words) != 2 or len(networks) != 1 or len(scales) != 1:
        raise ValueError(
            f"config words {arg!r}: after configs/networks.py: come a network, "
            f"{', '.join(STEPS)}, and a scale, {' or '.join(default['SCALES'])}: 955,x3"
        )
    sizes = networks[0] if networks[0] in default["KERNEL_SIZES"] else "915"
    config = default["get_config"](f"{sizes},{scales[0]}")
    config.name = f"network_{networks[0]}_{scales[0]}"
    if networks[0] == "deep":
        config.model.kernel_sizes, config.model.features = DEEP_KERNEL_SIZES, DEEP_FEATURES
    if networks[0] == "photo":
        config.data.degradation.jpeg = PHOTO_QUALITIES
        config.data.degraded_copies = PHOTO_COPIES
    config.train.cauchy_scale = CAUCHY_SCALE.get(networks[0], 0.0)
    config.train.steps = count_steps(networks[0], scales[0])
    config.eval.datasets = "set5,set14,bsd200"
    return config
