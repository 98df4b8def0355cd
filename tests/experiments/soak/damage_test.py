"""Random damage: what it leaves, and that a seed says which."""

import random

import pytest

from experiments.soak import damage

CONTENT = 256 * b"content."


@pytest.mark.parametrize("mishap", set(damage.MISHAPS + damage.MUTATIONS))
@pytest.mark.parametrize("content", [b"a", CONTENT])
def test_any_file_can_be_damaged(mishap, content):
    for seed in range(50):
        changed = mishap(content, random.Random(seed))
        assert changed == mishap(content, random.Random(seed))
        assert len(changed) <= len(content) + 64


def test_a_flip_is_one_bit_and_a_lost_block_is_zero():
    flipped = damage.flip(CONTENT, random.Random(0))
    differing = [a ^ b for a, b in zip(CONTENT, flipped, strict=True) if a != b]
    assert [value.bit_count() for value in differing] == [1]
    assert damage.lose(CONTENT, random.Random(0)).count(0) == damage.LOST
    assert CONTENT.startswith(damage.cut(CONTENT, random.Random(0)))


def test_mutations_differ_by_seed_and_end_at_nothing():
    assert len({damage.mutate(CONTENT, random.Random(seed)) for seed in range(50)}) > 45
    assert damage.mutate(b"", random.Random(0)) == b""
