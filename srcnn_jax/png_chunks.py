"""Chunks of PNG files that pass from a PNG to its enlargement: texts and the colour space.

They pass as their bytes, so that a compressed or an international text stays one, and a keyword may
be there twice. Only their names are read here.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from PIL import Image, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = 33  # offset behind the signature and the chunk IHDR
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
HDR = (b"mDCV", b"cLLI", b"mDCv", b"cLLi")  # light of the mastering display and of the picture
COLOURS = (b"cICP", b"sRGB", b"gAMA", b"cHRM", *HDR)  # of the first four, each overrides later ones
XMP = b"XML:com.adobe.xmp"  # keyword of the text that is the XMP
COMMENT = b"Comment"
EXIF = b"Raw profile type exif"  # keyword of ImageMagick's EXIF data; Pillow reads and turns them
UNIT = 100_000  # of 1, in the chunks gAMA and cHRM
SRGB_CODE = bytes((1, 13))  # primaries and transfer function of sRGB in cICP (ITU-T H.273)
SRGB_GAMMA = 45_455
# x and y of white, red, green and blue of sRGB (IEC 61966-2-1)
SRGB_POINTS = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
TOLERANCE = 100  # of gAMA and cHRM, in 1 / UNIT; programs round them

Chunk = tuple[bytes, bytes]  # type and data


def read(content: bytes) -> dict[str, tuple[Chunk, ...]]:
    """The chunks of a file, as the metadata `texts` and `colour_space`; both empty if not a PNG.

    XMP, the comment and EXIF data are not among the texts, because other formats hold them, too.
    """
    return _sort(_walk(content)) if content.startswith(SIGNATURE) else _sort([])


def from_image(image: Image.Image) -> dict[str, tuple[Chunk, ...]]:
    """`read`, of a picture of Pillow's: one that was opened from a PNG, or made by `to_info`."""
    given = image.info.get("pnginfo")
    chunks = PngImagePlugin.PngInfo()
    if isinstance(given, PngImagePlugin.PngInfo):
        chunks.chunks = list(given.chunks)
    elif isinstance(image, PngImagePlugin.PngImageFile):
        for keyword, text in image.text.items():
            chunks.add_text(keyword, text)
        for kind, key in ((b"gAMA", "gamma"), (b"cHRM", "chromaticity"), (b"sRGB", "srgb")):
            if key in image.info:
                value = image.info[key]
                numbers = value if isinstance(value, tuple) else (value,)
                data = bytes([value]) if kind == b"sRGB" else b"".join(map(_fixed, numbers))
                chunks.add(kind, data)
    return _sort((each[0], each[1]) for each in chunks.chunks)


def to_info(info: Mapping[str, Any]) -> PngImagePlugin.PngInfo | None:
    """What Pillow's `save` takes as `pnginfo`, of metadata; None if there is nothing for it.

    Pillow writes no chunks of `HDR`; `with_hdr` adds them.
    """
    chunks = PngImagePlugin.PngInfo()
    for kind, data in info.get("colour_space", ()) + info.get("texts", ()):
        if kind not in HDR:
            chunks.add(kind, data)
    if "xmp" in info:
        chunks.add(b"iTXt", XMP + bytes(5) + info["xmp"])  # no compression, language or translation
    if "comment" in info:
        text = info["comment"].decode("utf-8", "replace").encode()
        chunks.add(b"iTXt", COMMENT + bytes(5) + text)
    return chunks if chunks.chunks else None


def with_hdr(content: bytes, info: Mapping[str, Any]) -> bytes:
    """A PNG with those chunks of metadata that Pillow does not write, behind the header."""
    added = io.BytesIO()
    for kind, data in info.get("colour_space", ()):
        if kind in HDR:
            PngImagePlugin.putchunk(added, kind, data)
    return content[:HEADER_END] + added.getvalue() + content[HEADER_END:]


def names(chunks: tuple[Chunk, ...]) -> str:
    """The keywords of texts and the types of other chunks, for messages; of many, the first."""
    shown = list(dict.fromkeys(_keyword(chunk).decode("latin-1") for chunk in chunks))
    return ", ".join(shown[:6]) + ", ..." * (len(shown) > 6)


def is_srgb(chunks: tuple[Chunk, ...]) -> bool:
    """Whether a colour space is sRGB, which programs take where a file names none."""
    found = dict(reversed(chunks))
    if any(kind in found for kind in HDR):
        return False
    if b"cICP" in found:
        return found[b"cICP"][:2] == SRGB_CODE
    if b"sRGB" in found:
        return True
    numbers = [*_numbers(found.get(b"gAMA", b"")), *_numbers(found.get(b"cHRM", b""))]
    expected = (SRGB_GAMMA,) * (b"gAMA" in found) + SRGB_POINTS * (b"cHRM" in found)
    return len(numbers) == len(expected) and all(
        abs(one - other) <= TOLERANCE for one, other in zip(numbers, expected, strict=True)
    )


def _walk(content: bytes) -> Iterator[Chunk]:
    """Yields the chunks of a PNG, up to where it is cut."""
    begin = len(SIGNATURE)
    while begin + 12 <= len(content):  # length, type and checksum
        end = begin + 8 + int.from_bytes(content[begin : begin + 4])
        if end + 4 > len(content):
            return
        yield content[begin + 4 : begin + 8], content[begin + 8 : end]
        begin = end + 4


def _sort(chunks: Iterable[Chunk]) -> dict[str, tuple[Chunk, ...]]:
    texts: list[Chunk] = []
    colours: dict[bytes, Chunk] = {}
    for chunk in chunks:
        if chunk[0] in COLOURS:
            colours.setdefault(chunk[0], chunk)  # a file has one of a kind
        elif chunk[0] in TEXTS and _keyword(chunk) not in (XMP, COMMENT, EXIF):
            texts.append(chunk)
    ordered = tuple(colours[kind] for kind in COLOURS if kind in colours)
    return {"texts": tuple(texts), "colour_space": ordered}


def _keyword(chunk: Chunk) -> bytes:
    return chunk[1].partition(b"\0")[0] if chunk[0] in TEXTS else chunk[0]


def _fixed(value: float) -> bytes:
    return round(value * UNIT).to_bytes(4)


def _numbers(data: bytes) -> list[int]:
    return [int.from_bytes(data[begin : begin + 4]) for begin in range(0, len(data), 4)]
