"""Random damage to the bytes of a file."""

import random
from collections.abc import Callable

LOST = 512  # bytes of a block that a disk lost
EXTREMES = (b"\x00", b"\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", 8 * b"\xff")


def flip(content: bytes, rng: random.Random) -> bytes:
    """Flips one bit."""
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """Cuts the end off; nothing may be left."""
    return content[: rng.randrange(len(content))]


def lose(content: bytes, rng: random.Random) -> bytes:
    """Sets a block of `LOST` bytes to zero."""
    begin = rng.randrange(len(content)) // LOST * LOST
    lost = len(content[begin : begin + LOST])
    return content[:begin] + bytes(lost) + content[begin + LOST :]


def exaggerate(content: bytes, rng: random.Random) -> bytes:
    """Writes an extreme number somewhere."""
    value, begin = rng.choice(EXTREMES), rng.randrange(len(content))
    return content[:begin] + value + content[begin + len(value) :]


def double(content: bytes, rng: random.Random) -> bytes:
    """Inserts a copy of a piece of up to 64 bytes somewhere."""
    begin, place = rng.randrange(len(content)), rng.randrange(len(content))
    return content[:place] + content[begin : begin + rng.randint(1, 64)] + content[place:]


def drop(content: bytes, rng: random.Random) -> bytes:
    """Leaves out a piece of up to 64 bytes."""
    begin = rng.randrange(len(content))
    return content[:begin] + content[begin + rng.randint(1, 64) :]


MISHAPS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, flip, cut, lose)  # of a disk
MUTATIONS = (flip, flip, exaggerate, double, drop, cut)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Damages a file in one to four ways, as chance or malice would."""
    for _ in range(rng.randint(1, 4)):
        content = rng.choice(MUTATIONS)(content, rng) if content else content
    return content
