"""Figure 11 of the paper (TPAMI): SRCNN against Deep Network Cascade (DNC), Set5 x3.

    python -m experiments.paper.figure_11 WORKDIR --budget=short

For this comparison the paper trains 9-5-5 on T91, and its small images are blurred by a Gaussian of
sigma 0.55 before pixels are left out, in place of MATLAB's antialiasing. So do we.

The line of DNC is of the paper's text. Our PSNR is measured as its tables measure it. The paper's
curve is PSNR over the valid region, which is about 0.05 dB higher.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.paper import curves, figures_1_10, study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PAPER = "9-5-5 T91 (blur sigma 0.55)"  # the curve of figure 11
BICUBIC, DNC = 30.29, 32.08  # dB, from the paper
BLUR = {"data.degradation.shrink": "gaussian", "data.degradation.sigma": 0.55}
EXPERIMENTS = {"9-5-5": study.variant(study.network("9-5-5"), "gaussian_0.55", BLUR)}


def table_of_dnc(
    paper: pd.DataFrame, ours: pd.DataFrame, results: Sequence[study.Result]
) -> pd.DataFrame:
    """PSNR of bicubic and of SRCNN, and the patches after which SRCNN passes DNC.

    Args:
      paper, ours: the curves, columns patches, psnr.
      results: our runs, one for each seed.
    """
    import pandas as pd

    bicubic = statistics.mean(run.mean("set5", method="bicubic") for run in results)
    return pd.DataFrame(
        [
            ["bicubic, dB", f"{BICUBIC:.2f}", f"{bicubic:.2f}"],
            ["DNC, dB", f"{DNC:.2f}", "–"],
            [
                "SRCNN 9-5-5 at the end, dB",
                f"{paper['psnr'].iloc[-1]:.2f}",
                study.spread([run.mean("set5") for run in results]),
            ],
            [
                "patches until SRCNN passes DNC",
                figures_1_10.crossing(paper, DNC),
                figures_1_10.crossing(ours, DNC),
            ],
            [
                "patches at the end",
                f"{paper['patches'].iloc[-1]:,}",
                f"{results[0].patches:,}",
            ],
        ],
        columns=["", "paper", "ours"],
    )


def plot(paper: pd.DataFrame, ours: pd.DataFrame, note: str) -> Figure:
    """The paper's curve and ours over a logarithmic axis of patches, and the line of DNC."""
    lines = {"bicubic, paper": BICUBIC, "DNC": DNC}
    title = f"SRCNN and DNC, Set5 x3, Gaussian blur of sigma 0.55 (TPAMI, figure 11)\n{note}"
    ours_by_name = {"SRCNN 9-5-5 on T91, ours": ours}
    return figures_1_10.plot(title, lines, ours_by_name, ("SRCNN 9-5-5 on T91, the paper's", paper))


def main() -> None:
    args = study.options(__doc__)
    (runs,) = study.train_runs(EXPERIMENTS, args).values()
    try:
        ours = curves.our_curve([run.folder for run in runs], "psnr")
    except ValueError as error:
        sys.exit(f"error: {error}")
    paper = curves.published_curve(PAPER, "11")
    figure = plot(paper, ours, figures_1_10.describe_runs(args))
    figure.savefig(study.output("figure_11", args, ".png"), dpi=150)
    title = "SRCNN 9-5-5 against DNC, Set5 x3, blur of sigma 0.55 (TPAMI, figure 11). "
    title += study.describe_cost({"9-5-5": runs})
    study.write(table_of_dnc(paper, ours, runs), "figure_11", title, args)


if __name__ == "__main__":
    main()
