"""Tables 1 and 2 of the ECCV paper: every image of Set5 (x2, x3, x4) and Set14 (x3), 9-1-5 on T91.

python -m experiments.paper.eccv_tables WORKDIR --budget=short
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.paper import study, tables_2_3_4
from srcnn_jax import paper

if TYPE_CHECKING:
    import pandas as pd

EXPERIMENTS = {scale: tables_2_3_4.EXPERIMENTS["9-1-5", scale] for scale in (2, 3, 4)}


def table_of_images(results: Mapping[Any, Sequence[study.Result]]) -> pd.DataFrame:
    """A row for each image that the paper lists, and one for each mean.

    A test set that the runs do not have, as smoke runs have Set5 alone, is left out.
    """
    import pandas as pd

    rows = []
    for (dataset, scale), published in paper.SRCNN_915_T91.items():
        if dataset not in results[scale][0].scores:
            continue
        seeds = [
            {row.image: row for row in paper.beside_915(result.evaluation(dataset)) if row.paper}
            for result in results[scale]
        ]
        for image in [*published, "mean"]:
            row, ours = seeds[0][image], [seed[image].ours for seed in seeds]
            rows.append(
                {
                    "set": dataset,
                    "scale": scale,
                    "image": image,
                    "bicubic": paper.format_score(row.bicubic, row.metric),
                    "SRCNN, paper": paper.format_score(row.paper, row.metric),
                    "SRCNN, ours": study.spread(ours, paper.DIGITS[row.metric]),
                    "difference": study.mean_difference([seed[image] for seed in seeds]),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    args = study.options(__doc__)
    results = study.train_runs(EXPERIMENTS, args)
    title = f"PSNR of every image in dB (ECCV, Tables 1 and 2). {study.describe_cost(results)}"
    study.write(table_of_images(results), "eccv_tables", title, args)


if __name__ == "__main__":
    main()
