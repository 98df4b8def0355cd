"""Colour: the planes that a network gets from a picture, and the picture made of its output.

A network works on planes, (H, W, C): Y of BT.601 ('y', C = 1), YCbCr ('ycbcr', C = 3) or RGB
('rgb', C = 3). A network for Y restores luminance only; chroma is then enlarged by bicubic
interpolation.
"""

import numpy as np

from srcnn_jax import image

CHANNELS = {"y": 1, "ycbcr": 3, "rgb": 3}  # channels of a network's input and output


def to_planes(pixels: np.ndarray, colour: str, luminance: str) -> np.ndarray:
    """Converts an image of a data set to the planes of a network of this colour.

    Args:
      pixels: uint8, or float in 0..1, (H, W) or RGB (H, W, 3).
      colour: 'y', 'ycbcr' or 'rgb'.
      luminance: how 'y' is computed, as `image.luminance`: 'ycbcr' or 'gray'.

    Returns:
      (H, W, C), uint8 of uint8, float of float.
    """
    if colour == "y":
        return image.luminance(pixels, luminance)[..., None]
    rgb = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
    return image.rgb2ycbcr(rgb) if colour == "ycbcr" else rgb


def select_planes(rgb: np.ndarray, ycbcr: np.ndarray, colour: str) -> np.ndarray:
    """Selects the planes of an enlarged picture that are the input of a network of this colour.

    Args:
      rgb: float (H, W, 3) on the scale 0..1, not clipped.
      ycbcr: float (H, W, 3), the same picture after `image.rgb2ycbcr`.
      colour: 'y', 'ycbcr' or 'rgb'.

    Returns:
      float32 (H, W, C) on the scale 0..1, not clipped.
    """
    planes = rgb if colour == "rgb" else ycbcr[..., : CHANNELS[colour]]
    return planes.astype(np.float32)


def to_ycbcr(planes: np.ndarray, colour: str, bicubic: np.ndarray) -> np.ndarray:
    """Converts a network's output to a YCbCr picture.

    Args:
      planes: float (H, W, C), the output of a network of this colour.
      colour: 'y', 'ycbcr' or 'rgb'.
      bicubic: float (H, W, 3), YCbCr of the enlarged picture. A network for 'y' gets its chroma
        from here.

    Returns:
      float (H, W, 3), on the scale 0..1, not clipped.
    """
    if colour == "y":
        return np.concatenate([planes, bicubic[..., 1:]], axis=-1)
    return planes if colour == "ycbcr" else image.rgb2ycbcr(planes)


def to_rgb(planes: np.ndarray, colour: str, bicubic: np.ndarray) -> np.ndarray:
    """Converts a network's output to an RGB picture; arguments, shape and range as `to_ycbcr`."""
    if colour == "rgb":
        return planes
    return image.ycbcr2rgb(to_ycbcr(planes, colour, bicubic))
