"""The six metrics beside the paper's Tables 2-4: experiments/results/paper/metrics.md.

    python -m experiments.paper.metric_check --weights=srcnn_955_imagenet_x3.mat

It takes ten minutes for bsd200. 'ours' enlarges as the authors' MATLAB did, whose `imresize`
replicates the edge. 'mirrored' enlarges as `evaluate` and today's MATLAB do. 'uint8' rounds after
each pass, as `imresize` does with uint8 images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from srcnn_jax import datasets, image, paper, weights

NETWORK_SCALE = 3  # of --weights
OTHER_WAY = {"set5": "mirrored", "set14": "mirrored", "bsd200": "uint8"}


def enlarge(truth: np.ndarray, scale: int, way: str) -> np.ndarray:
    """Shrinks and enlarges (H, W) uint8; float32 in 0..1, but uint8 where that is the way."""
    plane = truth if way == "uint8" else truth.astype(np.float32) / np.float32(255)
    boundary = "symmetric" if way == "mirrored" else "replicate"
    return image.imresize(
        image.imresize(plane, 1 / scale, boundary=boundary), scale, boundary=boundary
    )


def means(
    dataset: datasets.Dataset, scale: int, way: str, network: weights.Network | None = None
) -> list[float]:
    """The mean of every metric over the test set, in the order of `metrics.METRICS`."""
    from srcnn_jax import evaluate, metrics, parallel
    from srcnn_jax.predict import predict

    def score(pixels: np.ndarray) -> list[float]:
        truth = image.luminance(image.modcrop(pixels, scale), dataset.luminance)
        output = enlarge(truth, scale, way)
        if network:
            output = predict(network, output[..., None])[..., 0]
        if output.dtype != np.uint8:
            output = image.to_uint8(output)
        scores = evaluate.score(truth, {"ours": output}, scale, metrics.METRICS)
        return list(scores["ours"].values())

    rows = list(parallel.map_in_threads(score, (pixels for _, pixels in dataset.images)))
    return [float(mean) for mean in np.mean(rows, axis=0)]


def show(label: str, values: Sequence[float | None], more_digits: int = 0) -> None:
    """Prints a row of the table, with more digits than the paper's if asked for."""
    from srcnn_jax import metrics

    cells = [
        f"{value:.{paper.DIGITS[name] + more_digits}f}"
        for name, value in zip(metrics.METRICS, values, strict=True)
    ]
    print(f"| {label} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper.metric_check",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--datasets",
        default=",".join(OTHER_WAY),
        help="test sets of the paper, separated by commas (default: %(default)s)",
    )
    parser.add_argument("--weights", help="the authors' 9-5-5 network for x3, if at hand")
    parser.add_argument("--data_dir", help="folder of the data sets, if it is not SRCNN_DATA_DIR")
    args = parser.parse_args()
    names = datasets.dataset_names(args.datasets)
    for name in names:
        if name not in OTHER_WAY:
            parser.error(f"--datasets are some of {', '.join(OTHER_WAY)}, the paper's: not {name}")
    try:
        network = weights.load(args.weights) if args.weights else None
        tests = [datasets.load(name, data_dir=args.data_dir) for name in names]
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    from srcnn_jax import metrics  # after the flags

    print(f"| | {' | '.join(name.upper() for name in metrics.METRICS)} |")
    print("|---|" + "---|" * len(metrics.METRICS))
    for name, dataset in zip(names, tests, strict=True):
        other = OTHER_WAY[name]
        for scale in (2, 3, 4):
            bicubic, srcnn = paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN[name, scale]
            show(f"**{name} x{scale} bicubic, paper**", bicubic)
            show("ours", means(dataset, scale, "replicated"), 1)
            show(other, means(dataset, scale, other), 1)
            if network and scale == NETWORK_SCALE:
                show(f"**{name} x{scale} SRCNN 9-5-5, paper**", srcnn)
                show("ours", means(dataset, scale, "replicated", network), 1)


if __name__ == "__main__":
    main()
