"""The architecture of an SRCNN: kernel sizes, filters, channels and padding, without JAX."""

import dataclasses
import math
import numbers
from typing import Any

from srcnn_jax import colour

PADDINGS = ("same", "valid")

KernelShape = tuple[int, int, int, int]  # (f, f, channels in, channels out)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The architecture of an SRCNN. The values are checked when it is created.

    Attributes:
      kernel_sizes: side of each layer's square filters in pixels (f1, f2, f3, ...), odd.
      features: number of filters of each layer except the last (n1, n2, ...).
      channels: channels of the image (c): 1 for luminance, 3 for colour.
      padding: 'same' (zeros, the output has the size of the input) or 'valid' (the output is
        smaller) for all layers, or one word for each layer: 'valid,same,valid'.

    Raises:
      ValueError: if a value does not fit an SRCNN. The message names the value and the fix.
    """

    kernel_sizes: tuple[int, ...]
    features: tuple[int, ...]
    channels: int
    padding: str

    def __post_init__(self):
        object.__setattr__(self, "kernel_sizes", tuple(self.kernel_sizes))  # JSON gives lists
        object.__setattr__(self, "features", tuple(self.features))
        if len(self.kernel_sizes) < 2 or len(self.features) != len(self.kernel_sizes) - 1:
            raise ValueError(
                f"kernel_sizes {self.kernel_sizes} needs one entry more than features "
                f"{self.features}: the last layer's width is the number of channels"
            )
        for number in (*self.kernel_sizes, *self.features, self.channels):
            if not isinstance(number, numbers.Integral) or isinstance(number, bool):
                raise ValueError(f"kernel sizes and features are whole numbers, not {number!r}")
        for size in self.kernel_sizes:
            if size < 1 or size % 2 == 0:
                raise ValueError(f"kernel sizes must be odd and positive, not {size}")
        for width in (*self.features, self.channels):
            if width < 1:
                raise ValueError(f"features and channels must be positive, not {width}")
        if len(self.paddings) != self.layers or not set(self.paddings) <= set(PADDINGS):
            raise ValueError(
                f"padding is 'same' or 'valid', or one of them for each of {self.layers} layers "
                f"('valid,same,valid'), not {self.padding!r}"
            )

    def __str__(self) -> str:
        """The kernel sizes as the paper writes them: '9-1-5'."""
        return "-".join(map(str, self.kernel_sizes))

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.kernel_sizes)

    @property
    def paddings(self) -> tuple[str, ...]:
        """The padding of each layer."""
        words = tuple(self.padding.split(","))
        return words * self.layers if len(words) == 1 else words

    @property
    def shapes(self) -> tuple[KernelShape, ...]:
        """The kernel shape (f, f, in, out) of each layer."""
        widths = (self.channels, *self.features, self.channels)
        return tuple(
            (size, size, widths[i], widths[i + 1]) for i, size in enumerate(self.kernel_sizes)
        )

    @property
    def margin(self) -> int:
        """Pixels that the valid layers remove from each side: 6 for 9-1-5, 0 if all are 'same'."""
        pairs = zip(self.kernel_sizes, self.paddings, strict=True)
        return sum(size // 2 for size, padding in pairs if padding == "valid")

    @property
    def receptive_field_radius(self) -> int:
        """Pixels from an output pixel to the farthest input pixel it depends on: 6 for 9-1-5."""
        return sum(size // 2 for size in self.kernel_sizes)

    @property
    def weight_count(self) -> int:
        """Number of weights without biases, as the paper counts them: 8,032 for 9-1-5."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a direct convolution for one output pixel: one for each weight."""
        return self.weight_count


def context_of(config: Any) -> int:
    """Returns the pixels around a patch that a config's training extracts with it.

    They are for networks whose layers are all 'same'. The others get patches alone.
    """
    arch = create_architecture(config)
    return arch.receptive_field_radius if config["data"]["context"] and not arch.margin else 0


def create_architecture(config: Any) -> Architecture:
    """Returns the architecture that a config's `model` and `data.colour` describe.

    Args:
      config: as `configs/default.py`, or the dict that `config.json` holds.

    Raises:
      ValueError: if a value does not fit an SRCNN.
    """
    model, kind = config["model"], config["data"]["colour"]
    if kind not in colour.CHANNELS:
        raise ValueError(f"data.colour is one of {', '.join(colour.CHANNELS)}, not {kind!r}")
    return Architecture(
        kernel_sizes=model["kernel_sizes"],
        features=model["features"],
        channels=colour.CHANNELS[kind],
        padding=model["padding"],
    )
