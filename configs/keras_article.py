"""The network and the recipe of the article's code, in Keras, on our data, by our evaluation.

    python -m srcnn_jax.main --config=configs/keras_article.py:x3

The word after the colon is the scale: x2, x3 or x4. The code (github.com/manasbedmutha98/SRCNN)
does not run as published. It says 9-3-5 with 128 and 64 filters, padding valid, same and valid,
Adam at a constant 3e-4 from a Glorot-uniform start, mean squared error, batches of 128 patches of
32 pixels, 200 epochs, and the weights of the best epoch. What differs here:

    data      T91 every 16 pixels, as other codes with this network do: 17,202 patches at x2, 135
              batches an epoch. It has neither its training file nor what made that.
    best      by PSNR on Set5 every 1,000 steps, not by the error on its own test file.
    bicubic   MATLAB's. OpenCV's does not smooth before it shrinks.

Expected at x3: 32.49 dB on Set5, 29.03 on Set14 (experiments/results/paper/keras_article.md), after
17 seconds on an H100. On two cores of 450 GF/s, estimated from the first steps, an hour or two.
"""

import ml_collections

from configs import default


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config for a scale, 'x2', 'x3' or 'x4'.

    Raises:
      ValueError: if it is another word, or missing.
    """
    if arg not in default.SCALES:
        raise ValueError(
            f"unknown config word {arg!r}: after configs/keras_article.py: comes the scale, "
            f"{' or '.join(default.SCALES)}"
        )
    config = default.get_config(arg)
    config.name = f"keras_article_{arg}"
    config.model.kernel_sizes, config.model.features = (9, 3, 5), (128, 64)
    config.model.padding = "valid,same,valid"
    config.model.initializer = "glorot"
    config.data.patch_size, config.data.stride, config.data.augment = 32, 16, False
    config.train.batch_size = 128
    config.train.steps = 200 * 135  # epochs times batches: 3.5 million patches
    config.train.keep = "best"
    config.optimizer.name, config.optimizer.options = "adam", ""  # Keras's betas are optax's
    config.optimizer.precondition = False
    config.optimizer.learning_rate = 3e-4
    config.optimizer.schedule, config.optimizer.warmup_steps = "constant", 0
    return config
