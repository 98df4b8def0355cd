"""Training curves as points of an SVG drawing: PSNR over patches, on a logarithmic axis."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.paper import curves
from experiments.report.read import FinishedRun

if TYPE_CHECKING:
    import pandas as pd

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 630, 10, 340  # of the area that holds the curves
COLOURS = 7  # of the curves, in page.css


@dataclasses.dataclass(frozen=True)
class Curve:
    """PSNR in dB over patches; `kind` says how it is drawn: 'ours', 'valid' or 'paper'."""

    label: str
    kind: str
    points: Sequence[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Chart:
    """What the page draws, in the units of a drawing of WIDTH x HEIGHT.

    Attributes:
      title: the test set and its scale.
      lines: (label, kind, number of its colour, its points) of each curve.
      x_ticks, y_ticks: (position, text).
      bicubic: the height of the line of bicubic interpolation.
    """

    title: str
    lines: Sequence[tuple[str, str, int, Sequence[tuple[float, float]]]]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    bicubic: float


def draw(title: str, curves: Sequence[Curve], bicubic: float) -> Chart:
    """Puts curves on the axes; points more than 1 dB below bicubic are cut off.

    Args:
      title: the title of the chart.
      curves: their points have positive patches; there is at least one point in all.
      bicubic: PSNR of bicubic interpolation, drawn as a line.
    """
    from matplotlib.ticker import MaxNLocator

    points = list(itertools.chain.from_iterable(curve.points for curve in curves))
    first, last = min(x for x, _ in points) / 1.2, max(x for x, _ in points) * 1.2
    lowest = max(bicubic - 1.0, min(bicubic, *(y for _, y in points)))
    values = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(
        lowest, max(bicubic + 0.1, *(y for _, y in points))
    )
    low, high = values[0], values[-1]

    def across(patches: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * math.log(patches / first) / math.log(last / first), 2)

    def up(psnr: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (psnr - low) / (high - low), 2)

    lines = [
        (
            curve.label,
            curve.kind,
            index % COLOURS,
            [(across(x), up(y)) for x, y in curve.points if y >= low],
        )
        for index, curve in enumerate(curves)
    ]
    digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
    return Chart(
        title,
        lines,
        [(across(value), text) for value, text in _powers(first, last)],
        [(up(value), f"{value:.{digits}f}") for value in values],
        up(bicubic),
    )


def _powers(first: float, last: float) -> list[tuple[float, str]]:
    """Ticks between two numbers: powers of ten; if these are few, also 2 and 5 times a power."""
    exponents = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    few = math.log10(last / first) < 2
    return [
        (factor * 10.0**exponent, _power(factor, exponent))
        for exponent in exponents
        for factor in ((1, 2, 5) if few else (1,))
        if first <= factor * 10.0**exponent <= last
    ]


def _power(factor: int, exponent: int) -> str:
    text = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return text if factor == 1 else f"{factor}·{text}"


def published_curves(run: FinishedRun) -> dict[str, pd.DataFrame]:
    """The paper's training curves of a network's shape, by label; the longest if it repeats one.

    The paper's networks have 64 and 32 filters, and 16 in added layers unless the label says
    otherwise. They are tested on Set5 at x3, and trained on ImageNet unless the label says T91.
    """
    if run.network.architecture.features[:2] != (64, 32):
        return {}
    found: dict[str, pd.DataFrame] = {}
    for (_, network), curve in curves.published().groupby(["figure", "network"]):
        shape = re.search(r"\d+(-\d+)+", network)
        if shape and shape.group() == run.kernel_sizes:
            rest = network.replace(run.kernel_sizes, "").replace("SRCNN", "").strip()
            where = rest if "T91" in rest or "ImageNet" in rest else f"ImageNet {rest}"
            label = f"paper {run.kernel_sizes} {where.strip()}"
            if label not in found or found[label].patches.max() < curve.patches.max():
                found[label] = curve.sort_values("patches")
    return found


def draw_all(runs: Sequence[FinishedRun], names: Mapping[str, str]) -> list[Chart]:
    """One chart for each validation set and scale."""
    groups: dict[tuple[str, int], list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault((run.validation, run.scale), []).append(run)
    drawn = []
    for (dataset, scale), members in groups.items():
        lines = []
        for run in members:
            for kind, points in (("ours", run.psnr), ("valid", run.psnr_valid)):
                label = names[run.folder] + (", valid region" if kind == "valid" else "")
                if points := [point for point in points if point[0] > 0]:
                    lines.append(Curve(label, kind, points))
        if (dataset, scale) == ("set5", 3):
            theirs = {key: each for run in members for key, each in published_curves(run).items()}
            for label, frame in theirs.items():
                points = list(zip(frame.patches, frame.psnr, strict=True))
                lines.append(Curve(label, "paper", points))
        bicubic = members[0].bicubic
        if lines and bicubic is not None:  # not infinite
            drawn.append(draw(f"{names[dataset]} x{scale}", lines, bicubic))
    return drawn
