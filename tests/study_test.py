"""The scripts for the paper's tables: what they run, and what they make of finished workdirs."""

import argparse
import json
import pathlib

import numpy as np
import pytest

from experiments import depth, eccv_tables, filter_sizes, filters, n1_n2, study, tables_2_3_4
from srcnn_jax import paper

STUDIES = (depth, eccv_tables, filter_sizes, n1_n2, tables_2_3_4)


def choices(tmp_path, **changes):
    values = {"recipe": "default", "budget": "smoke", "seeds": 1, "set": []} | changes
    return argparse.Namespace(workdir=tmp_path, **values)


def runs(module):
    return list(module.RUNS.values()) if isinstance(module.RUNS, dict) else module.RUNS


def finished(folder: pathlib.Path, psnr: float, kernel_sizes=(9, 1, 5), features=(64, 32)):
    """A workdir as a run leaves it, as far as a study reads it."""
    folder.mkdir(parents=True)
    others = {"msssim": 0.9, "ifc": 4.0, "nqm": 30.0, "wpsnr": 40.0}
    both = {
        "bicubic": {"psnr": 30.0, "ssim": 0.8, **others},
        "srcnn": {"psnr": psnr, "ssim": 0.9, **others},
    }
    images = {
        name: [{"name": image, **both} for image in rows]
        for (name, _), rows in paper.SRCNN_915_T91.items()
    }
    scores = {
        name: {"images": images.get(name, []), "mean": both} for name in ("set5", "set14", "bsd200")
    }
    (folder / "eval.json").write_text(json.dumps({"scale": 3, "datasets": scores}))
    config = {
        "model": {"kernel_sizes": kernel_sizes, "features": features},
        "data": {"colour": "y"},
        "train": {"steps": 40, "batch_size": 64},
    }
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"step": step, "loss": 0.1, "patches_per_second": 640.0} for step in (20, 40)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return study.read(folder)


@pytest.mark.parametrize("module", STUDIES, ids=lambda module: module.__name__)
@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_every_run_is_a_config_that_can_be_trained(module, recipe, tmp_path):
    from configs import default
    from srcnn_jax import train

    names = [run.name for run in runs(module)]
    assert len(set(names)) == len(names)
    for run in runs(module):
        command = study._command(run, 0, tmp_path / run.name, choices(tmp_path, recipe=recipe))
        words = command[3].partition(":")[2]
        config = default.get_config(words)
        for argument in command[5:]:
            field, _, text = argument.removeprefix("--config.").partition("=")
            parent, _, leaf = field.rpartition(".")
            node = config[parent] if parent else config
            assert leaf in node
            kind = type(node[leaf])
            node[leaf] = tuple(map(int, text.split(","))) if kind is tuple else kind(text)
        train.check_config(config)


def test_results_of_a_workdir(tmp_path):
    result = finished(tmp_path / "run", 32.5)
    assert result.mean("set5") == 32.5
    assert result.mean("set5", "ssim", "bicubic") == 0.8
    assert (result.seconds, result.patches, result.weights) == (4.0, 2560, 8032)
    with pytest.raises(FileNotFoundError, match="is not the workdir of a finished run"):
        study.read(tmp_path)


def test_compare_and_write(tmp_path, capsys):
    pair = [finished(tmp_path / str(i), 32.5 + 0.1 * i) for i in range(2)]
    frame = study.compare({"9-1-5": pair, "9-9-9": pair[:1]}, {"9-1-5": 32.52})
    study.write(frame, "n1_n2", "Title", choices(tmp_path, seeds=2))
    text = (tmp_path / "n1_n2_default_smoke.md").read_text()
    assert text == capsys.readouterr().out.removesuffix("\n")
    assert "| 32.55 ± 0.07 | +0.03" in " ".join(text.split())
    assert "| 32.50 | –" in " ".join(text.split())
    assert "--budget=smoke --seeds=2" in text
    assert (tmp_path / "n1_n2_default_smoke.csv").read_text().startswith("network,weights")
    assert "\\begin{tabular}" in (tmp_path / "n1_n2_default_smoke.tex").read_text()


def test_tables_of_the_papers(tmp_path):
    result = [finished(tmp_path / "run", 32.5)]
    frame = tables_2_3_4.table({run.name: result for run in tables_2_3_4.RUNS})
    assert len(frame) == 54
    first = frame.iloc[0]
    assert (first["bicubic, paper"], first["SRCNN 9-5-5, paper"]) == ("33.66", "36.66")
    assert first["9-5-5, difference"] == "-4.16"
    frame = eccv_tables.table({run.name: result for run in eccv_tables.RUNS})
    assert len(frame) == 3 * 6 + 15
    assert list(frame[frame["image"] == "baby"]["SRCNN, paper"]) == ["38.30", "35.01", "32.98"]


def test_a_run_that_fails_ends_the_study_with_one_line(tmp_path):
    bad = study.Run("bad", fields={"model.kernel_sizes": "9,2,5"})
    with pytest.raises(SystemExit, match=r"ended with 1: error: kernel sizes must be odd"):
        study.train([bad], choices(tmp_path))


def test_filters_are_shown_by_their_variance():
    kernel = np.zeros((9, 9, 1, 10), np.float32)
    kernel[4, 4, 0, 3] = 1.0
    kernel[0, 0, 0, 7] = -2.0
    picture = filters.mosaic(kernel)
    assert picture.shape == (2 * 54 + 4, 8 * 54 + 7 * 4)
    assert picture[0, 0] == 0  # filter 7: its one weight is its smallest
    assert picture[20, 20] == 255
    assert picture[4 * 6, 58 + 4 * 6] == 255  # filter 3
    assert picture[0, 58] == 0
