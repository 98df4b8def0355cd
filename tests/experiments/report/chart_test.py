"""The curves of the report."""

from experiments.report import chart, groups, read


def test_the_papers_curves_are_those_of_the_network(finished):
    run = read.read_run(finished)
    found = chart.published_curves(run)
    assert set(found) == {"paper 9-1-5 T91", "paper 9-1-5 ImageNet"}
    assert found["paper 9-1-5 T91"].patches.max() > 8e8
    (comparison,) = groups.compare(groups.group_runs([run]), None)
    names = {comparison.best.path: "run", run.validation: "mine"}
    for draw, title in (
        (chart.draw_training, "PSNR on mine x3, dB"),
        (chart.draw_valid_region, "PSNR on mine x3 over the valid region, dB"),
    ):
        drawing = draw(comparison, names)
        assert drawing.title == title
        assert [(line.label, line.kind, line.shown) for line in drawing.lines] == [
            ("run", "ours", True)
        ]
        assert [text for _, text in drawing.levels] == ["bicubic"]  # the paper has no such test set


def test_seeds_are_a_line_with_a_band_and_the_best_few_are_shown(sweep):
    runs = read.read_workdir(sweep).runs
    (comparison,) = groups.compare(groups.group_runs(runs), read.Metric(runs[0].validation))
    names = {group.path: group.path[-4:] for group in comparison.groups} | {
        runs[0].validation: "mine"
    }
    lines = chart.draw_training(comparison, names).lines
    assert [line.label for line in lines] == ["f2=5", "f2=4", "f2=3", "f2=2", "f2=1"]
    assert [line.shown for line in lines] == [True] * chart.FEW + [False]
    assert len({line.style for line in lines}) == len(lines)
    for line in lines:
        assert len(line.points) == 2
        assert len(line.band) == 4
        (_, middle), (_, top), (_, bottom) = line.points[0], line.band[0], line.band[-1]
        assert top < middle < bottom  # downwards, as in SVG


def test_a_chart_places_points_on_its_axes():
    points = [(1e5, 20.0, 20.0, 20.0), (1e6, 31.0, 30.5, 31.5), (1e7, 32.0, 32.0, 32.0)]
    curve = chart.Curve("a", "ours", True, points)
    drawing = chart.draw("title", [curve], {"bicubic": 30.0, "paper": 32.0})
    ticks = {text: x for x, text in drawing.x_ticks}
    assert list(ticks) == ["10⁵", "10⁶", "10⁷"]
    heights = {text: y for y, text in drawing.y_ticks}
    assert drawing.levels == [(heights["30.0"], "bicubic"), (heights["32.0"], "paper")]
    (line,) = drawing.lines
    six, seven = ticks["10⁶"], ticks["10⁷"]
    assert line.points == [(six, heights["31.0"]), (seven, heights["32.0"])]
    top, bottom = heights["31.5"], heights["30.5"]
    end = (seven, heights["32.0"])
    assert line.band == [(six, top), end, end, (six, bottom)]
