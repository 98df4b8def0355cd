"""The paper's curves and ours: the numbers, the pictures, the table."""

import json

import numpy as np
import pandas as pd
import pytest
from made_runs import arguments
from PIL import Image

from experiments.paper import curves, study


def finished_with_curve(folder, looks):
    """A workdir of batches of 64, as far as its curve is read; looks are (step, PSNR)."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"train": {"batch_size": 64}}))
    lines = [{"step": step, "psnr": psnr - 0.05, "psnr_valid": psnr} for step, psnr in looks]
    lines += [{"step": 20, "loss": 0.1}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_papers_curves():
    points = curves.published()
    assert list(points) == ["figure", "network", "patches", "psnr"]
    assert points["patches"].dtype == np.int64
    assert len(points) == 1211
    for _, curve in points.groupby(["figure", "network"]):
        assert curve["patches"].is_monotonic_increasing
    assert points["psnr"].between(30, 33).all()
    t91 = points[(points["figure"] == "4") & (points["network"] == "9-1-5 T91")]
    assert (t91["patches"].iloc[0], t91["psnr"].iloc[0]) == (39_400_000, 31.548)
    assert points[points["figure"] == "11"]["patches"].max() == 135_840_000  # its unit is 1e7


def test_every_curve_that_is_plotted_is_the_papers():
    points = curves.published()
    for panel, networks in curves.PANELS.items():
        assert set(networks) == set(points[points["figure"] == panel]["network"])


def test_the_longest_curve_stands_for_a_network():
    assert curves.published_curve("9-1-5")["patches"].max() == 1_397_800_000  # 8a
    assert curves.published_curve("9-1-5", "7")["patches"].max() == 1_086_800_000


def test_our_curve_is_the_mean_over_seeds(tmp_path):
    folders = [
        finished_with_curve(tmp_path / str(i), [(0, 30.0), (20, 32.0 + i), (40, 33.0)])
        for i in range(2)
    ]
    curve = curves.our_curve(folders)
    assert curve["patches"].tolist() == [0, 1280, 2560]
    assert curve["psnr"].tolist() == [30.0, 32.5, 33.0]
    assert curves.reached(curve, 32.5) == 1280
    assert curves.reached(curve, 33.1) is None
    with pytest.raises(ValueError, match="is of an older version"):
        curves.our_curve([finished_with_curve(tmp_path / "old", [])])


def test_pictures_and_table_of_the_curves(tmp_path, monkeypatch, capsys):
    looks = [(0, 30.3), (20, 32.1), (400, 32.6)]

    def result(name, seed):
        folder = finished_with_curve(tmp_path / f"{name}_{seed}", looks)
        return study.Result(folder, 3, {}, {}, seconds=60.0, patches=25_600, weights=8032)

    results = {name: [result(name, seed) for seed in (0, 1)] for name in curves.EXPERIMENTS}
    monkeypatch.setattr(study, "options", lambda _: arguments(tmp_path, budget="short", seeds=2))
    monkeypatch.setattr(study, "train_runs", lambda runs, _: {name: results[name] for name in runs})
    curves.main()
    for figure in "4789":
        with Image.open(tmp_path / f"curves_figure_{figure}_default_short.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert "the paper's 9-1-5 on T91" in " ".join(capsys.readouterr().out.split())
    frame = pd.read_csv(tmp_path / "curves_default_short.csv", dtype=str)
    assert len(frame) == 2 * 12
    assert list(frame.iloc[0]) == ["9-1-5 T91", "32.44", "844,800,000", "25,600", "33,000"]
    assert list(frame.iloc[1]) == ["9-1-5 T91", "32.47", "1,089,500,000", "25,600", "43,000"]
    best = frame[frame["network"] == "9-5-5"].iloc[1]
    assert list(best) == ["9-5-5", "32.85", "979,200,000", "–", "–"]


def test_a_plot_has_both_curves_of_each_network():
    paper = pd.DataFrame({"patches": [10**7, 10**9], "psnr": [31.0, 32.5]})
    ours = pd.DataFrame({"patches": [0, 10**4, 10**5], "psnr": [30.4, 32.0, 32.6]})
    figure = curves.plot("title", "note", [{"9-1-5": (paper, ours), "9-5-5": (paper, ours)}])
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert [line.get_xdata().tolist() for line in ax.lines[:2]] == [[10**4, 10**5], [10**7, 10**9]]
    assert ax.lines[0].get_color() == ax.lines[1].get_color() != ax.lines[2].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["9-1-5", "9-5-5"]
