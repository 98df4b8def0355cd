"""Which SRCNN is best at the cost of 9-1-5? Kernel sizes, widths, rate and patch size, searched.

    python -m experiments.sweep experiments/sweeps/budget.py --workdir=DIR --prune

Every network is as wide as its kernel sizes allow under the budget, so that none is cheap or dear
by chance. Every batch has about as many pixels as the default's, whatever the size of its patches.
The choice is made on held-out photographs: no network is trained on them, and nobody tests on them.
"""

from configs import default
from srcnn_jax import optimizer
from srcnn_jax.architecture import Architecture, create_architecture

CONFIG = "configs/default.py:x3"
steps = 3_000
FIELDS = {
    "train.steps": steps,
    "train.eval_every": 1_000,
    "train.eval_dataset": "held_out",
    "eval.datasets": "held_out,set5",
    "eval.metrics": "psnr",
}
METRIC = "held_out/psnr"
SEARCH = 60

config = default.get_config("x3")  # the network to beat
f1, f2, f3 = config.model.kernel_sizes
n1, n2 = config.model.features
START = [
    {
        **{"f1": f1, "f2": f2, "f3": f3, "n2/n1": n2 / n1},
        "rate": 1.0,
        "patch size": config.data.patch_size,
    },
]
budget = create_architecture(config).multiply_adds  # for one pixel: 8,032


def space(trial):
    """The fields of a trial."""
    kernel_sizes = (
        trial.suggest_int("f1", 5, 13, step=2),
        trial.suggest_int("f2", 1, 5, step=2),
        trial.suggest_int("f3", 3, 13, step=2),
    )
    ratio = trial.suggest_categorical("n2/n1", (0.25, 0.5, 1.0, 2.0))
    rate = trial.suggest_float("rate", 0.25, 4.0, log=True)  # times the rule's
    patch_size = trial.suggest_int("patch size", 25, 65, step=4)
    features = widest(kernel_sizes, ratio)
    return {
        "model.kernel_sizes": kernel_sizes,
        "model.features": features,
        "optimizer.learning_rate": float(f"{rate * ruled_rate(kernel_sizes, features):.2g}"),
        "data.patch_size": patch_size,
        "train.batch_size": batch_size(patch_size),
    }


def batch_size(patch_size):
    """A multiple of four patches with about the pixels of a default batch."""
    return 4 * round(config.train.batch_size / 4 * (config.data.patch_size / patch_size) ** 2)


def ruled_rate(kernel_sizes, features):
    """The learning rate of the default recipe."""
    return optimizer.learning_rate(config.optimizer, steps, cost(kernel_sizes, features))


def widest(kernel_sizes, ratio):
    """The largest (n1, n2) of about that ratio n2 / n1 within the budget."""
    widths = [(n1, max(1, round(ratio * n1))) for n1 in range(1, 400)]
    return max(each for each in widths if cost(kernel_sizes, each) <= budget)


def cost(kernel_sizes, features):
    """Multiply-adds for one pixel."""
    return Architecture(kernel_sizes, features, 1, "same").multiply_adds
