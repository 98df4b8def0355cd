"""The pictures of sweeps: what they show, and that no label covers another."""

import itertools

import matplotlib.pyplot as plt
import pytest

from experiments.sweep import plots


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, in place of files."""
    saved: list[plt.Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: saved.append(figure))
    yield saved
    plt.close("all")


def point(number, adds, mean, deviation=None, on_front=False, is_reference=False):
    name = plots.REFERENCE if is_reference else f"9-1-{number}, 64-32"
    return plots.Point(number, name, adds, mean, deviation, on_front, is_reference)


@pytest.mark.parametrize("count", [9, 60])
def test_every_point_has_a_label_that_covers_no_other(count, figures):
    points = [
        point(i, 1000 + 37 * (i * 7 % count), 32 + 0.01 * (i * 5 % 11), 0.01, i == 1, i == 3)
        for i in range(1, count + 1)
    ]
    plots.plot_cost(points, 8032, "PSNR on set5 x3, dB", "cost.png")
    (figure,) = figures
    (axes,) = figure.axes
    labels = [each.get_text() for each in axes.texts]
    wanted = [p.name if count <= plots.MOST_NAMES else str(p.number) for p in points]
    assert sorted(labels) == sorted(wanted)
    figure.canvas.draw()
    boxes = [each.get_window_extent() for each in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert axes.get_ylabel() == "PSNR on set5 x3, dB"
    assert axes.get_xlabel() == "multiply-adds per pixel"


def test_the_reference_is_marked_by_its_cost_where_it_was_not_trained(figures):
    plots.plot_cost([point(1, 2000, 32.0, on_front=True)], 8032, "PSNR", "cost.png")
    (axes,) = figures[0].axes
    assert axes.get_xlim()[1] > 8032
    (legend,) = figures[0].legends
    assert "cost of 9-1-5, 64-32" in [each.get_text() for each in legend.get_texts()]


def test_a_grid_has_lines_with_error_bars(figures):
    fields = [
        plots.Field(
            "n1, n2", [8, 8, 16, 16, 32, 32], ["8, 4"] * 2 + ["16, 8"] * 2 + ["32, 16"] * 2
        ),
        plots.Field("f1", [5, 9] * 3, ["5", "9"] * 3),
    ]
    means = [31.0, 31.5, 32.0, 32.5, 33.0, 33.5]
    plots.plot_fields(fields, means, [0.1, None, 0.1, 0.2, 0.1, 2.0], "PSNR, dB", [], "fields.png")
    (axes,) = figures[0].axes
    lines = {box.get_label(): box for box in axes.containers}
    assert list(lines) == ["f1 = 5", "f1 = 9"]
    assert list(lines["f1 = 9"][0].get_ydata()) == [31.5, 32.5, 33.5]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["8, 4", "16, 8", "32, 16"]
    assert axes.get_xlabel() == "n1, n2"
    low, high = axes.get_ylim()
    assert (low <= 30.9, high >= 35.5) == (True, True)


def test_points_of_a_search_make_a_map(figures):
    values = list(range(1, 21))
    fields = [plots.Field(name, values, list(map(str, values))) for name in ("f1", "rate")]
    plots.plot_fields(fields, [32.0 + v / 100 for v in values], 20 * [None], "PSNR, dB", ["f3"], "")
    axes, bar = figures[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("f1", "rate", "PSNR, dB")
    assert axes.get_title() == "besides vary f3"


def test_the_best_so_far(figures):
    values = [(1, 32.0), (2, 31.9), (4, 32.2), (5, 12.0)]
    plots.plot_search(values, [(3, 31.8), (6, 31.9)], [(1, 32.0)], "PSNR, dB", "best.png")
    (axes,) = figures[0].axes
    shown = {line.get_label(): line for line in axes.lines}
    assert list(shown["best so far"].get_ydata()) == [32.0, 32.0, 32.2, 32.2]
    assert list(shown["pruned, at its last step"].get_xdata()) == [3, 6]
    assert list(shown["further below"].get_xdata()) == [5]
    assert list(shown["9-1-5, 64-32, the paper's"].get_xdata()) == [1]
    assert axes.get_ylim()[0] > 30
