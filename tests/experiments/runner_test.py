"""Trainings as processes: their command lines, and their share of the machine."""

import os
import pathlib
import shutil
import sys

import ml_collections
import pytest
from absl import flags
from ml_collections import config_flags

from experiments import runner

CONFIG = """
import ml_collections

def get_config(word):
    config = ml_collections.ConfigDict()
    config.word = word
    config.sizes, config.channels, config.names = (9, 1, 5), (0,), ("a",)
    config.rates = ((".*", 1.0),)
    config.optimizer = ml_collections.ConfigDict({"options": {"momentum": 0.9}})
    return config
"""


@pytest.mark.parametrize(
    ("field", "value", "written"),
    [
        ("word", "b,c", "b,c"),
        ("sizes", (9, 3, 5), "9,3,5"),
        ("sizes", [7], "7"),
        ("channels", (), "()"),
        ("channels", (1, 2), "1,2"),
        ("names", ("b", "c"), "('b', 'c')"),
        ("rates", [["last/.*", 0.1], [".*", 1.0]], "(('last/.*', 0.1), ('.*', 1.0))"),
        ("rates", ((".*", 1.0),), "(('.*', 1.0),)"),
        ("optimizer.options", {"b1": 0.9, "nesterov": True}, "{'b1': 0.9, 'nesterov': True}"),
        ("optimizer.options", {}, "{}"),
        ("optimizer.options.momentum", 0.5, "0.5"),
    ],
)
def test_main_reads_a_value_as_it_is_written(field, value, written, tmp_path):
    assert runner.text(value) == written
    (tmp_path / "config.py").write_text(CONFIG)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True)
    training = runner.Training(f"{tmp_path}/config.py:a", tmp_path, {field: value})
    ours = [each for each in training.command() if each.startswith("--config")]
    with pytest.MonkeyPatch.context() as patch:  # ml_collections looks at both
        patch.setattr(sys, "argv", ["main", *ours])
        values(sys.argv)
    found = values.config
    for name in field.split("."):
        found = found[name]
    if isinstance(found, ml_collections.ConfigDict):
        found = found.to_dict()
    assert found == runner._as_tuple(value)


def test_the_command_line_of_a_training():
    folder, weights = pathlib.Path("out"), pathlib.Path("before")
    training = runner.Training("configs/default.py:x3", folder, {"seed": 1, "data.train": "t91"})
    arguments = [
        "--config=configs/default.py:x3",
        f"--workdir={folder.absolute()}",
        "--num_processes=1",
        "--config.seed=1",
        "--config.data.train=t91",
    ]
    assert training.command() == [sys.executable, "-m", "srcnn_jax.main", *arguments]
    training = runner.Training("a.py", folder, {}, weights, data_dir="data", allow_sample=False)
    assert training.command()[-3:] == [
        "--data_dir=data",
        "--noallow_sample",
        f"--weights={weights.absolute()}",
    ]


def test_why_a_training_failed(tmp_path):
    training = runner.Training("configs/default.py:x5", tmp_path / "out")
    with pytest.raises(runner.TrainingError, match="unknown config word 'x5'"):
        runner.run(training)
    with pytest.raises(runner.TrainingError, match="unknown config word 'x5'"):
        runner.run(training, log=tmp_path / "log.txt", watch=lambda: None)
    assert "unknown config word 'x5'" in (tmp_path / "log.txt").read_text()
    assert runner.reason(-9, "error: a") == "killed by SIGKILL; out of memory?"
    assert runner.reason(-6, "") == "killed by SIGABRT"
    assert runner.reason(1, "error: a\nb\n") == "a"
    assert runner.reason(1, "a\nb\n") == "b"


@pytest.mark.parametrize("code", [143, -15, 130, -2, 129, -1])
def test_a_training_that_a_signal_stops_has_not_failed(code, tmp_path, monkeypatch):
    # Under nohup a process begins with SIGHUP ignored.
    default = f"signal.signal({-code}, signal.SIG_DFL)"
    end = f"{default}; os.kill(os.getpid(), {-code})" if code < 0 else f"os._exit({code})"
    command = [sys.executable, "-c", f"import os, signal; {end}"]
    monkeypatch.setattr(runner.Training, "command", lambda self: command)
    with pytest.raises(runner.TrainingStopped, match=r"stopped by SIG(TERM|INT|HUP)$"):
        runner.run(runner.Training("configs/default.py:x3", tmp_path))


def test_a_finished_folder_is_left_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "eval.json").touch()
    monkeypatch.delattr(runner, "start")
    runner.run(runner.Training("configs/default.py:x3", tmp_path), unless_finished=True)


def test_what_a_watch_raises_stops_the_training(tmp_path):
    class StopError(Exception):
        pass

    def watch():
        raise StopError

    training = runner.Training("configs/default.py:x3", tmp_path)
    with pytest.raises(StopError):
        runner.run(training, watch=watch)
    runner.lock(tmp_path).close()  # it ended, and gave back the lock


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are shared on Linux alone")
def test_shares_of_the_machine():
    mine = os.sched_getaffinity(0)
    for index, gpu in enumerate("232"):
        with runner.share(index, 3, ["2", "3"]) as environment:
            assert environment["CUDA_VISIBLE_DEVICES"] == gpu
            assert environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"  # two share one
            assert len(os.sched_getaffinity(0)) == max(1, len(range(index, len(mine), 3)))
    assert os.sched_getaffinity(0) == mine


def test_workers_share_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert runner.list_gpus() == ["2", "3"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert runner.list_gpus() == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a =\n", "line 1: invalid"), (b"\0\1", "null bytes: it must be a Python file")],
)
def test_what_is_no_python_is_said_in_a_line(content, words, tmp_path):
    (tmp_path / "sweep.py").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        runner.run_file(tmp_path / "sweep.py")
    assert "None" not in str(caught.value)
