"""The feature maps of a network's hidden layers on a picture (TPAMI, figure 6).

    python -m experiments.paper.feature_maps WEIGHTS PICTURE -o FILE.png

PICTURE is shrunk and enlarged as for a test, and its middle is shown. The sheet has the network's
input and output, and then every map of every hidden layer after the ReLU. Black is no answer. White
is the map's own strongest answer. A map whose strongest answer is below a twentieth of the layer's
median is scaled by that, so that it stays dark.

The maps of a layer are sorted by how many pixels answer (`sparseness`). So edges come first, where
few pixels answer, then textures, then copies of the image, and flat answers last.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.paper import one_image
from srcnn_jax import degradation, image, paths, weights

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE = 112  # pixels of the picture's middle that are shown
ROWS = 8  # maps in a column of the sheet
GAP = 2  # pixels between two maps
BETWEEN = 14  # pixels between two layers
BAR = 24  # pixels; the height of the captions
GREYS = 32  # greys of the file, because 256 would make it twice as large
STRONGEST = 99.9  # percentile of a map that is white
DARK = 0.05  # share of the layer's median strongest answer below which a map stays dark


def compute_maps(network: weights.Network, enlarged: np.ndarray) -> list[np.ndarray]:
    """Computes the output of every hidden layer.

    Args:
      network: the network.
      enlarged: float32 (H, W, C) on the scale 0..1, the network's input.

    Returns:
      For each hidden layer float32 (n, H', W'), after the ReLU, not negative. A valid layer takes
      f - 1 rows and columns away.
    """
    import jax
    import jax.numpy as jnp

    from srcnn_jax import forward

    layers = [(jnp.asarray(v["kernel"]), jnp.asarray(v["bias"])) for v in network.layers]
    paddings = network.architecture.paddings
    maps = []
    for count in range(1, len(layers)):
        x = forward.forward(
            layers[:count],
            jnp.asarray(enlarged[None]),
            paddings[:count],
            precision=jax.lax.Precision.HIGHEST,
        )
        maps.append(np.maximum(np.asarray(x)[0], 0).transpose(2, 0, 1))
    return maps


def sparseness(maps: np.ndarray) -> np.ndarray:
    """The share of pixels that answer, by Treves and Rolls (1991): mean(x)^2 / mean(x^2).

    It is 1/pixels if one pixel answers, and 1 if all answer alike. A map without any answer has 1,
    too: it is flat.

    Args:
      maps: float (n, H, W), not negative.

    Returns:
      float (n,), from 0 to 1.
    """
    first, second = maps.mean(axis=(1, 2)), np.square(maps).mean(axis=(1, 2))
    return np.where(second > 0, first**2 / np.where(second > 0, second, 1), 1.0)


def to_grey(maps: np.ndarray) -> np.ndarray:
    """Maps of one layer, float (n, H, W), as uint8: 0 is black, its strongest answer white."""
    strongest = np.percentile(maps, STRONGEST, axis=(1, 2))
    white = np.maximum(strongest, max(DARK * float(np.median(strongest)), 1e-12))
    return image.to_uint8(maps / white[:, None, None])


def middle(pixels: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The middle of (..., H, W), at most size x size."""
    top, left = (max(0, length - size) // 2 for length in pixels.shape[-2:])
    return pixels[..., top : top + size, left : left + size]


def sheet(columns: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """Panels beside each other, each with its caption and its maps, uint8 (n, H, W), in rows.

    The maps of a panel have one size.
    """
    panels = []
    for _, maps in columns:
        count, height, width = maps.shape
        across = -(-count // ROWS)
        down = -(-count // across)
        canvas = np.full((down * (height + GAP), across * (width + GAP)), 255, np.uint8)
        for index, pixels in enumerate(maps):
            row, column = divmod(index, across)
            top, left = row * (height + GAP), column * (width + GAP)
            canvas[top : top + height, left : left + width] = pixels
        panels.append(canvas)
    width = sum(panel.shape[1] + BETWEEN for panel in panels) - BETWEEN
    picture = Image.new("L", (width, BAR + max(panel.shape[0] for panel in panels)), 255)
    draw, left = ImageDraw.Draw(picture), 0
    for (caption, _), panel in zip(columns, panels, strict=True):
        draw.text((left, 2), caption, 0, ImageFont.load_default(15))
        picture.paste(Image.fromarray(panel), (left, BAR))
        left += panel.shape[1] + BETWEEN
    return picture.point([round(v * (GREYS - 1) / 255) * 255 // (GREYS - 1) for v in range(256)])


def draw(network: weights.Network, pixels: np.ndarray, scale: int) -> Image.Image:
    """Returns the sheet of a network for a picture, uint8 (H, W) or RGB (H, W, 3)."""
    from srcnn_jax import colour, predict

    cut = image.modcrop(pixels, scale)
    planes = colour.to_planes(cut, network.colour, "ycbcr").astype(np.float32) / np.float32(255)
    enlarged = degradation.degrade(planes, scale, network.degradation)
    shown = [x[..., 0] for x in (enlarged, predict.predict(network, enlarged))]
    columns = [("input, output", middle(image.to_uint8(np.stack(shown))))]
    for number, maps in enumerate(compute_maps(network, enlarged), start=1):
        maps = middle(maps)  # the border answers to the zeros around the image
        silent = int((maps == 0).all(axis=(1, 2)).sum())
        caption = f"layer {number}: {len(maps)} maps" + f", {silent} without an answer" * bool(
            silent
        )
        maps = maps[np.argsort(sparseness(maps), kind="stable")]
        columns.append((caption, to_grey(maps)))
    return sheet(columns)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper.feature_maps",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="weight file or workdir")
    parser.add_argument("picture", metavar="PICTURE", help=one_image.HELP)
    parser.add_argument(
        "-o", "--output", type=paths.argument, default="feature_maps.png", help="file to write"
    )
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), help="if the weights say none")
    parser.add_argument("--data_dir", default="", help="folder of the data sets, as main's")
    args = parser.parse_args()
    try:
        network = weights.load(args.weights)
        if not (scale := args.scale or network.scale):
            raise ValueError(f"{args.weights} says no scale: add --scale=3, or what it is for")
        ((_, pixels),) = one_image.load(args.picture, args.data_dir).images
        draw(network, pixels, scale).save(args.output, optimize=True)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(args.output)


if __name__ == "__main__":
    main()
