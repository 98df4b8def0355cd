"""The first-layer filters as a picture, most variable first (TPAMI, figure 5).

    python -m experiments.paper.filters WEIGHT_FILE_OR_WORKDIR PICTURE.png

Each filter has its own grey scale, from its smallest weight to its largest, as in the paper.
"""

import argparse
import sys

import numpy as np
from PIL import Image

from srcnn_jax import paths, weights

ZOOM = 6  # pixels of the picture for a weight
GAP = 4  # pixels between two filters
COLUMNS = 8


def mosaic(kernel: np.ndarray) -> np.ndarray:
    """A uint8 (H, W) picture of the filters (f, f, in, out) of the first input channel."""
    filters = kernel[:, :, 0].transpose(2, 0, 1)
    filters = filters[np.argsort(-filters.var(axis=(1, 2)))]
    low = filters.min(axis=(1, 2), keepdims=True)
    high = filters.max(axis=(1, 2), keepdims=True)
    grey = np.round(255 * (filters - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)
    tiles = np.kron(grey, np.ones((1, ZOOM, ZOOM), np.uint8))
    tiles = np.pad(tiles, ((0, -len(tiles) % COLUMNS), (0, GAP), (0, GAP)), constant_values=255)
    rows = tiles.reshape(-1, COLUMNS, *tiles.shape[1:]).swapaxes(1, 2)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1)[:-GAP, :-GAP]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("weights", help="weight file or workdir")
    parser.add_argument("picture", type=paths.argument, help="file to write, .png")
    args = parser.parse_args()
    try:
        kernel = weights.load(args.weights).layers[0]["kernel"]
        Image.fromarray(mosaic(kernel)).save(args.picture)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
