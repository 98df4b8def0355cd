"""The growth of memory after the warm-up."""

import os

import pytest

from experiments.soak import memory


def test_growth_leaves_out_the_warm_up():
    samples = [memory.Sample(i, 20 * i, 100 + 0.1 * i if i > 20 else 0) for i in range(101)]
    grown = memory.growth(samples, every=2)
    assert grown.megabytes == pytest.approx(7.3, abs=0.11)
    assert grown.checkpoints == pytest.approx(730, abs=11)
    assert grown.kilobytes_each == pytest.approx(10)


def test_resident_memory_of_a_process():
    if not os.path.exists("/proc/self/status"):
        pytest.skip("no /proc")
    assert memory.resident(os.getpid()) > 1
    assert memory.resident(2**30) == 0
