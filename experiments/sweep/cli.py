"""Runs a sweep: trains many configs, on one machine or many, and compares them.

    python -m experiments.sweep experiments/sweeps/filters.py --workdir=DIR --dry_run
    python -m experiments.sweep experiments/sweeps/filters.py --workdir=DIR --workers=2
    python -m experiments.sweep experiments/sweeps/filters.py --workdir=DIR --best

What a sweep file says is told in `sweep_file.py`. Start the same command as often as you like, at
the same time or again after a stop: what is done is not done again. DIR gets the trials' workdirs,
table.md, table.csv, cost.png and importance.png; --best only writes these of what is finished so
far, and best.py, the best config, for `main --config=DIR/best.py`.
"""

import argparse
import pathlib
import signal
import sys
from collections.abc import Sequence

from experiments import runner


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("sweep", type=pathlib.Path, help="the sweep, a Python file")
    parser.add_argument("--workdir", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument(
        "--storage",
        metavar="URL_OR_FILE",
        help="where the trials are recorded: postgresql://..., sqlite:///..., or a journal file on "
        "a disk that all machines share (default: sqlite:///DIR/sweep.db)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes here, each with its share of the cores or a GPU (%(default)s)",
    )
    parser.add_argument(
        "--vmap",
        type=int,
        default=1,
        metavar="NETWORKS",
        help="train so many at once on a GPU, where they differ in seed and learning rate only",
    )
    parser.add_argument("--slurm", type=int, metavar="JOBS", help="submit workers as a job array")
    parser.add_argument(
        "--slurm_set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of sbatch: partition=gpu, time=240 (minutes), gpus_per_node=1, cpus_per_task=8",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="stop trials that are below the median of the others "
        "at the same step, after half of the training; not for tables of a paper",
    )
    parser.add_argument(
        "--retry",
        choices=("failed", "running"),
        help="run failed trials again; or take over "
        "running ones whose workers are gone (needed with a journal file only)",
    )
    parser.add_argument(
        "--heartbeat",
        type=int,
        default=60,
        metavar="SECONDS",
        help="a worker is dead after three times as long without a sign of life (%(default)s)",
    )
    parser.add_argument("--dry_run", action="store_true", help="print the trials and their time")
    parser.add_argument("--best", action="store_true", help="write the tables and best.py")
    choices = parser.parse_args(arguments)
    for name in ("workers", "vmap", "heartbeat", "slurm"):
        if getattr(choices, name) is not None and getattr(choices, name) < 1:
            parser.error(f"--{name} must be positive, not {getattr(choices, name)}")
    if choices.vmap > 1 and choices.prune:
        parser.error("--vmap trains all networks to the end: leave out --prune")
    for setting in choices.slurm_set:
        if "=" not in setting:
            parser.error(f"--slurm_set is NAME=VALUE, as partition=gpu, not {setting!r}")
    if choices.slurm and (choices.workers > 1 or choices.retry or choices.best):
        parser.error("--slurm starts one worker a job: not with --workers, --retry or --best")
    if choices.slurm and (choices.storage or "sqlite:").startswith("sqlite:"):
        parser.error("--slurm needs --storage, a URL or FILE: SQLite is for one machine")
    if choices.storage is None:
        choices.storage = f"sqlite:///{choices.workdir.absolute()}/sweep.db"
    elif "://" not in choices.storage:
        choices.storage = str(pathlib.Path(choices.storage).absolute())
    return choices


def main() -> None:
    choices = parse(sys.argv[1:])
    runner.need("matplotlib", "optuna", "pandas", "sklearn", "submitit", "tabulate")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        from experiments.sweep import run as sweep_run  # after the flags: it loads much

        sys.exit(sweep_run.main(choices))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from there", file=sys.stderr)
        sys.exit(130)
