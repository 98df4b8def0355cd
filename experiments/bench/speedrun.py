"""Time to quality: Set5 x3 from nothing, on the 91 images alone, against the clock.

    python -m experiments.bench.speedrun [RECORD...] [--seeds=3] [--workdir=DIR] [--output=FILE.md]

A record is a config and the PSNR that it must reach in the median of its seeds. The clock runs
from the start of the command `python -m srcnn_jax.main` to its end, with no compiled program to
start from: imports, preparing the images, compiling, training, saving, and the evaluation too.
Since machines differ, NumPy's fp32 matrix product is timed before every run, and the last column
says what the seconds would be on two cores that multiply at 450 GF/s.
"""

import argparse
import dataclasses
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from experiments import machine, runner
from experiments.paper.study import read_result

GIGAFLOPS = 450  # of the machine that the goals are set for


@dataclasses.dataclass(frozen=True)
class Record:
    """One config on the clock.

    Attributes:
      psnr: in dB on Set5 x3, to be reached.
      seconds: in which it is to be reached, at 450 GF/s.
      words: of `configs/default.py`.
      fields: those of the config that differ from it.
      changed: what this record does that the default does not, in words.
    """

    psnr: float
    seconds: float
    words: str
    fields: Mapping[str, Any]
    changed: str


COPIES = 1, 0.9, 0.8, 0.7, 0.6  # sizes of a training image, as FSRCNN has them
RECORDS = {
    "paper": Record(
        32.39,
        20,
        "x3,valid",
        {
            "data.patch_size": 33,
            "train.batch_size": 128,
            "train.steps": 500,
            "optimizer.warmup_steps": 50,
        },
        "valid, 128 patches of 33, 500 steps",
    ),
    "best": Record(
        32.75,
        75,
        "x3,valid,955",
        {
            "data.patch_size": 33,
            "train.batch_size": 128,
            "train.steps": 1150,
            "optimizer.warmup_steps": 100,
            "optimizer.learning_rate": 5e-4,
        },
        "9-5-5, valid, 128 patches of 33, 1,150 steps, half the rate",
    ),
    "best-915": Record(
        32.75,
        100,
        "x3,valid",
        {
            "data.patch_size": 33,
            "data.copies": COPIES,
            "train.batch_size": 128,
            "train.steps": 7000,
            "optimizer.learning_rate": 6e-4,
        },
        "9-1-5, valid, 128 patches of 33 of scaled copies, 7,000 steps, 0.6 of the rate",
    ),
    "beyond": Record(
        33.0,
        900,
        "x3,valid,955",
        {
            "data.copies": COPIES,
            "train.steps": 12_500,
            "optimizer.learning_rate": 2.5e-4,
        },
        "9-5-5, valid, 64 patches of 45 of scaled copies, 12,500 steps, a quarter of the rate",
    ),
}


def run(record: Record, seed: int, folder: pathlib.Path) -> dict[str, float]:
    """Trains once; {'psnr', 'seconds', 'gigaflops', 'patches'}. Exits if the command fails."""
    rate = machine.rate()
    shutil.rmtree(folder, ignore_errors=True)
    fields = {
        "seed": seed,
        "train.eval_every": 10**6,  # at the end only
        "train.checkpoint_every": 10**6,
        "eval.datasets": "set5",
        "eval.metrics": "psnr",
        **record.fields,
    }
    training = runner.Training(
        f"configs/default.py:{record.words}", folder, fields, allow_sample=False
    )
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        try:
            runner.run(training, {**runner.uncached(), "XDG_CACHE_HOME": cache})
            seconds = time.perf_counter() - start
            result = read_result(folder)
        except (runner.TrainingError, ValueError, OSError) as error:
            sys.exit(f"error: {error}")
    return {
        "psnr": result.mean("set5"),
        "seconds": seconds,
        "gigaflops": rate,
        "patches": result.patches,
    }


def row(record: Record, runs: list[dict[str, float]]) -> dict[str, str]:
    """A record's row of the table, from the runs of its seeds."""
    median = {key: statistics.median(each[key] for each in runs) for key in runs[0]}
    scaled = statistics.median(each["seconds"] * each["gigaflops"] / GIGAFLOPS for each in runs)
    return {
        "goal": f"{record.psnr:.2f} dB in {record.seconds:g} s",
        "PSNR": f"{median['psnr']:.3f}",
        "of each seed": " ".join(f"{each['psnr']:.3f}" for each in runs),
        "patches": f"{median['patches']:.0f}",
        "seconds": f"{median['seconds']:.0f}",
        "GF/s": f"{median['gigaflops']:.0f}",
        f"seconds at {GIGAFLOPS} GF/s": f"{scaled:.1f}",
        "reached": "yes" if median["psnr"] >= record.psnr and scaled <= record.seconds else "no",
        "config": record.words,
        "what was changed": record.changed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("records", nargs="*", metavar="RECORD", help=", ".join(RECORDS))
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--workdir", type=pathlib.Path, help="folder for the runs")
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file for the table")
    choices = parser.parse_args()
    for name in choices.records:
        if name not in RECORDS:
            parser.error(f"no record {name!r}: there are {', '.join(RECORDS)}")
    if choices.seeds < 1:
        parser.error(f"--seeds must be positive, not {choices.seeds}")
    runner.need("pandas", "tabulate")
    import pandas as pd

    with tempfile.TemporaryDirectory() as scratch:
        folder = (choices.workdir or pathlib.Path(scratch)).absolute()
        rows = []
        for name in choices.records or RECORDS:
            runs = []
            for seed in range(choices.seeds):
                runs.append(run(RECORDS[name], seed, folder / f"{name}_{seed}"))
                print(name, seed, {k: round(v, 3) for k, v in runs[-1].items()}, flush=True)
            rows.append({"record": name, **row(RECORDS[name], runs)})
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    print(table)
    if choices.output:
        typed = "python -m experiments.bench.speedrun " + " ".join(choices.records or RECORDS)
        typed += f" --seeds={choices.seeds}"
        text = f"Time to quality, Set5 x3, {choices.seeds} seeds\n\n`{typed}`\n\n{table}\n"
        choices.output.write_text(text)


if __name__ == "__main__":
    main()
