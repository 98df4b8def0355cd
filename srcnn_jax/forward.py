"""The forward pass of an SRCNN on batches, as a pure function of its weights.

`models.SRCNN` trains by it, and `predict.predict_patches` restores patches by it. Whole images have
forms of their own in `predict.py`.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from srcnn_jax import convolution

Layer = tuple[jax.Array, jax.Array]  # kernel (f, f, in, out), bias (out,)


def forward(
    layers: Sequence[Layer],
    x: jax.Array,
    paddings: Sequence[str],
    *,
    form: str = "auto",
    dtype: str = "float32",
    precision: jax.lax.Precision | None = None,
    inside: jax.Array | None = None,
) -> jax.Array:
    """Applies convolutions with a ReLU after each but the last.

    Args:
      layers: kernel and bias of each layer, float32.
      x: float32 (N, H, W, C) on the scale 0..1.
      paddings: 'same' (zeros) or 'valid' for each layer.
      form: 'batch_last', 'channels_last', or 'auto' for the one of this device.
      dtype: dtype of inputs and kernels in the products of the channels-last form.
      precision: precision of its products.
      inside: None if x are whole images. Otherwise x are windows of larger images, and `inside` is
        float32 (N, H, W, 1): 1 inside the image, 0 outside, where x is 0, too. All layers are
        'same' then.

    Returns:
      float32 (N, H', W', C). A valid layer takes f - 1 rows and columns away, and so does every
      layer of windows: the result is what the network makes of the whole image there. The zeros of
      a same layer begin at the image's border then and not at the window's.
    """
    batch = x.shape[0] if convolution.uses_batch_last(form) else None
    if batch:
        x = _to_batch_last(x)
        inside = None if inside is None else _to_batch_last(inside)
    for index, ((kernel, bias), padding) in enumerate(zip(layers, paddings, strict=True)):
        last = index == len(layers) - 1
        border = kernel.shape[0] // 2 if padding == "same" and inside is None else 0
        mask = None
        if inside is not None:
            inside = _crop(inside, kernel.shape[0] // 2, batch)
            # A pointwise layer sees no neighbours, so its input needs no mask.
            mask = inside if not last and layers[index + 1][0].shape[0] > 1 else None
        finish = functools.partial(_finish, bias.reshape(-1, 1, 1) if batch else bias, not last)
        if batch:
            x = convolution.conv_batch_last(x, kernel, batch, (border, border), finish, mask)
            continue
        if dtype != "float32":
            x, kernel = x.astype(dtype), kernel.astype(dtype)
        x = finish(convolution.conv_channels_last(x, kernel, (border, border), precision))
        x = x if mask is None else x * mask.astype(x.dtype)
    if batch:
        return x.reshape(*x.shape[:2], -1, batch).transpose(3, 1, 2, 0)  # (N, H', W', C)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _finish(bias: jax.Array, relu: bool, y: jax.Array) -> jax.Array:
    """Adds the bias, which broadcasts against y, and applies the ReLU."""
    y = y + bias.astype(y.dtype)
    return jax.nn.relu(y) if relu else y


def _to_batch_last(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (C, H, W N)."""
    return x.transpose(3, 1, 2, 0).reshape(x.shape[3], x.shape[1], -1)


def _crop(x: jax.Array, border: int, batch: int | None) -> jax.Array:
    """Takes a border away from x, which is (N, H, W, C) if `batch` is None, or (C, H, W N)."""
    if not border:
        return x
    rows, columns = slice(border, -border), border * (batch or 1)
    return x[:, rows, columns:-columns]
