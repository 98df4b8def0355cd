"""A network applied to a whole image of any size, in panels of bounded memory."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from srcnn_jax import architecture, convolution, models, parallel
from srcnn_jax.convolution import Windows
from srcnn_jax.weights import Weights

# (image row of the first of them, enlarged rows (h, W, C) float32) to restored rows (h, W, C)
Restore = Callable[[int, np.ndarray], np.ndarray]

PANEL_ROWS = 512  # at most, of what a device restores at a time; the result does not change
LEAST_ROWS = 128  # of them, when there are more devices: panels share work with their neighbours
PANEL_COLUMNS = 256, 384, 512  # in the matrix-product form, which compiles for these alone
XLA_COLUMNS = 2048  # at most, in the other form: a panel takes up to 1 GB of a GPU
STRIP_ROWS = 24, 12  # of a panel's activations at a time, with a pointwise middle and without
PATCH, STRIDE, BATCH = 33, 14, 64  # of `by_patches`: the article's patches and their stride


def predict(
    weights: Weights, image: np.ndarray, *, panel_rows: int = PANEL_ROWS, form: str = "auto"
) -> np.ndarray:
    """Restores one bicubic-enlarged image; the output has the size of the input.

    'same' layers see zeros outside the image, as in training. For the 'valid' layers the image is
    replicate-padded by all their margins at once, which equals the released `SRCNN.m`, where each
    layer pads its own input. Panels overlap by the receptive field, so the result does not depend
    on them but for float rounding (1e-7). They are shared by all local devices.

    Args:
      weights: the network; its channels must be those of the image.
      image: float32 (H, W, C) in 0..1.
      panel_rows: about how many rows a device computes at a time.
      form: 'auto', 'matmul' or 'xla', as `models.SRCNN.convolution`.

    Returns:
      float32 (H, W, C), not clipped.

    Raises:
      ValueError: if the channels do not fit.
    """
    kernels = [layer["kernel"] for layer in weights.layers]
    if image.ndim != 3 or image.shape[-1] != kernels[0].shape[2]:
        raise ValueError(f"the network needs (H, W, {kernels[0].shape[2]}), not {image.shape}")
    height, width, _ = image.shape
    sizes, paddings = weights.kernel_sizes, weights.padding
    reach = sum(size // 2 for size in sizes)
    margin = architecture.margin(sizes, paddings)
    matmul = models.uses_matmul(form)
    devices = tuple(jax.local_devices())

    rows, columns, room = _layout(height, width, sizes, panel_rows, len(devices), matmul)
    corners = itertools.product(range(0, height, rows), range(0, width, columns))

    panel_of = _matmul_panel if matmul else _xla_panel
    run = parallel.pmap_parts(panel_of, devices, paddings=paddings)
    layers = [(layer["kernel"], layer["bias"]) for layer in weights.layers]
    layers = parallel.replicate(layers, list(devices))
    out = np.empty(image.shape, np.float32)

    def write(group: Sequence[tuple[int, int]], results: jax.Array) -> None:
        for (top, left), result in zip(group, np.asarray(results), strict=False):
            part = out[top : top + rows, left : left + columns]
            part[:] = result[: part.shape[0], : part.shape[1]]

    shape = room + 2 * reach, columns + 2 * reach, image.shape[2]
    before = None
    while group := list(itertools.islice(corners, len(devices))):
        padded = group + [(height, 0)] * (len(devices) - len(group))  # nothing to do for the rest
        panels = np.zeros((len(devices), *shape), np.float32)
        for panel, (top, left) in zip(panels, padded, strict=True):
            _fill(panel, image, (top - reach, left - reach), margin)
        inside = [[top, left, height, width, rows] for top, left in padded]
        results = run(layers, panels, np.asarray(inside))
        if before:  # while the devices are at work
            write(*before)
        before = group, results
    if before:
        write(*before)
    return out


def by_bands(weights: Weights, height: int, width: int) -> tuple[int, Restore]:
    """What restores a band, and how many rows it needs beyond its own on each side.

    The restorer takes the ends of its rows for the picture's borders. Where they are not, the
    rows that this spoils are fewer than the rows beyond the band's own, which are cut off.
    """
    halo = sum(size // 2 for size in weights.kernel_sizes)
    return halo, lambda first, rows: predict(weights, rows)


def by_patches(weights: Weights, height: int, width: int) -> tuple[int, Restore]:
    """As `by_bands`, but a pixel is the mean over all the patches of a grid that hold it.

    A patch is restored with the network's own padding. What valid layers cut off is added to it
    first, from its neighbourhood or, at the picture's border, by replication; so this differs
    from bands only by the zeros that 'same' layers see around every patch.
    """
    channels = weights.layers[0]["kernel"].shape[2]
    model = models.SRCNN(weights.kernel_sizes, weights.features, channels, weights.padding)
    apply = jax.jit(model.apply)
    margin = architecture.margin(weights.kernel_sizes, weights.padding)
    # The last patch of a row or column ends with the picture.
    size = min(PATCH, height), min(PATCH, width)
    tops = [*range(0, height - size[0], STRIDE), height - size[0]]
    lefts = [*range(0, width - size[1], STRIDE), width - size[1]]
    shape = BATCH, size[0] + 2 * margin, size[1] + 2 * margin, channels

    def restore(first: int, rows: np.ndarray) -> np.ndarray:
        padded = np.pad(rows, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        inside = [top - first for top in tops if 0 <= top - first <= len(rows) - size[0]]
        corners = [(top, left) for top in inside for left in lefts]
        total = np.zeros(rows.shape, np.float32)
        count = np.zeros((*rows.shape[:2], 1), np.float32)
        for start in range(0, len(corners), BATCH):
            batch = corners[start : start + BATCH]
            patches = np.zeros(shape, np.float32)
            for patch, (top, left) in zip(patches, batch, strict=False):
                patch[:] = padded[top : top + shape[1], left : left + shape[2]]
            with jax.default_matmul_precision("highest"):  # GPUs and TPUs round otherwise
                restored = np.asarray(apply({"params": weights.params}, patches))
            for patch, (top, left) in zip(restored, batch, strict=False):
                total[top : top + size[0], left : left + size[1]] += patch
                count[top : top + size[0], left : left + size[1]] += 1
        return total / np.maximum(count, 1)  # 0 in spoilt rows only

    return PATCH - 1 + margin, restore


def _fill(panel: np.ndarray, image: np.ndarray, corner: tuple[int, int], margin: int) -> None:
    """Copies a rectangle of the image inside its frame, `margin` replicated pixels, into zeros."""
    inside, real, missing = [], [], []
    for begin, length, extent in zip(corner, panel.shape, image.shape[:2], strict=False):
        first = max(begin, -margin)
        last = max(first, min(begin + length, extent + margin))
        inside.append(slice(first - begin, last - begin))
        real.append(slice(max(first, 0), max(first, 0, min(last, extent))))
        missing.append((max(-first, 0), max(last - extent, 0)))
    part = image[tuple(real)]
    panel[tuple(inside)] = np.pad(part, (*missing, (0, 0)), mode="edge") if margin else part


def _layout(
    height: int, width: int, sizes: Sequence[int], panel_rows: int, devices: int, matmul: bool
) -> tuple[int, int, int]:
    """How an image is cut into panels: their rows and columns, and the rows that each has room for.

    The room and the columns are what is compiled for, so they take few values.
    """
    columns = _panel_columns(width) if matmul else min(-(-width // 256) * 256, XLA_COLUMNS)
    halo = sizes[-1] - 1  # rows of the last hidden layer that two panels share
    strip = _strip_rows(sizes)
    room = -(-(panel_rows + halo) // strip) * strip - halo
    shares = devices // math.gcd(devices, -(-width // columns))  # so that all have as much to do
    down = -(-height // room)
    down = max(down, min(-(-down // shares) * shares, height // LEAST_ROWS))
    rows = -(-(-(-height // down) + halo) // strip) * strip - halo  # whole strips
    if not matmul and down > 1:  # strips beyond the rows are left out, but not by XLA's form
        room = -(-rows // LEAST_ROWS) * LEAST_ROWS
    return rows, columns, room


def _panel_columns(width: int) -> int:
    """The wider panels are faster, unless they reach farther beyond the image."""
    return min(PANEL_COLUMNS, key=lambda columns: (-(-width // columns) * columns, -columns))


def _strip_rows(sizes: Sequence[int]) -> int:
    """Whole tiles of 4 and 6 rows, fewer where a middle layer's products would leave the cache."""
    return STRIP_ROWS[max(sizes[1:-1], default=1) > 1]


def _bias_and_relu(bias: jax.Array, y: jax.Array) -> jax.Array:
    return jax.nn.relu(y + bias[:, None, None])


def _zero_outside(
    x: jax.Array, corner: tuple[Any, Any], border: int, extent: int, inside: jax.Array
) -> jax.Array:
    """A layer's output with zeros outside the image widened by `extent`, where later layers look.

    A mask over all of x would be another pass over it, a third of the time; this touches the
    edges only.

    Args:
      x: its axes 1 and 2 are rows and columns.
      corner: image row and column of its first entry.
      border: pixels beyond the image that later layers reach.
      extent: how many of these are real.
      inside: [_, _, height, width, _] of the image.
    """
    if border == extent:
        return x
    for axis, first, size in zip((1, 2), corner, inside[2:4], strict=True):
        count = min(border - extent, x.shape[axis])
        for start in (-border, size + extent):
            start = jnp.clip(start - first, 0, x.shape[axis] - count)
            position = first + start + jnp.arange(count)
            real = (position >= -extent) & (position < size + extent)
            real = jnp.expand_dims(real, [i for i in range(x.ndim) if i != axis])
            edge = jax.lax.dynamic_slice_in_dim(x, start, count, axis)
            edge = jnp.where(real, edge, 0.0)
            x = jax.lax.dynamic_update_slice_in_dim(x, edge, start, axis)
    return x


def _borders(sizes: Sequence[int], paddings: str) -> list[tuple[int, int]]:
    """For each layer's output: pixels that later layers reach beyond the image, and how many of
    these are real (inside the frame of the valid layers) rather than the zeros of 'same'."""
    kinds = architecture.layer_paddings(paddings, len(sizes))
    return [
        (
            sum(size // 2 for size in sizes[i + 1 :]),
            sum(
                s // 2 for s, k in zip(sizes[i + 1 :], kinds[i + 1 :], strict=True) if k == "valid"
            ),
        )
        for i in range(len(sizes))
    ]


def _xla_panel(layers, panel, inside, *, paddings: str) -> jax.Array:
    """The form for GPU and TPU: (rows + 2 reach, columns + 2 reach, C) to (rows, columns, C).

    `inside` is [image row and column of the panel's first pixel, height and width of the image,
    rows to compute].
    """
    borders = _borders([kernel.shape[0] for kernel, _ in layers], paddings)
    x = panel[None]
    for (kernel, bias), (border, extent) in zip(layers, borders, strict=True):
        x = convolution.convolve_xla(x, kernel, precision=jax.lax.Precision.HIGHEST) + bias
        if border:
            x = jax.nn.relu(x)
        corner = inside[0] - border, inside[1] - border
        x = _zero_outside(x, corner, border, extent, inside)
    return x[0]


def _matmul_panel(layers, panel, inside, *, paddings: str) -> jax.Array:
    """The form of `convolution.py`, over strips whose activations stay in the cache.

    The last layer folds columns inside a strip and rows at the end, over the whole panel, so that
    strips need no halo of last hidden activations.
    """
    sizes = [kernel.shape[0] for kernel, _ in layers]
    borders = _borders(sizes, paddings)
    *hidden, (last_kernel, last_bias) = layers
    size, channels = sizes[-1], last_kernel.shape[-1]
    reach = sum(s // 2 for s in sizes)
    halo = 2 * sum(s // 2 for s in sizes[:-1])
    strip_rows = _strip_rows(sizes)
    canvas = panel.transpose(2, 0, 1)
    rows, columns = canvas.shape[1] - halo, canvas.shape[2] - 2 * reach
    # (row tap, column tap, C_in, C_out) to ((column tap, row tap, C_out), C_in), both flipped
    last_matrix = last_kernel[::-1, ::-1].transpose(1, 0, 3, 2).reshape(-1, last_kernel.shape[2])

    def strip(index, sums):
        start = index * strip_rows
        x = jax.lax.dynamic_slice_in_dim(canvas, start, strip_rows + halo, axis=1)
        row, column = inside[0] - reach + start, inside[1] - reach
        for (kernel, bias), own, following in zip(hidden, borders[:-1], borders[1:], strict=True):
            row, column = row + kernel.shape[0] // 2, column + kernel.shape[1] // 2
            relu = functools.partial(_bias_and_relu, bias)
            x = convolution.convolve(x, kernel, 1, finish=relu)
            if own != following:  # a pointwise layer's output has the same zeros
                x = _zero_outside(x, (row, column), *own, inside)
        product = last_matrix @ x.reshape(x.shape[0], -1)
        taps = product.reshape(size, size * channels, *x.shape[1:])
        windows = Windows(convolution.COLUMNS, columns, size, x.shape[2], 1 - size)
        return jax.lax.dynamic_update_slice_in_dim(
            sums, convolution.fold(taps, windows), start, axis=1
        )

    needed = jnp.minimum(inside[4], inside[2] - inside[0]) + size - 1
    sums = jnp.zeros((size * channels, rows, columns))
    sums = jax.lax.fori_loop(0, -(-needed // strip_rows), strip, sums)
    taps = sums.reshape(size, channels, rows, columns)
    windows = Windows(convolution.ROWS, rows - size + 1, size, rows, 1 - size)
    return (convolution.fold(taps, windows) + last_bias[:, None, None]).transpose(1, 2, 0)
