"""The plot of three recipes: the fields it trains with, and what it makes of finished runs."""

import json
import sys

import pandas as pd
import pytest
from PIL import Image

from experiments import machine, runner
from experiments.bench import convergence


def finished(folder, psnr, batch_size=64):
    """A workdir as a run leaves it, as far as the plot reads it: 0, 20 and 40 steps."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"train": {"batch_size": batch_size}}))
    lines = [{"step": 0, "psnr": 30.4, "psnr_valid": 30.45}]
    for step, gain in ((20, -0.5), (40, 0.0)):
        lines += [
            {"step": step - 1, "loss": 0.1},
            {"step": step, "loss": 0.1, "patches_per_second": 10.0 * batch_size},
            {"step": step, "psnr": psnr + gain, "psnr_valid": psnr + gain + 0.05},
        ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_adam_differs_from_ours_in_the_optimiser_alone():
    ours, adam = convergence.RECIPES["ours"], convergence.RECIPES["adam"]
    assert (ours.config, ours.steps) == (adam.config, adam.steps)
    assert {field.split(".")[0] for field in adam.fields} == {"optimizer"}
    assert convergence.RECIPES["paper"].config == "configs/default.py:x3,paper"


@pytest.mark.parametrize("name", convergence.RECIPES)
@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_evaluations_fall_on_the_ends_of_dispatches(name, budget):
    fields = convergence.fields_of(convergence.RECIPES[name], budget, 1)
    assert fields["seed"] == 1
    for field in ("train.steps", "train.eval_every", "train.checkpoint_every"):
        assert fields[field] % fields["train.steps_per_dispatch"] == 0
    assert fields["train.steps"] // fields["train.eval_every"] in range(10, 161)


def test_a_curve_counts_training_and_no_evaluation(tmp_path):
    curve = convergence.read_curve(finished(tmp_path / "run", 32.5))
    assert curve["patches"].tolist() == [0, 1280, 2560]
    assert curve["seconds"].tolist() == pytest.approx([0, 2, 4])  # 10 steps a second
    assert curve["psnr"].tolist() == [30.4, 32.0, 32.5]


def test_the_mean_over_seeds_has_their_range(tmp_path):
    seeds = [convergence.read_curve(finished(tmp_path / str(i), 32.5 + i)) for i in range(2)]
    mean = convergence.mean_curve(seeds)
    assert list(mean) == ["patches", "seconds", "psnr", "low", "high"]
    assert mean["psnr"].tolist() == [30.4, 32.5, 33.0]
    assert (mean["low"].iloc[-1], mean["high"].iloc[-1]) == (32.5, 33.5)


def curve(psnr):
    columns = {"patches": [0, 1280, 2560], "seconds": [0.0, 2.0, 4.0], "psnr": psnr}
    return pd.DataFrame(columns).assign(low=psnr, high=psnr)


def test_the_picture_has_two_panels_with_the_levels_of_the_paper():
    curves = {name: curve([30.4, 32.0, 32.5]) for name in convergence.RECIPES}
    paper = pd.DataFrame({"patches": [10**7, 10**9], "psnr": [31.0, 32.4]})
    seconds, patches = convergence.plot(curves, paper, "note").axes
    assert [axis.get_xscale() for axis in (seconds, patches)] == ["log", "log"]
    for axis, x in ((seconds, [2.0, 4.0]), (patches, [1280, 2560])):
        assert [line.get_xdata().tolist() for line in axis.lines[:3]] == [x] * 3
        levels = [line.get_ydata()[0] for line in axis.lines[-3:]]
        assert levels == [30.39, 32.39, 32.75]
    assert patches.lines[3].get_xdata().tolist() == [10**7, 10**9]
    assert len(seconds.lines) == 6  # the paper's curve has no seconds


def test_the_table_says_when_a_level_is_reached():
    frame = convergence.table(
        {"paper": curve([20.0, 30.0, 31.0]), "ours": curve([30.4, 32.39, 32.7])}
    )
    assert frame["seconds to 32.39 dB"].tolist() == ["–", "2"]
    assert frame["seconds to 32.75 dB"].tolist() == ["–", "–"]
    assert frame.iloc[1].tolist()[1:4] == ["32.70", "2,560", "4"]


def test_the_command_trains_each_recipe_and_seed_and_draws(tmp_path, monkeypatch, capsys):
    trained = []

    def train(config, folder, fields):
        trained.append((config, folder.name, fields["train.steps"]))
        finished(folder, 32.0 + fields["seed"])

    monkeypatch.setattr(convergence, "train", train)
    monkeypatch.setattr(runner, "check_data", lambda *_: None)
    monkeypatch.setattr(machine, "rate", lambda: 150.0)
    picture = tmp_path / "pictures" / "convergence.png"
    command = ["convergence", str(tmp_path), "--budget=smoke", "--seeds=2", f"--output={picture}"]
    monkeypatch.setattr(sys, "argv", command)
    convergence.main()
    assert trained[:3] == [
        ("configs/default.py:x3,paper", "paper_smoke_0", 200),
        ("configs/default.py:x3,paper", "paper_smoke_1", 200),
        ("configs/default.py:x3", "adam_smoke_0", 200),
    ]
    assert len(trained) == 6
    assert "| ours: preconditioned SGD | 32.50" in capsys.readouterr().out
    with Image.open(picture) as image:
        assert image.width > 1000
