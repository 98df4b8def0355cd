"""PSNR over weights: small networks for super-resolution from the literature, and ours.

    python -m experiments.paper.rivals PICTURE.png

Ours are the networks that come with the project, by their cards. The table goes to standard output.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from experiments import runner
from srcnn_jax import paper, paths
from srcnn_jax.degradation import RELEASED
from srcnn_jax.weights import pretrained

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCALES = (2, 3)  # of the figure
DATASET = "set5"


class Rival(NamedTuple):
    """A published network.

    Attributes:
      name: as the source calls it.
      weights: number of weights, without biases where the source says so.
      trained_on: its training images.
      psnr: mean PSNR in dB on Set5 by scale, as the source prints it.
      source: where the numbers are from.
      enlarges_first: whether its input is the enlarged image, as SRCNN's. Then a weight is used
        once for each pixel of the result, else once for each pixel of the small image.
      first_hand: whether we read the source itself.
    """

    name: str
    weights: int
    trained_on: str
    psnr: dict[int, float]
    source: str
    enlarges_first: bool = False
    first_hand: bool = False

    def multiply_adds(self, scale: int) -> float:
        """For each pixel of the result, without those of a bicubic enlargement."""
        return self.weights if self.enlarges_first else self.weights / scale**2


def _published(name: str, weights: int, trained_on: str, scores: dict[int, float], source: str):
    return Rival(name, weights, trained_on, scores, source, enlarges_first=True, first_hand=True)


FSRCNN = "Dong et al., ECCV 2016"
ESPCN = "Shi et al., CVPR 2016"
SESR = "Bhardwaj et al., MLSys 2022"
ECBSR = "Zhang et al., ACM MM 2021"
RIVALS = (
    _published(
        "SRCNN 9-1-5",
        8_032,
        "T91",
        {scale: paper.SRCNN_915_T91_MEAN["set5", scale].psnr for scale in (2, 3, 4)},
        "Dong et al., ECCV 2014",
    ),
    _published(
        "SRCNN 9-5-5",
        57_184,
        "ImageNet",
        {
            scale: paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN["set5", scale][1].psnr
            for scale in (2, 3, 4)
        },
        "Dong et al., TPAMI 2016",
    ),
    Rival("FSRCNN-s", 3_937, "T91, General-100", {2: 36.58, 3: 32.61, 4: 30.11}, FSRCNN),
    Rival("FSRCNN", 12_464, "T91", {2: 36.94, 3: 33.06, 4: 30.55}, FSRCNN),
    Rival("FSRCNN", 12_464, "T91, General-100", {2: 37.00, 3: 33.16, 4: 30.71}, FSRCNN),
    Rival("ESPCN", 22_624, "T91", {3: 32.55}, ESPCN),
    Rival("ESPCN", 22_624, "ImageNet", {3: 33.13}, ESPCN),
    Rival("ECBSR-M4C8", 2_800, "DIV2K", {2: 36.93}, ECBSR),
    Rival("ECBSR-M4C16", 10_200, "DIV2K", {2: 37.33}, ECBSR),
    Rival("SESR-M3", 8_910, "DIV2K", {2: 37.21}, SESR),
    Rival("SESR-M5", 13_520, "DIV2K", {2: 37.39}, SESR),
    Rival("SESR-M11", 27_340, "DIV2K", {2: 37.58}, SESR),
)


def ours() -> list[Rival]:
    """The networks that come with the project for the same degradation, by their cards."""
    found: dict[str, Rival] = {}
    for card in pretrained.read_cards():
        if card.small_images != str(RELEASED):
            continue
        kernel_sizes = card.architecture.partition(",")[0]
        layers = kernel_sizes.count("-") + 1
        name = f"ours, {kernel_sizes if layers < 5 else f'{layers} layers'}"
        known = found.get(name)
        scores = {**(known.psnr if known else {}), card.scale: card.psnr}
        found[name] = _published(name, card.weights, card.trained_on, scores, "this project")
    return list(found.values())


def table(rivals: Sequence[Rival]) -> "pd.DataFrame":
    """A row for each network, the fewest weights first."""
    import pandas as pd

    rows = []
    for rival in sorted(rivals, key=lambda each: each.weights):
        cells = {
            f"Set5 x{scale}": f"{rival.psnr[scale]:.2f}" if scale in rival.psnr else "–"
            for scale in (2, 3, 4)
        }
        rows.append(
            {
                "network": rival.name,
                "weights": f"{rival.weights:,}",
                "multiply-adds for a pixel, x3": f"{rival.multiply_adds(3):,.0f}",
                "trained on": rival.trained_on,
                **cells,
                "source": rival.source + ("" if rival.first_hand else " (not read)"),
            }
        )
    return pd.DataFrame(rows)


def plot(theirs: Sequence[Rival], own: Sequence[Rival]) -> "Figure":
    """Mean PSNR on Set5 over weights, a chart for each scale.

    A filled mark is a network on the enlarged image. A star marks a source that was not read.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    for axis, scale in zip(figure.subplots(1, len(SCALES)), SCALES, strict=True):
        shown = [each for each in (*theirs, *own) if scale in each.psnr]
        for rival in shown:
            point = rival.weights, rival.psnr[scale]
            colour, marker = ("C0", "o") if rival in own else ("0.35", "s")
            filled = colour if rival.enlarges_first else "white"
            axis.plot(*point, marker, color=colour, markerfacecolor=filled)
            label = rival.name + ("" if rival.first_hand else "*")
            if [each.name for each in shown].count(rival.name) > 1:
                label += f", {rival.trained_on}"
            left = rival.weights > 40_000
            above = [each for each in shown if _is_above(each, rival, scale)]
            below = [each for each in shown if _is_above(rival, each, scale)]
            up = bool(below) and not above  # so that neighbours' names keep clear of each other
            axis.annotate(
                label,
                point,
                (-6 if left else 6, 3 if up else -3),
                textcoords="offset points",
                ha="right" if left else "left",
                va="bottom" if up else "top",
                fontsize=8,
                color=colour,
            )
        bicubic = paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN[DATASET, scale][0].psnr
        axis.set_title(f"x{scale} (bicubic: {bicubic:.2f} dB)", fontsize=10)
        axis.set_xscale("log")
        axis.set_xticks([3_000, 10_000, 30_000, 60_000])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.set_xlim(2_400, 80_000)
        axis.set_xlabel("weights")
        axis.set_ylabel("mean PSNR on Set5 (dB)")
        axis.margins(y=0.08)
        axis.grid(color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _is_above(first: Rival, second: Rival, scale: int) -> bool:
    """Whether the mark of the first is near that of the second, and above it."""
    near = 1 / 1.5 < first.weights / second.weights < 1.5
    return near and 0 < first.psnr[scale] - second.psnr[scale] < 0.13


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper.rivals",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("picture", type=paths.argument, help="file to write, .png")
    args = parser.parse_args()
    runner.need("matplotlib", "pandas", "tabulate")
    try:
        plot(RIVALS, ours()).savefig(args.picture, dpi=110)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(table([*RIVALS, *ours()]).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
