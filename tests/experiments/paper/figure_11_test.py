"""SRCNN against DNC: what is trained, and the table."""

import pandas as pd
from made_runs import arguments, finished

from configs import default
from experiments.paper import curves, figure_11, study
from srcnn_jax import degradation


def test_small_images_are_blurred(tmp_path):
    wanted = study.training(figure_11.EXPERIMENTS["9-5-5"], 0, arguments(tmp_path))
    config = default.get_config("x3")
    for field in figure_11.BLUR:
        config.update_from_flattened_dict({field: wanted.fields[field]})
    assert degradation.from_config(config) == degradation.Degradation("gaussian", 0.55)
    assert wanted.fields["model.kernel_sizes"] == (9, 5, 5)


def test_table_and_picture(tmp_path):
    runs = [finished(tmp_path / str(i), 32.1 + i / 10, (9, 5, 5)) for i in range(2)]
    paper = curves.published_curve(figure_11.PAPER, "11")
    ours = pd.DataFrame({"patches": [0, 1280, 2560], "psnr": [30.0, 31.0, 32.15]})
    frame = figure_11.table_of_dnc(paper, ours, runs)
    assert frame.to_numpy().tolist() == [
        ["bicubic, dB", "30.29", "30.00"],
        ["DNC, dB", "32.08", "–"],
        ["SRCNN 9-5-5 at the end, dB", "32.59", "32.15 ± 0.07"],
        ["patches until SRCNN passes DNC", "29,890,000", "2,560"],
        ["patches at the end", "135,840,000", "2,560"],
    ]
    figure = figure_11.plot(paper, ours, "note")
    assert len(figure.axes[0].lines) == 4
