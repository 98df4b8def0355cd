"""What makes an SRCNN of some numbers: filter sizes, filters, channels, paddings. Needs no JAX."""

import math
from collections.abc import Sequence

PADDINGS = ("same", "valid")


def check(
    kernel_sizes: Sequence[int], features: Sequence[int], channels: int, padding: str
) -> None:
    """Raises ValueError, naming the value and the fix, unless these make an SRCNN."""
    if len(kernel_sizes) < 2 or len(features) != len(kernel_sizes) - 1:
        raise ValueError(
            f"kernel_sizes {tuple(kernel_sizes)} needs one entry more than features "
            f"{tuple(features)}: the last layer's width is the number of channels"
        )
    for size in kernel_sizes:
        if size < 1 or size % 2 == 0:
            raise ValueError(f"kernel sizes must be odd and positive, not {size}")
    for width in (*features, channels):
        if width < 1:
            raise ValueError(f"features and channels must be positive, not {width}")
    layer_paddings(padding, len(kernel_sizes))


def layer_paddings(padding: str, layers: int) -> tuple[str, ...]:
    """The padding of each layer; one word stands for all of them: 'same' or 'valid,same,valid'."""
    paddings = tuple(padding.split(","))
    if len(paddings) == 1:
        paddings *= layers
    if len(paddings) != layers or not set(paddings) <= set(PADDINGS):
        raise ValueError(
            f"padding is 'same' or 'valid', or one of them for each of {layers} layers "
            f"('valid,same,valid'), not {padding!r}"
        )
    return paddings


def kernel_shapes(
    kernel_sizes: Sequence[int], features: Sequence[int], channels: int
) -> list[tuple[int, int, int, int]]:
    """(f, f, in, out) of every layer."""
    widths = (channels, *features, channels)
    return [(size, size, widths[i], widths[i + 1]) for i, size in enumerate(kernel_sizes)]


def margin(kernel_sizes: Sequence[int], padding: str) -> int:
    """Pixels that the valid layers cut off each side: 6 for 9-1-5, 0 if all are 'same'."""
    paddings = layer_paddings(padding, len(kernel_sizes))
    pairs = zip(kernel_sizes, paddings, strict=True)
    return sum(size // 2 for size, kind in pairs if kind == "valid")


def weight_count(kernel_sizes: Sequence[int], features: Sequence[int], channels: int = 1) -> int:
    """Weights without biases, as the paper counts them (9-1-5: 8,032): multiply-adds per pixel."""
    return sum(math.prod(shape) for shape in kernel_shapes(kernel_sizes, features, channels))
