"""The picture on top of README: a small image, bicubic and SRCNN, side by side.

    python -m experiments.paper.picture experiments/results/before_bicubic_srcnn.png

It shows part of the photograph of a cat that ships with scikit-image (public domain, CC0).
"""

import argparse

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srcnn_jax import degradation, image, paths
from srcnn_jax.upscale import upscale

SCALE = 3
TOP, LEFT, SIZE = 66, 120, 132  # the part of the photograph that is shown
ZOOM = 3  # pixels of the sheet for one of the image, so that a reader sees them
BAR = 30  # pixels; the height of the caption


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper.picture",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("picture", type=paths.argument, help="file to write, .png")
    path = parser.parse_args().picture
    import skimage.data  # after the flags: these take a while

    from srcnn_jax import metrics

    original = image.modcrop(skimage.data.cat(), SCALE)
    small = degradation.shrink(original, SCALE)
    results = {
        "before": np.kron(small, np.ones((SCALE, SCALE, 1), np.uint8)),
        "bicubic": degradation.enlarge(small, SCALE),
        "SRCNN": upscale(small, SCALE),
        "original": original,
    }
    width = SIZE * ZOOM
    sheet = Image.new("RGB", (len(results) * width + (len(results) - 1) * 6, width + BAR), "white")
    draw = ImageDraw.Draw(sheet)
    truth = image.shave(image.luminance(original, "ycbcr"), SCALE)
    for i, (name, pixels) in enumerate(results.items()):
        part = Image.fromarray(pixels[TOP : TOP + SIZE, LEFT : LEFT + SIZE])
        sheet.paste(part.resize((width, width), Image.Resampling.NEAREST), (i * (width + 6), BAR))
        if name in ("bicubic", "SRCNN"):
            shaved = image.shave(image.luminance(pixels, "ycbcr"), SCALE)
            name += f"  {metrics.psnr(truth, shaved):.2f} dB"
        draw.text((i * (width + 6) + 4, 4), name, "black", ImageFont.load_default(18))
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    main()
