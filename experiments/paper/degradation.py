"""PSNR and SSIM of weight files over small images that were made in several ways.

    python -m experiments.paper.degradation blur FILE_OR_WORKDIR... --datasets=set5
    python -m experiments.paper.degradation photo FILE_OR_WORKDIR... --datasets=held_out --scale=2

`blur` asks what the paper's words leave open: MATLAB's bicubic, Gaussians of several sigmas, and
the spline. `photo` asks when the network for pictures saved as JPEG is better than the clean one.
Every row has all networks on the same images. A star marks the network that was trained for them.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from experiments import runner
from srcnn_jax import paper, paths
from srcnn_jax.degradation import RELEASED, Degradation

if TYPE_CHECKING:
    import pandas as pd

    from srcnn_jax.datasets import Dataset
    from srcnn_jax.weights import Network

SIGMAS = (0.4, 0.6, 0.8, 1.0, 1.2, 1.6, 2.0)  # pixels of the large image
QUALITIES = (60, 75, 80, 85, 90, 95)
KINDS: dict[str, tuple[Degradation, ...]] = {
    "blur": (
        RELEASED,
        *(Degradation("gaussian", sigma) for sigma in SIGMAS),
        Degradation(enlarge="spline"),
    ),
    "photo": (
        *(Degradation(jpeg=(quality, quality)) for quality in QUALITIES),
        Degradation(noise=(0, 0)),
    ),
}


def table(
    networks: Mapping[str, "Network"],
    tests: Sequence["Dataset"],
    scale: int,
    kinds: Sequence[Degradation],
) -> "pd.DataFrame":
    """A row for each test set and degradation, with the PSNR and SSIM of bicubic and each network.

    Args:
      networks: by their names in the table.
      tests: test sets.
      scale: factor of the enlargement.
      kinds: how the small images are made.
    """
    import pandas as pd

    from srcnn_jax import evaluate

    rows = []
    for test in tests:
        for kind in kinds:
            result = evaluate.evaluate_all(networks, [test], scale, degradation=kind)
            row = {"test set": f"{test.name} x{scale}", "small images": str(kind)}
            for method, scores in result["datasets"][test.name]["mean"].items():
                own = method in networks and networks[method].degradation == kind
                row[method] = f"{paper.format_score(scores['psnr'], 'psnr')} / " + (
                    paper.format_score(scores["ssim"], "ssim").removeprefix("0") + " *" * own
                )
            rows.append(row)
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper.degradation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("kinds", choices=KINDS, help="the small images")
    parser.add_argument("weights", nargs="+", metavar="FILE_OR_WORKDIR")
    parser.add_argument("--datasets", default="set5", help="names or paths, between commas")
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), default=3)
    parser.add_argument("--data_dir", default=None, help="folder of the data sets, as main's")
    parser.add_argument("--output", type=paths.argument, help="Markdown file for the table")
    args = parser.parse_args(arguments)
    runner.need("pandas", "tabulate")
    from srcnn_jax import datasets, evaluate, weights

    try:
        names = evaluate.network_names(args.weights)
        if len(names) == 1:
            names = {args.weights[0]: "SRCNN"}
        networks = {names[file]: weights.load(file) for file in args.weights}
        tests = [
            datasets.load(name, data_dir=args.data_dir)
            for name in datasets.dataset_names(args.datasets)
        ]
        frame = table(networks, tests, args.scale, KINDS[args.kinds])
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    text = frame.to_markdown(index=False, disable_numparse=True)
    print(text)
    if args.output:
        args.output.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
