"""The pictures of a sweep."""

import dataclasses
import itertools
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox, ScaledTranslation

BLUE, GREY, ORANGE = "#1f5fa8", "#8a8f98", "#c8500a"
DPI = 150
MOST_NAMES = 16  # points that have their names beside them; more have their numbers in the table
MOST_LINES = 6  # values of a field that has a line for each
REFERENCE = "9-1-5, 64-32"


@dataclasses.dataclass(frozen=True)
class Point:
    """A network in the plane of cost and metric.

    Attributes:
      number: its row in the table, from 1.
      name: as '9-1-5, 64-32'.
      multiply_adds: for one pixel.
      mean: of the metric over seeds.
      deviation: the standard deviation of the seeds; None if there is one.
      on_front: whether it is on the Pareto front.
      is_reference: whether it is the paper's network, 9-1-5 with 64 and 32 filters.
    """

    number: int
    name: str
    multiply_adds: int
    mean: float
    deviation: float | None
    on_front: bool
    is_reference: bool


@dataclasses.dataclass(frozen=True)
class Field:
    """A swept field.

    Attributes:
      name: of the field, or of those that change together: 'n1, n2'.
      values: at each point; all are numbers, or else of any type.
      texts: the values as people read them: '32, 16'.
    """

    name: str
    values: Sequence[Any]
    texts: Sequence[str]

    @property
    def levels(self) -> dict[Any, str]:
        """The different values with their texts: numbers by size, others as they come."""
        different = dict(zip(self.values, self.texts, strict=True))
        return dict(sorted(different.items())) if self.is_number else different

    @property
    def is_number(self) -> bool:
        return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.values)

    @property
    def positions(self) -> list[float]:
        """Where the points are on an axis: at their numbers, or at the index of their level."""
        return list(self.values if self.is_number else map(list(self.levels).index, self.values))


def plot_cost(
    points: Sequence[Point], reference_cost: int, measure: str, path: pathlib.Path
) -> None:
    """Plots the metric over the multiply-adds of a pixel; every point has its name or number.

    Args:
      points: the networks, at least one.
      reference_cost: multiply-adds of the paper's network, for a line if no point is that network.
      measure: the metric, its data set and its unit.
      path: file to write.
    """
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for point in points:
        axes.errorbar(
            point.multiply_adds,
            point.mean,
            point.deviation,
            fmt="*" if point.is_reference else "o",
            color=_colour(point),
            markersize=14 if point.is_reference else 6,
            capsize=3,
            elinewidth=1,
            zorder=4 if point.is_reference else 3,
        )
    front = sorted((p.multiply_adds, p.mean) for p in points if p.on_front)
    axes.step(*zip(*front, strict=True), where="post", color=BLUE, label="Pareto front")
    costs = [p.multiply_adds for p in points]
    if any(p.is_reference for p in points):
        axes.plot([], [], "*", color=ORANGE, markersize=12, label=f"{REFERENCE}, the paper's")
    else:
        costs.append(reference_cost)
        axes.axvline(reference_cost, color=ORANGE, linestyle=":", label=f"cost of {REFERENCE}")
    if any(p.deviation is not None for p in points):
        axes.errorbar([], [], [], fmt="none", ecolor=GREY, capsize=3, label="± deviation of seeds")
    if len(points) > MOST_NAMES:
        axes.plot([], [], " ", label="numbers: rows of the table")
    _scale(axes, "x", costs, limit=3)
    axes.margins(0.1)
    axes.set_xlabel("multiply-adds per pixel")
    axes.set_ylabel(measure)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, handlelength=1.5)
    texts = [p.name if len(points) <= MOST_NAMES else str(p.number) for p in points]
    where = [(float(p.multiply_adds), p.mean) for p in points]
    bars = [
        (
            (p.multiply_adds, p.mean - (p.deviation or 0)),
            (p.multiply_adds, p.mean + (p.deviation or 0)),
        )
        for p in points
    ]
    steps = [(one, (other[0], one[1])) for one, other in itertools.pairwise(front)]
    _label(axes, where, texts, [_colour(p) for p in points], [*bars, *steps])
    _save(figure, path)


def plot_importance(shares: Mapping[str, float], measure: str, path: pathlib.Path) -> None:
    """Plots the share of each field, the largest at the top."""
    names = sorted(shares, key=lambda name: shares[name])
    figure, axes = plt.subplots(figsize=(6.5, 1.2 + 0.4 * len(names)), layout="constrained")
    bars = axes.barh(names, [shares[name] for name in names], color=BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_xlim(0, 1.1)
    axes.set_xlabel(f"share in the variance of {measure.removesuffix(', dB')} (fANOVA)")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def plot_fields(
    fields: Sequence[Field],
    means: Sequence[float],
    deviations: Sequence[float | None],
    measure: str,
    others: Sequence[str],
    path: pathlib.Path,
) -> None:
    """Plots the metric over one swept field, or two.

    There is a line for each value of the second field. If those are many, or if the points are no
    grid, two fields make a map with the metric as colour.

    Args:
      fields: one or two.
      means: of the metric at each point.
      deviations: its standard deviation over seeds, or None.
      measure: the metric, its data set and its unit.
      others: the names of the fields that vary besides. Points of a line that differ in them only
        become one, with the mean.
      path: file to write.
    """
    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    fields = sorted(fields, key=lambda field: -len(field.levels))  # the one with more goes along x
    across = fields[0]
    along = fields[1] if len(fields) > 1 else Field("", *2 * [[""] * len(means)])
    axes.set_xlabel(across.name)
    pairs = len(set(zip(across.values, along.values, strict=True)))
    is_grid = 2 * pairs >= len(across.levels) * len(along.levels)
    as_lines = is_grid and len(along.levels) <= MOST_LINES
    if as_lines:
        colours = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(along.levels)))
        for index, (level, text) in enumerate(along.levels.items()):
            x, y, bars = _line(across, means, deviations, [v == level for v in along.values])
            # Lines stand 3 points beside each other, so that no error bar covers another.
            beside = 3 / 72 * (index - (len(along.levels) - 1) / 2)
            place = ScaledTranslation(beside, 0, figure.dpi_scale_trans)
            axes.errorbar(
                x,
                y,
                bars if any(bars) else None,
                fmt="o-",
                color=colours[index],
                capsize=3,
                label=f"{along.name} = {text}" if along.name else None,
                transform=axes.transData + place,
            )
            for end in (-1, 1):
                axes.update_datalim([(a, b + end * c) for a, b, c in zip(x, y, bars, strict=True)])
        axes.autoscale_view()
        if along.name:
            axes.legend(frameon=False)
        axes.set_ylabel(measure)
        axes.grid(alpha=0.3)
    else:
        order = np.argsort(means)  # the best are on top
        spots = axes.scatter(
            np.array(across.positions)[order],
            np.array(along.positions)[order],
            c=np.array(means)[order],
            vmin=max(min(means), _floor(means)),
            s=70,
            edgecolors="white",
            linewidths=0.5,
        )
        best = int(order[-1])
        spot = (across.positions[best], along.positions[best])
        axes.plot(*spot, "o", markersize=13, color=ORANGE, fillstyle="none", label="best")
        axes.legend(frameon=False)
        figure.colorbar(spots, label=measure, extend="min" if min(means) < _floor(means) else None)
        axes.set_ylabel(along.name)
        _levels(axes, "y", along)
    _levels(axes, "x", across)
    if others:
        how = "mean over" if as_lines else "besides vary"
        axes.set_title(f"{how} {', '.join(others)}", fontsize=9)
    _save(figure, path)


def plot_search(
    values: Sequence[tuple[int, float]],
    pruned: Sequence[tuple[int, float]],
    references: Sequence[tuple[int, float]],
    measure: str,
    path: pathlib.Path,
) -> None:
    """Plots the trials of a search in their order, and the best so far.

    Args:
      values: (number of the trial from 1, metric) of those that are complete.
      pruned: the same of those that were stopped, with the metric at the last step.
      references: those of `values` that are the paper's network.
      measure: the metric, its data set and its unit.
      path: file to write.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    values = sorted(values)
    found = [value for _, value in values]
    floor = _floor(found)
    low = [(number, floor) for number, value in [*values, *pruned] if value < floor]
    for name, group, marker, colour in (
        ("trial", values, "o", GREY),
        ("pruned, at its last step", pruned, "x", GREY),
        (f"{REFERENCE}, the paper's", references, "*", ORANGE),
        ("further below", low, "v", GREY),
    ):
        shown = [(number, value) for number, value in group if value >= floor]
        if shown:
            size = 13 if marker == "*" else 6
            axes.plot(*zip(*shown, strict=True), marker, color=colour, label=name, markersize=size)
    best = np.maximum.accumulate(found)
    numbers = [number for number, _ in values]
    axes.step(numbers, best, where="post", color=BLUE, label="best so far", zorder=3)
    last = max(number for number, _ in [*values, *pruned])
    axes.plot([numbers[-1], last], [best[-1], best[-1]], color=BLUE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.5, last + 0.5)
    axes.set_xlabel("trial")
    axes.set_ylabel(measure)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    _save(figure, path)


def _floor(values: Sequence[float]) -> float:
    """Below it a value is drawn at the edge, since it would press all others together."""
    middle = statistics.median(values)
    return middle - 3 * max(max(values) - middle, 1e-3)


def _colour(point: Point) -> str:
    if point.is_reference:
        return ORANGE
    return BLUE if point.on_front else GREY


def _line(
    field: Field,
    means: Sequence[float],
    deviations: Sequence[float | None],
    chosen: Sequence[bool],
) -> tuple[list[float], list[float], list[float]]:
    """x, mean and deviation (0 if unknown) of the chosen points; points at one x become one."""
    at: dict[float, list[int]] = {}
    for index, x in enumerate(field.positions):
        if chosen[index]:
            at.setdefault(x, []).append(index)
    xs = sorted(at)
    variances = [[d * d for i in at[x] if (d := deviations[i]) is not None] for x in xs]
    bars = [math.sqrt(statistics.mean(each)) if each else 0.0 for each in variances]
    return xs, [statistics.mean(means[i] for i in at[x]) for x in xs], bars


def _scale(axes: Axes, axis: str, values: Sequence[float], limit: float) -> None:
    """Takes a logarithmic axis for positive values of a ratio above `limit`; writes numbers out."""
    own = axes.xaxis if axis == "x" else axes.yaxis
    if min(values) > 0 and max(values) > limit * min(values):
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        ticks = (1, 2, 5) if max(values) > 20 * min(values) else (1, 1.5, 2, 3, 4, 5, 7)
        own.set_major_locator(LogLocator(subs=ticks))
        own.set_minor_formatter(NullFormatter())
    own.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 100 else f"{value:g}")


def _levels(axes: Axes, axis: str, field: Field) -> None:
    """Scales an axis for a field, with a tick at each of its values if they are few."""
    if field.is_number:
        _scale(axes, axis, list(field.levels), limit=10)
    if not field.is_number or len(field.levels) <= 8:
        ticks = field.levels if field.is_number else range(len(field.levels))
        set_ticks = axes.set_xticks if axis == "x" else axes.set_yticks
        set_ticks(list(ticks), list(field.levels.values()))
        (axes.xaxis if axis == "x" else axes.yaxis).set_tick_params(which="minor", length=0)


def _label(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    lines: Sequence[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    """Writes each text beside its point, where it covers no point and no other text.

    The nearest free place is taken, if possible one that no line crosses. A thin line leads to it
    if it is far. Without a free place, the text stands on its point.

    Args:
      axes: where; its limits and scales are final.
      points: in units of the axes.
      texts, colours: of the points.
      lines: level or upright, from end to end, in units of the axes.
    """
    figure = axes.get_figure()
    assert figure is not None
    figure.canvas.draw()  # the layout is final, so that places in pixels are
    unit = figure.dpi / 72  # pixels of a typographic point
    spots = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in spots]
    crossed = []
    for line in lines:
        (x, y), (right, top) = axes.transData.transform(line)
        crossed.append(Bbox.from_extents(x - 1, y - 1, right + 1, top + 1))
    sides = [(-1, 1), (1, -1), (1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)]
    for index in sorted(range(len(points)), key=lambda i: tuple(spots[i])):
        colour = "#55595f" if colours[index] == GREY else colours[index]
        label = axes.annotate(
            texts[index],
            points[index],
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=colour,
            zorder=5,
        )
        label.set_in_layout(False)
        own = label.get_window_extent()
        places = [
            (x * (own.width / 2 + gap * unit), y * (own.height / 2 + gap * unit))
            for gap in (4, 9, 16, 25, 36, 50, 66, 84)
            for x, y in sides
        ]
        boxes = [own.translated(x, y) for x, y in places]
        free = [
            place
            for place, box in enumerate(boxes)
            if axes.bbox.contains(*box.min)
            and axes.bbox.contains(*box.max)
            and not box.count_overlaps(taken)
        ]
        clear = [place for place in free if not boxes[place].count_overlaps(crossed)]
        # A line that is crossed is better than a place far away.
        if clear and clear[0] < free[0] + 3 * len(sides):
            free = clear
        if not free:
            continue
        x, y = places[free[0]]
        label.set_position((x / unit, y / unit))
        taken.append(boxes[free[0]])
        if free[0] >= 2 * len(sides):
            box = boxes[free[0]]
            end = np.clip(spots[index], box.min, box.max)  # the nearest of the box
            ends = axes.transData.inverted().transform([spots[index], end])
            axes.plot(*ends.T, color=colour, linewidth=0.5, scalex=False, scaley=False)


def _save(figure: plt.Figure, path: pathlib.Path) -> None:
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
