"""How time and memory grow: with the patches of a step, n1, f2, and the pixels of an image.

    python -m experiments.bench.cost PICTURE.png [--rounds=N] [--smoke]

Training is that of the default config, the preconditioner included, with one size changed.
Restoring is by the network that comes with the project. The contestants of a panel are processes
that take turns, as in `experiments.bench`. A slope is the exponent p of size^p that fits best.
Memory is the peak of a process; Python, JAX and, in training, TensorFlow take most of it. It is
measured on Linux only.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments import machine, runner
from experiments.bench.compare import Contestant, case_of
from srcnn_jax import paths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = 10  # steps or images of a round; large images go one by one
DEFAULT = {**case_of("x3"), "precondition": True}
NETWORK = pathlib.Path(__file__).parents[2] / "srcnn_jax/pretrained/srcnn_915_x3.safetensors"


class Cost(NamedTuple):
    """The seconds of a step or of an image, and the process's peak of memory in bytes."""

    seconds: float
    memory: int


# The function of workers.py and its arguments, by size.
Cases = Mapping[int, tuple[str, dict[str, Any]]]
PANELS: dict[str, Cases] = {
    "patches of a step": {
        n: ("train_ours", {**DEFAULT, "batch_size": n}) for n in (16, 32, 64, 128, 256)
    },
    "n1 (n2 = 32)": {
        n: ("train_ours", {**DEFAULT, "features": (n, 32)}) for n in (16, 32, 64, 128, 256)
    },
    "f2": {n: ("train_ours", {**DEFAULT, "kernel_sizes": (9, n, 5)}) for n in (1, 3, 5, 7)},
    "pixels of an image": {
        side**2: ("predict_ours", {"weights": str(NETWORK), "height": side, "width": side})
        for side in (256, 512, 1024, 2048, 4096)
    },
}


def measure(cases: Cases, rounds: int) -> dict[int, Cost]:
    """The cost at each size, median over the rounds.

    Raises:
      RuntimeError: if a process cannot do it.
    """
    contestants = {
        size: Contestant(function, arguments) for size, (function, arguments) in cases.items()
    }
    try:
        for size, contestant in contestants.items():
            if contestant.missing:
                raise RuntimeError(f"{cases[size]}: {contestant.missing}")
        times: dict[int, list[float]] = {size: [] for size in contestants}
        for _ in range(rounds):
            for size, contestant in contestants.items():
                times[size].append(contestant.seconds(UNITS if size < 10**6 else 1))
        return {
            size: Cost(statistics.median(times[size]), contestant.peak_memory())
            for size, contestant in contestants.items()
        }
    finally:
        for contestant in contestants.values():
            contestant.stop()


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent p of the power law values = c * sizes^p that fits best."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def plot(panels: Mapping[str, Mapping[int, Cost]], note: str) -> Figure:
    """Time above, memory below, over each of the sizes; with slopes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(3.2 * len(panels), 6), layout="constrained")
    title = f"What a training step and an image cost\n{note}"
    figure.suptitle(title, x=0.01, ha="left", size="medium", linespacing=1.5)
    axes = figure.subplots(2, len(panels), squeeze=False)
    for column, (name, costs) in enumerate(panels.items()):
        sizes = list(costs)
        rows = (
            ([1e3 * cost.seconds for cost in costs.values()], "ms"),
            ([cost.memory / 2**20 for cost in costs.values()], "MiB, peak"),
        )
        for row, (values, unit) in enumerate(rows):
            ax = axes[row, column]
            ax.loglog(sizes, values, "o-")
            ax.set_title(f"slope {slope(sizes, values):.2f}", size="medium")
            ax.set_ylim(min(values) / 2, max(values) * 2)
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            ax.set_xticks(sizes, [_short(size) for size in sizes])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.grid(color="0.9")
            ax.spines[["top", "right"]].set_visible(False)
            if column in (0, len(panels) - 1):
                whole = "an image" if column else "a step"
                ax.set_ylabel(f"{whole}: {unit}")
        axes[1, column].set_xlabel(name)
    return figure


def _short(size: int) -> str:
    if size >= 10**5:
        return f"{size / 1e6:.2g}M"
    return f"{size / 1e3:.0f}k" if size >= 10**4 else str(size)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.cost",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("picture", type=paths.argument, help="PNG file to write")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="two sizes of each, to see it work")
    args = parser.parse_args()
    if sys.platform != "linux":
        parser.error("memory is measured by /proc, which Linux alone has")
    runner.need("matplotlib")
    from srcnn_jax.runtime import available_cores  # after the flags: it loads JAX

    panels, rates = {}, []
    for name, cases in PANELS.items():
        rates.append(machine.rate())
        chosen = dict(list(cases.items())[:2]) if args.smoke else cases
        panels[name] = measure(chosen, args.rounds)
        print(f"\n{name:20} ms       MiB")
        for size, cost in panels[name].items():
            print(f"{size:>14,} {1e3 * cost.seconds:12.1f} {cost.memory / 2**20:8.0f}", flush=True)
    rate = statistics.median(rates)
    note = f"{available_cores()} cores, fp32 matrix product {rate:.0f} GF/s"
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    plot(panels, note).savefig(args.picture, dpi=150)


if __name__ == "__main__":
    main()
