"""The curves of the report."""

from experiments.report import chart, read


def test_the_papers_curves_are_those_of_the_network(finished):
    run = read.read_run(finished)
    found = chart.published_curves(run)
    assert set(found) == {"paper 9-1-5 T91", "paper 9-1-5 ImageNet"}
    assert found["paper 9-1-5 T91"].patches.max() > 8e8
    (drawing,) = chart.draw_all([run], {run.folder: "run", run.validation: "mine"})
    assert [line[:2] for line in drawing.lines] == [
        ("run", "ours"),
        ("run, valid region", "valid"),
    ]


def test_a_chart_places_points_on_its_axes():
    curve = chart.Curve("a", "ours", [(1e5, 20.0), (1e6, 31.0), (1e7, 32.0)])
    drawing = chart.draw("title", [curve], 30.0)
    ticks = {text: x for x, text in drawing.x_ticks}
    assert list(ticks) == ["10⁵", "10⁶", "10⁷"]
    heights = {text: y for y, text in drawing.y_ticks}
    assert drawing.bicubic == heights["30.0"]
    ((_, _, _, points),) = drawing.lines
    assert points == [(ticks["10⁶"], heights["31.0"]), (ticks["10⁷"], heights["32.0"])]
