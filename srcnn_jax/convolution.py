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

import jax
import jax.numpy as jnp

Taps = tuple[int, int]


def _windows(x: jax.Array, taps: Taps) -> list[jax.Array]:
    """The kh * kw shifted views of x (..., H, W, N), each (..., H - kh + 1, W - kw + 1, N)."""
    height, width = x.shape[-3] - taps[0] + 1, x.shape[-2] - taps[1] + 1
    return [
        x[..., a : a + height, b : b + width, :]
        for a, b in itertools.product(range(taps[0]), range(taps[1]))
    ]


def _pad(x: jax.Array, taps: Taps) -> jax.Array:
    """Zeros around the spatial axes of x (..., H, W, N): what a full correlation sees."""
    rows, columns = taps[0] - 1, taps[1] - 1
    return jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(rows, rows), (columns, columns), (0, 0)])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def gather(x: jax.Array, taps: Taps) -> jax.Array:
    """im2col: (C, H, W, N) to (kh kw, C, H - kh + 1, W - kw + 1, N), row-major in the taps."""
    return jnp.stack(_windows(x, taps))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def scatter(blocks: jax.Array, taps: Taps) -> jax.Array:
    """col2im: sums blocks (kh kw, C, H, W, N), tap (a, b) read at (i + a, j + b).

    Returns (C, H - kh + 1, W - kw + 1, N).
    """
    height, width = blocks.shape[-3] - taps[0] + 1, blocks.shape[-2] - taps[1] + 1
    offsets = itertools.product(range(taps[0]), range(taps[1]))
    return sum(blocks[t, :, a : a + height, b : b + width] for t, (a, b) in enumerate(offsets))  # type: ignore[return-value]


def _scatter_transpose(y: jax.Array, taps: Taps) -> jax.Array:
    """d scatter: block (a, b) of the result holds y at (i - a, j - b), zero outside."""
    return jnp.stack(_windows(_pad(y, taps), taps)[::-1])


def _gather_transpose(y: jax.Array, taps: Taps) -> jax.Array:
    """d gather: sum over the taps of y[t] at (i - a, j - b)."""
    return scatter(_pad(y, taps)[::-1], taps)


gather.defvjp(
    lambda x, taps: (gather(x, taps), None), lambda taps, _, y: (_gather_transpose(y, taps),)
)
scatter.defvjp(
    lambda x, taps: (scatter(x, taps), None), lambda taps, _, y: (_scatter_transpose(y, taps),)
)


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Valid correlation with the batch last.

    Args:
      x: (C_in, H, W, N).
      kernel: (kh, kw, C_in, C_out), as Flax stores it (HWIO).

    Returns:
      (C_out, H - kh + 1, W - kw + 1, N).
    """
    kh, kw, c_in, c_out = kernel.shape
    one = 1, 1
    _, gathered, scattered = min(
        (kh * kw * c_in, (kh, kw), one),
        (kh * kw * c_out, one, (kh, kw)),
        (kh * c_in + kw * c_out, (kh, 1), (1, kw)),
    )
    columns = gather(x, gathered) if gathered != one else x[None]
    height, width, batch = columns.shape[2:]
    # kernel as (scattered taps, C_out, gathered taps, C_in)
    matrix = kernel.reshape(*_split(kh, gathered[0]), *_split(kw, gathered[1]), c_in, c_out)
    matrix = matrix.transpose(1, 3, 5, 0, 2, 4).reshape(
        scattered[0] * scattered[1] * c_out, gathered[0] * gathered[1] * c_in
    )
    product = matrix @ columns.reshape(matrix.shape[1], height * width * batch)
    blocks = product.reshape(scattered[0] * scattered[1], c_out, height, width, batch)
    return scatter(blocks, scattered) if scattered != one else blocks[0]


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
