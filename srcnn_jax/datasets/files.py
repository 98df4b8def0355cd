"""Reads image files and folders of images as uint8 arrays, with Pillow.

A decoded image is uint8 0..255, (H, W) for grey or (H, W, 3) for RGB.
"""

import hashlib
import io
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from srcnn_jax import paths, pictures

MAX_PIXELS = 2**27  # of an image; reading it takes up to 25 bytes for a pixel


class ImageFile(NamedTuple):
    """One decoded image: its file name, the sha256 of the file's bytes, and its pixels."""

    name: str
    sha256: str
    pixels: np.ndarray


def read_bytes(path: pathlib.Path) -> bytes:
    """Reads the bytes of a file; raises ValueError if the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{str(path)!r} cannot be read ({error.strerror}): check its permissions"
        ) from error


def decode(data: bytes, path: pathlib.Path) -> ImageFile:
    """Decodes the bytes of an image file of any mode that Pillow knows.

    EXIF orientation is applied. Only the first frame is read. Alpha is removed without compositing.
    16-bit grey (modes I;16 and I) is divided by 257 and rounded. For 16-bit RGB, Pillow itself
    keeps the high byte. Float grey may be 0..1 or 0..255: it is 0..1 if no value exceeds 1.

    Args:
      data: the bytes of the file.
      path: path of the file, for the name and for error messages.

    Returns:
      Grey (H, W) for modes 1, L, LA, I, I;16 and F, RGB (H, W, 3) for all others; uint8.

    Raises:
      ValueError: the bytes are not an image, are truncated, hold values outside these ranges, or
        declare more pixels than they can hold (`pictures.check_size`) or than `MAX_PIXELS`.
    """
    try:
        pictures.require_for(data)
        with pictures.raised_text_limits(), Image.open(io.BytesIO(data)) as image:
            pictures.check_size(image, len(data))
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels, limit {MAX_PIXELS}")
            image.load()
            pixels = _to_uint8(ImageOps.exif_transpose(pictures.correct_levels(image)))
    except Exception as error:  # Pillow's decoders raise almost any error on damaged files.
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not an image"  # Pillow would print the address of a buffer.
        raise ValueError(
            f"image {str(path)!r} cannot be read ({reason}): repair it or take it out of the folder"
        ) from error
    return ImageFile(path.name, hashlib.sha256(data).hexdigest(), pixels)


def _to_uint8(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image of any mode to uint8 grey (H, W) or RGB (H, W, 3)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("grey values outside 0..65535")
        return ((values + 128) // 257).astype(np.uint8)
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 255):  # Also true for NaN.
            raise ValueError("float grey values outside 0..1 and 0..255")
        return np.floor(values * (255.0 if values.max() <= 1 else 1.0) + 0.5).astype(np.uint8)
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L"))
    if image.mode in ("P", "PA", "RGBa"):  # Only the way over RGBA loses nothing.
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def read_folder(folder: pathlib.Path) -> list[ImageFile]:
    """Reads all image files in a folder in natural order of names.

    Hidden files and sub-folders are ignored.

    Raises:
      ValueError: the folder holds no image, or an image cannot be read.
    """
    found = sorted(
        (path for path in folder.iterdir() if _is_image(path)),
        key=lambda path: paths.natural_key(path.name),
    )
    if not found:
        raise ValueError(
            f"folder {str(folder)!r} holds no images: put .png, .bmp, .jpg, .tif or other files "
            "that Pillow reads directly into it (subfolders are not searched)"
        )
    return [decode(read_bytes(path), path) for path in found]


def _is_image(path: pathlib.Path) -> bool:
    return pictures.has_picture_name(path) and path.is_file()
