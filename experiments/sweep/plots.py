"""The plots of a sweep."""

import pathlib
import statistics
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

BLUE, GREY = "#1f5fa8", "#8a8f98"


def plot_cost(
    points: Sequence[tuple[int, Sequence[float]]],
    names: Sequence[str],
    front: Sequence[int],
    title: str,
    path: pathlib.Path,
) -> None:
    """Plots the metric over the multiply-adds of a pixel, and marks the Pareto front.

    Args:
      points: (multiply-adds, the metric of each seed).
      names: the names of the points.
      front: the indices of the points on the front, by rising cost.
      title: the name of the metric.
      path: file to write.
    """
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    means = [statistics.mean(values) for _, values in points]
    for index, (adds, values) in enumerate(points):
        colour = BLUE if index in front else GREY
        spread = statistics.stdev(values) if len(values) > 1 else None
        axes.errorbar(adds, means[index], spread, fmt="o", color=colour, capsize=3, zorder=3)
    axes.step(
        [points[index][0] for index in front],
        [means[index] for index in front],
        where="post",
        color=BLUE,
        label="Pareto front",
    )
    for number, index in enumerate(front, 1):
        position = (points[index][0], means[index])
        # The area above and left of a front is empty, but names would overlap there, too.
        axes.annotate(str(number), position, (-5, 4), textcoords="offset points", ha="right")
        axes.plot([], [], " ", label=f"{number}  {names[index]}")
    if max(adds for adds, _ in points) > 3 * min(adds for adds, _ in points):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(0.12)
    axes.set_xlabel("multiply-adds per pixel")
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, handlelength=1.5)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_importance(shares: Mapping[str, float], title: str, path: pathlib.Path) -> None:
    """Plots the share of each parameter, the largest at the top."""
    names = sorted(shares, key=lambda name: shares[name])
    height = 1.2 + 0.4 * len(names)
    figure, axes = plt.subplots(figsize=(6, height), layout="constrained")
    bars = axes.barh(names, [shares[name] for name in names], color=BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_xlim(0, 1.1)
    axes.set_xlabel(f"share in {title} (fANOVA)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
