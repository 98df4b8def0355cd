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
from srcnn_jax.weights import Network

# (image row of the first of them, enlarged rows (h, W, C) float32) to restored rows (h, W, C)
Restore = Callable[[int, np.ndarray], np.ndarray]

PANEL_ROWS = 512  # at most, of what a device restores at a time; the result does not change
MIN_TILE_ROWS = 128  # of them, when there are more devices: panels share work with their neighbours
PANEL_COLUMNS = 256, 384, 512  # in the matrix-product form, which compiles for these alone
XLA_COLUMNS = 2048  # at most, in the other form: a panel takes up to 1 GB of a GPU
STRIP_ROWS = 24, 12  # of a panel's activations at a time, with a pointwise middle and without
PATCH, STRIDE, BATCH = 33, 14, 64  # of `by_patches`: the article's patches and their stride


def predict(
    weights: Network, image: np.ndarray, *, panel_rows: int = PANEL_ROWS, form: str = "auto"
) -> np.ndarray:
    """Restores one bicubic-enlarged image; the output has the size of the input.

    Each layer sees its own input, of the size of the image, continued beyond the image: a 'same'
    layer by zeros, as in training, a 'valid' layer by the nearest pixel, as the released `SRCNN.m`
    does. (To continue the image alone, by all margins at once, is not the same: it differs within
    the receptive field of the border, on `foreman` at x3 by 0.03 dB.) Panels overlap by the
    receptive field, so the result does not depend on them but for float rounding (1e-7). They are
    shared by all local devices.

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
    first_padding = architecture.layer_paddings(paddings, len(sizes))[0]
    margin = sizes[0] // 2 if first_padding == "valid" else 0
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


def by_bands(weights: Network, height: int, width: int) -> tuple[int, Restore]:
    """What restores a band, and how many rows it needs beyond its own on each side.

    The restorer takes the ends of its rows for the picture's borders. Where they are not, the
    rows that this spoils are fewer than the rows beyond the band's own, which are cut off.
    """
    halo = sum(size // 2 for size in weights.kernel_sizes)
    return halo, lambda first, rows: predict(weights, rows)


def by_patches(weights: Network, height: int, width: int) -> tuple[int, Restore]:
    """As `by_bands`, but a pixel is the mean over all the patches of a grid that hold it.

    A patch is restored with the network's own padding. What valid layers cut off is added to it
    first, from its neighbourhood or, at the picture's border, by the nearest pixel. So this differs
    from bands by the zeros that 'same' layers see around every patch, and near the border.
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
    down = max(down, min(-(-down // shares) * shares, height // MIN_TILE_ROWS))
    rows = -(-(-(-height // down) + halo) // strip) * strip - halo  # whole strips
    if not matmul and down > 1:  # strips beyond the rows are left out, but not by XLA's form
        room = -(-rows // MIN_TILE_ROWS) * MIN_TILE_ROWS
    return rows, columns, room


def _panel_columns(width: int) -> int:
    """The wider panels are faster, unless they reach farther beyond the image."""
    return min(PANEL_COLUMNS, key=lambda columns: (-(-width // columns) * columns, -columns))


def _strip_rows(sizes: Sequence[int]) -> int:
    """Whole tiles of 4 and 6 rows, fewer where a middle layer's products would leave the cache.

    More than the last layer reaches, so that a strip beyond the image has the image's last row.
    """
    rows = STRIP_ROWS[max(sizes[1:-1], default=1) > 1]
    return (1 + sizes[-1] // 2 // rows) * rows


def _bias_and_relu(bias: jax.Array, y: jax.Array) -> jax.Array:
    return jax.nn.relu(y + bias[:, None, None])


def _continue(
    x: jax.Array, corner: tuple[Any, Any], border: int, padding: str, inside: jax.Array
) -> jax.Array:
    """A layer's output with what the next layer is to see beyond the image.

    A mask over all of x would be another pass over it, a third of the time; this touches the
    edges only.

    Args:
      x: its axes 1 and 2 are rows and columns; the image's edge is in it, where it goes beyond.
      corner: image row and column of its first entry.
      border: pixels beyond the image that later layers reach.
      padding: of the next layer: 'same' for zeros, 'valid' for the nearest pixel.
      inside: [_, _, height, width, _] of the image.
    """
    for axis, first, size in zip((1, 2), corner, inside[2:4], strict=True):
        length = x.shape[axis]
        count = min(border, length)
        for start, edge, outwards in ((-border, 0, -1), (size, size - 1, 1)):
            start = jnp.clip(start - first, 0, length - count)
            beyond = outwards * (first + start + jnp.arange(count) - edge) > 0
            beyond = jnp.expand_dims(beyond, [i for i in range(x.ndim) if i != axis])
            fill: Any = 0.0
            if padding == "valid":
                at = jnp.clip(edge - first, 0, length - 1)
                fill = jax.lax.dynamic_slice_in_dim(x, at, 1, axis)
            part = jax.lax.dynamic_slice_in_dim(x, start, count, axis)
            part = jnp.where(beyond, fill, part)
            x = jax.lax.dynamic_update_slice_in_dim(x, part, start, axis)
    return x


def _continuations(sizes: Sequence[int], paddings: str) -> list[tuple[int, str]]:
    """For each layer's output but the last: pixels beyond the image that later layers reach, and
    the next layer's padding. 0 pixels where that is pointwise: then its output is continued."""
    kinds = architecture.layer_paddings(paddings, len(sizes))
    return [
        (sum(size // 2 for size in sizes[i:]) if sizes[i] > 1 else 0, kinds[i])
        for i in range(1, len(sizes))
    ]


def _xla_panel(layers, panel, inside, *, paddings: str) -> jax.Array:
    """The form for GPU and TPU: (rows + 2 reach, columns + 2 reach, C) to (rows, columns, C).

    `inside` is [image row and column of the panel's first pixel, height and width of the image,
    rows to compute].
    """
    sizes = [kernel.shape[0] for kernel, _ in layers]
    convolve = functools.partial(
        convolution.conv_channels_last, precision=jax.lax.Precision.HIGHEST
    )
    *hidden, (last_kernel, last_bias) = layers
    x = panel[None]
    row, column = (inside[axis] - sum(size // 2 for size in sizes) for axis in (0, 1))
    for (kernel, bias), following in zip(hidden, _continuations(sizes, paddings), strict=True):
        row, column = row + kernel.shape[0] // 2, column + kernel.shape[1] // 2
        x = jax.nn.relu(convolve(x, kernel) + bias)
        if following[0]:
            x = _continue(x, (row, column), *following, inside)
    return (convolve(x, last_kernel) + last_bias)[0]


def _matmul_panel(layers, panel, inside, *, paddings: str) -> jax.Array:
    """The form of `convolution.py`, over strips whose activations stay in the cache.

    The last layer folds columns inside a strip and rows at the end, over the whole panel, so that
    strips need no halo of last hidden activations.
    """
    sizes = [kernel.shape[0] for kernel, _ in layers]
    *hidden, (last_kernel, last_bias) = layers
    size, channels = sizes[-1], last_kernel.shape[-1]
    reach = sum(s // 2 for s in sizes)
    halo = 2 * sum(s // 2 for s in sizes[:-1])
    strip_rows = _strip_rows(sizes)
    canvas = panel.transpose(2, 0, 1)
    rows, columns = canvas.shape[1] - halo, canvas.shape[2] - 2 * reach
    # (row tap, column tap, C_in, C_out) to ((column tap, row tap, C_out), C_in), both flipped
    last_matrix = last_kernel[::-1, ::-1].transpose(1, 0, 3, 2).reshape(-1, last_kernel.shape[2])

    # Rows of the last hidden layer, of which a panel at the image's end needs fewer.
    needed = jnp.minimum(inside[4], inside[2] - inside[0]) + size - 1

    def strip(index, sums):
        start = jnp.clip(needed - strip_rows, 0, index * strip_rows)  # the last ends with the image
        x = jax.lax.dynamic_slice_in_dim(canvas, start, strip_rows + halo, axis=1)
        row, column = inside[0] - reach + start, inside[1] - reach
        for (kernel, bias), following in zip(hidden, _continuations(sizes, paddings), strict=True):
            row, column = row + kernel.shape[0] // 2, column + kernel.shape[1] // 2
            relu = functools.partial(_bias_and_relu, bias)
            x = convolution.conv_batch_last(x, kernel, 1, finish=relu)
            if following[0]:
                x = _continue(x, (row, column), *following, inside)
        product = last_matrix @ x.reshape(x.shape[0], -1)
        taps = product.reshape(size, size * channels, *x.shape[1:])
        windows = Windows(convolution.COLUMNS, columns, size, x.shape[2], 1 - size)
        return jax.lax.dynamic_update_slice_in_dim(
            sums, convolution.fold(taps, windows), start, axis=1
        )

    sums = jnp.zeros((size * channels, rows, columns))
    sums = jax.lax.fori_loop(0, -(-needed // strip_rows), strip, sums)
    taps = sums.reshape(size, channels, rows, columns)
    windows = Windows(convolution.ROWS, rows - size + 1, size, rows, 1 - size)
    return (convolution.fold(taps, windows) + last_bias[:, None, None]).transpose(1, 2, 0)
