"""The paper's filter study: f2 of 1, 3, 5 and n1-n2 of 32-16, 64-32, 128-64 (TPAMI, section 4.3).

    python -m experiments.sweep experiments/sweeps/filters.py --workdir=DIR --workers=2

1,000 steps, 64,000 patches: some two hours on two cores. The largest of the nine networks has
62 times the multiply-adds of the smallest.
"""

CONFIG = "configs/default.py:x3"
FIELDS = {"train.steps": 1_000}
METRIC = "set5/psnr"
SEEDS = 3
GRID = {
    "f2": [1, 3, 5],
    "n1,n2": [(32, 16), (64, 32), (128, 64)],
}
