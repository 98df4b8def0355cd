"""Golden weight counts, paddings, initialisers, and the precision of both forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from srcnn_jax import models
from srcnn_jax.architecture import Architecture
from srcnn_jax.predict import predict
from srcnn_jax.weights import Network

GOLDEN_WEIGHT_COUNTS = {
    ((9, 1, 5), (64, 32)): 8_032,
    ((9, 3, 5), (64, 32)): 24_416,
    ((9, 5, 5), (64, 32)): 57_184,
    ((11, 1, 7), (64, 32)): 11_360,
    ((9, 1, 5), (128, 64)): 20_160,
    ((9, 1, 5), (32, 16)): 3_504,
    ((9, 3, 1, 5), (64, 32, 16)): 24_528,
    ((9, 1, 1, 5), (64, 32, 16)): 8_144,
    ((9, 1, 1, 1, 5), (64, 32, 16, 16)): 8_400,
}


def srcnn(kernel_sizes=(9, 1, 5), features=(64, 32), channels=1, padding="same", **kwargs):
    """An SRCNN of the paper's start, in the form for this device."""
    arch = Architecture(kernel_sizes, features, channels, padding)
    settings = {"initializer": "gaussian", "convolution": "auto", "dtype": "float32", **kwargs}
    return models.SRCNN(arch, **settings)


def create(*args, **kwargs):
    model = srcnn(*args, **kwargs)
    side = sum(model.architecture.kernel_sizes)
    example = jax.ShapeDtypeStruct((1, side, side, model.architecture.channels), jnp.float32)
    return model, jax.jit(lambda key: model.lazy_init(key, example)["params"])(jax.random.key(0))


def random_params(model, rng):
    """He-normal kernels and biases that are not zero, from NumPy: JAX would compile each shape."""
    return {
        f"conv{index + 1}": {
            "kernel": np.float32(rng.normal(size=shape) * (2 / np.prod(shape[:3])) ** 0.5),
            "bias": np.float32(rng.normal(size=shape[-1])),
        }
        for index, shape in enumerate(model.architecture.shapes)
    }


@pytest.mark.parametrize(("network", "count"), GOLDEN_WEIGHT_COUNTS.items())
def test_weight_counts(network, count):
    params = jax.eval_shape(lambda: create(*network)[1])
    assert sum(layer["kernel"].size for layer in params.values()) == count
    assert Architecture(*network, 1, "same").weight_count == count
    assert list(params) == [f"conv{i + 1}" for i in range(len(network[0]))]


@pytest.mark.parametrize("form", ["batch_last", "channels_last"])
@pytest.mark.parametrize(
    ("padding", "side"),
    [("same", 33), ("valid", 17), ("valid,same,valid", 21), ("same,valid,same", 29)],
)
def test_output_size(form, padding, side):
    model = srcnn((9, 5, 5), (4, 3), padding=padding, convolution=form)
    params = jax.eval_shape(lambda: create((9, 5, 5), (4, 3))[1])
    out = jax.eval_shape(model.apply, {"params": params}, jnp.zeros((2, 33, 33, 1)))
    assert out.shape == (2, side, side, 1)
    assert side == 33 - 2 * model.architecture.margin


@pytest.mark.parametrize(
    ("kernel_sizes", "features", "channels", "padding", "tolerance"),
    [
        ((9, 1, 5), (64, 32), 1, "same", 1e-5),
        ((9, 5, 5), (64, 32), 1, "valid", 3e-5),
        ((9, 5, 5), (64, 32), 1, "same", 3e-5),
        ((9, 3, 1, 5), (64, 32, 16), 1, "valid", 1e-5),
        ((9, 1, 5), (64, 32), 3, "valid", 1e-5),
    ],
)
def test_gradients_are_close_to_float64(kernel_sizes, features, channels, padding, tolerance):
    rng = np.random.default_rng(0)
    kwargs = {"padding": padding, "channels": channels}
    model = srcnn(kernel_sizes, features, convolution="channels_last", **kwargs)
    params = random_params(model, rng)
    x = rng.random((2, 21, 21, channels))
    y = rng.random(jax.eval_shape(model.apply, {"params": params}, jnp.float32(x)).shape)

    def gradient(form, dtype):
        model = srcnn(kernel_sizes, features, convolution=form, **kwargs)
        cast = jax.tree.map(lambda p: np.asarray(p, dtype), params)

        def loss(params, x, y):
            return jnp.mean(jnp.square(model.apply({"params": params}, x) - y))

        return jax.jit(jax.grad(loss))(cast, x.astype(dtype), y.astype(dtype))

    with jax.enable_x64(True):
        exact = jax.tree.map(np.asarray, gradient("channels_last", np.float64))
    for form in ("batch_last", "channels_last"):
        for a, b in zip(
            jax.tree.leaves(gradient(form, np.float32)), jax.tree.leaves(exact), strict=True
        ):
            assert b.dtype == np.float64
            assert np.abs(a - b).max() <= tolerance * np.abs(b).max(), form


@pytest.mark.parametrize("form", ["batch_last", "channels_last"])
@pytest.mark.parametrize("kernel_sizes", [(9, 1, 5), (5, 5, 3), (3, 5, 1, 5)])
def test_windows_give_what_the_whole_image_gives(kernel_sizes, form):
    """At corners, edges and inside, with biases that are not zero, for all flips and rotations."""
    features = (6, 5, 4)[: len(kernel_sizes) - 1]
    model = srcnn(kernel_sizes, features, convolution=form)
    rng = np.random.default_rng(0)
    params = random_params(model, rng)
    apply = jax.jit(model.apply)
    network = Network(params, "same", scale=3, colour="y")
    radius, side = model.architecture.receptive_field_radius, 5
    image = rng.random((26, 31, 1), np.float32)
    for turned in (image, image.transpose(1, 0, 2)):
        for view in (turned, turned[::-1], turned[:, ::-1], turned[::-1, ::-1]):
            whole = predict(network, view)
            height, width, _ = view.shape
            rows, columns = (0, 2, 11, height - side), (0, 1, 12, width - side)
            corners = [(row, column) for row in rows for column in columns]

            def windows(plane, size, corners=corners):
                return np.stack([plane[y : y + size, x : x + size] for y, x in corners])

            around = ((radius, radius), (radius, radius), (0, 0))
            x, inside = (
                windows(np.pad(plane, around), side + 2 * radius)
                for plane in (view, np.ones_like(view))
            )
            out = apply({"params": params}, x, inside)
            np.testing.assert_allclose(out, windows(whole, side), atol=3e-6)


def test_glorot_initialiser():
    """Glorot and Bengio 2010: uniform within the root of 6 / (fan in + fan out)."""
    _, params = create(initializer="glorot")
    limit = (6 / (81 + 81 * 64)) ** 0.5
    assert 0.98 * limit < np.abs(params["conv1"]["kernel"]).max() <= limit


def test_paper_initialiser():
    _, params = create(initializer="gaussian")
    kernel = np.asarray(params["conv1"]["kernel"])
    assert abs(kernel.std() - 0.001) < 3e-5
    assert not any(layer["bias"].any() for layer in params.values())


@pytest.mark.parametrize("kernel_sizes", [(9, 1, 5), (9, 3, 1, 5), (3, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_identity_start_begins_as_bicubic(kernel_sizes, channels):
    features = (16, 8, 8)[: len(kernel_sizes) - 1]
    model, params = create(
        kernel_sizes, features, channels=channels, initializer="identity", padding="same"
    )
    x = np.random.default_rng(0).random((2, 24, 24, channels), np.float32)
    out = np.asarray(jax.jit(model.apply)({"params": params}, x))
    assert np.abs(out - x)[:, 8:-8, 8:-8].max() < 0.05  # the noise of the last layer, 0.001
    means = np.asarray(params["conv1"]["kernel"])[..., channels:].mean(axis=(0, 1, 2))
    np.testing.assert_allclose(means, 0, atol=1e-6)


def test_channel_mismatch_is_an_error():
    with pytest.raises(ValueError, match="needs"):
        srcnn().apply({"params": {}}, jnp.zeros((1, 33, 33, 3)))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"kernel_sizes": (9, 2, 5)}, "odd and positive, not 2"),
        ({"kernel_sizes": (9, 1)}, "one entry more"),
        ({"features": (64, 0)}, "positive, not 0"),
        ({"padding": "valid,same"}, "valid,same"),
        ({"padding": "mirror"}, "mirror"),
        ({"initializer": "zero"}, "zero"),
        ({"convolution": "fft"}, "fft"),
    ],
)
def test_wrong_architectures(kwargs, words):
    with pytest.raises(ValueError, match=words):
        create(**kwargs)


def test_identity_start_needs_width():
    with pytest.raises(ValueError, match="at least 3 filters"):
        jax.eval_shape(lambda: create((9, 1, 5), (64, 2), channels=3, initializer="identity")[1])


def test_bfloat16_is_float32_less_some_bits():
    model, params = create((9, 3, 5), (16, 8), convolution="channels_last", initializer="identity")
    half = srcnn((9, 3, 5), (16, 8), convolution="channels_last", dtype="bfloat16")
    x = np.float32(np.random.default_rng(0).random((2, 20, 20, 1)))
    exact = jax.jit(model.apply)({"params": params}, x)
    rounded = jax.jit(half.apply)({"params": params}, x)
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, exact, atol=0.02)
    assert np.abs(rounded - exact).max() > 1e-4


def test_bfloat16_is_not_for_a_cpu():
    model = srcnn((9, 1, 5), (8, 8), dtype="bfloat16", convolution="batch_last")
    with pytest.raises(ValueError, match="'bfloat16' is for GPUs and TPUs"):
        model.apply({"params": {}}, np.zeros((1, 20, 20, 1), np.float32))
