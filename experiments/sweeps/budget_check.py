"""Three seeds of the best that `budget.py` found beside 9-1-5, with patches of two sizes.

    python -m experiments.sweep experiments/sweeps/budget_check.py --workdir=DIR --workers=2

The best of many single runs is in part the luckiest: this is what is left of its lead.
"""

from configs import default

config = default.get_config("x3")

CONFIG = "configs/default.py:x3"
FIELDS = {
    "train.steps": 3_000,
    "train.eval_every": 1_000,
    "train.eval_dataset": "held_out",
    "eval.datasets": "held_out,set5,set14",
    "eval.metrics": "psnr",
}
METRIC = "held_out/psnr"
SEEDS = 3
GRID = {
    "model.kernel_sizes,model.features": [
        (config.model.kernel_sizes, config.model.features),
        ((7, 1, 9), (45, 45)),
        ((9, 1, 9), (39, 39)),
        ((7, 3, 9), (23, 23)),
    ],
    "data.patch_size,train.batch_size": [
        (config.data.patch_size, config.train.batch_size),
        (57, 40),  # about as many pixels
    ],
}
