"""Does the default recipe hold for every network that people sweep? 600 steps of each, at x3.

    python -m experiments.robustness WORKDIR

Trains each network once from the defaults, with nothing changed but its shape and the number of
steps, and prints the table of `results/robustness.md`. Finished networks are not trained again.
"""

import argparse
import pathlib
import subprocess
import time

from experiments import commands, matrix_product
from experiments.study import ROOT
from srcnn_jax.architecture import weight_count
from srcnn_jax.workdir import read_json

NETWORKS = {
    "9-1-5": ((9, 1, 5), (64, 32)),
    "9-3-5": ((9, 3, 5), (64, 32)),
    "9-5-5": ((9, 5, 5), (64, 32)),
    "11-1-7": ((11, 1, 7), (64, 32)),
    "9-1-5, 128-64": ((9, 1, 5), (128, 64)),
    "9-1-5, 32-16": ((9, 1, 5), (32, 16)),
    "9-1-1-5": ((9, 1, 1, 5), (64, 32, 16)),
    "9-3-1-5": ((9, 3, 1, 5), (64, 32, 16)),
    "9-1-1-1-5": ((9, 1, 1, 1, 5), (64, 32, 32, 16)),
}
PADDINGS = ("same", "valid")
STEPS = 600


def train(folder: pathlib.Path, kernel_sizes, features, padding: str) -> str:
    """The table's cells for one network: PSNR on Set5, seconds."""
    start = time.perf_counter()
    fields = {
        "model.kernel_sizes": kernel_sizes,
        "model.features": features,
        "train.steps": STEPS,
        "data.allow_sample": False,
        "eval.datasets": "set5",
    }
    arguments = commands.train(f"configs/default.py:x3,{padding}", folder, fields)
    finished = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    if finished.returncode:
        return commands.reason(finished.returncode, finished.stderr)
    psnr = read_json(folder / "eval.json")["datasets"]["set5"]["mean"]["srcnn"]["psnr"]
    return f"{psnr:.2f} | {time.perf_counter() - start:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("workdir", type=pathlib.Path, help="folder of the runs")
    workdir = parser.parse_args().workdir
    print(f"fp32 matrix product: {matrix_product.rate():.0f} GF/s\n")
    print("| network | weights | padding | Set5 x3, dB | seconds |")
    print("|---|---|---|---|---|")
    for name, (kernel_sizes, features) in NETWORKS.items():
        for padding in PADDINGS:
            folder = workdir / f"{name}_{padding}".replace(", ", "_")
            cells = train(folder, kernel_sizes, features, padding)
            weights = weight_count(kernel_sizes, features)
            print(f"| {name} | {weights:,} | {padding} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
