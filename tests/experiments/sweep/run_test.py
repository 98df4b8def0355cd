"""How a sweep starts its workers, and where its record is."""

import pytest
import sqlalchemy

from experiments.sweep import cli, run, trials


def test_one_worker_gets_what_the_command_was_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["a.py", "--workdir=out", "--workers=3", "--prune", "--data_dir=data"]
    args = cli.parse(given)
    command = run.one_worker_command(args)
    assert command[: len(run.COMMAND)] == run.COMMAND
    assert "--data_dir=data" in command
    assert vars(cli.parse(command[len(run.COMMAND) :])) == vars(run.one_worker(args))
    assert run.one_worker(args).workers == 1
    assert run.one_worker(args).sweep == tmp_path / "a.py"


@pytest.mark.parametrize("name", ["lr?1", "a#b", "50%", "é ü"])
def test_the_database_is_in_the_workdir_whatever_its_name(tmp_path, name):
    args = cli.parse(["a.py", f"--workdir={tmp_path / name}"])
    assert sqlalchemy.make_url(args.storage).database == str(tmp_path / name / "sweep.db")
    storage = trials.open_storage(args.storage, 60)
    assert (tmp_path / name / "sweep.db").is_file()
    del storage
