"""One HTML file of finished runs: tables, pictures to compare, training curves, filters.

    python -m experiments.report WORKDIR... [-o report.html] [--images=set5,set14]

A WORKDIR is that of a run, a sweep or a study of the paper, or any folder of runs. Runs that differ
in the seed alone are one line. The file holds all that it shows and fetches nothing from a network.
Its pictures are made anew from the weights and the test images; `--images=` (nothing) leaves them
out, and needs no test images.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from experiments import runner
from srcnn_jax import datasets, paths, runtime


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("workdirs", nargs="+", type=paths.argument, metavar="WORKDIR")
    parser.add_argument("-o", "--output", type=paths.argument, default=pathlib.Path("report.html"))
    parser.add_argument(
        "--images",
        help="test sets whose images are shown, separated by commas; nothing for none; by default "
        "the first test set that the paper has, or else the first",
    )
    parser.add_argument(
        "--data_dir", default="", help="folder of the data sets, if it is not SRCNN_DATA_DIR"
    )
    args = parser.parse_args(arguments)
    runtime.print_any_name()
    runner.need("jinja2", "pandas", "matplotlib")
    chosen = None if args.images is None else datasets.dataset_names(args.images)
    os.environ.setdefault("JAX_LOGGING_LEVEL", "ERROR")  # no talk of accelerators that are absent
    try:
        from experiments.report import page, read  # after the flags

        runtime.start_alone()  # networks that were compiled once are not compiled again
        workdirs = [read.read_workdir(folder) for folder in dict.fromkeys(args.workdirs)]
        html = page.create_page(workdirs, chosen, args.data_dir).encode("utf-8", "replace")
        args.output.write_bytes(html)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(args.output)


if __name__ == "__main__":
    main()
