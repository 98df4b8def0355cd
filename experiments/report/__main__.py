"""One HTML file of finished runs: tables, training curves, pictures to compare, filters.

    python -m experiments.report WORKDIR... [-o report.html] [--images=set5,set14]

A WORKDIR is that of a run or of a sweep. Of a sweep, the file shows the table, the plots and all
finished runs; the pictures of these, since they may be many, only if `--images` asks for them. The
file holds all that it shows and fetches nothing from a network. Its pictures are made anew from the
weights and the test images; `--images=` (nothing) leaves them out, and needs no test images.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from experiments import runner
from srcnn_jax import datasets, paths, runtime


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("workdirs", nargs="+", type=paths.argument, metavar="WORKDIR")
    parser.add_argument("-o", "--output", type=paths.argument, default=pathlib.Path("report.html"))
    parser.add_argument(
        "--images",
        help="test sets whose images are shown, separated by commas; nothing for none; by default "
        "the first test set of the runs that are named",
    )
    parser.add_argument(
        "--data_dir", default="", help="folder of the data sets, if it is not SRCNN_DATA_DIR"
    )
    args = parser.parse_args(arguments)
    runtime.print_any_name()
    runner.need("jinja2", "pandas")
    chosen = None if args.images is None else datasets.dataset_names(args.images)
    os.environ.setdefault("JAX_LOGGING_LEVEL", "ERROR")  # no talk of accelerators that are absent
    try:
        from experiments.report import page, read  # after the flags

        folders = list(dict.fromkeys(args.workdirs))
        sweeps = [read.read_sweep(folder) for folder in folders if (folder / "trials").is_dir()]
        runs = [read.read_run(folder) for folder in folders if not (folder / "trials").is_dir()]
        html = page.create_page(runs, sweeps, chosen, args.data_dir).encode("utf-8", "replace")
        args.output.write_bytes(html)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(f"{args.output}: {len(html):,} bytes")


if __name__ == "__main__":
    main()
