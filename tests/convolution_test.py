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


def convolve(x, kernel, padding=(0, 0)):
    """`convolution.conv_batch_last` of x (C, H, W, N), to (C, H', W', N)."""
    batch = x.shape[-1]
    flat = x.reshape(*x.shape[:2], -1)
    y = jax.jit(convolution.conv_batch_last, static_argnums=(2, 3))(flat, kernel, batch, padding)
    return y.reshape(*y.shape[:2], -1, batch)


def zeros_around(shape, padding):
    return (shape[0] // 2, shape[1] // 2) if padding == "same" else (0, 0)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_convolve_is_a_correlation(shape, padding):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(shape[2], 11, 13, 2)), rng.normal(size=shape)
    rows, columns = zeros_around(shape, padding)
    ours = convolve(jnp.float32(x), jnp.float32(kernel), (rows, columns))
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
        return jnp.sum(jnp.sin(convolve(x, kernel, (rows, columns))))

    def channels_last(x, kernel):
        nhwc = x.transpose(3, 1, 2, 0)
        return jnp.sum(jnp.sin(convolution.conv_channels_last(nhwc, kernel, (rows, columns))))

    def plain(x, kernel):
        nhwc = x.transpose(3, 1, 2, 0)
        padded = [(rows, rows), (columns, columns)]
        dimensions = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(nhwc, kernel, (1, 1), padded, dimension_numbers=dimensions)
        return jnp.sum(jnp.sin(y))

    expected = jax.jit(jax.grad(plain, (0, 1)))(x, kernel)
    for form in (ours, channels_last):
        for a, b in zip(jax.jit(jax.grad(form, (0, 1)))(x, kernel), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max())


@pytest.mark.parametrize("shape", [(9, 9, 1, 8), (5, 5, 8, 1)])
def test_the_gpu_form_joins_few_arrays_and_adds_no_padded_ones(shape, equations):
    """One array of 81 windows, or a sum of 25 padded blocks, is a quarter of a step on a GPU."""

    def loss(x, kernel):
        return jnp.sum(jnp.sin(convolution.conv_channels_last(x, kernel)))

    x = jnp.zeros((2, 20, 20, shape[2]))
    program = jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, jnp.zeros(shape))
    found = [each for each, _ in equations(program.jaxpr)]
    joined = [len(each.invars) for each in found if each.primitive.name == "concatenate"]
    assert joined
    assert max(joined) <= shape[0]
    assert not [each for each in found if each.primitive.name in ("pad", "add_any")]


@pytest.mark.parametrize(
    "windows",
    [
        convolution.Windows(convolution.ROWS, 11, 3, 9),
        convolution.Windows(convolution.ROWS, 11, 3, 11, -1),
        convolution.Windows(convolution.ROWS, 11, 7, 3, -2, stride=5),
        convolution.Windows(convolution.ROWS, 11, 8, 4, 3, stride=3),
        convolution.Windows(convolution.ROWS, 11, 4, 3, stride=4),
        convolution.Windows(convolution.COLUMNS, 6, 5, 2, unit=2),
        convolution.Windows(convolution.COLUMNS, 6, 3, 6, -1, unit=2),
    ],
    ids=str,
)
def test_fold_is_the_transpose_of_unfold(windows):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 11, 12)).astype(np.float32)
    unfold = jax.jit(lambda x: convolution.unfold(x, windows))
    fold = jax.jit(lambda y: convolution.fold(y, windows))
    unfolded = unfold(x)
    # every window by hand
    entries = np.moveaxis(x, windows.axis, 0).reshape(windows.size, windows.unit, -1)
    for tap, window in np.ndindex(windows.taps, windows.number):
        at = windows.start + window * windows.stride + tap
        expected = entries[at] if 0 <= at < windows.size else 0 * entries[0]
        got = np.moveaxis(unfolded[tap], windows.axis, 0)
        got = got.reshape(windows.number, windows.unit, -1)[window]
        np.testing.assert_array_equal(got, expected)

    y = rng.normal(size=unfolded.shape).astype(np.float32)
    folded = fold(y)
    assert folded.shape == x.shape
    np.testing.assert_allclose(np.vdot(unfolded, y), np.vdot(x, folded), rtol=1e-4)
    (transposed,) = jax.jit(lambda x, y: jax.vjp(unfold, x)[1](y))(x, y)
    np.testing.assert_array_equal(transposed, folded)
    (transposed,) = jax.jit(lambda x, y: jax.vjp(fold, y)[1](x))(x, y)
    np.testing.assert_array_equal(transposed, unfolded)


@pytest.mark.parametrize(("outputs", "taps"), [(2, 3), (5, 3), (6, 3), (4, 5)])
def test_toom_cook_is_a_correlation(outputs, taps):
    a, g, b = map(np.array, convolution.toom_cook(outputs, taps))
    rng = np.random.default_rng(3)
    tile, kernel = rng.normal(size=outputs + taps - 1), rng.normal(size=taps)
    expected = np.correlate(tile, kernel, "valid")
    np.testing.assert_allclose(a @ ((g @ kernel) * (b @ tile)), expected, rtol=1e-5, atol=1e-5)


def test_combine_is_a_matrix_product_and_so_is_its_gradient():
    rng = np.random.default_rng(4)
    matrix = ((1.0, 0.0, -2.0), (0.5, 3.0, 0.0))
    x, y = rng.normal(size=(3, 2, 5)), rng.normal(size=(2, 2, 5))
    combined, pull = jax.vjp(lambda x: convolution.combine(x, matrix), x.astype(np.float32))
    np.testing.assert_allclose(combined, np.einsum("mn,nab->mab", matrix, x), rtol=1e-5, atol=1e-6)
    (transposed,) = pull(y.astype(np.float32))
    expected = np.einsum("mn,mab->nab", matrix, y)
    np.testing.assert_allclose(transposed, expected, rtol=1e-5, atol=1e-6)


def test_tiling_of_the_usual_shapes():
    assert convolution.tiling(25, 9) == (5, 3)  # 9-1-5 on 33 pixels, valid
    assert convolution.tiling(45, 9) == (5, 3)  # on 45 pixels, same
    assert convolution.tiling(21, 5)[1] == 5


def test_known_values():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    kernel = jnp.zeros((2, 2, 1, 1)).at[0, 1].set(1.0).at[1, 0].set(10.0)
    # y[i, j] = x[i, j + 1] + 10 x[i + 1, j]
    np.testing.assert_array_equal(convolve(x, kernel)[0, :, :, 0], [[31.0, 42.0], [64.0, 75.0]])
