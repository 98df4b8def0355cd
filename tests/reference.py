"""What several tests compare with."""

import numpy as np

from srcnn_jax import architecture, convolution
from srcnn_jax.weights import Network


def whole(weights: Network, image: np.ndarray) -> np.ndarray:
    """The network on a whole (H, W, C) at once: each layer on its own input, padded with zeros or
    the nearest pixel, by XLA's own convolution."""
    x = image[None].astype(np.float32)
    kinds = architecture.layer_paddings(weights.padding, len(weights.layers))
    for index, (layer, kind) in enumerate(zip(weights.layers, kinds, strict=True)):
        reach = layer["kernel"].shape[0] // 2
        mode = {"same": "constant", "valid": "edge"}[kind]
        x = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode=mode)
        x = np.asarray(convolution.lax_conv(x, layer["kernel"])) + layer["bias"]
        if index < len(kinds) - 1:
            x = np.maximum(x, 0)
    return x[0]
