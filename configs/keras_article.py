"""The network and the recipe of the article's Keras code, with our data and our evaluation.

    python -m srcnn_jax.main --config=configs/keras_article.py:x3

The word after the colon is the scale: x2, x3 or x4. The code (github.com/manasbedmutha98/SRCNN)
does not run as published. It specifies 9-3-5 with 128 and 64 filters, padding valid, same and
valid, Adam at a constant 3e-4 from a Glorot-uniform start, mean squared error, batches of 128
patches of 32 pixels, 200 epochs, and the weights of the best epoch. What differs here:

    data      T91 every 16 pixels, as in other implementations of this network: 17,202 patches at
              x2, 135 batches an epoch. The code has neither its training file nor the script that
              made it.
    best      The best weights are those with the highest PSNR on Set5, measured every 1,000 steps.
              The code takes the error on its own test file.
    bicubic   MATLAB's interpolation. OpenCV's does not smooth before it shrinks.

Expected at x3: 32.49 dB on Set5, 29.03 on Set14, after 17 seconds on an H100
(experiments/results/paper/keras_article.md). Two cores of 450 GF/s need an hour or two. This is an
estimate from the first steps.
"""

import pathlib
import runpy

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config for a scale: 'x2', 'x3' or 'x4'.

    Raises:
      ValueError: if `arg` is anything else.
    """
    default = runpy.run_path(str(pathlib.Path(__file__).with_name("default.py")))
    scales = default["SCALES"]
    if arg not in scales:
        raise ValueError(
            f"unknown config word {arg!r}: after configs/keras_article.py: comes the scale, "
            f"{' or '.join(scales)}"
        )
    config = default["get_config"](arg)
    config.name = f"keras_article_{arg}"
    config.model.kernel_sizes, config.model.features = (9, 3, 5), (128, 64)
    config.model.padding = "valid,same,valid"
    config.model.initializer = "glorot"
    config.data.patch_size, config.data.stride, config.data.augment = 32, 16, False
    config.data.downscale_factors = (1.0,)
    config.train.batch_size = 128
    config.train.steps = 200 * 135  # epochs times batches an epoch: 3.5 million patches
    config.train.keep_weights = "best"
    config.optimizer.name = "adam"
    config.optimizer.options = ml_collections.ConfigDict()  # Keras and optax have the same betas
    config.optimizer.precondition = False
    config.optimizer.learning_rate = 3e-4
    config.optimizer.schedule, config.optimizer.warmup_steps = "constant", 0
    return config
