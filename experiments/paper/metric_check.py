"""The six metrics beside the paper's Tables 2-4: the table of `results/paper/metrics.md`.

    python -m experiments.paper.metric_check --weights=srcnn_955_imagenet_x3.mat

Wants the test sets under SRCNN_DATA_DIR; bsd200 takes ten minutes. 'ours' enlarges as the authors'
MATLAB did, whose `imresize` replicates the edge; 'mirrored' as `evaluate` does, and today's MATLAB;
'uint8' rounds, as `imresize` does with uint8 images, after each of its passes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import app, flags

from srcnn_jax import datasets, image, paper, weights

flags.DEFINE_list("datasets", ["set5", "set14", "bsd200"], "Test sets.")
flags.DEFINE_string("weights", None, "The authors' 9-5-5 network for x3, if at hand.")
FLAGS = flags.FLAGS

NETWORK_SCALE = 3  # of --weights
OTHER_WAY = {"set5": "mirrored", "set14": "mirrored", "bsd200": "uint8"}
flags.register_validator(
    "datasets",
    lambda names: set(names) <= set(OTHER_WAY),
    f"are some of {', '.join(OTHER_WAY)}: the paper's",
)


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
    """Of all metrics over the test set, in their order."""
    from srcnn_jax import evaluate, metrics
    from srcnn_jax.predict import predict

    rows = []
    for _, pixels in dataset.images:
        truth = image.luminance(image.modcrop(pixels, scale), dataset.luminance)
        output = enlarge(truth, scale, way)
        if network:
            output = predict(network, output[..., None])[..., 0]
        if output.dtype != np.uint8:
            output = image.to_uint8(output)
        rows.append(list(evaluate.score(truth, output, scale, metrics.METRICS).values()))
    return [float(mean) for mean in np.mean(rows, axis=0)]


def show(label: str, values: Sequence[float | None], digits: int) -> None:
    """Prints a row of the table; SSIM and MS-SSIM have two digits more."""
    from srcnn_jax import metrics

    cells = [
        f"{value:.{digits + 2 * name.endswith('ssim')}f}"
        for name, value in zip(metrics.METRICS, values, strict=True)
    ]
    print(f"| {label} | {' | '.join(cells)} |", flush=True)


def main(argv: list[str]) -> None:
    del argv
    from srcnn_jax import metrics

    network = weights.load(FLAGS.weights) if FLAGS.weights else None
    print(f"| | {' | '.join(name.upper() for name in metrics.METRICS)} |")
    print("|---|" + "---|" * len(metrics.METRICS))
    for name in FLAGS.datasets:
        dataset, other = datasets.load(name), OTHER_WAY[name]
        for scale in (2, 3, 4):
            bicubic, srcnn = paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN[name, scale]
            show(f"**{name} x{scale} bicubic, paper**", bicubic, 2)
            show("ours", means(dataset, scale, "replicated"), 3)
            show(other, means(dataset, scale, other), 3)
            if network and scale == NETWORK_SCALE:
                show(f"**{name} x{scale} SRCNN 9-5-5, paper**", srcnn, 2)
                show("ours", means(dataset, scale, "replicated", network), 3)


if __name__ == "__main__":
    app.run(main)
