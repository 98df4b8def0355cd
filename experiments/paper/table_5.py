"""Table 5 of the paper (TPAMI): colour. 9-1-5 with one or three channels, T91, Set5 x3.

    python -m experiments.paper.table_5 WORKDIR --budget=short

Pre-training: a network of three channels is first trained on the error of Y alone, or of Cb and Cr
alone, then on all three. The paper's column "RGB color image" is the PSNR over Y, Cb and Cr pooled
(its two rows that can be checked say so), and is called YCbCr here.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.paper import study
from srcnn_jax import colour, datasets, degradation, image, weights

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("Y", "Cb", "Cr", "YCbCr")
PUBLISHED = {
    "bicubic": (30.39, 45.44, 45.42, 34.57),
    "Y only": (32.39, 45.44, 45.42, 36.37),
    "YCbCr": (29.25, 43.30, 43.49, 33.47),
    "Y pre-train": (32.19, 46.49, 46.45, 36.32),
    "CbCr pre-train": (32.14, 46.38, 45.84, 36.25),
    "RGB": (32.33, 46.18, 46.20, 36.44),
}
SCALE = 3

_Y = study.network()
_YCBCR = study.variant(_Y, "ycbcr", {"data.colour": "ycbcr"})


def _pretrained(channels: tuple[int, ...], name: str) -> study.Experiment:
    first = study.variant(_YCBCR, f"{name}_only", {"train.loss_channels": channels})
    return study.variant(_YCBCR, f"{name}_first", start=first)


EXPERIMENTS = {
    "Y only": _Y,
    "YCbCr": _YCBCR,
    "Y pre-train": _pretrained((0,), "y"),
    "CbCr pre-train": _pretrained((1, 2), "cbcr"),
    "RGB": study.variant(_Y, "rgb", {"data.colour": "rgb"}),
}


def colour_psnr(restored: np.ndarray, pixels: np.ndarray, scale: int = SCALE) -> list[float]:
    """PSNR in dB of Y, Cb, Cr, and of the three pooled.

    Args:
      restored: float (H, W, 3), YCbCr in 0..1.
      pixels: uint8 (H, W, 3), RGB: the original.
      scale: number of pixels to shave off every side.
    """
    from srcnn_jax import metrics

    truth = image.shave(colour.to_planes(pixels, "ycbcr", "ycbcr"), scale)
    output = image.shave(metrics.quantise(restored), scale)
    each = [metrics.psnr(truth[..., c], output[..., c]) for c in range(3)]
    return [*each, metrics.psnr(truth, output)]


def restore(network: weights.Network | None, pixels: np.ndarray, scale: int = SCALE) -> np.ndarray:
    """Float (H, W, 3) YCbCr: an RGB image made small and enlarged by a network, or by bicubic.

    What the network does not give (chroma, of one for luminance) is bicubic.
    """
    from srcnn_jax.predict import predict

    bicubic, rgb = (
        degradation.degrade(planes.astype(np.float32) / 255, scale)
        for planes in (colour.to_planes(pixels, "ycbcr", "ycbcr"), pixels)
    )
    if network is None:
        return bicubic
    planes = predict(network, colour.select_planes(rgb, bicubic, network.colour))
    return colour.to_ycbcr(planes, network.colour, bicubic)


def measure(network: weights.Network | None, test: datasets.Dataset) -> list[float]:
    """The means of `colour_psnr` over a test set of colour images."""
    cut = [image.modcrop(pixels, SCALE) for _, pixels in test.images]
    return np.mean([colour_psnr(restore(network, x), x) for x in cut], axis=0).tolist()


def table_of_colours(
    results: Mapping[Any, Sequence[study.Result]], test: datasets.Dataset
) -> pd.DataFrame:
    """A row for each way to treat colour: the four PSNRs, the paper's and ours."""
    import pandas as pd

    rows = []
    for label, published in PUBLISHED.items():
        runs = results.get(label, [])
        networks: list[weights.Network | None] = [weights.load(str(r.folder)) for r in runs]
        ours = list(zip(*(measure(network, test) for network in networks or [None]), strict=True))
        row: dict[str, Any] = {"training": label}
        for column, paper, seeds in zip(COLUMNS, published, ours, strict=True):
            row |= {f"{column}, paper": f"{paper:.2f}", f"{column}, ours": study.spread(seeds)}
        rows.append(
            row
            | {
                "difference, YCbCr": f"{statistics.mean(ours[-1]) - published[-1]:+.2f}",
                "seeds": len(runs) or "",
                "patches": runs[0].patches if runs else "",
                "seconds": round(statistics.mean(r.seconds for r in runs)) if runs else "",
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    args = study.options(__doc__, seeds=3)
    results = study.train_runs(EXPERIMENTS, args)
    frame = table_of_colours(results, datasets.load("set5", data_dir=args.data_dir or None))
    study.write(frame, "table_5", "Colour: PSNR in dB, 9-1-5, Set5 x3 (TPAMI, Table 5)", args)


if __name__ == "__main__":
    main()
