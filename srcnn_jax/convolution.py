"""Convolutions as matrix products, fast where XLA's own convolution is slow (CPUs).

XLA's CPU convolution with few channels in or out runs at under 1 GF/s. Here the batch is the last
axis, and shares it with the columns: x is (C, H, W * N), neighbours in a row are N apart, and XLA
copies and adds whole rows. A valid convolution

    y[o, i, j] = sum over a, b, c of  kernel[a, b, c, o] * x[c, i + a, j + b]

becomes matrix products. Each spatial axis is handled before them or after them:

  unfold   the shifted windows of x are stacked below each other (im2col), which multiplies the
           rows of the right-hand side by the taps;
  fold     the product computes a block of output channels for each tap, and the blocks are added
           up shifted against each other (col2im), which multiplies its rows by the taps.

The two are each other's transpose, and each is given the other as its derivative: automatic
differentiation would turn a stack of slices into a sum of padded arrays, which is slow. The kernel
is a matrix whose rows hold the taps, so that its gradient, a product too, has whole vectors of
channels in its rows.

The last layer, with few channels out, folds both axes. The other layers unfold or fold columns,
whichever moves fewer rows, and save multiplications over the rows by Toom and Cook's method
(Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, arXiv 1509.09308): m outputs
of r taps need m + r - 1 products instead of m r. Polynomials of degrees m - 1 and r - 1 multiply by
evaluating both at m + r - 1 points (infinity is one), multiplying the values, and interpolating:
s = E^-1 ((V_m y) * (V_r k)) with the Vandermonde matrices E, V_m, V_r of the points. A correlation
is the transpose of that multiplication,

    y = A ((G k) * (B x)),   A = V_m^T,   G = V_r,   B = E^-T,

with x a tile of m + r - 1 rows, y m rows, and here a matrix product over channels and columns in
place of *. Kernels of more rows are cut into parts of r = 3 or 5. That is 8 products instead of 20
for 5 rows, 21 instead of 45 for 9. With these points, rounding stays at that of float32 (1e-6).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)  # and infinity
PARTS = (3, 5)  # rows of a kernel that are done at a time
NARROW_CHANNELS = 4  # channels in or out, at most: with one, XLA's convolution is slow on a GPU
ROWS, COLUMNS = -2, -1  # axes of (..., C, H, W * N)

Matrix = tuple[tuple[float, ...], ...]


class Windows(NamedTuple):
    """Windows along an axis; what they see beyond its ends is zero.

    Attributes:
      axis: ROWS or COLUMNS.
      size: entries of the axis.
      taps: entries of a window.
      number: of windows.
      start: entry at which the first begins; may be negative.
      stride: entries between the beginnings of two.
      unit: numbers to an entry, if they are columns: the batch.
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
    """(..., C, H, W N) to (..., taps, C, H, W N), where the axis now has an entry for a window."""
    _, size, taps, number, start, stride, _ = windows
    end = start + taps + (number - 1) * stride
    x = _zeros_around(x, windows, -start, end - size)
    first = max(0, start)
    return jnp.stack([_cut(x, windows, first + p, number, stride) for p in range(taps)], axis=-4)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def fold(y: jax.Array, windows: Windows) -> jax.Array:
    """The transpose of `unfold`: (..., taps, C, H, W N) to (..., C, H, W N), windows added up."""
    _, size, taps, number, start, stride, _ = windows
    # Entry stride * u + s of the result is tap p of the window u + shift, for these (p, shift).
    terms = [
        [(p, (s - start - p) // stride) for p in range((s - start) % stride, taps, stride)]
        for s in range(stride)
    ]
    lengths = [-(-(size - s) // stride) for s in range(stride)]
    before = max(-shift for each in terms for _, shift in each)
    after = max(n + t - number for n, each in zip(lengths, terms, strict=True) for _, t in each)
    y = _zeros_around(y, windows, before, after)
    blocks = [jax.lax.index_in_dim(y, p, y.ndim - 4, keepdims=False) for p in range(taps)]
    phases = [
        functools.reduce(
            jnp.add, [_cut(blocks[p], windows, max(0, before) + t, n) for p, t in each]
        )
        for n, each in zip(lengths, terms, strict=True)
    ]
    return phases[0] if stride == 1 else _interleave(phases)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def combine(x: jax.Array, matrix: Matrix) -> jax.Array:
    """(n, ...) to (m, ...), by a matrix of m rows and n columns.

    It is so small that a pass over x takes the time, not the products. Written out, it is one loop
    to XLA, which fuses it with its neighbours: half the time of a matrix product.
    """
    rows = [[factor * x[i] for i, factor in enumerate(row) if factor] for row in matrix]
    return jnp.stack([functools.reduce(jnp.add, terms) for terms in rows])


unfold.defvjp(lambda x, w: (unfold(x, w), None), lambda w, _, y: (fold(y, w),))
fold.defvjp(lambda y, w: (fold(y, w), None), lambda w, _, x: (unfold(x, w),))
combine.defvjp(
    lambda x, m: (combine(x, m), None), lambda m, _, y: (combine(y, tuple(zip(*m, strict=True))),)
)


def _zeros_around(x: jax.Array, windows: Windows, before: int, after: int) -> jax.Array:
    """Zeros at the ends of an axis.

    By concatenation, which XLA makes of block copies; its pad asks of every number whether it is
    inside (a tenth of a training step).
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


def _cut(x: jax.Array, windows: Windows, start: int, count: int, stride: int = 1) -> jax.Array:
    """`count` entries of an axis."""
    end = start + (count - 1) * stride + 1
    unit = windows.unit
    return jax.lax.slice_in_dim(x, start * unit, end * unit, stride, windows.axis)


def _interleave(phases: list[jax.Array]) -> jax.Array:
    """Rows of (..., C, H, W N) arrays in turn; the first ones may have a row more."""
    full = phases[-1].shape[ROWS]
    rows = jnp.stack([phase[..., :full, :] for phase in phases], axis=-2)
    rows = rows.reshape(*rows.shape[:-3], -1, rows.shape[-1])
    rest = [phase[..., full:, :] for phase in phases if phase.shape[ROWS] > full]
    return jnp.concatenate([rows, *rest], ROWS) if rest else rows


@functools.lru_cache
def toom_cook(outputs: int, taps: int) -> tuple[Matrix, Matrix, Matrix]:
    """The matrices A (m, n), G (n, r), B (n, n) of the module's docstring, n = m + r - 1."""
    count = outputs + taps - 1

    def vandermonde(width: int) -> np.ndarray:
        infinity = np.eye(width)[-1:]
        return np.concatenate([np.vander(POINTS[: count - 1], width, increasing=True), infinity])

    b = np.linalg.inv(vandermonde(count)).T
    b[np.abs(b) < 1e-9] = 0.0  # rounding of the inverse
    scale = np.abs(b).max(axis=1, keepdims=True)  # moved to the kernel, so that B x is like x
    a, g, b = vandermonde(outputs).T, vandermonde(taps) * scale, b / scale
    return _frozen(a), _frozen(g), _frozen(b)


def _frozen(matrix: np.ndarray) -> Matrix:
    return tuple(map(tuple, matrix.tolist()))


def tiling(rows: int, taps: int) -> tuple[int, int]:
    """(m, r) with the fewest products for so many output rows and rows of the kernel."""

    def cost(tile: tuple[int, int]) -> int:
        m, r = tile
        tiles = -(-rows // m)
        return -(-taps // r) * (m + r - 1) * tiles + m * tiles - rows  # and rows for nothing

    most = len(POINTS) + 1
    return min(((m, r) for r in PARTS for m in range(2, most - r + 2)), key=cost)


def _folds_both(shape: Sequence[int]) -> bool:
    kh, kw, c_in, c_out = shape
    return kh * kw * c_out <= kh * c_in + kw * c_out


def multiply_adds(shape: Sequence[int], rows: int) -> float:
    """Those of the products of `conv_batch_last` for each pixel of so many output rows, on average.

    Args:
      shape: (kh, kw, C_in, C_out) of the kernel.
      rows: H'.
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
) -> jax.Array:
    """Correlation with the batch last.

    Args:
      x: (C_in, H, W N).
      kernel: (kh, kw, C_in, C_out), as Flax stores it (HWIO).
      batch: N.
      padding: rows and columns of zeros around x.
      finish: bias and activation: of every number of (..., C_out, H', W' N) on its own.

    Returns:
      (C_out, H + 2 padding - kh + 1, (W + 2 padding - kw + 1) N).
    """
    kh, kw, c_in, c_out = kernel.shape
    height, width = x.shape[ROWS], x.shape[COLUMNS] // batch
    rows, columns = height + 2 * padding[0] - kh + 1, width + 2 * padding[1] - kw + 1
    if _folds_both(kernel.shape):
        # Fold both axes. Folding flips: tap b of the kernel is tap kw - 1 - b of a window.
        matrix = kernel[::-1, ::-1].transpose(1, 0, 3, 2).reshape(-1, c_in)
        y = (matrix @ x.reshape(c_in, -1)).reshape(kw, kh * c_out, *x.shape[1:])
        y = fold(y, Windows(COLUMNS, columns, kw, width, padding[1] - kw + 1, unit=batch))
        y = y.reshape(kh, c_out, height, -1)
        return finish(fold(y, Windows(ROWS, rows, kh, height, padding[0] - kh + 1)))

    m, r = tiling(rows, kh)
    a, g, b = toom_cook(m, r)
    parts, points, tiles = -(-kh // r), m + r - 1, -(-rows // m)
    kernel = jnp.pad(kernel, ((0, parts * r - kh), (0, 0), (0, 0), (0, 0)))
    kernel = kernel.reshape(parts, r, kw, c_in, c_out)
    kernel = jnp.einsum("ip,apbco->iabco", np.array(g, np.float32), kernel)

    window = Windows(COLUMNS, width, kw, columns, -padding[1], unit=batch)
    unfolds = parts * c_in <= c_out
    if not unfolds:
        x = _zeros_around(x, window, padding[1], padding[1])
        width += 2 * padding[1]
    starts = [part * r - padding[0] for part in range(parts)]
    tiled = [unfold(x, Windows(ROWS, height, points, tiles, start, m)) for start in starts]
    x = jnp.concatenate(tiled, axis=1) if parts > 1 else tiled[0]
    x = combine(x, b)
    if unfolds:
        matrix = kernel.transpose(0, 2, 1, 3, 4).reshape(points, -1, c_out)
        x = unfold(x, window)
        y = jnp.einsum("pko,pkx->pox", matrix, x.reshape(points, matrix.shape[1], -1))
    else:
        matrix = kernel[:, :, ::-1].transpose(0, 2, 4, 1, 3).reshape(points, kw * c_out, -1)
        y = (matrix @ x.reshape(points, matrix.shape[2], -1)).reshape(points, kw, c_out, tiles, -1)
        y = fold(y, Windows(COLUMNS, columns, kw, width, 1 - kw, unit=batch))
    y = combine(y.reshape(points, c_out, tiles, -1), a)
    return fold(finish(y), Windows(ROWS, rows, m, tiles, stride=m))


def conv_channels_last(
    x: jax.Array,
    kernel: jax.Array,
    padding: tuple[int, int] = (0, 0),
    precision: jax.lax.Precision | None = None,
) -> jax.Array:
    """The form for GPU and TPU: correlation with the channels last.

    XLA's own convolution, except where its libraries are slow: with at most
    `NARROW_CHANNELS` channels in, the columns are unfolded, and with as few out, folded, as above.
    A kernel of one pixel is a matrix product.
    Recent GPUs and TPUs round float32 to fewer bits by default; `Precision.HIGHEST` forbids it.

    Args:
      x: (N, H, W, C_in), float32 or bfloat16.
      kernel: (kh, kw, C_in, C_out), of x's dtype.
      padding: rows and columns of zeros around x.
      precision: of the products.

    Returns:
      (N, H + 2 padding - kh + 1, W + 2 padding - kw + 1, C_out), of x's dtype; float32 of bfloat16
      where the output is folded, whose sums would lose bits.
    """
    kh, kw, c_in, c_out = kernel.shape
    height, width = x.shape[1:3]
    rows, columns = height + 2 * padding[0] - kh + 1, width + 2 * padding[1] - kw + 1
    if kh == kw == 1:
        x = jnp.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))
        return jnp.einsum("nhwc,co->nhwo", x, kernel[0, 0], precision=precision)
    if c_in <= NARROW_CHANNELS:
        x = x.transpose(3, 0, 1, 2)  # to `unfold`, patches are channels
        x = unfold(x, Windows(COLUMNS, width, kw, columns, -padding[1]))
        x = unfold(x, Windows(ROWS, height, kh, rows, -padding[0]))
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
    """XLA's own convolution, which needs the least memory; arguments as `conv_channels_last`."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(padding[0],) * 2, (padding[1],) * 2],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )
