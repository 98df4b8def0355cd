"""What several tests compare with."""

import numpy as np

from srcnn_jax.weights import Network


def mirrored(network: Network, image: np.ndarray) -> np.ndarray:
    """As `whole`, of an image that is mirrored beyond its border."""
    radius = network.architecture.receptive_field_radius
    around = (radius, radius)
    extended = whole(network, np.pad(image, (around, around, (0, 0)), mode="reflect"))
    return extended[radius:-radius, radius:-radius]


def whole(network: Network, image: np.ndarray) -> np.ndarray:
    """The network on a whole (H, W, C) at once: each layer on its own input, padded with zeros or
    the nearest pixel, by NumPy in float64."""
    x = image.astype(np.float64)
    arch = network.architecture
    for index, (layer, padding) in enumerate(zip(network.layers, arch.paddings, strict=True)):
        radius = layer["kernel"].shape[0] // 2
        mode = {"same": "constant", "valid": "edge"}[padding]
        x = np.pad(x, ((radius, radius), (radius, radius), (0, 0)), mode=mode)
        windows = np.lib.stride_tricks.sliding_window_view(x, layer["kernel"].shape[:2], (0, 1))
        x = np.tensordot(windows, layer["kernel"], ((2, 3, 4), (2, 0, 1))) + layer["bias"]
        if index < arch.layers - 1:
            x = np.maximum(x, 0)
    return x
