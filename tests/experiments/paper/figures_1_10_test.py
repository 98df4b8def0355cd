"""SRCNN and the lines of the other methods: the crossings and the picture."""

import pandas as pd

from experiments.paper import curves, figures_1_10


def test_the_lines_are_the_papers_other_methods():
    lines = figures_1_10.other_lines()
    assert list(lines) == ["Bicubic", "SC", "NE+LLE", "ANR", "KK", "A+"]
    assert (lines["Bicubic"], lines["A+"]) == (30.39, 32.59)


def test_crossings():
    curve = pd.DataFrame({"patches": [0, 100, 2000], "psnr": [30.4, 31.5, 32.6]})
    assert figures_1_10.crossing(curve, 30.39) == "≤ 100"  # not before training
    assert figures_1_10.crossing(curve, 32.59) == "2,000"
    assert figures_1_10.crossing(curve, 32.75) == "–"
    paper = curves.published_curve(figures_1_10.PAPER, "10")
    frame = figures_1_10.table_of_crossings(paper, {"9-1-5": curve})
    assert frame.iloc[0].tolist() == ["Bicubic", "30.39", "≤ 14,100,000", "≤ 100"]
    assert frame.iloc[-1].tolist() == ["A+", "32.59", "268,800,000", "2,000"]


def test_the_plot_has_a_line_for_each_method_and_both_curves():
    paper = pd.DataFrame({"patches": [10**7, 10**9], "psnr": [31.0, 32.5]})
    ours = pd.DataFrame({"patches": [0, 10**4, 10**5], "psnr": [30.4, 32.0, 32.6]})
    lines = {"SC": 31.42, "A+": 32.59}
    figure = figures_1_10.plot("title", lines, {"ours": ours}, ("paper", paper))
    (ax,) = figure.axes
    mine, theirs, *horizontal = ax.lines
    assert mine.get_xdata().tolist() == [10**4, 10**5]
    assert theirs.get_xdata().tolist() == [10**7, 10**9]
    assert [line.get_ydata()[0] for line in horizontal] == [31.42, 32.59]
    assert [text.get_text() for text in ax.texts] == ["SC 31.42", "A+ 32.59"]
    assert round(ax.get_ylim()[0], 6) == 31.22
