"""The network: patch extraction, non-linear mapping, reconstruction (TPAMI 2016, section 3)."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from srcnn_jax import architecture, convolution

INITIALIZERS = ("gaussian", "glorot", "he", "identity")
CONVOLUTIONS = ("auto", "matmul", "xla")
DTYPES = ("float32", "bfloat16")


class SRCNN(nn.Module):
    """SRCNN of any depth: convolutions with ReLU between them and nothing after the last.

    Attributes:
      kernel_sizes: side of each layer's square filters (f1, f2, f3, ...), odd.
      features: filters of each layer but the last (n1, n2, ...).
      channels: channels of the image (c): 1 for luminance, 3 for colour.
      padding: 'same' (zeros, output size = input size) or 'valid', for all layers or one word for
        each: 'valid,same,valid'.
      initializer: 'gaussian' for the paper's N(0, 0.001), 'glorot' (uniform), 'he' (normal), or
        'identity' (`identity_start`).
      convolution: 'matmul' for `convolution.conv_batch_last`, 'xla' for
        `convolution.conv_channels_last`, 'auto' for matmul on a CPU and xla elsewhere. The
        parameters are the same.
      dtype: of inputs and kernels in the products, and so of activations: 'float32', or 'bfloat16'
        with the xla form. Parameters and the output stay float32.

    Parameters are `conv1`, `conv2`, ..., each a `kernel` (f, f, in, out) and a `bias` (out,).
    """

    kernel_sizes: Sequence[int] = (9, 1, 5)
    features: Sequence[int] = (64, 32)
    channels: int = 1
    padding: str = "same"
    initializer: str = "gaussian"
    convolution: str = "auto"
    dtype: str = "float32"

    def __post_init__(self):
        architecture.check(self.kernel_sizes, self.features, self.channels, self.padding)
        if self.initializer not in INITIALIZERS:
            raise ValueError(f"initializer is one of {INITIALIZERS}, not {self.initializer!r}")
        if self.convolution not in CONVOLUTIONS:
            raise ValueError(f"convolution is one of {CONVOLUTIONS}, not {self.convolution!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is one of {DTYPES}, not {self.dtype!r}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Restores bicubic-enlarged images.

        Args:
          x: float32 (N, H, W, channels) in 0..1.

        Returns:
          float32 (N, H', W', channels): H' = H less twice the `margin` of the valid layers.
        """
        if x.ndim != 4 or x.shape[-1] != self.channels:
            raise ValueError(f"SRCNN needs (N, H, W, {self.channels}), not {x.shape}")
        batch = x.shape[0] if uses_matmul(self.convolution) else None
        if batch and self.dtype != "float32":
            raise ValueError(
                f"dtype {self.dtype!r} is for GPUs and TPUs, with convolution 'xla': it is slower "
                "on a CPU"
            )
        if batch:
            x = x.transpose(3, 1, 2, 0).reshape(x.shape[3], x.shape[1], -1)
        paddings = architecture.layer_paddings(self.padding, len(self.kernel_sizes))
        shapes = architecture.kernel_shapes(self.kernel_sizes, self.features, self.channels)
        for index, (shape, padding) in enumerate(zip(shapes, paddings, strict=True)):
            last = index == len(shapes) - 1
            init = _kernel_init(self.initializer, self.channels, first=index == 0, last=last)
            relu = nn.relu if not last else lambda y: y
            layer = _Convolution(
                shape, padding, init, relu, batch, self.dtype, name=f"conv{index + 1}"
            )
            x = layer(x)
        if not batch:
            return x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return x.reshape(*x.shape[:2], -1, batch).transpose(3, 1, 2, 0)


class _Convolution(nn.Module):
    """One layer, with `flax.linen.Conv`'s parameters: on (N, H, W, C), or if it is told N, on
    (C, H, W N)."""

    shape: tuple[int, int, int, int]
    padding: str
    kernel_init: Callable[..., jax.Array]
    activation: Callable[[jax.Array], jax.Array]
    batch: int | None
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, self.shape)
        bias = self.param("bias", nn.initializers.zeros, self.shape[-1:])
        rows, columns = (
            (self.shape[0] // 2, self.shape[1] // 2) if self.padding == "same" else (0, 0)
        )
        if self.batch is None:
            if self.dtype == "bfloat16":
                x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
            y = convolution.conv_channels_last(x, kernel, (rows, columns))
            return self.activation(y + bias.astype(y.dtype))
        return convolution.conv_batch_last(
            x,
            kernel,
            self.batch,
            (rows, columns),
            lambda y: self.activation(y + bias[:, None, None]),
        )


def uses_matmul(form: str) -> bool:
    """Whether `SRCNN.convolution` means the matrix-product form on the default backend."""
    return form == "matmul" or (form == "auto" and jax.default_backend() == "cpu")


def _kernel_init(name: str, channels: int, first: bool, last: bool) -> Callable[..., jax.Array]:
    if name == "gaussian":
        return nn.initializers.normal(0.001)
    if name == "glorot":
        return nn.initializers.glorot_uniform()
    if name == "he":
        return nn.initializers.he_normal()
    return functools.partial(identity_start, channels=channels, first=first, last=last)


def identity_start(
    key: jax.Array, shape: Sequence[int], *, channels: int, first: bool, last: bool
) -> jax.Array:
    """A layer of a network that begins as bicubic interpolation and has to learn the rest only.

    Filter i of every layer, for each channel i of the image, passes the centre pixel of channel
    i through: the input is not negative, so ReLU lets it by. The other filters are He
    initialised, in the first layer less their mean, so that they do not all answer to the large
    common brightness of a patch; in the last layer they start near zero, N(0, 0.001).

    Args:
      shape: (f, f, in, out) of the kernel.
      channels: channels of the image; every layer must be at least as wide.

    Returns:
      float32 kernel of that shape.

    Raises:
      ValueError: if a layer is narrower than the image has channels.
    """
    size, _, fan_in, fan_out = shape
    if min(fan_in, fan_out) < channels:
        raise ValueError(
            f"the identity start needs at least {channels} filters in every layer, "
            f"not {min(fan_in, fan_out)}; use initializer='he'"
        )
    if last:
        kernel = 0.001 * jax.random.normal(key, shape)
    else:
        kernel = nn.initializers.he_normal()(key, shape, jnp.float32)
    if first:
        kernel -= kernel.mean(axis=(0, 1, 2), keepdims=True)
    if not last:
        kernel = kernel.at[..., :channels].set(0.0)
    carried = jnp.arange(channels)
    return kernel.at[size // 2, size // 2, carried, carried].set(1.0)
