"""Studies: what they train, and what they make of finished workdirs."""

import dataclasses
import os
import signal
import threading
import time

import pytest
from made_runs import arguments, finished

from experiments import runner
from experiments.paper import (
    curves,
    depth,
    eccv_tables,
    filter_sizes,
    n1_n2,
    robustness,
    running_time,
    study,
    table_5,
    tables_2_3_4,
    training_sets,
)
from srcnn_jax import train
from srcnn_jax.workdir import read_json

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


class Ended:
    """A process that has ended."""

    def __init__(self, code: int = 0):
        self._code = code

    def wait(self) -> int:
        return self._code


@pytest.fixture(autouse=True)
def data_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(runner, "check_data", lambda *_: None)


@pytest.mark.parametrize("module", STUDIES, ids=lambda module: module.__name__)
@pytest.mark.parametrize(
    ("recipe", "budget"), [("default", "smoke"), ("paper", "smoke"), ("paper", "short")]
)
def test_every_experiment_is_a_config_that_can_be_trained(module, recipe, budget, tmp_path):
    starts = [run.start for run in module.EXPERIMENTS.values() if run.start]
    for run in [*module.EXPERIMENTS.values(), *starts]:
        training = study.training(run, 0, arguments(tmp_path, recipe=recipe, budget=budget))
        train.check_config(runner.read_config(training))


def test_a_name_belongs_to_one_experiment():
    by_name = {}
    for run in (run for module in STUDIES for run in module.EXPERIMENTS.values()):
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
    text = (tmp_path / "n1_n2_default_short.md").read_text()
    assert text == capsys.readouterr().out.removesuffix("\n")
    assert "| 32.55 ± 0.07 | +0.03" in " ".join(text.split())
    assert "| 32.50 | –" in " ".join(text.split())
    assert "--budget=short --seeds=2" in text
    assert (tmp_path / "n1_n2_default_short.csv").read_text().startswith("network,weights")
    assert "\\begin{tabular}" in (tmp_path / "n1_n2_default_short.tex").read_text()


def test_a_smoke_run_has_one_seed_and_small_test_sets_and_its_table_says_so(
    tmp_path, monkeypatch, capsys
):
    command = ["filter_sizes", str(tmp_path), "--budget"]
    monkeypatch.setattr(study.sys, "argv", [*command, "short"])
    assert study.options("", seeds=3).seeds == 3
    monkeypatch.setattr(study.sys, "argv", [*command, "smoke"])
    args = study.options("", seeds=3)
    assert args.seeds == 1
    training = study.training(tables_2_3_4.EXPERIMENTS["9-1-5", 3], 0, args)
    assert training.fields["eval.datasets"] == "set5"
    assert training.fields["eval.metrics"] == "psnr,ssim,msssim,ifc,nqm,wpsnr"
    assert training.fields["train.steps"] == 4
    results = {"9-1-5": [finished(tmp_path / "run", 32.5)]}
    study.write(study.compare(results, {}), "filter_sizes", "Title", args)
    title, note, typed, *_ = capsys.readouterr().out.split("\n\n")
    assert title == "Title"
    assert note.startswith("This is a smoke run: 4 updates of each network")
    assert typed.endswith("--budget=smoke --seeds=1`")


def test_what_training_took(tmp_path):
    result = finished(tmp_path / "run", 32.5)
    longer = dataclasses.replace(result, seconds=61.4, patches=2_000_000)
    shorter = dataclasses.replace(result, seconds=9.6, patches=2_000_000)
    expected = "2 trainings of 2,000,000 patches, 10 to 61 seconds each."
    assert study.describe_cost({"a": [longer], "b": [shorter]}) == expected


@pytest.mark.parametrize("budget", ["smoke", "short"])  # in this process, and in its own
def test_a_run_that_fails_ends_the_study_with_one_line(budget, tmp_path):
    bad = study.Experiment("bad", fields={"model.kernel_sizes": "9,2,5"})
    with pytest.raises(SystemExit, match=r"bad: kernel sizes must be odd"):
        study.train_runs({"bad": bad}, arguments(tmp_path, budget=budget))


def test_a_smoke_run_trains_in_this_process_also_what_starts_from_another(tmp_path, monkeypatch):
    monkeypatch.delattr(runner, "start")
    fields = {"data.train": "sample", "eval.metrics": "psnr", "model.kernel_sizes": (1, 1)}
    fields["model.features"] = (1,)
    first = study.Experiment("first", fields=fields)
    args = arguments(tmp_path, budget="smoke", set=["eval.datasets=sample"])
    second = study.variant(first, "second", {"train.loss_channels": (0,)}, start=first)
    (result,) = study.train_runs({"second": second}, args)["second"]
    assert result.patches == 2 * 4 * 8
    assert read_json(result.folder / "config.json")["train"]["loss_channels"] == [0]
    before = read_json(tmp_path / "default_smoke" / "first_0" / "run.json")
    after = read_json(result.folder / "run.json")
    assert before["start"] != after["start"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.stepz=3", r"no field 'train.stepz': did you mean train.steps\?"),
        ("train.steps=many", r"train.steps.*many"),
    ],
)
def test_a_wrong_field_of_a_smoke_run_is_one_line(text, words, tmp_path):
    with pytest.raises(SystemExit, match=words) as caught:
        study.train_runs({"a": study.network()}, arguments(tmp_path, budget="smoke", set=[text]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, None)])
def test_a_signal_ends_a_smoke_run(signum, code, tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise train.Interrupted(signum, 2)

    monkeypatch.setattr(train, "train_and_evaluate", stop)
    with pytest.raises(SystemExit) as caught:
        study.train_runs({"a": study.network()}, arguments(tmp_path, budget="smoke"))
    if code:
        assert caught.value.code == code
        assert "the same command goes on from there" in capsys.readouterr().err
    else:
        assert caught.value.code == "x3_9-1-5_64-32: stopped by SIGTERM"


def test_a_damaged_workdir_ends_the_study_with_one_line(tmp_path, monkeypatch):
    run = study.network()
    folder = tmp_path / "default_short" / f"{run.name}_0"
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
    second = table_5.EXPERIMENTS["Y pre-train"]
    (result,) = study.train_runs({"second": second}, arguments(tmp_path))["second"]
    assert "--config.train.loss_channels=0" in commands[0]
    assert "--config.train.loss_channels=0" not in commands[1]
    assert f"--weights={tmp_path}/default_short/{second.start.name}_0" in commands[1]
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


def test_progress_counts_trainings_and_steps_and_tells_the_time_left(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(study.time, "perf_counter", lambda: now[0])
    finished(tmp_path / "before", 32.5)
    folders = [tmp_path / name for name in ("before", "a", "b", "c")]
    progress = study.Progress(dict(zip(folders, (7.0, 1.0, 1.0, 2.0), strict=True)))
    assert progress.line() == "1 of 4 trainings"
    now[0] += 100
    finished(tmp_path / "a", 32.5)
    finished(tmp_path / "b", 32.5)
    (tmp_path / "b" / "eval.json").unlink()
    (tmp_path / "b" / "metrics.jsonl").write_text('{"step": 20, "loss": 0.1}\n{"st')  # half a line
    assert progress.line() == "2 of 4 trainings  5:00 left"
    (tmp_path / "b" / "metrics.jsonl").write_text('{"step": 20, "loss": 0.1}\n')
    assert progress.line() == "2 of 4 trainings  b step 20/40  2:47 left"  # 1.5 of 4 in 100 s
    finished(tmp_path / "b", 32.5)
    finished(tmp_path / "c", 32.5)
    assert progress.line() == "4 of 4 trainings"


def test_progress_is_told_at_once_and_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "PROGRESS_EVERY", 0.01)

    def start(training, *_, **__):
        while capsys.readouterr().err.count("of 2 trainings") < 2:
            time.sleep(0.01)
        finished(training.folder, 32.5)
        return Ended()

    monkeypatch.setattr(runner, "start", start)
    second = table_5.EXPERIMENTS["Y pre-train"]  # starts from another
    monkeypatch.setattr(study, "_check_data", lambda *_: print("no line yet"))
    study.train_runs({"second": second}, arguments(tmp_path))
    assert capsys.readouterr().err.splitlines()[-1] == "2 of 2 trainings"


def test_a_run_that_another_study_trains_is_waited_for(tmp_path, monkeypatch):
    run = study.network()
    folder = tmp_path / "default_short" / f"{run.name}_0"
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


def test_the_folder_of_the_data_sets_goes_to_every_training(tmp_path):
    run = study.variant(study.network(), "second", start=study.network())
    training = study.training(run, 0, arguments(tmp_path, data_dir="somewhere"))
    assert "--data_dir=somewhere" in training.command()
    assert training.weights == tmp_path / "default_short" / f"{study.network().name}_0"
