"""Kills, damage and long runs: is anything lost, silently wrong, or ever larger?

    python -m experiments.soak kills [--count=300] [--seed=0] WORKDIR
    python -m experiments.soak flips [--count=1000] [--seed=0] WORKDIR
    python -m experiments.soak files [--count=5000] [--seed=0] WORKDIR
    python -m experiments.soak memory [--seconds=7200] WORKDIR

The counts are of kills, of damaged workdirs, and of damaged files for each reader. Everything is
made in WORKDIR, a new folder, from a photograph that ships with scikit-image. What a fault left
stays there. The exit code is 1 if there was a fault.
"""

import argparse
import sys

from experiments.soak import files, flips, kills, memory
from srcnn_jax import paths

COUNTS = {"kills": 300, "flips": 1000, "files": 5000}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.soak",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("soak", choices=[*COUNTS, "memory"])
    parser.add_argument("workdir", type=paths.argument, help="a folder that does not exist yet")
    parser.add_argument("--count", type=int, help="(default: 300, 1000 or 5000)")
    parser.add_argument("--seconds", type=float, help="of memory (default: 7200)")
    parser.add_argument("--seed", type=int, default=0, help="of what is damaged, and when")
    args = parser.parse_args()
    if args.seconds is not None and args.soak != "memory":
        parser.error(f"--seconds is for memory, not for {args.soak}")
    if args.count is not None and args.soak == "memory":
        parser.error("--count is for kills, flips and files, not for memory")
    if args.count is not None and args.count < 1:
        parser.error(f"--count is at least 1, not {args.count}")
    if args.workdir.exists():
        parser.error(f"{args.workdir} exists: name a new folder")
    args.workdir.mkdir(parents=True)
    workdir = args.workdir.absolute()
    if args.soak == "memory":
        faults = memory.soak(workdir, args.seconds or 7200)
    else:
        soak = {"kills": kills.soak, "flips": flips.soak, "files": files.soak}[args.soak]
        faults = soak(workdir, args.count or COUNTS[args.soak], args.seed)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
