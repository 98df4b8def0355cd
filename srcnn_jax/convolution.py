"""Convolutions as matrix products, which are fast where XLA's own convolution is slow (CPUs).

XLA's CPU convolution with few channels in or out runs at under 1 GF/s. Here the last axis holds the
columns and the batch: x is (C, H, W * N). Neighbours in a row are N apart, and XLA copies and adds
whole rows. A valid convolution

    y[o, i, j] = sum over a, b, c of  kernel[a, b, c, o] * x[c, i + a, j + b]

becomes matrix products. Each spatial axis is handled before the products or after them:

  unfold   The shifted windows of x are stacked below each other (im2col). This multiplies the
           number of rows of the right-hand side by the number of taps.
  fold     The product computes a block of output channels for each tap. The blocks are shifted
           against each other and added (col2im). This multiplies the number of rows of the
           product by the number of taps.

The two are each other's transpose, and each is defined as the derivative of the other. Automatic
differentiation would turn a stack of slices into a sum of padded arrays, which is slow. The rows of
the kernel's matrix hold the taps. Its gradient is a product, too, and has whole vectors of channels
in its rows.

The last layer has few channels out and folds both axes. The other layers unfold or fold the
columns, whichever moves fewer rows. Over the rows they save multiplications by Toom and Cook's
method (Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, arXiv 1509.09308):
m outputs of r taps need m + r - 1 products instead of m r. Two polynomials of degrees m - 1 and
r - 1 are multiplied in three steps: both are evaluated at m + r - 1 points (one is infinity), the
values are multiplied, and the result is interpolated. That is s = E^-1 ((V_m y) * (V_r k)), with
the Vandermonde matrices E, V_m, V_r of the points. A correlation is the transpose of that
multiplication,

    y = A ((G k) * (B x)),   A = V_m^T,   G = V_r,   B = E^-T,

where x is a tile of m + r - 1 rows and y has m rows. Here a matrix product over channels and
columns replaces the *. A kernel with more rows is split into parts of r = 3 or 5 rows. A kernel of
5 rows needs 8 products instead of 20 (m = 4). One of 9 rows needs 21 instead of 45 (m = 5). With
these points the rounding error stays that of float32 (1e-6).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)  # the finite points of Toom and Cook's method
PARTS = (3, 5)  # r, the rows of a kernel part
NARROW_CHANNELS = 4  # max channels in or out at which XLA's convolution is slow on a GPU
ROWS, COLUMNS = -2, -1  # axes of (..., C, H, W * N)

Matrix = tuple[tuple[float, ...], ...]


class Windows(NamedTuple):
    """Windows along an axis. Entries beyond the ends of the axis are zero.

    Attributes:
      axis: ROWS or COLUMNS.
      size: number of entries of the axis.
      taps: number of entries of a window.
      number: number of windows.
      start: entry at which the first window begins; may be negative.
      stride: entries from the beginning of one window to that of the next.
      unit: numbers in an entry: the batch size for columns, 1 for rows.
    """

    axis: int
    size: int
    taps: int
    number: int
    start: int = 0
    stride: int = 1
    unit: int = 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def unfold(x: jax.Array, windows: Windows) -> jax.Array:
    """(..., C, H, W N) to (..., taps, C, H, W N): the axis then has one entry for each window."""
    _, size, taps, number, start, stride, _ = windows
    end = start + taps + (number - 1) * stride
    x = _zeros_around(x, windows, -start, end - size)  # the axis then covers all windows
    first = max(0, start)
    return _stack([_slice(x, windows, first + p, number, stride) for p in range(taps)], x.ndim - 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def fold(y: jax.Array, windows: Windows) -> jax.Array:
    """The transpose of `unfold`: (..., taps, C, H, W N) to (..., C, H, W N), windows are added."""
    _, size, taps, number, start, stride, _ = windows
    # Entry stride * u + s of the result is the sum of tap p of window u + shift over these
    # (p, shift).
    terms = [
        [(p, (s - start - p) // stride) for p in range((s - start) % stride, taps, stride)]
        for s in range(stride)
    ]
    lengths = [-(-(size - s) // stride) for s in range(stride)]
    before = max(-shift for each in terms for _, shift in each)
    after = max(n + t - number for n, each in zip(lengths, terms, strict=True) for _, t in each)
    y = _zeros_around(y, windows, before, after)  # (..., taps, C, H, W N), windows along the axis
    blocks = [jax.lax.index_in_dim(y, p, y.ndim - 4, keepdims=False) for p in range(taps)]
    phases = [
        functools.reduce(
            jax.lax.add, [_slice(blocks[p], windows, max(0, before) + t, n) for p, t in each]
        )
        for n, each in zip(lengths, terms, strict=True)
    ]
    return phases[0] if stride == 1 else _interleave(phases)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def combine(x: jax.Array, matrix: Matrix) -> jax.Array:
    """(n, ...) to (m, ...), by a matrix of m rows and n columns.

    The matrix is small, so the time goes into the pass over x and not into the products. XLA makes
    one loop of the sum as it is written here, and fuses it with its neighbours. That takes half the
    time of a matrix product.
    """
    entries = [jax.lax.index_in_dim(x, i, keepdims=False) for i in range(x.shape[0])]
    rows = [
        [
            x_i if factor == 1 else jax.lax.mul(x_i, jax.lax.full_like(x_i, factor))
            for x_i, factor in zip(entries, row, strict=True)
            if factor
        ]
        for row in matrix
    ]
    return _stack([functools.reduce(jax.lax.add, terms) for terms in rows], 0)


unfold.defvjp(lambda x, w: (unfold(x, w), None), lambda w, _, y: (fold(y, w),))
fold.defvjp(lambda y, w: (fold(y, w), None), lambda w, _, x: (unfold(x, w),))
combine.defvjp(
    lambda x, m: (combine(x, m), None), lambda m, _, y: (combine(y, tuple(zip(*m, strict=True))),)
)


def _stack(arrays: Sequence[jax.Array], axis: int) -> jax.Array:
    """`jnp.stack`, which is traced in more time, as all of `jax.numpy`: it makes a program of each
    operation, and a network of eight layers has thousands.
    """
    return jax.lax.concatenate([jax.lax.expand_dims(x, (axis,)) for x in arrays], axis)


def _zeros_around(x: jax.Array, windows: Windows, before: int, after: int) -> jax.Array:
    """Adds `before` and `after` entries of zeros at the ends of an axis; negative counts add none.

    XLA copies the parts of a concatenation in blocks. XLA's pad checks for every number whether it
    is inside, which takes a tenth of a training step.
    """
    shape = list(x.shape)
    parts = [x]
    if before > 0:
        shape[windows.axis] = before * windows.unit
        parts.insert(0, jnp.zeros(shape, x.dtype))
    if after > 0:
        shape[windows.axis] = after * windows.unit
        parts.append(jnp.zeros(shape, x.dtype))
    return jnp.concatenate(parts, windows.axis) if len(parts) > 1 else x


def _slice(x: jax.Array, windows: Windows, start: int, count: int, stride: int = 1) -> jax.Array:
    """`count` entries of an axis, `stride` apart, from entry `start` on."""
    end = start + (count - 1) * stride + 1
    unit = windows.unit
    return jax.lax.slice_in_dim(x, start * unit, end * unit, stride, windows.axis)


def _interleave(phases: list[jax.Array]) -> jax.Array:
    """Takes rows of (..., C, H, W N) arrays in turn; the first arrays may have one row more."""
    full = phases[-1].shape[ROWS]
    rows = jnp.stack([phase[..., :full, :] for phase in phases], axis=-2)  # (..., H, phases, W N)
    rows = rows.reshape(*rows.shape[:-3], -1, rows.shape[-1])  # (..., H phases, W N)
    rest = [phase[..., full:, :] for phase in phases if phase.shape[ROWS] > full]
    return jnp.concatenate([rows, *rest], ROWS) if rest else rows


def uses_batch_last(form: str) -> bool:
    """Whether 'auto', 'batch_last' or 'channels_last' is the batch-last form on this backend."""
    return form == "batch_last" or (form == "auto" and jax.default_backend() == "cpu")


@functools.lru_cache
def toom_cook(outputs: int, taps: int) -> tuple[Matrix, Matrix, Matrix]:
    """The matrices A (m, n), G (n, r), B (n, n) of the module's docstring, with n = m + r - 1."""
    count = outputs + taps - 1

    def vandermonde(width: int) -> np.ndarray:
        infinity = np.eye(width)[-1:]
        return np.concatenate([np.vander(POINTS[: count - 1], width, increasing=True), infinity])

    b = np.linalg.inv(vandermonde(count)).T
    b[np.abs(b) < 1e-9] = 0.0  # rounding errors of the inverse
    scale = np.abs(b).max(axis=1, keepdims=True)  # G takes the scale, so B x is as large as x
    a, g, b = vandermonde(outputs).T, vandermonde(taps) * scale, b / scale
    return _frozen(a), _frozen(g), _frozen(b)


def _frozen(matrix: np.ndarray) -> Matrix:
    return tuple(map(tuple, matrix.tolist()))


def tiling(rows: int, taps: int) -> tuple[int, int]:
    """The (m, r) with the fewest products, for `rows` output rows and `taps` rows of the kernel."""

    def cost(tile: tuple[int, int]) -> int:
        m, r = tile
        tiles = -(-rows // m)
        return -(-taps // r) * (m + r - 1) * tiles + m * tiles - rows  # surplus rows count

    most = len(POINTS) + 1
    return min(((m, r) for r in PARTS for m in range(2, most - r + 2)), key=cost)


def _folds_both(shape: Sequence[int]) -> bool:
    kh, kw, c_in, c_out = shape
    return kh * kw * c_out <= kh * c_in + kw * c_out


def multiply_adds(shape: Sequence[int], rows: int) -> float:
    """Multiply-adds of `conv_batch_last`'s products, on average for one output pixel.

    Args:
      shape: (kh, kw, C_in, C_out) of the kernel.
      rows: number of output rows, H'.
    """
    kh, kw, c_in, c_out = shape
    if _folds_both(shape):
        return kh * kw * c_in * c_out
    m, r = tiling(rows, kh)
    return -(-kh // r) * (m + r - 1) * -(-rows // m) / rows * kw * c_in * c_out


def conv_batch_last(
    x: jax.Array,
    kernel: jax.Array,
    batch: int,
    padding: tuple[int, int] = (0, 0),
    finish: Callable[[jax.Array], jax.Array] = lambda y: y,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Correlation with the batch last: the form for CPUs.

    In the comments, P is the number of points (m + r - 1), T the number of tiles and K the number
    of kernel parts.

    Args:
      x: float (C_in, H, W N).
      kernel: float (kh, kw, C_in, C_out), as Flax stores it (HWIO).
      batch: N.
      padding: rows and columns of zeros around x.
      finish: bias and activation. It maps (..., C_out, rows, W' N) to the same shape, each number
        by itself.
      mask: float (1, H', W' N), which the output is multiplied by; None for no product.

    Returns:
      float (C_out, H', W' N) with H' = H + 2 padding[0] - kh + 1 and
      W' = W + 2 padding[1] - kw + 1.
    """
    kh, kw, c_in, c_out = kernel.shape
    height, width = x.shape[ROWS], x.shape[COLUMNS] // batch
    rows, columns = height + 2 * padding[0] - kh + 1, width + 2 * padding[1] - kw + 1
    if _folds_both(kernel.shape):
        # Both axes are folded. Folding flips: tap b of the kernel is tap kw - 1 - b of a window.
        matrix = kernel[::-1, ::-1].transpose(1, 0, 3, 2).reshape(-1, c_in)  # (kw kh C_out, C_in)
        y = (matrix @ x.reshape(c_in, -1)).reshape(kw, kh * c_out, *x.shape[1:])
        # y: (kw, kh C_out, H, W N)
        y = fold(y, Windows(COLUMNS, columns, kw, width, padding[1] - kw + 1, unit=batch))
        y = y.reshape(kh, c_out, height, -1)  # (kh, C_out, H, W' N)
        y = finish(fold(y, Windows(ROWS, rows, kh, height, padding[0] - kh + 1)))
        return y if mask is None else y * mask

    m, r = tiling(rows, kh)
    a, g, b = toom_cook(m, r)
    parts, points, tiles = -(-kh // r), m + r - 1, -(-rows // m)
    kernel = jnp.pad(kernel, ((0, parts * r - kh), (0, 0), (0, 0), (0, 0)))
    kernel = kernel.reshape(parts, r, kw, c_in, c_out)
    kernel = jnp.einsum("ip,apbco->iabco", np.array(g, np.float32), kernel)  # (P, K, kw, in, out)

    window = Windows(COLUMNS, width, kw, columns, -padding[1], unit=batch)
    unfolds = parts * c_in <= c_out
    if not unfolds:
        x = _zeros_around(x, window, padding[1], padding[1])
        width += 2 * padding[1]
    starts = [part * r - padding[0] for part in range(parts)]
    tiled = [unfold(x, Windows(ROWS, height, points, tiles, start, m)) for start in starts]
    x = jnp.concatenate(tiled, axis=1) if parts > 1 else tiled[0]  # (P, K C_in, T, W N)
    x = combine(x, b)  # B x
    if unfolds:
        matrix = kernel.transpose(0, 2, 1, 3, 4).reshape(points, -1, c_out)  # (P, kw K C_in, C_out)
        x = unfold(x, window)  # (P, kw, K C_in, T, W' N)
        y = jnp.einsum("pko,pkx->pox", matrix, x.reshape(points, matrix.shape[1], -1))
    else:
        matrix = kernel[:, :, ::-1].transpose(0, 2, 4, 1, 3)  # (P, kw, C_out, K, C_in)
        matrix = matrix.reshape(points, kw * c_out, -1)  # (P, kw C_out, K C_in)
        # y: (P, kw, C_out, T, W N), then (P, C_out, T, W' N)
        y = (matrix @ x.reshape(points, matrix.shape[2], -1)).reshape(points, kw, c_out, tiles, -1)
        y = fold(y, Windows(COLUMNS, columns, kw, width, 1 - kw, unit=batch))
    y = combine(y.reshape(points, c_out, tiles, -1), a)  # y = A (...): (m, C_out, T, W' N)
    window = Windows(ROWS, rows, m, tiles, stride=m)
    y = finish(y)
    if mask is not None:
        y = y * unfold(mask, window)
    return fold(y, window)  # the tiles below each other: (C_out, H', W' N)


def conv_channels_last(
    x: jax.Array,
    kernel: jax.Array,
    padding: tuple[int, int] = (0, 0),
    precision: jax.lax.Precision | None = None,
) -> jax.Array:
    """Correlation with the channels last: the form for GPU and TPU.

    It is XLA's own convolution, except where XLA's libraries are slow. With at most
    `NARROW_CHANNELS` channels in, both axes are unfolded. With at most as many channels out, both
    axes are folded. A kernel of one pixel is one matrix product. Recent GPUs and TPUs round float32
    to fewer bits by default; `Precision.HIGHEST` forbids that.

    Args:
      x: (N, H, W, C_in), float32 or bfloat16.
      kernel: (kh, kw, C_in, C_out), of x's dtype.
      padding: rows and columns of zeros around x.
      precision: precision of the products.

    Returns:
      (N, H', W', C_out), of x's dtype, with H' = H + 2 padding[0] - kh + 1 and
      W' = W + 2 padding[1] - kw + 1. A folded output is float32 also if x is bfloat16, because the
      sums would lose bits in bfloat16.
    """
    kh, kw, c_in, c_out = kernel.shape
    height, width = x.shape[1:3]
    rows, columns = height + 2 * padding[0] - kh + 1, width + 2 * padding[1] - kw + 1
    if kh == kw == 1:
        x = jnp.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))
        return jnp.einsum("nhwc,co->nhwo", x, kernel[0, 0], precision=precision)
    if c_in <= NARROW_CHANNELS:
        x = x.transpose(3, 0, 1, 2)  # (C_in, N, H, W); `unfold` takes N for C
        x = unfold(x, Windows(COLUMNS, width, kw, columns, -padding[1]))  # (C_in, kw, N, H, W')
        x = unfold(x, Windows(ROWS, height, kh, rows, -padding[0]))  # (C_in, kw, kh, N, H', W')
        return jnp.einsum("cbanhw,abco->nhwo", x, kernel, precision=precision)
    if c_out <= NARROW_CHANNELS:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        y = jnp.einsum(
            "nhwc,abco->oabnhw",
            x,
            kernel[::-1, ::-1],  # folding flips
            precision=precision,
            preferred_element_type=wide,
        )
        # y: (C_out, kh, kw, N, H, W), then (C_out, kh, N, H, W'), then (C_out, N, H', W')
        y = fold(y, Windows(COLUMNS, columns, kw, width, padding[1] - kw + 1))
        y = fold(y, Windows(ROWS, rows, kh, height, padding[0] - kh + 1))
        return y.transpose(1, 2, 3, 0)
    return lax_conv(x, kernel, padding, precision)


def lax_conv(
    x: jax.Array,
    kernel: jax.Array,
    padding: tuple[int, int] = (0, 0),
    precision: jax.lax.Precision | None = None,
) -> jax.Array:
    """XLA's own convolution, which needs the least memory.

    Arguments and shapes are those of `conv_channels_last`; the result has x's dtype.
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(padding[0],) * 2, (padding[1],) * 2],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )
