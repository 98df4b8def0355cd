"""Runs a sweep, once the command line is read: plans, starts workers, writes the tables."""

import argparse
import pathlib
import shlex
import subprocess
import sys
import textwrap
import warnings

import optuna
from optuna.trial import TrialState

from experiments import runner
from experiments.sweep import file as sweep_file
from experiments.sweep import plan, slurm, trials, worker

COMMAND = [sys.executable, "-m", "experiments.sweep"]


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
        sweep = sweep_file.watch_metric(sweep)
    if args.vmap > 1 and sweep.searching:
        raise ValueError("--vmap is for GRID and RANDOM: a search draws its points one by one")
    if args.dry_run:
        if args.slurm:
            print_job(args)
        study = trials.find_study(sweep, args.storage, args.heartbeat)
        planned = plan.plan(sweep, study)
        print(textwrap.indent(planned, "# " if args.slurm else ""))  # a script's comment
        return
    args.workdir.mkdir(parents=True, exist_ok=True)
    storage = trials.open_storage(args.storage, args.heartbeat)
    study = trials.open_study(sweep, storage)
    if args.best:
        from experiments.sweep import table  # it loads pandas

        best = table.write_best(sweep, study, args.workdir / "best.py")
        print(table.write(sweep, study, args.workdir))
        print(f"\nbest: {best}\n{args.workdir / 'best.py'}")
        return
    if not isinstance(storage, optuna.storages.RDBStorage) and not args.child:
        print(
            "a journal file has no heartbeat: if a worker is killed, its trial counts as running "
            "until the command is started with --retry=running"
        )
    if args.retry == "running":
        count = trials.give_back_running(study, storage)
        print(f"running trials that are taken over: {count}")
    trials.fill(sweep, study, args.retry == "failed")
    if sweep.dataset and study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        # A METRIC that names no data set may be of the sample.
        runner.check_data(sweep.config.data.train, sweep.config.eval.datasets, args.data_dir)
    if args.slurm:
        start_jobs(args)
        return
    if not args.child:
        print(f"{sweep.name}: {plan.status(sweep, study)}", flush=True)
    reports = True
    if trials.count_settled(sweep, study) < len(sweep.tasks):
        if args.workers > 1:
            start_workers(args)
            reports = trials.count_settled(sweep, study) == len(sweep.tasks)
        else:
            if args.vmap > 1:
                train_at_once(args)
            own = worker.Worker(
                sweep, study, storage, args.workdir, args.heartbeat, args.prune, args.data_dir
            )
            reports = worker.work(own)
    if reports and not args.child:
        from experiments.sweep import table  # it loads pandas

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
    command = [*one_worker_command(args), "--child"]
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
    while True:
        process = subprocess.Popen(
            command, cwd=runner.ROOT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        code = runner.wait(process)
        if not code:
            return
        if runner.stop_signal(code) is None:
            raise OSError(f"{shlex.join(command[1:])} ended with {code}")
        print("networks that train at once were stopped, and go on", flush=True)


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
