"""Picture files that Pillow does not write."""

import struct
import zlib

import numpy as np


def tiff(pixels: np.ndarray, *, bits: int = 0, white_is_zero: bool = False, orientation: int = 1):
    """The bytes of a grey TIFF; of 12 bits for each pixel if `bits` says so."""
    height, width = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    if bits == 12:
        numbers = "".join(f"{value:012b}" for value in pixels.ravel().tolist())
        data = int(numbers, 2).to_bytes(len(numbers) // 8, "big")
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags = [
        (256, width), (257, height), (258, bits or 8 * pixels.itemsize), (259, 1),
        (262, 0 if white_is_zero else 1), (273, 0), (274, orientation), (277, 1), (278, height),
        (279, len(data)), (339, kind),
    ]  # fmt: skip
    begin = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, begin if tag == 273 else value) for tag, value in tags
    )
    count = struct.pack("<H", len(tags))
    return b"II*\0" + struct.pack("<I", 8) + count + entries + bytes(4) + data


def png(rows: list[bytes], width: int, bits: int, colour: int, transparent: tuple[int, ...]):
    """The bytes of a PNG, with a transparent colour if there is one.

    `colour` is 0 for grey, 2 for RGB, 4 for grey with alpha, 6 for RGBA.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    values = struct.pack(f">{len(transparent)}H", *transparent)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", header),
            chunk(b"tRNS", values) if transparent else b"",
            chunk(b"IDAT", pixels),
            chunk(b"IEND", b""),
        ]
    )


def deep_png(pixels: np.ndarray, transparent: tuple[int, ...] = ()):
    """The bytes of a PNG of 16 bits: (H, W, 2) grey with alpha, (H, W, 3) RGB, (H, W, 4) RGBA."""
    rows = [row.astype(">u2").tobytes() for row in pixels]
    colour = {2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    return png(rows, pixels.shape[1], 16, colour, transparent)
