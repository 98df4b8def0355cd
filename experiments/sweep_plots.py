"""The pictures of a sweep."""

import pathlib
import statistics
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt

BLUE, GREY = "#1f5fa8", "#8a8f98"


def cost(
    points: Sequence[tuple[int, Sequence[float]]],
    names: Sequence[str],
    front: Sequence[int],
    title: str,
    path: pathlib.Path,
) -> None:
    """The metric over the multiply-adds of a pixel, the Pareto front marked.

    Args:
      points: (multiply-adds, the metric of each seed).
      names: of the points.
      front: which of them are on the front, by rising cost.
      title: what the metric is.
      path: file to write.
    """
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
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
    for index in front:
        axes.annotate(
            names[index],
            (points[index][0], means[index]),
            xytext=(5, 7),
            textcoords="offset points",
            fontsize=8,
            color=BLUE,
        )
    if max(adds for adds, _ in points) > 3 * min(adds for adds, _ in points):
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.margins(0.12)
    axes.set_xlabel("multiply-adds per pixel")
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def importance(shares: Mapping[str, float], title: str, path: pathlib.Path) -> None:
    """The share of each parameter, the largest at the top."""
    names = sorted(shares, key=lambda name: shares[name])
    height = 1.2 + 0.4 * len(names)
    figure, axes = plt.subplots(figsize=(6, height), layout="constrained")
    bars = axes.barh(names, [shares[name] for name in names], color=BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_xlim(0, 1.1)
    axes.set_xlabel(f"share in {title} (PED-ANOVA)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
