"""Applies a network to a whole image of any size, in tiles of bounded memory.

This file has two more forms of the forward pass of `forward.py`: `_tile_batch_last` and
`_tile_channels_last`. A change of the forward pass must be made in all three;
`tests/predict_test.py` compares them. Flax is not imported, because enlarging does not need it.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from srcnn_jax import convolution, forward, parallel
from srcnn_jax.architecture import Architecture
from srcnn_jax.convolution import Windows
from srcnn_jax.weights import Network

MAX_TILE_ROWS = 512  # about the max rows of a tile; the result does not depend on it
MIN_TILE_ROWS = 128  # min rows of a tile on several devices, because tiles compute overlaps twice
TILE_COLUMNS = 256, 384, 512  # columns of a tile in the batch-last form; wide tiles are faster
SHARED_COLUMNS = range(256, 513, 32)  # of which a set of images has one, see `shared_columns`
MAX_SHARED_COST = 8 / 7  # columns that tiles of a shared width cover, over those of own widths
MAX_TILE_COLUMNS = 2048  # max columns in the channels-last form: a tile takes up to 1 GB of a GPU
BLOCK_ROWS = 24, 12  # rows of a cache block: if all middle layers are pointwise, and if not


def predict(
    network: Network,
    image: np.ndarray,
    *,
    tile_rows: int = MAX_TILE_ROWS,
    tile_columns: int | None = None,
    form: str = "auto",
) -> np.ndarray:
    """Restores one bicubic-enlarged image; the output has the size of the input.

    The input of each layer has the size of the image and is extended beyond the border: with zeros
    for a 'same' layer, as in training, and with the nearest pixel for a 'valid' layer, as in the
    released `SRCNN.m`. (Extending only the image, by all margins at once, is not the same. The
    result differs within the receptive field of the border, for `foreman` at x3 by 0.03 dB.) Tiles
    overlap by the receptive field, so the result depends on the tiles only by float rounding
    (1e-7). All local devices share the tiles.

    Args:
      network: the network; it must have as many channels as the image.
      image: float32 (H, W, C) on the scale 0..1.
      tile_rows: approximate number of rows that a device computes at a time.
      tile_columns: number of columns that a device computes at a time; None to choose it by the
        image's width. Each number is another program to compile: see `shared_columns`.
      form: 'auto', 'batch_last' or 'channels_last', as `models.SRCNN.convolution`.

    Returns:
      float32 (H, W, C), on the scale 0..1, not clipped.

    Raises:
      ValueError: if the number of channels differs.
    """
    arch = network.architecture
    if image.ndim != 3 or image.shape[-1] != arch.channels:
        raise ValueError(f"the network needs (H, W, {arch.channels}), not {image.shape}")
    with jax.enable_x64(False):  # a program that uses 64 bits may call this
        return _predict(network, image, tile_rows, tile_columns, form)


def _predict(
    network: Network, image: np.ndarray, tile_rows: int, tile_columns: int | None, form: str
) -> np.ndarray:
    """`predict`, in JAX's mode of 32 bits."""
    arch = network.architecture
    height, width, _ = image.shape
    radius = arch.receptive_field_radius
    margin = arch.kernel_sizes[0] // 2 if arch.paddings[0] == "valid" else 0
    batch_last = convolution.uses_batch_last(form)
    devices = tuple(jax.local_devices())

    columns = tile_columns or _tile_columns(width, batch_last)
    across = -(-width // columns)
    rows, capacity = _tile_rows(height, across, arch, tile_rows, len(devices), batch_last)
    corners = itertools.product(range(0, height, rows), range(0, width, columns))

    restore_tile = _tile_batch_last if batch_last else _tile_channels_last
    run = parallel.pmap_parts(restore_tile, devices, arch=arch)
    layers = [(layer["kernel"], layer["bias"]) for layer in network.layers]
    layers = parallel.replicate(layers, list(devices))
    out = np.empty(image.shape, np.float32)

    def write(group: Sequence[tuple[int, int]], results: jax.Array) -> None:
        for (top, left), result in zip(group, np.asarray(results), strict=False):
            part = out[top : top + rows, left : left + columns]
            part[:] = result[: part.shape[0], : part.shape[1]]

    shape = capacity + 2 * radius, columns + 2 * radius, arch.channels
    before = None
    while group := list(itertools.islice(corners, len(devices))):
        # The other devices are idle: so far beyond the image, a tile needs no block.
        beyond = height + arch.kernel_sizes[-1], 0
        padded = group + [beyond] * (len(devices) - len(group))
        tiles = np.zeros((len(devices), *shape), np.float32)
        for tile, (top, left) in zip(tiles, group, strict=False):
            _fill(tile, image, (top - radius, left - radius), margin)
        inside = [[top, left, height, width, rows] for top, left in padded]
        results = run(layers, tiles, np.asarray(inside))
        if before:  # the devices compute `results` during this
            write(*before)
        before = group, results
    if before:
        write(*before)
    return out


def predict_self_ensemble(
    network: Network, image: np.ndarray, *, tile_columns: int | None = None
) -> np.ndarray:
    """Restores an image eight times, flipped and rotated, and returns the mean of the results.

    This is the "enhanced prediction" of Timofte et al. (CVPR 2016), called self-ensemble since. It
    takes eight times as long. `tile_columns`, the result and errors are those of `predict`.
    """
    total = np.zeros(image.shape, np.float64)
    for axes in ((0, 1, 2), (1, 0, 2)):
        turned = image.transpose(axes)
        for down, across in itertools.product((1, -1), (1, -1)):
            flipped = np.ascontiguousarray(turned[::down, ::across])
            restored = predict(network, flipped, tile_columns=tile_columns)
            total += restored[::down, ::across].transpose(axes)
    return (total / 8).astype(np.float32)


def predict_patches(network: Network, patches: np.ndarray) -> np.ndarray:
    """Restores patches, each by itself and with the network's own padding, as in training.

    Args:
      network: the network.
      patches: float32 (N, H, W, C) on the scale 0..1.

    Returns:
      float32 (N, H - 2 margin, W - 2 margin, C), not clipped.
    """
    layers = [(layer["kernel"], layer["bias"]) for layer in network.layers]
    with jax.enable_x64(False):
        return np.asarray(_forward(layers, patches, network.architecture.paddings))


# GPUs and TPUs round products by default.
_forward = jax.jit(
    functools.partial(forward.forward, precision=jax.lax.Precision.HIGHEST), static_argnums=2
)


def _fill(tile: np.ndarray, image: np.ndarray, corner: tuple[int, int], margin: int) -> None:
    """Copies a rectangle of the image into a tile, with replicated pixels around the image.

    Args:
      tile: zeros (h, w, C), which are filled in place.
      image: (H, W, C).
      corner: image row and column of the tile's first pixel; may be negative.
      margin: number of pixels beyond the border that repeat the nearest pixel. Pixels farther out
        stay zero.
    """
    inside, real, missing = [], [], []
    for begin, length, extent in zip(corner, tile.shape, image.shape[:2], strict=False):
        first = max(begin, -margin)
        last = max(first, min(begin + length, extent + margin))
        inside.append(slice(first - begin, last - begin))
        real.append(slice(max(first, 0), max(first, 0, min(last, extent))))
        missing.append((max(-first, 0), max(last - extent, 0)))
    part = image[tuple(real)]
    tile[tuple(inside)] = np.pad(part, (*missing, (0, 0)), mode="edge") if margin else part


def _tile_rows(
    height: int, across: int, arch: Architecture, tile_rows: int, devices: int, batch_last: bool
) -> tuple[int, int]:
    """Chooses the rows of an image's tiles, of which `across` are beside each other.

    Returns:
      (rows, capacity): the rows of a tile, and the rows that the compiled program can hold. The
      program depends on the capacity, so this takes few values.
    """
    overlap = arch.kernel_sizes[-1] - 1  # rows of the last hidden layer that two tiles share
    block = _block_rows(arch)
    capacity = -(-(tile_rows + overlap) // block) * block - overlap
    multiple = devices // math.gcd(devices, across)  # `down` is a multiple of it: no idle device
    down = -(-height // capacity)
    down = max(down, min(-(-down // multiple) * multiple, height // MIN_TILE_ROWS))
    rows = -(-(-(-height // down) + overlap) // block) * block - overlap  # whole blocks
    if not batch_last and down > 1:  # this form computes its whole capacity, and not blocks
        capacity = -(-rows // MIN_TILE_ROWS) * MIN_TILE_ROWS
    return rows, capacity


def shared_columns(widths: Iterable[int]) -> int | None:
    """Chooses `tile_columns` for a set of images, so that all of them share one program.

    A program takes a second and more to compile, as long as many images take to restore.

    Args:
      widths: the number of columns of each image.

    Returns:
      The number whose tiles cover the fewest columns, or None if that is more than
      `MAX_SHARED_COST` times what the tiles cover where each image has its own number. None also
      in the channels-last form, whose tiles are as wide as most images.
    """
    if not convolution.uses_batch_last("auto"):
        return None
    widths = list(widths)

    def covered(columns: int) -> int:
        return sum(-(-width // columns) * columns for width in widths)

    shared = min(SHARED_COLUMNS, key=covered)
    own = sum(-(-width // (columns := _tile_columns(width, True))) * columns for width in widths)
    return shared if covered(shared) <= MAX_SHARED_COST * own else None


def _tile_columns(width: int, batch_last: bool) -> int:
    """The columns of an image's tiles.

    In the batch-last form it is the entry of `TILE_COLUMNS` whose tiles cover the fewest columns;
    the widest of equals.
    """
    if not batch_last:
        return min(-(-width // 256) * 256, MAX_TILE_COLUMNS)
    return min(TILE_COLUMNS, key=lambda columns: (-(-width // columns) * columns, -columns))


def _block_rows(arch: Architecture) -> int:
    """Rows of a cache block: a multiple of the tiles of 4 and 6 rows of `conv_batch_last`.

    There are fewer rows if a middle layer is not pointwise, because its products would not fit the
    cache. There are more rows than half of the last kernel, so that a block beyond the image still
    holds the image's last row.
    """
    rows = BLOCK_ROWS[max(arch.kernel_sizes[1:-1], default=1) > 1]
    return (1 + arch.kernel_sizes[-1] // 2 // rows) * rows


def _bias_and_relu(bias: jax.Array, y: jax.Array) -> jax.Array:
    return jax.nn.relu(y + bias[:, None, None])  # (..., C, H, W)


def _continue(
    x: jax.Array, corner: tuple[Any, Any], border: int, padding: str, inside: jax.Array
) -> jax.Array:
    """Extends a layer's output beyond the image, as the next layer's padding requires.

    A mask over all of x would be another pass over x, which takes a third of the time. This
    function changes only the edges.

    Args:
      x: a layer's output, (1, h, w, n) or (n, h, w): axes 1 and 2 are rows and columns. If x
        extends beyond the image, it also holds the image's edge.
      corner: image row and column of the first entry of x.
      border: number of pixels beyond the image that later layers read.
      padding: the next layer's padding: 'same' for zeros, 'valid' for the nearest pixel.
      inside: [_, _, height, width, _], with height and width of the image.

    Returns:
      The extended x, of the same shape.
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


def _continuations(arch: Architecture) -> list[tuple[int, str]]:
    """`border` and `padding` of `_continue` for the output of each layer except the last.

    The border is 0 if the next layer is pointwise. Then the output of that layer is extended.
    """
    sizes = arch.kernel_sizes
    return [
        (sum(size // 2 for size in sizes[i:]) if sizes[i] > 1 else 0, arch.paddings[i])
        for i in range(1, arch.layers)
    ]


def _tile_channels_last(layers, tile, inside, *, arch: Architecture) -> jax.Array:
    """Restores a tile in the form for GPU and TPU.

    Args:
      layers: (kernel (f, f, in, out), bias (out,)) of each layer, float32.
      tile: float32 (capacity + 2 radius, columns + 2 radius, C).
      inside: int (5,): image row and column of the first restored pixel, height and width of the
        image, and the rows that are needed. (This form computes all rows.)
      arch: the architecture.

    Returns:
      float32 (capacity, columns, C).
    """
    highest = jax.lax.Precision.HIGHEST
    convolve = functools.partial(convolution.conv_channels_last, precision=highest)
    *hidden, (last_kernel, last_bias) = layers
    x = tile[None]  # (1, h, w, C)
    row, column = (inside[axis] - arch.receptive_field_radius for axis in (0, 1))
    for (kernel, bias), following in zip(hidden, _continuations(arch), strict=True):
        row, column = row + kernel.shape[0] // 2, column + kernel.shape[1] // 2
        x = jax.nn.relu(convolve(x, kernel) + bias)  # (1, h, w, n), smaller by the kernel
        if following[0]:
            x = _continue(x, (row, column), *following, inside)
    return (convolve(x, last_kernel) + last_bias)[0]


def _tile_batch_last(layers, tile, inside, *, arch: Architecture) -> jax.Array:
    """Restores a tile in the form of `conv_batch_last`; arguments and result as the other form.

    The tile is computed in cache blocks: groups of rows whose activations stay in the cache. The
    last layer folds the columns inside a block. It folds the rows at the end, over the whole tile.
    So neighbouring blocks need no common rows of the last hidden layer.
    """
    *hidden, (last_kernel, last_bias) = layers
    size, channels = arch.kernel_sizes[-1], arch.channels
    radius = arch.receptive_field_radius
    overlap = 2 * (radius - size // 2)  # input rows of a block beyond its own
    block_rows = _block_rows(arch)
    canvas = tile.transpose(2, 0, 1)  # (C, h, w)
    rows, columns = canvas.shape[1] - overlap, canvas.shape[2] - 2 * radius
    # The last kernel goes from (row tap, column tap, in, out) to ((column tap, row tap, out), in),
    # with both taps flipped.
    last_matrix = last_kernel[::-1, ::-1].transpose(1, 0, 3, 2).reshape(-1, last_kernel.shape[2])

    # `needed` counts rows of the last hidden layer. A tile at the image's end needs fewer.
    needed = jnp.minimum(inside[4], inside[2] - inside[0]) + size - 1

    def add_block(index, sums):
        # The last block ends with the image.
        start = jnp.clip(needed - block_rows, 0, index * block_rows)
        x = jax.lax.dynamic_slice_in_dim(canvas, start, block_rows + overlap, axis=1)
        row, column = inside[0] - radius + start, inside[1] - radius
        for (kernel, bias), following in zip(hidden, _continuations(arch), strict=True):
            row, column = row + kernel.shape[0] // 2, column + kernel.shape[1] // 2
            relu = functools.partial(_bias_and_relu, bias)
            x = convolution.conv_batch_last(x, kernel, 1, finish=relu)  # (n, h, w)
            if following[0]:
                x = _continue(x, (row, column), *following, inside)
        product = last_matrix @ x.reshape(x.shape[0], -1)  # (size size C, block_rows w)
        taps = product.reshape(size, size * channels, *x.shape[1:])
        windows = Windows(convolution.COLUMNS, columns, size, x.shape[2], 1 - size)
        folded = convolution.fold(taps, windows)  # (size C, block_rows, columns)
        return jax.lax.dynamic_update_slice_in_dim(sums, folded, start, axis=1)

    sums = jnp.zeros((size * channels, rows, columns))
    sums = jax.lax.fori_loop(0, -(-needed // block_rows), add_block, sums)
    taps = sums.reshape(size, channels, rows, columns)
    windows = Windows(convolution.ROWS, rows - size + 1, size, rows, 1 - size)
    # restored: (C, capacity, columns), with capacity = rows - size + 1
    restored = convolution.fold(taps, windows) + last_bias[:, None, None]
    return restored.transpose(1, 2, 0)
