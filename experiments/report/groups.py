"""Runs that differ in the seed alone, as one; and which of these can be compared."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.paper import study
from experiments.report.read import FinishedRun, Metric


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one config, side by side in one folder, that differ in the seed alone.

    Attributes:
      path: what names them: their folders' path without the seed; of a single run, its folder's,
        without the seed if it is a sweep's.
      runs: at least one, by seed.
    """

    path: str
    runs: Sequence[FinishedRun]

    @property
    def first(self) -> FinishedRun:
        """The run of the lowest seed, whose pictures and filters are shown."""
        return self.runs[0]

    @property
    def several(self) -> bool:
        """Whether it has more than one run."""
        return len(self.runs) > 1

    def values(self, metric: Metric) -> list[float]:
        """A metric of each run."""
        return [metric.of(run) for run in self.runs]

    def result(self) -> study.Result:
        """The result of the first run, with the mean scores over the seeds."""
        scores = _mean([run.result.scores for run in self.runs])
        return dataclasses.replace(self.first.result, scores=scores)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Groups of one scale and one validation set, the best first.

    Attributes:
      groups: at least one.
      metric: what orders them.
    """

    groups: Sequence[Group]
    metric: Metric

    @property
    def best(self) -> Group:
        return self.groups[0]

    @property
    def scale(self) -> int:
        return self.best.first.scale

    @property
    def validation(self) -> str:
        return self.best.first.validation

    @property
    def dataset(self) -> str:
        """The data set of the metric."""
        return self.metric.dataset or self.validation


def group_runs(runs: Sequence[FinishedRun]) -> list[Group]:
    """Puts runs together that differ in the seed alone: in config, and in the folder's name.

    A folder's name may end in the seed, as 'f2=1,seed=0', 'x3_9-1-5_64-32_0', 'x3_s0' or '0'.
    """
    found: dict[tuple[str, ...], list[FinishedRun]] = {}
    for run in runs:
        folder = pathlib.Path(run.folder).absolute()
        name = re.sub(rf"(^|[-,_ ]+)(seed=?|s)?{run.seed}$", "", folder.name)
        path = str(folder.parent / name if name else folder.parent)
        config = {key: value for key, value in run.config.items() if key not in ("seed", "name")}
        data = {name: fingerprint for name, (_, fingerprint) in run.data.items()}
        key = (path, json.dumps(config, sort_keys=True), json.dumps(data, sort_keys=True))
        found.setdefault(key, []).append(run)
    paths = [path for path, *_ in found]
    groups = []
    for (path, *_), members in found.items():
        own = str(pathlib.Path(members[0].folder).absolute())
        if paths.count(path) > 1:  # of several configs
            path = own
        elif len(members) == 1:
            path = own.removesuffix(f",seed={members[0].seed}")
        groups.append(Group(path, sorted(members, key=lambda run: run.seed)))
    return groups


def compare(groups: Sequence[Group], metric: Metric | None) -> list[Comparison]:
    """What can be compared: groups of one scale, validation set and degradation.

    Args:
      groups: any.
      metric: what orders them; if None, or if a run has it not, PSNR on the validation set.
    """
    found: dict[tuple[int, str, str, str], list[Group]] = {}
    for group in groups:
        run = group.first
        made = str(run.network.degradation)
        key = (run.scale, run.validation, run.fingerprint(run.validation), made)
        found.setdefault(key, []).append(group)
    comparisons = []
    for members in found.values():
        runs = [run for group in members for run in group.runs]
        own = metric if metric and all(map(metric.measured, runs)) else Metric()
        ordered = sorted(members, key=lambda group: -statistics.mean(group.values(own)))
        comparisons.append(Comparison(ordered, own))
    return comparisons


def mean_curve(
    curves: Sequence[Sequence[tuple[int, float]]],
) -> list[tuple[int, float, float, float]]:
    """(patches, mean, lowest, highest) over curves (patches, dB), where all have a point."""
    by_patches = [dict(curve) for curve in curves]
    common = sorted(set.intersection(*(set(each) for each in by_patches)))
    values = {patches: [each[patches] for each in by_patches] for patches in common}
    return [
        (patches, statistics.mean(each), min(each), max(each)) for patches, each in values.items()
    ]


def _mean(trees: Sequence[Any]) -> Any:
    """The mean over scores of the same shape, as `eval.json` has them, where null is infinity."""
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: _mean([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list):
        return [_mean(each) for each in zip(*trees, strict=True)]
    if isinstance(first, str):
        return first
    infinite = any(tree is None or math.isinf(tree) for tree in trees)
    return None if infinite else statistics.mean(trees)
