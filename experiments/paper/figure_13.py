"""Figure 13 of the paper (TPAMI): the chrominance channels of the first-layer filters.

    python -m experiments.paper.figure_13 WORKDIR --budget=short

The networks are those of `table_5` in the same WORKDIR, 9-1-5 for Y, Cb and Cr. The picture has the
filters of the network that was first trained on Y, in three panels, one for each channel. In a
panel every filter has its own grey scale, and the most variable one is the first. The paper has no
numbers of its figure. The table says how much of the first layer each channel has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.paper import study, table_5
from srcnn_jax import weights
from srcnn_jax.events import mosaic

if TYPE_CHECKING:
    import pandas as pd

SHOWN = "Y pre-train"
EXPERIMENTS = {
    name: table_5.EXPERIMENTS[name] for name in ("YCbCr", SHOWN, "CbCr pre-train")
}  # those of three channels
CHANNELS = ("Y", "Cb", "Cr")
GAP = 16  # pixels between two panels
BAR = 28  # pixels; the height of the captions


def shares(kernel: np.ndarray) -> np.ndarray:
    """The share of each channel in the squared weights of the first layer, without their means.

    The mean of a filter over a channel is left out, because it answers brightness and not
    structure.

    Args:
      kernel: float (f1, f1, c, n1).

    Returns:
      float (c,), which sums to 1.
    """
    centred = kernel - kernel.mean(axis=(0, 1), keepdims=True)
    squares = np.square(centred).sum(axis=(0, 1, 3))
    return squares / squares.sum()


def draw(kernel: np.ndarray) -> Image.Image:
    """The filters of each channel, beside each other, with the channel's name above.

    Args:
      kernel: float (f1, f1, 3, n1).
    """
    panels = [mosaic(kernel[:, :, channel : channel + 1]) for channel in range(len(CHANNELS))]
    height, width = panels[0].shape
    size = len(panels) * (width + GAP) - GAP, BAR + height
    picture = Image.new("L", size, 255)
    text = ImageDraw.Draw(picture)
    for index, (name, panel) in enumerate(zip(CHANNELS, panels, strict=True)):
        left = index * (width + GAP)
        text.text((left, 2), name, 0, ImageFont.load_default(18))
        picture.paste(Image.fromarray(panel), (left, BAR))
    return picture


def table_of_shares(results: Mapping[Any, Sequence[study.Result]]) -> pd.DataFrame:
    """A row for each training: the share of each channel in percent."""
    import pandas as pd

    rows = []
    for name, runs in results.items():
        kernels = [weights.load(run.folder).layers[0]["kernel"] for run in runs]
        columns = np.transpose([100 * shares(kernel) for kernel in kernels]).tolist()
        cells = {
            f"{channel}, %": study.spread(values, 1)
            for channel, values in zip(CHANNELS, columns, strict=True)
        }
        rows.append({"training": name, **cells, "seeds": len(runs)})
    return pd.DataFrame(rows)


def main() -> None:
    args = study.options(__doc__)
    results = study.train_runs(EXPERIMENTS, args)
    first = weights.load(results[SHOWN][0].folder)
    draw(first.layers[0]["kernel"]).save(study.output("figure_13", args, ".png"), optimize=True)
    title = "Shares of the channels in the first layer, 9-1-5 on T91 (TPAMI, figure 13). "
    title += study.describe_cost(results)
    study.write(table_of_shares(results), "figure_13", title, args)


if __name__ == "__main__":
    main()
