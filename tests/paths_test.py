"""Paths that people type."""

import argparse
import pathlib
import subprocess
import sys

import pytest

from srcnn_jax import evaluate, paths, train, upscale, weights

ROOT = pathlib.Path(__file__).parents[1]


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.local("~/runs/a", "--workdir") == tmp_path / "runs/a"
    assert paths.argument("~/a.png") == tmp_path / "a.png"
    assert paths.local("a/~b", "--workdir") == pathlib.Path("a/~b")


def test_an_address_is_refused_before_anything_is_made(tiny_config, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    address = "gs://bucket/a"
    with pytest.raises(ValueError, match="--workdir gs://bucket/a is an address: name a path"):
        paths.local(address, "--workdir")
    with pytest.raises(argparse.ArgumentTypeError, match="is an address"):
        paths.argument(address)
    with pytest.raises(ValueError, match="the workdir gs:"):
        train.train_and_evaluate(tiny_config, address)
    with pytest.raises(ValueError, match="the folder gs:"):
        evaluate.run(tiny_config, address, {"srcnn": weights.load_pretrained(3)})
    with pytest.raises(ValueError, match="the weight file gs:"):
        weights.load(address)
    assert upscale.main([f"{address}.png", "--scale=2"]) == 1
    assert "gs://bucket/a.png is an address" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_path_and_a_file_are_no_folders(tiny_config, tmp_path):
    for read in (paths.argument, paths.folder_argument):
        with pytest.raises(argparse.ArgumentTypeError, match="the path is empty"):
            read("")
    assert paths.folder_argument(str(tmp_path)) == tmp_path
    assert paths.folder_argument(str(tmp_path / "new")) == tmp_path / "new"
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(argparse.ArgumentTypeError, match="file is a file: name a folder"):
        paths.folder_argument(str(file))
    with pytest.raises(ValueError, match=r"the workdir .*file is a file"):
        train.train_and_evaluate(tiny_config, str(file))
    with pytest.raises(ValueError, match=r"the folder .*file is a file"):
        evaluate.run(tiny_config, str(file), {"srcnn": weights.load_pretrained(3)})


def test_main_expands_what_no_shell_expands(tmp_path):
    command = [sys.executable, "-m", "srcnn_jax.main", "--config=configs/default.py:x3,runlocal"]
    command += ["--mode=eval", "--weights=~/none.pth", "--workdir=~/x"]
    environment = {"HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"there is no weight file {tmp_path}/none.pth" in done.stderr
