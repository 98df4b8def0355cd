"""Convolutions as matrix products, fast where XLA's own convolution is slow (CPUs).

XLA's CPU convolution with few channels in or out runs at under 1 GF/s. Here the batch is the last
axis, x is (C, H, W, N), and a valid convolution

    y[o, i, j] = sum over a, b, c of  kernel[a, b, c, o] * x[c, i + a, j + b]

becomes one matrix product. Each of the two spatial axes is handled either before the product or
after it:

  gather   the k shifted windows of x are stacked below each other (im2col), which multiplies the
           rows of the right-hand side by k;
  scatter  the product computes k blocks of output channels, one for each tap, and the blocks are
           added up shifted against each other (col2im), which multiplies its rows by k.

The fastest choice is the one that moves the fewest rows through memory:

  gather both axes          kh kw C_in                 first layer, 9x9 from 1 channel: 81 rows
  scatter both axes         kh kw C_out                last layer, 5x5 to 1 channel: 25 rows
  gather rows, scatter columns   kh C_in + kw C_out    middle layer, 5x5, 64 to 32: 480 rows

Gather and scatter are each other's transpose. Automatic differentiation turns a stack of slices
into a sum of padded arrays, which XLA does not fuse well (the step was 1.5 times slower); so each
is given the other as its derivative.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

Taps = tuple[int, int]


def _pad(x: jax.Array, padding: Taps) -> jax.Array:
    """Zeros around the spatial axes of x (..., H, W, N): `padding` rows and columns each side.

    By concatenation, which XLA makes of block copies; its pad asks of every number whether it is
    inside (a tenth of a training step).
    """
    for axis, width in zip((-3, -2), padding, strict=True):
        if width:
            shape = list(x.shape)
            shape[axis] = width
            x = jnp.concatenate([jnp.zeros(shape), x, jnp.zeros(shape)], axis)
    return x


def _windows(x: jax.Array, taps: Taps) -> list[jax.Array]:
    """The kh * kw shifted views of x (..., H, W, N), each (..., H - kh + 1, W - kw + 1, N)."""
    height, width = x.shape[-3] - taps[0] + 1, x.shape[-2] - taps[1] + 1
    return [
        x[..., a : a + height, b : b + width, :]
        for a, b in itertools.product(range(taps[0]), range(taps[1]))
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def gather(x: jax.Array, taps: Taps) -> jax.Array:
    """im2col: (C, H, W, N) to (kh kw, C, H - kh + 1, W - kw + 1, N), row-major in the taps."""
    return jnp.stack(_windows(x, taps))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def scatter(blocks: jax.Array, taps: Taps, padding: Taps = (0, 0)) -> jax.Array:
    """col2im: sums blocks (kh kw, C, H, W, N), zero-padded, tap (a, b) read at (i + a, j + b).

    Returns (C, H + 2 padding - kh + 1, W + 2 padding - kw + 1, N).
    """
    return _shifted_sum(blocks, taps, padding, range(taps[0] * taps[1]))


def _shifted_sum(blocks: jax.Array, taps: Taps, padding: Taps, order: Sequence[int]) -> jax.Array:
    """`scatter` of the blocks in another order, without moving them."""
    blocks = _pad(blocks, padding)
    height, width = blocks.shape[-3] - taps[0] + 1, blocks.shape[-2] - taps[1] + 1
    shifts = itertools.product(range(taps[0]), range(taps[1]))
    return functools.reduce(
        jnp.add,
        [
            blocks[t, :, a : a + height, b : b + width]
            for t, (a, b) in zip(order, shifts, strict=True)
        ],
    )


def _gather_transpose(y: jax.Array, taps: Taps) -> jax.Array:
    """d gather: sum over the taps of y[t] at (i - a, j - b)."""
    return _shifted_sum(y, taps, (taps[0] - 1, taps[1] - 1), range(taps[0] * taps[1])[::-1])


def _scatter_transpose(y: jax.Array, taps: Taps, padding: Taps) -> jax.Array:
    """d scatter: block (a, b) of the result holds y at (i - a, j - b), zero outside."""
    rows, columns = taps[0] - 1 - padding[0], taps[1] - 1 - padding[1]
    return jnp.stack(_windows(_pad(y, (rows, columns)), taps)[::-1])


gather.defvjp(
    lambda x, taps: (gather(x, taps), None), lambda taps, _, y: (_gather_transpose(y, taps),)
)
scatter.defvjp(
    lambda blocks, taps, padding: (scatter(blocks, taps, padding), None),
    lambda taps, padding, _, y: (_scatter_transpose(y, taps, padding),),
)


def convolve(x: jax.Array, kernel: jax.Array, padding: Taps = (0, 0)) -> jax.Array:
    """Correlation with the batch last.

    Args:
      x: (C_in, H, W, N).
      kernel: (kh, kw, C_in, C_out), as Flax stores it (HWIO).
      padding: rows and columns of zeros around x.

    Returns:
      (C_out, H + 2 padding - kh + 1, W + 2 padding - kw + 1, N).
    """
    kh, kw, c_in, c_out = kernel.shape
    _, gathered, scattered = min(
        (kh * kw * c_in, (kh, kw), (1, 1)),
        (kh * kw * c_out, (1, 1), (kh, kw)),
        (kh * c_in + kw * c_out, (kh, 1), (1, kw)),
    )
    late = gathered == (1, 1)  # pads what is scattered: fewer rows, and a smaller product
    columns = gather(x if late else _pad(x, padding), gathered)
    # kernel as (scattered taps, C_out, gathered taps, C_in)
    matrix = kernel.reshape(*_split(kh, gathered[0]), *_split(kw, gathered[1]), c_in, c_out)
    matrix = matrix.transpose(1, 3, 5, 0, 2, 4).reshape(
        scattered[0] * scattered[1] * c_out, gathered[0] * gathered[1] * c_in
    )
    blocks = matrix @ columns.reshape(matrix.shape[1], -1)
    blocks = blocks.reshape(scattered[0] * scattered[1], c_out, *columns.shape[2:])
    return scatter(blocks, scattered, padding if late else (0, 0))


def _split(taps: int, gathered: int) -> Taps:
    """One spatial axis of a kernel as (gathered taps, scattered taps)."""
    return (taps, 1) if gathered == taps else (1, taps)


def convolve_xla(
    x: jax.Array,
    kernel: jax.Array,
    padding: list[tuple[int, int]],
    precision: jax.lax.Precision | None = None,
) -> jax.Array:
    """The plain form, for GPU and TPU: x (N, H, W, C_in), zero `padding` of rows and columns.

    Recent GPUs and TPUs round float32 to fewer bits by default; `Precision.HIGHEST` forbids it.

    Returns (N, H', W', C_out).
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )
