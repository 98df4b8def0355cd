"""Sweep files that the tests of `experiments.sweep` share."""

import pathlib

ROOT = pathlib.Path(__file__).parents[3]
GRID = """
CONFIG = "configs/default.py:x3"
FIELDS = {"train.steps": 20, "optimizer.warmup_steps": 2}
SEEDS = 2
GRID = {"model.kernel_sizes": [(9, f2, 5) for f2 in (1, 3, 5)]}
"""
SEARCH = """
CONFIG = "configs/default.py:x3"
FIELDS = {"train.steps": 20}
SEARCH = 6

def space(trial):
    n1 = trial.suggest_int("n1", 8, 64, log=True)
    return {"model.features": (n1, n1 // 2), "optimizer.learning_rate": n1 / 1e4}
"""


def write(tmp_path, text: str, name: str = "study.py") -> pathlib.Path:
    path = tmp_path / name
    path.write_text(text)
    return path
