"""The scripts for the paper's tables: what they run, and what they make of finished workdirs."""

import argparse
import dataclasses
import json
import os
import pathlib
import threading

import numpy as np
import pytest

from experiments import runner
from experiments.paper import (
    curves,
    depth,
    eccv_tables,
    filter_sizes,
    filters,
    n1_n2,
    robustness,
    running_time,
    study,
    table_5,
    tables_2_3_4,
    training_sets,
)
from srcnn_jax import datasets, image, paper, weights

STUDIES = (
    curves,
    depth,
    eccv_tables,
    filter_sizes,
    n1_n2,
    robustness,
    running_time,
    table_5,
    tables_2_3_4,
    training_sets,
)

CHECK_DATA = runner.check_data


def arguments(tmp_path, **changes):
    values = {"recipe": "default", "budget": "smoke", "seeds": 1, "workers": 1, "set": []}
    values |= {"data_dir": ""} | changes
    return argparse.Namespace(workdir=tmp_path, **values)


class Ended:
    """A process that has ended."""

    def __init__(self, code: int = 0):
        self._code = code

    def wait(self) -> int:
        return self._code


@pytest.fixture(autouse=True)
def data_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(runner, "check_data", lambda *_: None)


def finished(folder: pathlib.Path, psnr: float, kernel_sizes=(9, 1, 5), features=(64, 32)):
    """A workdir as a run leaves it, as far as a study reads it."""
    folder.mkdir(parents=True, exist_ok=True)
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
        "scale": 3,
        "model": {"kernel_sizes": kernel_sizes, "features": features},
        "data": {"colour": "y"},
        "train": {"steps": 40, "batch_size": 64},
    }
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"step": step, "loss": 0.1, "patches_per_second": 640.0} for step in (20, 40)]
    lines += [{"step": step, "psnr_valid": psnr + 0.05 * step / 40} for step in (0, 40)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return study.read_result(folder)


@pytest.mark.parametrize("module", STUDIES, ids=lambda module: module.__name__)
@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_every_run_is_a_config_that_can_be_trained(module, recipe, tmp_path):
    from configs import default
    from srcnn_jax import train

    starts = [run.start for run in module.RUNS.values() if run.start]
    for run in [*module.RUNS.values(), *starts]:
        training = study.training(run, 0, arguments(tmp_path, recipe=recipe))
        config = default.get_config(training.config.partition(":")[2])
        for argument in training.command()[6:]:
            if argument.startswith("--weights="):
                continue
            field, _, text = argument.removeprefix("--config.").partition("=")
            parent, _, leaf = field.rpartition(".")
            node = config[parent] if parent else config
            assert leaf in node
            kind = type(node[leaf])
            node[leaf] = tuple(map(int, text.split(","))) if kind is tuple else kind(text)
        train.check_config(config)


def test_a_name_belongs_to_one_run():
    by_name = {}
    for run in (run for module in STUDIES for run in module.RUNS.values()):
        for each in (run, run.start):
            if each:
                assert by_name.setdefault(each.name, each) == each


def test_results_of_a_workdir(tmp_path):
    result = finished(tmp_path / "run", 32.5)
    assert result.mean("set5") == 32.5
    assert result.mean("set5", "ssim", "bicubic") == 0.8
    assert result.over_valid_region() == 32.55
    assert (result.seconds, result.patches, result.weights) == (4.0, 2560, 8032)
    with pytest.raises(FileNotFoundError, match="is not the workdir of a finished run"):
        study.read_result(tmp_path)


def test_compare_and_write(tmp_path, capsys):
    pair = [finished(tmp_path / str(i), 32.5 + 0.1 * i) for i in range(2)]
    frame = study.compare({"9-1-5": pair, "9-9-9": pair[:1]}, {"9-1-5": 32.52})
    study.write(frame, "n1_n2", "Title", arguments(tmp_path, seeds=2))
    text = (tmp_path / "n1_n2_default_smoke.md").read_text()
    assert text == capsys.readouterr().out.removesuffix("\n")
    assert "| 32.55 ± 0.07 | +0.03" in " ".join(text.split())
    assert "| 32.50 | –" in " ".join(text.split())
    assert "--budget=smoke --seeds=2" in text
    assert (tmp_path / "n1_n2_default_smoke.csv").read_text().startswith("network,weights")
    assert "\\begin{tabular}" in (tmp_path / "n1_n2_default_smoke.tex").read_text()


def test_tables_of_the_papers(tmp_path):
    run = finished(tmp_path / "run", 32.5)
    results = {scale: [dataclasses.replace(run, scale=scale)] for scale in (2, 3, 4)}
    frame = tables_2_3_4.table_of_means(
        {key: results[scale] for key in tables_2_3_4.RUNS for scale in key[1:]}
    )
    assert len(frame) == 54
    first = frame.iloc[0]
    assert (first["bicubic, paper"], first["SRCNN 9-5-5, paper"]) == ("33.66", "36.66")
    assert first["9-5-5, difference"] == "-4.16"
    frame = eccv_tables.table_of_images(results)
    assert len(frame) == 3 * 6 + 15
    assert list(frame[frame["image"] == "baby"]["SRCNN, paper"]) == ["38.30", "35.01", "32.98"]


def test_what_training_took(tmp_path):
    result = finished(tmp_path / "run", 32.5)
    longer = dataclasses.replace(result, seconds=61.4, patches=2_000_000)
    shorter = dataclasses.replace(result, seconds=9.6, patches=2_000_000)
    expected = "2 trainings of 2,000,000 patches, 10 to 61 seconds each."
    assert study.cost({"a": [longer], "b": [shorter]}) == expected


def test_a_run_that_fails_ends_the_study_with_one_line(tmp_path):
    bad = study.Run("bad", fields={"model.kernel_sizes": "9,2,5"})
    with pytest.raises(SystemExit, match=r"bad: kernel sizes must be odd"):
        study.train_runs({"bad": bad}, arguments(tmp_path))


def test_a_damaged_workdir_ends_the_study_with_one_line(tmp_path, monkeypatch):
    run = study.network()
    folder = tmp_path / "default_smoke" / f"{run.name}_0"
    finished(folder, 32.5)
    (folder / "eval.json").write_text("{")
    monkeypatch.setattr(runner, "start", lambda *_, **__: Ended())
    with pytest.raises(SystemExit, match=r"error: .*eval.json is damaged"):
        study.train_runs({"9-1-5": run}, arguments(tmp_path))


def test_absent_data_are_one_line_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "check_data", CHECK_DATA)
    run = study.variant(study.network(), "elsewhere", {"data.train": str(tmp_path / "nothing")})
    monkeypatch.delattr(runner, "start")
    with pytest.raises(SystemExit, match=r"error: .*nothing"):
        study.train_runs({"elsewhere": run}, arguments(tmp_path))


def test_a_killed_run_ends_the_study_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "start", lambda *_, **__: Ended(-9))
    with pytest.raises(SystemExit, match="9-1-5_64-32: killed by SIGKILL"):
        study.train_runs({"9-1-5": study.network()}, arguments(tmp_path))


def test_a_run_starts_from_the_weights_of_another(tmp_path, monkeypatch):
    commands = []

    def start(training, *_, **__):
        commands.append(training.command())
        finished(training.folder, 32.5)
        return Ended()

    monkeypatch.setattr(runner, "start", start)
    second = table_5.RUNS["Y pre-train"]
    (result,) = study.train_runs({"second": second}, arguments(tmp_path))["second"]
    assert "--config.train.loss_channels=0" in commands[0]
    assert "--config.train.loss_channels=0" not in commands[1]
    assert f"--weights={tmp_path}/default_smoke/{second.start.name}_0" in commands[1]
    assert (result.seconds, result.patches) == (8.0, 5120)


def test_workers_train_at_the_same_time_and_share_the_machine(tmp_path, monkeypatch):
    together = threading.Barrier(2)
    cores, environments = [], []

    def start(training, environment, **_):
        together.wait(timeout=60)
        cores.append(os.sched_getaffinity(0))
        environments.append(environment["CUDA_VISIBLE_DEVICES"])
        finished(training.folder, 32.5)
        return Ended()

    monkeypatch.setattr(runner, "start", start)
    monkeypatch.setattr(study.runner, "list_gpus", lambda: ["4", "7"])
    mine = os.sched_getaffinity(0)
    runs = {sizes: study.network(sizes) for sizes in ("9-1-5", "9-3-5")}
    results = study.train_runs(runs, arguments(tmp_path, seeds=2, workers=2))
    assert [len(results[sizes]) for sizes in runs] == [2, 2]
    folders = [result.folder.name for seeds in results.values() for result in seeds]
    assert folders == [f"{run.name}_{seed}" for run in runs.values() for seed in (0, 1)]
    assert sorted(environments) == ["4", "4", "7", "7"]
    assert set().union(*cores) == mine == os.sched_getaffinity(0)
    assert len(mine) == 1 or all(len(each) < len(mine) for each in cores)


def test_a_run_that_another_study_trains_is_waited_for(tmp_path, monkeypatch):
    run = study.network()
    folder = tmp_path / "default_smoke" / f"{run.name}_0"
    held = runner.try_lock(folder)
    assert runner.try_lock(folder) is None
    waits = []

    def wait(seconds):
        waits.append(seconds)
        held.close()
        finished(folder, 32.5)

    monkeypatch.setattr(runner.time, "sleep", wait)
    monkeypatch.setattr(runner, "start", lambda *_, **__: Ended())
    study.train_runs({"9-1-5": run}, arguments(tmp_path))
    assert len(waits) == 1


def test_a_run_without_psnr_over_the_valid_region_is_one_line(tmp_path):
    result = finished(tmp_path / "run", 32.5)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 20, "psnr": 32.5}\n')
    with pytest.raises(SystemExit, match="delete the folder to train it again"):
        result.over_valid_region()


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


@pytest.mark.parametrize("colour", ["y", "ycbcr", "rgb"])
def test_colour_networks_restore_ycbcr(colour):
    """A network that passes its input through gives bicubic, whatever its channels."""
    pixels = np.random.default_rng(0).integers(60, 190, (24, 27, 3), np.uint8)
    channels = weights.COLOURS[colour]
    through = {"kernel": np.eye(channels, dtype=np.float32)[None, None], "bias": np.zeros(channels)}
    network = weights.Network({"conv1": through, "conv2": through}, "same", 3, colour)
    np.testing.assert_allclose(
        table_5.restore(network, pixels), table_5.restore(None, pixels), atol=2.1 / 255
    )


def test_colour_psnr_is_pooled_by_hand():
    pixels = np.full((20, 20, 3), 128, np.uint8)
    restored = image.rgb2ycbcr(pixels) / 255
    restored[..., 2] += 6 / 255
    assert table_5.colour_psnr(restored, pixels)[:2] == [np.inf, np.inf]
    expected = [10 * np.log10(255**2 / 36), 10 * np.log10(255**2 / 12)]
    np.testing.assert_allclose(table_5.colour_psnr(restored, pixels)[2:], expected)


def test_table_5_of_the_authors_network(data_dir, oracle_dir):
    set5 = datasets.load("set5", data_dir=str(data_dir))
    authors = weights.load(oracle_dir / "authors_weights" / "srcnn_915_t91_x3.mat")
    np.testing.assert_allclose(table_5.measure(None, set5), table_5.PUBLISHED["bicubic"], atol=0.01)
    ours = table_5.measure(authors, set5)
    np.testing.assert_allclose(ours, table_5.PUBLISHED["Y only"], atol=0.01)
