"""The report's tables: a summary of all runs, and the scores of each beside the paper's."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.report.read import FinishedRun
from srcnn_jax import paper

if TYPE_CHECKING:
    import pandas as pd

    from experiments.paper import study

METHODS = {"bicubic": "bicubic", "srcnn": "SRCNN"}


def labels(names: Iterable[str]) -> dict[str, str]:
    """Short names for paths: the last part, or the whole path where two would be the same."""
    short = {name: os.path.basename(os.path.abspath(name)) for name in names}
    count = Counter(short.values())
    return {name: text if count[text] == 1 else name for name, text in short.items()}


def format_score(score: float | None, metric: str) -> str:
    """A score of `eval.json`, where null is infinity, or of the paper's rows."""
    return "∞" if score is None or math.isinf(score) else paper.format_score(score, metric)


def format_difference(difference: float | None, metric: str) -> str:
    """As `paper.format_difference`, but no zero has a minus: it would look like a loss."""
    return "–" if difference is None else f"{difference:+z.{paper.DIGITS[metric]}f}"


def scores_table(dataset: str, result: study.Result) -> pd.DataFrame:
    """A row for each image and one for the mean, beside the paper's where it has them."""
    import pandas as pd

    evaluation = result.evaluation(dataset)
    published = (dataset, result.scale) in paper.SRCNN_915_T91
    lines = []
    for rows in paper.by_image(paper.beside_915(evaluation)):
        line = {"image": rows[0].image}
        for row in rows:
            name = row.metric.upper()
            line[f"{METHODS['bicubic']} {name}"] = format_score(row.bicubic, row.metric)
            line[f"{METHODS['srcnn']} {name}"] = format_score(row.ours, row.metric)
            if row.metric == "psnr" and published:
                line["paper 9-1-5 T91"] = paper.format_score(row.paper, row.metric)
                line["difference"] = format_difference(row.difference, row.metric)
        lines.append(line)
    if rows := paper.beside_955(evaluation):
        theirs, less = {"image": "paper 9-5-5 ImageNet"}, {"image": "difference"}
        for row in rows:
            bicubic, srcnn = (f"{title} {row.metric.upper()}" for title in METHODS.values())
            theirs[bicubic] = paper.format_score(row.paper_bicubic, row.metric)
            theirs[srcnn] = paper.format_score(row.paper, row.metric)
            less[bicubic] = format_difference(row.bicubic_difference, row.metric)
            less[srcnn] = format_difference(row.difference, row.metric)
        lines += [theirs, less]
    return pd.DataFrame(lines).fillna("")


def summary(runs: Sequence[FinishedRun], names: Mapping[str, str]) -> pd.DataFrame:
    """A row for each run: what was trained, and its scores. `names` are short, of `labels`."""
    import pandas as pd

    rows = []
    for run in runs:
        row = {
            "run": names[run.folder],
            "network": run.kernel_sizes,
            "filters": run.features,
            "scale": str(run.scale),
        }
        for dataset, scores in run.result.scores.items():
            for metric in ("psnr", "ssim"):
                if metric in scores["mean"]["srcnn"]:
                    row[f"{names[dataset]} {metric.upper()}"] = format_score(
                        scores["mean"]["srcnn"][metric], metric
                    )
        row |= {
            "weights": f"{run.result.weights:,}",
            "padding": run.network.padding,
            "trained on": next(iter(run.data)),
            "steps": f"{run.steps:,}",
            "patches": f"{run.result.patches:,}",
            "seconds": f"{run.result.seconds:,.0f}",
            "seed": str(run.seed),
        }
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")
