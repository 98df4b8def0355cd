"""Time to quality: Set5 x3 from nothing, on the 91 images alone, against the clock.

    python -m experiments.bench.speedrun [RECORD...] [--seeds=3] [--workdir=DIR] [--output=FILE.md]

A record is a config of `configs/speedrun.py` and a goal: the PSNR that the median of its seeds must
reach, and the seconds. The clock runs from the start of the command `python -m srcnn_jax.main` to
its end, with no compiled program to start from: imports, preparing the images, compiling, training,
saving, and the evaluation too. Since machines differ, NumPy's fp32 matrix product is timed before
every run, and one column says what the seconds would be on two cores that multiply at 450 GF/s.
"""

import argparse
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
from typing import NamedTuple

from configs import speedrun
from experiments import machine, runner
from experiments.paper.study import read_result
from srcnn_jax import paths

GIGAFLOPS = 450  # of the machine that the goals are set for


class Goal(NamedTuple):
    """What a record of `configs/speedrun.py` must reach: PSNR in dB on Set5 x3, and seconds."""

    psnr: float
    seconds: float  # at 450 GF/s


GOALS = {
    "paper": Goal(32.39, 15),
    "best": Goal(32.75, 50),
    "best-955": Goal(32.75, 75),
    "best-915": Goal(32.75, 100),
    "beyond": Goal(33.0, 480),
}


def measure(name: str, seed: int, folder: pathlib.Path, data_dir: str = "") -> dict[str, float]:
    """Trains a record once; {'psnr', 'seconds', 'gigaflops', 'patches'}. Exits if that fails."""
    rate = machine.rate()
    shutil.rmtree(folder, ignore_errors=True)
    training = runner.Training(
        config=f"configs/speedrun.py:{name}",
        folder=folder,
        fields={"seed": seed},
        data_dir=data_dir,
        allow_sample=False,
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


def row(name: str, runs: list[dict[str, float]]) -> dict[str, str]:
    """A record's row of the table, from the runs of its seeds."""
    goal = GOALS[name]
    config = speedrun.get_config(name)
    median = {key: statistics.median(each[key] for each in runs) for key in runs[0]}
    scaled = statistics.median(each["seconds"] * each["gigaflops"] / GIGAFLOPS for each in runs)
    return {
        "record": name,
        "goal": f"{goal.psnr:.2f} dB in {goal.seconds:g} s",
        "PSNR": f"{median['psnr']:.3f}",
        "of each seed": " ".join(f"{each['psnr']:.3f}" for each in runs),
        "patches": f"{median['patches']:.0f}",
        "seconds": f"{median['seconds']:.0f}",
        "GF/s": f"{median['gigaflops']:.0f}",
        f"seconds at {GIGAFLOPS} GF/s": f"{scaled:.1f}",
        "reached": "yes" if median["psnr"] >= goal.psnr and scaled <= goal.seconds else "no",
        "network": "-".join(map(str, config.model.kernel_sizes)),
        "what was changed": speedrun.RECORDS[name].changed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("records", nargs="*", metavar="RECORD", help=", ".join(GOALS))
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--workdir", type=paths.folder_argument, help="folder for the runs")
    parser.add_argument("--output", type=paths.argument, help="Markdown file for the table")
    parser.add_argument("--data_dir", default="", help="folder of the data sets, as main's")
    args = parser.parse_args()
    for name in args.records:
        if name not in GOALS:
            parser.error(f"no record {name!r}: there are {', '.join(GOALS)}")
    if args.seeds < 1:
        parser.error(f"--seeds must be positive, not {args.seeds}")
    runner.need("pandas", "tabulate")
    import pandas as pd

    names = args.records or list(GOALS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.workdir or pathlib.Path(scratch)).absolute()
        rows = []
        for name in names:
            runs = []
            for seed in range(args.seeds):
                runs.append(measure(name, seed, folder / f"{name}_{seed}", args.data_dir))
                print(name, seed, {k: round(v, 3) for k, v in runs[-1].items()}, flush=True)
            rows.append(row(name, runs))
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    print(table)
    if args.output:
        typed = f"python -m experiments.bench.speedrun {' '.join(names)} --seeds={args.seeds}"
        text = f"Time to quality, Set5 x3, {args.seeds} seeds\n\n`{typed}`\n\n{table}\n"
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
