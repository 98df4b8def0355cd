"""A part of a test image under every method at hand (TPAMI, figures 14 to 16).

    python -m experiments.paper.crops WEIGHTS... --image=set14/zebra -o FILE.png

WEIGHTS are weight files and workdirs; without any, it is the network that ships for --scale. The
sheet begins with the whole image, on which a frame shows the part, and with the part of the
original and of bicubic. Under each name is PSNR in dB on luminance over the whole image, without
`scale` pixels at its border, as in the paper. The part is the one where the methods differ most,
unless --part names one. The paper shows butterfly of Set5, and ppt3 and zebra of Set14, all x3.

Test images may not be shown in a repository. Name an -o outside of it, or an image that may be
shown.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.paper import one_image
from srcnn_jax import paths, weights

if TYPE_CHECKING:
    from srcnn_jax.evaluate import TestImage

SIZE = 64  # pixels of the side of a part
SIDE = 256  # pixels of the side of a panel
GAP = 8  # pixels between two panels
BAR = 46  # pixels; the height of two lines of text
COLUMNS = 4  # panels in a row
FRAME = (255, 60, 0)


@dataclasses.dataclass(frozen=True)
class Part:
    """A square of an image: its first column and row, and its side, in pixels."""

    left: int
    top: int
    size: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """The part of (H, W[, C])."""
        return pixels[self.top : self.top + self.size, self.left : self.left + self.size]


def part_argument(text: str) -> Part:
    """Reads '--part=LEFT,TOP,SIZE'."""
    try:
        part = Part(*map(int, text.split(",")))
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"not LEFT,TOP,SIZE in pixels: {text!r}") from None
    if part.left < 0 or part.top < 0 or part.size < 1:
        raise argparse.ArgumentTypeError(f"not inside an image: {text!r}")
    return part


def check_part(part: Part, shape: Sequence[int]) -> None:
    """Raises ValueError unless the part is inside an image of this shape (H, W, ...)."""
    height, width = shape[:2]
    if part.left + part.size > width or part.top + part.size > height:
        raise ValueError(
            f"--part={part.left},{part.top},{part.size} reaches beyond the image of "
            f"{width}x{height} pixels"
        )


def part_of_most_difference(outputs: np.ndarray, size: int = SIZE) -> Part:
    """The square in which the methods differ most from each other.

    Args:
      outputs: uint8 (methods, H, W).
      size: the side in pixels; a smaller image has a smaller one.
    """
    size = min(size, *outputs.shape[1:])
    difference = outputs.var(axis=0)
    total = np.pad(difference, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    top, left = np.unravel_index(np.argmax(sums), sums.shape)
    return Part(int(left), int(top), size)


def common_scale(networks: Mapping[str, weights.Network], scale: int | None) -> int:
    """The scale of all networks; raises ValueError if they differ, or none of them says it."""
    found = {network.scale for network in networks.values() if network.scale}
    if scale:
        found.add(scale)
    if not found:
        raise ValueError("the weights say no scale: add --scale=3, or what they are for")
    if len(found) > 1:
        said = ", ".join(f"{name} x{network.scale}" for name, network in networks.items())
        raise ValueError(f"the scales differ ({said}): name networks and a --scale of one")
    return found.pop()


def restore(
    networks: Mapping[str, weights.Network], name: str, scale: int, data_dir: str = ""
) -> tuple[TestImage, dict[str, np.ndarray], dict[str, float]]:
    """Restores an image by bicubic and by every network.

    Args:
      networks: by name; not empty.
      name: as `one_image.load`.
      scale: factor of the enlargement.
      data_dir: as main's.

    Returns:
      The test image; uint8 pictures (H, W) or (H, W, 3) by 'bicubic' and the networks' names; and
      their PSNR in dB.

    Raises:
      ValueError: if the networks are for small images that were made in different ways.
    """
    from srcnn_jax import evaluate, metrics
    from srcnn_jax.predict import predict

    ways = {network.degradation for network in networks.values()}
    if len(ways) > 1:
        raise ValueError(
            f"the networks are for different small images ({'; '.join(map(str, ways))}): "
            "name networks of one degradation"
        )
    (degradation,) = ways
    dataset = one_image.load(name, data_dir)
    pictures: dict[str, np.ndarray] = {}
    outputs: dict[str, np.ndarray] = {}
    for label, network in networks.items():
        (test,) = evaluate.create_test_images(dataset, scale, network.colour, degradation)
        planes = predict(network, test.enlarged)
        both = evaluate.pictures(test, planes, network.colour, scale)
        if not pictures:
            pictures["bicubic"] = both["bicubic"]
            outputs["bicubic"] = evaluate.to_luminance(test.bicubic, network.colour, test.luminance)
        pictures[label] = both["srcnn"]
        outputs[label] = evaluate.to_luminance(planes, network.colour, test.luminance)
    scores = evaluate.score(test.truth, outputs, scale, metrics.by_name("psnr"))
    return test, pictures, {label: score["psnr"] for label, score in scores.items()}


def panel(pixels: np.ndarray, smooth: bool = False) -> Image.Image:
    """A picture as large as fits SIDE x SIDE, each pixel a square unless it is to be smooth."""
    picture = Image.fromarray(pixels).convert("RGB")
    factor = SIDE / max(picture.size)
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return picture.resize(size, how)  # type: ignore[arg-type]


def sheet(
    name: str,
    test: TestImage,
    pictures: Mapping[str, np.ndarray],
    psnr: Mapping[str, float],
    part: Part,
) -> Image.Image:
    """The whole image, and its part under every method, each with its name and its PSNR."""
    whole = panel(test.pixels, smooth=True)
    factor = SIDE / max(test.pixels.shape[:2])
    corners = (part.left, part.top, part.left + part.size, part.top + part.size)
    box = tuple(round(factor * corner) for corner in corners)
    ImageDraw.Draw(whole).rectangle(box, outline=FRAME, width=2)  # type: ignore[arg-type]
    panels = [(name, "{1} x {0} pixels".format(*test.pixels.shape), whole)]
    panels.append(("original", f"pixels from {part.left}, {part.top}", panel(part.of(test.pixels))))
    panels += [
        (label, f"{psnr[label]:.2f} dB", panel(part.of(pixels)))
        for label, pixels in pictures.items()
    ]
    down = -(-len(panels) // COLUMNS)
    across = -(-len(panels) // down)
    size = across * (SIDE + GAP) - GAP, down * (SIDE + BAR + GAP) - GAP
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(16)
    for index, (title, line, picture) in enumerate(panels):
        row, column = divmod(index, across)
        left, top = column * (SIDE + GAP), row * (SIDE + BAR + GAP)
        canvas.paste(picture, (left, top))
        while draw.textlength(title, font) > SIDE:
            title = title[:-2] + "…"
        draw.text((left, top + SIDE + 2), title, "black", font)
        draw.text((left, top + SIDE + 22), line, "black", font)
    return canvas


def load_networks(files: Sequence[str], scale: int | None) -> dict[str, weights.Network]:
    """The networks by the names of their files or workdirs; the one that ships if there is none.

    Raises:
      ValueError, FileNotFoundError: as `weights.load`, and if two have the same name.
    """
    if not files:
        return {"SRCNN": weights.load_pretrained(scale or 3, "915")}
    networks: dict[str, weights.Network] = {}
    for file in files:
        path = pathlib.Path(file)
        label = path.stem if path.is_file() else path.resolve().name
        label = label if label not in (*networks, "bicubic") else str(path)
        if label in networks:
            raise ValueError(f"{file} is named twice")
        networks[label] = weights.load(file)
    return networks


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper.crops",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("weights", metavar="WEIGHTS", nargs="*", help="weight files and workdirs")
    parser.add_argument("--image", required=True, help=one_image.HELP)
    parser.add_argument(
        "-o", "--output", type=paths.argument, default="crops.png", help="file to write"
    )
    parser.add_argument(
        "--part", type=part_argument, metavar="LEFT,TOP,SIZE", help="what is shown, in pixels"
    )
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), help="if no weights say it")
    parser.add_argument("--data_dir", default="", help="folder of the data sets, as main's")
    args = parser.parse_args()
    try:
        networks = load_networks(args.weights, args.scale)
        scale = common_scale(networks, args.scale)
        test, pictures, psnr = restore(networks, args.image, scale, args.data_dir)
        from srcnn_jax import image

        outputs = np.stack([image.luminance(each, "ycbcr") for each in pictures.values()])
        part = args.part or part_of_most_difference(outputs)
        check_part(part, test.pixels.shape)
        sheet(args.image, test, pictures, psnr, part).save(args.output, optimize=True)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for label, score in psnr.items():
        print(f"{label}: {score:.2f} dB")
    print(args.output)


if __name__ == "__main__":
    main()
