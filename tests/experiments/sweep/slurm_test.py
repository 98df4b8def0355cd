"""Jobs of SLURM: the script, and what is pickled."""

import argparse
import os

import optuna
from made_sweeps import GRID, ROOT, write

from experiments.sweep import cli, run, slurm, trials


def test_slurm(tmp_path, monkeypatch):
    command = [*run.COMMAND, "study.py", f"--workdir={tmp_path}"]
    parameters = {"partition": "gpu", "time": 240, "reservation": "ours"}
    script = slurm.script(command, 3, parameters, tmp_path)
    for line in (
        "#SBATCH --array=0-2%3",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=240",
        "#SBATCH --reservation=ours",
        f"cd {ROOT}",
    ):
        assert line in script.splitlines()
    assert f"-m experiments.sweep study.py --workdir={tmp_path}" in script
    assert "#SBATCH --time=240" in slurm.script(command, 3, {}, tmp_path).splitlines()

    for program in ("srun", "sbatch"):
        path = write(tmp_path, f'#!/bin/sh\ncp "$1" {tmp_path}/given; echo job 77\n', program)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert slurm.available()
    jobs = slurm.submit(run.run, argparse.Namespace(), 3, parameters, tmp_path / "slurm")
    assert jobs == ["77_0", "77_1", "77_2"]
    assert "#SBATCH --array=0-2%3" in (tmp_path / "given").read_text()
    from submitit.core import utils

    # The command itself fills the storage first.
    (tmp_path / "given").unlink()
    path = write(tmp_path, GRID)
    given = [str(path), f"--workdir={tmp_path}", "--slurm=2", f"--storage={tmp_path / 'a.log'}"]
    assert run.main(cli.parse(given)) == 0
    assert (tmp_path / "given").exists()
    storage = trials.open_storage(str(tmp_path / "a.log"), 60)
    study = optuna.load_study(study_name="study", storage=storage)
    assert len(study.trials) == 6

    pickled = utils.DelayedSubmission.load(tmp_path / "slurm" / "77_0_submitted.pkl")
    again = pickled.function.checkpoint()
    assert again.function._work is run.run
