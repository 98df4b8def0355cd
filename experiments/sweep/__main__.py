"""The command `python -m experiments.sweep`: reads the command line, then runs the sweep."""

import os
import signal
import sys

from experiments import runner
from experiments.sweep import cli
from srcnn_jax import runtime

STOPPING = "\nstopping, with what is trained so far; the same command goes on from there\n"


def stop_at_signals(silent: bool) -> None:
    """Lets signals end the command as Ctrl-C does; the first one says so at once, unless silent."""
    told = silent

    def stop(number, frame):
        nonlocal told
        if not told:
            told = True
            os.write(2, STOPPING.encode())  # also if the signal came in a print
        raise KeyboardInterrupt

    for number in runner.STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # of a shell's background, or of nohup
            signal.signal(number, stop)


def main() -> None:
    args = cli.parse(sys.argv[1:])
    runtime.print_any_name()
    stop_at_signals(silent=args.child)
    if not (args.child or args.dry_run):
        print(f"{args.sweep} in {args.workdir}", flush=True)
    try:
        from experiments.sweep import run  # after the flags: it loads much

        sys.exit(run.main(args))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
