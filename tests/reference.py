"""What several tests compare with."""

import numpy as np

from srcnn_jax import convolution
from srcnn_jax.weights import Network


def mirrored(network: Network, image: np.ndarray) -> np.ndarray:
    """As `whole`, of an image that is mirrored beyond its border."""
    radius = network.architecture.receptive_field_radius
    around = (radius, radius)
    extended = whole(network, np.pad(image, (around, around, (0, 0)), mode="reflect"))
    return extended[radius:-radius, radius:-radius]


def whole(network: Network, image: np.ndarray) -> np.ndarray:
    """The network on a whole (H, W, C) at once: each layer on its own input, padded with zeros or
    the nearest pixel, by XLA's own convolution."""
    x = image[None].astype(np.float32)
    arch = network.architecture
    for index, (layer, padding) in enumerate(zip(network.layers, arch.paddings, strict=True)):
        radius = layer["kernel"].shape[0] // 2
        mode = {"same": "constant", "valid": "edge"}[padding]
        x = np.pad(x, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode=mode)
        x = np.asarray(convolution.lax_conv(x, layer["kernel"])) + layer["bias"]
        if index < arch.layers - 1:
            x = np.maximum(x, 0)
    return x[0]
