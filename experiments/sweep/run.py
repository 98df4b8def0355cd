"""Runs a sweep, once the command line is read: plans, starts workers, writes the tables."""

import argparse
import pathlib
import shlex
import subprocess
import sys
import textwrap
import warnings

import ml_collections
import optuna
from optuna.trial import TrialState

from experiments import machine, runner
from experiments.sweep import file as sweep_file
from experiments.sweep import slurm, table, trials, worker
from experiments.sweep.file import Sweep
from srcnn_jax.architecture import create_architecture
from srcnn_jax.convolution import multiply_adds

COMMAND = [sys.executable, "-m", "experiments.sweep"]
# The rate of a training's matrix products over that of one large product. A default step of 9-1-5,
# 9-3-5 and 9-5-5 took 59, 251 and 290 ms (0.37, 0.48, 0.42) on two cores of an AMD EPYC (Zen 3) of
# 110 to 170 GF/s: medians of six rounds on a shared machine.
EFFICIENCY = 0.42
STARTUP = 20.0  # seconds of a run besides training


def main(args: argparse.Namespace) -> int:
    """As `run`, but a mistake is one line, and an exit code other than 0."""
    try:
        run(args)
    except (ValueError, OSError, optuna.exceptions.StorageInternalError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, sweep_file.SweepError) else 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Does what the command line says; a job of SLURM calls it, too, as one worker."""
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sweep = sweep_file.read_sweep(args.sweep)
    if args.prune:
        sweep = sweep_file.measure_on_held_out(sweep)
    if args.vmap > 1 and sweep.searching:
        raise ValueError("--vmap is for GRID and RANDOM: a search draws its points one by one")
    if args.dry_run:
        if args.slurm:
            print_job(args)
        print(textwrap.indent(plan(sweep), "# " if args.slurm else ""))  # a script's comment
        return
    args.workdir.mkdir(parents=True, exist_ok=True)
    storage = trials.open_storage(args.storage, args.heartbeat)
    study = trials.open_study(sweep, storage)
    if args.best:
        best = table.write_best(sweep, study, args.workdir / "best.py")
        print(table.write(sweep, study, args.workdir))
        print(f"\nbest: {best}\n{args.workdir / 'best.py'}")
        return
    if not isinstance(storage, optuna.storages.RDBStorage):
        print(
            "a journal file has no heartbeat: if a worker is killed, its trial counts as running "
            "until the command is started with --retry=running"
        )
    if args.retry == "running":
        count = trials.give_back_running(study, storage)
        print(f"{count} running trials are taken over")
    trials.fill(sweep, study, args.retry == "failed")
    if sweep.dataset and study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        # A METRIC that names no data set may be of the sample.
        runner.check_data(sweep.config.data.train, sweep.config.eval.datasets, args.data_dir)
    if args.slurm:
        start_jobs(args)
        return
    if args.workers > 1:
        start_workers(args)
        return
    if args.vmap > 1:
        train_at_once(args)
    own = worker.Worker(
        sweep, study, storage, args.workdir, args.heartbeat, args.prune, args.data_dir
    )
    if worker.work(own):
        print(f"\n{table.write(sweep, study, args.workdir)}\n\n{args.workdir}")


def one_worker(args: argparse.Namespace) -> argparse.Namespace:
    """The command line of one more worker, as it is parsed."""
    paths = {"sweep": args.sweep.absolute(), "workdir": args.workdir.absolute()}
    return argparse.Namespace(**{**vars(args), **paths, "workers": 1, "slurm": None, "retry": None})


def one_worker_command(args: argparse.Namespace) -> list[str]:
    """The command line of one more worker, as it is typed."""
    return [
        *COMMAND,
        str(args.sweep.absolute()),
        f"--workdir={args.workdir.absolute()}",
        f"--storage={args.storage}",
        f"--heartbeat={args.heartbeat}",
        *(["--prune"] if args.prune else []),
        *([f"--vmap={args.vmap}"] if args.vmap > 1 else []),
        *([f"--data_dir={args.data_dir}"] if args.data_dir else []),
    ]


def start_workers(args: argparse.Namespace) -> None:
    """Runs workers here, each with its share of the cores and, where there are any, a GPU.

    Raises:
      OSError: if one ends with an error, when all have ended.
    """
    command = one_worker_command(args)
    gpus = runner.list_gpus()
    processes: list[subprocess.Popen] = []
    try:
        for index in range(args.workers):
            with runner.share(index, args.workers, gpus) as environment:
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
        raise OSError(f"{sum(map(bool, codes))} of {args.workers} workers ended with an error")


def train_at_once(args: argparse.Namespace) -> None:
    """Trains what can be trained together, in a process that gives the GPU back when it ends.

    Raises:
      OSError: if that fails.
    """
    command = [sys.executable, "-m", "experiments.sweep.vmap", str(args.sweep.absolute())]
    command += [f"--workdir={args.workdir.absolute()}", f"--networks={args.vmap}"]
    command += [f"--data_dir={args.data_dir}"] if args.data_dir else []
    process = subprocess.Popen(
        command, cwd=runner.ROOT, stdin=subprocess.DEVNULL, start_new_session=True
    )
    if code := runner.wait(process):
        raise OSError(f"{shlex.join(command[1:])} ended with {code}")


def seconds_of_run(config: ml_collections.ConfigDict, rate: float) -> float:
    """About how long a training of a config takes on a CPU of `rate` GF/s."""
    shapes = create_architecture(config).shapes
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


def start_jobs(args: argparse.Namespace) -> None:
    """Submits workers to SLURM, or prints what sbatch would be given if there is no SLURM."""
    if not slurm.available():
        print_job(args)
        print("# there is no SLURM on this machine: this is what sbatch would be given")
        return
    parameters, logs = _job(args)
    jobs = slurm.submit(run, one_worker(args), args.slurm, parameters, logs)
    print(f"submitted {', '.join(jobs)}; logs in {logs}")


def print_job(args: argparse.Namespace) -> None:
    """Prints a script for sbatch."""
    parameters, logs = _job(args)
    print(slurm.script(one_worker_command(args), args.slurm, parameters, logs))
    print(f"# before sbatch: mkdir -p {shlex.quote(str(logs))}")


def _job(args: argparse.Namespace) -> tuple[dict[str, int | str], pathlib.Path]:
    """What sbatch is told, and the folder of the logs."""
    parameters = {
        name: int(value) if value.isdigit() else value
        for name, _, value in (setting.partition("=") for setting in args.slurm_set)
    }
    return parameters, args.workdir.absolute() / "slurm"
