"""The networks that come with the project, and their cards (`pretrained/cards.json`)."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from srcnn_jax.degradation import RELEASED

FOLDER = Path(__file__).parents[1] / "pretrained"
BEST = "best"  # stands for the network with the highest PSNR on Set5, for clean pictures
PHOTO = "photo"  # the network for pictures that were saved as JPEG


@dataclasses.dataclass(frozen=True)
class Card:
    """What is known of a network.

    Attributes:
      network: its name: '915' for the paper's 9-1-5.
      scale: factor of the enlargement.
      architecture: kernel sizes and filters, '9-1-5, 64-32'.
      weights: number of weights without biases.
      trained_on: the images.
      recipe: the config, and what differs from it.
      command: makes the network.
      seconds: duration of the training.
      device: where it was trained.
      commit: version of the project that trained it.
      seeds: number of seeds that were tried.
      sha256: of the weight file, in hex.
      results: {test set: {metric: mean}}.
      small_images: how the small images of its training and of `results` were made, in the words
        of `degradation.Degradation`.
    """

    network: str
    scale: int
    architecture: str
    weights: int
    trained_on: str
    recipe: str
    command: str
    seconds: int
    device: str
    commit: str
    seeds: int
    sha256: str
    results: Mapping[str, Mapping[str, float]]
    small_images: str = str(RELEASED)

    @property
    def file(self) -> Path:
        """The path of the weight file."""
        return FOLDER / f"srcnn_{self.network}_x{self.scale}.safetensors"

    @property
    def psnr(self) -> float:
        """Mean PSNR on Set5 in dB."""
        return self.results["set5"]["psnr"]


def read_cards() -> list[Card]:
    """Reads the cards, in the order of networks and scales."""
    return [Card(**card) for card in json.loads((FOLDER / "cards.json").read_text("utf-8"))]


def shipped(path: Path) -> Card | None:
    """Returns the card of a weight file if it is one of ours, and None for any other file."""
    if path.resolve().parent != FOLDER.resolve():
        return None
    return next((card for card in read_cards() if card.file.name == path.name), None)


def check(card: Card) -> None:
    """Raises ValueError if the file of a network does not have the sha256 of its card."""
    if hashlib.sha256(card.file.read_bytes()).hexdigest() != card.sha256:
        raise ValueError("it does not have the sha256 of cards.json: install srcnn_jax again")


def choose(scale: int, network: str = BEST) -> Card:
    """Returns the card of a network for a scale.

    Raises:
      ValueError: if there is no network of this name, or none for this scale. The message names
        those that there are.
    """
    if scale not in scales(network):
        raise ValueError(
            f"the bundled networks are for the scales {', '.join(map(str, scales(network)))}, "
            f"not {scale}; name a network of your own as weights (--weights FILE)"
        )
    cards = [card for card in _named(network) if card.scale == scale]
    return max(cards, key=lambda card: card.psnr)


def _named(network: str) -> list[Card]:
    """The cards of a network, by any scale; of all for clean pictures, if it is `BEST`."""
    cards = read_cards()
    if network == BEST:
        return [card for card in cards if card.small_images == str(RELEASED)]
    return [card for card in cards if card.network == network]


def scales(network: str = BEST) -> list[int]:
    """Returns the scales of a network, in ascending order.

    Raises:
      ValueError: if there is no network of this name. The message names those that there are.
    """
    names = sorted({card.network for card in read_cards()})
    if network not in (BEST, *names):
        what = "for pictures saved as JPEG, " if network == PHOTO else ""
        raise ValueError(
            f"there is no network {what}{network!r}: choose {BEST}, {', '.join(names)}"
        )
    return sorted({card.scale for card in _named(network)})


def format_list() -> str:
    """A table of the networks, for people: sizes, and PSNR in dB on Set5 and Set14.

    The PSNR is that on small images as those of the training.
    """
    cards = read_cards()
    width = max(len(card.architecture) for card in cards)
    lines = [
        f"{'network':9} scale {'architecture':{width}} {'weights':>8} {'Set5':>7} {'Set14':>7}"
        "  small images"
    ]
    for card in cards:
        set14 = card.results["set14"]["psnr"]
        lines.append(
            f"{card.network:9} x{card.scale:<4} {card.architecture:{width}} {card.weights:8,} "
            f"{card.psnr:7.2f} {set14:7.2f}  {card.small_images}"
        )
    return "\n".join(lines)
