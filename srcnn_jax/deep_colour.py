"""PNG and TIFF files of 16-bit colour, and of 16-bit grey with alpha. Pillow has no such pixels.

tifffile and imagecodecs decode and encode them: the extra `16bit`. The metadata of a file are those
that Pillow writes into a small file of 8 bits.
"""

import contextlib
import importlib.util
import io
import re
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from srcnn_jax.png_chunks import HEADER_END as PNG_HEADER_END
from srcnn_jax.png_chunks import SIGNATURE as PNG_SIGNATURE

PACKAGES = ("tifffile", "imagecodecs")
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two of BigTIFF
# TIFF tags and their values (TIFF 6.0).
WIDTH, HEIGHT, BITS, PHOTOMETRIC, STRIP_OFFSETS = 256, 257, 258, 262, 273
ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, SAMPLE_FORMAT = 274, 277, 278, 279, 339
ICC_PROFILE, EXIF, GPS = 34675, 34665, 34853
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
PREMULTIPLIED, ALPHA = 1, 2  # extra samples


def is_available() -> bool:
    """Whether the packages of the extra `16bit` are installed."""
    return all(importlib.util.find_spec(name) for name in PACKAGES)


def count_bits(content: bytes, page: int = 0) -> int:
    """Returns the bits of a value of a PNG, TIFF, HEIC, AVIF or PPM file; 8 if it is not known."""
    if content.startswith(PNG_SIGNATURE):
        return content[24]
    if content[4:8] == b"ftyp":  # the box pixi: version and flags, number of channels, their bits
        box = content.find(b"pixi")
        return content[box + 9] if 0 < box < len(content) - 9 else 8
    if content[:2] in (b"P3", b"P6"):  # width, height and the value of white, as text
        numbers = re.findall(rb"^\d+|(?<=\s)\d+(?=\s)", re.sub(rb"#.*", b"", content[:200]))
        return int(numbers[2]).bit_length() if len(numbers) > 2 else 8
    if content.startswith(TIFF_BEGINNINGS):
        with contextlib.suppress(Exception):  # damaged files
            return max(read_tags(content, page).get(BITS, (8,)))
    return 8


def is_deep(content: bytes, page: int = 0) -> bool:
    """Whether the bytes of a file are of 16-bit colour, or of 16-bit grey with alpha."""
    if content.startswith(PNG_SIGNATURE):
        bits, colour = content[24:26]
        return bits == 16 and colour in (2, 4, 6)
    if not content.startswith(TIFF_BEGINNINGS):
        return False
    try:
        tags = read_tags(content, page)
        bits = tags.get(BITS, ())
        kinds = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
        integers = set(tags.get(SAMPLE_FORMAT, (1,))) == {1}
        return len(bits) > 1 and set(bits) == {16} and tags.get(PHOTOMETRIC) in kinds and integers
    except Exception:  # Pillow raises undocumented errors on damaged files, and says so later
        return False


def read_tags(content: bytes, page: int = 0) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of a page of a TIFF, from 0 on, also of one that Pillow cannot open."""
    header = content[: 16 if b"+" in content[:4] else 8]
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    file = io.BytesIO(content)
    for _ in range(page + 1):
        file.seek(tags.next)
        tags.load(file)
    return tags


def decode(content: bytes, page: int = 0) -> np.ndarray:
    """Decodes a file for which `is_deep` is true.

    Args:
      content: the bytes.
      page: page of a TIFF, from 0 on.

    Returns:
      uint16, (H, W, 2) grey with alpha, (H, W, 3) RGB or (H, W, 4) RGBA; not yet upright.
    """
    import imagecodecs
    import tifffile

    if content.startswith(PNG_SIGNATURE):
        return imagecodecs.png_decode(content)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        sheet: Any = file.pages[page]
        pixels = sheet.asarray()
        if sheet.axes.startswith("S"):  # one plane after the other
            pixels = np.moveaxis(pixels, 0, 2)
        channels = 3 if sheet.photometric == RGB else 1
        if sheet.photometric == WHITE_IS_ZERO:
            pixels = np.concatenate([65535 - pixels[..., :1], pixels[..., 1:]], axis=2)
        extra = int(sheet.extrasamples[0]) if sheet.extrasamples else 0
    if extra not in (PREMULTIPLIED, ALPHA):
        return pixels[..., :channels].squeeze() if channels == 1 else pixels[..., :channels]
    pixels = pixels[..., : channels + 1]
    if extra == PREMULTIPLIED:
        alpha = np.maximum(pixels[..., -1:], 1).astype(np.uint64)
        colour = np.minimum((pixels[..., :-1] * np.uint64(65535) + alpha // 2) // alpha, 65535)
        pixels = np.concatenate([colour.astype(np.uint16), pixels[..., -1:]], axis=2)
    return pixels


def encode(pixels: np.ndarray, small: bytes) -> bytes:
    """Encodes a PNG or TIFF.

    Args:
      pixels: uint16, (H, W, 2) grey with alpha, (H, W, 3) RGB or (H, W, 4) RGBA.
      small: bytes of a file of the same format and channels, with 8 bits and the metadata.
    """
    return _encode_png(pixels, small) if small.startswith(PNG_SIGNATURE) else _tiff(pixels, small)


def _encode_png(pixels: np.ndarray, small: bytes) -> bytes:
    """The chunks of metadata stand between the header and the pixels."""
    import imagecodecs

    content = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
    metadata = small[PNG_HEADER_END : small.index(b"IDAT") - 4]
    return content[:PNG_HEADER_END] + metadata + content[PNG_HEADER_END:]


def _tiff(pixels: np.ndarray, small: bytes) -> bytes:
    """The tags are those of the small file, but for its size, bits and pixels."""
    height, width, samples = pixels.shape
    data = pixels.astype("<u2").tobytes()
    with Image.open(io.BytesIO(small)) as opened:
        tags, exif = opened.tag_v2, opened.getexif()  # type: ignore[attr-defined]
        dict(tags)  # reads all values, because only those that were read are saved
        for folder in (EXIF, GPS):
            if values := exif.get_ifd(folder):
                tags[folder] = dict(values)
        tags[WIDTH], tags[HEIGHT], tags[ROWS_PER_STRIP] = width, height, height
        tags[BITS], tags[SAMPLES] = (16,) * samples, samples
        tags[STRIP_OFFSETS], tags[STRIP_BYTES] = 0, len(data)
        file = io.BytesIO()
        tags.save(file)  # sets the offset of the pixels, which follow
    return file.getvalue() + data
