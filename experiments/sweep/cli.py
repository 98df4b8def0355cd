"""Runs a sweep: trains many configs, on one machine or many, and compares them.

    python -m experiments.sweep experiments/sweeps/filters.py --workdir=DIR --dry_run
    python -m experiments.sweep experiments/sweeps/filters.py --workdir=DIR --workers=2
    python -m experiments.sweep experiments/sweeps/filters.py --workdir=DIR --best

`experiments/sweep/file.py` says what a sweep file may hold. You may start the same command as often
as you like, at the same time or again after a stop: nothing is done twice. DIR gets the workdirs of
the trials, table.md, table.tex and table.csv (a row for each point), runs.csv (a row for each run),
cost.png, fields.png, importance.png and, of a search, best_so_far.png. --best writes only these,
from what is finished so far, and best.py, the best config, for `main --config=DIR/best.py`.
"""

import argparse
import pathlib
from collections.abc import Sequence

from experiments import runner
from srcnn_jax import paths


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("sweep", type=paths.argument, help="the sweep, a Python file")
    parser.add_argument("--workdir", type=paths.folder_argument, required=True, metavar="DIR")
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
        help="train up to NETWORKS at once on a GPU, if they differ in seed and learning rate only",
    )
    parser.add_argument("--slurm", type=int, metavar="JOBS", help="submit workers as a job array")
    parser.add_argument(
        "--slurm_set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="for sbatch: partition=gpu, time=240 (minutes), gpus_per_node=1, cpus_per_task=8",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="after half of the training, stop trials whose METRIC, a PSNR, is below the median of "
        "the others at the same step; not for tables of a paper",
    )
    parser.add_argument(
        "--retry",
        choices=("failed", "running"),
        help="failed: run failed trials again; running: take over trials whose workers are gone "
        "(needed with a journal file only)",
    )
    parser.add_argument(
        "--heartbeat",
        type=int,
        default=60,
        metavar="SECONDS",
        help="time between two signs of life; a worker is dead after three without (%(default)s)",
    )
    parser.add_argument("--data_dir", default="", help="folder of the data sets, as main's")
    parser.add_argument(
        "--dry_run", action="store_true", help="print the trials, what is done, and the time"
    )
    parser.add_argument("--best", action="store_true", help="write the tables and best.py")
    # One of --workers: the command that starts it tells how it begins, and that it is stopped.
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    for name in ("workers", "vmap", "heartbeat", "slurm"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be positive, not {getattr(args, name)}")
    if args.vmap > 1 and args.prune:
        parser.error("--vmap trains all networks to the end: leave out --prune")
    for setting in args.slurm_set:
        if "=" not in setting:
            parser.error(f"--slurm_set is NAME=VALUE, as partition=gpu, not {setting!r}")
    if args.slurm and (args.workers > 1 or args.retry or args.best):
        parser.error("--slurm starts one worker a job: not with --workers, --retry or --best")
    if args.slurm and (args.storage or "sqlite:").startswith("sqlite:"):
        parser.error("--slurm needs --storage, a URL or FILE: SQLite is for one machine")
    runner.need("jinja2", "matplotlib", "optuna", "pandas", "sklearn", "submitit", "tabulate")
    if args.storage is None:
        import sqlalchemy  # here, so that --help needs no waiting

        database = str(args.workdir.absolute() / "sweep.db")
        args.storage = str(sqlalchemy.URL.create("sqlite", database=database))
    elif "://" not in args.storage:
        args.storage = str(pathlib.Path(args.storage).expanduser().absolute())
    return args
