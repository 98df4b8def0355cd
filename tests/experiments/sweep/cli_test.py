"""The command line of sweeps."""

import importlib.util
import pathlib
import sys

import pytest

from experiments.sweep import cli


def test_sqlite_is_for_one_machine(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(["study.py", "--workdir=out", "--slurm=2"])
    assert stop.value.code == 2
    assert "SQLite is for one machine" in capsys.readouterr().err
    args = cli.parse(["study.py", "--workdir=out", "--slurm=2", "--storage=a.log"])
    assert args.storage == str(pathlib.Path("a.log").absolute())


def test_what_is_not_installed_is_told_in_one_line(monkeypatch):
    for name in ("optuna", "sqlalchemy"):  # sqlalchemy comes with optuna
        monkeypatch.setitem(sys.modules, name, None)
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda m: None if m == "optuna" else known(m))
    with pytest.raises(SystemExit, match=r"optuna cannot be imported: pip install -r"):
        cli.parse(["study.py", "--workdir=out"])
