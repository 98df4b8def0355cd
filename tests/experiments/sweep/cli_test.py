"""The command line of sweeps."""

import pathlib

import pytest

from experiments.sweep import cli


def test_sqlite_is_for_one_machine(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(["study.py", "--workdir=out", "--slurm=2"])
    assert stop.value.code == 2
    assert "SQLite is for one machine" in capsys.readouterr().err
    args = cli.parse(["study.py", "--workdir=out", "--slurm=2", "--storage=a.log"])
    assert args.storage == str(pathlib.Path("a.log").absolute())
