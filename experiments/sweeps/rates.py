"""Is the rule of the learning rate right for every shape and length? A quarter to twice its rate.

    python -m experiments.sweep experiments/sweeps/rates.py --workdir=DIR

Seven shapes, 1,000 and 9,000 steps, four rates: 56 trainings, 13 hours on two cores. The short ones
come first. `rates_seeds.py` has three seeds of the rule's own rate. Held-out photographs decide.
"""

from configs import default
from srcnn_jax import optimizer
from srcnn_jax.architecture import Architecture

CONFIG = "configs/default.py:x3"
FIELDS = {
    "train.eval_dataset": "held_out",
    "eval.datasets": "held_out,set5",
    "eval.metrics": "psnr",
}
METRIC = "held_out/psnr"

lengths = 1_000, 9_000  # steps
factors = 1.0, 0.5, 2.0, 0.25  # of the rule's rate
shapes = [
    ((9, 1, 5), (64, 32)),
    ((9, 3, 5), (64, 32)),
    ((9, 5, 5), (64, 32)),
    ((11, 1, 7), (64, 32)),
    ((9, 1, 5), (128, 64)),
    ((9, 1, 5), (32, 16)),
    ((9, 3, 1, 5), (64, 32, 16)),
]
config = default.get_config("x3").optimizer


def rate(kernel_sizes, features, steps):
    """The rate of the rule."""
    weights = Architecture(kernel_sizes, features, 1, "same").weight_count
    return optimizer.learning_rate(config, steps, weights)


GRID = {
    "model.kernel_sizes,model.features,train.steps,optimizer.learning_rate": [
        (*shape, steps, float(f"{factor * rate(*shape, steps):.3g}"))
        for steps in lengths
        for factor in factors
        for shape in shapes
    ]
}
