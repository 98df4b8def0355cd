"""Trains runs of a sweep at once on one GPU, by `vmap`; they differ in seed and learning rate only.

    python -m experiments.sweep.vmap experiments/sweeps/filters.py --workdir=DIR --networks=16

One SRCNN does not fill a GPU. `python -m experiments.sweep ... --vmap=16` calls this first, and
then finds the runs finished. Each run gets its folder in DIR/trials with all that `main` would
leave there, checkpoints included, so that either goes on where the other was stopped. Runs that
another process trains are left to it. A network that diverges is left as it was at its last
checkpoint.

On a CPU nothing is trained here: experiments/results/bench/vmap.md says why.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from srcnn_jax import paths


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep.vmap",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("sweep", type=paths.argument, help="the sweep, with GRID or RANDOM")
    parser.add_argument("--workdir", type=paths.folder_argument, required=True, metavar="DIR")
    parser.add_argument("--networks", type=int, default=16, help="at once (%(default)s)")
    parser.add_argument("--data_dir", default="", help="folder of the data sets, as main's")
    args = parser.parse_args(arguments)
    if args.networks < 1:
        parser.error(f"--networks must be positive, not {args.networks}")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    os.environ.setdefault("JAX_LOGGING_LEVEL", "WARNING")  # no talk of absent accelerators
    import jax  # after the flags: these take a while

    from experiments.sweep.file import read_sweep
    from experiments.sweep.vmap import training
    from srcnn_jax import main, runtime, train

    runtime.cache_compilations()
    try:
        sweep = read_sweep(args.sweep)
        if jax.default_backend() == "cpu":
            print("on a CPU, networks train faster one by one: experiments/results/bench/vmap.md")
            return
        training.train_all(sweep, args.workdir, args.networks, main.run_notes(), args.data_dir)
    except train.Interrupted as stop:  # a line was printed when the signal came
        sys.exit(128 + stop.signum)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
