"""The recipe of the authors' released code: plain SGD at the solver's rates, from N(0, 0.001).

    python -m srcnn_jax.main --config=configs/paper.py:x3

The words after the colon are those of configs/default.py. `configs/default.py:x3,paper` is the same
recipe. The values come from Caffe's `SRCNN_train.prototxt` and `SRCNN_solver.prototxt`: 9-1-5,
padding valid, patches ("sub-images") of 33 pixels every 14 pixels, batches of 128, 8e8 patches
("backprops"). The learning rate is 1e-4, and 1e-5 for the last layer and all biases.

Expected at x3: the paper's own curve, within 0.04 dB at 39, 58 and 77 million patches
(experiments/results/paper/paper_recipe.md), and 32.39 dB on Set5 at the end, after a week on two
cores.
"""

import pathlib
import runpy

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config for words such as 'x3' or 'x3,955'; raises as configs/default.py."""
    default = runpy.run_path(str(pathlib.Path(__file__).with_name("default.py")))
    config = default["get_config"](f"{arg},paper" if arg else "paper")
    config.name = "_".join(["paper", *filter(None, arg.split(","))])
    return config


def use_released_recipe(config: ml_collections.ConfigDict) -> None:
    """Changes a config of configs/default.py to the released recipe, except for the padding."""
    config.model.initializer = "gaussian"
    config.data.patch_size, config.data.stride, config.data.augment = 33, 14, False
    config.data.downscale_factors = (1.0,)
    train, optimizer = config.train, config.optimizer
    train.batch_size = 128
    train.steps = 6_250_000  # 8e8 patches ("backprops") in batches of 128
    train.log_every, train.eval_every, train.checkpoint_every = 10_000, 50_000, 50_000
    optimizer.precondition = False
    optimizer.learning_rate, optimizer.rate_unit = 1e-4, "euclidean"
    optimizer.schedule, optimizer.warmup_steps = "constant", 0
    optimizer.rates = (("last/.*", 0.1), (".*/bias", 0.1), (".*", 1.0))
