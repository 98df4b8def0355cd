"""A network applied to a whole image of any size, in bands of bounded memory."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from srcnn_jax import convolution, models, parallel
from srcnn_jax.convolution import Windows
from srcnn_jax.weights import Weights

# (image row of the first of them, enlarged rows (h, W, C) float32) to restored rows (h, W, C)
Restore = Callable[[int, np.ndarray], np.ndarray]

BAND_ROWS = 512  # rows held at a time; memory grows with it, the result does not change
LEAST_ROWS = 128  # of them on one device: bands share some work with their neighbours
STRIP_PIXELS = 1024  # of a strip's activations, which should stay in a core's cache
PATCH, STRIDE, BATCH = 33, 14, 64  # of `by_patches`: the article's patches and their stride
WIDTH_STEP = 128  # widths are rounded up to it, so that images of similar size share a compilation


def predict(
    weights: Weights, image: np.ndarray, *, band_rows: int = BAND_ROWS, form: str = "auto"
) -> np.ndarray:
    """Restores one bicubic-enlarged image; the output has the size of the input.

    'same' layers see zeros outside the image, as in training. For the 'valid' layers the image is
    replicate-padded by all their margins at once, which equals the released `SRCNN.m`, where each
    layer pads its own input. Bands overlap by the receptive field, so the result does not depend
    on `band_rows` but for float rounding (1e-7).

    Args:
      weights: the network; its channels must be those of the image.
      image: float32 (H, W, C) in 0..1.
      band_rows: about how many rows are computed at a time, on all local devices together.
      form: 'auto', 'matmul' or 'xla', as `models.SRCNN.convolution`.

    Returns:
      float32 (H, W, C), not clipped.

    Raises:
      ValueError: if the channels do not fit.
    """
    kernels = [layer["kernel"] for layer in weights.layers]
    if image.ndim != 3 or image.shape[-1] != kernels[0].shape[2]:
        raise ValueError(f"the network needs (H, W, {kernels[0].shape[2]}), not {image.shape}")
    height, width, channels = image.shape
    sizes, paddings = weights.kernel_sizes, weights.padding
    reach = sum(size // 2 for size in sizes)
    margin = models.margin(sizes, paddings)
    full_width = -(-width // WIDTH_STEP) * WIDTH_STEP
    strip_rows = min(16, max(1, STRIP_PIXELS // full_width))
    halo = sizes[-1] - 1  # rows of the last hidden layer that two bands share
    devices = tuple(jax.local_devices())
    most = max(band_rows // len(devices), min(band_rows, LEAST_ROWS))
    most = -(-(most + halo) // strip_rows) * strip_rows - halo  # output rows of a band
    rounds = -(-height // (most * len(devices)))
    rows = -(-height // (rounds * len(devices)))  # those of them that are used

    band_of = _matmul_band if models.uses_matmul(form) else _xla_band
    run = parallel.pmap_parts(band_of, devices, strip_rows=strip_rows, paddings=paddings)
    layers = [(layer["kernel"], layer["bias"]) for layer in weights.layers]
    out = np.empty((height, width, channels), np.float32)
    for start in range(0, height, rows * len(devices)):
        tops = [start + i * rows for i in range(len(devices))]
        bands = [
            _canvas(image, top - reach, most + 2 * reach, full_width, reach, margin) for top in tops
        ]
        inside = [[top, height, width, rows] for top in tops]
        results = run(layers, np.stack(bands), np.asarray(inside))
        for top, result in zip(tops, np.asarray(results), strict=True):
            out[top : top + rows] = result[: max(0, min(rows, height - top)), :width]
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
    margin = models.margin(weights.kernel_sizes, weights.padding)
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
            restored = np.asarray(apply({"params": weights.params}, patches))
            for patch, (top, left) in zip(restored, batch, strict=False):
                total[top : top + size[0], left : left + size[1]] += patch
                count[top : top + size[0], left : left + size[1]] += 1
        return total / np.maximum(count, 1)  # 0 in spoilt rows only

    return PATCH - 1 + margin, restore


def _canvas(
    image: np.ndarray, top: int, rows: int, width: int, reach: int, margin: int
) -> np.ndarray:
    """Rows [top, top + rows) of the image inside its frame, with `reach` columns on each side.

    The frame is `margin` replicated pixels and zeros beyond. `width` is without the frame.
    """
    height = image.shape[0]
    canvas = np.zeros((rows, width + 2 * reach, image.shape[2]), np.float32)
    first = max(top, -margin)
    last = max(first, min(top + rows, height + margin))
    source = image[np.clip(np.arange(first, last), 0, height - 1)]
    source = np.pad(source, ((0, 0), (margin, margin), (0, 0)), mode="edge")
    left = reach - margin
    canvas[first - top : last - top, left : left + source.shape[1]] = source
    return canvas


def _bias_and_relu(bias: jax.Array, y: jax.Array) -> jax.Array:
    return jax.nn.relu(y + bias[:, None, None])


def _mask(
    shape: tuple[int, ...], top: jax.Array, border: int, extent: int, inside: jax.Array
) -> jax.Array:
    """1 inside the image widened by `extent`, 0 outside, for a layer's (rows, columns).

    Args:
      top: image row of the array's first row; its first column is column -border.
      inside: [_, height, width, _] of the image.
    """
    row = top + jnp.arange(shape[0])[:, None]
    column = jnp.arange(shape[1])[None, :] - border
    rows = (row >= -extent) & (row < inside[1] + extent)
    return rows & (column >= -extent) & (column < inside[2] + extent)


def _borders(sizes: Sequence[int], paddings: str) -> list[tuple[int, int]]:
    """For each layer's output: pixels that later layers reach beyond the image, and how many of
    these are real (inside the frame of the valid layers) rather than the zeros of 'same'."""
    kinds = models.layer_paddings(paddings, len(sizes))
    return [
        (
            sum(size // 2 for size in sizes[i + 1 :]),
            sum(
                s // 2 for s, k in zip(sizes[i + 1 :], kinds[i + 1 :], strict=True) if k == "valid"
            ),
        )
        for i in range(len(sizes))
    ]


def _xla_band(layers, band, inside, *, strip_rows: int, paddings: str) -> jax.Array:
    """The plain form: (rows + 2 reach, width + 2 reach, C) to (rows, width, C).

    `inside` is [image row of the band's first, height and width of the image, rows to compute].
    """
    del strip_rows  # one strip
    borders = _borders([kernel.shape[0] for kernel, _ in layers], paddings)
    x = band[None]
    for (kernel, bias), (border, extent) in zip(layers, borders, strict=True):
        x = convolution.convolve_xla(x, kernel, [(0, 0), (0, 0)], jax.lax.Precision.HIGHEST) + bias
        if border:
            x = jax.nn.relu(x)
        if border > extent:
            x *= _mask(x.shape[1:3], inside[0] - border, border, extent, inside)[..., None]
    return x[0]


def _matmul_band(layers, band, inside, *, strip_rows: int, paddings: str) -> jax.Array:
    """The form of `convolution.py`, over full-width strips whose activations stay in the cache.

    The last layer scatters over columns inside a strip and over rows at the end, over the whole
    band, so that strips need no halo of last hidden activations.
    """
    sizes = [kernel.shape[0] for kernel, _ in layers]
    borders = _borders(sizes, paddings)
    *hidden, (last_kernel, last_bias) = layers
    size, channels = sizes[-1], last_kernel.shape[-1]
    reach = sum(s // 2 for s in sizes)
    halo = 2 * sum(s // 2 for s in sizes[:-1])
    canvas = band.transpose(2, 0, 1)
    # (row tap, column tap, C_in, C_out) to ((column tap, row tap, C_out), C_in), both flipped
    last_matrix = last_kernel[::-1, ::-1].transpose(1, 0, 3, 2).reshape(-1, last_kernel.shape[2])

    def strip(start):
        x = jax.lax.dynamic_slice_in_dim(canvas, start, strip_rows + halo, axis=1)
        row = inside[0] - reach + start
        for (kernel, bias), (border, extent) in zip(hidden, borders, strict=False):
            row += kernel.shape[0] // 2
            relu = functools.partial(_bias_and_relu, bias)
            x = convolution.convolve(x, kernel, 1, finish=relu)
            if border > extent:
                x *= _mask(x.shape[1:3], row, border, extent, inside)
        product = last_matrix @ x.reshape(x.shape[0], -1)
        blocks = product.reshape(size, size * channels, *x.shape[1:])
        return convolution.fold(
            blocks, Windows(convolution.COLUMNS, width, size, x.shape[2], 1 - size)
        )

    halo_rows = canvas.shape[1] - halo
    width = canvas.shape[2] - 2 * (reach - size // 2) - (size - 1)
    needed = jnp.minimum(inside[3], inside[1] - inside[0]) + size - 1
    sums = jax.lax.fori_loop(
        0,
        -(-needed // strip_rows),
        lambda i, out: jax.lax.dynamic_update_slice_in_dim(
            out, strip(i * strip_rows), i * strip_rows, axis=1
        ),
        jnp.zeros((size * channels, halo_rows, width)),
    )
    blocks = sums.reshape(size, channels, halo_rows, width)
    rows = Windows(convolution.ROWS, halo_rows - size + 1, size, halo_rows, 1 - size)
    return (convolution.fold(blocks, rows) + last_bias[:, None, None]).transpose(1, 2, 0)
