"""Training curves as points of an SVG drawing: PSNR over patches, on a logarithmic axis."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.paper import curves
from experiments.report import tables
from experiments.report.groups import Comparison, mean_curve
from experiments.report.read import FinishedRun

if TYPE_CHECKING:
    import pandas as pd

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 630, 10, 340  # of the area that holds the curves
COLOURS = 7  # of the curves, in page.css; each comes in as many dashes
DASHES = 4
FEW = 4  # curves that are shown at first; a choice shows the others
DOTS = 30  # points of a curve that are marked, at most

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Curve:
    """PSNR in dB over patches.

    Attributes:
      label: what the legend says.
      kind: 'ours' or 'paper'.
      shown: whether it is shown at first.
      points: (patches, mean, lowest, highest), the spread over seeds.
    """

    label: str
    kind: str
    shown: bool
    points: Sequence[tuple[float, float, float, float]]


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve in the units of the drawing; `band` is the outline of the spread over seeds."""

    label: str
    kind: str
    shown: bool
    style: str
    points: Sequence[Point]
    band: Sequence[Point]


@dataclasses.dataclass(frozen=True)
class Chart:
    """What the page draws, in the units of a drawing of WIDTH x HEIGHT.

    Attributes:
      title: what is measured.
      lines: the curves.
      x_ticks, y_ticks: (position, text).
      levels: (height, text) of lines across: bicubic interpolation, and the paper's results.
    """

    title: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    levels: Sequence[tuple[float, str]]


def draw(title: str, curves: Sequence[Curve], levels: Mapping[str, float]) -> Chart:
    """Puts curves on the axes; points more than 1 dB below the lowest level are cut off.

    Args:
      title: the title of the chart.
      curves: their points have positive patches; there is at least one point in all.
      levels: PSNR in dB of the lines across by their text, at least one.
    """
    from matplotlib.ticker import MaxNLocator

    points = list(itertools.chain.from_iterable(curve.points for curve in curves))
    first, last = min(point[0] for point in points) / 1.2, max(point[0] for point in points) * 1.2
    base = min(levels.values())
    lowest = max(base - 1.0, min(base, *(point[2] for point in points)))
    highest = max(base + 0.1, *levels.values(), *(point[3] for point in points))
    values = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(lowest, highest)
    low, high = values[0], values[-1]

    def across(patches: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * math.log(patches / first) / math.log(last / first), 2)

    def up(psnr: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (psnr - low) / (high - low), 2)

    lines = []
    for number, curve in enumerate(curves):
        seen = [point for point in curve.points if point[2] >= low]
        style = f"colour{number % COLOURS} dash{number // COLOURS % DASHES}"
        above = [(across(x), up(top)) for x, _, _, top in seen]
        below = [(across(x), up(bottom)) for x, _, bottom, _ in seen]
        band = above + below[::-1] if above != below else []
        line = [(across(x), up(y)) for x, y, _, _ in seen]
        lines.append(Line(curve.label, curve.kind, curve.shown, style, line, band))
    digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
    return Chart(
        title,
        lines,
        [(across(value), text) for value, text in _powers(first, last)],
        [(up(value), f"{value:.{digits}f}") for value in values],
        [(up(value), text) for text, value in levels.items()],
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


def draw_training(comparison: Comparison, names: Mapping[str, str]) -> Chart | None:
    """PSNR of the shaved images, as in the tables; None if no run has measured it.

    Args:
      comparison: the first few of its groups are shown at first.
      names: short names, of `tables.labels`.
    """
    run = comparison.best.first
    bicubic = run.result.validation["bicubic"]
    lines = _curves(comparison, names, "psnr")
    if not lines or bicubic is None:  # it is infinite
        return None
    levels = {"bicubic": bicubic}
    for label, psnr in tables.published_scores(run.validation, run.scale, "psnr").items():
        levels |= {} if psnr is None else {label: psnr}
    return draw(f"PSNR on {names[run.validation]} x{run.scale}, dB", lines, levels)


def draw_valid_region(comparison: Comparison, names: Mapping[str, str]) -> Chart | None:
    """PSNR over the valid region, as the paper's training curves have it, and these curves."""
    run = comparison.best.first
    bicubic = run.result.validation["bicubic"]
    lines = _curves(comparison, names, "psnr_valid")
    if not lines or bicubic is None:
        return None
    if (run.validation, run.scale) == ("set5", 3):
        theirs: dict[str, pd.DataFrame] = {}
        for group in comparison.groups:
            theirs = {**published_curves(group.first), **theirs}
        own = published_curves(run)
        for label, frame in theirs.items():
            points = [(x, y, y, y) for x, y in zip(frame.patches.tolist(), frame.psnr, strict=True)]
            lines.append(Curve(label, "paper", label in own, points))
    title = f"PSNR on {names[run.validation]} x{run.scale} over the valid region, dB"
    return draw(title, lines, {"bicubic": bicubic})


def _curves(comparison: Comparison, names: Mapping[str, str], measured: str) -> list[Curve]:
    found = []
    for rank, group in enumerate(comparison.groups):
        points = mean_curve([getattr(run, measured) for run in group.runs])
        if points := [point for point in points if point[0] > 0]:
            found.append(Curve(names[group.path], "ours", rank < FEW, points))
    return found
