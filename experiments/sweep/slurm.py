"""A sweep's workers as a job array of SLURM, by submitit."""

import argparse
import pathlib
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import submitit
from submitit.slurm.slurm import _make_sbatch_string

from experiments.runner import ROOT

MINUTES = 240  # of a job, if --slurm_set=time says nothing; submitit's own 5 end in the first run


class ArrayTask:
    """One job of the array: a worker. At its time limit it puts itself into the queue again.

    `work` is a function of a module, so that its name is all that is pickled of it.
    """

    def __init__(self, work: Callable[[argparse.Namespace], None], args: argparse.Namespace):
        self._work, self._args = work, args

    def __call__(self) -> None:
        self._work(self._args)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(self)


def available() -> bool:
    return shutil.which("sbatch") is not None and shutil.which("srun") is not None


def script(
    command: Sequence[str], jobs: int, parameters: Mapping[str, Any], logs: pathlib.Path
) -> str:
    """An sbatch script of `jobs` jobs that each run a command."""
    return _make_sbatch_string(shlex.join(command), logs, map_count=jobs, **_all(parameters))


def submit(
    work: Callable[[argparse.Namespace], None],
    args: argparse.Namespace,
    jobs: int,
    parameters: Mapping[str, Any],
    logs: pathlib.Path,
) -> list[str]:
    """Submits `jobs` jobs that each call `work(args)`; returns their ids."""
    executor = submitit.SlurmExecutor(logs, max_num_timeout=100)
    executor.update_parameters(**_all(parameters))
    submitted = executor.submit_array([ArrayTask(work, args) for _ in range(jobs)])
    return [job.job_id for job in submitted]


def _all(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """submitit's parameters; a SLURM option that it has no name for goes to sbatch as it is."""
    known = submitit.SlurmExecutor._valid_parameters()
    other = {name: value for name, value in parameters.items() if name not in known}
    own = {name: value for name, value in parameters.items() if name in known}
    setup = [f"cd {shlex.quote(str(ROOT))}"]
    defaults = {"job_name": "sweep", "time": MINUTES, "setup": setup}
    return {**defaults, "additional_parameters": other, **own}
