"""The first-layer filters as a picture, most variable first (TPAMI, figure 5).

    python -m experiments.paper.filters WEIGHT_FILE_OR_WORKDIR PICTURE.png

Each filter has its own grey scale, from its smallest weight to its largest, as in the paper.
"""

import argparse
import sys

from PIL import Image

from srcnn_jax import paths, weights
from srcnn_jax.events import mosaic


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper.filters",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
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
