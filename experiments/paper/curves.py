"""The training curves of the paper (TPAMI, figures 4 and 7-11) and ours, Set5 x3.

    python -m experiments.paper.curves WORKDIR --budget=short

It plots figures 4, 7, 8 and 9 with our curves beside the paper's, and says how many patches the
paper and we need for the same PSNR. Our runs are those that `training_sets`, `filter_sizes` and
`depth` share in WORKDIR.

The paper's points, in `paper_curves.csv`, were read off its vector figures. They are PSNR over the
valid region of the network, about 0.05 dB above its tables. Ours are that, too: `psnr_valid` of
`metrics.jsonl`. Figures 1 and 10 are those of `figures_1_10`, and figure 11 that of `figure_11`.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.paper import depth, filter_sizes, study, training_sets
from srcnn_jax.workdir import read_json, read_metrics

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Our run for each curve of the paper, by panel of its figures.
PANELS: dict[str, dict[str, study.Experiment]] = {
    "4": {"9-1-5 T91": training_sets.T91, "9-1-5 ImageNet": training_sets.LARGER},
    "7": {sizes: filter_sizes.EXPERIMENTS[sizes] for sizes in ("9-1-5", "9-3-5", "9-5-5")},
    **{
        panel: {network: depth.EXPERIMENTS[network] for network in networks}
        for panel, networks in {
            "8a": ("9-1-5", "9-1-1-5 n22=16"),
            "8b": ("9-3-5", "9-3-1-5"),
            "8c": ("9-5-5", "9-5-1-5"),
            "9a": ("9-1-5", "9-1-1-5 n22=16", "9-1-1-5 n22=32", "9-1-1-1-5 n22=32 n23=16"),
            "9b": ("9-3-5", "9-3-1-5", "9-3-3-5", "9-3-3-3"),
        }.items()
    },
}
EXPERIMENTS = {run.name: run for panel in PANELS.values() for run in panel.values()}
FIGURES = {  # title, the paper's training set, and ours
    "4": ("Training sets, 9-1-5", "T91 and ImageNet", "T91 and BSDS500"),
    "7": ("Filter sizes", "ImageNet", "T91"),
    "8": ("A fourth layer", "ImageNet", "T91"),
    "9": ("A fourth and a fifth layer", "ImageNet", "T91"),
}
LABELS = {"9-1-5 ImageNet": "9-1-5 ImageNet, ours BSDS500"}
T91_LEVEL = 32.44  # dB over the valid region of 9-1-5 on T91; 32.39 in the paper's tables
TITLE = """\
Patches seen in training until PSNR over the valid region of Set5, x3, is as high as that of the
paper's 9-1-5 on T91 (32.39 dB in its tables), and as the last value of the paper's own curve
(TPAMI, figures 4, 7, 8, 9). Unless a name says so, the paper trains on ImageNet, we on T91."""


def published() -> pd.DataFrame:
    """Columns figure (its panel, '8a'), network, patches, psnr (dB): every point of the paper."""
    import pandas as pd

    return pd.read_csv(pathlib.Path(__file__).with_name("paper_curves.csv"), dtype={"figure": str})


def published_curve(network: str, panel: str | None = None) -> pd.DataFrame:
    """A curve of the paper, columns patches, psnr; the longest if no panel is named."""
    points = published()
    points = points[points["network"] == network]
    longest = points.loc[points["patches"].idxmax(), "figure"]
    return points[points["figure"] == (panel or longest)][["patches", "psnr"]]


def our_curve(folders: Sequence[pathlib.Path], metric: str = "psnr_valid") -> pd.DataFrame:
    """Columns patches, psnr: the mean over finished workdirs that differ in the seed alone.

    Args:
      folders: the workdirs.
      metric: 'psnr_valid', over the valid region, as the paper's curves; or 'psnr', as its tables.

    Raises:
      ValueError: if a run has not measured it.
    """
    import pandas as pd

    points = []
    for folder in folders:
        batch_size = read_json(folder / "config.json")["train"]["batch_size"]
        found = [
            (line["step"] * batch_size, line[metric])
            for line in read_metrics(folder)
            if metric in line
        ]
        if not found:
            raise ValueError(
                f"{folder} is of an older version, which measured no PSNR over the valid region: "
                "delete it and run again"
            )
        points += found
    frame = pd.DataFrame(points, columns=["patches", "psnr"])
    return frame.groupby("patches", as_index=False)["psnr"].mean()


def plot(
    title: str, note: str, panels: Sequence[Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]]
) -> Figure:
    """The paper's curves dashed, ours solid, one colour for a network.

    Args:
      title: the title of the figure.
      note: a line under the title.
      panels: side by side, each with (the paper's curve, ours) by the name of the network.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(7.0, 4.4 * len(panels)), 5.0), layout="constrained")
    figure.suptitle(f"{title}\n{note}", x=0.01, ha="left", size="medium", linespacing=1.5)
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for ax, curves in zip(axes, panels, strict=True):
        for index, (network, (paper, ours)) in enumerate(curves.items()):
            trained = ours[ours["patches"] > 0]  # bicubic, before, is not on a logarithmic axis
            colour = f"C{index}"
            ax.plot(trained["patches"], trained["psnr"], color=colour, lw=1.8, label=network)
            ax.plot(paper["patches"], paper["psnr"], color=colour, lw=1.3, ls=(0, (3, 1)))
        ax.set_xscale("log")
        ax.set_xlabel("patches seen in training")
        ax.grid(color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=2,
            frameon=False,
            handlelength=1.5,
            columnspacing=1.5,
        )
    axes[0].set_ylabel("PSNR over the valid region of Set5, x3 (dB)")
    return figure


def reached(curve: pd.DataFrame, level: float) -> int | None:
    """Patches at the first measurement of at least `level` dB, or None."""
    return next(iter(curve["patches"][curve["psnr"] >= level].tolist()), None)


def table_of_patches(ours: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Patches that the paper and we need for T91_LEVEL, and for the end of the paper's curve.

    Args:
      ours: our curves by the name of the run.
    """
    import pandas as pd

    networks = {network: run for panel in PANELS.values() for network, run in panel.items()}
    rows = []
    for network, run in networks.items():
        paper = published_curve(network)
        for level in (T91_LEVEL, paper["psnr"].iloc[-1]):
            theirs, own = reached(paper, level), reached(ours[run.name], level)
            rows.append(
                {
                    "network": LABELS.get(network, network),
                    "PSNR, dB": f"{level:.2f}",
                    "patches, paper": f"{theirs:,}" if theirs else "–",
                    "patches, ours": f"{own:,}" if own else "–",
                    "ratio": f"{float(f'{theirs / own:.2g}'):,.0f}" if theirs and own else "–",
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    args = study.options(__doc__)
    results = study.train_runs(EXPERIMENTS, args)
    try:
        ours = {name: our_curve([each.folder for each in seeds]) for name, seeds in results.items()}
    except ValueError as error:
        sys.exit(f"error: {error}")
    mean = f", mean of {args.seeds} runs" if args.seeds > 1 else ""
    for number, (title, theirs, own) in FIGURES.items():
        panels = [
            {
                LABELS.get(network, network): (published_curve(network, panel), ours[run.name])
                for network, run in networks.items()
            }
            for panel, networks in PANELS.items()
            if panel.startswith(number)
        ]
        note = f"dashed: the paper, on {theirs}; solid: ours, on {own}{mean}"
        figure = plot(f"{title} (TPAMI, figure {number})", note, panels)
        figure.savefig(study.output(f"curves_figure_{number}", args, ".png"), dpi=150)
    study.write(table_of_patches(ours), "curves", f"{TITLE}\n{study.describe_cost(results)}", args)


if __name__ == "__main__":
    main()
