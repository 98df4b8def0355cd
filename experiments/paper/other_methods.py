"""Tables 2, 3 and 4 of the paper (TPAMI) with all their methods, and our networks beside them.

    python -m experiments.paper.other_methods WORKDIR --budget=short

Our networks are those of `tables_2_3_4` in the same WORKDIR. The paper's numbers are in
`paper_tables.csv`. It has SC at x3 alone. `best` names the
methods with the highest score of a row.
"""

from __future__ import annotations

import csv
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.paper import study, tables_2_3_4
from srcnn_jax import paper

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("Bicubic", "SC", "NE+LLE", "KK", "ANR", "A+", "SRCNN")  # in the paper's order


def published() -> dict[tuple[str, int, str], dict[str, float]]:
    """The paper's scores by (test set, scale, method), by the names of `paper.DIGITS`."""
    path = pathlib.Path(__file__).with_name("paper_tables.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["set"], int(row["scale"]), row["method"]): {
                metric: float(row[metric]) for metric in paper.DIGITS
            }
            for row in csv.DictReader(file)
        }


def table_of_methods(results: Mapping[Any, Sequence[study.Result]]) -> pd.DataFrame:
    """A row for each test set, metric and scale, a column for each method, as the paper prints it.

    Args:
      results: by (sizes, scale), as `tables_2_3_4.EXPERIMENTS`.
    """
    import pandas as pd

    theirs, rows = published(), []
    for dataset in tables_2_3_4.DATASETS:
        for metric, digits in paper.DIGITS.items():
            for scale in tables_2_3_4.SCALES:
                scores = {
                    method: theirs.get((dataset, scale, method), {}).get(metric)
                    for method in METHODS
                }
                cells = {
                    method: paper.format_score(score, metric) for method, score in scores.items()
                }
                for sizes in tables_2_3_4.NETWORKS:
                    ours = [run.mean(dataset, metric) for run in results[sizes, scale]]
                    scores[f"ours {sizes}"] = statistics.mean(ours)
                    cells[f"ours {sizes}"] = study.spread(ours, digits)
                rows.append(
                    {"set": dataset, "metric": metric.upper(), "scale": scale}
                    | cells
                    | {"best": best(scores, digits)}
                )
    return pd.DataFrame(rows)


def best(scores: Mapping[str, float | None], digits: int) -> str:
    """The methods with the highest score, after rounding to the digits of the table."""
    rounded = {name: round(score, digits) for name, score in scores.items() if score is not None}
    return ", ".join(name for name, score in rounded.items() if score == max(rounded.values()))


def main() -> None:
    args = study.options(__doc__)
    results = study.train_runs(tables_2_3_4.EXPERIMENTS, args)
    title = f"All methods of TPAMI, Tables 2, 3, 4, and ours. {study.describe_cost(results)}"
    study.write(table_of_methods(results), "other_methods", title, args)


if __name__ == "__main__":
    main()
