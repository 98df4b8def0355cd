"""Records of time to quality: configs that reach a PSNR on Set5 at x3 soon, trained on T91 alone.

    python -m srcnn_jax.main --config=configs/speedrun.py:best

The word after the colon is a record:

    paper     9-1-5: 32.39 dB, the paper's on T91, in 20 seconds; has 32.446
    best      9-5-5: 32.75 dB, the paper's best, in 75 seconds; has 32.763
    best-915  9-1-5: the same in 100 seconds; has 32.775
    beyond    9-5-5: 33.00 dB in 15 minutes; has 33.023

Seconds are those of the whole command, from imports to the evaluation, on two cores that multiply
matrices at 450 GF/s. PSNR is the median of three seeds. `python -m experiments.bench.speedrun`
measures both; experiments/results/bench/speedrun.md has the runs.
"""

import pathlib
import runpy
from typing import Any

import ml_collections

SCALED_COPIES = 1, 0.9, 0.8, 0.7, 0.6  # downscale factors of FSRCNN
# The words of configs/default.py, and what differs from it.
RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": (
        "x3,valid",
        {
            "data.patch_size": 33,
            "train.batch_size": 128,
            "train.steps": 500,
            "optimizer.warmup_steps": 50,
        },
    ),
    "best": (
        "x3,valid,955",
        {
            "data.patch_size": 33,
            "train.batch_size": 128,
            "train.steps": 1150,
            "optimizer.warmup_steps": 100,
            "optimizer.learning_rate": 5e-4,
        },
    ),
    "best-915": (
        "x3,valid",
        {
            "data.patch_size": 33,
            "data.copies": SCALED_COPIES,
            "train.batch_size": 128,
            "train.steps": 7000,
            "optimizer.learning_rate": 6e-4,
        },
    ),
    "beyond": (
        "x3,valid,955",
        {
            "data.copies": SCALED_COPIES,
            "train.steps": 12_500,
            "optimizer.learning_rate": 2.5e-4,
        },
    ),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config of a record: 'paper', 'best', 'best-915' or 'beyond'.

    Raises:
      ValueError: if there is no such record.
    """
    if arg not in RECORDS:
        raise ValueError(
            f"unknown config word {arg!r}: after configs/speedrun.py: comes a record, "
            f"{' or '.join(RECORDS)}"
        )
    words, fields = RECORDS[arg]
    default = runpy.run_path(str(pathlib.Path(__file__).with_name("default.py")))
    config = default["get_config"](words)
    config.name = f"speedrun_{arg}"
    config.train.eval_every = config.train.checkpoint_every = 10**6  # at the end only
    config.eval.datasets, config.eval.metrics = "set5", "psnr"
    config.update_from_flattened_dict(fields)
    return config
