"""Tables 2, 3 and 4 of the paper (TPAMI): Set5, Set14 and BSD200 at scales 2, 3 and 4.

    python -m experiments.paper.tables_2_3_4 WORKDIR --budget=short

The paper's network is 9-5-5, trained on ImageNet; ours are 9-1-5 and 9-5-5, trained on T91.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.paper import study
from srcnn_jax import paper

if TYPE_CHECKING:
    import pandas as pd

DATASETS = ("set5", "set14", "bsd200")
SCALES = (2, 3, 4)
NETWORKS = ("9-1-5", "9-5-5")

EVALUATION = {"eval.datasets": ",".join(DATASETS), "eval.metrics": ",".join(paper.DIGITS)}
EXPERIMENTS = {
    (sizes, scale): study.variant(study.network(sizes, words=f"x{scale}"), "all", EVALUATION)
    for scale in SCALES
    for sizes in NETWORKS
}


def table_of_means(results: Mapping[Any, Sequence[study.Result]]) -> pd.DataFrame:
    """A row for each test set, scale and metric: bicubic, SRCNN, and the paper's of both.

    A test set that the runs do not have, as smoke runs have Set5 alone, is left out.
    """
    import pandas as pd

    scored = next(iter(results.values()))[0].scores
    rows = []
    for dataset in (name for name in DATASETS if name in scored):
        for scale in SCALES:
            means = {
                sizes: [
                    {row.metric: row for row in paper.beside_955(result.evaluation(dataset))}
                    for result in results[sizes, scale]
                ]
                for sizes in NETWORKS
            }
            for metric, digits in paper.DIGITS.items():
                row = means["9-1-5"][0][metric]
                rows.append(
                    {
                        "set": dataset,
                        "scale": scale,
                        "metric": metric.upper(),
                        "bicubic, paper": paper.format_score(row.paper_bicubic, metric),
                        "bicubic, ours": paper.format_score(row.bicubic, metric),
                        "SRCNN 9-5-5, paper": paper.format_score(row.paper, metric),
                        **{
                            f"SRCNN {sizes}, ours": study.spread(
                                [seed[metric].ours for seed in seeds], digits
                            )
                            for sizes, seeds in means.items()
                        },
                        "9-5-5, difference": study.mean_difference(
                            [seed[metric] for seed in means["9-5-5"]]
                        ),
                    }
                )
    return pd.DataFrame(rows)


def main() -> None:
    args = study.options(__doc__)
    results = study.train_runs(EXPERIMENTS, args)
    title = f"Mean results (TPAMI, Tables 2, 3, 4). {study.describe_cost(results)}"
    study.write(table_of_means(results), "tables_2_3_4", title, args)


if __name__ == "__main__":
    main()
