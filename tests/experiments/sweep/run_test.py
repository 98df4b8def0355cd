"""What a sweep is planned to take."""

import pytest
import sqlalchemy
from made_sweeps import GRID, write

from experiments.sweep import cli, file, run, trials


def test_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(run.machine, "rate", lambda: 100.0)
    text = run.plan(file._read(write(tmp_path, GRID)))
    first, *points, last = text.splitlines()
    assert first.startswith("6 runs of ")
    assert first.endswith("configs/default.py:x3, for the best PSNR on set5")
    assert points[0] == "  kernel_sizes=9-1-5  about 21 s"
    assert last == "about 3 min in all on this machine's CPU (100 GF/s in a matrix product)"
    # Measured at 195 GF/s, in ms; within a fifth.
    config = file._read(tmp_path / "study.py").config
    for f2, step in {1: 39, 3: 152, 5: 207}.items():
        config.model.kernel_sizes, config.train.steps = (9, f2, 5), 9000
        expected = run.STARTUP + 9 * step
        assert run.seconds_of_run(config, 195.0) == pytest.approx(expected, rel=0.2)


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
