"""The command `python -m experiments.sweep`: reads the command line, then runs the sweep."""

import signal
import sys

from experiments import runner
from experiments.sweep import cli
from srcnn_jax import runtime


def main() -> None:
    args = cli.parse(sys.argv[1:])
    runtime.print_any_name()
    runner.need("matplotlib", "optuna", "pandas", "sklearn", "submitit", "tabulate")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        from experiments.sweep import run  # after the flags: it loads much

        sys.exit(run.main(args))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from there", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
