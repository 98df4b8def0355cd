"""Tables 1 and 2 of the ECCV paper: every image of Set5 (x2, x3, x4) and Set14 (x3), 9-1-5 on T91.

python -m experiments.paper.eccv_tables WORKDIR --budget=short
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.paper import study, tables_2_3_4
from srcnn_jax import paper

if TYPE_CHECKING:
    import pandas as pd

RUNS = {scale: tables_2_3_4.RUNS["9-1-5", scale] for scale in (2, 3, 4)}


def table(results: Mapping[Any, Sequence[study.Result]]) -> pd.DataFrame:
    """A row for each image that the paper lists, and one for each mean."""
    import pandas as pd

    rows = []
    for (dataset, scale), published in paper.SRCNN_915_T91.items():
        seeds = [result.scores[dataset] for result in results[scale]]
        images = [
            {row["name"].removesuffix("_GT"): row for row in seed["images"]} for seed in seeds
        ]
        mean = paper.SRCNN_915_T91_MEAN[dataset, scale].psnr
        for name, psnr in {**published, "mean": mean}.items():
            own = [
                seed["mean"] if name == "mean" else by_name[name]
                for seed, by_name in zip(seeds, images, strict=True)
            ]
            ours = [scores["srcnn"]["psnr"] for scores in own]
            rows.append(
                {
                    "set": dataset,
                    "scale": scale,
                    "image": name,
                    "bicubic": f"{own[0]['bicubic']['psnr']:.2f}",
                    "SRCNN, paper": f"{psnr:.2f}",
                    "SRCNN, ours": study.spread(ours),
                    "difference": f"{statistics.mean(ours) - psnr:+.2f}",
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    choices = study.options(__doc__)
    results = study.train(RUNS, choices)
    title = f"PSNR of every image in dB (ECCV, Tables 1 and 2). {study.cost(results)}"
    study.write(table(results), "eccv_tables", title, choices)


if __name__ == "__main__":
    main()
