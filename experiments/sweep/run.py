"""What `experiments.sweep` does once it has read its command line."""

import argparse
import pathlib
import shlex
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from experiments import machine, runner
from experiments.sweep import cli
from experiments.sweep import file as sweep_file
from experiments.sweep import slurm as sweep_slurm
from experiments.sweep import table as sweep_table
from experiments.sweep import training as sweep_training
from experiments.sweep import trials as sweep_trials
from experiments.sweep.file import Sweep
from experiments.sweep.trials import Worker
from srcnn_jax.architecture import kernel_shapes
from srcnn_jax.convolution import multiply_adds

COMMAND = [sys.executable, "-m", "experiments.sweep"]
# Of a training's matrix products, to the rate of one large product. A default step of 9-1-5, 9-3-5
# and 9-5-5 took 59, 251 and 290 ms (0.37, 0.48, 0.42) on two cores of an AMD EPYC (Zen 3) of 110 to
# 170 GF/s: medians of six rounds, a shared machine.
EFFICIENCY = 0.42
STARTUP = 20.0  # seconds of a run besides training


def main(choices: argparse.Namespace) -> int:
    """`run`; a mistake is one line, and another exit code than 0."""
    try:
        run(choices)
    except (ValueError, OSError, optuna.exceptions.StorageInternalError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, sweep_file.SweepError) else 1
    return 0


def work(arguments: Sequence[str]) -> None:
    """What a job of SLURM does: one worker."""
    run(cli.parse(arguments))


def run(choices: argparse.Namespace) -> None:
    """Does what the command line says."""
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sweep = sweep_file.read(choices.sweep)
    if choices.vmap > 1 and sweep.searching:
        raise ValueError("--vmap is for GRID and RANDOM: a search draws its points one by one")
    if choices.dry_run:
        if choices.slurm:
            print_job(choices)
        print(textwrap.indent(plan(sweep), "# " if choices.slurm else ""))  # of the script
        return
    choices.workdir.mkdir(parents=True, exist_ok=True)
    storage = sweep_trials.open_storage(choices.storage, choices.heartbeat)
    study = sweep_trials.open_study(sweep, storage)
    if choices.best:
        best = sweep_table.write_best(sweep, study, choices.workdir / "best.py")
        print(sweep_table.write(sweep, study, choices.workdir))
        print(f"\nbest: {best}\n{choices.workdir / 'best.py'}")
        return
    if not isinstance(storage, optuna.storages.RDBStorage):
        print(
            "a journal file has no heartbeat: if a worker is killed, its trial counts as running "
            "until the command is started with --retry=running"
        )
    if choices.retry == "running":
        count = sweep_trials.give_back_running(study, storage)
        print(f"{count} running trials are taken over")
    sweep_trials.fill(sweep, study, choices.retry == "failed")
    if sweep.dataset and study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        # Without a METRIC on one, a sweep may be of the sample.
        data = sweep.config.data
        runner.check_data(data.train, sweep.config.eval.datasets, data.dir)
    if choices.slurm:
        start_jobs(choices)
        return
    if choices.workers > 1:
        start_workers(choices)
        return
    if choices.vmap > 1:
        train_at_once(choices)
    worker = Worker(sweep, study, storage, choices.workdir, choices.heartbeat, choices.prune)
    if sweep_trials.work(worker):
        print(f"\n{sweep_table.write(sweep, study, choices.workdir)}\n\n{choices.workdir}")


def one_worker(choices: argparse.Namespace) -> list[str]:
    """The command line of one more worker."""
    return [
        str(choices.sweep.absolute()),
        f"--workdir={choices.workdir.absolute()}",
        f"--storage={choices.storage}",
        f"--heartbeat={choices.heartbeat}",
        *(["--prune"] if choices.prune else []),
        *([f"--vmap={choices.vmap}"] if choices.vmap > 1 else []),
    ]


def start_workers(choices: argparse.Namespace) -> None:
    """Runs workers here, each with its share of the cores and, where there are any, a GPU.

    Raises:
      OSError: if one ends with an error, when all have ended.
    """
    command = [*COMMAND, *one_worker(choices)]
    gpus = runner.list_gpus()
    processes: list[subprocess.Popen] = []
    try:
        for index in range(choices.workers):
            with runner.share(index, choices.workers, gpus) as environment:
                # In a session of its own: Ctrl-C reaches it once, from here.
                processes.append(subprocess.Popen(command, env=environment, start_new_session=True))
        codes = [process.wait() for process in processes]
    except BaseException:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        raise
    if any(codes):
        raise OSError(f"{sum(map(bool, codes))} of {choices.workers} workers ended with an error")


def train_at_once(choices: argparse.Namespace) -> None:
    """Trains what can be trained together, in a process that gives the GPU back when it ends.

    Raises:
      OSError: if that fails.
    """
    command = [sys.executable, "-m", "experiments.sweep.vmap_cli", str(choices.sweep.absolute())]
    command += [f"--workdir={choices.workdir.absolute()}", f"--networks={choices.vmap}"]
    if code := sweep_training.call(command):
        raise OSError(f"{shlex.join(command[1:])} ended with {code}")


def seconds_of_run(config, rate: float) -> float:
    """About how long a training of a config takes on a CPU of so many GF/s."""
    channels = 1 if config.data.colour == "y" else 3
    shapes = kernel_shapes(config.model.kernel_sizes, config.model.features, channels)
    first, *others = (multiply_adds(shape, config.data.patch_size) for shape in shapes)
    # Forward, and two products back for all but the first layer, whose input needs no gradient.
    flop = 2 * config.data.patch_size**2 * (2 * first + 3 * sum(others))
    patches = config.train.steps * config.train.batch_size
    return STARTUP + patches * flop / (EFFICIENCY * rate * 1e9)


def plan(sweep: Sweep) -> str:
    """The points of a sweep and about how long it takes."""
    rate = machine.rate()
    runs = sum(len(task.seeds) for task in sweep.tasks)
    lines, seconds = [], []
    for point in sweep.points:
        fields = sweep.fields(point)
        seconds.append(seconds_of_run(sweep_file.set_fields(sweep.config, fields), rate))
        lines.append(f"  {sweep_file.trial_name(fields)}  about {duration(seconds[-1])}")
    what = f"{runs} runs of {sweep.config_file}, for the best {sweep.title()}"
    if sweep.searching:
        what += "; Optuna draws the points, for example"
    total = duration(runs * sum(seconds) / len(seconds))
    on = f"on this machine's CPU ({rate:.0f} GF/s in a matrix product)"
    return "\n".join([what, *lines, f"about {total} in all {on}"])


def duration(seconds: float) -> str:
    """'40 s', '12 min' or '5.2 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def start_jobs(choices: argparse.Namespace) -> None:
    """Submits workers to SLURM, or prints what sbatch would be given if there is no SLURM."""
    if not sweep_slurm.available():
        print_job(choices)
        print("# there is no SLURM on this machine: this is what sbatch would be given")
        return
    parameters, logs = _job(choices)
    jobs = sweep_slurm.submit(work, one_worker(choices), choices.slurm, parameters, logs)
    print(f"submitted {', '.join(jobs)}; logs in {logs}")


def print_job(choices: argparse.Namespace) -> None:
    """Prints a script for sbatch."""
    parameters, logs = _job(choices)
    print(sweep_slurm.script([*COMMAND, *one_worker(choices)], choices.slurm, parameters, logs))
    print(f"# before sbatch: mkdir -p {shlex.quote(str(logs))}")


def _job(choices: argparse.Namespace) -> tuple[dict[str, int | str], pathlib.Path]:
    """What sbatch is told, and the folder of the logs."""
    parameters = {
        name: int(value) if value.isdigit() else value
        for name, _, value in (setting.partition("=") for setting in choices.slurm_set)
    }
    return parameters, choices.workdir.absolute() / "slurm"
