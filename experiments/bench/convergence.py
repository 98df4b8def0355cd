"""PSNR on Set5 x3 while 9-1-5 trains: the paper's SGD, Adam, and the default recipe.

    python -m experiments.bench.convergence WORKDIR [--budget=full] [--seeds=3] [--output=FILE.png]

Trains what is missing in WORKDIR, goes on with what is unfinished, and draws two panels: PSNR over
seconds of training, and over patches seen. Adam differs from the default recipe in the optimiser
alone. The paper's SGD is `configs/default.py:x3,paper`, cut short: a rate that is constant makes
its curve the beginning of the whole one. The paper's own curve on T91 stands beside it.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments import machine, runner
from srcnn_jax import paths
from srcnn_jax.workdir import read_json, read_metrics

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PICTURE = runner.ROOT / "experiments/results/bench/convergence.png"
EVALUATIONS = 100  # of a run; the logarithmic axes want many at its beginning
STEPS_PER_DISPATCH = 20  # of every recipe: what lies between two evaluations is a multiple of it


class Recipe(NamedTuple):
    """One curve.

    Attributes:
      label: its name in the picture.
      config: as main's --config.
      fields: of the config that differ.
      steps: updates of the weights, by budget.
    """

    label: str
    config: str
    fields: Mapping[str, Any]
    steps: Mapping[str, int]


RECIPES = {
    "paper": Recipe(
        "the paper's SGD",
        "configs/default.py:x3,paper",
        {},
        {"smoke": 200, "short": 20_000, "full": 60_000},
    ),
    "adam": Recipe(
        "Adam",
        "configs/default.py:x3",
        {
            "optimizer.name": "adam",
            "optimizer.options": {},
            "optimizer.precondition": False,
            "optimizer.learning_rate": 1e-3,
        },
        {"smoke": 200, "short": 3_000, "full": 9_000},
    ),
    "ours": Recipe(
        "ours: preconditioned SGD",
        "configs/default.py:x3",
        {},
        {"smoke": 200, "short": 3_000, "full": 9_000},
    ),
}
# Mean PSNR on Set5 x3 in dB that the papers print; 9-1-5 of T91, 9-5-5 of ImageNet.
LEVELS = {
    "bicubic": 30.39,
    "the paper's 9-1-5 on T91": 32.39,
    "the paper's 9-5-5 on ImageNet": 32.75,
}


def fields_of(recipe: Recipe, budget: str, seed: int) -> dict[str, Any]:
    """The config's fields of a run."""
    steps = recipe.steps[budget]
    every = max(STEPS_PER_DISPATCH, steps // EVALUATIONS // STEPS_PER_DISPATCH * STEPS_PER_DISPATCH)
    return {
        "seed": seed,
        "train.steps": steps,
        "train.steps_per_dispatch": STEPS_PER_DISPATCH,
        "train.log_every": every,
        "train.eval_every": every,
        "train.checkpoint_every": 5 * every,
        "train.eval_dataset": "set5",
        "eval.datasets": "set5",
        "eval.metrics": "psnr",
        **recipe.fields,
    }


def train(config: str, folder: pathlib.Path, fields: Mapping[str, Any]) -> None:
    """Trains one run to its end; exits with one line if it fails."""
    try:
        runner.run(runner.Training(config, folder, fields))
    except runner.TrainingError as error:
        sys.exit(f"error: {folder}: {error}")


def read_curve(folder: pathlib.Path) -> pd.DataFrame:
    """The curve of a finished run, a row for each evaluation.

    Returns:
      Columns patches, seconds (of training, with compiling, without evaluation), psnr (dB, mean
      over the whole images of Set5, as the tables of the papers have it).
    """
    import pandas as pd

    batch_size = read_json(folder / "config.json")["train"]["batch_size"]
    rows, seconds, timed = [], 0.0, 0  # timed: the step up to which seconds count
    for line in read_metrics(folder):
        if "patches_per_second" in line:
            seconds += (line["step"] - timed) * batch_size / line["patches_per_second"]
            timed = line["step"]
        if "psnr" in line:
            rows.append((line["step"] * batch_size, seconds, line["psnr"]))
    return pd.DataFrame(rows, columns=["patches", "seconds", "psnr"])


def mean_curve(curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean over seeds at each number of patches; columns low and high are the seeds' range."""
    import pandas as pd

    groups = pd.concat(curves).groupby("patches")
    mean = groups.mean()
    psnr = groups["psnr"]
    return mean.assign(low=psnr.min(), high=psnr.max()).reset_index()


def plot(curves: Mapping[str, pd.DataFrame], paper: pd.DataFrame, note: str) -> Figure:
    """The two panels.

    Args:
      curves: of `mean_curve`, by the key of RECIPES.
      paper: columns patches, psnr: the paper's own curve on T91.
      note: a line under the title: machine and seeds.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    title = "PSNR on Set5 x3 while 9-1-5 trains on T91"
    figure.suptitle(f"{title}\n{note}", x=0.01, ha="left", size="medium", linespacing=1.5)
    axes = figure.subplots(1, 2, sharey=True)
    labels = {"seconds": "seconds of training", "patches": "patches seen in training"}
    for axis, (x, label) in zip(axes, labels.items(), strict=True):
        for index, (name, curve) in enumerate(curves.items()):
            trained = curve[curve["patches"] > 0]  # a logarithmic axis has no 0
            colour = f"C{index}"
            axis.plot(trained[x], trained["psnr"], color=colour, lw=1.8, label=RECIPES[name].label)
            axis.fill_between(
                trained[x], trained["low"], trained["high"], color=colour, alpha=0.2, lw=0
            )
        axis.set_xscale("log")
        axis.set_xlabel(label)
        # A start from noise is far below.
        top = max(*LEVELS.values(), *(curve["high"].max() for curve in curves.values()))
        axis.set_ylim(min(LEVELS.values()) - 0.3, top + 0.2)
        axis.grid(color="0.92")
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].plot(
        paper["patches"],
        paper["psnr"],
        color="C0",
        lw=1.3,
        ls=(0, (3, 1)),
        label="the paper's own curve (valid region, about 0.05 dB higher)",
    )
    for axis in axes:
        for name, level in LEVELS.items():
            axis.axhline(level, color="0.35", lw=0.8, ls=":")
            if axis is axes[0]:
                axis.annotate(
                    f"{name}, {level:.2f} dB",
                    (0.01, level),
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    xytext=(0, 2),
                    size="small",
                    color="0.35",
                )
    axes[0].set_ylabel("PSNR (dB)")
    axes[0].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes[0].xaxis.set_minor_formatter(NullFormatter())
    lines, labels_of_lines = axes[1].get_legend_handles_labels()
    figure.legend(lines, labels_of_lines, loc="outside lower center", ncols=4, fontsize="small")
    return figure


def table(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What each recipe reaches, and what it needs for the levels of the paper."""
    import pandas as pd

    rows = []
    for name, curve in curves.items():
        last = curve.iloc[-1]
        row = {
            "recipe": RECIPES[name].label,
            "PSNR, dB": f"{last['psnr']:.2f}",
            "patches": f"{last['patches']:,.0f}",
            "seconds": f"{last['seconds']:,.0f}",
        }
        for level in list(LEVELS.values())[1:]:
            above = curve[curve["psnr"] >= level]
            row[f"seconds to {level:.2f} dB"] = (
                f"{above['seconds'].iloc[0]:,.0f}" if len(above) else "–"
            )
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.convergence",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("workdir", type=paths.folder_argument, help="folder of the runs")
    parser.add_argument(
        "--budget",
        choices=("smoke", "short", "full"),
        default="full",
        help="length of the runs: seconds, minutes, or the default recipe's (%(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each recipe (%(default)s)")
    parser.add_argument("--output", type=paths.argument, default=PICTURE, help="PNG file to write")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds must be positive, not {args.seeds}")
    runner.need("matplotlib", "pandas", "tabulate")
    try:
        runner.check_data("t91", "set5", "")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    from experiments.paper.curves import published_curve
    from srcnn_jax.runtime import available_cores  # after the flags: it loads JAX

    curves, rate = {}, machine.rate()
    for name, recipe in RECIPES.items():
        seeds = []
        for seed in range(args.seeds):
            folder = args.workdir / f"{name}_{args.budget}_{seed}"
            print(f"{recipe.label}, seed {seed}: {folder}", file=sys.stderr, flush=True)
            train(recipe.config, folder, fields_of(recipe, args.budget, seed))
            seeds.append(read_curve(folder))
        curves[name] = mean_curve(seeds)
    print(table(curves).to_markdown(index=False, disable_numparse=True))
    note = (
        f"{args.seeds} seed{'s' if args.seeds > 1 else ''} each; {available_cores()} cores, fp32 "
        f"matrix product {rate:.0f} GF/s"
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    plot(curves, published_curve("9-1-5 T91", "4"), note).savefig(args.output, dpi=150)


if __name__ == "__main__":
    main()
