"""The matrix-product forms against a float64 convolution, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from srcnn_jax import convolution

PADDINGS = ["valid", "same"]
SHAPES = [(9, 9, 1, 64), (1, 1, 64, 32), (5, 5, 32, 1), (5, 5, 64, 32), (3, 3, 8, 6), (9, 9, 3, 4)]


def reference(x, kernel):
    """Valid correlation of x (C, H, W, N) in float64, by SciPy."""
    return np.stack(
        [
            np.stack(
                [
                    sum(
                        scipy.signal.correlate2d(x[c, :, :, n], kernel[:, :, c, o], "valid")
                        for c in range(kernel.shape[2])
                    )
                    for n in range(x.shape[3])
                ],
                axis=-1,
            )
            for o in range(kernel.shape[3])
        ]
    )


def zeros_around(shape, padding):
    return (shape[0] // 2, shape[1] // 2) if padding == "same" else (0, 0)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_convolve_is_a_correlation(shape, padding):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(shape[2], 11, 13, 2)), rng.normal(size=shape)
    rows, columns = zeros_around(shape, padding)
    ours = convolution.convolve(jnp.float32(x), jnp.float32(kernel), (rows, columns))
    expected = reference(np.pad(x, [(0, 0), (rows, rows), (columns, columns), (0, 0)]), kernel)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_plain_convolution(shape, padding):
    rng = np.random.default_rng(1)
    x = jnp.float32(rng.normal(size=(shape[2], 11, 13, 2)))
    kernel = jnp.float32(rng.normal(size=shape))

    rows, columns = zeros_around(shape, padding)

    def ours(x, kernel):
        return jnp.sum(jnp.sin(convolution.convolve(x, kernel, (rows, columns))))

    def plain(x, kernel):
        nhwc = x.transpose(3, 1, 2, 0)
        padded = [(rows, rows), (columns, columns)]
        return jnp.sum(jnp.sin(convolution.convolve_xla(nhwc, kernel, padded)))

    for a, b in zip(
        jax.grad(ours, (0, 1))(x, kernel), jax.grad(plain, (0, 1))(x, kernel), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max())


def test_scatter_is_the_transpose_of_gather():
    rng = np.random.default_rng(2)
    x = jnp.float32(rng.normal(size=(2, 8, 7, 3)))
    taps = 3, 2
    columns = convolution.gather(x, taps)
    assert columns.shape == (6, 2, 6, 6, 3)
    y = jnp.float32(rng.normal(size=columns.shape))
    (transposed,) = jax.vjp(lambda x: convolution.gather(x, taps), x)[1](y)
    np.testing.assert_allclose(jnp.vdot(columns, y), jnp.vdot(x, transposed), rtol=1e-4)

    blocks = jnp.float32(rng.normal(size=(6, 2, 8, 7, 3)))
    summed = convolution.scatter(blocks, taps)
    assert summed.shape == (2, 6, 6, 3)
    z = jnp.float32(rng.normal(size=summed.shape))
    (transposed,) = jax.vjp(lambda b: convolution.scatter(b, taps), blocks)[1](z)
    np.testing.assert_allclose(jnp.vdot(summed, z), jnp.vdot(blocks, transposed), rtol=1e-4)


def test_known_values():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    kernel = jnp.zeros((2, 2, 1, 1)).at[0, 1].set(1.0).at[1, 0].set(10.0)
    # y[i, j] = x[i, j + 1] + 10 x[i + 1, j]
    np.testing.assert_array_equal(
        convolution.convolve(x, kernel)[0, :, :, 0], [[31.0, 42.0], [64.0, 75.0]]
    )
