"""The report's tables: a summary beside bicubic and the paper, and the scores of each image."""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.paper import study
from experiments.report.groups import Comparison, Group
from experiments.report.read import Metric
from srcnn_jax import paper
from srcnn_jax.degradation import RELEASED

if TYPE_CHECKING:
    import pandas as pd

METHODS = {"bicubic": "bicubic", "srcnn": "SRCNN"}
SHOWN_METRICS = ("psnr", "ssim")  # of the summary


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the summary; `kind` is 'other' (bicubic, the paper), 'best' or 'ours'."""

    kind: str
    label: str
    cells: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Summary:
    """A table of what can be compared.

    Attributes:
      columns: the names of the cells.
      rows: bicubic, the paper's networks, and ours, the best first.
      same: (name, value) of what is the same for all of ours.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    same: Sequence[tuple[str, str]]


def labels(names: Iterable[str]) -> dict[str, str]:
    """Short names for paths: the last part, or the whole path where two would be the same."""
    places = {name: os.path.abspath(name) for name in names}
    count = Counter(map(os.path.basename, set(places.values())))
    short = {name: os.path.basename(place) for name, place in places.items()}
    return {name: text if count[text] == 1 else name for name, text in short.items()}


def format_score(score: float | None, metric: str) -> str:
    """A score of `eval.json`, where null is infinity, or of the paper's rows."""
    return "∞" if score is None or math.isinf(score) else paper.format_score(score, metric)


def format_difference(difference: float | None, metric: str) -> str:
    """As `paper.format_difference`, but no zero has a minus: it would look like a loss."""
    return "–" if difference is None else f"{difference:+z.{paper.DIGITS[metric]}f}"


def format_spread(values: Sequence[float], metric: str) -> str:
    """'32.70', or '32.70 ± 0.01' with the standard deviation of several seeds."""
    return "∞" if any(map(math.isinf, values)) else study.spread(values, paper.DIGITS[metric])


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


def published_scores(dataset: str, scale: int, metric: str) -> dict[str, float | None]:
    """The paper's means by the label of its networks; None where it has no such score."""
    t91 = paper.SRCNN_915_T91_MEAN.get((dataset, scale))
    imagenet = paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN.get((dataset, scale))
    return {
        "paper 9-1-5 T91": getattr(t91, metric, None),
        "paper 9-5-5 ImageNet": getattr(imagenet[1], metric, None) if imagenet else None,
    }


def _scored(comparison: Comparison) -> list[tuple[str, str, Metric]]:
    """(data set, its fingerprint, metric) of the columns: that which orders, then the test sets."""
    first = comparison.best.first
    found = {
        (comparison.dataset, first.fingerprint(comparison.dataset), comparison.metric.name): (
            comparison.metric
        )
    }
    for group in comparison.groups:
        for dataset, scores in group.first.result.scores.items():
            for metric in SHOWN_METRICS:
                if metric in scores["mean"]["srcnn"]:
                    key = (dataset, group.first.fingerprint(dataset), metric)
                    found.setdefault(key, Metric(dataset, metric))
    order = list(dict.fromkeys((dataset, mark) for dataset, mark, _ in found))
    columns = [(dataset, mark, metric) for (dataset, mark, _), metric in found.items()]
    return sorted(columns, key=lambda column: order.index(column[:2]))


def _has(group: Group, dataset: str, mark: str, metric: Metric) -> bool:
    return metric.measured(group.first) and group.first.fingerprint(dataset) == mark


def summarise(comparison: Comparison, names: Mapping[str, str]) -> Summary:
    """The means of bicubic, of the paper's networks and of ours, and what ours cost.

    A test set of the same name but other images has a column of its own.

    Args:
      comparison: what is compared.
      names: short names, of `labels`.
    """
    groups, scale = comparison.groups, comparison.scale
    scored = _scored(comparison)
    twice = Counter((dataset, metric.name) for dataset, _, metric in scored)
    columns, bicubic = [], []
    theirs: dict[str, list[str]] = {}
    for dataset, mark, metric in scored:
        name = f"{names[dataset]} {metric.name.upper()}"
        columns.append(f"{name} ({mark[:6]})" if twice[dataset, metric.name] > 1 else name)
        group = next(group for group in groups if _has(group, dataset, mark, metric))
        bicubic.append(format_score(metric.of(group.first, "bicubic"), metric.name))
        for label, score in published_scores(dataset, scale, metric.name).items():
            theirs.setdefault(label, []).append(paper.format_score(score, metric.name))
    facts = [_facts(group) for group in groups]
    differing = [name for name in facts[0] if len({each[name] for each in facts}) > 1]
    rest = [""] * len(differing)
    rows = [Row("other", "bicubic", bicubic + rest)]
    for label, scores in theirs.items():
        if any(score != "–" for score in scores):
            rows.append(Row("other", label, scores + rest))
    for group, fact in zip(groups, facts, strict=True):
        cells = [
            _mean(group.values(metric), metric) if _has(group, dataset, mark, metric) else "–"
            for dataset, mark, metric in scored
        ]
        kind = "best" if group is comparison.best and len(groups) > 1 else "ours"
        rows.append(Row(kind, names[group.path], cells + [fact[name] for name in differing]))
    same = [(name, text) for name, text in facts[0].items() if name not in differing]
    same = [each for each in same if each not in (("seeds", "1"), ("small images", str(RELEASED)))]
    return Summary(columns + differing, rows, same)


def _mean(values: Sequence[float], metric: Metric) -> str:
    """As `format_spread` for PSNR; of other metrics the mean alone, which is narrower."""
    if metric.name == "psnr":
        return format_spread(values, metric.name)
    return format_score(statistics.mean(values), metric.name)


def _facts(group: Group) -> dict[str, str]:
    """What was trained and what it cost, by name."""
    run = group.first
    return {
        "network": f"{run.kernel_sizes}, {run.features}",
        "weights": f"{run.result.weights:,}",
        "padding": run.network.padding,
        "small images": str(run.network.degradation),
        "trained on": next(iter(run.data)),
        "steps": f"{run.config['train']['steps']:,}",
        "patches": f"{run.result.patches:,}",
        "seeds": str(len(group.runs)),
        "seconds": f"{statistics.mean(run.result.seconds for run in group.runs):,.0f}",
    }


def describe(comparison: Comparison, names: Mapping[str, str]) -> str:
    """The result in two or three sentences: the best, and bicubic and the paper beside it."""
    best, metric, count = comparison.best, comparison.metric, len(comparison.groups)
    unit = " dB" if metric.name == "psnr" else ""

    def seeds() -> str:
        return f", the mean of {len(best.runs)} seeds" if len(best.runs) > 1 else ""

    score = format_spread(best.values(metric), metric.name)
    where = f"{names[comparison.dataset]} x{comparison.scale}"
    name = names[best.path]
    if count > 1:
        text = (
            f"{name} is the best of {count} by {metric.name.upper()} on {where}: "
            f"{score}{unit}{seeds()}."
        )
    else:
        text = f"{name} has {score}{unit} {metric.name.upper()} on {where}{seeds()}."
    text += " " + _beside(comparison, metric)
    if not any(published_scores(comparison.dataset, comparison.scale, metric.name).values()):
        for dataset in best.first.result.scores:
            if any(published_scores(dataset, comparison.scale, "psnr").values()):
                other = Metric(dataset)
                score = format_spread(best.values(other), "psnr")
                text += f" On {names[dataset]} it has {score} dB. {_beside(comparison, other)}"
                break
    return text


def _beside(comparison: Comparison, metric: Metric) -> str:
    """'Bicubic has 30.39 dB, the paper's 9-1-5 (T91) 32.39 dB ...'."""
    unit = " dB" if metric.name == "psnr" else ""
    dataset = metric.dataset or comparison.validation
    bicubic = format_score(metric.of(comparison.best.first, "bicubic"), metric.name)
    words = [f"Bicubic has {bicubic}{unit}"]
    for label, score in published_scores(dataset, comparison.scale, metric.name).items():
        if score is not None:
            _, network, data = label.split()
            words.append(
                f"the paper's {network} of {data} {format_score(score, metric.name)}{unit}"
            )
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) + "."
