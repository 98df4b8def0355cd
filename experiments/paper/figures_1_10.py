"""Figures 1 and 10 of the paper (TPAMI): SRCNN passes the other methods as it trains, Set5 x3.

    python -m experiments.paper.figures_1_10 WORKDIR --budget=short

It plots PSNR over the patches seen in training against the constant lines of the other methods, and
says after how many patches each line is crossed. The paper's network is 9-5-5 on ImageNet; ours are
9-1-5 and 9-5-5 of `filter_sizes` in the same WORKDIR, on T91.

The lines are of the paper's Table 2. Our PSNR is measured as those tables measure it. The paper's
curve is PSNR over the valid region, which is about 0.05 dB higher, so its lines are crossed a
little early.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from experiments.paper import curves, filter_sizes, other_methods, study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PAPER = "9-5-5 ImageNet"  # the curve of figure 10
EXPERIMENTS = {sizes: filter_sizes.EXPERIMENTS[sizes] for sizes in ("9-1-5", "9-5-5")}


def other_lines() -> dict[str, float]:
    """PSNR in dB of the other methods on Set5, x3, by their names, ascending."""
    published = other_methods.published()
    lines = {
        method: published["set5", 3, method]["psnr"]
        for method in other_methods.METHODS
        if method != "SRCNN"
    }
    return dict(sorted(lines.items(), key=lambda line: line[1]))


def crossing(curve: pd.DataFrame, level: float) -> str:
    """The patches at which a curve first reaches `level` dB: '98,560', '≤ 8,960' or '–'.

    A curve that begins above the level reached it before its first measurement.

    Args:
      curve: columns patches, psnr; the measurement before training is not a crossing.
      level: in dB.
    """
    trained = curve[curve["patches"] > 0]
    patches = curves.reached(trained, level)
    if patches is None:
        return "–"
    return f"≤ {patches:,}" if patches == trained["patches"].iloc[0] else f"{patches:,}"


def table_of_crossings(paper: pd.DataFrame, ours: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each other method: its PSNR, and the patches after which it is passed."""
    import pandas as pd

    return pd.DataFrame(
        {
            "method": method,
            "PSNR, dB": f"{level:.2f}",
            "SRCNN 9-5-5 on ImageNet, paper": crossing(paper, level),
            **{f"SRCNN {sizes}, ours": crossing(curve, level) for sizes, curve in ours.items()},
        }
        for method, level in other_lines().items()
    )


def plot(
    title: str,
    lines: Mapping[str, float],
    ours: Mapping[str, pd.DataFrame],
    paper: tuple[str, pd.DataFrame],
) -> Figure:
    """Our curves solid, the paper's dashed, over a logarithmic axis of patches, and lines.

    Args:
      title: the title of the figure.
      lines: PSNR in dB of other methods, by name.
      ours: our curves, columns patches, psnr, by name.
      paper: the name and the curve of the paper.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.0), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", size="medium", linespacing=1.5)
    ax = figure.subplots()
    for index, (name, curve) in enumerate(ours.items()):
        trained = curve[curve["patches"] > 0]  # bicubic, before, is not on a logarithmic axis
        ax.plot(trained["patches"], trained["psnr"], color=f"C{index}", lw=1.8, label=name)
    name, curve = paper
    ax.plot(curve["patches"], curve["psnr"], color="k", lw=1.3, ls=(0, (3, 1)), label=name)
    ax.set_xscale("log")
    begin, end = ax.get_xlim()
    ax.set_xlim(begin, end * 4)  # room for the names, to the right of the curves
    lowest = None
    for method, level in sorted(lines.items(), key=lambda line: line[1]):
        ax.axhline(level, color="0.6", lw=0.9, zorder=0)
        close = lowest is not None and level - lowest < 0.12  # the name goes above the line
        ax.annotate(
            f"{method} {level:.2f}",
            (end * 4, level),
            (-2, 2 if close else -3),
            textcoords="offset points",
            ha="right",
            va="bottom" if close else "top",
            size="small",
            color="0.35",
        )
        lowest = level
    ax.set_ylim(bottom=min(lines.values()) - 0.2)  # a training may begin far below bicubic
    ax.set_xlabel("patches seen in training")
    ax.set_ylabel("PSNR on Set5, x3 (dB)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return figure


def describe_runs(args: argparse.Namespace) -> str:
    """'ours by the default recipe, mean of 3 runs', for a title."""
    mean = f", mean of {args.seeds} runs" if args.seeds > 1 else ""
    return f"ours by the {args.recipe} recipe{mean}"


def main() -> None:
    args = study.options(__doc__)
    results = study.train_runs(EXPERIMENTS, args)
    try:
        ours = {
            sizes: curves.our_curve([run.folder for run in seeds], "psnr")
            for sizes, seeds in results.items()
        }
    except ValueError as error:
        sys.exit(f"error: {error}")
    paper = curves.published_curve(PAPER, "10")
    figure = plot(
        f"SRCNN and other methods, Set5 x3 (TPAMI, figures 1 and 10)\n{describe_runs(args)}",
        other_lines(),
        {f"SRCNN {sizes} on T91, ours": curve for sizes, curve in ours.items()},
        ("SRCNN 9-5-5 on ImageNet, the paper's", paper),
    )
    figure.savefig(study.output("figures_1_10", args, ".png"), dpi=150)
    title = "Patches after which SRCNN passes another method, Set5 x3 (TPAMI, figures 1 and 10). "
    title += study.describe_cost(results)
    study.write(table_of_crossings(paper, ours), "figures_1_10", title, args)


if __name__ == "__main__":
    main()
