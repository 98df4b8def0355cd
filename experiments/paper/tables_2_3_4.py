"""Tables 2, 3 and 4 of the paper (TPAMI): Set5, Set14 and BSD200 at scales 2, 3 and 4.

    python -m experiments.paper.tables_2_3_4 WORKDIR --budget=short

The paper's network is 9-5-5, trained on ImageNet; ours are 9-1-5 and 9-5-5, trained on T91.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.paper import study
from srcnn_jax import paper

if TYPE_CHECKING:
    import pandas as pd

DATASETS = ("set5", "set14", "bsd200")
SCALES = (2, 3, 4)
NETWORKS = ("9-1-5", "9-5-5")
METRICS = {"psnr": 2, "ssim": 4, "msssim": 4, "ifc": 2, "nqm": 2, "wpsnr": 2}  # digits printed

EVALUATION = {"eval.datasets": ",".join(DATASETS), "eval.metrics": ",".join(METRICS)}
RUNS = {
    (sizes, scale): study.variant(study.network(sizes, words=f"x{scale}"), "all", EVALUATION)
    for scale in SCALES
    for sizes in NETWORKS
}


def table(results: Mapping[Any, Sequence[study.Result]]) -> pd.DataFrame:
    """A row for each test set, scale and metric: bicubic, SRCNN, and the paper's of both."""
    import pandas as pd

    rows = []
    for dataset in DATASETS:
        for scale in SCALES:
            for metric, digits in METRICS.items():
                bicubic_paper, srcnn_paper = (
                    getattr(score, metric)
                    for score in paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN[dataset, scale]
                )
                ours = {
                    sizes: [result.mean(dataset, metric) for result in results[sizes, scale]]
                    for sizes in NETWORKS
                }
                bicubic = results["9-1-5", scale][0].mean(dataset, metric, "bicubic")
                rows.append(
                    {
                        "set": dataset,
                        "scale": scale,
                        "metric": metric.upper(),
                        "bicubic, paper": f"{bicubic_paper:.{digits}f}",
                        "bicubic, ours": f"{bicubic:.{digits}f}",
                        "SRCNN 9-5-5, paper": f"{srcnn_paper:.{digits}f}",
                        **{
                            f"SRCNN {sizes}, ours": study.spread(values, digits)
                            for sizes, values in ours.items()
                        },
                        "9-5-5, difference": (
                            f"{statistics.mean(ours['9-5-5']) - srcnn_paper:+.{digits}f}"
                        ),
                    }
                )
    return pd.DataFrame(rows)


def main() -> None:
    choices = study.options(__doc__)
    results = study.train(RUNS, choices)
    title = f"Mean results (TPAMI, Tables 2, 3, 4). {study.cost(results)}"
    study.write(table(results), "tables_2_3_4", title, choices)


if __name__ == "__main__":
    main()
