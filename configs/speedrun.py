"""Records of training time: each config reaches a PSNR on Set5 at x3, trained on T91 alone.

    python -m srcnn_jax.main --config=configs/speedrun.py:best

The word after the colon is a record:

    word      network          target                          time        reached
    paper     9-1-5            32.39 dB, the paper's with T91  15 seconds  32.416 dB
    best      5-3-3-3-3-5      32.75 dB, the paper's best      50 seconds  32.783 dB
    best-955  9-5-5            32.75 dB                        75 seconds  32.763 dB
    best-915  9-1-5            32.75 dB                       100 seconds  32.775 dB
    beyond    5-3-3-3-3-3-3-5  33.00 dB                         8 minutes  33.021 dB

The time is that of the whole command, from imports to the evaluation, on two cores that multiply
matrices at 450 GF/s. The PSNR is the median of three seeds. `python -m experiments.bench.speedrun`
measures both. experiments/results/bench/speedrun.md has the runs.
"""

import pathlib
import runpy
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections


class Record(NamedTuple):
    """The recipe of a record.

    Attributes:
      words: the words for configs/default.py.
      fields: the fields that differ from that config, by dotted name.
      changed: the differences as text, for the table of results.
    """

    words: str
    fields: Mapping[str, Any]
    changed: str


RECORDS = {
    "paper": Record(
        "x3,valid",
        {
            "data.patch_size": 33,
            "data.downscale_factors": (1.0,),
            "train.batch_size": 128,
            "train.steps": 420,
            "optimizer.warmup_steps": 50,
            "optimizer.learning_rate": 1e-3,
        },
        "valid, 128 patches of 33, 420 steps",
    ),
    "best": Record(
        "x3",
        {
            "model.kernel_sizes": (5, 3, 3, 3, 3, 5),
            "model.features": (32,) * 5,
            "train.batch_size": 32,
            "train.cauchy_scale": 0.03,
            "train.steps": 500,
            "optimizer.warmup_steps": 50,
            "optimizer.learning_rate": 6e-4,
        },
        "six layers of 32 filters, 32 patches of 41 of scaled copies, 500 steps, Cauchy loss",
    ),
    "best-955": Record(
        "x3,valid,955",
        {
            "data.patch_size": 33,
            "data.downscale_factors": (1.0,),
            "train.batch_size": 128,
            "train.steps": 1150,
            "optimizer.warmup_steps": 100,
            "optimizer.learning_rate": 5e-4,
        },
        "9-5-5, valid, 128 patches of 33, 1,150 steps, half the rate",
    ),
    "best-915": Record(
        "x3,valid",
        {
            "data.patch_size": 33,
            "train.batch_size": 128,
            "train.steps": 7000,
            "optimizer.learning_rate": 6e-4,
        },
        "9-1-5, valid, 128 patches of 33 of scaled copies, 7,000 steps, 0.6 of the rate",
    ),
    "beyond": Record(
        "x3",
        {
            "model.kernel_sizes": (5, 3, 3, 3, 3, 3, 3, 5),
            "model.features": (32,) * 7,
            "train.batch_size": 32,
            "train.cauchy_scale": 0.03,
            "train.steps": 1200,
            "optimizer.warmup_steps": 50,
            "optimizer.learning_rate": 5e-4,
        },
        "eight layers of 32 filters, 32 patches of 41 of scaled copies, 1,200 steps, Cauchy loss",
    ),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config of a record: one of `RECORDS`.

    Raises:
      ValueError: if there is no such record.
    """
    if arg not in RECORDS:
        raise ValueError(
            f"unknown config word {arg!r}: after configs/speedrun.py: comes a record, "
            f"{' or '.join(RECORDS)}"
        )
    record = RECORDS[arg]
    default = runpy.run_path(str(pathlib.Path(__file__).with_name("default.py")))
    config = default["get_config"](record.words)
    config.name = f"speedrun_{arg}"
    config.train.eval_every = config.train.checkpoint_every = 10**6  # at the end only
    config.eval.datasets, config.eval.metrics = "set5", "psnr"
    config.update_from_flattened_dict(dict(record.fields))
    return config
