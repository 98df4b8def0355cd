"""The network: patch extraction, non-linear mapping, reconstruction (TPAMI 2016, section 3)."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from srcnn_jax import convolution, forward
from srcnn_jax.architecture import Architecture, KernelShape, create_architecture

INITIALIZERS = ("gaussian", "glorot", "he", "identity")
CONVOLUTIONS = ("auto", "batch_last", "channels_last")
DTYPES = ("float32", "bfloat16")


def create_model(config: ml_collections.ConfigDict) -> "SRCNN":
    """Returns the network of a config; raises as `create_architecture` and `SRCNN`."""
    return SRCNN(
        create_architecture(config),
        initializer=config.model.initializer,
        convolution=config.model.convolution,
        dtype=config.model.dtype,
    )


class SRCNN(nn.Module):
    """SRCNN of any depth: convolutions, with a ReLU after each layer except the last.

    The forward pass is in `forward.py`. `predict.predict` computes the same network on a whole
    image, in two forms of its own. A change must be made in all three; `tests/predict_test.py`
    compares them.

    Attributes:
      architecture: kernel sizes, filters, channels and padding.
      initializer: 'gaussian' for the paper's N(0, 0.001), 'glorot' (uniform), 'he' (normal), or
        'identity' (`identity_start`).
      convolution: 'batch_last' for `convolution.conv_batch_last`, 'channels_last' for
        `convolution.conv_channels_last`, 'auto' for batch_last on a CPU and channels_last
        elsewhere. The parameters are the same.
      dtype: dtype of inputs and kernels in the products, and so of activations: 'float32', or
        'bfloat16' with the channels_last form. Parameters and the output stay float32.

    Parameters are `conv1`, `conv2`, ..., each a `kernel` (f, f, in, out) and a `bias` (out,).

    Raises:
      ValueError: if an attribute has another value.
    """

    architecture: Architecture
    initializer: str
    convolution: str
    dtype: str

    def __post_init__(self):
        if self.initializer not in INITIALIZERS:
            raise ValueError(f"initializer is one of {INITIALIZERS}, not {self.initializer!r}")
        if self.convolution not in CONVOLUTIONS:
            raise ValueError(f"convolution is one of {CONVOLUTIONS}, not {self.convolution!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is one of {DTYPES}, not {self.dtype!r}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, inside: jax.Array | None = None) -> jax.Array:
        """Restores bicubic-enlarged images, or windows of such images.

        Args:
          x: float32 (N, H, W, channels) on the scale 0..1.
          inside: None if x are whole images. Otherwise x are windows of larger images, for a
            network of same layers, and `inside` says what is inside the image (`forward.forward`).

        Returns:
          float32 (N, H', W', channels), with H' = H - 2 margin and W' = W - 2 margin
          (`Architecture.margin`). Of windows, H' = H - 2 receptive_field_radius: what the network
          makes of the whole image there.

        Raises:
          ValueError: if the shape of x does not fit, or the dtype does not fit the device.
        """
        arch = self.architecture
        if x.ndim != 4 or x.shape[-1] != arch.channels:
            raise ValueError(f"SRCNN needs (N, H, W, {arch.channels}), not {x.shape}")
        if self.dtype != "float32" and convolution.uses_batch_last(self.convolution):
            raise ValueError(
                f"dtype {self.dtype!r} is for GPUs and TPUs, with convolution 'channels_last': "
                "it is slower on a CPU, so use 'float32'"
            )
        layers = [
            _Layer(
                shape,
                _kernel_init(self.initializer, arch.channels, index == 0, index == arch.layers - 1),
                name=f"conv{index + 1}",
            )()
            for index, shape in enumerate(arch.shapes)
        ]
        return forward.forward(
            layers, x, arch.paddings, form=self.convolution, dtype=self.dtype, inside=inside
        )


class _Layer(nn.Module):
    """The parameters of one layer, named as those of `flax.linen.Conv`."""

    shape: KernelShape
    kernel_init: Callable[..., jax.Array]

    @nn.compact
    def __call__(self) -> forward.Layer:
        kernel = self.param("kernel", self.kernel_init, self.shape)
        return kernel, self.param("bias", nn.initializers.zeros, self.shape[-1:])


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
    """Initial kernel of a layer, so that the network starts as bicubic interpolation.

    The network then has to learn only the difference from bicubic. In every layer, filter i passes
    the centre pixel of channel i through, for each channel i of the image. ReLU does not change it,
    because the input is almost never negative. The other filters are He-initialised. In the first
    layer their mean is removed, because otherwise all of them would respond to the brightness of a
    patch, which is large. The last layer's weights start near zero, from N(0, 0.001).

    Args:
      key: the random key.
      shape: (f, f, in, out) of the kernel.
      channels: channels of the image; every layer must be at least as wide.
      first, last: whether this is the first layer, or the last.

    Returns:
      float32 kernel of that shape.

    Raises:
      ValueError: if a layer has fewer filters than the image has channels.
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
